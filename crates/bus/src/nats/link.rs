//! Whether the connection stands, told to whoever watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Event};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::nats::inbox::Inbox;
use crate::nats::round_trip;
use crate::port::BusStatus;

/// How often the status is compared with the connection, in case an event was lost (the library drops events when its queue is full).
const COMPARE_EVERY: Duration = Duration::from_secs(1);

/// Looks between two probes of a connection that seems to stand: a server that is suspended, or behind a line that swallows everything, keeps
/// its connection open. The library's own pings need 15 s to notice.
const PROBE_EVERY_LOOKS: u32 = 3;
/// Probes without answer before the connection is given up: one may be the fault of a busy machine. With two seconds for each, a silent
/// server is noticed within 10 s.
const PROBES_LOST_MAX: u32 = 2;

/// The state of the connection, shared by the callback that hears of changes and the bus that asks.
#[derive(Debug)]
pub(super) struct Link {
    status: watch::Sender<BusStatus>,
    connected: Notify,
    starved: AtomicU64,
}

impl Link {
    pub(super) fn new() -> Self {
        let (status, _) = watch::channel(BusStatus::Down);
        Self {
            status,
            connected: Notify::new(),
            starved: AtomicU64::new(0),
        }
    }

    pub(super) fn status(&self) -> BusStatus {
        *self.status.borrow()
    }

    pub(super) fn watch(&self) -> watch::Receiver<BusStatus> {
        self.status.subscribe()
    }

    pub(super) fn starved(&self) -> u64 {
        self.starved.load(Ordering::Relaxed)
    }

    /// Tells the watchers when it is news.
    pub(super) fn set(&self, status: BusStatus) {
        let changed = self.status.send_if_modified(|now| {
            let changed = *now != status;
            *now = status;
            changed
        });
        match status {
            BusStatus::Up if changed => tracing::info!("connected to NATS"),
            BusStatus::Down if changed => {
                tracing::warn!("lost NATS; messages between nodes are lost until it is back");
            }
            BusStatus::Up | BusStatus::Down => {}
        }
    }

    /// What the client library reports.
    pub(super) fn hear(&self, event: &Event) {
        match event {
            Event::Connected => self.connected.notify_one(),
            Event::Disconnected | Event::Closed => self.set(BusStatus::Down),
            Event::SlowConsumer(_) => {
                let starved = self.starved.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
                // One event per lost message: a line for each would make the trouble worse.
                if starved.is_power_of_two() {
                    tracing::warn!(
                        starved,
                        "the bus client drops messages: this process is starved"
                    );
                }
            }
            Event::LameDuckMode | Event::Draining => {
                tracing::info!(%event, "NATS asks to leave");
            }
            Event::ServerError(_) | Event::ClientError(_) => {
                tracing::warn!(%event, "NATS reports a problem");
            }
        }
    }
}

/// Sets the status to up when the server has answered after a (re)connection, and keeps it true afterwards.
///
/// The library reports a connection before it subscribes again. The round trip comes after that, so at `Up` subscriptions are live.
pub(super) async fn watch_link(
    client: Client,
    inbox: Arc<Inbox>,
    link: Arc<Link>,
    stop: CancellationToken,
) {
    let mut looks: u32 = 0;
    let mut probes_lost: u32 = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = link.connected.notified() => {}
            () = tokio::time::sleep(COMPARE_EVERY) => {}
        }
        looks = looks.wrapping_add(1);
        let connected = client.connection_state() == State::Connected;
        match (connected, link.status()) {
            (false, BusStatus::Up) => link.set(BusStatus::Down),
            (true, BusStatus::Down) => {
                let answered = round_trip(&client, &inbox).await;
                if answered && client.connection_state() == State::Connected {
                    probes_lost = 0;
                    link.set(BusStatus::Up);
                }
            }
            (true, BusStatus::Up) if looks.is_multiple_of(PROBE_EVERY_LOOKS) => {
                let answered = round_trip(&client, &inbox).await;
                probes_lost = if answered {
                    0
                } else {
                    probes_lost.saturating_add(1)
                };
                if probes_lost >= PROBES_LOST_MAX {
                    probes_lost = 0;
                    link.set(BusStatus::Down);
                    leave(&client).await;
                }
            }
            (true, BusStatus::Up) | (false, BusStatus::Down) => {}
        }
    }
}

/// Gives up the connection and looks for a server that answers.
async fn leave(client: &Client) {
    let leaving = tokio::time::timeout(COMPARE_EVERY, client.force_reconnect());
    if !matches!(leaving.await, Ok(Ok(()))) {
        // Its queue is full behind the same silent line; the library's own pings end it.
        tracing::debug!("the NATS client did not take the wish to reconnect");
    }
}

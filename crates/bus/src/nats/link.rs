//! Whether the connection stands, told to whoever watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Event};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::nats::inbox::Inbox;
use crate::nats::round_trip;
use crate::port::BusStatus;

/// Between two probes of a connection that seems to stand, and between two looks at one that does not (the library drops events when its
/// queue is full). A server that is suspended, or a line that swallows everything one way, keeps the connection open; the library's own
/// pings need 15 s to notice. Two small messages a second cost nothing.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// An unanswered probe is given up after this: far above a healthy round trip, and a busy machine's pause.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Silence after which the bus counts as down, whatever the connection looks like. Two probes or more were lost by then. A node must know
/// within about three seconds, so that its partitions can be served elsewhere within six (P7).
const DOWN_AFTER: Duration = Duration::from_secs(2);
/// Between two attempts to leave a connection that does not answer.
const LEAVE_AGAIN_AFTER: Duration = Duration::from_secs(4);
/// Longest wait for the client to take the wish to leave.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// The state of the connection, shared by the callback that hears of changes and the bus that asks.
#[derive(Debug)]
pub(super) struct Link {
    status: watch::Sender<BusStatus>,
    /// How often a connection was lost, proved or not. A number, as whoever waits must also hear of a loss that is already made good.
    losses: watch::Sender<u64>,
    connected: Notify,
    starved: AtomicU64,
    /// The moment of the last proof; of the beginning before there was one.
    proved: Mutex<Instant>,
}

impl Link {
    pub(super) fn new() -> Self {
        let (status, _) = watch::channel(BusStatus::Down);
        let (losses, _) = watch::channel(0);
        Self {
            status,
            losses,
            connected: Notify::new(),
            starved: AtomicU64::new(0),
            proved: Mutex::new(Instant::now()),
        }
    }

    /// A message came back that was sent at `sent`.
    pub(super) fn prove(&self, sent: Instant) {
        let mut proved = self.proved.lock();
        *proved = (*proved).max(sent);
    }

    pub(super) fn silent_for(&self) -> Duration {
        self.proved.lock().elapsed()
    }

    pub(super) fn status(&self) -> BusStatus {
        *self.status.borrow()
    }

    pub(super) fn watch(&self) -> watch::Receiver<BusStatus> {
        self.status.subscribe()
    }

    /// Changes whenever the connection is known to be lost.
    pub(super) fn losses(&self) -> watch::Receiver<u64> {
        self.losses.subscribe()
    }

    pub(super) fn starved(&self) -> u64 {
        self.starved.load(Ordering::Relaxed)
    }

    /// Tells the watchers when it is news.
    pub(super) fn set(&self, status: BusStatus) {
        if self.show(status) && status == BusStatus::Down {
            self.count_loss();
        }
    }

    fn count_loss(&self) {
        self.losses
            .send_modify(|losses| *losses = losses.wrapping_add(1));
    }

    /// Whether it was news.
    fn show(&self, status: BusStatus) -> bool {
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
        changed
    }

    /// What the client library reports.
    pub(super) fn hear(&self, event: &Event) {
        match event {
            Event::Connected => self.connected.notify_one(),
            Event::Disconnected | Event::Closed => {
                // Also one that was never proved: its probe is under way.
                self.show(BusStatus::Down);
                self.count_loss();
            }
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

/// Sets the status to up when the server has answered after a (re)connection, and to down when it has been silent for [`DOWN_AFTER`].
///
/// The library reports a connection before it subscribes again. The round trip comes after that, so at `Up` subscriptions are live.
pub(super) async fn watch_link(
    client: Client,
    inbox: Arc<Inbox>,
    link: Arc<Link>,
    stop: CancellationToken,
) {
    let mut left: Option<Instant> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = link.connected.notified() => {}
            () = tokio::time::sleep(PROBE_EVERY) => {}
        }
        let connected = || client.connection_state() == State::Connected;
        if !connected() {
            link.set(BusStatus::Down);
            continue;
        }
        let sent = Instant::now();
        match probe(&link, round_trip(&client, &inbox)).await {
            Probe::Answered if connected() => {
                link.prove(sent);
                link.set(BusStatus::Up);
            }
            Probe::Answered | Probe::Unanswered if link.silent_for() >= DOWN_AFTER => {
                link.set(BusStatus::Down);
                if left.is_none_or(|at| at.elapsed() >= LEAVE_AGAIN_AFTER) {
                    left = Some(Instant::now());
                    leave(&client).await;
                }
            }
            // It is lost already: whoever left now would leave the next one.
            Probe::Answered | Probe::Unanswered | Probe::Lost => {}
        }
    }
}

/// How a probe ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Probe {
    Answered,
    Unanswered,
    /// The connection that it was sent over is lost.
    Lost,
}

/// Waits for the answer to a probe. One that was sent over a connection that is lost by now is not waited for: the next one has a new connection
/// to prove, and until then nothing is sent over it.
async fn probe(link: &Link, round_trip: impl Future<Output = bool>) -> Probe {
    let mut losses = link.losses();
    let ended = async {
        tokio::select! {
            biased;
            answered = round_trip => if answered { Probe::Answered } else { Probe::Unanswered },
            _lost = losses.changed() => Probe::Lost,
        }
    };
    tokio::time::timeout(PROBE_TIMEOUT, ended)
        .await
        .unwrap_or(Probe::Unanswered)
}

/// Gives up the connection and looks for a server that answers.
async fn leave(client: &Client) {
    let leaving = tokio::time::timeout(LEAVE_TIMEOUT, client.force_reconnect());
    if !matches!(leaving.await, Ok(Ok(()))) {
        // Its queue is full behind the same silent line; the library's own pings end it.
        tracing::debug!("the NATS client did not take the wish to reconnect");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_probe_over_a_lost_connection_does_not_keep_the_next_one_waiting() {
        let link = Link::new();
        link.set(BusStatus::Up);
        let began = Instant::now();
        let (probe, ()) = tokio::join!(probe(&link, std::future::pending()), async {
            link.hear(&Event::Disconnected);
        });
        assert_eq!(probe, Probe::Lost);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_lost_before_it_was_proved_ends_its_probe_as_well() {
        let link = Link::new();
        let began = Instant::now();
        let (probe, ()) = tokio::join!(probe(&link, std::future::pending()), async {
            link.hear(&Event::Disconnected);
        });
        assert_eq!(probe, Probe::Lost);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[test]
    fn a_loss_is_counted_once_however_it_is_noticed() {
        let link = Link::new();
        let losses = link.losses();
        link.set(BusStatus::Up);
        link.hear(&Event::Disconnected);
        link.set(BusStatus::Down);
        assert_eq!(*losses.borrow(), 1);
        link.set(BusStatus::Up);
        link.set(BusStatus::Down);
        assert_eq!(*losses.borrow(), 2, "by its silence");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_nobody_answers_is_given_up() {
        let link = Link::new();
        let began = Instant::now();
        assert_eq!(
            probe(&link, std::future::pending()).await,
            Probe::Unanswered
        );
        assert_eq!(began.elapsed(), PROBE_TIMEOUT);
        assert_eq!(
            probe(&link, std::future::ready(true)).await,
            Probe::Answered
        );
    }
}

//! Heartbeats in a task of their own: nothing that the ownership loop waits for can make this node look dead.

use std::sync::Arc;
use std::time::Duration;

use hubbub_domain::ids::Incarnation;
use hubbub_event_log::{NodeState, Ownership};
use hubbub_telemetry::metrics::Cluster;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// After a heartbeat that did not get through: a database that is back must hear of this node before its lease is over.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// What a heartbeat says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Said {
    /// What this node does.
    pub(crate) state: NodeState,
    /// Whether it has the bus.
    pub(crate) bus_ok: bool,
    /// It says nothing at all for the time being, so that others take over what it owns.
    pub(crate) silent: bool,
}

/// How the heartbeats went so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Pulse {
    /// Heartbeats that got through.
    pub(crate) beats: u64,
    /// Heartbeats that did not.
    pub(crate) failures: u64,
    /// The database says that this incarnation is dead.
    pub(crate) dead: bool,
}

/// Says "alive" every `every`, and at once when there is something new to say, until cancelled or declared dead. Nothing while it is to be silent.
pub(crate) async fn beat(
    me: Incarnation,
    store: Arc<dyn Ownership>,
    every: Duration,
    mut said: watch::Receiver<Said>,
    pulse: watch::Sender<Pulse>,
    metrics: Option<Cluster>,
    cancel: CancellationToken,
) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
            changed = said.changed() => if changed.is_err() { return },
        }
        let Said {
            state,
            bus_ok,
            silent,
        } = *said.borrow_and_update();
        if silent {
            continue;
        }
        let began = Instant::now();
        let answer = store.heartbeat(me, state, bus_ok).await;
        if let Some(metrics) = &metrics {
            metrics
                .heartbeat_seconds
                .observe(began.elapsed().as_secs_f64());
        }
        match &answer {
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "write heartbeat");
                ticks.reset_after(RETRY_AFTER.min(every));
            }
        }
        let dead = matches!(answer, Ok(false));
        pulse.send_modify(|pulse| match answer {
            Ok(true) => pulse.beats += 1,
            Ok(false) => pulse.dead = true,
            Err(_) => pulse.failures += 1,
        });
        if dead {
            return;
        }
    }
}

//! Heartbeats in a task of their own: nothing that the ownership loop waits for can make this node look dead.

use std::sync::Arc;
use std::time::Duration;

use hubbub_bus::{Bus, BusStatus};
use hubbub_domain::ids::Incarnation;
use hubbub_event_log::{NodeState, Ownership};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

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

/// Says "alive" every `every`, and at once when the state changes, until cancelled or declared dead.
pub(crate) async fn beat(
    me: Incarnation,
    store: Arc<dyn Ownership>,
    bus: Arc<dyn Bus>,
    every: Duration,
    mut state: watch::Receiver<NodeState>,
    pulse: watch::Sender<Pulse>,
    cancel: CancellationToken,
) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
            changed = state.changed() => if changed.is_err() { return },
        }
        let nats_ok = *bus.status().borrow() == BusStatus::Up;
        let said = match (*state.borrow_and_update(), nats_ok) {
            (NodeState::Active, false) => NodeState::Blind,
            (state, _) => state,
        };
        let answer = store.heartbeat(me, said, nats_ok).await;
        if let Err(error) = &answer {
            tracing::warn!(%error, "write heartbeat");
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

//! What this node does when the bus carries news: wakes its projectors, learns the highest account revision. A lost message costs a
//! second, nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hubbub_accounts::Identity;
use hubbub_bus::{Bus, Subject, SubjectPattern, SubscribeError};
use hubbub_domain::position::PartitionId;
use hubbub_wire::bus::UserChanged;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Wake-ups that may wait for one projector; it empties the queue in one go, and a full one means it is awake.
pub(crate) const WAKE_QUEUE: usize = 1_024;
/// Event messages that may wait to be looked at.
const EVENTS_QUEUE: usize = 4_096;

pub(crate) async fn follow_events(
    bus: Arc<dyn Bus>,
    wakers: Vec<mpsc::Sender<PartitionId>>,
    tasks: &TaskTracker,
    cancel: CancellationToken,
) -> Result<(), SubscribeError> {
    let mut events = bus
        .subscribe(SubjectPattern::AllEvents, EVENTS_QUEUE)
        .await?;
    tasks.spawn(async move {
        loop {
            let delivery = tokio::select! {
                () = cancel.cancelled() => return,
                delivery = events.next() => delivery,
            };
            let Some(delivery) = delivery else { return };
            if let Subject::Events(partition) = delivery.subject {
                for waker in &wakers {
                    // Full: the projector has enough to look at and will look at everything once a second.
                    if waker.try_send(partition).is_err() {
                        tracing::trace!(%partition, "the projector is awake already");
                    }
                }
            }
        }
    });
    Ok(())
}

/// Account messages that may wait.
const USERS_QUEUE: usize = 1_024;
/// How often the store is asked for the highest revision, whatever the bus said.
const REVISION_EVERY: Duration = Duration::from_secs(1);

/// Keeps `highest` at the highest account revision known here: told by the bus, asked for once a second. Every head broadcast carries it, so
/// that an edge that missed a message notices.
pub(crate) async fn follow_revisions(
    bus: Arc<dyn Bus>,
    identity: Arc<dyn Identity>,
    highest: Arc<AtomicU64>,
    tasks: &TaskTracker,
    cancel: CancellationToken,
) -> Result<(), SubscribeError> {
    let mut changes = bus
        .subscribe(SubjectPattern::One(Subject::User), USERS_QUEUE)
        .await?;
    tasks.spawn(async move {
        let mut looks = interval(REVISION_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let rev = tokio::select! {
                () = cancel.cancelled() => return,
                delivery = changes.next() => match delivery {
                    Some(delivery) => UserChanged::decode(&delivery.payload).map_or(0, |changed| changed.rev),
                    None => return,
                },
                _ = looks.tick() => match identity.highest_rev().await {
                    Ok(rev) => rev,
                    Err(error) => {
                        tracing::debug!(%error, "read the highest account revision");
                        0
                    }
                },
            };
            highest.fetch_max(rev, Ordering::Relaxed);
        }
    });
    Ok(())
}

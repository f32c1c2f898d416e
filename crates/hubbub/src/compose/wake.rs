//! Wakes the projectors when the bus carries events of a partition. A lost wake-up costs a second, nothing else.

use std::sync::Arc;

use hubbub_bus::{Bus, Subject, SubjectPattern, SubscribeError};
use hubbub_domain::position::PartitionId;
use tokio::sync::mpsc;
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
    let mut events = bus.subscribe(SubjectPattern::AllEvents, EVENTS_QUEUE).await?;
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
                    drop(waker.try_send(partition));
                }
            }
        }
    });
    Ok(())
}

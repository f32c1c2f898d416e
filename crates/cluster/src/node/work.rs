//! What the ownership loop waits for beside itself: looks, statements, the host. Each piece ends with an outcome that goes back into the cores.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use hubbub_bus::{Bus, Subject, SubjectPattern, SubscribeError, Subscription};
use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::PartitionId;
use hubbub_event_log::port::LEASE;
use hubbub_event_log::{
    AcquireError, Acquired, Claim, NodeRow, Ownership, PartitionRow, StoreError,
};
use hubbub_wire::bus::{OwnershipHint, ReleasedPartition};
use tokio::time::{Instant, timeout};

use crate::ownership::Move;
use crate::partitions::{Effect, Reason};
use crate::port::LocalConversations;

/// A look that takes longer has failed. It is three statements, so it has more time than a heartbeat: where the database is so slow that one of
/// them does not get through, it should be the heartbeat. Less than a lease, which counts from the look's begin.
const LOOK_DEADLINE: Duration = Duration::from_secs(3);
/// An acquire that takes longer has failed, with an open outcome. A healthy one of many partitions is far below; a line that swallows everything
/// must not keep a partition waiting for the whole of the database room's own limit.
const ACQUIRE_DEADLINE: Duration = Duration::from_secs(4);
/// Likewise for a release.
const RELEASE_DEADLINE: Duration = Duration::from_secs(3);
/// How long a hand-over waits for what is in flight.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);
/// How long the host may take to drop a partition, which waits for nothing but its own tasks: two leases, as for everything that keeps from others
/// what this node does not serve.
const STOP_MAX: Duration = LEASE.saturating_mul(2);
/// Hints that may wait; a dropped one is made good by the next look.
const HINTS_QUEUE: usize = 1_024;

/// What came of a piece of work.
pub(super) enum Outcome {
    /// A look that began at the instant.
    Looked(Instant, Result<Rows, StoreError>),
    /// An acquire.
    Acquired(Vec<Claim>, Reason, Result<Vec<Acquired>, AcquireError>),
    /// The host serves these.
    Served(Vec<Acquired>),
    /// The host has dropped it.
    Stopped(PartitionId),
    /// The host has not dropped it within [`STOP_MAX`], alone or as a part of taking up or draining.
    StillThere(PartitionId),
    /// Drained; `true` when everything in flight found its definite end.
    Drained(PartitionId, bool),
    /// A release.
    Released(Vec<Move>, Result<(), StoreError>),
    /// Listening to hints.
    Subscribed(Result<Subscription, SubscribeError>),
    /// Nothing that anybody waits for.
    Told,
}

/// What a look shows.
pub(super) struct Rows {
    pub(super) nodes: Vec<NodeRow>,
    pub(super) partitions: Vec<PartitionRow>,
    pub(super) timeline: u64,
}

/// What work is done with.
#[derive(Clone)]
pub(super) struct Tools {
    pub(super) me: Incarnation,
    pub(super) store: Arc<dyn Ownership>,
    pub(super) host: Arc<dyn LocalConversations>,
    pub(super) bus: Arc<dyn Bus>,
}

impl Tools {
    pub(super) async fn look(self) -> Outcome {
        let began = Instant::now();
        let looking = async {
            Ok(Rows {
                nodes: self.store.nodes().await?,
                partitions: self.store.partitions().await?,
                // Last: a failover in between is noticed at this look rather than at the next.
                timeline: self.store.timeline().await?,
            })
        };
        let rows = timeout(LOOK_DEADLINE, looking)
            .await
            .unwrap_or_else(|late| Err(StoreError::Unavailable(late.into())));
        Outcome::Looked(began, rows)
    }

    pub(super) async fn listen(self) -> Outcome {
        let pattern = SubjectPattern::One(Subject::Ownership);
        Outcome::Subscribed(self.bus.subscribe(pattern, HINTS_QUEUE).await)
    }

    pub(super) async fn perform(self, effect: Effect) -> Outcome {
        match effect {
            Effect::Acquire(claims, reason) => {
                let acquiring = self.store.acquire(self.me, &claims, reason.word());
                let answer = timeout(ACQUIRE_DEADLINE, acquiring)
                    .await
                    .unwrap_or_else(|late| Err(AcquireError::Unavailable(late.into())));
                Outcome::Acquired(claims, reason, answer)
            }
            Effect::Serve(taken) => {
                let serving = taken.iter().map(async |taken| {
                    // It begins with the end of what was served before under an older epoch.
                    let serving = self.host.serve(taken.partition, taken.epoch, taken.head);
                    let answer = timeout(STOP_MAX, serving).await;
                    answer.map_err(|_late| taken.partition)
                });
                let served = try_join_all(serving).await;
                match served {
                    Ok(_all) => Outcome::Served(taken),
                    Err(partition) => Outcome::StillThere(partition),
                }
            }
            Effect::Stop(partition) => match timeout(STOP_MAX, self.host.stop(partition)).await {
                Ok(()) => Outcome::Stopped(partition),
                Err(_late) => Outcome::StillThere(partition),
            },
            Effect::Drain(moved) => {
                let draining = self.host.drain(moved.partition, DRAIN_PATIENCE);
                let patience = DRAIN_PATIENCE.saturating_add(STOP_MAX);
                let Ok(clean) = timeout(patience, draining).await else {
                    return Outcome::StillThere(moved.partition);
                };
                // The next owner's acquire settles what is open.
                let stopping = self.host.stop(moved.partition);
                if clean || timeout(STOP_MAX, stopping).await.is_ok() {
                    Outcome::Drained(moved.partition, clean)
                } else {
                    Outcome::StillThere(moved.partition)
                }
            }
            Effect::Release(moves) => {
                let rows: Vec<_> = moves
                    .iter()
                    .map(|moved| (moved.partition, moved.epoch))
                    .collect();
                let answer = timeout(RELEASE_DEADLINE, self.store.release(self.me, &rows))
                    .await
                    .unwrap_or_else(|late| Err(StoreError::Unavailable(late.into())));
                Outcome::Released(moves, answer)
            }
            Effect::AnnounceReleased(moves) => {
                let partitions = moves
                    .iter()
                    .map(|moved| ReleasedPartition {
                        partition: moved.partition,
                        epoch: moved.epoch,
                        next: moved.next,
                    })
                    .collect();
                let by = self.me;
                self.tell(&OwnershipHint::Released { by, partitions }).await
            }
            Effect::AnnounceTaken(partitions) => {
                let by = self.me;
                self.tell(&OwnershipHint::Taken { by, partitions }).await
            }
        }
    }

    async fn tell(&self, hint: &OwnershipHint) -> Outcome {
        let telling = self
            .bus
            .publish(Subject::Ownership, hint.encode(), None)
            .await;
        if let Err(error) = telling {
            // The rows say the same at everybody's next look.
            tracing::debug!(%error, "tell of a change of owners");
        }
        Outcome::Told
    }
}

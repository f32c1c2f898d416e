//! The owner's side of routing: takes command requests from the bus, asks the local host, answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hubbub_bus::{
    Bus, BusStatus, Delivery, PublishError, ReplyTo, Subject, SubjectPattern, SubscribeError,
};
use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::{Epoch, PartitionId};
use hubbub_telemetry::TraceContext;
use hubbub_telemetry::metrics::Cluster;
use hubbub_wire::bus::{CommandRequest, HeadBroadcast, How, OwnerReply};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::lease::Lease;
use crate::port::LocalConversations;
use crate::router::{ATTEMPT_MAX, InFlight};
use crate::view::OwnersView;

/// Requests from other nodes in work at once; more are answered `Busy`. Twice what the lanes of one node can have in flight.
pub const REMOTE_COMMANDS_MAX: usize = 8_192;
/// Deliveries that may wait to be looked at before the bus drops them (the sender then times out and asks again).
const COMMAND_QUEUE: usize = 16_384;
/// Head broadcasts that may wait; each is replaced by the next second's.
const HEAD_QUEUE: usize = 256;
/// What a sender is told to wait when this node is full.
const BUSY_RETRY_AFTER_MS: u32 = 250;

/// What a sender is told to wait when this node has not seen the database for a lease.
const WEDGED_RETRY_AFTER_MS: u32 = 1_000;

/// Between two tries to send an answer over a line that is gone although it counts as up.
const TELL_AGAIN: Duration = Duration::from_millis(10);

/// What answers requests of other nodes.
#[derive(Clone)]
pub struct CommandServer {
    /// This life of this node.
    pub me: Incarnation,
    /// Where requests come from.
    pub bus: Arc<dyn Bus>,
    /// Who handles them.
    pub local: Arc<dyn LocalConversations>,
    /// Whether this node may answer at all.
    pub lease: Arc<Lease>,
    /// Who may be the owner when this node is not.
    pub view: Arc<OwnersView>,
    /// Where to count.
    pub metrics: Option<Cluster>,
}

/// Serves `hub.cmd.<me>` until cancelled. Requests run side by side; a sender that needs two in order sends the second after the answer
/// to the first.
///
/// # Errors
/// When the bus does not take the subscription.
pub async fn serve_commands(
    server: CommandServer,
    tasks: &TaskTracker,
    cancel: CancellationToken,
) -> Result<(), SubscribeError> {
    let pattern = SubjectPattern::One(Subject::Command(server.me));
    let mut requests = server.bus.subscribe(pattern, COMMAND_QUEUE).await?;
    let permits = Arc::new(Semaphore::new(REMOTE_COMMANDS_MAX));
    let workers = tasks.clone();
    tasks.spawn(async move {
        loop {
            let delivery = tokio::select! {
                () = cancel.cancelled() => break,
                delivery = requests.next() => delivery,
            };
            let Some(delivery) = delivery else { break };
            let permit = Arc::clone(&permits).try_acquire_owned().ok();
            let server = server.clone();
            workers.spawn(async move {
                server.answer(delivery, permit.is_none()).await;
                drop(permit);
            });
        }
    });
    Ok(())
}

impl CommandServer {
    async fn answer(&self, delivery: Delivery, full: bool) {
        let Some(to) = delivery.reply else { return };
        // A refusal is not worth keeping.
        let mut until = Instant::now();
        let reply = match CommandRequest::decode(&delivery.payload) {
            Err(error) => {
                // A newer node may say what this one cannot read; it was certainly not handled.
                tracing::warn!(%error, "decode command request");
                OwnerReply::Unavailable {
                    retry_after_ms: BUSY_RETRY_AFTER_MS,
                }
            }
            Ok(_) if full => {
                if let Some(metrics) = &self.metrics {
                    metrics.remote_refused.inc();
                }
                OwnerReply::Busy {
                    retry_after_ms: BUSY_RETRY_AFTER_MS,
                }
            }
            Ok(request) => {
                let _under_way = self
                    .metrics
                    .as_ref()
                    .map(|metrics| InFlight::begin(&metrics.remote_commands));
                let (partition, epoch) = (request.partition, request.epoch);
                // No sender waits longer, whatever the number says: a place is held meanwhile.
                let patience =
                    Duration::from_millis(u64::from(request.remaining_ms)).min(ATTEMPT_MAX);
                until += patience;
                let handling = answer_locally(&*self.local, &self.lease, request, delivery.trace);
                // The sender has stopped waiting then; the command itself goes on and its definite answer waits for the repetition.
                match tokio::time::timeout(patience, handling).await {
                    Ok(reply) => self.with_hint(partition, epoch, reply),
                    Err(_elapsed) => return,
                }
            }
        };
        self.tell(to, reply.encode(), until).await;
    }

    /// Answers; when the bus is away for a moment, once it is back, as long as the sender waits.
    async fn tell(&self, to: ReplyTo, reply: Bytes, until: Instant) {
        let mut status = self.bus.status();
        loop {
            let error = match self.bus.reply(to.clone(), reply.clone()).await {
                Ok(()) => return,
                Err(error) => error,
            };
            let back = async {
                // The status may say "up" for a moment after the line is gone.
                tokio::time::sleep(TELL_AGAIN).await;
                status.wait_for(|now| *now == BusStatus::Up).await.is_ok()
            };
            let worth_it = matches!(error, PublishError::Unavailable(_));
            if !worth_it || tokio::time::timeout_at(until, back).await != Ok(true) {
                // The sender times out, which means unknown, and asks again with the same id.
                return tracing::debug!(%error, "answer command request");
            }
        }
    }

    /// Whoever is not the owner says who is, as far as known here beyond what the sender knows.
    fn with_hint(&self, partition: PartitionId, asked: Epoch, reply: OwnerReply) -> OwnerReply {
        if reply != (OwnerReply::WrongOwner { hint: None }) {
            return reply;
        }
        let newer = self.view.owner(partition);
        OwnerReply::WrongOwner {
            hint: newer.filter(|(_, epoch)| *epoch > asked),
        }
    }
}

/// Learns owners from head broadcasts until cancelled.
///
/// # Errors
/// When the bus does not take the subscription.
pub async fn follow_heads(
    bus: Arc<dyn Bus>,
    view: Arc<OwnersView>,
    tasks: &TaskTracker,
    cancel: CancellationToken,
) -> Result<(), SubscribeError> {
    let mut heads = bus
        .subscribe(SubjectPattern::One(Subject::Heads), HEAD_QUEUE)
        .await?;
    tasks.spawn(async move {
        loop {
            let delivery = tokio::select! {
                () = cancel.cancelled() => break,
                delivery = heads.next() => delivery,
            };
            let Some(delivery) = delivery else { break };
            match HeadBroadcast::decode(&delivery.payload) {
                Ok(broadcast) => {
                    for head in broadcast.heads {
                        view.learn(head.partition, head.epoch, Some(broadcast.incarnation));
                    }
                }
                Err(error) => tracing::debug!(%error, "decode head broadcast"),
            }
        }
    });
    Ok(())
}

/// Asks the local host, under a fresh lease only. What it says without an append (a rejection, "already so") counts only if the lease is
/// still fresh afterwards: a process that was stopped in between judged by the state of before.
pub(crate) async fn answer_locally(
    local: &dyn LocalConversations,
    lease: &Lease,
    request: CommandRequest,
    trace: Option<TraceContext>,
) -> OwnerReply {
    let wedged = OwnerReply::Unavailable {
        retry_after_ms: WEDGED_RETRY_AFTER_MS,
    };
    if !lease.is_fresh() {
        return wedged;
    }
    let reply = local.handle(request, trace).await;
    let without_append = match &reply {
        OwnerReply::Rejected(_) => true,
        OwnerReply::Accepted(accepted) => accepted.how == How::Already,
        OwnerReply::Marked
        | OwnerReply::WrongOwner { .. }
        | OwnerReply::Busy { .. }
        | OwnerReply::Unavailable { .. }
        | OwnerReply::StorageFull
        | OwnerReply::Unknown => false,
    };
    if without_append && !lease.is_fresh() {
        wedged
    } else {
        reply
    }
}

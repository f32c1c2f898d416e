//! The command router: from any edge to the owner of a conversation, with one id and one deadline.
//!
//! An attempt that found no owner is tried again until the deadline; one that was handed over without a definite answer makes the end
//! `UnknownOutcome` unless a later attempt, marked as a repetition, gets a definite one (P9). Where waiting cannot help (no bus to another
//! owner, no database to learn of one) the answer is `Unavailable` at once.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hubbub_bus::{Bus, BusStatus, RequestError, Subject};
use hubbub_domain::conversation::Command;
use hubbub_domain::ids::{ConversationId, Incarnation};
use hubbub_domain::position::{Epoch, PartitionId};
use hubbub_telemetry::TraceContext;
use hubbub_telemetry::metrics::{Cluster, IntGauge};
use hubbub_wire::bus::{Accepted, CommandRequest, MarkRequest, OwnerReply, OwnerRequest};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use crate::lease::Lease;
use crate::port::{CommandRouter, LocalConversations, SubmitError};
use crate::server::answer_locally;
use crate::view::OwnersView;

/// What an owner may take for one attempt, and the longest an attempt waits (clients wait 5 s, edges 4 s, owners 3 s): as long as the slowest
/// append that still has a definite answer. An attempt also ends when its owner turns out to be another, and when the connection that it was
/// sent over is lost.
pub const ATTEMPT_MAX: Duration = Duration::from_secs(3);
/// Commands of this node's clients that wait for an owner's answer, at most; more are answered `Busy`. Each holds a task and its command
/// (≤ 64 KiB, mostly far less); edges admit far fewer at once.
pub const ROUTED_MAX: usize = 16_384;
/// How long to wait at most before looking again for an owner that is not known, and at least for a bus that takes nothing; a change of the
/// view wakes earlier.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long the bus may have been silent for a command to wait for it: a reconnection to another server is over by then.
const BUS_BLINK: Duration = Duration::from_secs(1);
/// What a client is told to wait when nobody serves its conversation, and what an open command waits for an owner without room to store.
const RETRY_AFTER_MS: u32 = 1_000;
/// What a client is told to wait when too many commands wait already.
const BUSY_RETRY_AFTER_MS: u32 = 250;

/// Routes commands to owners.
pub struct Router {
    me: Incarnation,
    view: Arc<OwnersView>,
    local: Arc<dyn LocalConversations>,
    bus: Arc<dyn Bus>,
    lease: Arc<Lease>,
    permits: Semaphore,
    metrics: Option<Cluster>,
}

impl Router {
    /// A router of this incarnation.
    pub fn new(
        me: Incarnation,
        view: Arc<OwnersView>,
        local: Arc<dyn LocalConversations>,
        bus: Arc<dyn Bus>,
        lease: Arc<Lease>,
    ) -> Self {
        Self {
            me,
            view,
            local,
            bus,
            lease,
            permits: Semaphore::new(ROUTED_MAX),
            metrics: None,
        }
    }

    /// Counts in the node's metrics from now on.
    #[must_use]
    pub fn reporting_to(mut self, metrics: Cluster) -> Self {
        self.metrics = Some(metrics);
        self
    }

    fn count(&self, add: impl FnOnce(&Cluster)) {
        if let Some(metrics) = &self.metrics {
            add(metrics);
        }
    }

    /// One command, counted and bounded.
    async fn route(
        &self,
        conversation: ConversationId,
        request: OwnerRequest,
        retry: bool,
        deadline: Duration,
        trace: Option<TraceContext>,
    ) -> Result<OwnerReply, SubmitError> {
        let Ok(_permit) = self.permits.try_acquire() else {
            self.count(|metrics| metrics.routing_refused.inc());
            return Err(SubmitError::Busy {
                retry_after_ms: BUSY_RETRY_AFTER_MS,
            });
        };
        let _under_way = self
            .metrics
            .as_ref()
            .map(|metrics| InFlight::begin(&metrics.routing));
        let answer = self
            .find_owner(conversation, request, retry, deadline, trace)
            .await;
        if answer == Err(SubmitError::UnknownOutcome) {
            self.count(|metrics| metrics.unknown_outcomes.inc());
        }
        answer
    }

    async fn find_owner(
        &self,
        conversation: ConversationId,
        request: OwnerRequest,
        mut retry: bool,
        deadline: Duration,
        trace: Option<TraceContext>,
    ) -> Result<OwnerReply, SubmitError> {
        let partition = self.view.partitions().partition_of(conversation);
        let until = Instant::now() + deadline;
        let mut changes = self.view.changes();
        // Whether any attempt was handed over without a definite answer.
        let mut open = false;
        let mut refused = SubmitError::Unavailable {
            retry_after_ms: RETRY_AFTER_MS,
        };
        loop {
            let remaining = until.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                return Err(without_answer(open, refused));
            }
            // What changes from here on is looked at again.
            changes.borrow_and_update();
            let mut waiting_helps = true;
            let mut pause = LOOK_AGAIN;
            let mut bus_is_away = false;
            if let Some((owner, epoch)) = self.view.owner(partition) {
                let patience = remaining.min(ATTEMPT_MAX);
                let request = CommandRequest {
                    partition,
                    epoch,
                    remaining_ms: u32::try_from(patience.as_millis()).unwrap_or(u32::MAX),
                    retry,
                    request: request.clone(),
                };
                match self
                    .attempt(owner, request, patience, &mut changes, trace.clone())
                    .await
                {
                    Attempt::Answered(OwnerReply::WrongOwner { hint }) => {
                        self.count(|metrics| metrics.wrong_owner.inc());
                        match hint {
                            Some((better, newer)) if newer > epoch => {
                                self.view.learn(partition, newer, Some(better));
                                continue;
                            }
                            Some(_) | None => self.view.doubt(partition, owner, epoch),
                        }
                        waiting_helps = owner != self.me || self.lease.is_undoubted();
                    }
                    Attempt::Answered(OwnerReply::Unknown) | Attempt::Open => {
                        open = true;
                        retry = true;
                    }
                    Attempt::Answered(OwnerReply::Unavailable { retry_after_ms }) => {
                        // Definite for this attempt; while time is left another one may find the next owner, unless this node itself
                        // cannot see the rows that would name it.
                        refused = SubmitError::Unavailable { retry_after_ms };
                        pause = as_told(retry_after_ms);
                        if pause >= until.saturating_duration_since(Instant::now()) {
                            return Err(without_answer(open, refused));
                        }
                        waiting_helps = self.lease.is_undoubted();
                    }
                    Attempt::Answered(OwnerReply::Busy { retry_after_ms }) if !open => {
                        return Err(SubmitError::Busy { retry_after_ms });
                    }
                    Attempt::Answered(OwnerReply::StorageFull) if !open => {
                        return Err(SubmitError::StorageFull);
                    }
                    // Definite for this attempt but not for an earlier open one: the probe before the append must get through first. Who
                    // refuses for want of room is not asked more often than it says.
                    Attempt::Answered(
                        reply @ (OwnerReply::Busy { .. } | OwnerReply::StorageFull),
                    ) => {
                        let told = if let OwnerReply::Busy { retry_after_ms } = reply {
                            retry_after_ms
                        } else {
                            RETRY_AFTER_MS
                        };
                        pause = as_told(told);
                        if pause >= until.saturating_duration_since(Instant::now()) {
                            return Err(SubmitError::UnknownOutcome);
                        }
                    }
                    Attempt::Answered(
                        reply @ (OwnerReply::Accepted(_)
                        | OwnerReply::Marked
                        | OwnerReply::Rejected(_)),
                    ) => return Ok(reply),
                    Attempt::NobodyThere => self.view.doubt(partition, owner, epoch),
                    Attempt::NoBus => {
                        // Only for a blink, but an open command has nothing to lose by waiting.
                        let blink = BUS_BLINK.saturating_sub(self.bus.silent_for());
                        (waiting_helps, bus_is_away) = (!blink.is_zero(), true);
                        pause = if open { deadline } else { blink };
                    }
                }
            } else {
                waiting_helps = self.lease.is_undoubted();
            }
            if !waiting_helps && !open {
                return Err(refused);
            }
            let pause = pause.min(until.saturating_duration_since(Instant::now()));
            let news = self.worth_another_attempt(partition, bus_is_away, &mut changes);
            // An elapsed pause means the same: look again.
            drop(timeout(pause, news).await);
        }
    }

    /// Returns when another owner is known, or when a bus that was away may be back: that never at once, as it may count as up although nothing
    /// can be sent.
    async fn worth_another_attempt(
        &self,
        partition: PartitionId,
        bus_is_away: bool,
        changes: &mut watch::Receiver<u64>,
    ) {
        let known = self.view.owner(partition);
        let mut status = self.bus.status();
        let back = async {
            tokio::time::sleep(LOOK_AGAIN).await;
            status.wait_for(|now| *now == BusStatus::Up).await.is_ok()
        };
        tokio::select! {
            () = self.changes_from(partition, known, changes) => {}
            true = back, if bus_is_away => {}
        }
    }

    async fn attempt(
        &self,
        owner: Incarnation,
        request: CommandRequest,
        patience: Duration,
        changes: &mut watch::Receiver<u64>,
        trace: Option<TraceContext>,
    ) -> Attempt {
        let (partition, epoch) = (request.partition, request.epoch);
        if owner == self.me {
            let answer = answer_locally(&*self.local, &self.lease, request, trace);
            return match timeout(patience, answer).await {
                Ok(reply) => Attempt::Answered(reply),
                Err(_elapsed) => Attempt::Open,
            };
        }
        let asking = self
            .bus
            .request(Subject::Command(owner), request.encode(), patience, trace);
        let answer = tokio::select! {
            // An answer that is there counts before the news that another has taken over.
            biased;
            answer = asking => answer,
            () = self.changes_from(partition, Some((owner, epoch)), changes) => {
                self.count(|metrics| metrics.forwarded.inc());
                return Attempt::Open;
            }
        };
        if !matches!(answer, Err(RequestError::NotSent(_))) {
            self.count(|metrics| metrics.forwarded.inc());
        }
        match answer {
            Ok(payload) => OwnerReply::decode(&payload).map_or_else(
                |error| {
                    tracing::warn!(%error, owner = %owner, "decode owner reply");
                    Attempt::Open
                },
                Attempt::Answered,
            ),
            Err(RequestError::NoResponder) => Attempt::NobodyThere,
            Err(RequestError::NotSent(_)) => Attempt::NoBus,
            Err(RequestError::TimedOut) => Attempt::Open,
        }
    }

    /// Returns when somebody is known to own the partition who is not `known`. While an attempt is under way: whoever was asked will not say
    /// anything definite any more.
    async fn changes_from(
        &self,
        partition: PartitionId,
        known: Option<(Incarnation, Epoch)>,
        changes: &mut watch::Receiver<u64>,
    ) {
        let known_epoch = known.map(|(_, epoch)| epoch);
        loop {
            let now = self.view.owner(partition);
            if now.is_some_and(|(_, epoch)| known_epoch.is_none_or(|known| epoch > known)) {
                return;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

/// What a command ends with that has no definite answer: whether an attempt is `open` decides, and then how the last one was refused.
fn without_answer(open: bool, refused: SubmitError) -> SubmitError {
    if open {
        SubmitError::UnknownOutcome
    } else {
        refused
    }
}

/// How long to wait before the owner that said so is asked again; another owner is asked at once.
fn as_told(retry_after_ms: u32) -> Duration {
    Duration::from_millis(retry_after_ms.into()).max(LOOK_AGAIN)
}

/// Counts a command while it is under way, whatever way it ends.
pub(crate) struct InFlight(IntGauge);

impl InFlight {
    pub(crate) fn begin(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// How one attempt ended.
enum Attempt {
    /// The owner (or who was taken for it) answered.
    Answered(OwnerReply),
    /// It may have been handled.
    Open,
    /// Nobody listens there: it certainly was not handled.
    NobodyThere,
    /// It was not sent.
    NoBus,
}

#[async_trait]
impl CommandRouter for Router {
    #[tracing::instrument(name = "cluster.command.route", skip_all, fields(conversation.id = %command.conversation))]
    async fn submit(
        &self,
        command: Command,
        retry: bool,
        deadline: Duration,
        trace: Option<TraceContext>,
    ) -> Result<Accepted, SubmitError> {
        match self
            .route(
                command.conversation,
                OwnerRequest::Command(command),
                retry,
                deadline,
                trace,
            )
            .await?
        {
            OwnerReply::Accepted(accepted) => Ok(accepted),
            OwnerReply::Rejected(rejection) => Err(SubmitError::Rejected(rejection)),
            OwnerReply::Marked
            | OwnerReply::WrongOwner { .. }
            | OwnerReply::Busy { .. }
            | OwnerReply::Unavailable { .. }
            | OwnerReply::StorageFull
            | OwnerReply::Unknown => Err(SubmitError::UnknownOutcome),
        }
    }

    async fn mark(&self, mark: MarkRequest, deadline: Duration) -> Result<(), SubmitError> {
        match self
            .route(
                mark.conversation,
                OwnerRequest::Mark(mark),
                false,
                deadline,
                None,
            )
            .await?
        {
            OwnerReply::Marked | OwnerReply::Accepted(_) => Ok(()),
            OwnerReply::Rejected(rejection) => Err(SubmitError::Rejected(rejection)),
            OwnerReply::WrongOwner { .. }
            | OwnerReply::Busy { .. }
            | OwnerReply::Unavailable { .. }
            | OwnerReply::StorageFull
            | OwnerReply::Unknown => Err(SubmitError::UnknownOutcome),
        }
    }
}

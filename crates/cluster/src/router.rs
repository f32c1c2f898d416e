//! The command router: from any edge to the owner of a conversation, with one id and one deadline.
//!
//! An attempt that found no owner is tried again until the deadline; one that was handed over without a definite answer makes the end
//! `UnknownOutcome` unless a later attempt, marked as a repetition, gets a definite one (P9).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hubbub_bus::{Bus, RequestError, Subject};
use hubbub_domain::conversation::Command;
use hubbub_domain::ids::{ConversationId, Incarnation};
use hubbub_telemetry::TraceContext;
use hubbub_wire::bus::{Accepted, CommandRequest, MarkRequest, OwnerReply, OwnerRequest};
use tokio::time::{Instant, timeout};

use crate::lease::Lease;
use crate::port::{CommandRouter, LocalConversations, SubmitError};
use crate::server::answer_locally;
use crate::view::OwnersView;

/// An attempt at another node waits at most this long before it counts as open and is repeated. Longer than the slowest append that
/// still has a definite answer on a healthy node, short enough for two attempts within an edge's four seconds.
pub const ATTEMPT_MAX: Duration = Duration::from_millis(1_800);
/// How long to wait at most before looking again for an owner that is not known; a change of the view wakes earlier.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// What a client is told to wait when nobody serves its conversation.
const RETRY_AFTER_MS: u32 = 1_000;

/// Routes commands to owners.
pub struct Router {
    me: Incarnation,
    view: Arc<OwnersView>,
    local: Arc<dyn LocalConversations>,
    bus: Arc<dyn Bus>,
    lease: Arc<Lease>,
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
        }
    }

    async fn route(
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
        let mut refused = None;
        loop {
            let remaining = until.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                return Err(match (open, refused) {
                    (true, _) => SubmitError::UnknownOutcome,
                    (false, Some(refused)) => refused,
                    (false, None) => SubmitError::Unavailable {
                        retry_after_ms: RETRY_AFTER_MS,
                    },
                });
            }
            if let Some((owner, epoch)) = self.view.owner(partition) {
                let attempt = remaining.min(ATTEMPT_MAX);
                let remaining_ms = u32::try_from(attempt.as_millis()).unwrap_or(u32::MAX);
                let request = CommandRequest {
                    partition,
                    epoch,
                    remaining_ms,
                    retry,
                    request: request.clone(),
                };
                match self.attempt(owner, request, attempt, trace.clone()).await {
                    Attempt::Answered(OwnerReply::WrongOwner { hint }) => match hint {
                        Some((better, newer)) if newer > epoch => {
                            self.view.learn(partition, newer, Some(better));
                        }
                        Some(_) | None => self.view.doubt(partition, owner, epoch),
                    },
                    Attempt::Answered(OwnerReply::Unknown) | Attempt::Open => {
                        open = true;
                        retry = true;
                    }
                    Attempt::Answered(OwnerReply::Unavailable { retry_after_ms }) => {
                        // Definite for this attempt; while time is left another one may find the next owner.
                        refused = Some(SubmitError::Unavailable { retry_after_ms });
                    }
                    Attempt::Answered(OwnerReply::Busy { retry_after_ms }) if !open => {
                        return Err(SubmitError::Busy { retry_after_ms });
                    }
                    Attempt::Answered(OwnerReply::StorageFull) if !open => {
                        return Err(SubmitError::StorageFull);
                    }
                    // Definite for this attempt but not for an earlier open one: the probe before the append must get through first.
                    Attempt::Answered(OwnerReply::Busy { .. } | OwnerReply::StorageFull) => {}
                    Attempt::Answered(
                        reply @ (OwnerReply::Accepted(_)
                        | OwnerReply::Marked
                        | OwnerReply::Rejected(_)),
                    ) => return Ok(reply),
                    Attempt::NotHandled => self.view.doubt(partition, owner, epoch),
                }
            }
            let pause = LOOK_AGAIN.min(until.saturating_duration_since(Instant::now()));
            // A closed channel or an elapsed pause both mean: look again.
            drop(timeout(pause, changes.changed()).await);
        }
    }

    async fn attempt(
        &self,
        owner: Incarnation,
        request: CommandRequest,
        patience: Duration,
        trace: Option<TraceContext>,
    ) -> Attempt {
        if owner == self.me {
            let answer = answer_locally(&*self.local, &self.lease, request, trace);
            return match timeout(patience, answer).await {
                Ok(reply) => Attempt::Answered(reply),
                Err(_elapsed) => Attempt::Open,
            };
        }
        match self
            .bus
            .request(Subject::Command(owner), request.encode(), patience, trace)
            .await
        {
            Ok(payload) => OwnerReply::decode(&payload).map_or_else(
                |error| {
                    tracing::warn!(%error, owner = %owner, "decode owner reply");
                    Attempt::Open
                },
                Attempt::Answered,
            ),
            Err(RequestError::NoResponder | RequestError::NotSent(_)) => Attempt::NotHandled,
            Err(RequestError::TimedOut) => Attempt::Open,
        }
    }
}

/// How one attempt ended.
enum Attempt {
    /// The owner (or who was taken for it) answered.
    Answered(OwnerReply),
    /// It may have been handled.
    Open,
    /// It certainly was not handled.
    NotHandled,
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

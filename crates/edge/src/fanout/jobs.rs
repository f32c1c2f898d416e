//! Reads that the fan-out has asked for, beside its loop. Each ends in a [`JobDone`]; what must succeed is tried until it does.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hubbub_accounts::SessionId;
use hubbub_bus::Subject;
use hubbub_domain::conversation::Event;
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{Offset, PartitionId, Seq};
use hubbub_event_log::ReadError;
use hubbub_projections::QueryError;
use hubbub_telemetry::TraceContext;
use hubbub_wire::bus::PartitionHead;
use hubbub_wire::client::ServerFrame;
use hubbub_wire::client::outbound::Added;
use hubbub_wire::stored::EventRow;
use tokio::task::JoinSet;

use crate::fanout::rooms::{fold, unfold};
use crate::fanout::{FanOutDeps, JOB_RETRY};
use crate::feed::RANGE_ROWS;
use crate::objects;
use crate::session::outbox::Outbox;
use crate::session::queue::Ticket;

/// Jobs at once; typing is forgotten above it, everything else is bounded by its own rule (one range per partition, one read per room).
const JOBS_MAX: usize = 4_096;
/// Account changes read at once.
const CHANGED_MAX: usize = 1_000;
/// Rows read at once when members are folded.
const FOLD_ROWS: usize = 1_000;
/// A read of a range gives up after this long and is started anew.
const RANGE_DEADLINE: Duration = Duration::from_secs(15);

/// What a job brought.
pub(crate) enum JobDone {
    Range {
        partition: PartitionId,
        after: Offset,
        rows: Result<Vec<EventRow>, ReadError>,
    },
    Heads(Vec<PartitionHead>),
    Members {
        conversation: ConversationId,
        /// And after which event they are the members; `None` when that cannot be told.
        members: Option<(Vec<UserId>, Seq)>,
    },
    LiveSessions {
        user: UserId,
        up_to: u64,
        live: Vec<SessionId>,
    },
    Changed(Vec<(UserId, u64)>),
    Nothing,
}

/// The jobs under way.
pub(crate) struct Jobs {
    deps: Arc<FanOutDeps>,
    running: JoinSet<JobDone>,
    reading_heads: bool,
    reading_changed: bool,
}

impl Jobs {
    pub(super) fn new(deps: Arc<FanOutDeps>) -> Self {
        Self {
            deps,
            running: JoinSet::new(),
            reading_heads: false,
            reading_changed: false,
        }
    }

    /// The next job that ended; never when none runs. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<JobDone> {
        let done = match self.running.join_next().await? {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(%error, "a job of the fan-out ended badly");
                JobDone::Nothing
            }
        };
        match &done {
            JobDone::Heads(_) => self.reading_heads = false,
            JobDone::Changed(_) => self.reading_changed = false,
            JobDone::Range { .. }
            | JobDone::Members { .. }
            | JobDone::LiveSessions { .. }
            | JobDone::Nothing => {}
        }
        Some(done)
    }

    pub(super) fn read_range(&mut self, partition: PartitionId, after: Offset) {
        let log = Arc::clone(&self.deps.log);
        self.running.spawn(async move {
            let read =
                tokio::time::timeout(RANGE_DEADLINE, log.tail(partition, after, RANGE_ROWS)).await;
            let rows =
                read.unwrap_or_else(|elapsed| Err(ReadError::Unavailable(Box::new(elapsed))));
            if let Err(error) = &rows {
                tracing::warn!(%error, partition = partition.get(), "a gap could not be read");
            }
            JobDone::Range {
                partition,
                after,
                rows,
            }
        });
    }

    pub(super) fn read_heads(&mut self, partitions: Vec<PartitionId>) {
        if !std::mem::replace(&mut self.reading_heads, true) {
            let log = Arc::clone(&self.deps.log);
            self.running.spawn(async move {
                let heads = log.heads(&partitions).await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "heads could not be read");
                    Vec::new()
                });
                JobDone::Heads(heads)
            });
        }
    }

    pub(super) fn read_changed(&mut self, after: u64) {
        if !std::mem::replace(&mut self.reading_changed, true) {
            let identity = Arc::clone(&self.deps.identity);
            self.running.spawn(async move {
                let changed = identity
                    .changed_since(after, CHANGED_MAX)
                    .await
                    .unwrap_or_else(|error| {
                        tracing::warn!(%error, "account changes could not be read");
                        Vec::new()
                    });
                JobDone::Changed(changed)
            });
        }
    }

    /// `up_to`: the newest seat that this answer can judge.
    pub(super) fn read_live_sessions(&mut self, user: UserId, up_to: u64) {
        let identity = Arc::clone(&self.deps.identity);
        self.running.spawn(async move {
            let live = persist("live sessions", || identity.live_sessions(user)).await;
            JobDone::LiveSessions { user, up_to, live }
        });
    }

    /// Members just before an event, or now.
    pub(super) fn read_members(&mut self, conversation: ConversationId, before: Option<Seq>) {
        let deps = Arc::clone(&self.deps);
        self.running.spawn(async move {
            let members = persist("members of a room", || {
                readable(conversation, members_before(&deps, conversation, before))
            })
            .await;
            JobDone::Members {
                conversation,
                members,
            }
        });
    }

    /// Tells the sockets of a new member what they are now in; the events wait for it.
    pub(super) fn announce(
        &mut self,
        conversation: ConversationId,
        user: UserId,
        seq: Seq,
        sockets: Vec<(Arc<Outbox>, Ticket)>,
    ) {
        let deps = Arc::clone(&self.deps);
        self.running.spawn(async move {
            let summary = persist("summary for a new member", || {
                readable(conversation, summary_frame(&deps, conversation, user))
            })
            .await
            .flatten();
            for (outbox, ticket) in sockets {
                match &summary {
                    Some(frame) => outbox.fulfil(conversation, ticket, seq, frame.clone()),
                    // Removed again meanwhile: the events say so themselves. Or nothing can be read: nothing more can be said.
                    None => outbox.release(conversation, ticket, None),
                }
            }
            JobDone::Nothing
        });
    }

    /// Publishes what may be lost.
    pub(super) fn publish(&mut self, subject: Subject, payload: Bytes) {
        if self.running.len() >= JOBS_MAX {
            return;
        }
        let bus = Arc::clone(&self.deps.bus);
        let trace = TraceContext::current();
        self.running.spawn(async move {
            if let Err(error) = bus.publish(subject, payload, trace).await {
                tracing::debug!(%error, "an ephemeral message was not published");
            }
            JobDone::Nothing
        });
    }
}

/// Tries until it works; whoever waits for it holds something back.
async fn persist<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(
    what: &'static str,
    mut attempt: impl FnMut() -> F,
) -> T {
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => tracing::warn!(%error, what, "not to be had; trying again"),
        }
        tokio::time::sleep(JOB_RETRY).await;
    }
}

/// `None` when what is stored contradicts itself: asking again would go on for ever and hold back more and more (F14).
async fn readable<T>(
    conversation: ConversationId,
    read: impl Future<Output = Result<T, QueryError>>,
) -> Result<Option<T>, QueryError> {
    match read.await {
        Ok(value) => Ok(Some(value)),
        Err(QueryError::Inconsistent(what) | QueryError::Log(ReadError::Inconsistent(what))) => {
            tracing::error!(error = %what, conversation.id = %conversation, "a conversation cannot be read");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn summary_frame(
    deps: &FanOutDeps,
    conversation: ConversationId,
    user: UserId,
) -> Result<Option<crate::session::queue::Frame>, QueryError> {
    let Some(summary) = deps.read_models.summary(conversation, user).await? else {
        return Ok(None);
    };
    let conversation = deps
        .people
        .conversation(&summary, user)
        .await
        .map_err(|error| QueryError::Unavailable(Box::new(error)))?;
    Ok(Some(objects::frame(&ServerFrame::Added(Box::new(Added {
        conversation,
    })))))
}

/// Ascending members after the event before `before`, or after the last one that is stored.
async fn members_before(
    deps: &FanOutDeps,
    conversation: ConversationId,
    before: Option<Seq>,
) -> Result<(Vec<UserId>, Seq), QueryError> {
    let fallback = before.map_or(Seq::ZERO, Seq::prev);
    let Some(now) = deps.read_models.membership(conversation).await? else {
        return Ok((Vec::new(), fallback));
    };
    let mut members = now.members;
    members.sort_unstable();
    let Some(before) = before else {
        return Ok((members, now.as_of));
    };
    if now.as_of >= before {
        let events = events_between(deps, conversation, before, now.as_of).await?;
        for event in events.iter().rev() {
            unfold(&mut members, event);
        }
    } else {
        for event in events_between(deps, conversation, now.as_of.next(), before.prev()).await? {
            fold(&mut members, &event);
        }
    }
    Ok((members, before.prev()))
}

/// Events from `from` to `to`, both inclusive, ascending.
async fn events_between(
    deps: &FanOutDeps,
    conversation: ConversationId,
    from: Seq,
    to: Seq,
) -> Result<Vec<Event>, QueryError> {
    let mut events = Vec::new();
    let mut next = from;
    while next <= to {
        let rows = deps
            .log
            .read_conversation(conversation, next, FOLD_ROWS)
            .await?;
        if rows.is_empty() {
            return Err(QueryError::Inconsistent(
                "a projection is ahead of the log".to_owned(),
            ));
        }
        for row in rows {
            if row.seq > to {
                break;
            }
            let recorded = row
                .decode()
                .map_err(|error| QueryError::Inconsistent(error.to_string()))?;
            next = row.seq.next();
            events.push(recorded.event);
        }
    }
    Ok(events)
}

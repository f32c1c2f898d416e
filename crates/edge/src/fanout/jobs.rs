//! Reads that the fan-out has asked for, beside its loop. Each ends in a [`JobDone`]; what must succeed is tried until it does.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hubbub_accounts::SessionId;
use hubbub_bus::Subject;
use hubbub_domain::conversation::Event;
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{Epoch, Offset, PartitionId, Seq};
use hubbub_event_log::ReadError;
use hubbub_projections::QueryError;
use hubbub_telemetry::TraceContext;
use hubbub_wire::bus::{PartitionHead, RangeRequest};
use hubbub_wire::client::ServerFrame;
use hubbub_wire::client::outbound::Added;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::fanout::mend::Lost;
use crate::fanout::rooms::{fold, unfold};
use crate::fanout::{CatchUp, FanOutDeps, JOB_RETRY};
use crate::feed::{Fetched, RANGE_ROWS, Source};
use crate::session::outbox::Outbox;
use crate::session::queue::Ticket;
use crate::{objects, resume};

/// Jobs at once; typing is forgotten above it, everything else is bounded by its own rule (one range per partition, one read per room).
const JOBS_MAX: usize = 4_096;
/// Account changes read at once.
const CHANGED_MAX: usize = 1_000;
/// Rows read at once when members are folded.
const FOLD_ROWS: usize = 1_000;
/// A read of a range gives up after this long and is started anew.
const RANGE_DEADLINE: Duration = Duration::from_secs(15);
/// An owner answers from memory or not at all; what it does not answer by then is read from the log.
const RING_DEADLINE: Duration = Duration::from_millis(250);
/// Ranges read from the log at once: after a takeover every partition wants one, and history reads use the same database.
const RANGE_READS_AT_ONCE: usize = 16;
/// Live sockets brought to the log at once after a loss of lineage.
const CATCH_UPS_AT_ONCE: usize = 16;
/// Questions about heads, accounts and neighbours are asked again after this long.
const SURVEY_DEADLINE: Duration = Duration::from_secs(2);
/// Changed accounts whose sessions a survey looks up itself; of more the fan-out asks for those that have sockets here.
const SURVEYED_USERS_MAX: usize = 32;

/// What a job brought.
pub(crate) enum JobDone {
    Range {
        partition: PartitionId,
        after: Offset,
        fetched: Fetched,
    },
    /// Account changes first, then, when those could be read, heads.
    Surveyed {
        changed: Vec<(UserId, u64)>,
        /// Sessions that are left to some of the changed, judged for seats up to `up_to`.
        live: Vec<(UserId, Vec<SessionId>)>,
        up_to: u64,
        heads: Option<Vec<PartitionHead>>,
    },
    /// Whether another node is alive and hears.
    Neighbours(Option<bool>),
    Members {
        conversation: ConversationId,
        /// And after which event they are the members; `None` when that cannot be told.
        members: Option<(Vec<UserId>, Seq)>,
    },
    Mended {
        partition: PartitionId,
        head: PartitionHead,
        lost: Vec<Lost>,
        below: Offset,
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
    surveying: bool,
    reading_changed: bool,
    looking_around: bool,
    mending: HashSet<PartitionId>,
    /// Partitions whose last read was of a ring: a read of the log after it is for the same gap.
    asked_ring: HashSet<PartitionId>,
    range_reads: Arc<Semaphore>,
    catch_ups: Arc<Semaphore>,
}

impl Jobs {
    pub(super) fn new(deps: Arc<FanOutDeps>) -> Self {
        Self {
            deps,
            running: JoinSet::new(),
            surveying: false,
            reading_changed: false,
            looking_around: false,
            mending: HashSet::new(),
            asked_ring: HashSet::new(),
            range_reads: Arc::new(Semaphore::new(RANGE_READS_AT_ONCE)),
            catch_ups: Arc::new(Semaphore::new(CATCH_UPS_AT_ONCE)),
        }
    }

    /// The next job that ended; never when none runs. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<JobDone> {
        let done = match self.running.join_next().await? {
            Ok(done) => done,
            Err(error) => {
                // Whatever it was is asked for again by whoever misses it.
                tracing::error!(%error, "a job of the fan-out ended badly");
                (self.surveying, self.reading_changed, self.looking_around) = (false, false, false);
                JobDone::Nothing
            }
        };
        match &done {
            JobDone::Surveyed { .. } => self.surveying = false,
            JobDone::Changed(_) => self.reading_changed = false,
            JobDone::Neighbours(_) => self.looking_around = false,
            JobDone::Range { .. }
            | JobDone::Members { .. }
            | JobDone::Mended { .. }
            | JobDone::LiveSessions { .. }
            | JobDone::Nothing => {}
        }
        Some(done)
    }

    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// Whether something may be read that nobody needs urgently.
    pub(super) fn has_room(&self) -> bool {
        self.running.len() < JOBS_MAX / 2
    }

    pub(super) fn is_mending(&self, partition: PartitionId) -> bool {
        self.mending.contains(&partition)
    }

    pub(super) fn mend_ended(&mut self, partition: PartitionId) {
        self.mending.remove(&partition);
    }

    pub(super) fn read_range(
        &mut self,
        partition: PartitionId,
        after: Offset,
        to: Offset,
        from: Source,
    ) {
        let asked = self.asked_ring.remove(&partition);
        match from {
            Source::Ring(owner) => {
                self.deps.metrics.feed.gaps.inc();
                self.asked_ring.insert(partition);
                let bus = Arc::clone(&self.deps.bus);
                let request = RangeRequest {
                    partition,
                    after,
                    to,
                };
                self.running.spawn(async move {
                    let answer = bus
                        .request(
                            Subject::Range(owner),
                            request.encode(),
                            RING_DEADLINE,
                            TraceContext::current(),
                        )
                        .await;
                    let piece = answer
                        .inspect_err(|error| tracing::debug!(%error, "a ring did not answer"))
                        .ok()
                        .and_then(|payload| hubbub_cluster::ranges::read_answer(&payload));
                    JobDone::Range {
                        partition,
                        after,
                        fetched: Fetched::Ring(piece),
                    }
                });
            }
            Source::Log => {
                if !asked {
                    self.deps.metrics.feed.gaps.inc();
                }
                let (log, places) = (Arc::clone(&self.deps.log), Arc::clone(&self.range_reads));
                self.running.spawn(async move {
                    let read = tokio::time::timeout(RANGE_DEADLINE, async {
                        // Never closed: with or without a place, the read is bounded by its deadline.
                        let _place = places.acquire().await.ok();
                        log.tail(partition, after, RANGE_ROWS).await
                    });
                    let rows = read
                        .await
                        .unwrap_or_else(|elapsed| Err(ReadError::Unavailable(Box::new(elapsed))));
                    if let Err(error) = &rows {
                        tracing::warn!(%error, partition = partition.get(), "a gap could not be read");
                    }
                    JobDone::Range {
                        partition,
                        after,
                        fetched: Fetched::Log(rows),
                    }
                });
            }
        }
    }

    /// Asks the stores what the bus does not tell: accounts that changed after `known`, what is left to them, and only then heads.
    pub(super) fn survey(&mut self, partitions: Vec<PartitionId>, known: u64, up_to: u64) {
        if !std::mem::replace(&mut self.surveying, true) {
            let deps = Arc::clone(&self.deps);
            self.running.spawn(async move {
                let surveyed = survey(&deps, &partitions, known).await;
                let (changed, live, heads) = surveyed.unwrap_or_else(|error| {
                    tracing::warn!(%error, "the stores do not tell what the bus does not");
                    (Vec::new(), Vec::new(), None)
                });
                JobDone::Surveyed {
                    changed,
                    live,
                    up_to,
                    heads,
                }
            });
        }
    }

    /// Asks whether other nodes hear.
    pub(super) fn look_around(&mut self) {
        if !std::mem::replace(&mut self.looking_around, true) {
            let neighbours = Arc::clone(&self.deps.neighbours);
            self.running.spawn(async move {
                let hear = tokio::time::timeout(SURVEY_DEADLINE, neighbours.anyone_hears()).await;
                JobDone::Neighbours(hear.ok().flatten())
            });
        }
    }

    pub(super) fn read_changed(&mut self, after: u64) {
        if !std::mem::replace(&mut self.reading_changed, true) {
            let identity = Arc::clone(&self.deps.identity);
            self.running.spawn(async move {
                let read = tokio::time::timeout(
                    SURVEY_DEADLINE,
                    identity.changed_since(after, CHANGED_MAX),
                );
                let changed = match read.await {
                    Ok(Ok(changed)) => changed,
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "account changes could not be read");
                        Vec::new()
                    }
                    Err(_elapsed) => Vec::new(),
                };
                JobDone::Changed(changed)
            });
        }
    }

    /// Finds out what is left of what was given out of a partition. `last`: the newest epoch of it.
    pub(super) fn mend(&mut self, partition: PartitionId, given: Vec<Lost>, last: Epoch) {
        if self.mending.insert(partition) {
            let deps = Arc::clone(&self.deps);
            self.running.spawn(async move {
                let (head, lost, below) = persist("what is left of a partition", || {
                    what_is_left(&deps, partition, &given, last)
                })
                .await;
                JobDone::Mended {
                    partition,
                    head,
                    lost,
                    below,
                }
            });
        }
    }

    /// Brings a live socket's conversations to what the log holds.
    pub(super) fn catch_up_again(
        &mut self,
        user: UserId,
        outbox: Arc<Outbox>,
        catch_ups: Vec<CatchUp>,
    ) {
        let (deps, places) = (Arc::clone(&self.deps), Arc::clone(&self.catch_ups));
        self.running.spawn(async move {
            let _place = places.acquire().await.ok();
            let sources = resume::Sources {
                log: Arc::clone(&deps.log),
                read_models: Arc::clone(&deps.read_models),
                people: deps.people.clone(),
                metrics: Arc::clone(&deps.metrics),
                found: None,
            };
            resume::again(&sources, user, &outbox, catch_ups).await;
            JobDone::Nothing
        });
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

type Survey = (
    Vec<(UserId, u64)>,
    Vec<(UserId, Vec<SessionId>)>,
    Option<Vec<PartitionHead>>,
);

async fn survey(
    deps: &FanOutDeps,
    partitions: &[PartitionId],
    known: u64,
) -> Result<Survey, Box<dyn std::error::Error + Send + Sync>> {
    let accounts = tokio::time::timeout(SURVEY_DEADLINE, async {
        let changed = deps.identity.changed_since(known, CHANGED_MAX).await?;
        let mut live = Vec::new();
        if changed.len() <= SURVEYED_USERS_MAX {
            for (user, _) in &changed {
                live.push((*user, deps.identity.live_sessions(*user).await?));
            }
        }
        Ok::<_, hubbub_accounts::AccountsError>((changed, live))
    });
    let (changed, live) = accounts.await??;
    let heads = tokio::time::timeout(SURVEY_DEADLINE, deps.log.heads(partitions)).await;
    let heads = heads.ok().and_then(|heads| {
        heads
            .inspect_err(|error| tracing::warn!(%error, "heads could not be read"))
            .ok()
    });
    Ok((changed, live, heads))
}

/// The head of a partition, which of the events `given` out last in their conversations the log does not hold, and the offset up to
/// which nothing was lost.
async fn what_is_left(
    deps: &FanOutDeps,
    partition: PartitionId,
    given: &[Lost],
    last: Epoch,
) -> Result<(PartitionHead, Vec<Lost>, Offset), ReadError> {
    let heads = deps.log.heads(&[partition]).await?;
    let head = heads.first().copied().ok_or_else(|| {
        ReadError::Inconsistent(format!("partition {} has no head", partition.get()))
    })?;
    let lineage = deps.log.lineage(partition).await?;
    let newer = lineage.iter().filter(|entry| entry.epoch > last);
    let below = newer.map(|entry| entry.start).min().unwrap_or(head.head);
    let mut lost = Vec::new();
    for (conversation, epoch, seq) in given {
        let rows = deps.log.read_conversation(*conversation, *seq, 1).await?;
        if !rows
            .first()
            .is_some_and(|row| row.seq == *seq && row.epoch == *epoch)
        {
            lost.push((*conversation, *epoch, *seq));
        }
    }
    Ok((head, lost, below))
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

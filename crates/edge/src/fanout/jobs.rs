//! Reads that the fan-out has asked for, beside its loop. Each ends in a [`JobDone`]; what must succeed is tried until it does.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hubbub_accounts::SessionId;
use hubbub_bus::Subject;
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{Epoch, Offset, PartitionId, Seq};
use hubbub_event_log::ReadError;
use hubbub_telemetry::TraceContext;
use hubbub_wire::bus::{PartitionHead, RangeRequest};
use hubbub_wire::client::close;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::fanout::mend::{Given, Left, MembersAt};
use crate::fanout::reads::{members_before, readable, summary_frame, survey, what_is_left};
use crate::fanout::{CatchUp, FanOutDeps, JOB_RETRY};
use crate::feed::{Fetched, RANGE_ROWS, Source};
use crate::gates::Gate;
use crate::resume;
use crate::session::outbox::Outbox;
use crate::session::queue::Ticket;

/// Jobs at once; typing is forgotten above it, everything else is bounded by its own rule (one range per partition, one read per room).
const JOBS_MAX: usize = 4_096;
/// Account changes read at once.
pub(super) const CHANGED_MAX: usize = 1_000;
/// A read of a range gives up after this long and is started anew.
const RANGE_DEADLINE: Duration = Duration::from_secs(15);
/// An owner answers from memory or not at all; what it does not answer by then is read from the log.
const RING_DEADLINE: Duration = Duration::from_millis(250);
/// Ranges read from the log at once: after a takeover every partition wants one, and history reads use the same database.
const RANGE_READS_AT_ONCE: usize = 16;
/// Reads at once for live sockets that are brought to the log after a loss of lineage.
const CATCH_UPS_AT_ONCE: usize = 16;
/// Questions about heads, accounts and neighbours are asked again after this long.
pub(super) const SURVEY_DEADLINE: Duration = Duration::from_secs(2);

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
        members: Option<MembersAt>,
    },
    Mended {
        partition: PartitionId,
        /// `None` when it cannot be told.
        left: Option<Left>,
    },
    /// Where a partition stands of which nobody could tell what is left.
    Head(PartitionHead),
    LiveSessions {
        user: UserId,
        up_to: u64,
        live: Vec<SessionId>,
    },
    Changed(Vec<(UserId, u64)>),
    Nothing,
}

/// Who waits for a job, and does not ask again before it has ended: should it panic, this is what they are told instead.
enum Owed {
    /// The stores do not answer.
    Survey,
    /// No account is known to have changed.
    Changed,
    /// Nobody can tell whether others hear.
    Neighbours,
    /// Nobody can tell what is left.
    Mended(PartitionId),
    /// Nobody can tell the members.
    Members(ConversationId),
    /// Something is held back on these sockets: they have to resume.
    Sockets(Vec<Arc<Outbox>>),
}

/// The jobs under way.
pub(crate) struct Jobs {
    deps: Arc<FanOutDeps>,
    running: JoinSet<JobDone>,
    /// Of the running ones.
    owed: HashMap<tokio::task::Id, Owed>,
    surveying: bool,
    reading_changed: bool,
    looking_around: bool,
    mending: HashSet<PartitionId>,
    /// Partitions whose last read was of a ring: a read of the log after it is for the same gap.
    asked_ring: HashSet<PartitionId>,
    range_reads: Arc<Semaphore>,
    catch_ups: Arc<Gate>,
}

impl Jobs {
    pub(super) fn new(deps: Arc<FanOutDeps>) -> Self {
        Self {
            deps,
            running: JoinSet::new(),
            owed: HashMap::new(),
            surveying: false,
            reading_changed: false,
            looking_around: false,
            mending: HashSet::new(),
            asked_ring: HashSet::new(),
            range_reads: Arc::new(Semaphore::new(RANGE_READS_AT_ONCE)),
            catch_ups: Arc::new(Gate::new(CATCH_UPS_AT_ONCE, usize::MAX, None)),
        }
    }

    /// The next job that ended; never when none runs. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<JobDone> {
        let done = match self.running.join_next_with_id().await? {
            Ok((id, done)) => {
                self.owed.remove(&id);
                done
            }
            Err(error) => {
                tracing::error!(%error, "a job of the fan-out ended badly");
                self.owed
                    .remove(&error.id())
                    // A range is asked for again by the feed that misses it; nobody misses what was to be published.
                    .map_or(JobDone::Nothing, Owed::failed)
            }
        };
        match &done {
            JobDone::Changed(_) => self.reading_changed = false,
            JobDone::Neighbours(_) => self.looking_around = false,
            // It ends once it is looked at: see [`Jobs::survey_ended`].
            JobDone::Surveyed { .. }
            | JobDone::Range { .. }
            | JobDone::Members { .. }
            | JobDone::Mended { .. }
            | JobDone::Head(_)
            | JobDone::LiveSessions { .. }
            | JobDone::Nothing => {}
        }
        Some(done)
    }

    /// Whether the stores are being asked, or have answered and nobody has looked at it yet.
    pub(super) fn is_surveying(&self) -> bool {
        self.surveying
    }

    /// What the stores answered is being looked at.
    pub(super) fn survey_ended(&mut self) {
        self.surveying = false;
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
            let job = self.running.spawn(async move {
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
            self.owed.insert(job.id(), Owed::Survey);
        }
    }

    /// Asks whether other nodes hear.
    pub(super) fn look_around(&mut self) {
        if !std::mem::replace(&mut self.looking_around, true) {
            let neighbours = Arc::clone(&self.deps.neighbours);
            let job = self.running.spawn(async move {
                let hear = tokio::time::timeout(SURVEY_DEADLINE, neighbours.anyone_hears()).await;
                JobDone::Neighbours(hear.ok().flatten())
            });
            self.owed.insert(job.id(), Owed::Neighbours);
        }
    }

    pub(super) fn read_changed(&mut self, after: u64) {
        if !std::mem::replace(&mut self.reading_changed, true) {
            let identity = Arc::clone(&self.deps.identity);
            let job = self.running.spawn(async move {
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
            self.owed.insert(job.id(), Owed::Changed);
        }
    }

    /// Finds out what is left of what was given out of a partition. `last`: the newest epoch of it.
    pub(super) fn mend(&mut self, partition: PartitionId, given: Vec<Given>, last: Epoch) {
        if self.mending.insert(partition) {
            let deps = Arc::clone(&self.deps);
            let job = self.running.spawn(async move {
                let left = what_is_left(&deps, partition, given, last).await;
                JobDone::Mended { partition, left }
            });
            self.owed.insert(job.id(), Owed::Mended(partition));
        }
    }

    /// Reads where a partition stands of which nobody can tell what is left; it is delivered from there.
    pub(super) fn read_head(&mut self, partition: PartitionId) {
        let deps = Arc::clone(&self.deps);
        let job = self.running.spawn(async move {
            // Should this be what goes wrong, it goes wrong at leisure.
            tokio::time::sleep(JOB_RETRY).await;
            let head = persist("where a partition stands", async || {
                let heads = deps.log.heads(&[partition]).await?;
                let head = heads.first().copied();
                head.ok_or_else(|| ReadError::Inconsistent("a partition without a head".to_owned()))
            });
            JobDone::Head(head.await)
        });
        self.owed.insert(job.id(), Owed::Mended(partition));
    }

    /// Brings a live socket's conversations to what the log holds.
    pub(super) fn catch_up_again(
        &mut self,
        user: UserId,
        outbox: Arc<Outbox>,
        catch_ups: Vec<CatchUp>,
    ) {
        let (deps, door) = (Arc::clone(&self.deps), Arc::clone(&self.catch_ups));
        let owed = Owed::Sockets(vec![Arc::clone(&outbox)]);
        let job = self.running.spawn(async move {
            let sources = resume::Sources {
                log: Arc::clone(&deps.log),
                read_models: Arc::clone(&deps.read_models),
                people: deps.people.clone(),
                metrics: Arc::clone(&deps.metrics),
                door,
                found: None,
            };
            resume::again(&sources, user, &outbox, catch_ups).await;
            JobDone::Nothing
        });
        self.owed.insert(job.id(), owed);
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
        let job = self.running.spawn(async move {
            let members = persist("members of a room", || {
                readable(conversation, members_before(&deps, conversation, before))
            })
            .await;
            JobDone::Members {
                conversation,
                members,
            }
        });
        self.owed.insert(job.id(), Owed::Members(conversation));
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
        let outboxes = sockets.iter().map(|(outbox, _)| Arc::clone(outbox));
        let owed = Owed::Sockets(outboxes.collect());
        let job = self.running.spawn(async move {
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
        self.owed.insert(job.id(), owed);
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

impl Owed {
    /// What those who wait are told when the job has failed.
    fn failed(self) -> JobDone {
        match self {
            Self::Survey => JobDone::Surveyed {
                changed: Vec::new(),
                live: Vec::new(),
                up_to: 0,
                heads: None,
            },
            Self::Changed => JobDone::Changed(Vec::new()),
            Self::Neighbours => JobDone::Neighbours(None),
            Self::Mended(partition) => JobDone::Mended {
                partition,
                left: None,
            },
            Self::Members(conversation) => JobDone::Members {
                conversation,
                members: None,
            },
            Self::Sockets(outboxes) => {
                for outbox in outboxes {
                    outbox.close(close::DEGRADED, "resume elsewhere");
                }
                JobDone::Nothing
            }
        }
    }
}

/// Tries until it works; whoever waits for it holds something back.
pub(super) async fn persist<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(
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

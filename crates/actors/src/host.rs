//! The host: starts the arbiters and the lanes, serves partitions, takes requests, tells the world where its partitions stand.
//!
//! The arbiters' threads only compute. Every read, write and publish runs on the tokio runtime that the host was started in, so a
//! socket is never tied to an arbiter, and a computation never holds a socket up.
//!
//! Never: a decision about ownership. Whoever calls [`LocalConversations::serve`] has acquired the epoch; whoever reads the
//! [`HostEvent`]s acts on them. Calls for one partition come one after the other.

mod lanes;
mod recovery;
mod subject;
mod system;
mod ticker;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use actix::Addr;
use actix::dev::SendError;
use async_trait::async_trait;
use hubbub_bus::Bus;
use hubbub_cluster::port::{HostEvent, LocalConversations, PartitionSignal};
use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::{Epoch, Offset, PartitionCount, PartitionId};
use hubbub_domain::time::Timestamp;
use hubbub_event_log::EventLog;
use hubbub_event_log::port::APPEND_REPLY_DEADLINE;
use hubbub_telemetry::{Metrics, TraceContext, spans};
use hubbub_wire::bus::{CommandRequest, EvBatch, OwnerReply, PartitionHead, RangeRequest};
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::answer::{Answer, unavailable};
use crate::conversation::actor::Request;
use crate::export::Exported;
use crate::host::lanes::LaneThread;
use crate::host::recovery::{RECOVERIES_MAX, Recovery};
use crate::host::subject::{Subject, want};
use crate::host::system::ArbiterThreads;
use crate::lane::LaneHandle;
use crate::lane::task::LaneTask;
use crate::partition::actor::PartitionActor;
use crate::partition::input::{PartitionBirth, PartitionInput};
use crate::partition::publisher::{Progress, Publisher, SharedRing};
use crate::partition::residents::Pauses;
use crate::permits::{BUSY_RETRY_AFTER_MS, Holding, NotNow, PermitLimits, Permits};
use crate::shared::{Residency, Shared};
use crate::stats::{Gauge, Stats, StatsView, as_u64};

/// The owner's wall clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Loads from the log at once: a takeover warms up quickly without emptying the reading pool.
const ACTIVATIONS_MAX: usize = 32;
/// Inputs that wait for one lane besides those that hold a permit: opening, closing and marker writes of every partition.
const LANE_INPUTS_EXTRA: usize = 8_192;
/// How long past its deadline a request may wait for a definite answer: an append that was sent in time gives one, or "unknown",
/// within the log's own limit, plus a second for a busy machine.
const ANSWER_GRACE: Duration = APPEND_REPLY_DEADLINE.saturating_add(Duration::from_secs(1));

/// How a host is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostOptions {
    /// Arbiter threads; zero = one per core.
    pub arbiters: usize,
    /// Pause between two head broadcasts, marker writes and looks at memory.
    pub tick: Duration,
    /// Conversations in memory at most, about.
    pub residents_max: usize,
    /// Bytes of conversation state in memory at most, about.
    pub resident_bytes_max: usize,
    /// What may be under way at once.
    pub permits: PermitLimits,
    /// How long conversations that failed are left alone.
    pub pauses: Pauses,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            arbiters: 0,
            tick: Duration::from_secs(1),
            residents_max: 100_000,
            resident_bytes_max: 512 << 20,
            permits: PermitLimits::default(),
            pauses: Pauses::default(),
        }
    }
}

/// What a host builds on.
#[derive(Clone)]
pub struct HostDeps {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// The owner's wall clock.
    pub clock: Clock,
    /// This life of this node.
    pub incarnation: Incarnation,
    /// How many partitions the cluster has.
    pub partitions: PartitionCount,
    /// Highest account revision that this node knows; told with every head broadcast.
    pub user_rev: Arc<AtomicU64>,
    /// Where the ownership loop listens.
    pub host_events: mpsc::Sender<HostEvent>,
}

/// A host could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A thread or its runtime could not be made.
    #[error("start arbiter threads: {0}")]
    Threads(#[source] std::io::Error),
    /// The thread ended before it could say why.
    #[error("the arbiter threads ended at once")]
    Ended,
}

/// The actor host of one node. Several may live in one process.
pub struct ActorHost {
    shared: Arc<Shared>,
    permits: Arc<Permits>,
    partitions: PartitionCount,
    user_rev: Arc<AtomicU64>,
    served: RwLock<HashMap<PartitionId, Arc<Served>>>,
    lanes: Mutex<Vec<LaneHandle>>,
    /// `None` after the end.
    recoveries: Mutex<Option<mpsc::Sender<Recovery>>>,
    ticks: AtomicU64,
    /// Held by the write of watermarks under way.
    saving_watermarks: Arc<tokio::sync::Mutex<()>>,
    threads: ArbiterThreads,
    lane_thread: LaneThread,
    tasks: TaskTracker,
    ending: CancellationToken,
}

/// A partition as the host sees it.
struct Served {
    epoch: Epoch,
    actor: Addr<PartitionActor>,
    /// New requests are let in.
    accepting: AtomicBool,
    /// It has left Serving by itself.
    left: Arc<AtomicBool>,
    progress: Arc<Progress>,
    ring: Arc<SharedRing>,
    chores: TaskTracker,
}

impl ActorHost {
    /// Starts the threads, the lanes and the ticker on the current tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] when a thread cannot be made.
    pub async fn start(options: HostOptions, deps: HostDeps) -> Result<Arc<Self>, StartError> {
        let (partitions, user_rev) = (deps.partitions, Arc::clone(&deps.user_rev));
        let shared = Arc::new(share(&options, deps));
        Self::start_shared(options, shared, partitions, user_rev).await
    }

    async fn start_shared(
        options: HostOptions,
        shared: Arc<Shared>,
        partitions: PartitionCount,
        user_rev: Arc<AtomicU64>,
    ) -> Result<Arc<Self>, StartError> {
        let threads = ArbiterThreads::start(options.arbiters).await?;
        let lane_thread = LaneThread::start().await?;
        let tasks = TaskTracker::new();
        let queue_max = options
            .permits
            .node
            .count_max
            .saturating_add(LANE_INPUTS_EXTRA);
        let lanes = (0..shared.log.lanes().max(1))
            .map(|number| {
                let (inputs, queue) = mpsc::channel(queue_max);
                let lane = LaneTask::new(Arc::clone(&shared), number, queue);
                tasks.spawn_on(lane.run(), lane_thread.handle());
                LaneHandle::new(inputs)
            })
            .collect();
        let (recoveries, taken_over) = mpsc::channel(RECOVERIES_MAX);
        tasks.spawn(recovery::run(Arc::clone(&shared), taken_over));
        let host = Arc::new(Self {
            recoveries: Mutex::new(Some(recoveries)),
            ticks: AtomicU64::new(0),
            saving_watermarks: Arc::default(),
            permits: Permits::new(&options.permits, shared.log.lanes(), Instant::now()),
            shared,
            partitions,
            user_rev,
            served: RwLock::new(HashMap::new()),
            lanes: Mutex::new(lanes),
            threads,
            lane_thread,
            tasks,
            ending: CancellationToken::new(),
        });
        let ticker = ticker::run(Arc::downgrade(&host), options.tick, host.ending.clone());
        host.tasks.spawn(ticker);
        Ok(host)
    }

    /// Where each partition served here stands: the newest event that is durable and was handed to the bus (or given up by it).
    /// Ascending by partition.
    pub fn heads(&self) -> Vec<PartitionHead> {
        let mut heads: Vec<PartitionHead> = self
            .served
            .read()
            .iter()
            .filter(|(_, served)| !served.left.load(Ordering::Acquire))
            .map(|(partition, served)| PartitionHead {
                partition: *partition,
                epoch: served.epoch,
                head: served.progress.published(),
            })
            .collect();
        heads.sort_unstable_by_key(|head| head.partition);
        heads
    }

    /// One reading of counters and gauges.
    pub fn stats(&self) -> StatsView {
        StatsView {
            under_way: as_u64(self.permits.under_way()),
            residents: as_u64(self.shared.residency.count.get()),
            resident_bytes: as_u64(self.shared.residency.bytes.get()),
            publish_queue_bytes: as_u64(self.shared.publish_bytes.get()),
            out_of_service: as_u64(self.shared.out_of_service.get()),
            expected_wait_ms: u64::try_from(self.permits.expected_wait(Instant::now()).as_millis())
                .unwrap_or(u64::MAX),
            lane_rows: as_u64(self.shared.lane_rows.get()),
            lane_bytes: as_u64(self.shared.lane_bytes.get()),
            marks_pending: as_u64(self.shared.marks_pending.get()),
            loading: as_u64(self.shared.loading.get()),
            saving: as_u64(self.shared.saving.get()),
            ring_bytes: as_u64(self.shared.ring_bytes.get()),
            ..self.shared.stats.view()
        }
    }

    /// From now on the host's numbers go into the node's metrics, too. Later calls change nothing.
    pub fn report_to(&self, metrics: &Metrics) {
        if self.shared.exported.set(Exported::new(metrics)).is_err() {
            tracing::debug!("the host reports to metrics already");
        }
    }

    /// Brings the numbers into the node's metrics, if there are any.
    fn export(&self) {
        if let Some(exported) = self.shared.exported.get() {
            exported.bring(&self.stats());
        }
    }

    /// Ends in order: drains every partition (at most `patience`), then the lanes, then the threads. Afterwards every request is
    /// answered `WrongOwner`.
    pub async fn shutdown(&self, patience: Duration) {
        let partitions: Vec<PartitionId> = self.served.read().keys().copied().collect();
        let drains = partitions
            .into_iter()
            .map(|partition| self.drain(partition, patience));
        futures_util::future::join_all(drains).await;
        self.ending.cancel();
        self.lanes.lock().clear();
        self.recoveries.lock().take();
        self.tasks.close();
        if tokio::time::timeout(patience, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("write lanes still busy at shutdown");
        }
        // What a statement met after the last tick counts, too.
        self.export();
        self.lane_thread.stop().await;
        self.threads.stop().await;
    }

    /// Has the former owner's unpublished tail told again; never waits.
    fn recover(&self, recovery: Recovery) {
        if let Some(recoveries) = &*self.recoveries.lock()
            && let Err(full) = recoveries.try_send(recovery)
        {
            tracing::warn!("too many takeovers at once to tell unpublished tails again");
            full.into_inner().again.done();
        }
    }

    /// Whether somebody serves it here under a later epoch than that.
    fn is_served_later(&self, partition: PartitionId, epoch: Epoch) -> bool {
        self.find(partition)
            .is_some_and(|served| served.epoch > epoch && !served.left.load(Ordering::Acquire))
    }

    /// Puts it in the place of what is served there, unless that is of a later epoch; gives the one that must end.
    fn install(&self, partition: PartitionId, served: &Arc<Served>) -> Option<Arc<Served>> {
        let mut all = self.served.write();
        let is_later = |current: &Arc<Served>| {
            current.epoch > served.epoch && !current.left.load(Ordering::Acquire)
        };
        if all.get(&partition).is_some_and(is_later) {
            return Some(Arc::clone(served));
        }
        all.insert(partition, Arc::clone(served))
    }

    fn find(&self, partition: PartitionId) -> Option<Arc<Served>> {
        self.served.read().get(&partition).cloned()
    }

    fn lane(&self, partition: PartitionId) -> Option<LaneHandle> {
        let lanes = self.lanes.lock();
        let index = usize::from(partition.get()).checked_rem(lanes.len())?;
        lanes.get(index).cloned()
    }

    async fn ask(&self, request: CommandRequest, trace: Option<TraceContext>) -> OwnerReply {
        let Some(served) = self.find(request.partition) else {
            return not_here();
        };
        if served.epoch != request.epoch {
            return OwnerReply::WrongOwner {
                hint: Some((self.shared.me, served.epoch)),
            };
        }
        if request.remaining_ms == 0 {
            return unavailable();
        }
        let patience = Duration::from_millis(u64::from(request.remaining_ms));
        let subject = Subject::of(&request.request);
        if self.partitions.partition_of(subject.conversation) != request.partition {
            tracing::error!(partition = %request.partition, conversation.id = %subject.conversation, "request for another partition's conversation");
            return not_here();
        }
        let holding = Holding {
            partition: request.partition,
            conversation: subject.conversation,
            user: subject.user,
            bytes: subject.bytes,
            patience: subject.patience(patience),
        };
        let permit = match self.permits.take(holding, Instant::now()) {
            Ok(permit) => permit,
            Err(NotNow::Full) => {
                self.shared.stats.busy.one();
                return OwnerReply::Busy {
                    retry_after_ms: BUSY_RETRY_AFTER_MS,
                };
            }
            Err(NotNow::Overload { retry_after }) => {
                self.shared.stats.shed.one();
                return OwnerReply::Busy {
                    retry_after_ms: u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX),
                };
            }
        };
        // After the permit, so that a drain that saw none of them can be sure that none comes.
        if !served.accepting.load(Ordering::SeqCst) {
            return not_here();
        }
        let (to, reply) = oneshot::channel();
        let message = PartitionInput::Request(Request {
            conversation: subject.conversation,
            want: want(request, patience),
            answer: Answer::new(to, permit),
            trace,
        });
        match served.actor.try_send(message) {
            Ok(()) => {}
            Err(SendError::Full(_)) => {
                return OwnerReply::Busy {
                    retry_after_ms: BUSY_RETRY_AFTER_MS,
                };
            }
            Err(SendError::Closed(_)) => {
                self.lost(subject.partition_of(self.partitions), &served);
                return not_here();
            }
        }
        match tokio::time::timeout(patience.saturating_add(ANSWER_GRACE), reply).await {
            Ok(Ok(reply)) => reply,
            // Nobody is left who could say, or nobody says it in time.
            Ok(Err(_)) | Err(_) => OwnerReply::Unknown,
        }
    }

    /// A partition actor that is gone without having said so: what it had in flight is open.
    fn lost(&self, partition: PartitionId, served: &Served) {
        if !served.left.swap(true, Ordering::AcqRel) {
            tracing::error!(%partition, "partition actor vanished");
            self.shared
                .tell_host(partition, served.epoch, PartitionSignal::InDoubt);
        }
    }

    async fn end(served: &Served) {
        let (done, ended) = oneshot::channel();
        // An actor that is gone has ended already; so has one that drops the message.
        if served.actor.send(PartitionInput::Stop(done)).await.is_ok() && ended.await.is_err() {
            tracing::debug!("partition actor ended by itself");
        }
    }

    /// Everything in flight finds its end, then markers, snapshots and publications leave this process.
    async fn finish(&self, partition: PartitionId, served: &Served) -> bool {
        self.permits.drained(partition).await;
        let (done, finished) = oneshot::channel();
        if served
            .actor
            .send(PartitionInput::Finish(done))
            .await
            .is_err()
        {
            // The actor may stop before it has answered the message; its own word counts.
            tracing::trace!(%partition, "partition actor has ended");
        }
        let clean = finished.await.is_ok();
        served.chores.close();
        served.chores.wait().await;
        if let Err(error) = self.shared.bus.flush().await {
            tracing::debug!(%partition, %error, "bus not flushed");
        }
        self.save_watermarks(&[(partition, served)]).await;
        clean
    }
}

#[async_trait]
impl LocalConversations for ActorHost {
    async fn handle(&self, request: CommandRequest, trace: Option<TraceContext>) -> OwnerReply {
        self.shared.stats.requests.one();
        let span = tracing::info_span!(
            spans::ACTOR_COMMAND_HANDLE,
            partition = request.partition.get(),
            epoch = request.epoch.get()
        );
        if let Some(trace) = &trace {
            trace.adopt(&span);
        }
        // What follows from the command belongs to this span.
        let trace = TraceContext::of(&span).or(trace);
        self.ask(request, trace).instrument(span).await
    }

    async fn serve(&self, partition: PartitionId, epoch: Epoch, head: Offset) {
        if self.is_served_later(partition, epoch) {
            tracing::warn!(%partition, %epoch, "partition is served under a later epoch already");
            return;
        }
        self.stop(partition).await;
        let (Some(lane), Some(arbiter)) = (self.lane(partition), self.threads.arbiter(partition))
        else {
            tracing::warn!(%partition, "host has ended, partition not served");
            return;
        };
        let progress = Progress::new(head);
        let ring = SharedRing::new(Arc::clone(&self.shared));
        let chores = TaskTracker::new();
        let publisher = Publisher::start(
            &self.shared,
            partition,
            Arc::clone(&progress),
            Arc::clone(&ring),
            &chores,
        );
        let recovery = Recovery {
            partition,
            epoch,
            head,
            again: publisher.again(),
        };
        let left = Arc::new(AtomicBool::new(false));
        let actor = PartitionActor::spawn(
            arbiter,
            PartitionBirth {
                shared: Arc::clone(&self.shared),
                partition,
                epoch,
                head,
                lane,
                publisher,
                chores: chores.clone(),
                left: Arc::clone(&left),
            },
        );
        let served = Arc::new(Served {
            epoch,
            actor,
            accepting: AtomicBool::new(true),
            left,
            progress,
            ring,
            chores,
        });
        // Answered when it has started.
        if served.actor.send(PartitionInput::Tick).await.is_err() {
            self.lost(partition, &served);
        }
        // Another call may have come in between: of two ownerships the later one stays, whoever is first.
        let surplus = self.install(partition, &served);
        if let Some(ends) = &surplus {
            ends.accepting.store(false, Ordering::SeqCst);
            Self::end(ends).await;
        }
        if surplus.is_some_and(|ends| Arc::ptr_eq(&ends, &served)) {
            tracing::warn!(%partition, %epoch, "partition is served under a later epoch by now");
            recovery.again.done();
            return;
        }
        self.recover(recovery);
        tracing::debug!(%partition, %epoch, %head, "partition served");
    }

    async fn stop(&self, partition: PartitionId) {
        let served = self.served.write().remove(&partition);
        if let Some(served) = served {
            served.accepting.store(false, Ordering::SeqCst);
            Self::end(&served).await;
        }
    }

    fn range(&self, request: RangeRequest) -> Option<EvBatch> {
        let served = self.find(request.partition)?;
        if served.left.load(Ordering::Acquire) {
            return None;
        }
        let Some(events) = served.ring.range(request.after, request.to) else {
            self.shared.stats.ring_misses.one();
            return None;
        };
        self.shared.stats.ring_hits.one();
        Some(EvBatch {
            partition: request.partition,
            epoch: served.epoch,
            base_offset: request.after.next(),
            events,
        })
    }

    async fn drain(&self, partition: PartitionId, patience: Duration) -> bool {
        let Some(served) = self.find(partition) else {
            return true;
        };
        served.accepting.store(false, Ordering::SeqCst);
        let finish = self.finish(partition, &served);
        let clean = tokio::time::timeout(patience, finish)
            .await
            .unwrap_or(false);
        self.stop(partition).await;
        clean
    }
}

impl std::fmt::Debug for ActorHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ActorHost")
            .field("me", &self.shared.me)
            .field("served", &self.served.read().len())
            .finish_non_exhaustive()
    }
}

impl Drop for ActorHost {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

fn share(options: &HostOptions, deps: HostDeps) -> Shared {
    Shared {
        log: deps.log,
        bus: deps.bus,
        clock: deps.clock,
        me: deps.incarnation,
        io: Handle::current(),
        stats: Stats::default(),
        residency: Residency::new(options.residents_max, options.resident_bytes_max),
        activations: Semaphore::new(ACTIVATIONS_MAX),
        publish_bytes: Gauge::default(),
        lane_rows: Gauge::default(),
        lane_bytes: Gauge::default(),
        marks_pending: Gauge::default(),
        loading: Gauge::default(),
        saving: Gauge::default(),
        ring_bytes: Gauge::default(),
        pauses: options.pauses,
        out_of_service: Gauge::default(),
        host_events: deps.host_events,
        exported: OnceLock::new(),
        #[cfg(test)]
        before_judging: None,
    }
}

/// Not served here; nothing was done.
fn not_here() -> OwnerReply {
    OwnerReply::WrongOwner { hint: None }
}

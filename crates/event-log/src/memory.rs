//! The log in memory: the same promises as the databases, and faults on order.
//!
//! It is honest: an append is atomic, fenced and refused on a taken offset, seq or command id, and where it would leave a hole.
//!
//! Never: durability; a clock of its own (liveness is judged by the clock that [`MemoryLog::new`] is given).
//!
//! Start reading at [`MemoryLog`], then `state.rs` for the rules, `faults.rs` for what can go wrong.

mod faults;
mod state;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use hubbub_domain::ids::{CommandId, ConversationId, Incarnation};
use hubbub_domain::position::{Epoch, Offset, PartitionCount, PartitionId, Seq};
use hubbub_domain::time::Timestamp;
use hubbub_wire::bus::PartitionHead;
use hubbub_wire::stored::EventRow;
use parking_lot::Mutex;

use self::faults::Faults;
use self::state::State;
use crate::batch::{Expected, coalesce, read_limit};
use crate::clock::ManualClock;
use crate::port::{
    AcquireError, Acquired, AppendBatch, AppendOutcome, Claim, ClusterMeta, ConversationHead,
    EventLog, Lane, LineageEntry, LogReader, Marker, MarkerUpdate, NodeRegistration, NodeRow,
    NodeState, OpenError, Ownership, PartitionRow, Progress, Published, ReadError, Refusal,
    SnapshotRow, Snapshots, StoreError,
};

pub use self::faults::{Fault, Held};
pub(crate) use self::state::{FIRST_LEVEL, SNAPSHOTS_KEPT};

/// A log in memory, shared by its clones: several nodes of one test see the same store.
#[derive(Clone)]
pub struct MemoryLog {
    shared: Arc<Shared>,
}

struct Shared {
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    state: Mutex<State>,
    faults: Faults,
    before_appends: Mutex<Option<Look>>,
}

type Look = Arc<dyn Fn(&AppendBatch) + Send + Sync>;

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLog").finish_non_exhaustive()
    }
}

impl MemoryLog {
    /// An empty store whose own clock is `now`.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self {
            shared: Arc::new(Shared {
                now: Box::new(now),
                state: Mutex::default(),
                faults: Faults::default(),
                before_appends: Mutex::default(),
            }),
        }
    }

    /// An empty store whose clock only moves when told to.
    pub fn with_clock(clock: &ManualClock) -> Self {
        let clock = clock.clone();
        Self::new(move || clock.now())
    }

    /// Called by every lane with what it is about to append, on the lane's own task: a bug of a test's choice.
    pub fn before_appends(&self, look: impl Fn(&AppendBatch) + Send + Sync + 'static) {
        *self.shared.before_appends.lock() = Some(Arc::new(look));
    }

    /// The next append (of rows or markers, on any lane) ends like this; several are taken in the order they were asked for.
    pub fn fail_next_append(&self, fault: Fault) {
        self.shared.faults.queue(fault);
    }

    /// Appends that arrive from now on wait until the returned value is dropped. A caller that gives up waiting cancels nothing.
    #[must_use = "appends are held only while this value lives"]
    pub fn hold_appends(&self) -> Held {
        self.shared.faults.hold()
    }

    /// Appends that are waiting at this moment because of [`hold_appends`](Self::hold_appends).
    pub fn held_appends(&self) -> usize {
        self.shared.faults.held()
    }

    /// Executes the statements that [`Fault::UnknownLate`] kept back, in order, and tells how each ended at the store.
    pub fn release_late(&self) -> Vec<AppendOutcome> {
        let late = self.shared.faults.take_late();
        let mut state = self.shared.state.lock();
        late.into_iter()
            .map(|statement| state.execute(statement))
            .collect()
    }

    /// While `true` the whole store is away: reads and ownership answer `Unavailable`, appends `Refused`.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.shared.faults.set_away(unavailable);
    }

    /// What is stored at this moment.
    pub fn image(&self) -> Image {
        Image(self.shared.state.lock().clone())
    }

    /// An unclean failover: everything that was committed since `image` was taken is gone, acknowledged or not (P9).
    pub fn fail_over_to(&self, image: Image) {
        *self.shared.state.lock() = image.0;
    }

    /// A disk that lies: changes the row at `offset` as it is stored, if there is one.
    pub fn damage(&self, partition: PartitionId, offset: Offset, how: impl FnOnce(&mut EventRow)) {
        if let Some(row) = self.shared.state.lock().at_mut(partition, offset) {
            how(row);
        }
    }

    fn now(&self) -> Timestamp {
        (self.shared.now)()
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> Result<T, ReadError> {
        self.shared
            .faults
            .check()
            .map_err(|away| ReadError::Unavailable(away.into()))?;
        Ok(look(&self.shared.state.lock()))
    }

    fn change<T>(&self, act: impl FnOnce(&mut State, Timestamp) -> T) -> Result<T, StoreError> {
        self.shared
            .faults
            .check()
            .map_err(|away| StoreError::Unavailable(away.into()))?;
        let now = self.now();
        Ok(act(&mut self.shared.state.lock(), now))
    }
}

/// A store as it once was; see [`MemoryLog::fail_over_to`].
#[derive(Clone, Debug)]
pub struct Image(State);

/// A statement that a lane sends.
#[derive(Debug, Clone)]
enum Statement {
    Append(AppendBatch, Expected),
    Markers(Vec<(PartitionId, Epoch)>, Vec<MarkerUpdate>, Expected),
}

impl Shared {
    /// One statement with whatever fault was ordered for it.
    async fn send(self: Arc<Self>, statement: Statement) -> AppendOutcome {
        self.faults.wait_while_held().await;
        if self.faults.check().is_err() {
            return AppendOutcome::Refused(Refusal::Unavailable);
        }
        let fault = self.faults.next();
        match fault {
            None => self.state.lock().execute(statement),
            Some(Fault::UnknownApplied) => {
                self.state.lock().execute(statement);
                AppendOutcome::Unknown
            }
            Some(Fault::UnknownNotApplied) => AppendOutcome::Unknown,
            Some(Fault::UnknownLate) => {
                self.faults.keep_late(statement);
                AppendOutcome::Unknown
            }
            Some(Fault::Refused(refusal)) => AppendOutcome::Refused(refusal),
        }
    }
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn open_lane(&self, _me: Incarnation, _lane: u16) -> Result<Box<dyn Lane>, OpenError> {
        self.shared
            .faults
            .check()
            .map_err(|away| OpenError::Unavailable(away.into()))?;
        Ok(Box::new(MemoryLane {
            shared: Arc::clone(&self.shared),
            dead: false,
        }))
    }

    fn lanes(&self) -> u16 {
        1
    }
}

struct MemoryLane {
    shared: Arc<Shared>,
    dead: bool,
}

impl MemoryLane {
    async fn send(&mut self, statement: Statement) -> AppendOutcome {
        if self.dead {
            return AppendOutcome::Unknown;
        }
        let shared = Arc::clone(&self.shared);
        // On a task of its own while it may wait: a dropped future does not take back what was sent.
        let outcome = if shared.faults.is_holding() {
            tokio::spawn(shared.send(statement))
                .await
                .unwrap_or(AppendOutcome::Unknown)
        } else {
            shared.send(statement).await
        };
        self.dead = outcome == AppendOutcome::Unknown;
        outcome
    }
}

#[async_trait]
impl Lane for MemoryLane {
    async fn append(&mut self, batch: AppendBatch) -> AppendOutcome {
        let look = self.shared.before_appends.lock().clone();
        if let Some(look) = look {
            look(&batch);
        }
        match Expected::of_batch(&batch) {
            Ok(expected) => self.send(Statement::Append(batch, expected)).await,
            Err(misuse) => misuse.refuse(),
        }
    }

    async fn write_markers(
        &mut self,
        fence: Vec<(PartitionId, Epoch)>,
        markers: Vec<MarkerUpdate>,
    ) -> AppendOutcome {
        match Expected::of_markers(&fence, &markers) {
            Ok(expected) => {
                self.send(Statement::Markers(fence, coalesce(markers), expected))
                    .await
            }
            Err(misuse) => misuse.refuse(),
        }
    }
}

#[async_trait]
impl LogReader for MemoryLog {
    async fn tail(
        &self,
        partition: PartitionId,
        after: Offset,
        limit: usize,
    ) -> Result<Vec<EventRow>, ReadError> {
        self.read(|state| state.tail(partition, after, read_limit(limit)))
    }

    async fn read_conversation(
        &self,
        conversation: ConversationId,
        from: Seq,
        limit: usize,
    ) -> Result<Vec<EventRow>, ReadError> {
        self.read(|state| state.conversation(conversation, from, read_limit(limit)))
    }

    async fn find_command(
        &self,
        conversation: ConversationId,
        command: CommandId,
    ) -> Result<Option<EventRow>, ReadError> {
        self.read(|state| state.command(conversation, command))
    }

    async fn conversation_head(
        &self,
        conversation: ConversationId,
    ) -> Result<Option<ConversationHead>, ReadError> {
        self.read(|state| state.conversation_head(conversation))
    }

    async fn heads(&self, partitions: &[PartitionId]) -> Result<Vec<PartitionHead>, ReadError> {
        self.read(|state| state.heads(partitions))
    }

    async fn lineage(&self, partition: PartitionId) -> Result<Vec<LineageEntry>, ReadError> {
        self.read(|state| state.lineage(partition))
    }

    async fn markers(&self, conversation: ConversationId) -> Result<Vec<Marker>, ReadError> {
        self.read(|state| state.markers(conversation))
    }
}

#[async_trait]
impl Ownership for MemoryLog {
    async fn init_cluster(&self, partitions: PartitionCount) -> Result<ClusterMeta, StoreError> {
        self.change(|state, _| state.init(partitions))
    }

    async fn register(&self, node: &NodeRegistration) -> Result<(), StoreError> {
        self.change(|state, now| state.nodes.register(node, now))?
    }

    async fn heartbeat(
        &self,
        me: Incarnation,
        state: NodeState,
        nats_ok: bool,
    ) -> Result<bool, StoreError> {
        self.change(|store, now| store.nodes.heartbeat(me, state, nats_ok, now))
    }

    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        self.change(|state, now| state.nodes.rows(now))
    }

    async fn partitions(&self) -> Result<Vec<PartitionRow>, StoreError> {
        self.change(|state, _| state.partitions())
    }

    async fn acquire(
        &self,
        me: Incarnation,
        claims: &[Claim],
        reason: &str,
    ) -> Result<Vec<Acquired>, AcquireError> {
        self.shared
            .faults
            .check()
            .map_err(|away| AcquireError::Unavailable(away.into()))?;
        let now = self.now();
        Ok(self.shared.state.lock().acquire(me, claims, reason, now))
    }

    async fn release(
        &self,
        me: Incarnation,
        partitions: &[(PartitionId, Epoch)],
    ) -> Result<(), StoreError> {
        self.change(|state, _| state.release(me, partitions))
    }

    async fn retire(&self, me: Incarnation) -> Result<(), StoreError> {
        self.change(|state, _| state.nodes.retire(me))
    }
}

#[async_trait]
impl Progress for MemoryLog {
    async fn published(
        &self,
        partitions: &[PartitionId],
    ) -> Result<Vec<(PartitionId, Offset)>, ReadError> {
        self.read(|state| state.published(partitions))
    }

    async fn save_published(&self, marks: &[Published]) -> Result<(), StoreError> {
        self.change(|state, _| state.save_published(marks))
    }
}

#[async_trait]
impl Snapshots for MemoryLog {
    async fn load_snapshot(
        &self,
        conversation: ConversationId,
        version: i16,
    ) -> Result<Option<SnapshotRow>, ReadError> {
        self.read(|state| state.snapshot(conversation, version))
    }

    async fn save_snapshot(&self, snapshot: SnapshotRow) -> Result<(), StoreError> {
        self.change(|state, _| state.save_snapshot(snapshot))
    }
}

#[cfg(test)]
mod tests;

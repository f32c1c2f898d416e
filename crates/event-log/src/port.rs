//! The ports of the log: specifications that memory, SQLite and Postgres implement alike.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hubbub_domain::ids::{CommandId, ConversationId, Incarnation, UserId};
use hubbub_domain::position::{Epoch, MessageNo, Offset, PartitionCount, PartitionId, Seq};
use hubbub_domain::time::Timestamp;
use hubbub_wire::bus::PartitionHead;
use hubbub_wire::stored::EventRow;

/// Rows in one append at most (ARCHITECTURE.md §4: measured knee of batch size against latency).
pub const APPEND_ROWS_MAX: usize = 512;
/// Bytes of rows in one append at most.
pub const APPEND_BYTES_MAX: usize = 1 << 20;
/// Rows in one read at most; larger limits are cut to it.
pub const READ_ROWS_MAX: usize = 4_096;
/// A lane that has no reply for this long gives its connection up and reports [`AppendOutcome::Unknown`]; it never cancels.
pub const APPEND_REPLY_DEADLINE: Duration = Duration::from_secs(3);
/// Lease: a node whose heartbeat is older, by the database's clock, may lose its partitions.
pub const LEASE: Duration = Duration::from_secs(4);

/// Everything a node needs of the log.
#[async_trait]
pub trait EventLog: LogReader + Ownership + Snapshots + Progress {
    /// Opens write lane number `lane` with a connection of its own. Lanes of one log are independent; partition p uses lane p mod L.
    async fn open_lane(&self, me: Incarnation, lane: u16) -> Result<Box<dyn Lane>, OpenError>;

    /// How many lanes this store wants: 8 for Postgres by default, 1 for SQLite and memory.
    fn lanes(&self) -> u16;
}

/// One writer's connection. At most one call is in flight; dropping the returned future does not cancel what was sent.
///
/// After [`AppendOutcome::Unknown`] the lane is dead: every further call answers `Unknown` without sending. Open a new one.
#[async_trait]
pub trait Lane: Send {
    /// Stores the rows of every partition whose epoch still matches, all of them or none per partition, in one atomic statement.
    ///
    /// Rows of a partition must be ascending and dense from its current head + 1; each row's epoch must be the one given for its
    /// partition. Rows that do not follow what this very log holds, in their partition or their conversation, are [`Conflict::Hole`] or
    /// [`Conflict::Position`], also when the log has lost its end in between. An append that meets an acquire in flight waits for it, re-checks the epoch, and then stores nothing for that partition.
    ///
    /// A batch beyond the limits, or one that breaks this promise in itself, is a mistake of the caller: it is not sent, is logged as an
    /// error, and ends as [`AppendOutcome::Refused`] ([`Refusal::Unavailable`]).
    async fn append(&mut self, batch: AppendBatch) -> AppendOutcome;

    /// Moves markers under the same fence: only of partitions whose epoch matches. Within a generation values only rise; a higher
    /// generation replaces. At most [`APPEND_ROWS_MAX`] markers. Same outcomes as [`Lane::append`], never `Conflict`.
    async fn write_markers(
        &mut self,
        fence: Vec<(PartitionId, Epoch)>,
        markers: Vec<MarkerUpdate>,
    ) -> AppendOutcome;
}

/// Rows of many conversations and partitions that commit together.
#[derive(Clone, Debug, Default)]
pub struct AppendBatch {
    /// Partitions concerned, ascending, with the epoch under which they are owned.
    pub fence: Vec<(PartitionId, Epoch)>,
    /// At most [`APPEND_ROWS_MAX`] rows and [`APPEND_BYTES_MAX`] bytes, ascending by (partition, offset).
    pub rows: Vec<EventRow>,
}

/// How an append ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// The statement committed. Each partition of the batch is in exactly one of the two lists.
    Done {
        /// All its rows are stored.
        committed: Vec<PartitionId>,
        /// Its epoch has moved on: none of its rows is stored.
        fenced: Vec<PartitionId>,
    },
    /// What is stored stands against the batch, where its epochs match: nothing of it is stored.
    Conflict(Conflict),
    /// The store said no before storing anything: nothing of the batch is stored.
    Refused(Refusal),
    /// No definite answer: stored or not is open until a new epoch has been acquired and the rows read.
    Unknown,
    /// The store answered something that cannot be (a partition half stored): this incarnation must stop.
    Broken,
}

/// Which uniqueness stood against an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// A command id of the batch is already in its conversation: probe, answer the duplicates, send the rest again.
    Command,
    /// An offset or seq is taken although the epoch matched: the writer's state is wrong; this incarnation must stop.
    Position,
    /// The log ends before the rows that the batch goes on from: this server has lost what the writer knows to be stored. Its partitions
    /// must be acquired anew and read before anything is appended to them.
    Hole,
}

/// A definite no from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No room on disk.
    StorageFull,
    /// The server was found to be unfit, for instance without the standby that it must have: it might lose what it stores. Nothing is sent
    /// until it is fit again.
    Unfit,
    /// Anything else that rolled back cleanly (serialisation, resources, read-only standby).
    Unavailable,
}

/// Reads of the log. None of them takes locks that an append would wait for.
#[async_trait]
pub trait LogReader: Send + Sync + 'static {
    /// Rows of `partition` with offset > `after`, ascending and dense, at most `limit` (≥ 1, cut to [`READ_ROWS_MAX`]).
    /// Empty = `after` is the head (or beyond).
    async fn tail(
        &self,
        partition: PartitionId,
        after: Offset,
        limit: usize,
    ) -> Result<Vec<EventRow>, ReadError>;

    /// Rows of a conversation with seq ≥ `from`, ascending and dense, at most `limit`. Empty for an unknown conversation.
    async fn read_conversation(
        &self,
        conversation: ConversationId,
        from: Seq,
        limit: usize,
    ) -> Result<Vec<EventRow>, ReadError>;

    /// The row that a command id stored in a conversation, in any segment.
    async fn find_command(
        &self,
        conversation: ConversationId,
        command: CommandId,
    ) -> Result<Option<EventRow>, ReadError>;

    /// Last row's place of a conversation; `None` when it has no events.
    async fn conversation_head(
        &self,
        conversation: ConversationId,
    ) -> Result<Option<ConversationHead>, ReadError>;

    /// Epoch and head of each partition asked for, ascending; all when `partitions` is empty.
    async fn heads(&self, partitions: &[PartitionId]) -> Result<Vec<PartitionHead>, ReadError>;

    /// Every ownership of a partition, ascending by epoch.
    async fn lineage(&self, partition: PartitionId) -> Result<Vec<LineageEntry>, ReadError>;

    /// All markers of a conversation, ascending by user.
    async fn markers(&self, conversation: ConversationId) -> Result<Vec<Marker>, ReadError>;

    /// Whether the store keeps what it commits, as far as was seen at the last looks (once a minute, once a second while in doubt): a node of a store that is not fit should not
    /// be sent people.
    fn is_fit(&self) -> bool {
        true
    }
}

/// Where a conversation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConversationHead {
    /// Epoch of its last event.
    pub epoch: Epoch,
    /// Seq of its last event.
    pub seq: Seq,
    /// Offset of its last event in its partition.
    pub offset: Offset,
}

/// One ownership in the lineage of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineageEntry {
    /// Its epoch.
    pub epoch: Epoch,
    /// Offset of the last event of earlier epochs: its own begin after it.
    pub start: Offset,
    /// Who.
    pub owner: Option<Incarnation>,
    /// Why: `claim`, `takeover`, `in_doubt`, `handoff`, `release`.
    pub reason: String,
    /// When, by the database's clock.
    pub at: Timestamp,
}

/// A member's stored markers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Where.
    pub conversation: ConversationId,
    /// Whose.
    pub user: UserId,
    /// Mark-unread starts a new one; within it values only rise.
    pub generation: u32,
    /// Read up to and including.
    pub read_no: MessageNo,
    /// Own messages after `read_no` when the generation began.
    pub own_after: u64,
    /// Delivered up to and including.
    pub delivered_no: MessageNo,
    /// When it last moved.
    pub at: Timestamp,
}

/// A marker to write; the partition is given by the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkerUpdate {
    /// The partition of the conversation, for the fence.
    pub partition: PartitionId,
    /// The values wanted.
    pub marker: Marker,
}

/// Who owns what and who is alive. Every judgement uses the store's own clock.
#[async_trait]
pub trait Ownership: Send + Sync + 'static {
    /// Creates the cluster's rows when they do not exist, and returns what holds: `partitions` counts only for a new cluster.
    async fn init_cluster(&self, partitions: PartitionCount) -> Result<ClusterMeta, StoreError>;

    /// Writes this incarnation's node row and declares older incarnations of the same node id dead.
    async fn register(&self, node: &NodeRegistration) -> Result<(), StoreError>;

    /// Says "alive" under `state`. `false` when this incarnation has been declared dead (or retired): it must stop.
    async fn heartbeat(
        &self,
        me: Incarnation,
        state: NodeState,
        nats_ok: bool,
    ) -> Result<bool, StoreError>;

    /// Every node row that is not long dead (dead rows are forgotten after an hour).
    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError>;

    /// Every partition's owner and epoch, ascending.
    async fn partitions(&self) -> Result<Vec<PartitionRow>, StoreError>;

    /// Which line of history the store writes: another value after a failover or a restore, which may have forgotten what was acknowledged, and
    /// never after a mere restart. Only good for telling whether it is another one. A store that cannot fail over has one.
    async fn timeline(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    /// Takes the partitions of `claims` (ascending) that still have the expected owner and epoch, all in one transaction: locks their
    /// fence rows, bumps each epoch (never decreasing, seeded from the store's clock), then reads the head, then writes the lineage.
    /// Claims that no longer hold are left out of the answer. Waits at most 500 ms for a lock, after terminating a backend of the
    /// expected (dead) owner that still holds it.
    async fn acquire(
        &self,
        me: Incarnation,
        claims: &[Claim],
        reason: &str,
    ) -> Result<Vec<Acquired>, AcquireError>;

    /// Gives partitions up: owner = none where (owner, epoch) still match.
    async fn release(
        &self,
        me: Incarnation,
        partitions: &[(PartitionId, Epoch)],
    ) -> Result<(), StoreError>;

    /// Marks this incarnation stopped, so that its partitions are claimable at once.
    async fn retire(&self, me: Incarnation) -> Result<(), StoreError>;
}

/// What is fixed for the whole cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterMeta {
    /// Partition count.
    pub partitions: PartitionCount,
    /// Version of stored events that nodes may write.
    pub level: u32,
}

/// A node as it introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRegistration {
    /// This life.
    pub incarnation: Incarnation,
    /// Its lasting name.
    pub node_id: String,
    /// Where people reach it.
    pub addr: String,
    /// Highest level it can write.
    pub max_level: u32,
}

/// What a node does at the moment (ARCHITECTURE.md §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Not yet claiming.
    Joining,
    /// Owns and claims.
    Active,
    /// Without NATS.
    Blind,
    /// Handing over.
    Draining,
    /// Gone in order.
    Stopped,
}

/// A node as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// This life.
    pub incarnation: Incarnation,
    /// Its lasting name.
    pub node_id: String,
    /// Where people reach it.
    pub addr: String,
    /// What it does.
    pub state: NodeState,
    /// Whether it has the bus.
    pub nats_ok: bool,
    /// Since its last heartbeat, by the store's clock; zero as long as that clock is behind the heartbeat.
    pub silent_for: Duration,
    /// Its last heartbeat as the store wrote it down. Only good for telling whether there was another one: the store's clock may jump.
    pub last_seen: Timestamp,
}

impl NodeRow {
    /// Not stopped, and heard of within the lease.
    pub fn is_alive(&self) -> bool {
        self.state != NodeState::Stopped && self.silent_for < LEASE
    }
}

/// A partition's fence row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionRow {
    /// The partition.
    pub partition: PartitionId,
    /// Current epoch.
    pub epoch: Epoch,
    /// Current owner.
    pub owner: Option<Incarnation>,
}

/// A wish to own a partition, on condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The partition.
    pub partition: PartitionId,
    /// Only if this is still its owner …
    pub expected_owner: Option<Incarnation>,
    /// … and this its epoch.
    pub expected_epoch: Epoch,
}

/// A partition taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acquired {
    /// The partition.
    pub partition: PartitionId,
    /// The new epoch.
    pub epoch: Epoch,
    /// Offset of its last event: the new owner continues at the next.
    pub head: Offset,
}

/// Snapshots: disposable, two kept per conversation.
#[async_trait]
pub trait Snapshots: Send + Sync + 'static {
    /// The newest snapshot of this version.
    async fn load_snapshot(
        &self,
        conversation: ConversationId,
        version: i16,
    ) -> Result<Option<SnapshotRow>, ReadError>;

    /// Stores one and forgets all but the newest two. Not fenced: whoever loads checks `(epoch, seq)` against the log.
    async fn save_snapshot(&self, snapshot: SnapshotRow) -> Result<(), StoreError>;
}

/// How far each partition was handed to the bus, so that whoever serves it next knows what nobody may have heard of.
///
/// A hint, written now and then: too low, and edges hear again what they drop by its offset; too high, and head broadcasts let them heal.
#[async_trait]
pub trait Progress: Send + Sync + 'static {
    /// The watermarks of these partitions, ascending; one that was never written is left out.
    async fn published(
        &self,
        partitions: &[PartitionId],
    ) -> Result<Vec<(PartitionId, Offset)>, ReadError>;

    /// Stores those whose epoch still stands, as given (lower values too: lineage may have been lost); the others are passed over.
    async fn save_published(&self, marks: &[Published]) -> Result<(), StoreError>;
}

/// A publish watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The partition.
    pub partition: PartitionId,
    /// Under which it is owned.
    pub epoch: Epoch,
    /// Everything up to here was handed to the bus, or given up by it.
    pub published: Offset,
}

/// A stored snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRow {
    /// Whose state.
    pub conversation: ConversationId,
    /// Up to and including this event …
    pub seq: Seq,
    /// … which was written under this epoch: sound while the log holds that pair.
    pub epoch: Epoch,
    /// Version of `data`.
    pub ver: i16,
    /// When it was taken.
    pub at: Timestamp,
    /// Encoded state.
    pub data: Bytes,
}

/// A read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Trying again later may work.
    #[error("log unavailable: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Trying again will not help: a hole, a type that does not fit.
    #[error("log inconsistent: {0}")]
    Inconsistent(String),
}

/// A write outside the append path failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Trying again later may work.
    #[error("store unavailable: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Trying again will not help.
    #[error("store refused: {0}")]
    Refused(String),
}

/// An acquire failed; whether epochs moved is open, which is harmless: acquire again.
#[derive(Debug, thiserror::Error)]
pub enum AcquireError {
    /// A lock was not to be had in time.
    #[error("a fence row is locked by another")]
    Locked,
    /// Trying again later may work.
    #[error("store unavailable: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A lane or a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Trying again later may work.
    #[error("store unavailable: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store is not fit for the log: unsafe settings, another program holds the directory, a newer schema.
    #[error("store unfit: {0}")]
    Unfit(String),
}

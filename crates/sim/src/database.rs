//! The database of a run: the log in memory with its honest rules, the tables of the read models beside it, one clock.
//!
//! Every request is answered at one instant. What makes a database hard to live with (answers that are late or lost, statements that
//! arrive after their sender is gone) happens on the way to and from here: see `wires.rs`.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use hubbub_domain::ids::{CommandId, ConversationId};
use hubbub_domain::position::{Epoch, Offset, PartitionId, Seq};
use hubbub_domain::time::Timestamp;
use hubbub_event_log::memory::Image as LogImage;
use hubbub_event_log::{
    ConversationHead, LineageEntry, LogReader, ManualClock, Marker, MemoryLog, ReadError,
    SnapshotRow, Snapshots,
};
use hubbub_projections::Reader;
use hubbub_wire::bus::PartitionHead;
use hubbub_wire::stored::EventRow;
use parking_lot::Mutex;

use crate::tables::{Image as TablesImage, Tables};

/// Simulated time zero, by the database's clock: 2026-01-01.
pub const DAWN_MILLIS: i64 = 1_767_225_600_000;

/// The result of a future that never waits. Every port here is such.
///
/// # Panics
/// When the future waits.
#[expect(
    clippy::panic,
    reason = "a port that waits is a mistake in the simulator"
)]
pub fn now<T>(future: impl Future<Output = T>) -> T {
    match future.now_or_never() {
        Some(value) => value,
        None => panic!("a simulated port waited"),
    }
}

/// The one database of a run.
#[derive(Clone)]
pub struct Database {
    /// The log; written to by whoever brings a statement here.
    pub log: MemoryLog,
    /// The read models' tables.
    pub tables: Arc<Tables>,
    clock: ManualClock,
    corrupt: Arc<Mutex<BTreeSet<(PartitionId, Offset)>>>,
}

/// The database as it once was.
pub struct Image {
    log: LogImage,
    tables: TablesImage,
}

impl Database {
    /// An empty one.
    pub fn new() -> Self {
        let clock = ManualClock::new(Timestamp::from_millis(DAWN_MILLIS));
        let log = MemoryLog::with_clock(&clock);
        Self {
            tables: Arc::new(Tables::new(log.clone())),
            log,
            clock,
            corrupt: Arc::default(),
        }
    }

    /// Moves its clock.
    pub fn advance_to(&self, now_ms: u64) {
        let target = DAWN_MILLIS.saturating_add(i64::try_from(now_ms).unwrap_or(i64::MAX));
        let by = target.saturating_sub(self.clock.now().millis());
        self.clock
            .advance(Duration::from_millis(u64::try_from(by).unwrap_or(0)));
    }

    /// From now on this row cannot be read (F14).
    pub fn corrupt(&self, partition: PartitionId, offset: Offset) {
        self.corrupt.lock().insert((partition, offset));
    }

    /// Conversations with a row that cannot be read.
    pub fn unreadable(&self) -> BTreeSet<ConversationId> {
        let corrupt = self.corrupt.lock().clone();
        self.conversations_at(&corrupt)
    }

    /// Rows that a failover is about to lose take their rot with them: it was on the disk that is gone. Returns the conversations they are of.
    pub fn lose_rot(
        &self,
        is_lost: impl Fn(PartitionId, Offset) -> bool,
    ) -> BTreeSet<ConversationId> {
        let (lost, kept): (BTreeSet<_>, BTreeSet<_>) = std::mem::take(&mut *self.corrupt.lock())
            .into_iter()
            .partition(|(partition, offset)| is_lost(*partition, *offset));
        *self.corrupt.lock() = kept;
        self.conversations_at(&lost)
    }

    fn conversations_at(
        &self,
        places: &BTreeSet<(PartitionId, Offset)>,
    ) -> BTreeSet<ConversationId> {
        let of = |(partition, offset): &(PartitionId, Offset)| {
            let rows = now(self.log.tail(*partition, offset.prev(), 1)).ok()?;
            rows.first().map(|row| row.conversation)
        };
        places.iter().filter_map(of).collect()
    }

    /// While `true` nobody gets through.
    pub fn set_away(&self, away: bool) {
        self.log.set_unavailable(away);
        self.tables.set_away(away);
    }

    /// All of it, as it is.
    pub fn image(&self) -> Image {
        Image {
            log: self.log.image(),
            tables: self.tables.image(),
        }
    }

    /// An unclean failover: everything since the image is gone.
    pub fn fail_over_to(&self, image: Image) {
        self.log.fail_over_to(image.log);
        self.tables.fail_over_to(image.tables);
    }

    /// The read models of every node: they are in this database.
    pub fn reader(&self) -> Reader {
        Reader::new(self.tables.clone(), Arc::new(self.clone()))
    }

    /// The newest snapshot of a conversation.
    pub fn snapshot(
        &self,
        conversation: ConversationId,
        version: i16,
    ) -> Result<Option<SnapshotRow>, ReadError> {
        now(self.log.load_snapshot(conversation, version))
    }

    /// Every row of a partition as it is stored, corrupt or not.
    pub fn rows(&self, partition: PartitionId) -> Vec<EventRow> {
        let mut rows = Vec::new();
        loop {
            let after = rows
                .last()
                .map_or(Offset::ZERO, |row: &EventRow| row.offset);
            match now(self.log.tail(partition, after, usize::MAX)) {
                Ok(more) if !more.is_empty() => rows.extend(more),
                Ok(_) | Err(_) => return rows,
            }
        }
    }

    fn as_read(&self, mut rows: Vec<EventRow>) -> Vec<EventRow> {
        let corrupt = self.corrupt.lock();
        if !corrupt.is_empty() {
            for row in &mut rows {
                if corrupt.contains(&(row.partition, row.offset)) {
                    row.crc = !row.crc;
                }
            }
        }
        rows
    }
}

impl Default for Database {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl LogReader for Database {
    async fn tail(
        &self,
        partition: PartitionId,
        after: Offset,
        limit: usize,
    ) -> Result<Vec<EventRow>, ReadError> {
        let rows = self.log.tail(partition, after, limit).await?;
        Ok(self.as_read(rows))
    }

    async fn read_conversation(
        &self,
        conversation: ConversationId,
        from: Seq,
        limit: usize,
    ) -> Result<Vec<EventRow>, ReadError> {
        let rows = self
            .log
            .read_conversation(conversation, from, limit)
            .await?;
        Ok(self.as_read(rows))
    }

    async fn find_command(
        &self,
        conversation: ConversationId,
        command: CommandId,
    ) -> Result<Option<EventRow>, ReadError> {
        let row = self.log.find_command(conversation, command).await?;
        Ok(self.as_read(row.into_iter().collect()).pop())
    }

    async fn conversation_head(
        &self,
        conversation: ConversationId,
    ) -> Result<Option<ConversationHead>, ReadError> {
        self.log.conversation_head(conversation).await
    }

    async fn heads(&self, partitions: &[PartitionId]) -> Result<Vec<PartitionHead>, ReadError> {
        self.log.heads(partitions).await
    }

    async fn lineage(&self, partition: PartitionId) -> Result<Vec<LineageEntry>, ReadError> {
        self.log.lineage(partition).await
    }

    async fn markers(&self, conversation: ConversationId) -> Result<Vec<Marker>, ReadError> {
        self.log.markers(conversation).await
    }
}

/// The row under an epoch, for traces.
pub fn place_of(partition: PartitionId, epoch: Epoch) -> String {
    format!("p{partition}/e{epoch}")
}

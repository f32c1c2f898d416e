//! The log of an embedded node: one SQLite file in a data directory that one process holds.
//!
//! Owns: the directory's lock, the file `log.db` (WAL, synchronous=FULL), the one connection that writes to it, the connections that read.
//! Everything that writes goes through one task, appends first (`writer.rs`), so the fence is a plain read inside BEGIN IMMEDIATE.
//! Node rows live in memory: no second process can be there, and a heartbeat need not wake the disk.
//!
//! Never: another room's tables. Accounts and projections keep files of their own beside this one and so never wait for its writer;
//! they may attach `log.db` read-only.
//!
//! Start reading at `append.rs`.

mod append;
mod fault;
mod markers;
mod open;
mod ownership;
mod progress;
mod read;
mod snapshots;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::{Epoch, PartitionCount, PartitionId};
use hubbub_domain::time::Timestamp;
use parking_lot::Mutex;
use sqlx::SqlitePool;

use self::writer::{Job, Writer};
use crate::batch::{Expected, coalesce};
use crate::nodes::NodeTable;
use crate::port::{
    APPEND_REPLY_DEADLINE, AcquireError, Acquired, AppendBatch, AppendOutcome, Claim, ClusterMeta,
    EventLog, Lane, MarkerUpdate, NodeRegistration, NodeRow, NodeState, OpenError, Ownership,
    PartitionRow, SnapshotRow, StoreError,
};

/// The log in a data directory, shared by its clones. The directory is free again after [`SqliteLog::close`].
#[derive(Clone)]
pub struct SqliteLog {
    shared: Arc<Shared>,
}

struct Shared {
    writer: Writer,
    readers: SqlitePool,
    nodes: Mutex<NodeTable>,
    opened: Instant,
}

impl fmt::Debug for SqliteLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteLog").finish_non_exhaustive()
    }
}

impl SqliteLog {
    /// Opens the log in `dir`, which is created (for its owner alone) when it does not exist, and brings the schema up to date.
    ///
    /// [`OpenError::Unfit`] when another process holds the directory, or a newer release has written the file.
    pub async fn open(dir: &Path) -> Result<Self, OpenError> {
        let lock = open::lock(dir)?;
        let path = Self::log_path(dir);
        let (connection, readers) = open::connect(&path).await?;
        Ok(Self {
            shared: Arc::new(Shared {
                writer: Writer::start(connection, path, lock),
                readers,
                nodes: Mutex::default(),
                opened: Instant::now(),
            }),
        })
    }

    /// Where the log of a data directory is: for a read model that attaches it read-only, and for backups.
    pub fn log_path(dir: &Path) -> PathBuf {
        dir.join("log.db")
    }

    /// Finishes what was sent and gives the directory free; whatever comes later is refused as unavailable.
    pub async fn close(&self) {
        self.shared.readers.close().await;
        self.shared.writer.close().await;
    }

    /// Time since this store was opened: node rows live no longer than that.
    fn now(&self) -> Timestamp {
        let millis = self.shared.opened.elapsed().as_millis();
        Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
    }
}

#[async_trait]
impl EventLog for SqliteLog {
    async fn open_lane(&self, _me: Incarnation, _lane: u16) -> Result<Box<dyn Lane>, OpenError> {
        Ok(Box::new(SqliteLane {
            writer: self.shared.writer.clone(),
            dead: false,
        }))
    }

    fn lanes(&self) -> u16 {
        1
    }
}

struct SqliteLane {
    writer: Writer,
    dead: bool,
}

impl SqliteLane {
    /// Waits for the reply as long as a lane waits. The writer finishes the statement in any case; an acquire queues behind it.
    async fn send(
        &mut self,
        job: impl FnOnce(tokio::sync::oneshot::Sender<AppendOutcome>) -> Job,
    ) -> AppendOutcome {
        if self.dead {
            return AppendOutcome::Unknown;
        }
        let outcome = tokio::time::timeout(APPEND_REPLY_DEADLINE, self.writer.append(job))
            .await
            .unwrap_or(AppendOutcome::Unknown);
        self.dead = outcome == AppendOutcome::Unknown;
        outcome
    }
}

#[async_trait]
impl Lane for SqliteLane {
    async fn append(&mut self, batch: AppendBatch) -> AppendOutcome {
        match Expected::of_batch(&batch) {
            Ok(expected) => self.send(|reply| Job::Append(batch, expected, reply)).await,
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
                let markers = coalesce(markers);
                self.send(|reply| Job::Markers(fence, markers, expected, reply))
                    .await
            }
            Err(misuse) => misuse.refuse(),
        }
    }
}

#[async_trait]
impl Ownership for SqliteLog {
    async fn init_cluster(&self, partitions: PartitionCount) -> Result<ClusterMeta, StoreError> {
        let job = |reply| Job::Init(partitions, reply);
        self.shared.writer.change(job).await
    }

    async fn register(&self, node: &NodeRegistration) -> Result<(), StoreError> {
        self.shared.nodes.lock().register(node, self.now())
    }

    async fn heartbeat(
        &self,
        me: Incarnation,
        state: NodeState,
        nats_ok: bool,
    ) -> Result<bool, StoreError> {
        let now = self.now();
        Ok(self.shared.nodes.lock().heartbeat(me, state, nats_ok, now))
    }

    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        Ok(self.shared.nodes.lock().rows(self.now()))
    }

    async fn partitions(&self) -> Result<Vec<PartitionRow>, StoreError> {
        ownership::partitions(&self.shared.readers).await
    }

    async fn acquire(
        &self,
        me: Incarnation,
        claims: &[Claim],
        reason: &str,
    ) -> Result<Vec<Acquired>, AcquireError> {
        let (claims, reason) = (claims.to_vec(), reason.to_owned());
        let job = |reply| Job::Acquire(me, claims, reason, reply);
        self.shared
            .writer
            .change(job)
            .await
            .map_err(|error| match error {
                StoreError::Unavailable(source) => AcquireError::Unavailable(source),
                StoreError::Refused(sentence) => AcquireError::Unavailable(sentence.into()),
            })
    }

    async fn release(
        &self,
        me: Incarnation,
        partitions: &[(PartitionId, Epoch)],
    ) -> Result<(), StoreError> {
        let partitions = partitions.to_vec();
        let job = |reply| Job::Release(me, partitions, reply);
        self.shared.writer.change(job).await
    }

    async fn retire(&self, me: Incarnation) -> Result<(), StoreError> {
        self.shared.nodes.lock().retire(me);
        Ok(())
    }
}

impl SqliteLog {
    async fn save(&self, snapshot: SnapshotRow) -> Result<(), StoreError> {
        let job = |reply| Job::Snapshot(snapshot, reply);
        self.shared.writer.change(job).await
    }
}

#[cfg(test)]
mod tests;

//! The source of truth: one dense log per partition, one writer at a time.
//!
//! Owns: sqlx for the log; the fence row and the epochs; the append statement; the dense tail; markers; snapshots; node and ownership rows
//! judged by the database's clock. Three implementations of the same ports: memory (honest, with injectable faults), SQLite, Postgres.
//! One contract suite (`contract`, feature `contract`) runs on all three.
//!
//! ```text
//! partition p:   offset 1   2   3   4   5 …            dense, one writer (the owner under the current epoch)
//!                epoch  7   7   7   9   9              never falls along offsets; 9 > 7 after a takeover
//! conversation:  seq    1       2       3              dense per conversation, same order as offsets
//! ```
//!
//! Never: NATS, actix, axum; chat rules; guessing an outcome.
//!
//! Start reading at [`port`], then `postgres/append.rs`.

pub mod port;

mod batch;
mod clock;
mod columns;
#[cfg(any(test, feature = "contract"))]
pub mod contract;
mod dense;
pub mod memory;
mod nodes;
pub mod postgres;
mod schema;
pub mod sqlite;

pub use clock::ManualClock;
pub use memory::MemoryLog;
pub use port::{
    AcquireError, Acquired, AppendBatch, AppendOutcome, Claim, ClusterMeta, Conflict,
    ConversationHead, EventLog, Lane, LineageEntry, LogReader, Marker, MarkerUpdate,
    NodeRegistration, NodeRow, NodeState, OpenError, Ownership, PartitionRow, Progress, Published,
    ReadError, Refusal, SnapshotRow, Snapshots, StoreError,
};
pub use postgres::{Durability, PgLog, PgOptions};
pub use sqlite::SqliteLog;

//! Read models: from the log to answers.
//!
//! Owns: the tables of history, inbox, membership and the rooms directory; the projectors that fill them (tail → fold → rows and
//! checkpoint, the checkpoint moved by compare-and-set, one transaction); the queries, which fold the log's tail over projected rows so
//! that readers see their own writes without waiting. May read the marker table of the log.
//!
//! Never: NATS, actix, axum; a row per recipient per message; a decision about what is allowed to be written.
//!
//! Start reading at [`port`], then [`model`] (how an event changes rows, pure), then [`projector`] and [`read`].

mod codes;
mod cursor;
pub mod model;
pub mod port;
pub mod projector;
pub mod read;
pub mod store;
mod tail;

use std::path::Path;
use std::sync::Arc;

use hubbub_event_log::LogReader;

pub use port::{
    Access, Anchor, HistoryPage, MemberRow, MembershipFold, MessageRow, Page, QueryError,
    ReadModels, Summary,
};
pub use projector::{OwnedPartitions, Projector, ProjectorStats};
pub use read::Reader;
pub use store::{Projection, Store};
pub use tail::TAIL_EVENTS_MAX;

/// The read models of one node: tables, a reader, a projector for each projection.
#[derive(Clone)]
pub struct Projections {
    store: Arc<dyn Store>,
    log: Arc<dyn LogReader>,
}

impl Projections {
    /// In a file of the data directory; `log_file` is the log's database.
    ///
    /// # Errors
    /// When the file cannot be opened or migrated.
    pub async fn open_sqlite(
        dir: &Path,
        log_file: &Path,
        log: Arc<dyn LogReader>,
    ) -> Result<Self, QueryError> {
        Ok(Self {
            store: Arc::new(store::sqlite::SqliteStore::open(dir, log_file).await?),
            log,
        })
    }

    /// In the cluster's database.
    ///
    /// # Errors
    /// When the database cannot be reached or migrated.
    pub async fn open_postgres(
        url: &str,
        migrate: bool,
        log: Arc<dyn LogReader>,
    ) -> Result<Self, QueryError> {
        Ok(Self {
            store: Arc::new(store::postgres::PostgresStore::open(url, migrate).await?),
            log,
        })
    }

    /// Answers questions.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.store), Arc::clone(&self.log))
    }

    /// A projector over the partitions that `owned` names at each look.
    pub fn projector(&self, projection: Projection, owned: OwnedPartitions) -> Projector {
        Projector::new(
            projection,
            Arc::clone(&self.log),
            Arc::clone(&self.store),
            owned,
        )
    }
}

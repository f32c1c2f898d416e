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
pub use store::postgres::{
    PROJECTOR_CONNECTIONS_MAX, PoolRole, PostgresStore, QUERY_CONNECTIONS_MAX,
};
pub use store::{Projection, Store};
pub use tail::{KEPT_BYTES_MAX, TAIL_WAIT_MAX, TailLimits};

/// The read models of one node: tables, a reader, a projector for each projection.
#[derive(Clone)]
pub struct Projections {
    store: Arc<dyn Store>,
    log: Arc<dyn LogReader>,
    /// What projectors use: on Postgres connections of their own, so that they and the queries do not starve each other.
    projecting: Arc<dyn Store>,
    projected_log: Arc<dyn LogReader>,
    pools: Option<(PostgresStore, PostgresStore)>,
}

/// Where the read models are in a cluster, and with how many connections.
#[derive(Clone, Copy, Debug)]
pub struct PostgresOptions<'url> {
    /// `postgres://…`
    pub url: &'url str,
    /// Bring the tables up to date.
    pub migrate: bool,
    /// Connections for queries, at least one.
    pub query_connections: u16,
    /// Connections for projectors, at least one.
    pub projector_connections: u16,
}

impl<'url> PostgresOptions<'url> {
    /// The defaults: migrating, [`QUERY_CONNECTIONS_MAX`] and [`PROJECTOR_CONNECTIONS_MAX`] connections.
    pub const fn new(url: &'url str) -> Self {
        Self {
            url,
            migrate: true,
            query_connections: QUERY_CONNECTIONS_MAX,
            projector_connections: PROJECTOR_CONNECTIONS_MAX,
        }
    }
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
        let store: Arc<dyn Store> =
            Arc::new(store::sqlite::SqliteStore::open(dir, log_file).await?);
        Ok(Self {
            projecting: Arc::clone(&store),
            projected_log: Arc::clone(&log),
            store,
            log,
            pools: None,
        })
    }

    /// In the cluster's database. Queries read the tail from `log`, projectors read `projected_log`; both are the same log, best over
    /// connections of their own.
    ///
    /// # Errors
    /// When the database cannot be reached or migrated.
    pub async fn open_postgres(
        options: PostgresOptions<'_>,
        log: Arc<dyn LogReader>,
        projected_log: Arc<dyn LogReader>,
    ) -> Result<Self, QueryError> {
        if options.migrate {
            PostgresStore::migrate(options.url).await?;
        }
        let connect = |role, connections| PostgresStore::connect(options.url, role, connections);
        let queries = connect(PoolRole::Queries, options.query_connections).await?;
        let projectors = connect(PoolRole::Projectors, options.projector_connections).await?;
        Ok(Self {
            store: Arc::new(queries.clone()),
            log,
            projecting: Arc::new(projectors.clone()),
            projected_log,
            pools: Some((queries, projectors)),
        })
    }

    /// The tables, for who reads them in another way: tests that stand between a query and its rows.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// The log that queries read the tail of.
    pub fn log(&self) -> Arc<dyn LogReader> {
        Arc::clone(&self.log)
    }

    /// Connections in use now: of queries, of projectors. Zero in a folder, where nothing is pooled between nodes.
    pub fn busy_connections(&self) -> (usize, usize) {
        self.pools.as_ref().map_or((0, 0), |(queries, projectors)| {
            (queries.busy(), projectors.busy())
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
            Arc::clone(&self.projected_log),
            Arc::clone(&self.projecting),
            owned,
        )
    }
}

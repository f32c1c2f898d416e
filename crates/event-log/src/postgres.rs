//! The log in PostgreSQL, shared by the nodes of a cluster.
//!
//! Owns: the append lanes (a connection each, never from a pool), a small pool for ownership and one for reads, the weekly children of
//! `event_log`, the check that the server keeps what it commits.
//!
//! Never: a statement cancelled because somebody stopped waiting; an answer guessed; an epoch bumped and a head read in one statement.
//!
//! Start reading at `append.rs`, then `acquire.rs`, then `fault.rs` for what counts as a definite no.

mod acquire;
mod append;
mod checks;
mod connect;
mod fault;
mod fitness;
mod heads;
mod lane;
mod markers;
mod ownership;
mod places;
mod progress;
mod read;
mod schema;
mod segments;
mod snapshots;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use hubbub_domain::ids::Incarnation;
use sqlx::postgres::PgConnectOptions;
use tokio::task::AbortHandle;

use self::checks::Demands;
pub use self::checks::Durability;
use self::connect::Pool;
pub use self::connect::PoolUse;
use self::fitness::Fitness;
pub use self::places::ServerPlaces;
use crate::port::{EventLog, Lane, OpenError, StoreError};

/// Write lanes of a node unless told otherwise (ARCHITECTURE.md §4).
pub const LANES_DEFAULT: u16 = 8;
/// Connections for ownership: one may hold a transaction while another says that this node lives.
const CONTROL_CONNECTIONS_MAX: usize = 2;
/// Connections for the reads of edges and projectors. Few: a read is short, and appends must find the server's cores free.
const READ_CONNECTIONS_MAX: usize = 8;
/// Connections for what an owner reads and writes beside its lanes: activations, look-ups of command ids, snapshots. Its own, so that
/// people who scroll never keep a command waiting; half as many, because a loaded conversation stays in memory.
pub const OWNER_READS_DEFAULT: u16 = 4;

/// Where the log is and how to use it.
#[derive(Clone)]
pub struct PgOptions {
    /// `postgres://user:password@host:port/database?…`
    pub url: String,
    /// Write lanes, at least one.
    pub lanes: u16,
    /// Connections for the owner's reads and snapshots ([`PgLog::for_owner`]), at least one.
    pub owner_reads: u16,
    /// Brings the schema up to date when opening; otherwise an old schema is unfit.
    pub migrate: bool,
    /// Accepts a server that may lose what it committed. For experiments only.
    pub allow_unsafe: bool,
    /// What a commit must have survived before it counts: checked when opening, by each lane, and once a minute.
    pub durability: Durability,
}

impl PgOptions {
    /// The defaults: [`LANES_DEFAULT`] lanes, [`OWNER_READS_DEFAULT`] connections for the owner's reads, migrating, safe.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            lanes: LANES_DEFAULT,
            owner_reads: OWNER_READS_DEFAULT,
            migrate: true,
            allow_unsafe: false,
            durability: Durability::default(),
        }
    }

    fn demands(&self) -> Demands {
        Demands {
            durability: self.durability,
            allow_unsafe: self.allow_unsafe,
        }
    }
}

/// Without the URL, which holds a password.
impl fmt::Debug for PgOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgOptions")
            .field("lanes", &self.lanes)
            .field("owner_reads", &self.owner_reads)
            .field("migrate", &self.migrate)
            .field("allow_unsafe", &self.allow_unsafe)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

/// The log of a cluster, shared by its clones.
#[derive(Clone)]
pub struct PgLog {
    shared: Arc<Shared>,
    /// Which of the pools this clone reads from.
    readers: Pool,
}

struct Shared {
    server: PgConnectOptions,
    demands: Demands,
    lanes: u16,
    control: Pool,
    readers: Pool,
    owner: Pool,
    /// Held by the acquire under way.
    acquiring: tokio::sync::Mutex<()>,
    /// What the looks found, for the lanes.
    fitness: Arc<Fitness>,
    upkeep: AbortHandle,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.upkeep.abort();
    }
}

impl fmt::Debug for PgLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgLog")
            .field("lanes", &self.shared.lanes)
            .finish_non_exhaustive()
    }
}

impl PgLog {
    /// Connects, checks that the server is fit for a log, brings the schema up to date, and keeps the weekly children ahead of time.
    ///
    /// [`OpenError::Unfit`] for unsafe server settings, an old schema without `migrate`, or one that a newer release made.
    pub async fn open(options: PgOptions) -> Result<Self, OpenError> {
        let server = connect::parse(&options.url)?;
        let mut first = connect::session(&server, "hubbub/log").await?;
        checks::check(&mut first, options.demands()).await?;
        schema::prepare(&mut first, options.migrate).await?;
        segments::ensure_current(&mut first).await?;
        drop(first);

        let control = Pool::new(&server, "hubbub/control", CONTROL_CONNECTIONS_MAX);
        let readers = Pool::new(&server, "hubbub/read", READ_CONNECTIONS_MAX);
        let owner = Pool::new(
            &server,
            "hubbub/owner",
            usize::from(options.owner_reads.max(1)),
        );
        let fitness = Arc::new(Fitness::default());
        let upkeep = segments::keep_up(readers.clone(), options.demands(), Arc::clone(&fitness));
        Ok(Self {
            readers: readers.clone(),
            shared: Arc::new(Shared {
                server,
                demands: options.demands(),
                lanes: options.lanes.max(1),
                control,
                readers,
                owner,
                acquiring: tokio::sync::Mutex::default(),
                fitness,
                upkeep: tokio::spawn(upkeep).abort_handle(),
            }),
        })
    }

    /// Ends the looks and closes the pools; lanes end by themselves. Calls that come later are answered as unavailable.
    pub async fn close(&self) {
        self.shared.upkeep.abort();
        self.shared.control.close().await;
        self.shared.readers.close().await;
        self.shared.owner.close().await;
    }

    /// The same log, whose reads borrow from a pool of their own under this application name: they neither wait for the reads of others nor
    /// make them wait.
    #[must_use]
    pub fn with_own_reads(&self, name: &'static str, connections: u16) -> Self {
        Self {
            readers: Pool::new(&self.shared.server, name, usize::from(connections.max(1))),
            shared: Arc::clone(&self.shared),
        }
    }

    /// How the pool of this clone's reads is used now.
    pub fn reads(&self) -> PoolUse {
        self.readers.usage()
    }

    /// How the pool of ownership is used now.
    pub fn control(&self) -> PoolUse {
        self.shared.control.usage()
    }

    /// The same log for the owner of partitions: what it reads never waits behind the reads of edges, nor they behind its own.
    #[must_use]
    pub fn for_owner(&self) -> Self {
        Self {
            readers: self.shared.owner.clone(),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Begins a segment: makes its child when it is not there and moves every fence row that is behind to it, without disturbing owners.
    ///
    /// The log does this by itself at the change of the week; numbers are weeks since 1970 and never fall.
    pub async fn begin_segment(&self, segment: i16) -> Result<(), StoreError> {
        let mut borrowed = self.readers.borrow().await.map_err(fault::store)?;
        connect::in_time(segments::begin(borrowed.connection(), segment))
            .await
            .map_err(fault::store)?;
        borrowed.done();
        Ok(())
    }
}

#[async_trait]
impl EventLog for PgLog {
    async fn open_lane(&self, me: Incarnation, lane: u16) -> Result<Box<dyn Lane>, OpenError> {
        let Shared {
            server,
            demands,
            fitness,
            ..
        } = &*self.shared;
        let lane = lane::open(server, me, lane, *demands, Arc::clone(fitness)).await?;
        Ok(Box::new(lane))
    }

    fn lanes(&self) -> u16 {
        self.shared.lanes
    }
}

#[cfg(test)]
mod tests;

//! Connections: how each kind is set up, and pools that never keep a connection somebody walked away from.
//!
//! Settings are sent after connecting, not in the startup packet, so that a session pooler in between does not refuse them.

use std::io;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hubbub_domain::ids::Incarnation;
use hubbub_telemetry::run_to_end;
use parking_lot::Mutex;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{ConnectOptions, Connection as _, Executor as _, PgConnection, Postgres};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::fault;
use crate::port::OpenError;

/// Connecting, TLS and log-in included.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Waiting for a free connection of a pool.
const BORROW_DEADLINE: Duration = Duration::from_secs(2);
/// A statement outside of the lanes. The server gives up a little earlier, so that nothing runs on unseen.
const STATEMENT_DEADLINE: Duration = Duration::from_secs(10);

/// How long a read goes on that nobody waits for any more. A burst of clients that leave would otherwise close one connection each, and
/// opening one costs the server more than the reads; longer, and a silent server would hold every place of the pool.
const ABANDONED_GRACE: Duration = Duration::from_secs(2);

/// A dead peer is noticed after about five seconds, on the server's side of the line.
macro_rules! tcp_settings {
    () => {
        "set tcp_user_timeout = '5s'; set tcp_keepalives_idle = 2; set tcp_keepalives_interval = 1; set tcp_keepalives_count = 3;"
    };
}

/// A pooled session: nothing may hang for long, neither a statement nor a transaction whose node went away. Compiling plans would cost the
/// heads of many segments 0.7 s, because the planner does not know that `coalesce` stops early.
const POOLED: &str = concat!(
    "set default_transaction_isolation = 'read committed'; set statement_timeout = '8s'; set lock_timeout = '2s'; ",
    "set idle_in_transaction_session_timeout = '2s'; set jit = off;",
    tcp_settings!()
);

/// A lane: no timeout may cut a write, and the server does not look whether the node still listens while it writes. The plan is made once,
/// finds fence rows by their key (without statistics the planner would read them all for one), and is not compiled.
const LANE: &str = concat!(
    "set default_transaction_isolation = 'read committed'; set statement_timeout = 0; set lock_timeout = 0; ",
    "set client_connection_check_interval = 0; set plan_cache_mode = force_generic_plan; set enable_seqscan = off; set jit = off;",
    tcp_settings!()
);

/// The server of a URL. No statement goes into the program's own log.
pub(super) fn parse(url: &str) -> Result<PgConnectOptions, OpenError> {
    let unfit = |what: String| OpenError::Unfit(format!("the database URL cannot be used: {what}"));
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(unfit("it does not begin with postgres://".to_owned()));
    }
    let server = PgConnectOptions::from_str(url).map_err(|error| unfit(error.to_string()))?;
    Ok(server.disable_statement_logging())
}

/// The name under which a lane is known to the server: an acquire finds the backends of a dead incarnation by it.
pub(super) fn lane_name(me: Incarnation, lane: u16) -> String {
    format!("hubbub/{me}/lane{lane}")
}

/// The pattern of all lanes of an incarnation, for `like`. Ids hold no wildcard.
pub(super) fn lanes_of(owner: Incarnation) -> String {
    format!("hubbub/{owner}/%")
}

async fn connect(
    server: &PgConnectOptions,
    name: &str,
    settings: &'static str,
) -> Result<PgConnection, sqlx::Error> {
    let connecting = async {
        let mut connection = server.clone().application_name(name).connect().await?;
        connection.execute(sqlx::raw_sql(settings)).await?;
        Ok(connection)
    };
    tokio::time::timeout(CONNECT_DEADLINE, connecting)
        .await
        .unwrap_or_else(|_late| Err(too_late("connecting")))
}

fn too_late(what: &'static str) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(
        io::ErrorKind::TimedOut,
        format!("{what} took too long"),
    ))
}

/// A single session for opening the log.
pub(super) async fn session(
    server: &PgConnectOptions,
    name: &str,
) -> Result<PgConnection, OpenError> {
    connect(server, name, POOLED).await.map_err(fault::open)
}

/// A session for one lane.
pub(super) async fn lane(
    server: &PgConnectOptions,
    me: Incarnation,
    lane: u16,
) -> Result<PgConnection, OpenError> {
    connect(server, &lane_name(me, lane), LANE)
        .await
        .map_err(fault::open)
}

/// A few connections that many borrow, one at a time.
///
/// Unlike a general pool it never asks a connection whether it still works, neither before nor after use (a short read would cost twice
/// its time), and it never waits long for one that somebody walked away from: such a connection is closed, and with it the idle ones,
/// which have most likely lost the same server. [`Pool::run`] first lets the server answer for a moment.
#[derive(Clone)]
pub(super) struct Pool(Arc<PoolState>);

struct PoolState {
    server: PgConnectOptions,
    name: &'static str,
    connections_max: usize,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<PgConnection>>,
    waiting: AtomicUsize,
    refused: AtomicU64,
    closed: AtomicU64,
}

/// One look at a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PoolUse {
    /// Connections at most.
    pub connections_max: usize,
    /// Connections in use now.
    pub busy: usize,
    /// Reads that wait for a connection now.
    pub waiting: usize,
    /// Reads that waited in vain, since the start.
    pub refused: u64,
    /// Connections closed because their read failed or was given up, since the start.
    pub closed: u64,
}

impl Pool {
    pub(super) fn new(
        server: &PgConnectOptions,
        name: &'static str,
        connections_max: usize,
    ) -> Self {
        Self(Arc::new(PoolState {
            server: server.clone(),
            name,
            connections_max,
            places: Arc::new(Semaphore::new(connections_max)),
            idle: Mutex::new(Vec::with_capacity(connections_max)),
            waiting: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            closed: AtomicU64::new(0),
        }))
    }

    /// A connection; it goes back only after [`Borrowed::done`].
    pub(super) async fn borrow(&self) -> Result<Borrowed, sqlx::Error> {
        let permit = self.place().await?;
        self.lend(permit).await
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, sqlx::Error> {
        let _counted = Waiting::begin(&self.0.waiting);
        let place = Arc::clone(&self.0.places).acquire_owned();
        match tokio::time::timeout(BORROW_DEADLINE, place).await {
            Ok(place) => place.map_err(|_closed| sqlx::Error::PoolClosed),
            Err(_late) => {
                self.0.refused.fetch_add(1, Ordering::Relaxed);
                Err(sqlx::Error::PoolTimedOut)
            }
        }
    }

    async fn lend(&self, permit: OwnedSemaphorePermit) -> Result<Borrowed, sqlx::Error> {
        let idle = self.0.idle.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => connect(&self.0.server, self.0.name, POOLED).await?,
        };
        let place = Place {
            pool: Arc::clone(&self.0),
            sound: false,
            _permit: permit,
        };
        Ok(Borrowed { connection, place })
    }

    /// Does `work` on a connection. When the caller is dropped meanwhile, the work has [`ABANDONED_GRACE`] to end, so that the connection
    /// can serve the next one.
    pub(super) async fn run<T, W>(&self, work: W) -> Result<T, sqlx::Error>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>>
            + Send
            + 'static,
    {
        let permit = self.place().await?;
        let (waits, given_up) = oneshot::channel::<()>();
        let pool = self.clone();
        let reading = async move {
            let reading = in_time(async move {
                let mut borrowed = pool.lend(permit).await?;
                let answer = work(borrowed.connection()).await?;
                borrowed.done();
                Ok(answer)
            });
            tokio::pin!(reading);
            tokio::select! {
                answer = &mut reading => answer,
                _ = given_up => tokio::time::timeout(ABANDONED_GRACE, reading)
                    .await
                    .unwrap_or_else(|_late| Err(too_late("an abandoned read"))),
            }
        };
        let answer = run_to_end("log read", reading).await;
        drop(waits);
        answer.unwrap_or_else(|lost| Err(sqlx::Error::Io(io::Error::other(lost))))
    }

    /// All rows of one statement.
    pub(super) async fn fetch(&self, query: Query<'static>) -> Result<Vec<PgRow>, sqlx::Error> {
        self.run(move |connection| Box::pin(query.fetch_all(connection)))
            .await
    }

    /// How it is used now.
    pub(super) fn usage(&self) -> PoolUse {
        let max = self.0.connections_max;
        PoolUse {
            connections_max: max,
            busy: max.saturating_sub(self.0.places.available_permits()),
            waiting: self.0.waiting.load(Ordering::Relaxed),
            refused: self.0.refused.load(Ordering::Relaxed),
            closed: self.0.closed.load(Ordering::Relaxed),
        }
    }

    /// Lends nothing any more, and closes what is idle.
    pub(super) async fn close(&self) {
        self.0.places.close();
        let idle = std::mem::take(&mut *self.0.idle.lock());
        for connection in idle {
            close(connection).await;
        }
    }
}

/// Counts one who waits, for as long as it waits.
struct Waiting<'pool>(&'pool AtomicUsize);

impl<'pool> Waiting<'pool> {
    fn begin(waiting: &'pool AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bounds work on a borrowed connection, for a server that does not answer.
pub(super) async fn in_time<T>(
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    tokio::time::timeout(STATEMENT_DEADLINE, work)
        .await
        .unwrap_or_else(|_late| Err(too_late("a statement")))
}

/// A statement with its arguments.
pub(super) type Query<'q> = sqlx::query::Query<'q, Postgres, sqlx::postgres::PgArguments>;

/// A borrowed connection. Dropped without [`Borrowed::done`], it is closed.
pub(super) struct Borrowed {
    connection: PgConnection,
    place: Place,
}

/// A place in the pool while its connection is lent.
struct Place {
    pool: Arc<PoolState>,
    sound: bool,
    _permit: OwnedSemaphorePermit,
}

impl Borrowed {
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Everything sent has been answered.
    pub(super) fn done(self) {
        let Self {
            connection,
            mut place,
        } = self;
        place.sound = true;
        if !place.pool.places.is_closed() {
            place.pool.idle.lock().push(connection);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.sound {
            self.pool.closed.fetch_add(1, Ordering::Relaxed);
            self.pool.idle.lock().clear();
        }
    }
}

/// Says good-bye; a server that does not listen any more is left to itself.
pub(super) async fn close(connection: PgConnection) {
    let _left_to_itself = tokio::time::timeout(CONNECT_DEADLINE, connection.close())
        .await
        .is_err();
}

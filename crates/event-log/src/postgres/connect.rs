//! Connections: how each kind is set up, and pools that never keep a connection somebody walked away from.
//!
//! Settings are sent after connecting, not in the startup packet, so that a session pooler in between does not refuse them.

use std::io;
use std::str::FromStr as _;
use std::time::Duration;

use hubbub_domain::ids::Incarnation;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{ConnectOptions, Connection as _, Executor as _, PgConnection, PgPool, Postgres};

use super::fault;
use crate::port::OpenError;

/// Connecting, TLS and log-in included.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Waiting for a free connection of a pool.
const BORROW_DEADLINE: Duration = Duration::from_secs(2);
/// A statement outside of the lanes. The server gives up a little earlier, so that nothing runs on unseen.
const STATEMENT_DEADLINE: Duration = Duration::from_secs(10);

/// A dead peer is noticed after about five seconds, on the server's side of the line.
macro_rules! tcp_settings {
    () => {
        "set tcp_user_timeout = '5s'; set tcp_keepalives_idle = 2; set tcp_keepalives_interval = 1; set tcp_keepalives_count = 3;"
    };
}

/// A pooled session: nothing may hang for long, neither a statement nor a transaction whose node went away.
const POOLED: &str = concat!(
    "set default_transaction_isolation = 'read committed'; set statement_timeout = '8s'; set lock_timeout = '2s'; ",
    "set idle_in_transaction_session_timeout = '2s';",
    tcp_settings!()
);

/// A lane: no timeout may cut a write, and the server does not look whether the node still listens while it writes. Plans are made once.
const LANE: &str = concat!(
    "set default_transaction_isolation = 'read committed'; set statement_timeout = 0; set lock_timeout = 0; ",
    "set client_connection_check_interval = 0; set plan_cache_mode = force_generic_plan; set enable_seqscan = off;",
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

/// A pool whose borrowers may stop waiting at any time.
#[derive(Clone)]
pub(super) struct Pool(PgPool);

impl Pool {
    pub(super) fn new(server: &PgConnectOptions, name: &str, max: u32) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(max)
            .acquire_timeout(BORROW_DEADLINE)
            // A round trip per borrow would double the cost of a short read; a stale connection costs one `Unavailable`.
            .test_before_acquire(false)
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(sqlx::raw_sql(POOLED)).await.map(|_| ()) })
            })
            .connect_lazy_with(server.clone().application_name(name));
        Self(pool)
    }

    /// A connection; it goes back only after [`Borrowed::done`].
    pub(super) async fn borrow(&self) -> Result<Borrowed, sqlx::Error> {
        let connection = self.0.acquire().await?;
        Ok(Borrowed {
            connection,
            busy: true,
        })
    }

    /// All rows of one statement.
    pub(super) async fn fetch(&self, query: Query<'_>) -> Result<Vec<PgRow>, sqlx::Error> {
        let mut borrowed = self.borrow().await?;
        let rows = tokio::time::timeout(STATEMENT_DEADLINE, query.fetch_all(borrowed.connection()))
            .await
            .unwrap_or_else(|_late| Err(too_late("a statement")))?;
        borrowed.done();
        Ok(rows)
    }

    /// Closes every connection; borrowed ones when they come back.
    pub(super) async fn close(&self) {
        self.0.close().await;
    }
}

/// A statement with its arguments.
pub(super) type Query<'q> = sqlx::query::Query<'q, Postgres, sqlx::postgres::PgArguments>;

/// A borrowed connection. Dropped while a statement may still be under way, it is closed: a pool that waited for such a connection to
/// become ready would lose its places one by one while a server hangs.
pub(super) struct Borrowed {
    connection: PoolConnection<Postgres>,
    busy: bool,
}

impl Borrowed {
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Everything sent has been answered.
    pub(super) fn done(mut self) {
        self.busy = false;
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if self.busy {
            self.connection.close_on_drop();
        }
    }
}

/// Says good-bye; a server that does not listen any more is left to itself.
pub(super) async fn close(connection: PgConnection) {
    let _left_to_itself = tokio::time::timeout(CONNECT_DEADLINE, connection.close())
        .await
        .is_err();
}

//! From a directory to connections: lock, file, pragmas, schema.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection, SqlitePool};

use crate::port::OpenError;
use crate::schema;

/// Connections that read. Reads of an embedded node are short, and each connection has a thread of its own.
const READERS_MAX: u32 = 4;
/// Wait for the write lock of the file. Nobody else writes to it; a tool of the operator might, for a moment.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Statements kept prepared per connection: the ten insert sizes and everything else fit.
const STATEMENTS_MAX: usize = 64;
/// The WAL is cut back to this many bytes after a checkpoint that emptied it.
const WAL_BYTES_KEPT: &str = "67108864";

/// Takes the directory for this process, until the returned file is closed (also by the death of the process).
pub(super) fn lock(dir: &Path) -> Result<File, OpenError> {
    let unfit = |what: &str, error: io::Error| {
        OpenError::Unfit(format!("{what} {}: {error}", dir.display()))
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| unfit("cannot create the data directory", error))?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join("lock"))
        .map_err(|error| unfit("cannot write to the data directory", error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Unfit(format!(
            "the data directory {} is in use by another hubbub process; stop that one, or choose another directory",
            dir.display()
        ))),
        Err(TryLockError::Error(error)) => Err(unfit("cannot lock the data directory", error)),
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENTS_MAX)
        .disable_statement_logging()
}

/// The connection that writes. FULL: a commit that was reported survives the loss of power.
pub(super) async fn writer(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    options(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("journal_size_limit", WAL_BYTES_KEPT)
        .connect()
        .await
}

/// The writing connection with an up-to-date schema, and a pool that can only read.
pub(super) async fn connect(path: &Path) -> Result<(SqliteConnection, SqlitePool), OpenError> {
    let unavailable = |error: sqlx::Error| OpenError::Unavailable(error.into());
    let mut connection = writer(path).await.map_err(unavailable)?;
    let mut migrator = sqlx::migrate!("migrations/sqlite");
    migrator.dangerous_set_table_name(schema::MIGRATIONS_TABLE);
    migrator.run(&mut connection).await.map_err(schema::unfit)?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .test_before_acquire(false)
        .connect_with(options(path).read_only(true))
        .await
        .map_err(unavailable)?;
    Ok((connection, readers))
}

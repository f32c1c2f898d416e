//! Accounts in SQLite: one file, one writer, a few readers.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use hubbub_domain::ids::UserId;
use hubbub_domain::time::Timestamp;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, QueryBuilder, Row, Sqlite, SqliteConnection, SqlitePool, Transaction};
use uuid::Uuid;

use crate::port::{AccountsError, Origin, Session, SessionId, User};
use crate::rules;
use crate::secret::Hash;
use crate::store::{
    Attempt, AttemptBegun, AttemptBudget, Keep, NewAccount, NewSession, OpenError, ProfileChange,
    Store, rev_from_sql, rev_to_sql, schema_error, spent_until, sql, unavailable,
};

/// Connections that read; each has a thread of its own, and reads here are short.
const READERS_MAX: u32 = 2;
/// Wait for the write lock of the file, which only a tool of the operator could hold.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Wait for a connection: longer and the request has no use for the answer.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// The tables in `accounts.db`.
#[derive(Clone, Debug)]
pub(crate) struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens `accounts.db` in `dir`, which exists; makes it, and with `migrate` brings it up to date.
    pub(crate) async fn open(dir: &Path, migrate: bool) -> Result<Self, OpenError> {
        let options = SqliteConnectOptions::new()
            .filename(dir.join("accounts.db"))
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            .disable_statement_logging();
        // FULL: a session that was ended stays ended after the loss of power.
        let writing = options
            .clone()
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let unreachable = |error: sqlx::Error| OpenError::Unavailable(error.into());
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(writing)
            .await
            .map_err(unreachable)?;
        if migrate {
            let mut migrator = sqlx::migrate!("migrations/sqlite");
            migrator.dangerous_set_table_name("_migrations_accounts");
            migrator.run(&writer).await.map_err(schema_error)?;
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options.read_only(true))
            .await
            .map_err(unreachable)?;
        Ok(Self { writer, readers })
    }

    /// A transaction that holds the write lock from its first statement.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, AccountsError> {
        self.writer
            .begin_with("begin immediate")
            .await
            .map_err(unavailable)
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn create(
        &self,
        account: &NewAccount,
        session: &NewSession,
    ) -> Result<bool, AccountsError> {
        let user = &account.user;
        let mut transaction = self.begin().await?;
        let inserted = sqlx::query(sql::INSERT_ACCOUNT)
            .bind(user.id.uuid())
            .bind(&user.username)
            .bind(&user.display_name)
            .bind(&user.status)
            .bind(&account.email)
            .bind(user.bot)
            .bind(&account.search_text)
            .bind(&account.password_hash)
            .bind(user.created_at.millis())
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        if inserted.rows_affected() == 0 {
            return Ok(false);
        }
        insert_session(&mut transaction, session).await?;
        transaction.commit().await.map_err(unavailable)?;
        Ok(true)
    }

    async fn credentials(&self, username: &str) -> Result<Option<(User, String)>, AccountsError> {
        let row = sqlx::query(sql::CREDENTIALS)
            .bind(username)
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable)?;
        row.map(|row| Ok((user(&row)?, row.try_get(6).map_err(unavailable)?)))
            .transpose()
    }

    async fn begin_attempt(
        &self,
        attempt: Attempt,
        budget: AttemptBudget,
    ) -> Result<AttemptBegun, AccountsError> {
        let begin_of_window = attempt.at.millis().saturating_sub(budget.window_ms);
        let mut transaction = self.begin().await?;
        sqlx::query(sql::FORGET_OLD_ATTEMPTS_SQLITE)
            .bind(begin_of_window)
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        let in_the_way: Option<i64> = sqlx::query_scalar(sql::ATTEMPT_IN_THE_WAY)
            .bind(attempt.name_hash.as_slice())
            .bind(begin_of_window)
            .bind(budget.count.saturating_sub(1))
            .fetch_optional(&mut *transaction)
            .await
            .map_err(unavailable)?;
        if let Some(oldest) = in_the_way {
            return Ok(spent_until(oldest, budget));
        }
        sqlx::query(sql::INSERT_ATTEMPT)
            .bind(attempt.id)
            .bind(attempt.name_hash.as_slice())
            .bind(attempt.at.millis())
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        transaction.commit().await.map_err(unavailable)?;
        Ok(AttemptBegun::Counted)
    }

    async fn open_session(
        &self,
        session: &NewSession,
        attempt: Uuid,
        keep: Keep,
    ) -> Result<(), AccountsError> {
        let owner = session.session.user;
        let mut transaction = self.begin().await?;
        insert_session(&mut transaction, session).await?;
        sqlx::query(sql::FORGET_ATTEMPT)
            .bind(attempt)
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        let ended = sqlx::query(sql::END_STALE_SESSIONS)
            .bind(owner.uuid())
            .bind(keep.used_since.millis())
            .bind(keep.created_since.millis())
            .bind(keep.sessions_max)
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        if ended.rows_affected() > 0 {
            next_rev(&mut transaction, owner).await?;
        }
        transaction.commit().await.map_err(unavailable)
    }

    async fn session(&self, token_hash: &Hash) -> Result<Option<Session>, AccountsError> {
        let row = sqlx::query(sql::SESSION_BY_TOKEN)
            .bind(token_hash.as_slice())
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable)?;
        row.as_ref().map(session_of).transpose()
    }

    async fn touch(&self, session: SessionId, at: Timestamp) -> Result<(), AccountsError> {
        sqlx::query(sql::TOUCH)
            .bind(session.0)
            .bind(at.millis())
            .execute(&self.writer)
            .await
            .map(drop)
            .map_err(unavailable)
    }

    async fn end_session(&self, user: UserId, session: SessionId) -> Result<u64, AccountsError> {
        let mut transaction = self.begin().await?;
        let ended = sqlx::query(sql::END_SESSION)
            .bind(session.0)
            .bind(user.uuid())
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        let rev = if ended.rows_affected() > 0 {
            next_rev(&mut transaction, user).await?
        } else {
            sqlx::query_scalar(sql::HIGHEST_REV)
                .fetch_one(&mut *transaction)
                .await
                .map(rev_from_sql)
                .map_err(unavailable)?
        };
        transaction.commit().await.map_err(unavailable)?;
        Ok(rev)
    }

    async fn sessions(&self, user: UserId) -> Result<Vec<Session>, AccountsError> {
        let rows = sqlx::query(sql::SESSIONS_OF_USER)
            .bind(user.uuid())
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        rows.iter().map(session_of).collect()
    }

    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>, AccountsError> {
        let mut query = QueryBuilder::<Sqlite>::new(sql::USERS);
        let mut list = query.separated(", ");
        for id in ids {
            list.push_bind(id.uuid());
        }
        list.push_unseparated(")");
        let rows = query
            .build()
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        rows.iter().map(user).collect()
    }

    async fn search(
        &self,
        pattern: &str,
        after: &str,
        limit: i64,
    ) -> Result<Vec<User>, AccountsError> {
        let rows = sqlx::query(sql::SEARCH)
            .bind(pattern)
            .bind(after)
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        rows.iter().map(user).collect()
    }

    async fn update_profile(
        &self,
        id: UserId,
        change: &ProfileChange,
    ) -> Result<Option<User>, AccountsError> {
        let mut transaction = self.begin().await?;
        // The revision first: its row is what changes of one account wait for, so none is computed from an old profile.
        let rev = next_rev(&mut transaction, id).await?;
        let row = sqlx::query(sql::USER)
            .bind(id.uuid())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(unavailable)?;
        let Some(row) = row else { return Ok(None) };
        let before = user(&row)?;
        let after = change.apply(&before);
        if after == before {
            return Ok(Some(after));
        }
        sqlx::query(sql::UPDATE_PROFILE)
            .bind(id.uuid())
            .bind(&after.display_name)
            .bind(&after.status)
            .bind(rules::search_text(&after.username, &after.display_name))
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        transaction.commit().await.map_err(unavailable)?;
        tracing::debug!(rev, "a profile changed");
        Ok(Some(after))
    }

    async fn highest_rev(&self) -> Result<u64, AccountsError> {
        sqlx::query_scalar(sql::HIGHEST_REV)
            .fetch_one(&self.readers)
            .await
            .map(rev_from_sql)
            .map_err(unavailable)
    }

    async fn changed_since(
        &self,
        rev: u64,
        limit: i64,
    ) -> Result<Vec<(UserId, u64)>, AccountsError> {
        let rows: Vec<(Uuid, i64)> = sqlx::query_as(sql::CHANGED_SINCE)
            .bind(rev_to_sql(rev))
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        let changed = rows
            .into_iter()
            .map(|(user, rev)| (UserId::from_uuid(user), rev_from_sql(rev)));
        Ok(changed.collect())
    }
}

async fn insert_session(
    connection: &mut SqliteConnection,
    new: &NewSession,
) -> Result<(), AccountsError> {
    let session = &new.session;
    sqlx::query(sql::INSERT_SESSION)
        .bind(session.id.0)
        .bind(session.user.uuid())
        .bind(new.token_hash.as_slice())
        .bind(&session.origin.device)
        .bind(&session.origin.address)
        .bind(session.created_at.millis())
        .bind(session.last_used_at.millis())
        .execute(connection)
        .await
        .map(drop)
        .map_err(unavailable)
}

/// Allocates the next revision and gives it to `user`.
async fn next_rev(connection: &mut SqliteConnection, user: UserId) -> Result<u64, AccountsError> {
    let rev: i64 = sqlx::query_scalar(sql::NEXT_REV)
        .fetch_one(&mut *connection)
        .await
        .map_err(unavailable)?;
    sqlx::query(sql::SET_USER_REV)
        .bind(user.uuid())
        .bind(rev)
        .execute(connection)
        .await
        .map_err(unavailable)?;
    Ok(rev_from_sql(rev))
}

/// The first six columns of a user.
fn user(row: &SqliteRow) -> Result<User, AccountsError> {
    Ok(User {
        id: UserId::from_uuid(row.try_get(0).map_err(unavailable)?),
        username: row.try_get(1).map_err(unavailable)?,
        display_name: row.try_get(2).map_err(unavailable)?,
        status: row.try_get(3).map_err(unavailable)?,
        bot: row.try_get(4).map_err(unavailable)?,
        created_at: Timestamp::from_millis(row.try_get(5).map_err(unavailable)?),
    })
}

fn session_of(row: &SqliteRow) -> Result<Session, AccountsError> {
    Ok(Session {
        id: SessionId(row.try_get(0).map_err(unavailable)?),
        user: UserId::from_uuid(row.try_get(1).map_err(unavailable)?),
        origin: Origin {
            device: row.try_get(2).map_err(unavailable)?,
            address: row.try_get(3).map_err(unavailable)?,
        },
        created_at: Timestamp::from_millis(row.try_get(4).map_err(unavailable)?),
        last_used_at: Timestamp::from_millis(row.try_get(5).map_err(unavailable)?),
    })
}

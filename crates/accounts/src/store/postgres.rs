//! Accounts in Postgres, shared by all nodes.

use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use hubbub_domain::ids::UserId;
use hubbub_domain::time::Timestamp;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{
    ConnectOptions, Connection as _, Executor as _, PgConnection, PgPool, Postgres, QueryBuilder,
    Row, Transaction,
};
use uuid::Uuid;

use crate::port::{AccountsError, Origin, Session, SessionId, User};
use crate::rules;
use crate::secret::Hash;
use crate::store::{
    Attempt, AttemptBegun, AttemptBudget, Keep, NewAccount, NewSession, OpenError, ProfileChange,
    Store, rev_from_sql, rev_to_sql, schema_error, spent_until, sql, unavailable,
};

/// Connections of one node unless told otherwise. Its hot query, the session of a token, takes well under a millisecond.
pub const CONNECTIONS_MAX: u16 = 8;
/// Wait for a connection; later, the asking client has given up or soon will (edge 4 s).
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// A session: nothing may hang for long. Plans of short queries are not compiled: compiling takes longer than they do.
const SESSION: &str = "set statement_timeout = '4s'; set lock_timeout = '3s'; set idle_in_transaction_session_timeout = '5s'; \
    set jit = off; set tcp_user_timeout = '5s'";

/// The tables in the cluster's database.
#[derive(Clone, Debug)]
pub(crate) struct PostgresStore {
    pool: PgPool,
}

impl PostgresStore {
    /// Connects with at most `connections`, and with `migrate` brings the tables up to date.
    pub(crate) async fn open(
        url: &str,
        connections: u16,
        migrate: bool,
    ) -> Result<Self, OpenError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|_secret| OpenError::Unfit("cannot read the database URL".to_owned()))?
            .application_name("hubbub-accounts")
            .disable_statement_logging();
        let unreachable = |error: sqlx::Error| OpenError::Unavailable(error.into());
        if migrate {
            // On a connection without time limits: another node, or another room, may be migrating at this moment.
            let mut connection = options.connect().await.map_err(unreachable)?;
            let mut migrator = sqlx::migrate!("migrations/postgres");
            migrator.dangerous_set_table_name("_migrations_accounts");
            migrator.run(&mut connection).await.map_err(schema_error)?;
            connection.close().await.map_err(unreachable)?;
        }
        let pool = PgPoolOptions::new()
            .max_connections(u32::from(connections.max(1)))
            .acquire_timeout(ACQUIRE_TIMEOUT)
            // Not in the startup packet, which a session pooler in between refuses.
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(SESSION).await.map(|_| ()) })
            })
            .connect_with(options)
            .await
            .map_err(unreachable)?;
        Ok(Self { pool })
    }

    async fn begin(&self) -> Result<Transaction<'static, Postgres>, AccountsError> {
        self.pool.begin().await.map_err(unavailable)
    }
}

/// The lock that attempts of one name take: some bits of the name's hash. Two names that share it only wait for each other.
fn attempt_lock(name_hash: &Hash) -> i64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(name_hash) {
        *to = *from;
    }
    i64::from_be_bytes(bytes)
}

#[async_trait]
impl Store for PostgresStore {
    fn busy_connections(&self) -> usize {
        let open = usize::try_from(self.pool.size()).unwrap_or(usize::MAX);
        open.saturating_sub(self.pool.num_idle())
    }

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
            .fetch_optional(&self.pool)
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
        sqlx::query("select pg_advisory_xact_lock($1)")
            .bind(attempt_lock(&attempt.name_hash))
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        sqlx::query(sql::FORGET_OLD_ATTEMPTS_POSTGRES)
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
            .fetch_optional(&self.pool)
            .await
            .map_err(unavailable)?;
        row.as_ref().map(session_of).transpose()
    }

    async fn touch(&self, session: SessionId, at: Timestamp) -> Result<(), AccountsError> {
        sqlx::query(sql::TOUCH)
            .bind(session.0)
            .bind(at.millis())
            .execute(&self.pool)
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
            .fetch_all(&self.pool)
            .await
            .map_err(unavailable)?;
        rows.iter().map(session_of).collect()
    }

    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>, AccountsError> {
        let mut query = QueryBuilder::<Postgres>::new(sql::USERS);
        let mut list = query.separated(", ");
        for id in ids {
            list.push_bind(id.uuid());
        }
        list.push_unseparated(")");
        let rows = query
            .build()
            .fetch_all(&self.pool)
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
            .fetch_all(&self.pool)
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
            .fetch_one(&self.pool)
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
            .fetch_all(&self.pool)
            .await
            .map_err(unavailable)?;
        let changed = rows
            .into_iter()
            .map(|(user, rev)| (UserId::from_uuid(user), rev_from_sql(rev)));
        Ok(changed.collect())
    }
}

async fn insert_session(
    connection: &mut PgConnection,
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
async fn next_rev(connection: &mut PgConnection, user: UserId) -> Result<u64, AccountsError> {
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
fn user(row: &PgRow) -> Result<User, AccountsError> {
    Ok(User {
        id: UserId::from_uuid(row.try_get(0).map_err(unavailable)?),
        username: row.try_get(1).map_err(unavailable)?,
        display_name: row.try_get(2).map_err(unavailable)?,
        status: row.try_get(3).map_err(unavailable)?,
        bot: row.try_get(4).map_err(unavailable)?,
        created_at: Timestamp::from_millis(row.try_get(5).map_err(unavailable)?),
    })
}

fn session_of(row: &PgRow) -> Result<Session, AccountsError> {
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

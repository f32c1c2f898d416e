//! The service: rules, hashes and tokens over a store.
//!
//! Changes run to their end once they have begun, even when the request that asked for them is gone: a transaction is never dropped halfway.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hubbub_domain::ids::UserId;
use hubbub_domain::time::Timestamp;
use hubbub_telemetry::{Clock, run_to_end, spans};
use tracing::Instrument as _;

use crate::password::{self, Hasher};
use crate::port::{
    AccountsError, Identity, LoginError, NewUser, Origin, RegisterError, Session, SessionId,
    SessionToken, User, UserPage,
};
use crate::store::postgres::{CONNECTIONS_MAX, PostgresStore};
use crate::store::sqlite::SqliteStore;
use crate::store::{
    Attempt, AttemptBegun, AttemptBudget, Keep, NewAccount, NewSession, OpenError, ProfileChange,
    Store,
};
use crate::{rules, secret};

/// Ids that [`Identity::users`] looks up at once; further ones are left out.
pub const USERS_AT_ONCE_MAX: usize = 1_000;
/// Rows of a page of people, and of changed accounts.
pub const PAGE_ROWS_MAX: usize = 1_000;
/// Sessions of one user; the longest unused is ended for a new one. Nobody has that many devices, a script that logs in every time has.
pub const SESSIONS_PER_USER_MAX: u32 = 200;
/// How far the stored last use may lag: one write per session and minute at most.
const LAST_USED_GRAIN_MS: i64 = 60_000;
/// When to come again if hashing is fully used: about half the time its queue takes.
const BUSY_RETRY_MS: u32 = 1_000;
/// Before every cursor, so that a text from elsewhere is recognised.
const CURSOR_PREFIX: &str = "u.";

/// Lifetimes and budgets; the defaults are those of PROTOCOL.md and SECURITY.md.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountsOptions {
    /// A session that is not used for so long has ended.
    pub session_idle: Duration,
    /// A session has ended so long after it was made, used or not.
    pub session_absolute: Duration,
    /// Wrong passwords per account …
    pub wrong_passwords_max: u32,
    /// … in so long.
    pub wrong_passwords_window: Duration,
    /// Bring the tables up to date when opening.
    pub migrate: bool,
    /// Connections to Postgres, at least one.
    pub connections: u16,
}

impl Default for AccountsOptions {
    fn default() -> Self {
        const DAY: Duration = Duration::from_hours(24);
        Self {
            session_idle: DAY.saturating_mul(30),
            session_absolute: DAY.saturating_mul(90),
            wrong_passwords_max: 10,
            wrong_passwords_window: Duration::from_mins(10),
            migrate: true,
            connections: CONNECTIONS_MAX,
        }
    }
}

/// Identity over a store.
pub struct Accounts {
    store: Arc<dyn Store>,
    hasher: Hasher,
    options: AccountsOptions,
    clock: Arc<dyn Clock>,
    counted: Counted,
}

#[derive(Debug, Default)]
struct Counted {
    logins: AtomicU64,
    refused: AtomicU64,
    later: AtomicU64,
}

/// One look at what accounts do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AccountsUse {
    /// Sessions made by a password, since the start.
    pub logins: u64,
    /// Wrong passwords and unknown users, since the start.
    pub logins_refused: u64,
    /// Logins put off, since the start: budget spent or hashing fully used.
    pub logins_later: u64,
    /// Passwords that are hashed or wait for it now.
    pub hashing: usize,
}

impl Accounts {
    /// Accounts in `accounts.db` of a data directory, which exists.
    pub async fn open_sqlite(
        dir: &Path,
        options: AccountsOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let store = SqliteStore::open(dir, options.migrate).await?;
        Self::over(Arc::new(store), options, clock).await
    }

    /// Accounts in a Postgres database, shared by all nodes.
    pub async fn open_postgres(
        url: &str,
        options: AccountsOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let store = PostgresStore::open(url, options.connections, options.migrate).await?;
        Self::over(Arc::new(store), options, clock).await
    }

    async fn over(
        store: Arc<dyn Store>,
        options: AccountsOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let hasher = Hasher::new()
            .await
            .map_err(|error| OpenError::Unavailable(Box::new(error)))?;
        Ok(Self {
            store,
            hasher,
            options,
            clock,
            counted: Counted::default(),
        })
    }

    /// How it is used: logins since the start, and what waits now.
    pub fn usage(&self) -> AccountsUse {
        let total = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AccountsUse {
            logins: total(&self.counted.logins),
            logins_refused: total(&self.counted.refused),
            logins_later: total(&self.counted.later),
            hashing: self.hasher.admitted(),
        }
    }

    /// Connections to Postgres in use now; zero in a folder.
    pub fn busy_connections(&self) -> usize {
        self.store.busy_connections()
    }

    async fn log_in(
        &self,
        username: &str,
        password: &str,
        origin: Origin,
    ) -> Result<(User, Session, SessionToken), LoginError> {
        let now = self.clock.now();
        let Some((user, attempt)) = self.judge(username, password, now).await? else {
            return Err(LoginError::Refused);
        };
        let (session, token) = new_session(user.id, &origin, now)?;
        let made = session.session.clone();
        let keep = self.keep(now);
        self.change(|store| async move { store.open_session(&session, attempt.id, keep).await })
            .await?;
        Ok((user, made, token))
    }

    /// Runs a change to its end, whatever becomes of the caller.
    async fn change<T, F>(
        &self,
        change: impl FnOnce(Arc<dyn Store>) -> F,
    ) -> Result<T, AccountsError>
    where
        F: Future<Output = Result<T, AccountsError>> + Send + 'static,
        T: Send + 'static,
    {
        let changing = change(Arc::clone(&self.store))
            .instrument(tracing::info_span!(spans::DB_ACCOUNTS_WRITE));
        run_to_end("accounts change", changing)
            .await
            .map_err(|lost| AccountsError::Unavailable(Box::new(lost)))?
    }

    fn keep(&self, now: Timestamp) -> Keep {
        Keep {
            used_since: now.plus_millis(-millis(self.options.session_idle)),
            created_since: now.plus_millis(-millis(self.options.session_absolute)),
            sessions_max: i64::from(SESSIONS_PER_USER_MAX),
        }
    }

    fn is_live(&self, session: &Session, now: Timestamp) -> bool {
        let keep = self.keep(now);
        session.last_used_at >= keep.used_since && session.created_at >= keep.created_since
    }

    /// Counts the attempt, then judges the password. `None` when it is wrong.
    async fn judge(
        &self,
        username: &str,
        password: &str,
        now: Timestamp,
    ) -> Result<Option<(User, Attempt)>, LoginError> {
        let Some(turn) = self.hasher.turn() else {
            return Err(LoginError::Later {
                retry_after_ms: BUSY_RETRY_MS,
            });
        };
        // A name that no user can have is counted and hashed like any other.
        let name = rules::username(username);
        let spelled = name.as_deref().unwrap_or(username);
        let attempt = Attempt {
            id: secret::new_id(now)?,
            name_hash: secret::hash(spelled.as_bytes()),
            at: now,
        };
        let budget = AttemptBudget {
            count: i64::from(self.options.wrong_passwords_max.max(1)),
            window_ms: millis(self.options.wrong_passwords_window),
        };
        let begun = self
            .change(|store| async move { store.begin_attempt(attempt, budget).await })
            .await?;
        if let AttemptBegun::SpentUntil(until) = begun {
            let wait_ms = until.millis_since(now).max(1);
            return Err(LoginError::Later {
                retry_after_ms: u32::try_from(wait_ms).unwrap_or(u32::MAX),
            });
        }
        let found = match &name {
            Ok(name) => self.store.credentials(name).await?,
            Err(_) => None,
        };
        let stored = found.as_ref().map(|(_, hash)| hash.as_str());
        let right = self.hasher.verify(turn, password, stored).await?;
        Ok(found.filter(|_| right).map(|(user, _)| (user, attempt)))
    }
}

#[async_trait]
impl Identity for Accounts {
    async fn register(
        &self,
        new: NewUser,
        origin: Origin,
    ) -> Result<(User, Session, SessionToken), RegisterError> {
        let now = self.clock.now();
        let mut faults = Vec::new();
        let username = field("username", rules::username(&new.username), &mut faults);
        let display_name = field(
            "display_name",
            rules::display_name(&new.display_name),
            &mut faults,
        );
        let email = new.email.as_deref().map(rules::email).transpose();
        let email = field("email", email, &mut faults).flatten();
        let length = password::check_length(&new.password).map_err(password::Weakness::message);
        let long_enough = field("password", length, &mut faults).is_some();
        let (Some(username), Some(display_name), true) = (username, display_name, long_enough)
        else {
            return Err(RegisterError::Invalid(faults));
        };
        if !faults.is_empty() {
            return Err(RegisterError::Invalid(faults));
        }
        let turn = self.hasher.turn().ok_or(RegisterError::Busy)?;
        let personal = [username.clone(), display_name.clone()];
        let password_hash = turn
            .hash_new(&new.password, personal)
            .await?
            .map_err(|weakness| RegisterError::Invalid(vec![("password", weakness.message())]))?;
        let user = User {
            id: UserId::from_uuid(secret::new_id(now)?),
            username,
            display_name,
            status: None,
            bot: false,
            created_at: now,
        };
        let (session, token) = new_session(user.id, &origin, now)?;
        let account = NewAccount {
            search_text: rules::search_text(&user.username, &user.display_name),
            user: user.clone(),
            email,
            password_hash,
        };
        let made = session.session.clone();
        let created = self
            .change(|store| async move { store.create(&account, &session).await })
            .await?;
        if created {
            Ok((user, made, token))
        } else {
            Err(RegisterError::Taken)
        }
    }

    async fn login(
        &self,
        username: &str,
        password: &str,
        origin: Origin,
    ) -> Result<(User, Session, SessionToken), LoginError> {
        let done = self.log_in(username, password, origin).await;
        let counter = match &done {
            Ok(_) => &self.counted.logins,
            Err(LoginError::Refused) => &self.counted.refused,
            Err(LoginError::Later { .. }) => &self.counted.later,
            Err(LoginError::Store(_)) => return done,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        done
    }

    async fn authenticate(&self, token: &str) -> Result<Option<Session>, AccountsError> {
        let Some(token_hash) = secret::token_hash(token) else {
            return Ok(None);
        };
        let now = self.clock.now();
        let found = self
            .store
            .session(&token_hash)
            .instrument(tracing::info_span!(spans::DB_ACCOUNTS_READ))
            .await?;
        let Some(mut session) = found.filter(|session| self.is_live(session, now)) else {
            return Ok(None);
        };
        if now.millis_since(session.last_used_at) >= LAST_USED_GRAIN_MS {
            let id = session.id;
            self.change(|store| async move { store.touch(id, now).await })
                .await?;
            session.last_used_at = now;
        }
        Ok(Some(session))
    }

    async fn end_session(&self, user: UserId, session: SessionId) -> Result<u64, AccountsError> {
        self.change(|store| async move { store.end_session(user, session).await })
            .await
    }

    async fn sessions(&self, user: UserId) -> Result<Vec<Session>, AccountsError> {
        let now = self.clock.now();
        let mut sessions = self.store.sessions(user).await?;
        sessions.retain(|session| self.is_live(session, now));
        Ok(sessions)
    }

    async fn live_sessions(&self, user: UserId) -> Result<Vec<SessionId>, AccountsError> {
        let sessions = self.sessions(user).await?;
        Ok(sessions.into_iter().map(|session| session.id).collect())
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, AccountsError> {
        Ok(self.users(&[id]).await?.pop())
    }

    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>, AccountsError> {
        let ids = ids.get(..USERS_AT_ONCE_MAX).unwrap_or(ids);
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.store
            .users(ids)
            .instrument(tracing::info_span!(spans::DB_ACCOUNTS_READ))
            .await
    }

    async fn search(
        &self,
        query: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<UserPage, AccountsError> {
        let after = match cursor {
            None => String::new(),
            Some(cursor) => cursor_name(cursor)?,
        };
        let limit = limit.clamp(1, PAGE_ROWS_MAX);
        // One more than asked for tells whether there is another page.
        let mut users = self
            .store
            .search(
                &rules::search_pattern(query),
                &after,
                rows(limit.saturating_add(1)),
            )
            .instrument(tracing::info_span!(spans::DB_ACCOUNTS_READ))
            .await?;
        let more = users.len() > limit;
        users.truncate(limit);
        let last = users.last().filter(|_| more);
        let next_cursor = last.map(|user| format!("{CURSOR_PREFIX}{}", user.username));
        Ok(UserPage {
            items: users,
            next_cursor,
        })
    }

    async fn update_profile(
        &self,
        user: UserId,
        display_name: Option<&str>,
        status: Option<&str>,
    ) -> Result<User, RegisterError> {
        let mut faults = Vec::new();
        let display_name = display_name.map(rules::display_name).transpose();
        let display_name = field("display_name", display_name, &mut faults).flatten();
        let status = status.map(rules::status).transpose();
        let status = field("status", status, &mut faults).flatten();
        if !faults.is_empty() {
            return Err(RegisterError::Invalid(faults));
        }
        let change = ProfileChange {
            display_name,
            status,
        };
        self.change(|store| async move { store.update_profile(user, &change).await })
            .await?
            .ok_or(RegisterError::Gone)
    }

    async fn highest_rev(&self) -> Result<u64, AccountsError> {
        self.store.highest_rev().await
    }

    async fn changed_since(
        &self,
        rev: u64,
        limit: usize,
    ) -> Result<Vec<(UserId, u64)>, AccountsError> {
        let limit = limit.clamp(1, PAGE_ROWS_MAX);
        self.store.changed_since(rev, rows(limit)).await
    }
}

fn new_session(
    user: UserId,
    origin: &Origin,
    now: Timestamp,
) -> Result<(NewSession, SessionToken), AccountsError> {
    let (token, token_hash) = secret::new_token()?;
    let session = Session {
        id: SessionId(secret::new_id(now)?),
        user,
        origin: rules::origin(origin),
        created_at: now,
        last_used_at: now,
    };
    Ok((
        NewSession {
            session,
            token_hash,
        },
        token,
    ))
}

/// The value, or its fault in the list.
fn field<T>(
    name: &'static str,
    checked: Result<T, &'static str>,
    faults: &mut Vec<(&'static str, &'static str)>,
) -> Option<T> {
    checked.map_err(|fault| faults.push((name, fault))).ok()
}

/// The last name of the page before.
fn cursor_name(cursor: &str) -> Result<String, AccountsError> {
    let name = cursor
        .strip_prefix(CURSOR_PREFIX)
        .ok_or(AccountsError::BadCursor)?;
    match rules::username(name) {
        Ok(spelled) if spelled == name => Ok(spelled),
        Ok(_) | Err(_) => Err(AccountsError::BadCursor),
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

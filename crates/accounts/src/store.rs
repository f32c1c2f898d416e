//! Where accounts are kept: the port that SQLite and Postgres implement, with the statements that both understand.
//!
//! A method is one transaction. Revisions become visible in their order: whoever has read revision n has nothing below n left to read.
//!
//! Never: a rule about names or passwords, a clock; a password or a token (only hashes arrive here).

pub(crate) mod postgres;
mod sql;
pub(crate) mod sqlite;

use async_trait::async_trait;
use hubbub_domain::ids::UserId;
use hubbub_domain::time::Timestamp;
use uuid::Uuid;

use crate::port::{AccountsError, Session, SessionId, User};
use crate::secret::Hash;

/// Tables of users, sessions, login attempts and account revisions.
#[async_trait]
pub(crate) trait Store: Send + Sync + 'static {
    /// Pooled connections in use now, for metrics.
    fn busy_connections(&self) -> usize {
        0
    }

    /// Adds a user and a first session; `false` when the username is taken, and then nothing is stored.
    async fn create(
        &self,
        account: &NewAccount,
        session: &NewSession,
    ) -> Result<bool, AccountsError>;

    /// The user of this name, with the hash of the password.
    async fn credentials(&self, username: &str) -> Result<Option<(User, String)>, AccountsError>;

    /// Counts an attempt as wrong before it is judged, so that parallel attempts cannot outrun the budget. Attempts of one name are counted
    /// one after the other.
    async fn begin_attempt(
        &self,
        attempt: Attempt,
        budget: AttemptBudget,
    ) -> Result<AttemptBegun, AccountsError>;

    /// Adds a session, takes `attempt` back, and ends the user's sessions beyond `keep`: expired ones and the longest unused.
    /// Ended sessions make an account revision.
    async fn open_session(
        &self,
        session: &NewSession,
        attempt: Uuid,
        keep: Keep,
    ) -> Result<(), AccountsError>;

    /// The session whose token has this hash, expired or not.
    async fn session(&self, token_hash: &Hash) -> Result<Option<Session>, AccountsError>;

    /// Moves a session's last use forward to `at`, never back.
    async fn touch(&self, session: SessionId, at: Timestamp) -> Result<(), AccountsError>;

    /// Ends a session of this user; the new revision, or the highest when there was nothing to end.
    async fn end_session(&self, user: UserId, session: SessionId) -> Result<u64, AccountsError>;

    /// All sessions of a user, newest first, expired or not.
    async fn sessions(&self, user: UserId) -> Result<Vec<Session>, AccountsError>;

    /// The known ones among `ids`.
    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>, AccountsError>;

    /// Users whose search text is like `pattern` (escape `\`) and whose name comes after `after`, by name.
    async fn search(
        &self,
        pattern: &str,
        after: &str,
        limit: i64,
    ) -> Result<Vec<User>, AccountsError>;

    /// Changes what is given; a change makes an account revision. `None` for an unknown user.
    async fn update_profile(
        &self,
        user: UserId,
        change: &ProfileChange,
    ) -> Result<Option<User>, AccountsError>;

    /// The highest revision; 0 before the first.
    async fn highest_rev(&self) -> Result<u64, AccountsError>;

    /// Users with a revision above `rev`, ascending.
    async fn changed_since(
        &self,
        rev: u64,
        limit: i64,
    ) -> Result<Vec<(UserId, u64)>, AccountsError>;
}

/// A user about to exist.
pub(crate) struct NewAccount {
    pub(crate) user: User,
    pub(crate) email: Option<String>,
    pub(crate) search_text: String,
    pub(crate) password_hash: String,
}

/// A session about to exist.
pub(crate) struct NewSession {
    pub(crate) session: Session,
    pub(crate) token_hash: Hash,
}

/// One try at a password.
#[derive(Clone, Copy)]
pub(crate) struct Attempt {
    pub(crate) id: Uuid,
    pub(crate) name_hash: Hash,
    pub(crate) at: Timestamp,
}

/// How many wrong attempts in how long.
#[derive(Clone, Copy)]
pub(crate) struct AttemptBudget {
    pub(crate) count: i64,
    pub(crate) window_ms: i64,
}

/// Whether an attempt may be judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AttemptBegun {
    /// It may.
    Counted,
    /// Too many wrong ones; the next may come at this time.
    SpentUntil(Timestamp),
}

/// Which sessions of a user stay.
#[derive(Clone, Copy)]
pub(crate) struct Keep {
    /// Last used at or after this.
    pub(crate) used_since: Timestamp,
    /// Made at or after this.
    pub(crate) created_since: Timestamp,
    /// The most recently used so many.
    pub(crate) sessions_max: i64,
}

/// What a profile becomes; `None` stays, and an empty status is none.
pub(crate) struct ProfileChange {
    pub(crate) display_name: Option<String>,
    pub(crate) status: Option<String>,
}

impl ProfileChange {
    /// `user` with the change.
    fn apply(&self, user: &User) -> User {
        let mut changed = user.clone();
        if let Some(name) = &self.display_name {
            changed.display_name.clone_from(name);
        }
        if let Some(status) = &self.status {
            changed.status = (!status.is_empty()).then(|| status.clone());
        }
        changed
    }
}

/// The store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An operator has to change something first; the text says what.
    #[error("{0}")]
    Unfit(String),
    /// Trying again later may work.
    #[error("accounts cannot be opened")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A schema that this release does not know is unfit; a database that cannot be reached may come back.
fn schema_error(error: sqlx::migrate::MigrateError) -> OpenError {
    match error {
        sqlx::migrate::MigrateError::VersionMissing(version) => OpenError::Unfit(format!(
            "the accounts have schema version {version}, which a newer release made; run that release"
        )),
        sqlx::migrate::MigrateError::VersionMismatch(version) => OpenError::Unfit(format!(
            "schema version {version} of the accounts is not the one that this release knows"
        )),
        other => OpenError::Unavailable(other.into()),
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> AccountsError {
    AccountsError::Unavailable(Box::new(error))
}

/// A revision as it is stored; none comes near the sign bit.
fn rev_to_sql(rev: u64) -> i64 {
    i64::try_from(rev).unwrap_or(i64::MAX)
}

fn rev_from_sql(rev: i64) -> u64 {
    u64::try_from(rev).unwrap_or(0)
}

/// When the next attempt may come: `oldest` is the one whose leaving the window makes room.
fn spent_until(oldest: i64, budget: AttemptBudget) -> AttemptBegun {
    AttemptBegun::SpentUntil(Timestamp::from_millis(oldest).plus_millis(budget.window_ms))
}

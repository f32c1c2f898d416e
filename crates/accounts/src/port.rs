//! What can be asked about identity.

use async_trait::async_trait;
use hubbub_domain::ids::UserId;
use hubbub_domain::time::Timestamp;
use uuid::Uuid;

/// Registration, login, sessions, people. Implemented by one service over a store port (SQLite, Postgres).
#[async_trait]
pub trait Identity: Send + Sync + 'static {
    /// Makes a user and a first session. Usernames are unique without regard to case.
    async fn register(
        &self,
        new: NewUser,
        origin: Origin,
    ) -> Result<(User, Session, SessionToken), RegisterError>;

    /// Checks a password and makes a session. Takes the same time for unknown users as for wrong passwords.
    async fn login(
        &self,
        username: &str,
        password: &str,
        origin: Origin,
    ) -> Result<(User, Session, SessionToken), LoginError>;

    /// The session that a token proves, when it is live. Moves its last use at most once a minute.
    async fn authenticate(&self, token: &str) -> Result<Option<Session>, AccountsError>;

    /// Ends one session of `user`; returns the account revision that says so (see [`Identity::changed_since`]).
    /// Ending a session that is not there is not an error.
    async fn end_session(&self, user: UserId, session: SessionId) -> Result<u64, AccountsError>;

    /// Sessions of a user, newest first.
    async fn sessions(&self, user: UserId) -> Result<Vec<Session>, AccountsError>;

    /// Which of these sessions are still live: an edge asks after an account changed.
    async fn live_sessions(&self, user: UserId) -> Result<Vec<SessionId>, AccountsError>;

    /// One user; `None` when unknown.
    async fn user(&self, id: UserId) -> Result<Option<User>, AccountsError>;

    /// The known ones among `ids`, in any order. At most 1,000 ids.
    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>, AccountsError>;

    /// People whose username or display name contains `query` (case-insensitive; `%` and `_` are ordinary), ordered by username.
    async fn search(
        &self,
        query: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<UserPage, AccountsError>;

    /// Changes the own display name or status.
    async fn update_profile(
        &self,
        user: UserId,
        display_name: Option<&str>,
        status: Option<&str>,
    ) -> Result<User, RegisterError>;

    /// Highest account revision.
    async fn highest_rev(&self) -> Result<u64, AccountsError>;

    /// Users whose account changed after `rev`, with their revision, ascending, at most `limit`.
    async fn changed_since(
        &self,
        rev: u64,
        limit: usize,
    ) -> Result<Vec<(UserId, u64)>, AccountsError>;
}

/// Someone who wants an account.
#[derive(Clone)]
pub struct NewUser {
    /// 3 to 32 of a–z, 0–9, `.`, `_`, `-`; unique without regard to case.
    pub username: String,
    /// 1 to 64 characters, any script, no control characters.
    pub display_name: String,
    /// As many characters as `/limits` publishes (12 to 128), not easy to guess.
    pub password: String,
    /// For a forgotten password.
    pub email: Option<String>,
}

/// Where a request comes from, for the list of sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// What the client says it is (user agent), cut to 200 characters.
    pub device: String,
    /// Peer address.
    pub address: String,
}

/// A person or bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Id.
    pub id: UserId,
    /// Unique name.
    pub username: String,
    /// Name that people see.
    pub display_name: String,
    /// A line about now.
    pub status: Option<String>,
    /// Not a person.
    pub bot: bool,
    /// When the account was made.
    pub created_at: Timestamp,
}

/// A page of people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserPage {
    /// Ordered by username.
    pub items: Vec<User>,
    /// Where the next page begins; `None` at the end. Opaque.
    pub next_cursor: Option<String>,
}

/// Names a session; safe to show to its owner.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SessionId(pub Uuid);

/// A live login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// Where it was made.
    pub origin: Origin,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Timestamp,
}

/// The secret that proves a session: 256 random bits, URL-safe text. Shown once, stored hashed.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken(pub String);

impl std::fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionToken(…)")
    }
}

/// No account was made.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// These fields are not acceptable: (field, what is wrong).
    #[error("invalid fields")]
    Invalid(Vec<(&'static str, &'static str)>),
    /// The username is taken.
    #[error("username is taken")]
    Taken,
    /// The user does not exist (profile change only).
    #[error("no such user")]
    Gone,
    /// Hashing is fully used; try again.
    #[error("busy")]
    Busy,
    /// Storage.
    #[error(transparent)]
    Store(#[from] AccountsError),
}

/// No session was made.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Unknown user or wrong password: one answer for both.
    #[error("wrong username or password")]
    Refused,
    /// Too many wrong passwords, or hashing is fully used.
    #[error("try again later")]
    Later {
        /// When, in milliseconds.
        retry_after_ms: u32,
    },
    /// Storage.
    #[error(transparent)]
    Store(#[from] AccountsError),
}

/// Storage of accounts failed.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// Trying again later may work; nothing is known to have changed.
    #[error("accounts unavailable: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The cursor is not one of ours.
    #[error("unknown cursor")]
    BadCursor,
}

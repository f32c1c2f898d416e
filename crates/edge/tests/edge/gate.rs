//! Accounts behind a gate: answers about live sessions and about people that are on their way for as long as a test likes.

use std::sync::Arc;

use async_trait::async_trait;
use hubbub_accounts::{
    AccountsError, Identity, LoginError, NewUser, Origin, RegisterError, Session, SessionId,
    SessionToken, User, UserPage,
};
use hubbub_domain::ids::UserId;
use tokio::sync::watch;

use crate::rig::PATIENCE;

pub(crate) struct Gate {
    inner: Arc<dyn Identity>,
    /// In front of who someone is: the last question of a handshake.
    pub(crate) greetings: Bar,
    sessions: Bar,
}

/// What answers wait behind while it is shut.
pub(crate) struct Bar {
    shut: watch::Sender<bool>,
    /// Answers that wait.
    held: watch::Sender<usize>,
}

impl Bar {
    fn open() -> Self {
        Self {
            shut: watch::Sender::new(false),
            held: watch::Sender::new(0),
        }
    }

    async fn pass(&self) {
        self.held.send_modify(|held| *held += 1);
        self.shut.subscribe().wait_for(|shut| !shut).await.unwrap();
        self.held.send_modify(|held| *held -= 1);
    }

    pub(crate) fn set_shut(&self, shut: bool) {
        self.shut.send_replace(shut);
    }

    /// Waits until some answer waits, or none.
    pub(crate) async fn until_held(&self, some: bool) {
        let mut held = self.held.subscribe();
        tokio::time::timeout(PATIENCE, held.wait_for(|held| (*held > 0) == some))
            .await
            .unwrap()
            .unwrap();
    }
}

impl Gate {
    /// Open.
    pub(crate) fn before(inner: Arc<dyn Identity>) -> Self {
        Self {
            inner,
            greetings: Bar::open(),
            sessions: Bar::open(),
        }
    }

    pub(crate) fn set_shut(&self, shut: bool) {
        self.sessions.set_shut(shut);
    }

    pub(crate) async fn until_held(&self, some: bool) {
        self.sessions.until_held(some).await;
    }
}

#[async_trait]
impl Identity for Gate {
    async fn live_sessions(&self, user: UserId) -> Result<Vec<SessionId>, AccountsError> {
        let live = self.inner.live_sessions(user).await;
        self.sessions.pass().await;
        live
    }

    async fn register(
        &self,
        new: NewUser,
        origin: Origin,
    ) -> Result<(User, Session, SessionToken), RegisterError> {
        self.inner.register(new, origin).await
    }

    async fn login(
        &self,
        username: &str,
        password: &str,
        origin: Origin,
    ) -> Result<(User, Session, SessionToken), LoginError> {
        self.inner.login(username, password, origin).await
    }

    async fn authenticate(&self, token: &str) -> Result<Option<Session>, AccountsError> {
        self.inner.authenticate(token).await
    }

    async fn end_session(&self, user: UserId, session: SessionId) -> Result<u64, AccountsError> {
        self.inner.end_session(user, session).await
    }

    async fn sessions(&self, user: UserId) -> Result<Vec<Session>, AccountsError> {
        self.inner.sessions(user).await
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, AccountsError> {
        let user = self.inner.user(id).await;
        self.greetings.pass().await;
        user
    }

    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>, AccountsError> {
        self.inner.users(ids).await
    }

    async fn search(
        &self,
        query: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<UserPage, AccountsError> {
        self.inner.search(query, cursor, limit).await
    }

    async fn update_profile(
        &self,
        user: UserId,
        display_name: Option<&str>,
        status: Option<&str>,
    ) -> Result<User, RegisterError> {
        self.inner.update_profile(user, display_name, status).await
    }

    async fn highest_rev(&self) -> Result<u64, AccountsError> {
        self.inner.highest_rev().await
    }

    async fn changed_since(
        &self,
        rev: u64,
        limit: usize,
    ) -> Result<Vec<(UserId, u64)>, AccountsError> {
        self.inner.changed_since(rev, limit).await
    }
}

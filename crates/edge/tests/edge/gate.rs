//! Accounts behind a gate: an answer about live sessions that is on its way for as long as a test likes.

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
    shut: watch::Sender<bool>,
    /// Answers that wait at the gate.
    held: watch::Sender<usize>,
}

impl Gate {
    /// Open.
    pub(crate) fn before(inner: Arc<dyn Identity>) -> Self {
        Self {
            inner,
            shut: watch::Sender::new(false),
            held: watch::Sender::new(0),
        }
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

#[async_trait]
impl Identity for Gate {
    async fn live_sessions(&self, user: UserId) -> Result<Vec<SessionId>, AccountsError> {
        let live = self.inner.live_sessions(user).await;
        self.held.send_modify(|held| *held += 1);
        self.shut.subscribe().wait_for(|shut| !shut).await.unwrap();
        self.held.send_modify(|held| *held -= 1);
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
        self.inner.user(id).await
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

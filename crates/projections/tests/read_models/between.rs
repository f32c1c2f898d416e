//! A store that lets the projectors commit just before a chosen read of a query, and that remembers what projectors wrote.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{MessageNo, Offset, PartitionId, Seq};
use hubbub_projections::model::{ConversationRow, MemberState};
use hubbub_projections::store::{Applied, Changes, InboxPlace, Move, RoomPlace, StoredMarker};
use hubbub_projections::{MessageRow, Projection, Projector, QueryError, Store};

/// Makes a projector over everything.
pub(crate) type MakeProjector = Box<dyn Fn(Projection) -> Projector + Send + Sync>;

/// The tables, with a commit of both projectors before read number `at`.
pub(crate) struct Between {
    inner: Arc<dyn Store>,
    projector: MakeProjector,
    at: usize,
    reads: AtomicUsize,
}

impl Between {
    pub(crate) fn new(inner: Arc<dyn Store>, projector: MakeProjector, at: usize) -> Self {
        Self {
            inner,
            projector,
            at,
            reads: AtomicUsize::new(0),
        }
    }

    /// Reads so far.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    async fn step(&self) {
        if self.reads.fetch_add(1, Ordering::SeqCst) != self.at {
            return;
        }
        for projection in [Projection::Inbox, Projection::History] {
            (self.projector)(projection).catch_up().await.unwrap();
        }
    }
}

#[async_trait]
impl Store for Between {
    async fn checkpoints(
        &self,
        projection: Projection,
    ) -> Result<Vec<(PartitionId, Offset)>, QueryError> {
        self.step().await;
        self.inner.checkpoints(projection).await
    }

    async fn apply(
        &self,
        projection: Projection,
        moves: &[Move],
        changes: &Changes,
    ) -> Result<Applied, QueryError> {
        self.inner.apply(projection, moves, changes).await
    }

    async fn parked(
        &self,
        projection: Projection,
        ids: &[ConversationId],
    ) -> Result<Vec<ConversationId>, QueryError> {
        self.step().await;
        self.inner.parked(projection, ids).await
    }

    async fn conversations(
        &self,
        ids: &[ConversationId],
    ) -> Result<Vec<ConversationRow>, QueryError> {
        self.step().await;
        self.inner.conversations(ids).await
    }

    async fn members(
        &self,
        keys: &[(ConversationId, UserId)],
    ) -> Result<Vec<(ConversationId, MemberState)>, QueryError> {
        self.step().await;
        self.inner.members(keys).await
    }

    async fn inbox_page(
        &self,
        user: UserId,
        after: Option<InboxPlace>,
        limit: usize,
    ) -> Result<Vec<(ConversationRow, MemberState)>, QueryError> {
        self.step().await;
        self.inner.inbox_page(user, after, limit).await
    }

    async fn markers(
        &self,
        user: UserId,
        ids: &[ConversationId],
    ) -> Result<Vec<StoredMarker>, QueryError> {
        self.step().await;
        self.inner.markers(user, ids).await
    }

    async fn members_page(
        &self,
        conversation: ConversationId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<MemberState>, QueryError> {
        self.step().await;
        self.inner.members_page(conversation, after, limit).await
    }

    async fn rooms_page(
        &self,
        query: &str,
        after: Option<RoomPlace>,
        limit: usize,
    ) -> Result<Vec<ConversationRow>, QueryError> {
        self.step().await;
        self.inner.rooms_page(query, after, limit).await
    }

    async fn history_seq(&self, conversation: ConversationId) -> Result<Seq, QueryError> {
        self.step().await;
        self.inner.history_seq(conversation).await
    }

    async fn messages(
        &self,
        conversation: ConversationId,
        from: MessageNo,
        to: MessageNo,
        newest: bool,
        limit: usize,
    ) -> Result<Vec<MessageRow>, QueryError> {
        self.step().await;
        self.inner
            .messages(conversation, from, to, newest, limit)
            .await
    }

    async fn messages_at(
        &self,
        keys: &[(ConversationId, MessageNo)],
    ) -> Result<Vec<MessageRow>, QueryError> {
        self.step().await;
        self.inner.messages_at(keys).await
    }

    async fn share(&self, one: UserId, other: UserId) -> Result<bool, QueryError> {
        self.step().await;
        self.inner.share(one, other).await
    }
}

/// The tables, remembering what projectors write.
pub(crate) struct Remembering {
    inner: Arc<dyn Store>,
    batches: Mutex<Vec<(Projection, Changes)>>,
}

impl Remembering {
    pub(crate) fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            batches: Mutex::default(),
        }
    }

    /// Every batch so far, in order.
    pub(crate) fn batches(&self) -> Vec<(Projection, Changes)> {
        self.batches.lock().unwrap().clone()
    }
}

#[async_trait]
impl Store for Remembering {
    async fn checkpoints(
        &self,
        projection: Projection,
    ) -> Result<Vec<(PartitionId, Offset)>, QueryError> {
        self.inner.checkpoints(projection).await
    }

    async fn apply(
        &self,
        projection: Projection,
        moves: &[Move],
        changes: &Changes,
    ) -> Result<Applied, QueryError> {
        let applied = self.inner.apply(projection, moves, changes).await?;
        if applied == Applied::Done {
            let batch = (projection, changes.clone());
            self.batches.lock().unwrap().push(batch);
        }
        Ok(applied)
    }

    async fn parked(
        &self,
        projection: Projection,
        ids: &[ConversationId],
    ) -> Result<Vec<ConversationId>, QueryError> {
        self.inner.parked(projection, ids).await
    }

    async fn conversations(
        &self,
        ids: &[ConversationId],
    ) -> Result<Vec<ConversationRow>, QueryError> {
        self.inner.conversations(ids).await
    }

    async fn members(
        &self,
        keys: &[(ConversationId, UserId)],
    ) -> Result<Vec<(ConversationId, MemberState)>, QueryError> {
        self.inner.members(keys).await
    }

    async fn inbox_page(
        &self,
        user: UserId,
        after: Option<InboxPlace>,
        limit: usize,
    ) -> Result<Vec<(ConversationRow, MemberState)>, QueryError> {
        self.inner.inbox_page(user, after, limit).await
    }

    async fn markers(
        &self,
        user: UserId,
        ids: &[ConversationId],
    ) -> Result<Vec<StoredMarker>, QueryError> {
        self.inner.markers(user, ids).await
    }

    async fn members_page(
        &self,
        conversation: ConversationId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<MemberState>, QueryError> {
        self.inner.members_page(conversation, after, limit).await
    }

    async fn rooms_page(
        &self,
        query: &str,
        after: Option<RoomPlace>,
        limit: usize,
    ) -> Result<Vec<ConversationRow>, QueryError> {
        self.inner.rooms_page(query, after, limit).await
    }

    async fn history_seq(&self, conversation: ConversationId) -> Result<Seq, QueryError> {
        self.inner.history_seq(conversation).await
    }

    async fn messages(
        &self,
        conversation: ConversationId,
        from: MessageNo,
        to: MessageNo,
        newest: bool,
        limit: usize,
    ) -> Result<Vec<MessageRow>, QueryError> {
        self.inner
            .messages(conversation, from, to, newest, limit)
            .await
    }

    async fn messages_at(
        &self,
        keys: &[(ConversationId, MessageNo)],
    ) -> Result<Vec<MessageRow>, QueryError> {
        self.inner.messages_at(keys).await
    }

    async fn share(&self, one: UserId, other: UserId) -> Result<bool, QueryError> {
        self.inner.share(one, other).await
    }
}

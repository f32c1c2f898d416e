//! The log as an edge reads it: counted, and failing where a test says so.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use hubbub_domain::ids::{CommandId, ConversationId};
use hubbub_domain::position::{Offset, PartitionId, Seq};
use hubbub_event_log::{ConversationHead, LineageEntry, LogReader, Marker, MemoryLog, ReadError};
use hubbub_wire::bus::PartitionHead;
use hubbub_wire::stored::EventRow;
use parking_lot::Mutex;

pub(crate) struct CutLog {
    inner: MemoryLog,
    /// Questions about single conversations.
    pub(crate) asked: AtomicUsize,
    /// The rows of this one contradict themselves.
    pub(crate) unreadable: Mutex<Option<ConversationId>>,
    /// Whoever asks for rows of a conversation waits while this is locked for writing.
    pub(crate) rows: tokio::sync::RwLock<()>,
    /// Whoever asks for a lineage next panics.
    pub(crate) panics: AtomicBool,
}

impl CutLog {
    pub(crate) fn new(inner: MemoryLog) -> Self {
        Self {
            inner,
            asked: AtomicUsize::new(0),
            unreadable: Mutex::new(None),
            rows: tokio::sync::RwLock::new(()),
            panics: AtomicBool::new(false),
        }
    }

    fn ask(&self, conversation: ConversationId) -> Result<(), ReadError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if *self.unreadable.lock() == Some(conversation) {
            return Err(ReadError::Inconsistent("a test says so".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl LogReader for CutLog {
    async fn tail(
        &self,
        partition: PartitionId,
        after: Offset,
        limit: usize,
    ) -> Result<Vec<EventRow>, ReadError> {
        self.inner.tail(partition, after, limit).await
    }

    async fn read_conversation(
        &self,
        conversation: ConversationId,
        from: Seq,
        limit: usize,
    ) -> Result<Vec<EventRow>, ReadError> {
        self.ask(conversation)?;
        let _turn = self.rows.read().await;
        self.inner
            .read_conversation(conversation, from, limit)
            .await
    }

    async fn find_command(
        &self,
        conversation: ConversationId,
        command: CommandId,
    ) -> Result<Option<EventRow>, ReadError> {
        self.inner.find_command(conversation, command).await
    }

    async fn conversation_head(
        &self,
        conversation: ConversationId,
    ) -> Result<Option<ConversationHead>, ReadError> {
        self.ask(conversation)?;
        self.inner.conversation_head(conversation).await
    }

    async fn heads(&self, partitions: &[PartitionId]) -> Result<Vec<PartitionHead>, ReadError> {
        self.inner.heads(partitions).await
    }

    async fn lineage(&self, partition: PartitionId) -> Result<Vec<LineageEntry>, ReadError> {
        assert!(!self.panics.swap(false, Ordering::SeqCst), "a test says so");
        self.inner.lineage(partition).await
    }

    async fn markers(&self, conversation: ConversationId) -> Result<Vec<Marker>, ReadError> {
        self.inner.markers(conversation).await
    }
}

//! A log that counts what is read of the tails of partitions, that can be made to stand still, and that may have lost a row.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use hubbub_domain::ids::{CommandId, ConversationId};
use hubbub_domain::position::{Offset, PartitionId, Seq};
use hubbub_event_log::{ConversationHead, LineageEntry, LogReader, Marker, ReadError};
use hubbub_wire::bus::PartitionHead;
use hubbub_wire::stored::EventRow;
use tokio::sync::{Notify, watch};

/// The log, watched.
pub(crate) struct Watched {
    inner: Arc<dyn LogReader>,
    lost: Option<(PartitionId, Offset)>,
    rows: AtomicUsize,
    stopped: watch::Sender<bool>,
    came: Notify,
}

impl Watched {
    pub(crate) fn new(inner: Arc<dyn LogReader>) -> Self {
        Self {
            inner,
            lost: None,
            rows: AtomicUsize::new(0),
            stopped: watch::Sender::new(false),
            came: Notify::new(),
        }
    }

    /// A log of which this row is lost.
    pub(crate) fn without(inner: Arc<dyn LogReader>, lost: (PartitionId, Offset)) -> Self {
        Self {
            lost: Some(lost),
            ..Self::new(inner)
        }
    }

    /// Rows with a hole between them are not given out, as the real logs do.
    fn dense(&self, rows: Vec<EventRow>) -> Result<Vec<EventRow>, ReadError> {
        let lost = |row: &EventRow| self.lost == Some((row.partition, row.offset));
        if rows.iter().any(lost) {
            return Err(ReadError::Inconsistent("a row is missing".into()));
        }
        Ok(rows)
    }

    /// Rows of tails so far.
    pub(crate) fn rows(&self) -> usize {
        self.rows.load(Ordering::SeqCst)
    }

    /// From now on nobody gets a tail …
    pub(crate) fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// … until now.
    pub(crate) fn go_on(&self) {
        self.stopped.send_replace(false);
    }

    pub(crate) async fn until_somebody_reads(&self) {
        self.came.notified().await;
    }
}

#[async_trait]
impl LogReader for Watched {
    async fn tail(
        &self,
        partition: PartitionId,
        after: Offset,
        limit: usize,
    ) -> Result<Vec<EventRow>, ReadError> {
        self.came.notify_one();
        let mut stopped = self.stopped.subscribe();
        let going = stopped.wait_for(|stopped| !stopped).await.is_ok();
        assert!(going, "the watch outlives its readers");
        let rows = self.dense(self.inner.tail(partition, after, limit).await?)?;
        self.rows.fetch_add(rows.len(), Ordering::SeqCst);
        Ok(rows)
    }

    async fn read_conversation(
        &self,
        conversation: ConversationId,
        from: Seq,
        limit: usize,
    ) -> Result<Vec<EventRow>, ReadError> {
        let rows = self.inner.read_conversation(conversation, from, limit);
        self.dense(rows.await?)
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
        self.inner.conversation_head(conversation).await
    }

    async fn heads(&self, partitions: &[PartitionId]) -> Result<Vec<PartitionHead>, ReadError> {
        self.inner.heads(partitions).await
    }

    async fn lineage(&self, partition: PartitionId) -> Result<Vec<LineageEntry>, ReadError> {
        self.inner.lineage(partition).await
    }

    async fn markers(&self, conversation: ConversationId) -> Result<Vec<Marker>, ReadError> {
        self.inner.markers(conversation).await
    }
}

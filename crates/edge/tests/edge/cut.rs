//! The log as an edge reads it: counted, and cut back as by a failover that lost commits.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use hubbub_domain::ids::{CommandId, ConversationId};
use hubbub_domain::position::{Epoch, Offset, PartitionId, Seq};
use hubbub_domain::time::Timestamp;
use hubbub_event_log::{ConversationHead, LineageEntry, LogReader, Marker, MemoryLog, ReadError};
use hubbub_wire::bus::PartitionHead;
use hubbub_wire::stored::EventRow;
use parking_lot::Mutex;

pub(crate) struct CutLog {
    inner: MemoryLog,
    /// Everything behind this offset of the partition is gone, and a new epoch has begun there.
    cut: Mutex<Option<Cut>>,
    /// Questions about single conversations.
    pub(crate) asked: AtomicUsize,
}

#[derive(Clone, Copy)]
struct Cut {
    partition: PartitionId,
    after: Offset,
    epoch: Epoch,
}

impl CutLog {
    pub(crate) fn new(inner: MemoryLog) -> Self {
        Self {
            inner,
            cut: Mutex::new(None),
            asked: AtomicUsize::new(0),
        }
    }

    /// Loses the last event of a partition; says where it stands from now on.
    pub(crate) async fn lose_last(&self, partition: PartitionId) -> PartitionHead {
        let head = self.inner.heads(&[partition]).await.unwrap()[0];
        let cut = Cut {
            partition,
            after: head.head.prev(),
            epoch: Epoch::new(head.epoch.get() + 1),
        };
        *self.cut.lock() = Some(cut);
        PartitionHead {
            partition,
            epoch: cut.epoch,
            head: cut.after,
        }
    }

    fn left(&self, mut rows: Vec<EventRow>) -> Vec<EventRow> {
        if let Some(cut) = *self.cut.lock() {
            rows.retain(|row| row.partition != cut.partition || row.offset <= cut.after);
        }
        rows
    }

    fn asked(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
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
        Ok(self.left(self.inner.tail(partition, after, limit).await?))
    }

    async fn read_conversation(
        &self,
        conversation: ConversationId,
        from: Seq,
        limit: usize,
    ) -> Result<Vec<EventRow>, ReadError> {
        self.asked();
        let rows = self
            .inner
            .read_conversation(conversation, from, limit)
            .await?;
        Ok(self.left(rows))
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
        self.asked();
        let rows = self
            .inner
            .read_conversation(conversation, Seq::new(1), 4_096)
            .await?;
        Ok(self.left(rows).last().map(|row| ConversationHead {
            epoch: row.epoch,
            seq: row.seq,
            offset: row.offset,
        }))
    }

    async fn heads(&self, partitions: &[PartitionId]) -> Result<Vec<PartitionHead>, ReadError> {
        let mut heads = self.inner.heads(partitions).await?;
        if let Some(cut) = *self.cut.lock() {
            for head in heads
                .iter_mut()
                .filter(|head| head.partition == cut.partition)
            {
                (head.epoch, head.head) = (cut.epoch, cut.after);
            }
        }
        Ok(heads)
    }

    async fn lineage(&self, partition: PartitionId) -> Result<Vec<LineageEntry>, ReadError> {
        let mut lineage = self.inner.lineage(partition).await?;
        if let Some(cut) = self.cut.lock().filter(|cut| cut.partition == partition) {
            lineage.push(LineageEntry {
                epoch: cut.epoch,
                start: cut.after,
                owner: None,
                reason: "takeover".to_owned(),
                at: Timestamp::from_millis(0),
            });
        }
        Ok(lineage)
    }

    async fn markers(&self, conversation: ConversationId) -> Result<Vec<Marker>, ReadError> {
        self.inner.markers(conversation).await
    }
}

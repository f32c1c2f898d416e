//! Rows such as a node writes: of many conversations and partitions, a hundred characters each.

use bytes::Bytes;
use hubbub_domain::ids::{CommandId, ConversationId};
use hubbub_domain::position::{Epoch, Offset, PartitionId, Seq};
use hubbub_domain::time::Timestamp;
use hubbub_event_log::AppendBatch;
use hubbub_wire::stored::{EventRow, FMT_POSTCARD, KIND_MESSAGE_SENT};

use crate::load::Ids;

/// Conversations that take turns in a partition.
const CONVERSATIONS: usize = 64;
/// Bytes of what the log keeps beside the text: sender, numbers, request MAC.
const META_BYTES: usize = 56;
/// Bytes of a text: the seed assumption of the architecture.
const BODY_BYTES: usize = 100;
/// Partitions that one batch touches at most.
const PARTITIONS_PER_BATCH_MAX: usize = 8;
/// A time like any other; the log does not judge it.
const SOME_TIME: Timestamp = Timestamp::from_millis(1_780_000_000_000);

/// Makes the rows of one partition.
pub(super) struct Writer {
    partition: PartitionId,
    epoch: Epoch,
    head: Offset,
    conversations: Vec<(ConversationId, Seq)>,
    turn: usize,
    meta: Bytes,
    body: Bytes,
    ids: Ids,
}

impl Writer {
    pub(super) fn new(partition: PartitionId, epoch: Epoch, head: Offset, mut ids: Ids) -> Self {
        let conversations = (0..CONVERSATIONS)
            .map(|_| (ConversationId::from_uuid(ids.next()), Seq::ZERO))
            .collect();
        let (meta, body) = (
            Bytes::from(vec![5; META_BYTES]),
            Bytes::from(vec![b'x'; BODY_BYTES]),
        );
        Self {
            partition,
            epoch,
            head,
            conversations,
            turn: 0,
            meta,
            body,
            ids,
        }
    }

    fn row(&mut self) -> EventRow {
        self.head = self.head.next();
        self.turn = (self.turn + 1) % self.conversations.len();
        let (conversation, seq) = &mut self.conversations[self.turn];
        *seq = seq.next();
        EventRow {
            partition: self.partition,
            offset: self.head,
            epoch: self.epoch,
            conversation: *conversation,
            seq: *seq,
            at: SOME_TIME,
            command_id: CommandId::from_uuid(self.ids.next()),
            kind: KIND_MESSAGE_SENT,
            ver: 1,
            fmt: FMT_POSTCARD,
            meta: self.meta.clone(),
            body: Some(self.body.clone()),
            crc: 1,
            body_crc: Some(1),
        }
    }
}

/// The next batch of `rows`, spread over partitions in ascending order, beginning after the one where the last batch ended.
pub(super) fn batch(writers: &mut [Writer], turn: &mut usize, rows: usize) -> AppendBatch {
    let partitions = rows.min(writers.len()).min(PARTITIONS_PER_BATCH_MAX);
    let mut chosen: Vec<usize> = (0..partitions)
        .map(|step| (*turn + step) % writers.len())
        .collect();
    *turn = (*turn + partitions) % writers.len();
    chosen.sort_unstable_by_key(|&writer| writers[writer].partition);
    let mut batch = AppendBatch {
        fence: Vec::with_capacity(partitions),
        rows: Vec::with_capacity(rows),
    };
    for (place, &writer) in chosen.iter().enumerate() {
        let writer = &mut writers[writer];
        batch.fence.push((writer.partition, writer.epoch));
        let share = rows / partitions + usize::from(place < rows % partitions);
        batch.rows.extend((0..share).map(|_| writer.row()));
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_whole_ascending_and_dense() {
        let writer = |number| {
            Writer::new(
                PartitionId::new(number),
                Epoch::new(3),
                Offset::ZERO,
                Ids::new(1, number.into()),
            )
        };
        let mut writers: Vec<_> = [4, 0, 2].map(writer).into();
        let mut turn = 0;
        let mut heads = std::collections::BTreeMap::new();
        for rows in [1, 7, 64, 2, 512] {
            let batch = batch(&mut writers, &mut turn, rows);
            assert_eq!(batch.rows.len(), rows);
            assert!(batch.fence.is_sorted());
            assert!(
                batch
                    .rows
                    .is_sorted_by_key(|row| (row.partition, row.offset))
            );
            for row in &batch.rows {
                let head = heads.entry(row.partition).or_insert(0);
                *head += 1;
                assert_eq!(row.offset.get(), *head);
            }
        }
    }
}

//! What must be stored right before a batch, and what a connection knows to be stored because it stored it itself.
//!
//! ```text
//! stored   offset … 41 42        42 is where partition p ends
//! batch    offset         43 44  its joint is 42: the log must end exactly there, or it is a hole, or taken
//! ```
//!
//! A hole is what an unclean failover leaves: the server that answers now has lost the last rows of a partition whose owner had nothing under
//! way. So the first append of a partition, and of a conversation, on a new connection asks the log where they end. After that the
//! connection knows by itself: whoever still has the epoch is the only writer, and a connection leads to one server.
//!
//! Never: I/O; a guess about rows that another connection stored.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use hubbub_domain::ids::ConversationId;
use hubbub_domain::position::{Epoch, Offset, PartitionId, Seq};

use crate::port::{AppendBatch, Conflict};

/// Conversations of which a connection remembers the end: each of two halves holds so many, about 1 MiB together. One that was forgotten
/// costs a look into an index.
const CONVERSATIONS_KNOWN_MAX: usize = 8_192;

/// Where the log must end for a batch to fit.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Joints {
    /// Of each partition, the offset before its first row.
    pub(crate) partitions: Vec<(PartitionId, Offset)>,
    /// Of each conversation, the seq before its first row.
    pub(crate) conversations: Vec<(PartitionId, ConversationId, Seq)>,
}

impl Joints {
    /// The joints of a batch whose offsets are dense in themselves; its seqs are looked at here.
    pub(crate) fn of(batch: &AppendBatch) -> Result<Self, Conflict> {
        let mut joints = Self::default();
        let mut last: HashMap<ConversationId, Seq> = HashMap::with_capacity(batch.rows.len());
        for row in &batch.rows {
            if joints
                .partitions
                .last()
                .is_none_or(|(partition, _)| *partition != row.partition)
            {
                joints.partitions.push((row.partition, row.offset.prev()));
            }
            let before = row.seq.prev();
            match last.insert(row.conversation, row.seq) {
                Some(end) => {
                    if let Some(conflict) = misfit(end.get(), before.get()) {
                        return Err(conflict);
                    }
                }
                None => joints
                    .conversations
                    .push((row.partition, row.conversation, before)),
            }
        }
        Ok(joints)
    }

    /// Whether nothing has to be asked.
    pub(crate) fn is_empty(&self) -> bool {
        self.partitions.is_empty() && self.conversations.is_empty()
    }
}

/// What stands against rows that go on after `before` where the log has its end.
pub(crate) fn misfit<N: Ord + Copy>(end: N, before: N) -> Option<Conflict> {
    match end.cmp(&before) {
        Ordering::Less => Some(Conflict::Hole),
        Ordering::Equal => None,
        Ordering::Greater => Some(Conflict::Position),
    }
}

/// The graver of two: a place that is taken says that the writer is wrong, a hole only that the log has lost something.
pub(crate) fn graver(one: Option<Conflict>, other: Option<Conflict>) -> Option<Conflict> {
    if one == Some(Conflict::Position) {
        one
    } else {
        other.or(one)
    }
}

/// Ends that one connection has stored.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// Bounded by the partitions of the cluster.
    partitions: HashMap<PartitionId, (Epoch, Offset)>,
    /// At most [`CONVERSATIONS_KNOWN_MAX`].
    recent: HashMap<ConversationId, (Epoch, Seq)>,
    /// What was recent before; as many.
    older: HashMap<ConversationId, (Epoch, Seq)>,
}

impl Ends {
    /// The joints of a batch that the log has to be asked for.
    pub(crate) fn open_joints(&self, batch: &AppendBatch) -> Result<Joints, Conflict> {
        let mut joints = Joints::of(batch)?;
        let epochs: BTreeMap<PartitionId, Epoch> = batch.fence.iter().copied().collect();
        joints.partitions.retain(|(partition, before)| {
            let epoch = epochs.get(partition);
            self.partitions
                .get(partition)
                .is_none_or(|(known, end)| Some(known) != epoch || end != before)
        });
        joints
            .conversations
            .retain(|(partition, conversation, before)| {
                let epoch = epochs.get(partition);
                let known = self.recent.get(conversation);
                known
                    .or_else(|| self.older.get(conversation))
                    .is_none_or(|(known, end)| Some(known) != epoch || end != before)
            });
        Ok(joints)
    }

    /// This connection stored the rows of these partitions; they are ascending.
    pub(crate) fn stored(&mut self, batch: &AppendBatch, committed: &[PartitionId]) {
        for row in &batch.rows {
            if committed.binary_search(&row.partition).is_err() {
                continue;
            }
            self.partitions
                .insert(row.partition, (row.epoch, row.offset));
            if self.recent.len() >= CONVERSATIONS_KNOWN_MAX {
                self.older = std::mem::take(&mut self.recent);
            }
            self.recent.insert(row.conversation, (row.epoch, row.seq));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{batch, conversation, row, row_of};

    const P1: PartitionId = PartitionId::new(1);
    const P2: PartitionId = PartitionId::new(2);
    const E7: Epoch = Epoch::new(7);

    #[test]
    fn a_batch_is_joined_where_each_partition_and_conversation_begins() {
        let other = conversation(P1, 2);
        let joints = Joints::of(&batch(vec![
            row(P1, 5, E7, 3),
            row_of(other, P1, 6, E7, 1),
            row(P1, 7, E7, 4),
            row(P2, 1, E7, 1),
        ]));
        let expected = Joints {
            partitions: vec![(P1, Offset::new(4)), (P2, Offset::ZERO)],
            conversations: vec![
                (P1, conversation(P1, 1), Seq::new(2)),
                (P1, other, Seq::ZERO),
                (P2, conversation(P2, 1), Seq::ZERO),
            ],
        };
        assert_eq!(joints, Ok(expected));
    }

    #[test]
    fn a_batch_whose_seqs_do_not_follow_each_other_fits_nowhere() {
        let hole = batch(vec![row(P1, 1, E7, 1), row(P1, 2, E7, 3)]);
        assert_eq!(Joints::of(&hole), Err(Conflict::Hole));
        let twice = batch(vec![row(P1, 1, E7, 1), row(P1, 2, E7, 1)]);
        assert_eq!(Joints::of(&twice), Err(Conflict::Position));
    }

    #[test]
    fn what_this_connection_stored_need_not_be_asked_under_the_same_epoch() {
        let mut ends = Ends::default();
        let first = batch(vec![row(P1, 1, E7, 1), row(P2, 1, E7, 1)]);
        ends.stored(&first, &[P1]);
        let next = |epoch| batch(vec![row(P1, 2, epoch, 2)]);
        assert_eq!(ends.open_joints(&next(E7)), Ok(Joints::default()));
        assert_ne!(ends.open_joints(&next(E7.next())), Ok(Joints::default()));
        let far = ends.open_joints(&batch(vec![row(P1, 3, E7, 3)]));
        assert_eq!(
            far.map(|joints| (joints.partitions.len(), joints.conversations.len())),
            Ok((1, 1))
        );
        let fenced = ends.open_joints(&batch(vec![row(P2, 2, E7, 2)]));
        assert!(fenced.is_ok_and(|joints| !joints.is_empty()));
    }

    #[test]
    fn only_so_many_conversations_are_remembered() {
        let mut ends = Ends::default();
        let many = u64::try_from(CONVERSATIONS_KNOWN_MAX).expect("fits") * 3;
        for n in 1..=many {
            let row = row_of(conversation(P1, n), P1, n, E7, 1);
            ends.stored(&batch(vec![row]), &[P1]);
        }
        assert!(ends.recent.len() + ends.older.len() <= 2 * CONVERSATIONS_KNOWN_MAX);
        let second = |n| batch(vec![row_of(conversation(P1, n), P1, many + 1, E7, 2)]);
        assert_eq!(ends.open_joints(&second(many)), Ok(Joints::default()));
        assert_eq!(
            ends.open_joints(&second(1))
                .map(|joints| joints.conversations.len()),
            Ok(1)
        );
    }
}

//! The unprojected tail of every partition, kept in memory between reads while projectors are behind.
//!
//! Never: an event of an epoch that has ended (its partition is read again), more than its bounds (everything is forgotten, and read again).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use hubbub_domain::conversation::Event;
use hubbub_domain::position::{Epoch, Offset, PartitionId};
use parking_lot::Mutex;

use crate::model::Entry;

/// Bytes of an event besides its text and its members, about: the entry, its counters, its place in the queue.
const ENTRY_BYTES: usize = 256;
/// Bytes of a member listed in an event.
const MEMBER_BYTES: usize = 24;

/// Events by partition, bounded in number and bytes.
pub(crate) struct Kept {
    events_max: usize,
    bytes_max: usize,
    partitions: Mutex<Partitions>,
}

#[derive(Default)]
struct Partitions {
    by_id: HashMap<PartitionId, Run>,
    events: usize,
    bytes: usize,
}

/// What is kept of one partition: every readable event after `from` up to `to`.
struct Run {
    epoch: Epoch,
    from: Offset,
    to: Offset,
    entries: VecDeque<Arc<Entry>>,
}

impl Kept {
    pub(crate) fn new(events_max: usize, bytes_max: usize) -> Self {
        Self {
            events_max,
            bytes_max,
            partitions: Mutex::default(),
        }
    }

    pub(crate) fn events_max(&self) -> usize {
        self.events_max
    }

    /// What is kept after `projected`, and how far it goes. What is projected by now is let go.
    pub(crate) fn after(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        projected: Offset,
    ) -> (Offset, Vec<Arc<Entry>>) {
        let mut partitions = self.partitions.lock();
        let Some(run) = partitions.by_id.get_mut(&partition) else {
            return (projected, Vec::new());
        };
        // Another epoch: its owner may have found less than the last one wrote. A checkpoint behind the run: the model is rebuilt.
        if run.epoch != epoch || run.from > projected || run.to <= projected {
            partitions.drop_run(partition);
            return (projected, Vec::new());
        }
        let mut gone = (0, 0);
        while let Some(first) = run.entries.front() {
            if first.offset > projected {
                break;
            }
            gone = (gone.0 + 1, gone.1 + bytes_of(first));
            run.entries.pop_front();
        }
        run.from = projected;
        let answer = (run.to, run.entries.iter().cloned().collect());
        partitions.events = partitions.events.saturating_sub(gone.0);
        partitions.bytes = partitions.bytes.saturating_sub(gone.1);
        answer
    }

    /// Adds what was read after `range.0` up to `range.1`, when that is where the run ends.
    pub(crate) fn keep(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        range: (Offset, Offset),
        fresh: &[Arc<Entry>],
    ) {
        let (from, to) = range;
        if from == to {
            return;
        }
        let mut partitions = self.partitions.lock();
        let run = partitions.by_id.entry(partition).or_insert_with(|| Run {
            epoch,
            from,
            to: from,
            entries: VecDeque::new(),
        });
        // Somebody else added the same, or an epoch ended meanwhile: what stands is as good.
        if run.epoch != epoch || run.to != from {
            return;
        }
        run.to = to;
        run.entries.extend(fresh.iter().cloned());
        partitions.events += fresh.len();
        partitions.bytes += fresh.iter().map(|entry| bytes_of(entry)).sum::<usize>();
        if partitions.events > self.events_max || partitions.bytes > self.bytes_max {
            *partitions = Partitions::default();
        }
    }

    pub(crate) fn forget(&self) {
        *self.partitions.lock() = Partitions::default();
    }

    /// Events and bytes kept now.
    pub(crate) fn size(&self) -> (usize, usize) {
        let partitions = self.partitions.lock();
        (partitions.events, partitions.bytes)
    }
}

impl Partitions {
    fn drop_run(&mut self, partition: PartitionId) {
        let Some(run) = self.by_id.remove(&partition) else {
            return;
        };
        let bytes: usize = run.entries.iter().map(|entry| bytes_of(entry)).sum();
        self.events = self.events.saturating_sub(run.entries.len());
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

fn bytes_of(entry: &Entry) -> usize {
    let content = match &entry.recorded.event {
        Event::MessageSent { body, .. } => body.as_ref().map_or(0, String::len),
        Event::ConversationCreated { members, .. } => members.len() * MEMBER_BYTES,
        Event::MemberAdded { .. } | Event::MemberRemoved { .. } | Event::RoleChanged { .. } => 0,
    };
    ENTRY_BYTES + content
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hubbub_domain::conversation::{Event, Recorded};
    use hubbub_domain::ids::{CommandId, ConversationId, UserId};
    use hubbub_domain::position::{Epoch, MessageNo, Offset, PartitionId, Seq};
    use hubbub_domain::time::Timestamp;
    use uuid::Uuid;

    use super::{ENTRY_BYTES, Kept};
    use crate::model::Entry;

    const P: PartitionId = PartitionId::new(3);
    const E: Epoch = Epoch::new(5);

    fn entries(offsets: std::ops::RangeInclusive<u64>) -> Vec<Arc<Entry>> {
        let entry = |offset| Entry {
            epoch: E,
            offset: Offset::new(offset),
            recorded: Recorded {
                conversation: ConversationId::from_uuid(Uuid::from_u128(1)),
                seq: Seq::new(offset),
                at: Timestamp::from_millis(0),
                by: UserId::from_uuid(Uuid::from_u128(2)),
                command_id: CommandId::from_uuid(Uuid::from_u128(offset.into())),
                request_mac: None,
                event: Event::MessageSent {
                    message_no: MessageNo::new(offset),
                    body: Some("four".to_owned()),
                    reply_to_no: None,
                    thread_root_no: None,
                },
            },
        };
        offsets.map(entry).map(Arc::new).collect()
    }

    fn offsets(kept: &Kept, epoch: Epoch, projected: u64) -> (u64, Vec<u64>) {
        let (to, entries) = kept.after(P, epoch, Offset::new(projected));
        let offsets = entries.iter().map(|entry| entry.offset.get()).collect();
        (to.get(), offsets)
    }

    fn range(from: u64, to: u64) -> (Offset, Offset) {
        (Offset::new(from), Offset::new(to))
    }

    #[test]
    fn what_was_read_is_given_again_until_it_is_projected() {
        let kept = Kept::new(100, 1 << 20);
        assert_eq!(offsets(&kept, E, 2), (2, vec![]));
        kept.keep(P, E, range(2, 5), &entries(3..=5));
        assert_eq!(offsets(&kept, E, 2), (5, vec![3, 4, 5]));
        kept.keep(P, E, range(5, 7), &entries(6..=7));
        assert_eq!(offsets(&kept, E, 4), (7, vec![5, 6, 7]));
        assert_eq!(kept.size(), (3, 3 * (ENTRY_BYTES + 4)));
        assert_eq!(offsets(&kept, E, 9), (9, vec![]), "projected past the run");
        assert_eq!(kept.size(), (0, 0));
    }

    #[test]
    fn two_readers_that_read_the_same_keep_it_once() {
        let kept = Kept::new(100, 1 << 20);
        kept.keep(P, E, range(0, 2), &entries(1..=2));
        kept.keep(P, E, range(0, 3), &entries(1..=3));
        assert_eq!(offsets(&kept, E, 0), (2, vec![1, 2]));
        kept.keep(P, E, range(0, 0), &[]);
        assert_eq!(kept.size().0, 2);
    }

    #[test]
    fn a_new_epoch_and_a_checkpoint_that_went_back_begin_anew() {
        let kept = Kept::new(100, 1 << 20);
        kept.keep(P, E, range(4, 6), &entries(5..=6));
        assert_eq!(offsets(&kept, E.next(), 4), (4, vec![]));
        kept.keep(P, E, range(4, 6), &entries(5..=6));
        assert_eq!(offsets(&kept, E, 3), (3, vec![]));
        assert_eq!(kept.size(), (0, 0));
    }

    #[test]
    fn beyond_its_bounds_nothing_is_kept() {
        let few = Kept::new(2, 1 << 20);
        few.keep(P, E, range(0, 3), &entries(1..=3));
        assert_eq!(few.size(), (0, 0));
        let small = Kept::new(100, ENTRY_BYTES);
        small.keep(P, E, range(0, 1), &entries(1..=1));
        assert_eq!(small.size(), (0, 0));
    }
}

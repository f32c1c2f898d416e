//! The unprojected tail of partitions, kept in memory between reads while a projector is behind.
//!
//! Never: an event of an epoch that has ended (its partition is read again), more than its bound (what does not fit is not taken).

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use hubbub_domain::conversation::Event;
use hubbub_domain::ids::ConversationId;
use hubbub_domain::position::{Epoch, Offset, PartitionId};
use parking_lot::Mutex;

use crate::model::Entry;

/// Bytes of an event besides its text and its members, about: the entry, its counters, its place in the queue.
pub(super) const ENTRY_BYTES: usize = 256;
/// Bytes of a member listed in an event.
const MEMBER_BYTES: usize = 24;

/// Events by partition, bounded in bytes.
pub(super) struct Kept {
    bytes_max: usize,
    partitions: Mutex<Partitions>,
}

#[derive(Default)]
struct Partitions {
    by_id: HashMap<PartitionId, KeptRun>,
    events: usize,
    bytes: usize,
}

/// Every readable event of a partition after `from` up to `to`.
pub(super) struct Run {
    pub(super) epoch: Epoch,
    pub(super) from: Offset,
    pub(super) to: Offset,
    pub(super) entries: Vec<Arc<Entry>>,
    /// Conversations with an event that cannot be read.
    pub(super) damaged: BTreeSet<ConversationId>,
    /// Of all of it, about.
    pub(super) bytes: usize,
}

/// The same as it is kept.
struct KeptRun {
    epoch: Epoch,
    from: Offset,
    to: Offset,
    entries: VecDeque<Arc<Entry>>,
    damaged: BTreeSet<ConversationId>,
    bytes: usize,
}

impl Run {
    /// Without events yet.
    pub(super) const fn between(epoch: Epoch, from: Offset, to: Offset) -> Self {
        Self {
            epoch,
            from,
            to,
            entries: Vec::new(),
            damaged: BTreeSet::new(),
            bytes: 0,
        }
    }

    /// Appends an event.
    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes = self.bytes.saturating_add(bytes_of(&entry));
        self.entries.push(Arc::new(entry));
    }

    /// Remembers that an event of this conversation cannot be read.
    pub(super) fn push_damaged(&mut self, conversation: ConversationId) {
        self.bytes = self.bytes.saturating_add(ENTRY_BYTES);
        self.damaged.insert(conversation);
    }

    /// Appends what follows.
    pub(super) fn extend(&mut self, further: Self) {
        self.to = further.to;
        self.entries.extend(further.entries);
        self.damaged.extend(further.damaged);
        self.bytes = self.bytes.saturating_add(further.bytes);
    }
}

impl Kept {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            partitions: Mutex::default(),
        }
    }

    /// Lets go what is projected by now, in every partition.
    pub(super) fn let_go(&self, projected: &HashMap<PartitionId, Offset>) {
        let mut partitions = self.partitions.lock();
        let known: Vec<PartitionId> = partitions.by_id.keys().copied().collect();
        for partition in known {
            if let Some(to) = projected.get(&partition) {
                partitions.let_go(partition, *to);
            }
        }
    }

    /// What is kept after `projected`, and how far it goes. `None` when what is kept begins later: the asker's checkpoint is an old one, or
    /// the model is being rebuilt. Who has just read the checkpoint is `sure`, and what is kept is forgotten.
    pub(super) fn after(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        projected: Offset,
        sure: bool,
    ) -> Option<Run> {
        let mut partitions = self.partitions.lock();
        let run = partitions.by_id.get(&partition);
        // Another epoch: its owner may have found less than the last one wrote.
        if run.is_some_and(|run| run.epoch != epoch || (sure && run.from > projected)) {
            partitions.forget(partition);
        } else if run.is_some_and(|run| run.from > projected) {
            return None;
        }
        partitions.let_go(partition, projected);
        let nothing = Run::between(epoch, projected, projected);
        let run = partitions.by_id.get(&partition).map(|run| Run {
            epoch,
            from: run.from,
            to: run.to,
            entries: run.entries.iter().cloned().collect(),
            damaged: run.damaged.clone(),
            bytes: run.bytes,
        });
        Some(run.unwrap_or(nothing))
    }

    /// Adds a page when it continues what is kept. `false` when there is no room for it.
    pub(super) fn keep(&self, partition: PartitionId, page: &Run) -> bool {
        let mut partitions = self.partitions.lock();
        // Somebody else added the same, or an epoch ended meanwhile: what stands is as good.
        let run = partitions.by_id.get(&partition);
        if run.is_some_and(|run| run.epoch != page.epoch || run.to != page.from) {
            return true;
        }
        let bytes = partitions.bytes.saturating_add(page.bytes);
        if bytes > self.bytes_max {
            return false;
        }
        partitions.bytes = bytes;
        partitions.events = partitions.events.saturating_add(page.entries.len());
        let run = partitions
            .by_id
            .entry(partition)
            .or_insert_with(|| KeptRun {
                epoch: page.epoch,
                from: page.from,
                to: page.from,
                entries: VecDeque::new(),
                damaged: BTreeSet::new(),
                bytes: 0,
            });
        run.to = page.to;
        run.entries.extend(page.entries.iter().cloned());
        run.damaged.extend(page.damaged.iter().copied());
        run.bytes = run.bytes.saturating_add(page.bytes);
        true
    }

    /// Events and bytes kept now.
    pub(super) fn size(&self) -> (usize, usize) {
        let partitions = self.partitions.lock();
        (partitions.events, partitions.bytes)
    }
}

impl Partitions {
    fn let_go(&mut self, partition: PartitionId, projected: Offset) {
        let Some(run) = self.by_id.get_mut(&partition) else {
            return;
        };
        if run.to <= projected {
            self.forget(partition);
            return;
        }
        let (mut events, mut bytes) = (0_usize, 0_usize);
        while let Some(first) = run.entries.pop_front_if(|first| first.offset <= projected) {
            events = events.saturating_add(1);
            bytes = bytes.saturating_add(bytes_of(&first));
        }
        run.from = run.from.max(projected);
        run.bytes = run.bytes.saturating_sub(bytes);
        self.events = self.events.saturating_sub(events);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    fn forget(&mut self, partition: PartitionId) {
        if let Some(run) = self.by_id.remove(&partition) {
            self.events = self.events.saturating_sub(run.entries.len());
            self.bytes = self.bytes.saturating_sub(run.bytes);
        }
    }
}

/// Bytes of an event in memory, about.
pub(super) fn bytes_of(entry: &Entry) -> usize {
    let content = match &entry.recorded.event {
        Event::MessageSent { body, .. } => body.as_ref().map_or(0, String::len),
        Event::ConversationCreated {
            members,
            title,
            topic,
            ..
        } => {
            let texts = [title, topic];
            let texts = texts.map(|text| text.as_ref().map_or(0, String::len));
            members
                .len()
                .saturating_mul(MEMBER_BYTES)
                .saturating_add(texts.iter().sum())
        }
        Event::MemberAdded { .. } | Event::MemberRemoved { .. } | Event::RoleChanged { .. } => 0,
    };
    ENTRY_BYTES.saturating_add(content)
}

#[cfg(test)]
mod tests {
    use hubbub_domain::conversation::{Event, Recorded};
    use hubbub_domain::ids::{CommandId, ConversationId, UserId};
    use hubbub_domain::position::{Epoch, MessageNo, Offset, PartitionId, Seq};
    use hubbub_domain::time::Timestamp;
    use uuid::Uuid;

    use super::{ENTRY_BYTES, Kept, Run};
    use crate::model::Entry;

    const P: PartitionId = PartitionId::new(3);
    const E: Epoch = Epoch::new(5);
    /// Of an event with a text of four bytes.
    const BYTES: usize = ENTRY_BYTES + 4;

    fn conversation() -> ConversationId {
        ConversationId::from_uuid(Uuid::from_u128(1))
    }

    /// What was read after `from` up to `to`.
    fn page(from: u64, to: u64) -> Run {
        let mut page = Run::between(E, Offset::new(from), Offset::new(to));
        for offset in from + 1..=to {
            page.push(Entry {
                epoch: E,
                offset: Offset::new(offset),
                recorded: Recorded {
                    conversation: conversation(),
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
            });
        }
        page
    }

    /// How far what is kept after `projected` goes, and the offsets of its events.
    fn offsets(kept: &Kept, epoch: Epoch, projected: u64) -> Option<(u64, Vec<u64>)> {
        let run = kept.after(P, epoch, Offset::new(projected), false)?;
        let offsets = run.entries.iter().map(|entry| entry.offset.get()).collect();
        Some((run.to.get(), offsets))
    }

    #[test]
    fn what_was_read_is_given_again_until_it_is_projected() {
        let kept = Kept::new(1 << 20);
        assert_eq!(offsets(&kept, E, 2), Some((2, vec![])));
        assert!(kept.keep(P, &page(2, 5)));
        assert_eq!(offsets(&kept, E, 2), Some((5, vec![3, 4, 5])));
        assert!(kept.keep(P, &page(5, 7)));
        assert_eq!(offsets(&kept, E, 4), Some((7, vec![5, 6, 7])));
        assert_eq!(kept.size(), (3, 3 * BYTES));
        kept.let_go(&[(P, Offset::new(6))].into());
        assert_eq!(kept.size(), (1, BYTES));
        assert_eq!(
            offsets(&kept, E, 9),
            Some((9, vec![])),
            "projected past the run"
        );
        assert_eq!(kept.size(), (0, 0));
    }

    #[test]
    fn two_readers_that_read_the_same_keep_it_once() {
        let kept = Kept::new(1 << 20);
        assert!(kept.keep(P, &page(0, 2)));
        assert!(kept.keep(P, &page(0, 3)));
        assert_eq!(offsets(&kept, E, 0), Some((2, vec![1, 2])));
        assert_eq!(kept.size().0, 2);
    }

    #[test]
    fn a_new_epoch_begins_anew() {
        let kept = Kept::new(1 << 20);
        assert!(kept.keep(P, &page(4, 6)));
        assert_eq!(offsets(&kept, E.next(), 4), Some((4, vec![])));
        assert_eq!(kept.size(), (0, 0));
    }

    #[test]
    fn an_old_checkpoint_is_told_and_one_that_went_back_begins_anew() {
        let kept = Kept::new(1 << 20);
        assert!(kept.keep(P, &page(4, 6)));
        assert_eq!(
            offsets(&kept, E, 3),
            None,
            "the asker looks at its checkpoint again"
        );
        assert_eq!(kept.size().0, 2, "and nobody else has lost anything");
        let run = kept.after(P, E, Offset::new(3), true).unwrap();
        assert_eq!((run.to.get(), run.entries.len()), (3, 0));
        assert_eq!(kept.size(), (0, 0));
    }

    #[test]
    fn what_does_not_fit_is_not_taken_and_what_is_there_stays() {
        let kept = Kept::new(3 * BYTES);
        assert!(kept.keep(P, &page(0, 2)));
        assert!(!kept.keep(P, &page(2, 4)));
        assert!(!kept.keep(PartitionId::new(4), &page(0, 2)));
        assert_eq!(offsets(&kept, E, 0), Some((2, vec![1, 2])));
        assert_eq!(offsets(&kept, E, 1), Some((2, vec![2])));
        assert!(kept.keep(P, &page(2, 4)), "what was let go makes room");
    }

    #[test]
    fn a_damaged_event_counts_and_is_remembered() {
        let kept = Kept::new(1 << 20);
        let mut damaged = page(0, 1);
        damaged.push_damaged(conversation());
        assert!(kept.keep(P, &damaged));
        let run = kept.after(P, E, Offset::new(0), false).unwrap();
        assert!(run.damaged.contains(&conversation()));
        assert_eq!(kept.size(), (1, BYTES + ENTRY_BYTES));
    }

    #[test]
    fn an_event_takes_no_more_than_it_is_counted_as() {
        assert!(size_of::<Entry>() + 3 * size_of::<usize>() <= ENTRY_BYTES);
    }
}

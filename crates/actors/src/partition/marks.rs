//! Marker writes of one partition, coalesced: one value per member and conversation, one write in flight.

use std::collections::BTreeMap;

use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::PartitionId;
use hubbub_event_log::MarkerUpdate;
use hubbub_wire::bus::Ephemeral;

use crate::conversation::turn::MarkerMove;

/// Markers that wait for their write at most; above it a mark is refused as busy. A second's worth of a very large room.
pub const MARKS_PENDING_MAX: usize = 4_096;
/// Markers in one write at most: a statement of a few milliseconds, so that appends on the same lane hardly notice.
pub const MARKS_WRITE_MAX: usize = 512;

type Key = (ConversationId, UserId);

/// What waits, and what is being written. `W` is a caller who waits until it is stored.
#[derive(Debug)]
pub struct Marks<W> {
    partition: PartitionId,
    pending: BTreeMap<Key, Waiting<W>>,
    writing: BTreeMap<Key, Waiting<W>>,
}

#[derive(Debug)]
struct Waiting<W> {
    moved: MarkerMove,
    callers: Vec<W>,
}

impl<W> Marks<W> {
    pub fn new(partition: PartitionId) -> Self {
        Self {
            partition,
            pending: BTreeMap::new(),
            writing: BTreeMap::new(),
        }
    }

    /// Nothing waits and nothing is being written.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.writing.is_empty()
    }

    /// Markers that wait or are being written.
    pub fn len(&self) -> usize {
        self.pending.len().saturating_add(self.writing.len())
    }

    /// Whether someone waits for the next write.
    pub fn has_callers(&self) -> bool {
        self.pending
            .values()
            .any(|waiting| !waiting.callers.is_empty())
    }

    /// Adds a move; gives the caller back when there is no room.
    pub fn add(&mut self, moved: MarkerMove, caller: Option<W>) -> Result<(), Option<W>> {
        let key = (moved.marker.conversation, moved.marker.user);
        if self.pending.len() >= MARKS_PENDING_MAX && !self.pending.contains_key(&key) {
            return Err(caller);
        }
        let waiting = self.pending.entry(key).or_insert(Waiting {
            moved,
            callers: Vec::new(),
        });
        merge(&mut waiting.moved, moved);
        waiting.callers.extend(caller);
        Ok(())
    }

    /// What to write now; empty while a write is in flight.
    pub fn next_write(&mut self) -> Vec<MarkerUpdate> {
        if !self.writing.is_empty() {
            return Vec::new();
        }
        while self.writing.len() < MARKS_WRITE_MAX {
            let Some((key, waiting)) = self.pending.pop_first() else {
                break;
            };
            self.writing.insert(key, waiting);
        }
        self.writing
            .values()
            .map(|waiting| MarkerUpdate {
                partition: self.partition,
                marker: waiting.moved.marker,
            })
            .collect()
    }

    /// The write is stored: what to tell the members, and who waited.
    pub fn stored(&mut self) -> (Vec<Ephemeral>, Vec<W>) {
        let mut news = Vec::new();
        let mut callers = Vec::new();
        for (_, waiting) in std::mem::take(&mut self.writing) {
            let MarkerMove {
                marker,
                read_moved,
                delivered_moved,
            } = waiting.moved;
            if read_moved || delivered_moved {
                news.push(Ephemeral::Marker {
                    conversation: marker.conversation,
                    user: marker.user,
                    read_no: read_moved.then_some(marker.read_no),
                    delivered_no: delivered_moved.then_some(marker.delivered_no),
                    at: marker.at,
                });
            }
            callers.extend(waiting.callers);
        }
        (news, callers)
    }

    /// The write did not happen, or nobody knows: its values wait for the next one (they only rise, so writing them twice is
    /// harmless). The callers who waited are given back.
    pub fn failed(&mut self) -> Vec<W> {
        let mut callers = Vec::new();
        for (key, mut waiting) in std::mem::take(&mut self.writing) {
            callers.append(&mut waiting.callers);
            match self.pending.get_mut(&key) {
                Some(newer) => merge(&mut newer.moved, waiting.moved),
                None => {
                    self.pending.insert(key, waiting);
                }
            }
        }
        callers
    }
}

/// Keeps the larger values and everything that moved.
fn merge(into: &mut MarkerMove, other: MarkerMove) {
    let (a, b) = (&mut into.marker, other.marker);
    if b.generation > a.generation {
        *a = b;
    } else if b.generation == a.generation {
        a.read_no = a.read_no.max(b.read_no);
        a.delivered_no = a.delivered_no.max(b.delivered_no);
        a.at = a.at.max(b.at);
    }
    into.read_moved |= other.read_moved;
    into.delivered_moved |= other.delivered_moved;
}

#[cfg(test)]
mod tests {
    use hubbub_domain::position::MessageNo;
    use hubbub_domain::time::Timestamp;
    use hubbub_event_log::Marker;

    use super::*;

    fn moved(user: u128, read: u64, read_moved: bool) -> MarkerMove {
        MarkerMove {
            marker: Marker {
                conversation: ConversationId::from_uuid(uuid::Uuid::from_u128(1)),
                user: UserId::from_uuid(uuid::Uuid::from_u128(user)),
                generation: 0,
                read_no: MessageNo::new(read),
                own_after: 0,
                delivered_no: MessageNo::new(read),
                at: Timestamp::from_millis(1),
            },
            read_moved,
            delivered_moved: false,
        }
    }

    fn reads(updates: &[MarkerUpdate]) -> Vec<u64> {
        updates
            .iter()
            .map(|update| update.marker.read_no.get())
            .collect()
    }

    #[test]
    fn moves_of_one_member_become_one_write_with_the_largest_value() {
        let mut marks = Marks::<u8>::new(PartitionId::new(0));
        for read in [3, 9, 5] {
            marks.add(moved(1, read, true), None).unwrap();
        }
        assert_eq!(reads(&marks.next_write()), [9]);
        let (news, _) = marks.stored();
        assert_eq!(news.len(), 1);
        assert!(marks.is_empty());
    }

    #[test]
    fn one_write_is_in_flight_and_what_comes_meanwhile_goes_with_the_next() {
        let mut marks = Marks::<u8>::new(PartitionId::new(0));
        marks.add(moved(1, 3, true), None).unwrap();
        assert_eq!(reads(&marks.next_write()), [3]);
        marks.add(moved(1, 4, true), Some(7)).unwrap();
        assert!(marks.next_write().is_empty());
        assert_eq!(marks.stored().1, Vec::<u8>::new());
        assert_eq!(reads(&marks.next_write()), [4]);
        assert_eq!(marks.stored().1, [7]);
    }

    #[test]
    fn a_failed_write_is_written_again_unless_a_newer_value_waits() {
        let mut marks = Marks::new(PartitionId::new(0));
        marks.add(moved(1, 3, true), Some(7)).unwrap();
        marks.add(moved(2, 5, true), None).unwrap();
        marks.next_write();
        marks.add(moved(1, 4, false), None).unwrap();
        assert_eq!(marks.failed(), [7]);
        assert_eq!(reads(&marks.next_write()), [4, 5]);
        assert_eq!(
            marks.stored().0.len(),
            2,
            "a move that failed first is still news"
        );
    }

    #[test]
    fn a_full_queue_refuses_newcomers_but_not_members_who_already_wait() {
        let mut marks = Marks::<u8>::new(PartitionId::new(0));
        for user in 0..MARKS_PENDING_MAX {
            marks.add(moved(user as u128, 1, true), None).unwrap();
        }
        assert_eq!(marks.add(moved(u128::MAX, 1, true), Some(3)), Err(Some(3)));
        assert_eq!(marks.add(moved(5, 2, true), None), Ok(()));
        assert_eq!(marks.next_write().len(), MARKS_WRITE_MAX);
    }

    #[test]
    fn a_write_without_a_move_is_stored_for_its_caller_and_told_to_nobody() {
        let mut marks = Marks::new(PartitionId::new(0));
        marks.add(moved(1, 3, false), Some(1)).unwrap();
        assert_eq!(marks.next_write().len(), 1);
        let (news, callers) = marks.stored();
        assert!(news.is_empty());
        assert_eq!(callers, [1]);
    }
}

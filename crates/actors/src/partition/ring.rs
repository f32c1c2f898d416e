//! The newest events of a partition, kept by its owner for edges that missed some: a range read that costs the database nothing.
//!
//! ```text
//! log   … 90 91 92 93 94 95 96          range(after 93, to 96) → 94 95 96
//! ring           ▮  ▮  ▮  ▮  ▮          range(after 90, to 96) → none: 91 has left, the log has it
//! ```
//!
//! Dense always: what does not follow on what is held replaces it. Without I/O.

use std::collections::VecDeque;

use hubbub_domain::position::Offset;
use hubbub_wire::bus::{EvEntry, RangeReply};

/// Events kept of one partition at most: an edge that misses more has been away for seconds and reads the log.
pub const RING_EVENTS_MAX: usize = 1_024;
/// Bytes kept of one partition at most: about what one message of the bus carries, so that one answer can hold the whole ring.
pub const RING_BYTES_MAX: usize = 512 * 1_024;

/// The ring of one partition.
#[derive(Debug, Default)]
pub struct Ring {
    /// One offset apart.
    entries: VecDeque<EvEntry>,
    bytes: usize,
}

impl Ring {
    /// Keeps durable events, ascending and dense, and lets the oldest go. Events that come before what is held are put before it when they
    /// touch it; events that leave a hole begin the ring anew when they are newer, and are passed over when they are older.
    pub fn keep(&mut self, events: &[EvEntry]) {
        let (Some(first), Some(last)) = (events.first(), events.last()) else {
            return;
        };
        let (first, last) = (first.row.offset, last.row.offset);
        match self.span() {
            Some((start, _)) if last.next() == start => {
                for entry in events.iter().rev() {
                    if !self.has_room(entry) {
                        break;
                    }
                    self.bytes = self.bytes.saturating_add(entry.size_bytes());
                    self.entries.push_front(entry.clone());
                }
                return;
            }
            Some((_, end)) if end.next() != first => {
                if last <= end {
                    return;
                }
                self.clear();
            }
            Some(_) | None => {}
        }
        for entry in events {
            while !self.has_room(entry) && self.drop_oldest() {}
            self.bytes = self.bytes.saturating_add(entry.size_bytes());
            self.entries.push_back(entry.clone());
        }
    }

    /// An unbroken piece from `after + 1` to at most `to`, as much as an answer of `bytes_max` encoded bytes holds. `None` when `after + 1`
    /// is not here.
    pub fn range(&self, after: Offset, to: Offset, bytes_max: usize) -> Option<Vec<EvEntry>> {
        let (start, end) = self.span()?;
        let first = after.next();
        if first < start || first > end || to < first {
            return None;
        }
        let skip = usize::try_from(first.since(start)).ok()?;
        let wanted = self
            .entries
            .iter()
            .skip(skip)
            .take_while(|entry| entry.row.offset <= to)
            .cloned();
        let piece = RangeReply::fitting(wanted, bytes_max).events;
        (!piece.is_empty()).then_some(piece)
    }

    /// Lets the oldest event go; `false` when there is none.
    pub fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.entries.pop_front() else {
            return false;
        };
        self.bytes = self.bytes.saturating_sub(oldest.size_bytes());
        true
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// Events held.
    pub fn events(&self) -> usize {
        self.entries.len()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// First and last offset held.
    pub fn span(&self) -> Option<(Offset, Offset)> {
        Some((
            self.entries.front()?.row.offset,
            self.entries.back()?.row.offset,
        ))
    }

    fn has_room(&self, entry: &EvEntry) -> bool {
        self.entries.len() < RING_EVENTS_MAX
            && self.bytes.saturating_add(entry.size_bytes()) <= RING_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hubbub_domain::ids::{CommandId, ConversationId};
    use hubbub_domain::position::{Epoch, PartitionId, Seq};
    use hubbub_domain::time::Timestamp;
    use hubbub_wire::stored::EventRow;
    use uuid::Uuid;

    use super::*;

    fn events(offsets: std::ops::RangeInclusive<u64>, bytes: usize) -> Vec<EvEntry> {
        offsets
            .map(|offset| EvEntry {
                row: EventRow {
                    partition: PartitionId::new(3),
                    offset: Offset::new(offset),
                    epoch: Epoch::new(1),
                    conversation: ConversationId::from_uuid(Uuid::nil()),
                    seq: Seq::new(offset),
                    at: Timestamp::from_millis(1),
                    command_id: CommandId::from_uuid(Uuid::nil()),
                    kind: 1,
                    ver: 1,
                    fmt: 1,
                    meta: Bytes::new(),
                    body: Some(Bytes::from(vec![0; bytes])),
                    crc: 0,
                    body_crc: None,
                },
                recipients: None,
            })
            .collect()
    }

    fn range(ring: &Ring, after: u64, to: u64) -> Option<Vec<u64>> {
        let piece = ring.range(Offset::new(after), Offset::new(to), usize::MAX)?;
        Some(piece.iter().map(|entry| entry.row.offset.get()).collect())
    }

    fn span(ring: &Ring) -> Option<(u64, u64)> {
        ring.span().map(|(start, end)| (start.get(), end.get()))
    }

    #[test]
    fn an_unbroken_piece_is_given_as_far_as_it_is_held() {
        let mut ring = Ring::default();
        ring.keep(&events(5..=7, 1));
        ring.keep(&events(8..=9, 1));
        assert_eq!(range(&ring, 5, 8), Some(vec![6, 7, 8]));
        assert_eq!(range(&ring, 4, 90), Some(vec![5, 6, 7, 8, 9]));
        assert_eq!(range(&ring, 3, 9), None, "4 is not here");
        assert_eq!(range(&ring, 9, 12), None, "10 is not here yet");
        assert_eq!(range(&ring, 7, 7), None, "nothing was asked for");
        assert_eq!(range(&Ring::default(), 0, 9), None);
    }

    #[test]
    fn an_answer_ends_where_a_message_of_the_bus_ends() {
        let mut ring = Ring::default();
        ring.keep(&events(1..=10, 1_000));
        let piece = ring.range(Offset::new(2), Offset::new(10), 3_500).unwrap();
        let offsets: Vec<u64> = piece.iter().map(|entry| entry.row.offset.get()).collect();
        assert_eq!(offsets, [3, 4, 5]);
    }

    #[test]
    fn the_oldest_leave_when_there_are_too_many_or_they_are_too_large() {
        let mut ring = Ring::default();
        let many = u64::try_from(RING_EVENTS_MAX).unwrap() + 7;
        ring.keep(&events(1..=many, 1));
        assert_eq!(span(&ring), Some((8, many)));
        ring.keep(&events(many + 1..=many + 4, RING_BYTES_MAX / 3));
        assert_eq!(span(&ring), Some((many + 3, many + 4)));
        assert!(ring.bytes() <= RING_BYTES_MAX);
        while ring.drop_oldest() {}
        assert_eq!((ring.events(), ring.bytes()), (0, 0));
    }

    #[test]
    fn a_hole_begins_the_ring_anew() {
        let mut ring = Ring::default();
        ring.keep(&events(1..=5, 1));
        ring.keep(&events(7..=8, 1));
        assert_eq!(span(&ring), Some((7, 8)));
        assert_eq!(range(&ring, 4, 8), None);
    }

    #[test]
    fn what_was_there_before_comes_before_what_is_held_if_it_touches_it() {
        let mut ring = Ring::default();
        ring.keep(&events(10..=12, 1));
        ring.keep(&events(7..=9, 1));
        assert_eq!(range(&ring, 6, 12), Some(vec![7, 8, 9, 10, 11, 12]));
        ring.keep(&events(2..=4, 1));
        assert_eq!(span(&ring), Some((7, 12)), "5 and 6 are missing between");
        ring.keep(&events(9..=11, 1));
        assert_eq!(span(&ring), Some((7, 12)), "and nothing is held twice");
    }

    #[test]
    fn an_event_larger_than_the_ring_is_held_alone() {
        let mut ring = Ring::default();
        ring.keep(&events(1..=1, 1));
        ring.keep(&events(2..=2, RING_BYTES_MAX));
        assert_eq!(span(&ring), Some((2, 2)));
        ring.keep(&events(3..=3, 1));
        assert_eq!(span(&ring), Some((3, 3)));
    }
}

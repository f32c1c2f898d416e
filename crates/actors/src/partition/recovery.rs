//! What a new owner tells the bus again: events that the owner before it may have stored without saying so.
//!
//! ```text
//! offset    … 90 91 92 │ 93 94 95 │ 96 …
//!          published ──┘     head ─┘         93–95 go out again; whoever has heard them drops them by their offset
//! ```
//!
//! The watermark is written now and then, so the tail is a little longer than what was really lost; and it is a courtesy: without it the
//! head broadcasts make every edge read the same rows from the log, a second later. Without I/O.

use hubbub_domain::position::{Epoch, Offset, PartitionId};
use hubbub_wire::bus::{EvBatch, EvEntry};
use hubbub_wire::stored::EventRow;

/// Events told again of one partition at most: what the fastest partition stores between two writes of the watermark. Older ones are left
/// to the head broadcasts.
pub const REPUBLISH_EVENTS_MAX: u64 = 2_048;

/// The range (after, to] that is to be told again; `None` when nothing is. A watermark beyond the head is of a lineage that was lost.
///
/// Without a watermark nothing is: its owners so far wrote none, so they were of the release before watermarks, or the partition had its
/// first event less than two seconds before (that nothing was told is never written). Edges of that release take a newer owner's word of
/// what they have delivered for a lost lineage, and end all their sockets; during an upgrade that was once for every partition that
/// changed hands.
pub fn unpublished(published: Option<Offset>, head: Offset) -> Option<(Offset, Offset)> {
    let newest = Offset::new(head.get().saturating_sub(REPUBLISH_EVENTS_MAX));
    let after = published?.max(newest);
    (after < head).then_some((after, head))
}

/// Rows of the log as a message, said by the owner under `epoch` (each row keeps the epoch that it was written under). Only those up to
/// `to` and only as long as they are dense from `after` on; `None` when nothing is left.
pub fn told_again(
    partition: PartitionId,
    epoch: Epoch,
    after: Offset,
    to: Offset,
    rows: Vec<EventRow>,
) -> Option<EvBatch> {
    let base_offset = after.next();
    let mut expected = base_offset;
    let mut events = Vec::with_capacity(rows.len());
    for row in rows {
        if row.offset != expected || row.offset > to {
            break;
        }
        expected = expected.next();
        events.push(EvEntry {
            row,
            // Who received it then is not in the log: edges fold it.
            recipients: None,
        });
    }
    (!events.is_empty()).then_some(EvBatch {
        partition,
        epoch,
        base_offset,
        events,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(published: Option<u64>, head: u64) -> Option<(u64, u64)> {
        unpublished(published.map(Offset::new), Offset::new(head))
            .map(|(after, to)| (after.get(), to.get()))
    }

    #[test]
    fn everything_between_the_watermark_and_the_head_is_told_again() {
        assert_eq!(range(Some(92), 95), Some((92, 95)));
        assert_eq!(range(Some(0), 3), Some((0, 3)));
    }

    #[test]
    fn nothing_is_told_again_when_all_was_told_or_lineage_was_lost() {
        assert_eq!(range(Some(95), 95), None);
        assert_eq!(range(Some(99), 95), None);
        assert_eq!(range(None, 0), None);
    }

    #[test]
    fn a_long_tail_is_cut_to_its_newest_part() {
        assert_eq!(
            range(Some(1), 100_000),
            Some((100_000 - REPUBLISH_EVENTS_MAX, 100_000))
        );
    }

    #[test]
    fn what_comes_from_an_owner_that_wrote_no_watermark_is_left_to_the_heads() {
        assert_eq!(range(None, 5), None);
        assert_eq!(range(None, 100_000), None);
    }
}

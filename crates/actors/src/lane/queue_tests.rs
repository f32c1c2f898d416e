//! Batches: bounded, in order, fair, and never with a row of a round or an ownership that is over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hubbub_domain::ids::{CommandId, ConversationId, UserId};
use hubbub_domain::position::{Epoch, MessageNo, Offset, PartitionId, Seq};
use hubbub_domain::time::Timestamp;
use hubbub_event_log::port::{APPEND_BYTES_MAX, APPEND_ROWS_MAX};
use hubbub_event_log::{Marker, MarkerUpdate};
use hubbub_wire::stored::EventRow;
use proptest::prelude::*;
use uuid::Uuid;

use crate::conversation::turn::Round;
use crate::lane::queue::{LaneQueue, LaneRow};

const EPOCH: Epoch = Epoch::new(1);

fn p(n: u16) -> PartitionId {
    PartitionId::new(n)
}

fn row(partition: u16, offset: u64, bytes: usize, deadline: Instant) -> LaneRow {
    LaneRow {
        row: EventRow {
            partition: p(partition),
            offset: Offset::new(offset),
            epoch: EPOCH,
            conversation: ConversationId::from_uuid(Uuid::nil()),
            seq: Seq::new(offset),
            at: Timestamp::from_millis(0),
            command_id: CommandId::from_uuid(Uuid::from_u128(offset.into())),
            kind: 1,
            ver: 1,
            fmt: 1,
            meta: Bytes::from(vec![0; bytes]),
            body: None,
            crc: 0,
            body_crc: None,
        },
        deadline,
        trace: None,
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_hours(1)
}

fn queue(rows: &[(u16, u64)]) -> LaneQueue {
    let mut queue = LaneQueue::default();
    for (partition, count) in rows {
        queue.open(p(*partition), EPOCH);
        for offset in 1..=*count {
            queue.push(
                p(*partition),
                EPOCH,
                Round::default(),
                row(*partition, offset, 10, far()),
            );
        }
    }
    queue
}

fn drawn(queue: &mut LaneQueue) -> BTreeMap<u16, Vec<u64>> {
    let parts = queue.draw().parts.into_iter();
    parts
        .map(|(partition, part)| {
            let offsets = part.rows.iter().map(|row| row.row.offset.get()).collect();
            (partition.get(), offsets)
        })
        .collect()
}

#[test]
fn a_flood_in_one_partition_leaves_room_for_the_others_in_every_batch() {
    let mut queue = queue(&[(1, 5_000), (2, 3), (3, 40)]);
    let batch = drawn(&mut queue);
    assert_eq!(batch[&2], [1, 2, 3]);
    assert_eq!(batch[&3], (1..=40).collect::<Vec<u64>>());
    assert_eq!(batch[&1].len(), APPEND_ROWS_MAX - 43);
}

#[test]
fn a_row_larger_than_a_batch_goes_alone() {
    let mut queue = LaneQueue::default();
    queue.open(p(1), EPOCH);
    for offset in 1..=3 {
        queue.push(
            p(1),
            EPOCH,
            Round::default(),
            row(1, offset, APPEND_BYTES_MAX + 1, far()),
        );
    }
    for offset in 1..=3 {
        assert_eq!(drawn(&mut queue)[&1], [offset]);
    }
    assert!(queue.is_empty());
}

#[test]
fn rows_of_a_round_that_was_taken_back_are_gone_and_no_longer_taken() {
    let mut queue = queue(&[(1, 3), (2, 1)]);
    let next = queue.take_back(p(1)).unwrap();
    queue.push(p(1), EPOCH, Round::default(), row(1, 4, 10, far()));
    queue.push(p(1), EPOCH, next, row(1, 1, 10, far()));
    assert_eq!(
        drawn(&mut queue),
        BTreeMap::from([(1, vec![1]), (2, vec![1])])
    );
}

#[test]
fn rows_of_an_ownership_that_is_over_are_gone_and_its_late_end_does_not_touch_the_next() {
    let mut queue = queue(&[(1, 3)]);
    let next = EPOCH.next();
    queue.open(p(1), next);
    queue.push(p(1), EPOCH, Round::default(), row(1, 4, 10, far()));
    queue.push(p(1), next, Round::default(), row(1, 1, 10, far()));
    queue.close(p(1), EPOCH);
    assert_eq!(drawn(&mut queue), BTreeMap::from([(1, vec![1])]));
    queue.close(p(1), next);
    assert_eq!(queue.epoch(p(1)), None);
}

#[test]
fn what_is_put_back_goes_before_what_has_come_since() {
    let mut queue = queue(&[(1, 2), (2, 1)]);
    let mut batch = queue.draw();
    queue.push(p(1), EPOCH, Round::default(), row(1, 3, 10, far()));
    queue.put_back(p(1), batch.parts.remove(&p(1)).unwrap());
    assert_eq!(drawn(&mut queue), BTreeMap::from([(1, vec![1, 2, 3])]));
}

#[test]
fn only_partitions_with_a_command_past_its_deadline_are_expired() {
    let now = Instant::now();
    let mut queue = queue(&[(1, 2), (2, 2)]);
    queue.push(p(2), EPOCH, Round::default(), row(2, 3, 10, now));
    assert_eq!(queue.expired(now), [p(2)]);
    queue.take_back(p(2));
    assert!(queue.expired(now).is_empty());
}

#[test]
fn marker_writes_of_many_partitions_go_together_ascending_and_bounded() {
    let mut queue = queue(&[(3, 0), (1, 0), (2, 0)]);
    let update = |partition: u16| MarkerUpdate {
        partition: p(partition),
        marker: Marker {
            conversation: ConversationId::from_uuid(Uuid::nil()),
            user: UserId::from_uuid(Uuid::nil()),
            generation: 0,
            read_no: MessageNo::new(1),
            own_after: 0,
            delivered_no: MessageNo::new(1),
            at: Timestamp::from_millis(0),
        },
    };
    queue.push_markers(p(3), EPOCH, vec![update(3); 300]);
    queue.push_markers(p(1), EPOCH, vec![update(1); 212]);
    queue.push_markers(p(2), EPOCH, vec![update(2); 1]);
    let (fence, updates) = queue.draw_markers();
    assert_eq!(fence, [(p(1), EPOCH), (p(3), EPOCH)]);
    assert_eq!(
        updates.len(),
        APPEND_ROWS_MAX,
        "never more than the log takes"
    );
    assert!(updates.is_sorted_by_key(|update| update.partition));
    assert_eq!(queue.draw_markers().1.len(), 1);
    assert!(queue.is_empty());
}

#[test]
fn marker_writes_that_are_too_many_together_go_one_after_the_other() {
    let mut queue = queue(&[(1, 0), (2, 0)]);
    let update = |partition: u16| MarkerUpdate {
        partition: p(partition),
        marker: Marker {
            conversation: ConversationId::from_uuid(Uuid::nil()),
            user: UserId::from_uuid(Uuid::nil()),
            generation: 0,
            read_no: MessageNo::new(1),
            own_after: 0,
            delivered_no: MessageNo::new(1),
            at: Timestamp::from_millis(0),
        },
    };
    queue.push_markers(p(1), EPOCH, vec![update(1); 300]);
    queue.push_markers(p(2), EPOCH, vec![update(2); 300]);
    assert_eq!(queue.draw_markers().1.len(), 300);
    assert_eq!(queue.draw_markers().1.len(), 300);
    assert!(queue.is_empty());
}

proptest! {
    #[test]
    fn every_row_goes_exactly_once_in_order_within_the_limits(
        counts in prop::collection::vec((0_u64..900, 1_usize..20_000), 1..12),
    ) {
        let mut queue = LaneQueue::default();
        for (partition, (count, bytes)) in counts.iter().enumerate() {
            let partition = u16::try_from(partition).unwrap();
            queue.open(p(partition), EPOCH);
            for offset in 1..=*count {
                queue.push(p(partition), EPOCH, Round::default(), row(partition, offset, *bytes, far()));
            }
        }
        let mut seen: BTreeMap<PartitionId, Vec<u64>> = BTreeMap::new();
        while !queue.is_empty() {
            let waiting: Vec<u16> = counts
                .iter()
                .enumerate()
                .map(|(partition, (count, _))| (u16::try_from(partition).unwrap(), *count))
                .filter(|(partition, count)| seen.get(&p(*partition)).map_or(0, Vec::len) < usize::try_from(*count).unwrap())
                .map(|(partition, _)| partition)
                .collect();
            let drawn = queue.draw();
            let batch = drawn.batch();
            let bytes: usize = batch.rows.iter().map(EventRow::size_bytes).sum();
            prop_assert!(!batch.rows.is_empty() && batch.rows.len() <= APPEND_ROWS_MAX && bytes <= APPEND_BYTES_MAX);
            prop_assert!(batch.rows.is_sorted_by_key(|row| (row.partition, row.offset)));
            prop_assert!(batch.fence.is_sorted());
            let full = batch.rows.len() == APPEND_ROWS_MAX || bytes + 20_200 > APPEND_BYTES_MAX;
            prop_assert!(full || batch.fence.len() == waiting.len(), "who waits has a turn while there is room");
            for row in &batch.rows {
                seen.entry(row.partition).or_default().push(row.offset.get());
            }
        }
        for (partition, (count, _)) in counts.iter().enumerate() {
            let offsets = seen.remove(&p(u16::try_from(partition).unwrap())).unwrap_or_default();
            prop_assert_eq!(offsets, (1..=*count).collect::<Vec<u64>>());
        }
    }
}

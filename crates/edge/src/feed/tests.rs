use bytes::Bytes;
use hubbub_domain::ids::{CommandId, ConversationId};
use hubbub_domain::position::Seq;
use hubbub_domain::time::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const P: PartitionId = PartitionId::new(3);

fn row(offset: u64, epoch: u64) -> EventRow {
    EventRow {
        partition: P,
        offset: Offset::new(offset),
        epoch: Epoch::new(epoch),
        conversation: ConversationId::from_uuid(Uuid::from_u128(1)),
        seq: Seq::new(offset),
        at: Timestamp::from_millis(0),
        command_id: CommandId::from_uuid(Uuid::from_u128(u128::from(offset))),
        kind: 1,
        ver: 1,
        fmt: 1,
        meta: Bytes::new(),
        body: None,
        crc: 0,
        body_crc: None,
    }
}

fn batch(epoch: u64, offsets: std::ops::RangeInclusive<u64>) -> EvBatch {
    EvBatch {
        partition: P,
        epoch: Epoch::new(epoch),
        base_offset: Offset::new(*offsets.start()),
        events: offsets
            .map(|offset| EvEntry {
                row: row(offset, epoch),
                recipients: Some(Vec::new()),
            })
            .collect(),
    }
}

fn head(epoch: u64, offset: u64) -> PartitionHead {
    PartitionHead {
        partition: P,
        epoch: Epoch::new(epoch),
        head: Offset::new(offset),
    }
}

fn booted(at: u64) -> PartitionFeed {
    let mut feed = PartitionFeed::new(P);
    assert_eq!(feed.boot(head(1, at), 0), vec![]);
    feed
}

fn delivered(effects: &[Effect]) -> Vec<u64> {
    effects
        .iter()
        .flat_map(|effect| match effect {
            Effect::Deliver(entries) => {
                entries.iter().map(|entry| entry.row.offset.get()).collect()
            }
            Effect::Fetch { .. } | Effect::LineageLost => Vec::new(),
        })
        .collect()
}

#[test]
fn events_in_order_are_delivered_at_once_and_duplicates_are_dropped() {
    let mut feed = booted(4);
    assert_eq!(delivered(&feed.on_batch(batch(1, 5..=7), 0)), [5, 6, 7]);
    assert_eq!(feed.on_batch(batch(1, 6..=7), 0), vec![]);
    assert_eq!(delivered(&feed.on_batch(batch(1, 7..=9), 0)), [8, 9]);
    assert_eq!(feed.deadline_ms(), None);
}

#[test]
fn what_came_before_the_boot_is_delivered_after_it() {
    let mut feed = PartitionFeed::new(P);
    assert_eq!(feed.on_batch(batch(1, 3..=6), 0), vec![]);
    assert_eq!(delivered(&feed.boot(head(1, 4), 0)), [5, 6]);
}

#[test]
fn an_overtaken_batch_closes_the_gap_without_a_read() {
    let mut feed = booted(0);
    assert_eq!(feed.on_batch(batch(1, 2..=2), 10), vec![]);
    assert_eq!(feed.deadline_ms(), Some(10 + REORDER_WAIT_MS));
    assert_eq!(delivered(&feed.on_batch(batch(1, 1..=1), 20)), [1, 2]);
    assert_eq!(feed.deadline_ms(), None);
}

#[test]
fn a_gap_is_read_once_after_the_wait() {
    let mut feed = booted(0);
    assert_eq!(delivered(&feed.on_batch(batch(1, 1..=1), 0)), [1]);
    feed.on_batch(batch(1, 4..=4), 0);
    assert_eq!(feed.on_time(REORDER_WAIT_MS - 1), vec![]);
    let after = Offset::ZERO;
    assert_eq!(
        feed.on_time(REORDER_WAIT_MS),
        vec![Effect::Fetch { after }],
        "the last delivered row is read again"
    );
    assert_eq!(feed.on_time(REORDER_WAIT_MS + 1), vec![], "single flight");
    let rows = (1..=3).map(|offset| row(offset, 1)).collect();
    assert_eq!(delivered(&feed.on_range(after, Ok(rows), 200)), [2, 3, 4]);
}

#[test]
fn a_lost_last_batch_is_noticed_by_the_next_head() {
    let mut feed = booted(0);
    assert_eq!(feed.on_head(head(1, 2), 0), vec![]);
    let after = Offset::ZERO;
    assert_eq!(feed.on_time(REORDER_WAIT_MS), vec![Effect::Fetch { after }]);
    assert_eq!(
        delivered(&feed.on_range(after, Ok(vec![row(1, 1), row(2, 1)]), 200)),
        [1, 2]
    );
}

#[test]
fn what_was_made_good_is_counted_by_its_kind() {
    let mut feed = booted(0);
    feed.on_head(head(1, 1), 0);
    feed.on_time(REORDER_WAIT_MS);
    feed.on_range(Offset::ZERO, Ok(vec![row(1, 1)]), 200);
    assert_eq!(feed.take_healed(), Some(Healed::Last));
    feed.on_batch(batch(1, 3..=3), 200);
    feed.on_time(200 + REORDER_WAIT_MS);
    feed.on_range(Offset::ZERO, Ok(vec![row(1, 1), row(2, 1)]), 400);
    assert_eq!(feed.take_healed(), Some(Healed::Gap));
    assert_eq!(feed.take_duplicates(), 0);
    feed.on_batch(batch(1, 1..=2), 400);
    assert_eq!((feed.take_duplicates(), feed.held()), (2, 0));
}

#[test]
fn a_failed_read_is_tried_again() {
    let mut feed = booted(0);
    feed.on_head(head(1, 1), 0);
    let after = Offset::ZERO;
    feed.on_time(REORDER_WAIT_MS);
    feed.on_range(after, Err(ReadError::Inconsistent("test".to_owned())), 200);
    assert_eq!(feed.deadline_ms(), Some(200 + RETRY_WAIT_MS));
    assert_eq!(
        feed.on_time(200 + RETRY_WAIT_MS),
        vec![Effect::Fetch { after }]
    );
}

#[test]
fn a_new_owner_that_goes_on_where_the_old_one_ended_changes_nothing() {
    let mut feed = booted(0);
    feed.on_batch(batch(1, 1..=2), 0);
    assert_eq!(feed.on_head(head(2, 2), 0), vec![]);
    assert_eq!(delivered(&feed.on_batch(batch(2, 3..=3), 0)), [3]);
}

#[test]
fn a_new_owner_below_what_was_delivered_means_that_events_were_lost() {
    let mut feed = booted(0);
    feed.on_batch(batch(1, 1..=5), 0);
    assert_eq!(feed.on_head(head(2, 3), 0), vec![Effect::LineageLost]);
    assert!(!feed.is_booted());
    assert_eq!(delivered(&feed.boot(head(2, 3), 0)), Vec::<u64>::new());
    assert_eq!(delivered(&feed.on_batch(batch(2, 4..=4), 0)), [4]);
}

#[test]
fn a_lost_tail_that_a_new_owner_has_overwritten_shows_in_the_next_read() {
    let mut feed = booted(0);
    feed.on_batch(batch(1, 1..=5), 0);
    feed.on_head(head(2, 9), 0);
    let after = Offset::new(4);
    assert_eq!(feed.on_time(REORDER_WAIT_MS), vec![Effect::Fetch { after }]);
    let rows = (5..=9).map(|offset| row(offset, 2)).collect();
    assert_eq!(
        feed.on_range(after, Ok(rows), 200),
        vec![Effect::LineageLost]
    );
}

#[test]
fn a_batch_with_a_hole_in_itself_is_not_believed() {
    let mut feed = booted(0);
    let mut broken = batch(1, 1..=2);
    broken.events.remove(0);
    assert_eq!(feed.on_batch(broken, 0), vec![]);
    assert_eq!(feed.deadline_ms(), None);
}

#[test]
fn what_is_held_stays_within_its_bound_and_nothing_is_lost_by_it() {
    let mut feed = booted(0);
    let beyond = u64::try_from(HELD_EVENTS_MAX).unwrap() + 100;
    for offset in (2..=beyond).rev() {
        feed.on_batch(batch(1, offset..=offset), 0);
    }
    assert!(feed.held.len() <= HELD_EVENTS_MAX);
    let mut seen = delivered(&feed.on_batch(batch(1, 1..=1), 0));
    let mut now = 0;
    while seen.last() != Some(&beyond) {
        now += REORDER_WAIT_MS;
        for effect in feed.on_time(now) {
            if let Effect::Fetch { after } = effect {
                let rows = (after.get() + 1..=beyond)
                    .take(RANGE_ROWS)
                    .map(|offset| row(offset, 1))
                    .collect();
                seen.extend(delivered(&feed.on_range(after, Ok(rows), now)));
            }
        }
    }
    assert_eq!(seen, (1..=beyond).collect::<Vec<_>>());
}

/// What the bus and the clock do to a feed.
#[derive(Clone, Debug)]
enum Step {
    Batch(u64, u64),
    Head(u64),
    Time(u64),
    /// The read in flight comes back, or fails.
    Read(bool),
}

fn steps(end: u64) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..=end, 0_u64..6).prop_map(move |(from, more)| Step::Batch(from, (from + more).min(end))),
        1 => (0..=end).prop_map(Step::Head),
        2 => (1_u64..400).prop_map(Step::Time),
        2 => any::<bool>().prop_map(Step::Read),
    ];
    proptest::collection::vec(step, 0..80)
}

proptest! {
    /// I6: whatever is lost, doubled or reordered, what comes out is 1..=n in order, each once, as soon as a last head is heard.
    #[test]
    fn any_loss_duplication_and_reordering_delivers_each_event_once_in_order(steps in steps(40)) {
        let end = 40_u64;
        let epoch_of = |offset: u64| if offset <= 20 { 1 } else { 2 };
        let log: Vec<EventRow> = (1..=end).map(|offset| row(offset, epoch_of(offset))).collect();
        let mut feed = booted(0);
        let mut now = 0;
        let mut flight: Option<Offset> = None;
        let mut seen = Vec::new();
        let ending = [Step::Head(end)].into_iter().chain((0..40).flat_map(|_| [Step::Time(RETRY_WAIT_MS), Step::Read(true)]));
        for step in steps.into_iter().chain(ending) {
            let effects = match step {
                Step::Batch(from, to) => {
                    // A batch is of one epoch.
                    let to = if from <= 20 { to.min(20) } else { to };
                    feed.on_batch(batch(epoch_of(from), from..=to), now)
                }
                Step::Head(at) => feed.on_head(head(epoch_of(at), at), now),
                Step::Time(pause) => {
                    now += pause;
                    feed.on_time(now)
                }
                Step::Read(well) => match flight.take() {
                    None => Vec::new(),
                    Some(after) if well => {
                        let rows = log.iter().filter(|row| row.offset > after).take(7).cloned().collect();
                        feed.on_range(after, Ok(rows), now)
                    }
                    Some(after) => feed.on_range(after, Err(ReadError::Inconsistent("test".to_owned())), now),
                },
            };
            for effect in &effects {
                if let Effect::Fetch { after } = effect {
                    prop_assert!(flight.is_none(), "one read at a time");
                    flight = Some(*after);
                }
                prop_assert_ne!(effect, &Effect::LineageLost);
            }
            seen.extend(delivered(&effects));
        }
        prop_assert_eq!(seen, (1..=end).collect::<Vec<_>>());
    }
}

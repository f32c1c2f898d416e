//! Given what was drawn, when the statement ends so, then these partitions hear that.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hubbub_domain::ids::{CommandId, ConversationId};
use hubbub_domain::position::{Epoch, Offset, PartitionId, Seq};
use hubbub_domain::time::Timestamp;
use hubbub_event_log::{AppendOutcome, Conflict, Refusal};
use hubbub_wire::stored::EventRow;
use uuid::Uuid;

use crate::conversation::core::Unread;
use crate::conversation::turn::{Round, TakeBack};
use crate::lane::Report;
use crate::lane::core::{EXPIRE_AHEAD, LaneCore, Settled, Told};
use crate::lane::queue::{Drawn, LaneRow};

const EPOCH: Epoch = Epoch::new(7);

fn p(n: u16) -> PartitionId {
    PartitionId::new(n)
}

fn row(partition: u16, offset: u64) -> EventRow {
    EventRow {
        partition: p(partition),
        offset: Offset::new(offset),
        epoch: EPOCH,
        conversation: ConversationId::from_uuid(Uuid::from_u128(u128::from(partition))),
        seq: Seq::new(offset),
        at: Timestamp::from_millis(1),
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

fn lane_row(partition: u16, offset: u64, deadline: Instant) -> LaneRow {
    LaneRow {
        row: row(partition, offset),
        deadline,
        trace: None,
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_hours(1)
}

/// A lane with these rows, ascending, of partitions that are open.
fn lane(rows: &[(u16, u64)]) -> LaneCore {
    let mut lane = LaneCore::default();
    for partition in 1..=3 {
        assert!(lane.open(p(partition), EPOCH));
    }
    for (partition, offset) in rows {
        push(&mut lane, *partition, *offset, far());
    }
    lane
}

fn push(lane: &mut LaneCore, partition: u16, offset: u64, deadline: Instant) {
    let row = lane_row(partition, offset, deadline);
    lane.push(p(partition), EPOCH, Round::default(), row);
}

/// One word per partition.
fn words(told: Vec<Told>) -> Vec<(u16, String)> {
    let mut words: Vec<(u16, String)> = told
        .into_iter()
        .map(|told| {
            let word = match told.report {
                Report::Committed { through, rows } => format!("{rows} committed to {through}"),
                Report::TakenBack {
                    how: TakeBack::Answer(reply),
                    ..
                } => format!("{reply:?}"),
                Report::TakenBack {
                    how: TakeBack::Rerun { found },
                    ..
                } => format!("rerun, {} found", found.len()),
                Report::TakenBack {
                    how: TakeBack::Expired { .. },
                    ..
                } => "expired".to_owned(),
                other => format!("{other:?}"),
            };
            (told.partition.get(), word)
        })
        .collect();
    words.sort();
    words
}

fn is(told: Vec<Told>, expected: &[(u16, &str)]) {
    let expected: Vec<(u16, String)> = expected
        .iter()
        .map(|(partition, word)| (*partition, (*word).to_owned()))
        .collect();
    assert_eq!(words(told), expected);
}

fn settle(lane: &mut LaneCore, drawn: Drawn, outcome: &AppendOutcome) -> Vec<Told> {
    match lane.settle(drawn, outcome) {
        Settled::Told(told) => told,
        Settled::LookUp(_) => panic!("nothing is to be looked up"),
    }
}

#[test]
fn an_open_that_comes_behind_a_later_one_changes_nothing() {
    let later = Epoch::new(EPOCH.get() + 1);
    let mut lane = lane(&[]);
    assert!(lane.open(p(1), later));
    lane.push(p(1), later, Round::default(), lane_row(1, 1, far()));
    assert!(!lane.open(p(1), EPOCH), "it owns nothing any more");
    push(&mut lane, 1, 1, far());
    lane.close(p(1), EPOCH);
    let drawn = lane.draw();
    assert_eq!(drawn.rows(), 1, "and the later one's row still goes");
    assert_eq!(drawn.parts[&p(1)].epoch, later);
}

#[test]
fn what_ends_an_older_ownership_leaves_one_alone_that_opened_while_the_lane_was_away() {
    let later = Epoch::new(EPOCH.get() + 1);
    let fenced = AppendOutcome::Done {
        committed: Vec::new(),
        fenced: vec![p(1)],
    };
    for outcome in [fenced, AppendOutcome::Conflict(Conflict::Hole)] {
        let mut lane = lane(&[(1, 1)]);
        let drawn = lane.draw();
        assert!(lane.open(p(1), later));
        let told = settle(&mut lane, drawn, &outcome);
        assert_eq!(
            told.iter().map(|told| told.epoch).collect::<Vec<_>>(),
            [EPOCH]
        );
        let row = lane_row(1, 1, far());
        lane.push(p(1), later, Round::default(), row);
        assert_eq!(lane.draw().rows(), 1, "open as a whole");
    }
}

#[test]
fn stored_and_fenced_partitions_hear_of_it_and_the_fenced_one_is_closed() {
    let mut lane = lane(&[(1, 1), (1, 2), (2, 1)]);
    let drawn = lane.draw();
    let outcome = AppendOutcome::Done {
        committed: vec![p(1)],
        fenced: vec![p(2)],
    };
    push(&mut lane, 1, 3, far());
    push(&mut lane, 2, 2, far());
    is(
        settle(&mut lane, drawn, &outcome),
        &[(1, "2 committed to 2"), (2, "Fenced")],
    );
    assert_eq!(lane.rows(), 1, "only what waits of the stored one goes on");
}

#[test]
fn a_partition_that_is_said_to_be_both_or_neither_is_broken() {
    let mut lane = lane(&[(1, 1), (2, 1), (3, 1)]);
    let drawn = lane.draw();
    let outcome = AppendOutcome::Done {
        committed: vec![p(1), p(2)],
        fenced: vec![p(2)],
    };
    is(
        settle(&mut lane, drawn, &outcome),
        &[(1, "1 committed to 1"), (2, "Broken"), (3, "Broken")],
    );
}

#[test]
fn without_an_answer_exactly_the_partitions_of_the_batch_are_in_doubt() {
    let mut lane = lane(&[(1, 1), (2, 1)]);
    let drawn = lane.draw();
    push(&mut lane, 1, 2, far());
    push(&mut lane, 3, 1, far());
    is(
        settle(&mut lane, drawn, &AppendOutcome::Unknown),
        &[(1, "InDoubt"), (2, "InDoubt")],
    );
    assert_eq!(lane.rows(), 1, "what waits of the third goes on");
    push(&mut lane, 1, 2, far());
    assert_eq!(
        lane.rows(),
        1,
        "and nothing more is taken under the old epoch"
    );
}

#[test]
fn a_refusal_is_said_to_everything_speculative_and_nobody_leaves() {
    for (refusal, said) in [
        (Refusal::StorageFull, "StorageFull"),
        (Refusal::Unavailable, "Unavailable { retry_after_ms: 500 }"),
    ] {
        let mut lane = lane(&[(1, 1), (2, 1)]);
        let drawn = lane.draw();
        push(&mut lane, 1, 2, far());
        let outcome = AppendOutcome::Refused(refusal);
        is(settle(&mut lane, drawn, &outcome), &[(1, said), (2, said)]);
        assert!(lane.is_empty(), "what waited behind was decided upon it");
    }
}

#[test]
fn a_taken_position_or_a_half_stored_batch_ends_its_partitions() {
    for outcome in [
        AppendOutcome::Conflict(Conflict::Position),
        AppendOutcome::Broken,
    ] {
        let mut lane = lane(&[(1, 1), (2, 1)]);
        let drawn = lane.draw();
        is(
            settle(&mut lane, drawn, &outcome),
            &[(1, "Broken"), (2, "Broken")],
        );
    }
}

#[test]
fn a_log_that_has_lost_rows_puts_the_partitions_of_the_batch_in_doubt() {
    let mut lane = lane(&[(1, 1), (2, 1), (3, 1)]);
    let drawn = lane.draw();
    push(&mut lane, 1, 2, far());
    is(
        settle(&mut lane, drawn, &AppendOutcome::Conflict(Conflict::Hole)),
        &[(1, "InDoubt"), (2, "InDoubt"), (3, "InDoubt")],
    );
    assert!(lane.is_empty());
}

fn conflict(lane: &mut LaneCore) -> Drawn {
    let drawn = lane.draw();
    match lane.settle(drawn, &AppendOutcome::Conflict(Conflict::Command)) {
        Settled::LookUp(drawn) => drawn,
        Settled::Told(told) => panic!("told without a look: {told:?}"),
    }
}

#[test]
fn a_stored_command_id_reruns_its_partition_and_the_others_go_again_as_they_are() {
    let mut lane = lane(&[(1, 1), (2, 1), (2, 2)]);
    let drawn = conflict(&mut lane);
    is(
        lane.explained(drawn, Ok(vec![row(1, 1)])),
        &[(1, "rerun, 1 found")],
    );
    let again = lane.draw();
    assert_eq!((again.parts.len(), again.rows()), (1, 2));
}

#[test]
fn when_ids_cannot_be_looked_up_no_command_is_denied_for_one_of_them_is_stored() {
    let mut lane = lane(&[(1, 1), (2, 1)]);
    let drawn = conflict(&mut lane);
    is(
        lane.explained(drawn, Err(Unread)),
        &[(1, "Unknown"), (2, "Unknown")],
    );
}

#[test]
fn a_conflict_that_no_look_up_explains_is_repeated_only_so_often() {
    let mut lane = lane(&[(1, 1)]);
    for _ in 0..2 {
        let drawn = conflict(&mut lane);
        is(lane.explained(drawn, Ok(Vec::new())), &[]);
    }
    let drawn = conflict(&mut lane);
    is(lane.explained(drawn, Ok(Vec::new())), &[(1, "Broken")]);
}

#[test]
fn markers_without_an_answer_are_written_again_and_cost_no_ownership() {
    let mut lane = lane(&[]);
    let fence = [(p(1), EPOCH), (p(2), EPOCH), (p(3), EPOCH)];
    is(
        lane.settle_markers(&fence[..1], &AppendOutcome::Unknown),
        &[(1, "MarkersUnknown")],
    );
    let outcome = AppendOutcome::Done {
        committed: vec![p(1)],
        fenced: vec![p(2)],
    };
    is(
        lane.settle_markers(&fence, &outcome),
        &[(1, "MarkersStored"), (2, "Fenced"), (3, "MarkersUnknown")],
    );
    push(&mut lane, 1, 1, far());
    push(&mut lane, 2, 1, far());
    assert_eq!(lane.rows(), 1, "the fenced one is closed");
}

#[test]
fn an_expired_partition_is_judged_again_without_those_that_would_be_next() {
    let now = Instant::now();
    let mut lane = lane(&[(2, 1)]);
    push(&mut lane, 1, 1, now);
    let told = lane.expire(now);
    let Some(Told {
        report:
            Report::TakenBack {
                round,
                how: TakeBack::Expired { until },
            },
        ..
    }) = told.first()
    else {
        panic!("not expired: {told:?}")
    };
    assert_eq!(*until, now + EXPIRE_AHEAD);
    assert_eq!(lane.rows(), 1, "the other partition waits on");
    // Who comes back has longer than that, so nothing expires until then.
    let stays = lane_row(1, 1, now + EXPIRE_AHEAD + Duration::from_millis(1));
    lane.push(p(1), EPOCH, *round, stays);
    assert!(lane.expire(now + EXPIRE_AHEAD).is_empty());
}

#[test]
fn the_lane_knows_how_many_rows_and_bytes_wait() {
    let mut lane = lane(&[(1, 1), (1, 2), (2, 1)]);
    let each = row(1, 1).size_bytes();
    assert_eq!((lane.rows(), lane.bytes()), (3, 3 * each));
    let drawn = lane.draw();
    assert_eq!((lane.rows(), lane.bytes()), (0, 0));
    let drawn = match lane.settle(drawn, &AppendOutcome::Conflict(Conflict::Command)) {
        Settled::LookUp(drawn) => drawn,
        Settled::Told(_) => panic!("told without a look"),
    };
    lane.explained(drawn, Ok(Vec::new()));
    assert_eq!((lane.rows(), lane.bytes()), (3, 3 * each));
    lane.close(p(1), EPOCH);
    assert_eq!((lane.rows(), lane.bytes()), (1, each));
}

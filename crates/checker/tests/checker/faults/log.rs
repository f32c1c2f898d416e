//! Faults of the log.

use hubbub_checker::{Digest, Event, Fact, History, LogRow, Outcome, OwnerSeen};
use uuid::Uuid;

use super::choose::{acked, pick, pick_where};
use crate::world::Dice;

pub(super) fn an_acked_row_is_lost(history: &mut History, dice: &mut Dice) -> bool {
    let Some((_operation, row)) = acked(history, dice) else {
        return false;
    };
    let command = history.log.remove(row).command;
    history
        .events
        .retain(|event| event.command != Some(command));
    true
}

pub(super) fn an_ack_names_another_place(history: &mut History, dice: &mut Dice) -> bool {
    acked(history, dice).is_some_and(|(at, _row)| {
        let Outcome::Acked(place) = &mut history.operations[at].outcome else {
            return false;
        };
        if dice.below(2) == 0 {
            place.seq += 1;
        } else {
            place.epoch += 1;
        }
        true
    })
}

pub(super) fn another_text_is_stored(history: &mut History, dice: &mut Dice) -> bool {
    let is_text = |event: &Event| matches!(event.fact, Fact::Sent { .. });
    pick_where(&history.events, dice, is_text).is_some_and(|at| {
        if let Fact::Sent { body, .. } = &mut history.events[at].fact {
            *body = Some(Digest(1));
        }
        true
    })
}

pub(super) fn a_refused_command_is_stored(history: &mut History, dice: &mut Dice) -> bool {
    acked(history, dice).is_some_and(|(at, _row)| {
        let command = history.operations[at].command;
        for operation in &mut history.operations {
            if operation.command == command {
                operation.outcome = Outcome::Refused {
                    code: "unavailable".to_owned(),
                };
            }
        }
        true
    })
}

pub(super) fn a_row_that_nobody_sent(history: &mut History, dice: &mut Dice) -> bool {
    let is_message = |event: &Event| event.fact.message_no().is_some();
    pick_where(&history.events, dice, is_message).is_some_and(|at| {
        let command = history.events[at].command;
        history
            .operations
            .retain(|operation| Some(operation.command) != command);
        true
    })
}

pub(super) fn a_command_is_stored_twice(history: &mut History, dice: &mut Dice) -> bool {
    acked(history, dice).is_some_and(|(_at, row)| {
        let row = history.log[row];
        let of = |other: &&LogRow| other.partition == row.partition;
        let offset = history.log.iter().filter(of).map(|row| row.offset).max();
        let of = |other: &&LogRow| other.conversation == row.conversation;
        let seq = history.log.iter().filter(of).map(|row| row.seq).max();
        history.push(LogRow {
            offset: offset.unwrap() + 1,
            seq: seq.unwrap() + 1,
            ..row
        });
        true
    })
}

pub(super) fn two_acks_name_two_places(history: &mut History, dice: &mut Dice) -> bool {
    acked(history, dice).is_some_and(|(at, _row)| {
        let mut again = history.operations[at].clone();
        if let Outcome::Acked(place) = &mut again.outcome {
            place.seq += 1;
        }
        history.push(again);
        true
    })
}

pub(super) fn an_offset_is_left_out(history: &mut History, dice: &mut Dice) -> bool {
    pick(&history.log, dice).is_some_and(|at| {
        let row = history.log[at];
        for other in &mut history.log {
            if other.partition == row.partition && other.offset >= row.offset {
                other.offset += 1;
            }
        }
        true
    })
}

pub(super) fn two_seqs_change_places(history: &mut History, dice: &mut Dice) -> bool {
    let Some(at) = pick_where(&history.log, dice, |row| row.seq > 1) else {
        return false;
    };
    let row = history.log[at];
    let before = history
        .log
        .iter()
        .position(|other| other.conversation == row.conversation && other.seq == row.seq - 1);
    let Some(before) = before else { return false };
    history.log[at].seq -= 1;
    history.log[before].seq += 1;
    true
}

pub(super) fn a_checksum_is_wrong(history: &mut History, dice: &mut Dice) -> bool {
    pick(&history.log, dice).is_some_and(|at| {
        history.log[at].crc_ok = false;
        true
    })
}

pub(super) fn an_epoch_falls(history: &mut History, dice: &mut Dice) -> bool {
    pick_where(&history.log, dice, |row| row.offset > 1).is_some_and(|at| {
        history.log[at].epoch = 0;
        true
    })
}

pub(super) fn an_epoch_is_acquired_twice(history: &mut History, dice: &mut Dice) -> bool {
    pick(&history.lineage, dice).is_some_and(|at| {
        let again = history.lineage[at].clone();
        history.push(again);
        true
    })
}

pub(super) fn two_serve_under_one_epoch(history: &mut History, dice: &mut Dice) -> bool {
    pick(&history.owners, dice).is_some_and(|at| {
        let other = OwnerSeen {
            owner: Uuid::from_u128(0xdead),
            ..history.owners[at]
        };
        history.push(other);
        true
    })
}

pub(super) fn a_row_commits_behind_a_takeover(history: &mut History, dice: &mut Dice) -> bool {
    let newest = |history: &History, partition| {
        let of = history
            .lineage
            .iter()
            .filter(|row| row.partition == partition);
        of.max_by_key(|row| row.epoch).cloned()
    };
    let Some(at) = pick_where(&history.log, dice, |row| {
        newest(history, row.partition).is_some_and(|newest| row.epoch < newest.epoch)
    }) else {
        return false;
    };
    let began = newest(history, history.log[at].partition).and_then(|newest| newest.at);
    history.log[at].committed_at = began.map(|began| began + 1);
    true
}

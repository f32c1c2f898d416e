//! Places at which something may go wrong.

use hubbub_checker::{Frame, History, Operation, Outcome};

use crate::world::{Dice, usize_of};

pub(super) fn pick<T>(of: &[T], dice: &mut Dice) -> Option<usize> {
    (!of.is_empty()).then(|| usize_of(dice.below(of.len() as u64)))
}

pub(super) fn pick_where<T>(of: &[T], dice: &mut Dice, fits: impl Fn(&T) -> bool) -> Option<usize> {
    let fitting: Vec<usize> = (0..of.len()).filter(|at| fits(&of[*at])).collect();
    pick(&fitting, dice).map(|at| fitting[at])
}

pub(super) fn is_acked(operation: &Operation) -> bool {
    matches!(operation.outcome, Outcome::Acked(_))
}

/// An acked attempt and its row.
pub(super) fn acked(history: &History, dice: &mut Dice) -> Option<(usize, usize)> {
    let at = pick_where(&history.operations, dice, is_acked)?;
    let command = history.operations[at].command;
    let row = history.log.iter().position(|row| row.command == command)?;
    Some((at, row))
}

pub(super) fn event_frames(history: &History) -> Vec<usize> {
    let is_event = |at: &usize| matches!(history.frames[*at].frame, Frame::Event(_));
    (0..history.frames.len()).filter(is_event).collect()
}

/// An event frame that is followed by another of its conversation on the same socket.
pub(super) fn frame_with_a_next(history: &History, dice: &mut Dice) -> Option<(usize, usize)> {
    let frames = event_frames(history);
    let place = |at: usize| match &history.frames[at].frame {
        Frame::Event(event) => (history.frames[at].socket, event.conversation),
        _no_event => unreachable!("only events"),
    };
    let next = |at: usize| {
        frames
            .iter()
            .copied()
            .find(|next| *next > at && place(*next) == place(at))
    };
    let pairs: Vec<_> = frames
        .iter()
        .filter_map(|at| Some((*at, next(*at)?)))
        .collect();
    pick(&pairs, dice).map(|at| pairs[at])
}

pub(super) fn deliveries_in_a_row(history: &History, dice: &mut Dice) -> Option<(usize, usize)> {
    let of = |at: usize| history.deliveries[at].subscription;
    let next = |at: usize| (at + 1..history.deliveries.len()).find(|next| of(*next) == of(at));
    let pairs: Vec<_> = (0..history.deliveries.len())
        .filter_map(|at| Some((at, next(at)?)))
        .collect();
    pick(&pairs, dice).map(|at| pairs[at])
}

/// Two acked sends of one conversation, the second one asked for after the ack of the first.
pub(super) fn sends_in_a_row(history: &History, dice: &mut Dice) -> Option<(usize, usize)> {
    let sends: Vec<usize> = (0..history.operations.len())
        .filter(|at| is_acked(&history.operations[*at]) && tried_once(history, *at))
        .collect();
    let follows = |one: usize, next: usize| {
        let (one, next) = (&history.operations[one], &history.operations[next]);
        one.conversation == next.conversation && one.ended_at < next.invoked_at
    };
    let pair = |one: &usize| {
        let next = sends.iter().find(|next| follows(*one, **next))?;
        Some((*one, *next))
    };
    let pairs: Vec<_> = sends.iter().filter_map(pair).collect();
    pick(&pairs, dice).map(|at| pairs[at])
}

pub(super) fn tried_once(history: &History, at: usize) -> bool {
    let command = history.operations[at].command;
    let same = history
        .operations
        .iter()
        .filter(|operation| operation.command == command);
    same.count() == 1
}

pub(super) fn swap_places(history: &mut History, one: usize, next: usize) {
    let first = history.operations[one].outcome.clone();
    history.operations[one].outcome = history.operations[next].outcome.clone();
    history.operations[next].outcome = first;
}

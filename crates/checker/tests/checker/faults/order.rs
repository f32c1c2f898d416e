//! Faults of order.

use hubbub_checker::{Frame, FrameSeen, History};

use super::choose::{
    deliveries_in_a_row, event_frames, frame_with_a_next, pick, pick_where, sends_in_a_row,
    swap_places,
};
use crate::world::{Dice, PEOPLE, person};

pub(super) fn a_frame_comes_twice(history: &mut History, dice: &mut Dice) -> bool {
    let frames = event_frames(history);
    pick(&frames, dice).is_some_and(|at| {
        let seen = history.frames[frames[at]].clone();
        history.frames.insert(frames[at], seen);
        true
    })
}

pub(super) fn a_frame_is_skipped(history: &mut History, dice: &mut Dice) -> bool {
    // The first one of a socket has nothing before it by which its absence shows here; I9 sees that.
    let Some((one, next)) = frame_with_a_next(history, dice) else {
        return false;
    };
    let _removed = history.frames.remove(next);
    let socket = history.frames[one].socket;
    let conversation = match &history.frames[one].frame {
        Frame::Event(event) => event.conversation,
        _no_event => unreachable!("only events"),
    };
    history.frames[one + 1..].iter().any(|seen| {
        seen.socket == socket
            && matches!(&seen.frame, Frame::Event(event) if event.conversation == conversation)
    })
}

pub(super) fn a_delivery_comes_twice(history: &mut History, dice: &mut Dice) -> bool {
    pick(&history.deliveries, dice).is_some_and(|at| {
        let told = history.deliveries[at].clone();
        history.deliveries.insert(at, told);
        true
    })
}

pub(super) fn a_delivery_is_skipped(history: &mut History, dice: &mut Dice) -> bool {
    deliveries_in_a_row(history, dice).is_some_and(|(one, _next)| {
        let _removed = history.deliveries.remove(one);
        true
    })
}

pub(super) fn two_deliveries_change_places(history: &mut History, dice: &mut Dice) -> bool {
    deliveries_in_a_row(history, dice).is_some_and(|(one, next)| {
        history.deliveries.swap(one, next);
        true
    })
}

pub(super) fn the_last_delivery_never_comes(history: &mut History, dice: &mut Dice) -> bool {
    // Only someone who is in to the end must be told everything.
    let gone = person(PEOPLE - 1);
    let Some(at) = pick_where(&history.subscriptions, dice, |sub| sub.user != gone) else {
        return false;
    };
    let who = history.subscriptions[at].subscription;
    let last = history
        .deliveries
        .iter()
        .rposition(|told| told.subscription == who);
    last.is_some_and(|last| {
        let _removed = history.deliveries.remove(last);
        true
    })
}

pub(super) fn a_later_send_stands_before_an_acked_one(
    history: &mut History,
    dice: &mut Dice,
) -> bool {
    sends_in_a_row(history, dice).is_some_and(|(one, next)| {
        swap_places(history, one, next);
        true
    })
}

pub(super) fn pipelined_sends_change_places(history: &mut History, dice: &mut Dice) -> bool {
    use hubbub_checker::OperationKind::Send;
    let Some((one, next)) = sends_in_a_row(history, dice) else {
        return false;
    };
    // Both are on their way at the same time, on one socket.
    let ended_at = history.operations[next].ended_at;
    history.operations[one].ended_at = ended_at;
    for at in [one, next] {
        history.operations[at].socket = Some(1);
        history.operations[at].kind = Send;
    }
    swap_places(history, one, next);
    true
}

pub(super) fn a_resume_leaves_out_the_first(history: &mut History, dice: &mut Dice) -> bool {
    resumed(history, dice).is_some_and(|(first, _last)| {
        let _removed = history.frames.remove(first);
        true
    })
}

pub(super) fn a_resume_sends_it_twice(history: &mut History, dice: &mut Dice) -> bool {
    resumed(history, dice).is_some_and(|(_first, last)| {
        let seen = history.frames[last].clone();
        history.frames.insert(last, seen);
        true
    })
}

pub(super) fn a_resume_stops_early(history: &mut History, dice: &mut Dice) -> bool {
    resumed(history, dice).is_some_and(|(first, last)| {
        let conversation = |seen: &FrameSeen| match &seen.frame {
            Frame::Event(event) => Some(event.conversation),
            _no_event => None,
        };
        let which = conversation(&history.frames[first]);
        let mut at = 0;
        history.frames.retain(|seen| {
            let drop = (first..=last).contains(&at) && conversation(seen) == which;
            at += 1;
            !drop
        });
        true
    })
}

/// The first and the last frame that a resume of somebody who stays brought for one conversation.
pub(super) fn resumed(history: &History, dice: &mut Dice) -> Option<(usize, usize)> {
    let gone = person(PEOPLE - 1);
    let mut found = Vec::new();
    for socket in history.sockets.iter().filter(|socket| socket.user != gone) {
        let live = history
            .frames
            .iter()
            .position(|seen| seen.socket == socket.socket && seen.frame == Frame::Live)?;
        for (conversation, ..) in &socket.cursors {
            let missed: Vec<usize> = (0..live)
                .filter(|at| {
                    let seen = &history.frames[*at];
                    seen.socket == socket.socket
                        && matches!(&seen.frame, Frame::Event(event) if event.conversation == *conversation)
                })
                .collect();
            if let (Some(first), Some(last)) = (missed.first(), missed.last()) {
                found.push((*first, *last));
            }
        }
    }
    pick(&found, dice).map(|at| found[at])
}

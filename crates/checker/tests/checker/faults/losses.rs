//! A failover loses an event that a socket and an application were shown: told of in order, and what may go wrong with that.

use hubbub_checker::history::SECOND;
use hubbub_checker::{
    Delivery, Digest, Event, Fact, Frame, FrameSeen, History, Level, Loss, Time, Told,
};

use super::choose::pick;
use crate::world::{Dice, PEOPLE, person};

/// How the one who saw it hears of the loss.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hears {
    InTime,
    Late,
    TooLittle,
    Never,
}

/// Adds a message behind the head of a conversation that one open socket and its application were shown and the log has lost since. Long after,
/// the run still lasts. False if nobody is there to see it.
fn lose_a_message(
    history: &mut History,
    dice: &mut Dice,
    socket_is: Hears,
    application_is: Hears,
) -> bool {
    // The last of the four was taken out in the middle.
    let followed: Vec<usize> = (0..history.subscriptions.len())
        .filter(|at| history.subscriptions[*at].user != person(PEOPLE - 1))
        .collect();
    let Some(subscription) = pick(&followed, dice).map(|at| &history.subscriptions[followed[at]])
    else {
        return false;
    };
    let (conversation, user) = (subscription.conversation, subscription.user);
    let number = subscription.subscription;
    let sockets = &history.sockets;
    let Some(socket) = sockets.iter().rfind(|socket| socket.user == user) else {
        return false;
    };
    let socket = socket.socket;
    let of_it = history.events.iter();
    let Some(head) = of_it
        .filter(|event| event.conversation == conversation)
        .max_by_key(|event| event.seq)
        .cloned()
    else {
        return false;
    };
    let now = last_moment(history);
    let lost = Event {
        seq: head.seq + 1,
        command: None,
        by: person(0),
        fact: Fact::Sent {
            no: 1_000,
            body: Some(Digest(1)),
            mentions: Vec::new(),
        },
        ..head
    };
    let (at, heard_by) = (now + SECOND, now + 11 * SECOND);
    history.push(Loss {
        at,
        conversation,
        from_seq: lost.seq,
        epoch: lost.epoch,
        heard_by,
    });
    let frame = |at: Time, frame| FrameSeen { socket, at, frame };
    let delivery = |at: Time, told| Delivery {
        subscription: number,
        at,
        told,
    };
    // Shown after the loss took place, by a node that had not heard of it.
    history.push(frame(at + SECOND, Frame::Event(lost.clone())));
    history.push(delivery(at + SECOND, Told::Event(lost.clone())));
    for (is, of_socket) in [(socket_is, true), (application_is, false)] {
        let (told_at, from_seq) = match is {
            Hears::InTime => (heard_by + SECOND, lost.seq),
            Hears::Late => (heard_by + 10 * SECOND + 1, lost.seq),
            Hears::TooLittle => (heard_by + SECOND, lost.seq + 1),
            Hears::Never => continue,
        };
        if of_socket {
            let reset = Frame::Reset {
                conversation,
                from_seq,
            };
            history.push(frame(told_at, reset));
        } else {
            history.push(delivery(told_at, Told::Reset { from_seq }));
        }
    }
    history.push(Level {
        at: heard_by + 60 * SECOND,
        node: 0,
        what: "edge.session.queue".to_owned(),
        value: 0,
        bound: 10,
    });
    true
}

fn last_moment(history: &History) -> Time {
    let frames = history.frames.iter().map(|seen| seen.at);
    let healed = history.healings.iter().map(|healing| healing.healed_at);
    frames.chain(healed).max().unwrap_or(0)
}

/// No fault: who saw it is told of it.
pub(crate) fn a_loss_is_told_of(history: &mut History, dice: &mut Dice) -> bool {
    lose_a_message(history, dice, Hears::InTime, Hears::InTime)
}

pub(super) fn a_socket_never_hears_of_a_loss(history: &mut History, dice: &mut Dice) -> bool {
    lose_a_message(history, dice, Hears::Never, Hears::InTime)
}

pub(super) fn a_socket_hears_of_a_loss_too_late(history: &mut History, dice: &mut Dice) -> bool {
    lose_a_message(history, dice, Hears::Late, Hears::InTime)
}

pub(super) fn a_reset_does_not_reach_down_to_what_is_lost(
    history: &mut History,
    dice: &mut Dice,
) -> bool {
    lose_a_message(history, dice, Hears::TooLittle, Hears::InTime)
}

pub(super) fn an_application_goes_on_holding_what_is_lost(
    history: &mut History,
    dice: &mut Dice,
) -> bool {
    lose_a_message(history, dice, Hears::InTime, Hears::Never)
}

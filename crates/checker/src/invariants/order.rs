//! The order in which things come: I6 and I7.

use std::collections::HashMap;

use uuid::Uuid;

use crate::history::{Frame, Operation, OperationKind, Outcome, Subscription, Time, Told};
use crate::index::Index;
use crate::report::Findings;

/// I6: what a subscription is told rises by exactly one and, where the run waited for it, reaches the head; on a socket
/// the same holds until the server says otherwise.
pub(super) fn seqs_rise_by_one(index: &Index<'_>, findings: &mut Findings) {
    for subscription in &index.history.subscriptions {
        application(index, subscription, findings);
    }
    for (socket, frames) in &index.frames {
        let mut next: HashMap<Uuid, u64> = HashMap::new();
        for seen in frames {
            match &seen.frame {
                Frame::Event(event) => {
                    let (conversation, seq) = (event.conversation, event.seq);
                    let expected = next.insert(conversation, seq + 1);
                    findings.must(expected.is_none_or(|expected| expected == seq), || {
                        format!(
                            "socket {socket} got {seq} of {conversation} where {} was to come",
                            expected.unwrap_or(0)
                        )
                    });
                }
                Frame::Resync { conversations } if conversations.is_empty() => next.clear(),
                Frame::Resync { conversations } => {
                    for (conversation, _epoch, head_seq) in conversations {
                        next.insert(*conversation, head_seq + 1);
                    }
                }
                Frame::Reset { conversation, .. }
                | Frame::Added { conversation }
                | Frame::Removed { conversation } => {
                    next.remove(conversation);
                }
                Frame::Ack { .. } | Frame::Live | Frame::Closed { .. } => {}
            }
        }
    }
}

fn application(index: &Index<'_>, subscription: &Subscription, findings: &mut Findings) {
    let (who, conversation) = (subscription.subscription, subscription.conversation);
    let mut next = subscription.after.map(|after| after + 1);
    let mut at_least = 0;
    let mut is_out = false;
    for delivery in index.told.get(&who).map_or(&[][..], Vec::as_slice) {
        match &delivery.told {
            Told::Event(event) => {
                let right = event.conversation == conversation
                    && event.seq >= at_least
                    && next.is_none_or(|next| next == event.seq);
                findings.must(right, || {
                    format!(
                        "subscription {who} to {conversation} was told {} of {} where {next:?} was to come",
                        event.seq, event.conversation
                    )
                });
                next = Some(event.seq + 1);
                at_least = 0;
                is_out = false;
            }
            Told::Reset { from_seq } => {
                next = next.map(|next| next.min(*from_seq));
                at_least = 0;
            }
            Told::Skipped => {
                at_least = next.unwrap_or(at_least);
                next = None;
            }
            Told::Removed => (next, at_least, is_out) = (None, 0, true),
        }
    }
    let head = index.head(conversation);
    if let Some(next) = next
        && subscription.is_complete
        && !is_out
        && index.is_steady_member(subscription.user, conversation)
    {
        findings.must(next > head, || {
            format!(
                "subscription {who} to {conversation} was told up to {}, not to the head {head}",
                next - 1
            )
        });
    }
}

/// I7: what was acked before something else was asked for stands before it; so do two sends on one socket in the order of
/// sending.
pub(super) fn acks_order_what_comes_later(index: &Index<'_>, findings: &mut Findings) {
    /// Something that happened at a time.
    enum Step {
        Asked { id: Uuid, seq: u64 },
        Acked(u64),
    }
    let mut steps: HashMap<Uuid, Vec<(Time, Step)>> = HashMap::new();
    for ((conversation, command), attempts) in &index.attempts {
        if index.has_losses(*conversation) {
            continue;
        }
        let acked = attempts.iter().filter_map(|attempt| acked(attempt)).min();
        let (Some((acked_at, seq)), Some(asked_at)) = (
            acked,
            attempts.iter().map(|attempt| attempt.invoked_at).min(),
        ) else {
            continue;
        };
        let steps = steps.entry(*conversation).or_default();
        steps.push((asked_at, Step::Asked { id: *command, seq }));
        steps.push((acked_at, Step::Acked(seq)));
    }
    for (conversation, mut steps) in steps {
        // At the same instant the question counts as earlier: only what is certain is held against the server.
        steps.sort_by_key(|(at, step)| (*at, matches!(step, Step::Acked(_))));
        let mut highest = 0;
        for (_at, step) in steps {
            match step {
                Step::Acked(seq) => highest = highest.max(seq),
                Step::Asked { id, seq } => findings.must(seq > highest, || {
                    format!("{id} stands at {seq} of {conversation}, though {highest} was acked before it was asked for")
                }),
            }
        }
    }
    pipelined(index, findings);
}

fn acked(attempt: &Operation) -> Option<(Time, u64)> {
    match &attempt.outcome {
        Outcome::Acked(place) => Some((attempt.ended_at, place.seq)),
        _no_place => None,
    }
}

/// Sends on one socket that were tried only once stand in the order of sending.
fn pipelined(index: &Index<'_>, findings: &mut Findings) {
    /// When it was sent, where it stands, which command.
    type Sent = (Time, u64, Uuid);
    let mut sends: HashMap<(u64, Uuid), Vec<Sent>> = HashMap::new();
    for operation in &index.history.operations {
        let (id, conversation) = (operation.command, operation.conversation);
        let attempts = index.attempts.get(&(conversation, id));
        let is_only_one = attempts.is_some_and(|attempts| attempts.len() == 1);
        if let (Some(socket), Outcome::Acked(place), OperationKind::Send, true) = (
            operation.socket,
            &operation.outcome,
            &operation.kind,
            is_only_one,
        ) && !place.is_duplicate
            && !index.has_losses(conversation)
        {
            let sends = sends.entry((socket, conversation)).or_default();
            sends.push((operation.invoked_at, place.seq, id));
        }
    }
    for ((socket, conversation), mut sends) in sends {
        sends.sort_unstable();
        for pair in sends.windows(2) {
            let [(sent_at, seq, _id), (next_at, next_seq, id)] = pair else {
                continue;
            };
            findings.must(sent_at == next_at || seq < next_seq, || {
                format!(
                    "{id} was sent on socket {socket} after the message at {seq} of {conversation} and stands at {next_seq}"
                )
            });
        }
    }
}

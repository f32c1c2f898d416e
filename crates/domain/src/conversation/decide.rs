//! `decide`: what a command leads to. Total, synchronous, pure.
//!
//! The order of judgement is part of the contract (PROTOCOL.md, Conventions):
//! 1. An unknown conversation is `NotFound`, unless it is being created.
//! 2. An exact repetition by the same person is a duplicate, even after that person has left.
//! 3. Who may not see the conversation gets `NotFound`, whatever else is wrong: probing with somebody's command id tells nothing.
//! 4. An id that was used for something else, or by somebody else, is a mismatch.
//! 5. Authorisation, then what already is so, then the content of the request.

mod create;
mod membership;
mod message;

use crate::conversation::authorize::{Operation, Situation, authorize};
use crate::conversation::command::{Command, Intent};
use crate::conversation::event::{Event, Recorded};
use crate::conversation::fingerprint::{Fingerprint, RequestKey};
use crate::conversation::rejection::Rejection;
use crate::conversation::state::{AuthoredCommand, RecentCommand, State};
use crate::time::Timestamp;

/// What a command leads to when it is not rejected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Store this event next.
    Store(Event),
    /// It is already so (join twice, remove a non-member …): nothing is stored, the answer is success.
    Already,
    /// This very command stored an event before: answer as then.
    Duplicate(RecentCommand),
}

/// Judges `command` against `state`.
///
/// # Errors
/// A [`Rejection`] when the rules say no; the state is unchanged and nothing may be stored for this attempt.
pub fn decide(state: &State, command: &Command) -> Result<Decision, Rejection> {
    let Some(situation) = Situation::of(state, command.by) else {
        return match &command.intent {
            Intent::Create(new) => create::begin(command, new),
            Intent::AddMember { .. }
            | Intent::Join
            | Intent::Leave
            | Intent::RemoveMember { .. }
            | Intent::ChangeRole { .. }
            | Intent::SendMessage { .. } => Err(Rejection::NotFound),
        };
    };
    if let Some(stored) = state.remembered(command.id) {
        return judge_repeat(state, command, stored);
    }
    match &command.intent {
        Intent::Create(new) => create::again(command, new, situation),
        Intent::AddMember { user, role } => membership::add(state, situation, *user, *role),
        Intent::Join => membership::join(state, situation, command.by),
        Intent::Leave => membership::leave(state, situation, command.by),
        Intent::RemoveMember { user } if *user == command.by => {
            membership::leave(state, situation, command.by)
        }
        Intent::RemoveMember { user } => membership::remove(state, situation, *user),
        Intent::ChangeRole { user, role } => {
            membership::change_role(state, situation, command.by, *user, *role)
        }
        Intent::SendMessage {
            body,
            reply_to_no,
            thread_root_no,
        } => message::send(state, situation, body, *reply_to_no, *thread_root_no),
    }
}

/// Judges a command whose id has stored an event before. [`decide`] does this for what the window remembers; whoever looked the id up
/// in the log (see [`must_probe`](crate::conversation::window::must_probe)) asks here with what was found.
///
/// A stored command whose MAC was erased with its content is taken for the same request when it comes from the same person.
///
/// # Errors
/// [`Rejection::NotFound`] to a person who may not see the conversation and did not give the stored command;
/// [`Rejection::IdempotencyMismatch`] otherwise, when the request or the person is another.
pub fn judge_repeat(
    state: &State,
    command: &Command,
    stored: &AuthoredCommand,
) -> Result<Decision, Rejection> {
    if stored.by == command.by {
        let mac = Fingerprint::of(command).mac(state.request_key());
        return match stored.command.mac {
            Some(then) if then != mac => Err(Rejection::IdempotencyMismatch),
            Some(_) | None => Ok(Decision::Duplicate(stored.command)),
        };
    }
    match Situation::of(state, command.by) {
        Some(situation) => authorize(situation, Operation::See)?,
        None => return Err(Rejection::NotFound),
    }
    Err(Rejection::IdempotencyMismatch)
}

/// The event that `decide` asked to store, with its place, time and origin.
///
/// `now` is the owner's clock; time never falls along seq, so an earlier `now` counts as the time of the last event.
pub fn recorded(state: &State, command: &Command, event: Event, now: Timestamp) -> Recorded {
    let key: &RequestKey = match &event {
        Event::ConversationCreated { request_key, .. } => request_key,
        Event::MemberAdded { .. }
        | Event::MemberRemoved { .. }
        | Event::RoleChanged { .. }
        | Event::MessageSent { .. } => state.request_key(),
    };
    Recorded {
        conversation: command.conversation,
        seq: state.last_seq().next(),
        at: now.max(state.last_at()),
        by: command.by,
        command_id: command.id,
        request_mac: Some(Fingerprint::of(command).mac(key)),
        event,
    }
}

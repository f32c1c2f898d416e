//! `evolve`: what the state is after an event. Never refuses: the past is not negotiable.

use crate::conversation::event::{Event, Recorded, RemovalReason, Role};
use crate::conversation::state::{AuthoredCommand, Member, RecentCommand, State};
use crate::ids::UserId;
use crate::position::MessageNo;

/// Folds one event into the state. `recorded.seq` must be the state's next seq (callers check; a debug build asserts).
pub fn evolve(state: &mut State, recorded: &Recorded) {
    debug_assert_eq!(
        recorded.seq,
        state.last_seq.next(),
        "events are folded in order, without holes"
    );
    debug_assert_eq!(
        recorded.conversation, state.id,
        "an event belongs to the conversation it is folded into"
    );

    // Before the event is applied: a member's unread starts after the newest message of that moment.
    state.last_seq = recorded.seq;
    state.last_at = recorded.at;
    let message_no = apply(state, recorded);

    let command = RecentCommand {
        id: recorded.command_id,
        seq: recorded.seq,
        at: recorded.at,
        message_no,
        mac: recorded.request_mac,
    };
    if state.created.is_none() {
        state.created = Some(AuthoredCommand {
            by: recorded.by,
            command,
        });
    }
    state.recent.push(recorded.by, command);
}

/// Applies what happened; gives the number of the message if one was sent.
fn apply(state: &mut State, recorded: &Recorded) -> Option<MessageNo> {
    match &recorded.event {
        Event::ConversationCreated {
            kind,
            title,
            topic,
            visibility,
            settings,
            members,
            request_key,
        } => {
            state.kind = Some(*kind);
            state.title.clone_from(title);
            state.topic.clone_from(topic);
            state.visibility = *visibility;
            state.settings = *settings;
            state.request_key = *request_key;
            for (user, role) in members {
                enter(state, recorded, *user, *role);
            }
            None
        }
        Event::MemberAdded { user, role } => {
            enter(state, recorded, *user, *role);
            None
        }
        Event::MemberRemoved { user, reason } => {
            state.members.remove(user);
            match reason {
                RemovalReason::Banned => {
                    state.banned.insert(*user, recorded.at);
                }
                RemovalReason::Left | RemovalReason::Removed => {}
            }
            None
        }
        Event::RoleChanged { user, role } => {
            if let Some(member) = state.members.get_mut(user) {
                member.role = *role;
            }
            None
        }
        Event::MessageSent {
            message_no,
            body: _,
            reply_to_no: _,
            thread_root_no: _,
        } => {
            state.last_message_no = *message_no;
            Some(*message_no)
        }
    }
}

fn enter(state: &mut State, recorded: &Recorded, user: UserId, role: Role) {
    let member = Member {
        role,
        joined_seq: recorded.seq,
        joined_no: state.last_message_no,
        joined_at: recorded.at,
    };
    state.members.insert(user, member);
}

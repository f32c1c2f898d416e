//! From an event to what is said about it: its sender's answer, its entry in the dedupe window, its recipients.

use hubbub_domain::conversation::{Event, RecentCommand, Recorded, State};
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::Epoch;
use hubbub_wire::bus::{Accepted, How, INLINE_RECIPIENTS_MAX, OwnerReply};

/// The place of an event, as its sender hears it.
pub(super) fn accepted(
    conversation: ConversationId,
    epoch: Epoch,
    place: RecentCommand,
    how: How,
) -> OwnerReply {
    OwnerReply::Accepted(Accepted {
        conversation,
        epoch,
        seq: place.seq,
        message_no: place.message_no,
        at: place.at,
        how,
    })
}

/// What a stored event says of its command.
pub(super) fn command_of(recorded: &Recorded) -> RecentCommand {
    let message_no = match &recorded.event {
        Event::MessageSent { message_no, .. } => Some(*message_no),
        Event::ConversationCreated { .. }
        | Event::MemberAdded { .. }
        | Event::MemberRemoved { .. }
        | Event::RoleChanged { .. } => None,
    };
    RecentCommand {
        id: recorded.command_id,
        seq: recorded.seq,
        at: recorded.at,
        message_no,
        mac: recorded.request_mac,
    }
}

/// Who receives an event, judged after it: the members then, and whoever it removed. `None` for large conversations.
pub(super) fn recipients(after: &State, event: &Event) -> Option<Vec<UserId>> {
    if after.member_count() > INLINE_RECIPIENTS_MAX {
        return None;
    }
    let mut users: Vec<UserId> = after.members().keys().copied().collect();
    match event {
        Event::MemberRemoved { user, .. } => users.push(*user),
        Event::ConversationCreated { .. }
        | Event::MemberAdded { .. }
        | Event::RoleChanged { .. }
        | Event::MessageSent { .. } => {}
    }
    Some(users)
}

//! From what the rooms below know to what clients see: users, messages, summaries, events, frames.
//!
//! Never: a question to a store; what is missing is an argument.

use std::collections::HashMap;
use std::hash::BuildHasher;

use hubbub_accounts as accounts;
use hubbub_domain::conversation::{Event, Recorded};
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{Epoch, MessageNo, Seq};
use hubbub_projections::{MemberRow, MessageRow, Summary};
use hubbub_wire::client::event::{
    ConversationCreated, EventData, MemberRemoved, MessageSent, RawEvent, UserAndRole,
};
use hubbub_wire::client::object::{Conversation, Cursor, Member, Message, User};
use hubbub_wire::client::outbound::Resync;
use hubbub_wire::client::{CREATED_MEMBERS_LISTED_MAX, ServerFrame};

use crate::session::queue::Frame;

/// The text of a frame.
pub fn frame(frame: &ServerFrame) -> Frame {
    match serde_json::to_string(frame) {
        Ok(text) => text.into(),
        Err(error) => {
            // Nothing in these types can fail to be written; an ignorable frame keeps the socket alive if it ever does.
            tracing::error!(%error, "a frame could not be written");
            Frame::from_static(r#"{"t":"unwritable"}"#)
        }
    }
}

/// An event as a raw event.
pub fn raw_event(epoch: Epoch, recorded: &Recorded) -> RawEvent {
    let no = |no: &MessageNo| no.get();
    let (event, message_no) = match &recorded.event {
        Event::ConversationCreated {
            kind,
            title,
            visibility,
            members,
            ..
        } => {
            let listed = members.len() <= CREATED_MEMBERS_LISTED_MAX;
            let data = ConversationCreated {
                kind: (*kind).into(),
                title: title.clone(),
                visibility: (*visibility).into(),
                members: listed.then(|| {
                    let listed = members.iter().map(|(user, role)| UserAndRole {
                        user_id: user.uuid(),
                        role: (*role).into(),
                    });
                    listed.collect()
                }),
                member_count: (!listed).then(|| u64::try_from(members.len()).unwrap_or(u64::MAX)),
            };
            (EventData::ConversationCreated(data), None)
        }
        Event::MemberAdded { user, role } => (
            EventData::MemberAdded(UserAndRole {
                user_id: user.uuid(),
                role: (*role).into(),
            }),
            None,
        ),
        Event::MemberRemoved { user, reason } => (
            EventData::MemberRemoved(MemberRemoved {
                user_id: user.uuid(),
                reason: (*reason).into(),
            }),
            None,
        ),
        Event::RoleChanged { user, role } => (
            EventData::RoleChanged(UserAndRole {
                user_id: user.uuid(),
                role: (*role).into(),
            }),
            None,
        ),
        Event::MessageSent {
            message_no,
            body,
            reply_to_no,
            thread_root_no,
        } => {
            let data = MessageSent {
                body: body.clone(),
                outline: false,
                content: None,
                reply_to_no: reply_to_no.as_ref().map(no),
                thread_root_no: thread_root_no.as_ref().map(no),
                attachments: None,
                mentions: None,
            };
            (EventData::MessageSent(data), Some(message_no.get()))
        }
    };
    RawEvent {
        conversation_id: recorded.conversation.uuid(),
        epoch: epoch.get(),
        seq: recorded.seq.get(),
        at: recorded.at.into(),
        by: recorded.by.uuid(),
        event,
        command_id: recorded.command_id.uuid(),
        message_no,
    }
}

/// The same without what was written: for sockets that do not show a very large room. What is deleted says so as ever.
pub(crate) fn outline(mut event: RawEvent) -> RawEvent {
    if let EventData::MessageSent(data) = &mut event.event
        && data.body.is_some()
    {
        data.body = Some(String::new());
        data.outline = true;
        data.content = None;
    }
    event
}

/// A person as others see them.
pub(crate) fn user(user: &accounts::User) -> User {
    User {
        id: user.id.uuid(),
        username: user.username.clone(),
        display_name: user.display_name.clone(),
        avatar_url: None,
        status: user.status.clone(),
        bot: user.bot,
    }
}

/// Someone whose account is gone: the id stays as a pseudonym.
fn unknown_user(id: UserId) -> User {
    User {
        id: id.uuid(),
        username: String::new(),
        display_name: String::new(),
        avatar_url: None,
        status: None,
        bot: false,
    }
}

/// A message as `reader` sees it.
pub fn message(row: &MessageRow, reader: UserId) -> Message {
    Message {
        conversation_id: row.conversation.uuid(),
        message_no: row.message_no.get(),
        seq: row.seq.get(),
        epoch: row.epoch.get(),
        by: row.by.uuid(),
        at: row.at.into(),
        body: row.body.clone(),
        content: None,
        edited_at: None,
        deleted: row.body.is_none(),
        reply_to_no: row.reply_to_no.map(MessageNo::get),
        thread_root_no: row.thread_root_no.map(MessageNo::get),
        thread_count: None,
        forwarded_from: None,
        attachments: Vec::new(),
        reactions: Vec::new(),
        mentions: Vec::new(),
        pinned: false,
        command_id: (row.by == reader).then(|| row.command_id.uuid()),
    }
}

/// A conversation as `reader` sees it; `people` knows the peer. Who is not a member sees that it is there, not what is said in it.
pub fn conversation<S: BuildHasher>(
    summary: &Summary,
    reader: UserId,
    people: &HashMap<UserId, User, S>,
) -> Conversation {
    let peer = summary
        .peer
        .map(|id| people.get(&id).cloned().unwrap_or_else(|| unknown_user(id)));
    Conversation {
        id: summary.id.uuid(),
        kind: summary.kind.into(),
        title: summary.title.clone(),
        topic: summary.topic.clone(),
        visibility: summary.visibility.into(),
        my_role: summary.my_role.map(Into::into),
        member_count: summary.member_count,
        epoch: summary.epoch.get(),
        head_seq: summary.head_seq.get(),
        head_no: summary.head_no.get(),
        read_no: summary.read_no.get(),
        joined_no: summary.joined_no.get(),
        unread: summary.unread,
        mentions: summary.mentions,
        muted_until: None,
        pinned: false,
        archived: false,
        last_message: summary
            .last_message
            .as_ref()
            .filter(|_| summary.my_role.is_some())
            .map(|row| message(row, reader)),
        draft: None,
        peer,
    }
}

/// A member; `people` knows who it is.
pub(crate) fn member(row: &MemberRow, people: &HashMap<UserId, User>) -> Member {
    Member {
        user: people
            .get(&row.user)
            .cloned()
            .unwrap_or_else(|| unknown_user(row.user)),
        role: row.role.into(),
        joined_at: row.joined_at.into(),
        joined_no: row.joined_no.get(),
    }
}

/// A `resync` for these conversations, or for all.
pub fn resync_frame(conversations: Option<&[(ConversationId, Epoch, Seq)]>) -> Frame {
    let named = conversations.map(|conversations| {
        let cursors = conversations.iter().map(|(id, epoch, seq)| Cursor {
            conversation_id: id.uuid(),
            epoch: epoch.get(),
            seq: seq.get(),
        });
        cursors.collect()
    });
    frame(&ServerFrame::Resync(Resync {
        all: named.is_none(),
        conversations: named,
    }))
}

#[cfg(test)]
mod tests;

//! From the objects of the client contract to records.

use hubbub_wire::client::object::{Conversation, Message as WireMessage};
use hubbub_wire::client::words::JoinHistory;
use hubbub_wire::client::{Cursor, EventData, RawEvent, ServerFrame};
use uuid::Uuid;

use super::{Digest, Event, Fact, Frame, InboxEntry, Message, Place};

impl From<&RawEvent> for Event {
    fn from(event: &RawEvent) -> Self {
        Self {
            conversation: event.conversation_id,
            epoch: event.epoch,
            seq: event.seq,
            command: Some(event.command_id),
            by: event.by,
            fact: fact_of(event),
        }
    }
}

impl From<&WireMessage> for Message {
    fn from(message: &WireMessage) -> Self {
        Self {
            no: message.message_no,
            seq: message.seq,
            epoch: message.epoch,
            by: message.by,
            body: message.body.as_deref().map(Digest::of),
        }
    }
}

impl From<&Conversation> for InboxEntry {
    fn from(entry: &Conversation) -> Self {
        Self {
            conversation: entry.id,
            epoch: entry.epoch,
            head_seq: entry.head_seq,
            head_no: entry.head_no,
            read_no: entry.read_no,
            joined_no: entry.joined_no,
            unread: i64::try_from(entry.unread).unwrap_or(i64::MAX),
            mentions: None,
            marked_unread: false,
        }
    }
}

impl Frame {
    /// The frame of the contract as a record; `None` for those that say nothing about order.
    pub fn of(frame: &ServerFrame) -> Option<Self> {
        Some(match frame {
            ServerFrame::Event(event) => Self::Event(Event::from(event)),
            ServerFrame::Live => Self::Live,
            ServerFrame::Ack(ack) => Self::Ack {
                id: ack.id,
                conversation: ack.conversation_id,
                place: Place {
                    epoch: ack.epoch,
                    seq: ack.seq,
                    message_no: ack.message_no,
                    is_duplicate: ack.duplicate,
                },
            },
            ServerFrame::Resync(resync) => Self::Resync {
                conversations: match &resync.conversations {
                    Some(conversations) if !resync.all => {
                        conversations.iter().map(|cursor| triple(*cursor)).collect()
                    }
                    _all => Vec::new(),
                },
            },
            ServerFrame::Reset(reset) => Self::Reset {
                conversation: reset.conversation_id,
                from_seq: reset.from_seq,
            },
            ServerFrame::Added(added) => Self::Added {
                conversation: added.conversation.id,
            },
            ServerFrame::Removed(removed) => Self::Removed {
                conversation: removed.conversation_id,
            },
            _nothing_about_order => return None,
        })
    }
}

fn triple(cursor: Cursor) -> (Uuid, u64, u64) {
    cursor.into()
}

/// What the event says, as far as an invariant asks.
fn fact_of(event: &RawEvent) -> Fact {
    let digest = |text: &Option<String>| text.as_deref().map(Digest::of);
    match &event.event {
        EventData::ConversationCreated(created) => Fact::Created {
            members: created
                .members
                .iter()
                .flatten()
                .map(|member| member.user_id)
                .collect(),
        },
        EventData::MemberAdded(member) => Fact::Added {
            user: member.user_id,
        },
        EventData::MemberRemoved(member) => Fact::Removed {
            user: member.user_id,
        },
        EventData::MessageSent(message) => Fact::Sent {
            no: event.message_no.unwrap_or(0),
            body: digest(&message.body),
            mentions: message.mentions.clone().unwrap_or_default(),
        },
        EventData::MessageEdited(message) => Fact::Edited {
            no: message.message_no,
            body: digest(&message.body),
        },
        EventData::MessageDeleted(message) => Fact::Deleted {
            no: message.message_no,
        },
        EventData::SettingsChanged(changed) => {
            match changed
                .settings
                .as_ref()
                .and_then(|settings| settings.join_history)
            {
                Some(join_history) => Fact::HistoryFromJoin(join_history == JoinHistory::FromJoin),
                None => Fact::Other(Digest::of(event.event.kind())),
            }
        }
        other => Fact::Other(Digest::of(other.kind())),
    }
}

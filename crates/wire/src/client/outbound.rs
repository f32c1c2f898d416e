//! Server → client frames, and how a text becomes some of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

use crate::client::event::RawEvent;
use crate::client::object::{Conversation, Cursor, Message, User, is_false};
use crate::client::words::{PresenceState, RemovalReason};
use crate::error::ErrorCode;
use crate::rest::Limits;
use crate::time::Rfc3339;

/// One frame from the server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum ServerFrame {
    /// The answer to `hello`.
    Welcome(Box<Welcome>),
    /// Something happened in a conversation.
    Event(RawEvent),
    /// Once per hello: everything missed has been delivered.
    Live,
    /// Stored.
    Ack(Ack),
    /// Not done.
    Error(ErrorFrame),
    /// A page of messages.
    Page(PageFrame),
    /// A member's markers moved.
    Marker(MarkerMoved),
    /// A member started or stopped typing.
    Typing(MemberTyping),
    /// A watched person came or went.
    Presence(Presence),
    /// One is now a member of a conversation; its events follow.
    Added(Box<Added>),
    /// One is no longer a member; nothing more follows.
    Removed(Removed),
    /// Too far behind: fetch what lies between.
    Resync(Resync),
    /// What the client holds from there on is void.
    Reset(Reset),
    /// The node is about to close this socket.
    Drain(Drain),
    /// The answer to `ping`.
    Pong(Pong),
    /// A type of a newer server. Servers never send it.
    #[serde(other)]
    #[ts(skip)]
    Unrecognised,
}

/// The answer to `hello`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct Welcome {
    /// Who one is.
    pub user: User,
    /// The session.
    pub session_id: Uuid,
    /// The device, as named in `hello` or by the server.
    pub device_id: Uuid,
    /// The node that answers.
    pub node: String,
    /// Its clock.
    pub server_time: Rfc3339,
    /// Seconds between pings; two missed close the socket.
    pub heartbeat_s: u32,
    /// Every limit by name.
    pub limits: Limits,
}

/// Stored: the event is in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct Ack {
    /// The command.
    pub id: Uuid,
    /// Where.
    pub conversation_id: Uuid,
    /// Epoch of its event.
    pub epoch: u64,
    /// Seq of its event.
    pub seq: u64,
    /// Number of the message, when it sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub message_no: Option<u64>,
    /// When it was decided.
    pub at: Rfc3339,
    /// It had been stored before.
    #[serde(default, skip_serializing_if = "is_false")]
    #[ts(type = "true")]
    pub duplicate: bool,
}

/// Not done. The socket stays.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[ts(optional_fields)]
pub struct ErrorFrame {
    /// The frame that it answers, when that could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// The same words as over REST.
    pub code: ErrorCode,
    /// What is wrong, in words.
    pub detail: String,
    /// When trying again makes sense, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// What is wrong with which field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<BTreeMap<String, String>>,
}

/// A page of messages, ascending by number.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct PageFrame {
    /// The question.
    pub id: Uuid,
    /// Where.
    pub conversation_id: Uuid,
    /// The messages.
    pub items: Vec<Message>,
    /// There are more in the direction that was asked.
    pub has_more: bool,
}

/// A member's markers moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[ts(optional_fields)]
pub struct MarkerMoved {
    /// Where.
    pub conversation_id: Uuid,
    /// Whose.
    pub user_id: Uuid,
    /// Read up to this message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_no: Option<u64>,
    /// Delivered up to this message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_no: Option<u64>,
    /// When.
    pub at: Rfc3339,
}

/// A member started or stopped typing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct MemberTyping {
    /// Where.
    pub conversation_id: Uuid,
    /// Who.
    pub user_id: Uuid,
    /// Typing or not.
    pub on: bool,
}

/// A watched person came or went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[ts(optional_fields)]
pub struct Presence {
    /// Who.
    pub user_id: Uuid,
    /// How.
    pub state: PresenceState,
    /// When their last connection closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_at: Option<Rfc3339>,
}

/// One is now a member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct Added {
    /// The conversation.
    pub conversation: Conversation,
}

/// One is no longer a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct Removed {
    /// The conversation.
    pub conversation_id: Uuid,
    /// Why.
    pub reason: RemovalReason,
}

/// Too far behind in some conversations, or in all. The next event of each is `head_seq` + 1; what lies between the own
/// cursor and `head_seq` is fetched by `GET …/events`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, TS)]
#[ts(optional_fields)]
pub struct Resync {
    /// `[conversation_id, epoch, head_seq]` of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversations: Option<Vec<Cursor>>,
    /// Every conversation: page from the own cursors.
    #[serde(default, skip_serializing_if = "is_false")]
    #[ts(type = "true")]
    pub all: bool,
}

/// The log lost what the client has seen: announced, never papered over (P9).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct Reset {
    /// Where.
    pub conversation_id: Uuid,
    /// What the client holds from this seq on is void.
    pub from_seq: u64,
}

/// The node is about to close this socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct Drain {
    /// Reconnect after so many milliseconds.
    pub reconnect_after_ms: u64,
}

/// The answer to `ping`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct Pong {
    /// The number of the `ping`.
    pub n: u64,
}

impl ServerFrame {
    /// Every `t` a server may send.
    pub const TYPES: [&'static str; 15] = [
        "welcome", "event", "live", "ack", "error", "page", "marker", "typing", "presence",
        "added", "removed", "resync", "reset", "drain", "pong",
    ];

    /// Reads one text frame: an object, or an array of objects that were coalesced into one write.
    ///
    /// # Errors
    /// When the text is not JSON of that shape, or a known type lacks what it always has.
    pub fn decode(text: &str) -> Result<Vec<Self>, serde_json::Error> {
        if text.trim_start().starts_with('[') {
            serde_json::from_str(text)
        } else {
            serde_json::from_str(text).map(|frame| vec![frame])
        }
    }
}

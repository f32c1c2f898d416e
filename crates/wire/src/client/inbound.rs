//! Client → server frames, and how a text becomes one.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use ts_rs::TS;
use uuid::Uuid;

use crate::client::object::Cursor;
use crate::client::strict::{Tagged, describe, optional_object};
use crate::client::words::DeleteFor;
use crate::error::ErrorCode;

/// One frame from a client.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, TS)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum ClientFrame {
    /// The first frame: who speaks and what they already have.
    Hello(Hello),
    /// Say something.
    Send(Send),
    /// Change what was said.
    Edit(Edit),
    /// Take back what was said.
    Delete(Delete),
    /// Add or take back a reaction.
    React(React),
    /// Pin or unpin a message.
    Pin(Pin),
    /// Move the own markers.
    Mark(Mark),
    /// Start or stop typing.
    Typing(Typing),
    /// Ask for the presence of people.
    Watch(Watch),
    /// No longer ask.
    Unwatch(Watch),
    /// The conversation is on screen.
    Open(OnScreen),
    /// It no longer is.
    Close(OnScreen),
    /// Ask for a page of messages.
    History(History),
    /// Are you there?
    Ping(Ping),
}

/// Who speaks and what they already have.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct Hello {
    /// A session token, when the upgrade request carried none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The program that speaks.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional_object"
    )]
    pub client: Option<Program>,
    /// Up to where the client has each conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursors: Option<Vec<Cursor>>,
}

/// The program that speaks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The device it runs on, chosen by it once.
    pub device_id: Uuid,
}

/// Say something.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct Send {
    /// The client's name for this attempt; the same when it is repeated.
    pub id: Uuid,
    /// Where.
    pub conversation_id: Uuid,
    /// Markdown source.
    pub body: String,
    /// The message it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to_no: Option<u64>,
    /// The message whose thread it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_root_no: Option<u64>,
    /// Uploaded files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attachments: Option<Vec<Uuid>>,
    /// Hint: this id may have been sent before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<bool>,
    /// W3C `traceparent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// Change what was said.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct Edit {
    /// The client's name for this attempt.
    pub id: Uuid,
    /// Where.
    pub conversation_id: Uuid,
    /// Which message.
    pub message_no: u64,
    /// The new Markdown source.
    pub body: String,
    /// Hint: this id may have been sent before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<bool>,
    /// W3C `traceparent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// Take back what was said.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct Delete {
    /// The client's name for this attempt.
    pub id: Uuid,
    /// Where.
    pub conversation_id: Uuid,
    /// Which message.
    pub message_no: u64,
    /// For whom.
    #[serde(rename = "for")]
    pub for_whom: DeleteFor,
    /// Hint: this id may have been sent before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<bool>,
}

/// Add or take back a reaction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct React {
    /// The client's name for this attempt.
    pub id: Uuid,
    /// Where.
    pub conversation_id: Uuid,
    /// Which message.
    pub message_no: u64,
    /// One emoji.
    pub emoji: String,
    /// Add or take back.
    pub on: bool,
    /// Hint: this id may have been sent before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<bool>,
}

/// Pin or unpin a message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct Pin {
    /// The client's name for this attempt.
    pub id: Uuid,
    /// Where.
    pub conversation_id: Uuid,
    /// Which message.
    pub message_no: u64,
    /// Pin or unpin.
    pub on: bool,
    /// Hint: this id may have been sent before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<bool>,
}

/// Move the own markers; there is no answer, it is stored within 2 s.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct Mark {
    /// Where.
    pub conversation_id: Uuid,
    /// Read up to this message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_no: Option<u64>,
    /// Delivered up to this message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered_no: Option<u64>,
}

/// Start or stop typing; dropped under load.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct Typing {
    /// Where.
    pub conversation_id: Uuid,
    /// Typing or not.
    pub on: bool,
}

/// People whose presence is wanted, or no longer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// Who.
    pub user_ids: Vec<Uuid>,
}

/// What is on screen, or no longer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct OnScreen {
    /// Which conversation.
    pub conversation_id: Uuid,
}

/// Ask for a page of messages; at most one of the three positions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct History {
    /// Names the question in the answer.
    pub id: Uuid,
    /// Where.
    pub conversation_id: Uuid,
    /// Messages before this one, exclusive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_no: Option<u64>,
    /// Messages after this one, exclusive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_no: Option<u64>,
    /// Messages around this one, inclusive and centred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub around_no: Option<u64>,
    /// How many, 1 to 200; 50 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Are you there? Answered by `pong` with the same number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct Ping {
    /// Comes back.
    pub n: u64,
}

/// A client frame that was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct BadFrame {
    /// The frame's id, when one could be read.
    pub id: Option<Uuid>,
    /// Always [`ErrorCode::Invalid`] here; the caller adds `too_large`.
    pub code: ErrorCode,
    /// What is wrong; repeats no value of the frame.
    pub detail: String,
}

impl ClientFrame {
    /// Every `t` a client may send.
    pub const TYPES: [&'static str; 14] = [
        "hello", "send", "edit", "delete", "react", "pin", "mark", "typing", "watch", "unwatch",
        "open", "close", "history", "ping",
    ];

    /// Reads one text frame. The caller has checked that it is at most [`crate::client::FRAME_BYTES_MAX`] long.
    ///
    /// # Errors
    /// [`BadFrame`] for anything but a JSON object with a known `t` and exactly the fields of that type, each once.
    pub fn decode(text: &str) -> Result<Self, BadFrame> {
        let head = Head::read(text)?;
        let read = match head.t.as_str() {
            "hello" => strict(text).map(Self::Hello),
            "send" => strict(text).map(Self::Send),
            "edit" => strict(text).map(Self::Edit),
            "delete" => strict(text).map(Self::Delete),
            "react" => strict(text).map(Self::React),
            "pin" => strict(text).map(Self::Pin),
            "mark" => strict(text).map(Self::Mark),
            "typing" => strict(text).map(Self::Typing),
            "watch" => strict(text).map(Self::Watch),
            "unwatch" => strict(text).map(Self::Unwatch),
            "open" => strict(text).map(Self::Open),
            "close" => strict(text).map(Self::Close),
            "history" => strict(text).map(Self::History),
            "ping" => strict(text).map(Self::Ping),
            _unknown_or_only_the_servers => Err("unknown frame type".to_owned()),
        };
        read.map_err(|detail| BadFrame {
            id: head.id,
            code: ErrorCode::Invalid,
            detail,
        })
    }

    /// The id of a frame that is answered by `ack`, `error` or `page`.
    pub const fn id(&self) -> Option<Uuid> {
        match self {
            Self::Send(frame) => Some(frame.id),
            Self::Edit(frame) => Some(frame.id),
            Self::Delete(frame) => Some(frame.id),
            Self::React(frame) => Some(frame.id),
            Self::Pin(frame) => Some(frame.id),
            Self::History(frame) => Some(frame.id),
            Self::Hello(_)
            | Self::Mark(_)
            | Self::Typing(_)
            | Self::Watch(_)
            | Self::Unwatch(_)
            | Self::Open(_)
            | Self::Close(_)
            | Self::Ping(_) => None,
        }
    }
}

fn strict<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, String> {
    serde_json::from_str::<Tagged<T>>(text)
        .map(|frame| frame.0)
        .map_err(|error| describe(&error).detail)
}

/// What is read of a frame before its type is known.
struct Head {
    t: String,
    id: Option<Uuid>,
}

/// Only what is needed to tell the type and to name the frame in an error. Other values are skipped without being built.
#[derive(Deserialize)]
struct LenientHead {
    #[serde(default)]
    t: Value,
    #[serde(default)]
    id: Value,
}

impl Head {
    fn read(text: &str) -> Result<Self, BadFrame> {
        let lenient: LenientHead = serde_json::from_str(text).map_err(|error| BadFrame {
            id: None,
            code: ErrorCode::Invalid,
            detail: describe(&error).detail,
        })?;
        let id = lenient.id.as_str().and_then(|id| Uuid::parse_str(id).ok());
        if let Value::String(t) = lenient.t {
            Ok(Self { t, id })
        } else {
            Err(BadFrame {
                id,
                code: ErrorCode::Invalid,
                detail: "no frame type: `t` must be a string".to_owned(),
            })
        }
    }
}

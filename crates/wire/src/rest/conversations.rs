//! Conversations, members, messages, markers, raw events: bodies and queries. Answers are in [`crate::client::object`].

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

use crate::client::strict::optional_object;
use crate::client::words::{ConversationKind, JoinHistory, Posting, Role, Visibility};
use crate::time::Rfc3339;

/// Body of `POST /conversations`. Answer: a conversation; 201, or 200 when a direct one existed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct CreateConversation {
    /// Direct, group or room.
    pub kind: ConversationKind,
    /// Who besides oneself; exactly one for a direct conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<Uuid>>,
    /// Title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// One line about the purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Who may find and join it; private when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// Settings at the start.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "optional_object"
    )]
    pub settings: Option<ChooseSettings>,
}

/// Settings that a request sets: what is absent keeps its value, at the start its default.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct ChooseSettings {
    /// How much of the past a new member sees; from the start by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join_history: Option<JoinHistory>,
    /// Who may send; everyone by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub posting: Option<Posting>,
    /// Whether members see who has read; true by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipts: Option<bool>,
    /// Messages older than this many days are erased; kept by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
}

/// Body of `POST …/members`. Answer: 204.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct AddMember {
    /// Who.
    pub user_id: Uuid,
    /// As what; member when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// Body of `PATCH …/members/{user}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct ChangeRole {
    /// The new role.
    pub role: Role,
}

/// Body of `POST …/messages`. Answer: [`Stored`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct SendMessage {
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
    /// Send it then, not now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled_for: Option<Rfc3339>,
}

/// Where a message was stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct Stored {
    /// Seq of its event.
    pub seq: u64,
    /// Epoch of its event.
    pub epoch: u64,
    /// Its number.
    pub message_no: u64,
    /// When it was decided.
    pub at: Rfc3339,
}

/// Body of `PUT …/marker`. Answer: 204; the next inbox read shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct Marker {
    /// Read up to this message.
    pub read_no: u64,
}

/// Body of `POST …/mark-unread`. Answer: 204.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct MarkUnread {
    /// Unread from this message on.
    pub from_no: u64,
}

/// Query of `GET …/messages`: at most one position; without one, the newest page.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessagesQuery {
    /// Messages before this one, exclusive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_no: Option<u64>,
    /// Messages after this one, exclusive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_no: Option<u64>,
    /// Messages around this one, inclusive and centred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub around_no: Option<u64>,
    /// Messages around that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Rfc3339>,
    /// 1 to [`crate::rest::list::PAGE_ITEMS_MAX`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Query of `GET …/events`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// From this seq on, inclusive; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_seq: Option<u64>,
    /// 1 to [`crate::rest::list::PAGE_ITEMS_MAX`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

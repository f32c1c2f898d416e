//! Events as clients see them: kind and data (PROTOCOL.md, Kinds and data).

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};
use serde_json::Value;
use ts_rs::TS;
use uuid::Uuid;

use crate::client::object::{Attachment, Settings, is_false};
use crate::client::words::{ConversationKind, RemovalReason, Role, Visibility};
use crate::time::Rfc3339;

/// One event of a conversation: an `event` frame without its `t`, and what `GET …/events` lists.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct RawEvent {
    /// Where.
    pub conversation_id: Uuid,
    /// Epoch under which it was written.
    pub epoch: u64,
    /// Its place in the conversation: 1, 2, 3 … without holes.
    pub seq: u64,
    /// When it was decided.
    pub at: Rfc3339,
    /// Who caused it.
    pub by: Uuid,
    /// What happened: `kind` and `data`.
    #[serde(flatten)]
    pub event: EventData,
    /// The command that caused it.
    pub command_id: Uuid,
    /// Number of the message, when the event sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub message_no: Option<u64>,
}

macro_rules! event_data {
    ($($(#[$doc:meta])* $word:literal $variant:ident($data:ty)),+ $(,)?) => {
        /// What happened: `kind` and the `data` of that kind.
        #[derive(Clone, PartialEq, Eq, Debug, TS)]
        #[ts(tag = "kind", content = "data", rename_all = "snake_case")]
        pub enum EventData {
            $($(#[$doc])* $variant($data),)+
            /// A kind or a shape of a newer server, kept as it came: it still has its place in the conversation. Servers never
            /// send it.
            #[ts(skip)]
            Other {
                /// The kind.
                kind: String,
                /// Its data.
                data: Value,
            },
        }

        impl EventData {
            /// Every kind this version knows.
            pub const KINDS: &'static [&'static str] = &[$($word),+];

            /// The kind as a word.
            pub fn kind(&self) -> &str {
                match self {
                    $(Self::$variant(_) => $word,)+
                    Self::Other { kind, .. } => kind,
                }
            }
        }

        impl Serialize for EventData {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use ser::SerializeStruct as _;
                let mut object = serializer.serialize_struct("EventData", 2)?;
                object.serialize_field("kind", self.kind())?;
                match self {
                    $(Self::$variant(data) => object.serialize_field("data", data)?,)+
                    Self::Other { data, .. } => object.serialize_field("data", data)?,
                }
                object.end()
            }
        }

        impl<'de> Deserialize<'de> for EventData {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(Deserialize)]
                struct Parts {
                    kind: String,
                    #[serde(default)]
                    data: Value,
                }
                let Parts { kind, data } = Parts::deserialize(deserializer)?;
                match kind.as_str() {
                    $($word => match <$data>::deserialize(&data) {
                        Ok(read) => Ok(Self::$variant(read)),
                        Err(_a_newer_shape) => Ok(Self::Other { kind, data }),
                    },)+
                    _newer => Ok(Self::Other { kind, data }),
                }
            }
        }
    };
}

event_data! {
    /// The first event of every conversation.
    "conversation_created" ConversationCreated(ConversationCreated),
    /// Title, topic, visibility or settings are now others.
    "settings_changed" SettingsChanged(SettingsChanged),
    /// Someone became a member.
    "member_added" MemberAdded(UserAndRole),
    /// Someone is no longer a member.
    "member_removed" MemberRemoved(MemberRemoved),
    /// A member's role is now another.
    "role_changed" RoleChanged(UserAndRole),
    /// A message was said.
    "message_sent" MessageSent(MessageSent),
    /// A message was changed.
    "message_edited" MessageEdited(MessageEdited),
    /// A message was deleted for everyone.
    "message_deleted" MessageDeleted(MessageRef),
    /// A reaction was given.
    "reaction_added" ReactionAdded(MessageReaction),
    /// A reaction was taken back.
    "reaction_removed" ReactionRemoved(MessageReaction),
    /// A message was pinned.
    "message_pinned" MessagePinned(MessageRef),
    /// A message is no longer pinned.
    "message_unpinned" MessageUnpinned(MessageRef),
    /// One of the two of a direct conversation blocked the other.
    "blocked" Blocked(NoData),
    /// The block was lifted.
    "unblocked" Unblocked(NoData),
    /// An invitation link was made.
    "invite_created" InviteCreated(InviteCreated),
    /// An invitation link no longer works.
    "invite_revoked" InviteRevoked(NoData),
    /// The conversation was closed for good.
    "archived" Archived(NoData),
}

/// How a conversation began.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[ts(optional_fields)]
pub struct ConversationCreated {
    /// Direct, group or room.
    pub kind: ConversationKind,
    /// Title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Who may find and join it.
    pub visibility: Visibility,
    /// Who was in from the start; left out when there were more than 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<UserAndRole>>,
    /// How many were in from the start, given when `members` is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_count: Option<u64>,
}

/// What changed about the conversation itself; what is absent stayed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, TS)]
#[ts(optional_fields)]
pub struct SettingsChanged {
    /// New title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// New topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// New visibility.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// New settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
}

/// A member and their role.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct UserAndRole {
    /// Who.
    pub user_id: Uuid,
    /// As what.
    pub role: Role,
}

/// Who went, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct MemberRemoved {
    /// Who.
    pub user_id: Uuid,
    /// Why.
    pub reason: RemovalReason,
}

/// What was said. Its number is the event's `message_no`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct MessageSent {
    /// Markdown source; null once deleted, empty in an outline.
    pub body: Option<String>,
    /// What was said is left out, neither deleted nor empty: a very large room that is not on this screen (`open`). It is read as history.
    #[serde(default, skip_serializing_if = "is_false")]
    #[ts(type = "true")]
    pub outline: bool,
    /// The same as a typed tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional, type = "unknown")]
    pub content: Option<Value>,
    /// The message it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub reply_to_no: Option<u64>,
    /// The message whose thread it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub thread_root_no: Option<u64>,
    /// Files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub attachments: Option<Vec<Attachment>>,
    /// People it mentions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub mentions: Option<Vec<Uuid>>,
}

/// What a message says now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct MessageEdited {
    /// Which message.
    pub message_no: u64,
    /// Markdown source; null once deleted.
    pub body: Option<String>,
    /// The same as a typed tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional, type = "unknown")]
    pub content: Option<Value>,
}

/// A message of the conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct MessageRef {
    /// Which message.
    pub message_no: u64,
}

/// An emoji on a message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct MessageReaction {
    /// Which message.
    pub message_no: u64,
    /// The emoji.
    pub emoji: String,
}

/// The role that an invitation gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct InviteCreated {
    /// As what one joins.
    pub role: Role,
}

/// `{}`: the kind says it all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, TS)]
pub struct NoData {}

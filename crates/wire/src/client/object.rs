//! The objects that frames and REST answers share (PROTOCOL.md, Objects).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use ts_rs::TS;
use uuid::Uuid;

use crate::client::words::{ConversationKind, JoinHistory, Posting, Role, Visibility};
use crate::time::Rfc3339;

/// For `skip_serializing_if` of fields that are `true` or absent.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
pub(crate) const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Where a reader stands in a conversation: `[conversation_id, epoch, seq]`. seq 0 is before the first event, whatever the
/// epoch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, TS)]
#[serde(from = "(Uuid, u64, u64)", into = "(Uuid, u64, u64)")]
#[ts(type = "[string, number, number]")]
pub struct Cursor {
    /// The conversation.
    pub conversation_id: Uuid,
    /// Epoch under which the event at `seq` was written.
    pub epoch: u64,
    /// Seq of the last event the reader has.
    pub seq: u64,
}

impl From<(Uuid, u64, u64)> for Cursor {
    fn from((conversation_id, epoch, seq): (Uuid, u64, u64)) -> Self {
        Self {
            conversation_id,
            epoch,
            seq,
        }
    }
}

impl From<Cursor> for (Uuid, u64, u64) {
    fn from(cursor: Cursor) -> Self {
        (cursor.conversation_id, cursor.epoch, cursor.seq)
    }
}

/// A person or bot, as others see them: nothing else of a person is shown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct User {
    /// Who.
    pub id: Uuid,
    /// Unique name.
    pub username: String,
    /// Name as people read it.
    pub display_name: String,
    /// Picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub avatar_url: Option<String>,
    /// A line about themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub status: Option<String>,
    /// A program, not a person.
    #[serde(default, skip_serializing_if = "is_false")]
    #[ts(type = "true")]
    pub bot: bool,
}

/// One message as it is now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct Message {
    /// Where.
    pub conversation_id: Uuid,
    /// Its number among the messages of the conversation.
    pub message_no: u64,
    /// Seq of the event that sent it.
    pub seq: u64,
    /// Epoch of that event.
    pub epoch: u64,
    /// Who wrote it.
    pub by: Uuid,
    /// When.
    pub at: Rfc3339,
    /// Markdown source; null when deleted.
    pub body: Option<String>,
    /// The same as a typed tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional, type = "unknown")]
    pub content: Option<Value>,
    /// When it was last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub edited_at: Option<Rfc3339>,
    /// Deleted for everyone.
    #[serde(default, skip_serializing_if = "is_false")]
    #[ts(type = "true")]
    pub deleted: bool,
    /// The message it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub reply_to_no: Option<u64>,
    /// The message whose thread it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub thread_root_no: Option<u64>,
    /// Messages in the thread that it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub thread_count: Option<u64>,
    /// Who wrote the message that this one forwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub forwarded_from: Option<Uuid>,
    /// Files.
    #[serde(default)]
    pub attachments: Vec<Attachment>,
    /// Reactions, each kind once.
    #[serde(default)]
    pub reactions: Vec<Reaction>,
    /// People it mentions.
    #[serde(default)]
    pub mentions: Vec<Uuid>,
    /// Pinned in the conversation.
    #[serde(default, skip_serializing_if = "is_false")]
    #[ts(type = "true")]
    pub pinned: bool,
    /// The command that sent it; shown to its author only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub command_id: Option<Uuid>,
}

/// A file of a message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct Attachment {
    /// The file.
    pub file_id: Uuid,
    /// Its name.
    pub name: String,
    /// Its media type, found by the server.
    pub media_type: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Width in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub width: Option<u32>,
    /// Height in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub height: Option<u32>,
    /// Length of sound or film in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub duration_ms: Option<u64>,
    /// A tiny picture to show while the real one loads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub placeholder: Option<String>,
}

/// How often one emoji was given to a message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct Reaction {
    /// The emoji.
    pub emoji: String,
    /// By how many.
    pub count: u64,
    /// By oneself too.
    pub mine: bool,
}

/// A conversation as it stands in the inbox of the one who asks. (`epoch`, `head_seq`) is a sound cursor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct Conversation {
    /// Which.
    pub id: Uuid,
    /// Direct, group or room.
    pub kind: ConversationKind,
    /// Title; none for direct conversations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub title: Option<String>,
    /// One line about the purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub topic: Option<String>,
    /// Who may find and join it.
    pub visibility: Visibility,
    /// What the asker may do there; null for a public room that they have not joined.
    pub my_role: Option<Role>,
    /// Number of members.
    pub member_count: u64,
    /// Epoch of the event at `head_seq`.
    pub epoch: u64,
    /// Seq of the newest event.
    pub head_seq: u64,
    /// Number of the newest message.
    pub head_no: u64,
    /// Read by the asker up to this message.
    pub read_no: u64,
    /// Newest message number when the asker joined.
    pub joined_no: u64,
    /// Messages of others after the marker.
    pub unread: u64,
    /// Unread messages that mention the asker.
    pub mentions: u64,
    /// No notifications until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub muted_until: Option<Rfc3339>,
    /// Kept on top.
    #[serde(default, skip_serializing_if = "is_false")]
    #[ts(type = "true")]
    pub pinned: bool,
    /// Put away.
    #[serde(default, skip_serializing_if = "is_false")]
    #[ts(type = "true")]
    pub archived: bool,
    /// The newest message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub last_message: Option<Message>,
    /// What the asker had begun to write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub draft: Option<String>,
    /// The other person of a direct conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub peer: Option<User>,
}

/// A member of a conversation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct Member {
    /// Who.
    pub user: User,
    /// As what.
    pub role: Role,
    /// Since when.
    pub joined_at: Rfc3339,
    /// Newest message number at that time.
    pub joined_no: u64,
}

/// Settings of a conversation, or the part of them that changed: what is absent stays.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, TS)]
#[ts(optional_fields)]
pub struct Settings {
    /// How much of the past a new member sees; from the start when never set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join_history: Option<JoinHistory>,
    /// Who may send; everyone when never set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub posting: Option<Posting>,
    /// Whether members see who has read; true when never set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipts: Option<bool>,
    /// Messages older than this many days are erased; kept when never set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
}

//! What can have happened in a conversation: past tense, the only thing that is ever stored.

use crate::conversation::fingerprint::{RequestKey, RequestMac};
use crate::ids::{CommandId, ConversationId, UserId};
use crate::position::{MessageNo, Seq};
use crate::time::Timestamp;

/// What sort of conversation it is; never changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Kind {
    /// Two people, for ever these two.
    Direct,
    /// By invitation.
    Group,
    /// Can be public: found and joined.
    Room,
}

/// Who may find and join a room without being added.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Visibility {
    /// Members only; to others it does not exist.
    Private,
    /// Listed in the directory; anyone may join.
    Public,
}

/// What a member may do. Ordered from least to most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Role {
    /// Reads only.
    Guest,
    /// Posts.
    Member,
    /// Manages members below.
    Admin,
    /// Manages everyone.
    Owner,
}

/// Why a member is no longer one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum RemovalReason {
    /// Went by themselves.
    Left,
    /// Removed by someone above.
    Removed,
    /// Removed and kept out.
    Banned,
}

/// How much of the past a new member sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum JoinHistory {
    /// Everything.
    FromStart,
    /// From the own joining on.
    FromJoin,
}

/// Who may send messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Posting {
    /// Every member; guests never.
    Everyone,
    /// Admins and owners.
    Admins,
}

/// Settings of a conversation that its admins choose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How much of the past a new member sees.
    pub join_history: JoinHistory,
    /// Who may send.
    pub posting: Posting,
    /// Whether members see who has read.
    pub receipts: bool,
    /// Messages older than this many days are erased; `None` keeps them.
    pub retention_days: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            join_history: JoinHistory::FromStart,
            posting: Posting::Everyone,
            receipts: true,
            retention_days: None,
        }
    }
}

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The first event of every conversation.
    ConversationCreated {
        /// Direct, group or room.
        kind: Kind,
        /// Title that people see; none for direct conversations.
        title: Option<String>,
        /// One line about the purpose.
        topic: Option<String>,
        /// Listed or not.
        visibility: Visibility,
        /// Settings at the start.
        settings: Settings,
        /// Everyone who is in from the start, the creator included, ascending by user id.
        members: Vec<(UserId, Role)>,
        /// Key of the request fingerprints of this conversation.
        request_key: RequestKey,
    },
    /// Someone became a member: added by another, or joined (`user` = the event's `by`).
    MemberAdded {
        /// Who.
        user: UserId,
        /// As what.
        role: Role,
    },
    /// Someone is no longer a member.
    MemberRemoved {
        /// Who.
        user: UserId,
        /// Why.
        reason: RemovalReason,
    },
    /// A member's role is now another.
    RoleChanged {
        /// Who.
        user: UserId,
        /// The new role.
        role: Role,
    },
    /// A message was said.
    MessageSent {
        /// Its number in the conversation.
        message_no: MessageNo,
        /// Markdown source as written; `None` once erased.
        body: Option<String>,
        /// The message it answers.
        reply_to_no: Option<MessageNo>,
        /// The message whose thread it belongs to.
        thread_root_no: Option<MessageNo>,
    },
}

/// An event with its place and origin: what the log holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// The conversation.
    pub conversation: ConversationId,
    /// Its place there.
    pub seq: Seq,
    /// When the owner decided it; never falls along `seq`.
    pub at: Timestamp,
    /// Who caused it.
    pub by: UserId,
    /// The command that caused it.
    pub command_id: CommandId,
    /// Keyed hash of the request, for telling a repetition from a reuse of the id; `None` once erased.
    pub request_mac: Option<RequestMac>,
    /// What happened.
    pub event: Event,
}

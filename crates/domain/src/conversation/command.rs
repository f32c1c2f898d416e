//! What may be asked of a conversation: one variant per intent.

use crate::conversation::event::{Kind, Role, Settings, Visibility};
use crate::conversation::fingerprint::RequestKey;
use crate::ids::{CommandId, ConversationId, UserId};
use crate::position::MessageNo;

/// One request to change a conversation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// The client's name for this attempt.
    pub id: CommandId,
    /// Where.
    pub conversation: ConversationId,
    /// Who asks; authenticated by the edge.
    pub by: UserId,
    /// What.
    pub intent: Intent,
}

/// What is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Intent {
    /// Begin the conversation.
    Create(NewConversation),
    /// Make `user` a member.
    AddMember {
        /// Who.
        user: UserId,
        /// As what.
        role: Role,
    },
    /// Become a member of a public room.
    Join,
    /// Stop being a member.
    Leave,
    /// Take `user` out.
    RemoveMember {
        /// Who.
        user: UserId,
    },
    /// Give `user` another role.
    ChangeRole {
        /// Who.
        user: UserId,
        /// The new role.
        role: Role,
    },
    /// Say something.
    SendMessage {
        /// Markdown source.
        body: String,
        /// The message it answers.
        reply_to_no: Option<MessageNo>,
        /// The message whose thread it belongs to.
        thread_root_no: Option<MessageNo>,
    },
}

/// How a conversation begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewConversation {
    /// Direct, group or room.
    pub kind: Kind,
    /// Members besides the creator; duplicates and the creator are ignored.
    pub members: Vec<UserId>,
    /// Title; must be `None` for a direct conversation.
    pub title: Option<String>,
    /// One line about the purpose; must be `None` for a direct conversation.
    pub topic: Option<String>,
    /// Listed or not; only rooms can be public.
    pub visibility: Visibility,
    /// Settings at the start.
    pub settings: Settings,
    /// Fresh random key for the request fingerprints of this conversation (not part of the fingerprint).
    pub request_key: RequestKey,
}

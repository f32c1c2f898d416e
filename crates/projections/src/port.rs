//! What can be asked of the read models. SQLite and Postgres answer alike (contract suite).
//!
//! Every answer contains at least everything that was durable in the log when the call began (P5): projected rows plus the log's tail.
//! "`None`" for a conversation means: it does not exist or the asker may not see it; the two cannot be told apart.

use async_trait::async_trait;
use hubbub_domain::conversation::{Kind, Role, Settings, Visibility};
use hubbub_domain::ids::{CommandId, ConversationId, UserId};
use hubbub_domain::position::{Epoch, MessageNo, PartitionId, Seq};
use hubbub_domain::time::Timestamp;
use hubbub_event_log::ReadError;

/// Items in one page at most.
pub const PAGE_ITEMS_MAX: usize = 200;

/// Questions of the edge.
#[async_trait]
pub trait ReadModels: Send + Sync + 'static {
    /// What `user` may see of a conversation: members see it, anyone sees a public room (role `None`).
    async fn access(
        &self,
        conversation: ConversationId,
        user: UserId,
    ) -> Result<Option<Access>, QueryError>;

    /// One conversation as `user` sees it, counts included.
    async fn summary(
        &self,
        conversation: ConversationId,
        user: UserId,
    ) -> Result<Option<Summary>, QueryError>;

    /// Conversations of `user`, newest activity first. `cursor` is from the previous page.
    async fn inbox(
        &self,
        user: UserId,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Summary>, QueryError>;

    /// Messages of a conversation around an anchor, ascending by number, cut to what `user` may see.
    async fn history(
        &self,
        conversation: ConversationId,
        user: UserId,
        anchor: Anchor,
        limit: usize,
    ) -> Result<Option<HistoryPage>, QueryError>;

    /// Members, ascending by user id.
    async fn members(
        &self,
        conversation: ConversationId,
        user: UserId,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Option<Page<MemberRow>>, QueryError>;

    /// Public rooms whose title or topic contains `query` (case-insensitive; `%` and `_` are ordinary), most members first, as `user`
    /// sees them.
    async fn rooms(
        &self,
        user: UserId,
        query: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Summary>, QueryError>;

    /// Everyone who is a member at `as_of`, for the edge's own fold. No visibility check: never shown to clients as it is.
    async fn membership(
        &self,
        conversation: ConversationId,
    ) -> Result<Option<MembershipFold>, QueryError>;

    /// Whether two people share a conversation.
    async fn share_conversation(&self, one: UserId, other: UserId) -> Result<bool, QueryError>;

    /// How far behind the log's head the slowest projection of a partition is, in events.
    async fn lag(&self, partition: PartitionId) -> Result<u64, QueryError>;
}

/// What someone may see of a conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Direct, group or room.
    pub kind: Kind,
    /// Listed or not.
    pub visibility: Visibility,
    /// Settings now.
    pub settings: Settings,
    /// What they may do; `None` = a visitor of a public room.
    pub role: Option<Role>,
    /// Seq of the event that made them a member (zero for visitors).
    pub joined_seq: Seq,
    /// First seq that they may see.
    pub visible_from_seq: Seq,
    /// First message number that they may see.
    pub visible_from_no: MessageNo,
    /// Epoch of the last event.
    pub epoch: Epoch,
    /// Last event.
    pub head_seq: Seq,
    /// Last message.
    pub head_no: MessageNo,
}

/// A conversation as one member sees it (PROTOCOL.md, Objects); names of people are added by the edge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Which.
    pub id: ConversationId,
    /// Direct, group or room.
    pub kind: Kind,
    /// Title.
    pub title: Option<String>,
    /// Topic.
    pub topic: Option<String>,
    /// Listed or not.
    pub visibility: Visibility,
    /// What they may do.
    pub my_role: Option<Role>,
    /// How many members.
    pub member_count: u64,
    /// With `head_seq` a sound cursor.
    pub epoch: Epoch,
    /// Last event.
    pub head_seq: Seq,
    /// Last message.
    pub head_no: MessageNo,
    /// Effective read marker.
    pub read_no: MessageNo,
    /// Head when they joined.
    pub joined_no: MessageNo,
    /// Unread messages of others.
    pub unread: u64,
    /// Unread mentions.
    pub mentions: u64,
    /// Newest message that they may see.
    pub last_message: Option<MessageRow>,
    /// The other person of a direct conversation.
    pub peer: Option<UserId>,
    /// Time of the last activity, which orders the inbox.
    pub active_at: Timestamp,
}

/// Where a history page is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Anchor {
    /// The newest page.
    Newest,
    /// Before this number, exclusive.
    Before(MessageNo),
    /// After this number, exclusive.
    After(MessageNo),
    /// Around this number, inclusive and centred.
    Around(MessageNo),
}

/// A page of messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryPage {
    /// Ascending by number.
    pub items: Vec<MessageRow>,
    /// Whether there are more in the direction asked (older for newest and before, newer for after, either for around).
    pub has_more: bool,
}

/// A message as projected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MessageRow {
    /// Where.
    pub conversation: ConversationId,
    /// Its number.
    pub message_no: MessageNo,
    /// Its event.
    pub seq: Seq,
    /// Epoch of its event.
    pub epoch: Epoch,
    /// Who wrote it.
    pub by: UserId,
    /// When.
    pub at: Timestamp,
    /// Markdown source; `None` once deleted.
    pub body: Option<String>,
    /// The message it answers.
    pub reply_to_no: Option<MessageNo>,
    /// The message whose thread it belongs to.
    pub thread_root_no: Option<MessageNo>,
    /// The command that sent it; shown to its author only.
    pub command_id: CommandId,
}

/// A member as projected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberRow {
    /// Who.
    pub user: UserId,
    /// As what.
    pub role: Role,
    /// Since when.
    pub joined_at: Timestamp,
    /// Head when they joined.
    pub joined_no: MessageNo,
}

/// Members at a point of the conversation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MembershipFold {
    /// Everything up to and including this event is folded in.
    pub as_of: Seq,
    /// Ascending.
    pub members: Vec<UserId>,
}

/// A page of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page<T> {
    /// Items.
    pub items: Vec<T>,
    /// Where the next page begins; `None` at the end. Opaque to clients.
    pub next_cursor: Option<String>,
}

/// A question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The cursor is not one of ours.
    #[error("unknown cursor")]
    BadCursor,
    /// Trying again later may work.
    #[error("read models unavailable: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// What is stored contradicts itself; it is reported and does not get better by trying again.
    #[error("read models inconsistent: {0}")]
    Inconsistent(String),
}

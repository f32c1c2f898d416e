//! The tables behind one port: what projectors write and queries read, in values of [`crate::model`].

pub mod postgres;
pub mod sqlite;

use async_trait::async_trait;
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{MessageNo, Offset, PartitionId, Seq};
use hubbub_domain::time::Timestamp;
use sqlx::Row;
use sqlx::migrate::MigrateError;

use crate::codes;
use crate::model::{ConversationRow, MemberState};
use crate::port::{MessageRow, QueryError};

/// The projections and the version of their tables. A new version means: rebuild beside, compare, swap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Projection {
    /// Conversations and members, for inbox, access and directory.
    Inbox,
    /// Messages.
    History,
}

impl Projection {
    /// Name in checkpoint rows and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::History => "history",
        }
    }

    /// Version of the tables.
    pub const fn version(self) -> i32 {
        1
    }
}

/// A checkpoint's move: only from `from`, only to `to`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    /// The partition.
    pub partition: PartitionId,
    /// Where this projector believes the checkpoint to stand.
    pub from: Offset,
    /// Where it stands after this batch.
    pub to: Offset,
}

/// An event that could not be projected; its conversation is parked from there on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetter {
    /// The conversation.
    pub conversation: ConversationId,
    /// Where in it.
    pub seq: Seq,
    /// Its log.
    pub partition: PartitionId,
    /// Where in that.
    pub offset: Offset,
    /// What was wrong, without content.
    pub reason: String,
}

/// What a batch changes.
#[derive(Clone, Default, Debug)]
pub struct Changes {
    /// Conversations as they are after the batch (inbox).
    pub conversations: Vec<ConversationRow>,
    /// Members as they are after the batch (inbox).
    pub members: Vec<(ConversationId, MemberState)>,
    /// New messages (history).
    pub messages: Vec<MessageRow>,
    /// How far each conversation is projected (history).
    pub projected: Vec<(ConversationId, Seq)>,
    /// Events that could not be projected.
    pub dead: Vec<DeadLetter>,
}

/// How a batch ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Applied {
    /// All of it is durable.
    Done,
    /// Another projector moved one of the checkpoints: nothing changed; read the checkpoints again.
    Lost,
}

/// A place in the inbox order: newest activity first, then by id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct InboxPlace {
    /// Activity.
    pub active_at: Timestamp,
    /// Conversation.
    pub conversation: ConversationId,
}

/// A place in the rooms directory: most members first, then by id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoomPlace {
    /// Members.
    pub member_count: u64,
    /// Room.
    pub conversation: ConversationId,
}

/// The stored read marker of one member in one conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoredMarker {
    /// Where.
    pub conversation: ConversationId,
    /// Read up to and including.
    pub read_no: MessageNo,
}

/// Tables of the read models.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Every checkpoint of a projection at its current version.
    async fn checkpoints(
        &self,
        projection: Projection,
    ) -> Result<Vec<(PartitionId, Offset)>, QueryError>;

    /// Moves the checkpoints and writes the changes, in one transaction; all or nothing.
    async fn apply(
        &self,
        projection: Projection,
        moves: &[Move],
        changes: &Changes,
    ) -> Result<Applied, QueryError>;

    /// Conversations of a projection that are parked behind a dead letter, among these.
    async fn parked(
        &self,
        projection: Projection,
        ids: &[ConversationId],
    ) -> Result<Vec<ConversationId>, QueryError>;

    /// The known ones among `ids`, in any order.
    async fn conversations(
        &self,
        ids: &[ConversationId],
    ) -> Result<Vec<ConversationRow>, QueryError>;

    /// The known memberships among `keys`, ended ones included, in any order.
    async fn members(
        &self,
        keys: &[(ConversationId, UserId)],
    ) -> Result<Vec<(ConversationId, MemberState)>, QueryError>;

    /// Current conversations of a user, newest activity first, after `after`.
    async fn inbox_page(
        &self,
        user: UserId,
        after: Option<InboxPlace>,
        limit: usize,
    ) -> Result<Vec<(ConversationRow, MemberState)>, QueryError>;

    /// Stored markers of a user in these conversations (absent = zero).
    async fn markers(
        &self,
        user: UserId,
        ids: &[ConversationId],
    ) -> Result<Vec<StoredMarker>, QueryError>;

    /// Current members ascending by id, after `after`.
    async fn members_page(
        &self,
        conversation: ConversationId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<MemberState>, QueryError>;

    /// Public rooms whose title or topic contains `query`, after `after`.
    async fn rooms_page(
        &self,
        query: &str,
        after: Option<RoomPlace>,
        limit: usize,
    ) -> Result<Vec<ConversationRow>, QueryError>;

    /// How far history is projected; zero for an unknown conversation.
    async fn history_seq(&self, conversation: ConversationId) -> Result<Seq, QueryError>;

    /// Messages with `from ≤ number ≤ to`, the newest `limit` of them when `newest`, else the oldest; ascending either way.
    async fn messages(
        &self,
        conversation: ConversationId,
        from: MessageNo,
        to: MessageNo,
        newest: bool,
        limit: usize,
    ) -> Result<Vec<MessageRow>, QueryError>;

    /// The known ones among these messages, in any order.
    async fn messages_at(
        &self,
        keys: &[(ConversationId, MessageNo)],
    ) -> Result<Vec<MessageRow>, QueryError>;

    /// Whether two people are in one conversation now.
    async fn share(&self, one: UserId, other: UserId) -> Result<bool, QueryError>;
}

/// A database error as a query error: everything the driver says may pass.
pub(crate) fn unavailable(error: sqlx::Error) -> QueryError {
    QueryError::Unavailable(Box::new(error))
}

/// Why tables could not be brought up to date: from a newer release, they stay as they are.
pub(crate) fn schema_error(error: MigrateError) -> QueryError {
    match error {
        MigrateError::VersionMissing(version) => QueryError::Inconsistent(format!(
            "their schema version is {version}, which a newer release made; run that release"
        )),
        other => QueryError::Unavailable(Box::new(other)),
    }
}

pub(crate) fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn to_u64(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(crate) fn limit_i64(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Columns of a conversation row, in the order of the select lists.
pub(crate) const CONVERSATION_COLUMNS: &str = "c.conversation_id, c.partition, c.kind, c.title, c.topic, c.visibility, c.join_history, \
     c.posting, c.receipts, c.retention_days, c.pair_low, c.pair_high, c.member_count, c.head_seq, c.head_epoch, c.head_no, c.active_at";

/// Columns of a member row.
pub(crate) const MEMBER_COLUMNS: &str =
    "m.user_id, m.role, m.joined_seq, m.joined_no, m.joined_at, m.own_no, m.left_seq, m.seq";

/// Columns of a message row.
pub(crate) const MESSAGE_COLUMNS: &str = "h.conversation_id, h.message_no, h.seq, h.epoch, h.by_user, h.at, h.body, h.reply_to_no, \
     h.thread_root_no, h.command_id";

/// A text as every store can keep it: PostgreSQL's `text` has no NUL, so one that is in the log all the same is shown as U+FFFD.
pub(crate) fn storable(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}").into()
    } else {
        text.into()
    }
}

/// LIKE pattern for "contains", with `%`, `_` and the escape character itself made ordinary.
pub(crate) fn contains_pattern(query: &str) -> String {
    let mut pattern = String::with_capacity(query.len().saturating_add(2));
    pattern.push('%');
    for character in storable(query).chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

macro_rules! row_readers {
    ($row:ty) => {
        pub(crate) fn conversation_row(row: &$row) -> Result<ConversationRow, QueryError> {
            let get_i64 = |column: &str| row.try_get::<i64, _>(column).map_err(unavailable);
            let get_i16 = |column: &str| row.try_get::<i16, _>(column).map_err(unavailable);
            let get_id = |column: &str| {
                row.try_get::<Option<uuid::Uuid>, _>(column)
                    .map_err(unavailable)
            };
            let pair = match (get_id("pair_low")?, get_id("pair_high")?) {
                (Some(low), Some(high)) => Some((UserId::from_uuid(low), UserId::from_uuid(high))),
                _ => None,
            };
            Ok(ConversationRow {
                id: ConversationId::from_uuid(row.try_get("conversation_id").map_err(unavailable)?),
                partition: PartitionId::new(u16::try_from(get_i16("partition")?).unwrap_or(0)),
                kind: codes::kind(get_i16("kind")?)?,
                title: row.try_get("title").map_err(unavailable)?,
                topic: row.try_get("topic").map_err(unavailable)?,
                visibility: codes::visibility(get_i16("visibility")?)?,
                settings: Settings {
                    join_history: codes::join_history(get_i16("join_history")?)?,
                    posting: codes::posting(get_i16("posting")?)?,
                    receipts: row.try_get("receipts").map_err(unavailable)?,
                    retention_days: row
                        .try_get::<Option<i32>, _>("retention_days")
                        .map_err(unavailable)?
                        .and_then(|days| u32::try_from(days).ok()),
                },
                pair,
                member_count: to_u64(get_i64("member_count")?),
                head_seq: Seq::new(to_u64(get_i64("head_seq")?)),
                head_epoch: Epoch::new(to_u64(get_i64("head_epoch")?)),
                head_no: MessageNo::new(to_u64(get_i64("head_no")?)),
                active_at: Timestamp::from_millis(get_i64("active_at")?),
            })
        }

        pub(crate) fn member_row(row: &$row) -> Result<MemberState, QueryError> {
            let get_i64 = |column: &str| row.try_get::<i64, _>(column).map_err(unavailable);
            Ok(MemberState {
                user: UserId::from_uuid(row.try_get("user_id").map_err(unavailable)?),
                role: codes::role(row.try_get("role").map_err(unavailable)?)?,
                joined_seq: Seq::new(to_u64(get_i64("joined_seq")?)),
                joined_no: MessageNo::new(to_u64(get_i64("joined_no")?)),
                joined_at: Timestamp::from_millis(get_i64("joined_at")?),
                own_no: MessageNo::new(to_u64(get_i64("own_no")?)),
                left_seq: row
                    .try_get::<Option<i64>, _>("left_seq")
                    .map_err(unavailable)?
                    .map(|seq| Seq::new(to_u64(seq))),
                seq: Seq::new(to_u64(get_i64("seq")?)),
            })
        }

        pub(crate) fn message_row(row: &$row) -> Result<MessageRow, QueryError> {
            let get_i64 = |column: &str| row.try_get::<i64, _>(column).map_err(unavailable);
            let number = |column: &str| {
                row.try_get::<Option<i64>, _>(column)
                    .map_err(unavailable)
                    .map(|number| number.map(|number| MessageNo::new(to_u64(number))))
            };
            Ok(MessageRow {
                conversation: ConversationId::from_uuid(
                    row.try_get("conversation_id").map_err(unavailable)?,
                ),
                message_no: MessageNo::new(to_u64(get_i64("message_no")?)),
                seq: Seq::new(to_u64(get_i64("seq")?)),
                epoch: Epoch::new(to_u64(get_i64("epoch")?)),
                by: UserId::from_uuid(row.try_get("by_user").map_err(unavailable)?),
                at: Timestamp::from_millis(get_i64("at")?),
                body: row.try_get("body").map_err(unavailable)?,
                reply_to_no: number("reply_to_no")?,
                thread_root_no: number("thread_root_no")?,
                command_id: CommandId::from_uuid(row.try_get("command_id").map_err(unavailable)?),
            })
        }
    };
}

/// Readers of SQLite rows.
pub(crate) mod sqlite_rows {
    use hubbub_domain::conversation::Settings;
    use hubbub_domain::ids::CommandId;
    use hubbub_domain::position::Epoch;

    use super::{
        ConversationId, ConversationRow, MemberState, MessageNo, MessageRow, PartitionId,
        QueryError, Row, Seq, Timestamp, UserId, codes, to_u64, unavailable,
    };
    row_readers!(sqlx::sqlite::SqliteRow);
}

/// Readers of Postgres rows.
pub(crate) mod postgres_rows {
    use hubbub_domain::conversation::Settings;
    use hubbub_domain::ids::CommandId;
    use hubbub_domain::position::Epoch;

    use super::{
        ConversationId, ConversationRow, MemberState, MessageNo, MessageRow, PartitionId,
        QueryError, Row, Seq, Timestamp, UserId, codes, to_u64, unavailable,
    };
    row_readers!(sqlx::postgres::PgRow);
}

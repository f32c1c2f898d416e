//! Read models in SQLite: a file of their own, so that projecting never waits for the log's writer nor makes it wait.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{MessageNo, Offset, PartitionId, Seq};
use hubbub_telemetry::fault;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Row, Sqlite, Transaction};

use crate::codes;
use crate::model::{ConversationRow, MemberState};
use crate::port::{MessageRow, QueryError};
use crate::store::sqlite_rows::{conversation_row, member_row, message_row};
use crate::store::{
    Applied, CONVERSATION_COLUMNS, Changes, InboxPlace, MEMBER_COLUMNS, MESSAGE_COLUMNS, Move,
    Projection, RoomPlace, Store, StoredMarker, contains_pattern, limit_i64, schema_error, to_i64,
    to_u64, unavailable,
};

/// Connections for queries: reads of SQLite run side by side in WAL mode; more than the cores of a small machine gain nothing.
const READERS: u32 = 4;
/// How long a statement waits for the file's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The tables in one SQLite file, with the log's file attached for its marker table.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens (and migrates) `projections.db` in `dir`; `log_file` is the log's database, which must exist.
    ///
    /// # Errors
    /// When a file cannot be opened or migrated.
    pub async fn open(dir: &Path, log_file: &Path) -> Result<Self, QueryError> {
        let url = format!("sqlite://{}", dir.join("projections.db").display());
        // NORMAL: what a power failure takes from a read model is projected again from the log.
        let options = SqliteConnectOptions::from_str(&url)
            .map_err(unavailable)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIMEOUT);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone())
            .await
            .map_err(unavailable)?;
        let mut migrator = sqlx::migrate!("migrations/sqlite");
        migrator.dangerous_set_table_name("_migrations_projections");
        migrator.run(&writer).await.map_err(schema_error)?;
        let log_file = log_file.display().to_string();
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .after_connect(move |connection, _| {
                let log_file = log_file.clone();
                Box::pin(async move {
                    sqlx::query("attach database ?1 as log")
                        .bind(log_file)
                        .execute(connection)
                        .await
                        .map(drop)
                })
            })
            .connect_with(options)
            .await
            .map_err(unavailable)?;
        Ok(Self { writer, readers })
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn checkpoints(
        &self,
        projection: Projection,
    ) -> Result<Vec<(PartitionId, Offset)>, QueryError> {
        let rows = sqlx::query("select partition, \"offset\" from projection_checkpoint where projection = ?1 and version = ?2")
            .bind(projection.name())
            .bind(projection.version())
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        rows.iter()
            .map(|row| {
                let partition: i64 = row.try_get(0).map_err(unavailable)?;
                let offset: i64 = row.try_get(1).map_err(unavailable)?;
                Ok((
                    PartitionId::new(u16::try_from(partition).unwrap_or(0)),
                    Offset::new(to_u64(offset)),
                ))
            })
            .collect()
    }

    async fn apply(
        &self,
        projection: Projection,
        moves: &[Move],
        changes: &Changes,
    ) -> Result<Applied, QueryError> {
        let mut tx = self
            .writer
            .begin_with("begin immediate")
            .await
            .map_err(unavailable)?;
        for step in moves {
            let moved = sqlx::query(
                "insert into projection_checkpoint (projection, partition, version, \"offset\") \
                 select ?1, ?2, ?3, ?4 where ?5 = 0 or exists (select 1 from projection_checkpoint q \
                 where q.projection = ?1 and q.partition = ?2 and q.\"offset\" = ?5) \
                 on conflict (projection, partition) do update set \"offset\" = excluded.\"offset\", version = excluded.version \
                 where projection_checkpoint.\"offset\" = ?5",
            )
            .bind(projection.name())
            .bind(i64::from(step.partition.get()))
            .bind(projection.version())
            .bind(to_i64(step.to.get()))
            .bind(to_i64(step.from.get()))
            .execute(&mut *tx)
            .await
            .map_err(unavailable)?;
            if moved.rows_affected() != 1 {
                tx.rollback().await.map_err(unavailable)?;
                return Ok(Applied::Lost);
            }
        }
        fault::point("project.checkpoint");
        for row in &changes.conversations {
            upsert_conversation(&mut tx, row).await?;
        }
        for (conversation, member) in &changes.members {
            upsert_member(&mut tx, *conversation, member).await?;
        }
        for message in &changes.messages {
            insert_message(&mut tx, message).await?;
        }
        for (conversation, seq) in &changes.projected {
            sqlx::query(
                "insert into history_conversation (conversation_id, seq) values (?1, ?2) \
                 on conflict (conversation_id) do update set seq = excluded.seq where excluded.seq > history_conversation.seq",
            )
            .bind(conversation.uuid())
            .bind(to_i64(seq.get()))
            .execute(&mut *tx)
            .await
            .map_err(unavailable)?;
        }
        for dead in &changes.dead {
            sqlx::query(
                "insert into projection_dead_letter (projection, conversation_id, seq, partition, \"offset\", reason) \
                 values (?1, ?2, ?3, ?4, ?5, ?6) on conflict do nothing",
            )
            .bind(projection.name())
            .bind(dead.conversation.uuid())
            .bind(to_i64(dead.seq.get()))
            .bind(i64::from(dead.partition.get()))
            .bind(to_i64(dead.offset.get()))
            .bind(&dead.reason)
            .execute(&mut *tx)
            .await
            .map_err(unavailable)?;
        }
        fault::point("project.commit");
        tx.commit().await.map_err(unavailable)?;
        Ok(Applied::Done)
    }

    async fn parked(
        &self,
        projection: Projection,
        ids: &[ConversationId],
    ) -> Result<Vec<ConversationId>, QueryError> {
        let mut parked = Vec::new();
        for id in ids {
            let found = sqlx::query("select 1 from projection_dead_letter where projection = ?1 and conversation_id = ?2 limit 1")
                .bind(projection.name())
                .bind(id.uuid())
                .fetch_optional(&self.readers)
                .await
                .map_err(unavailable)?;
            if found.is_some() {
                parked.push(*id);
            }
        }
        Ok(parked)
    }

    async fn conversations(
        &self,
        ids: &[ConversationId],
    ) -> Result<Vec<ConversationRow>, QueryError> {
        let sql = format!(
            "select {CONVERSATION_COLUMNS} from inbox_conversation c where c.conversation_id = ?1"
        );
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            let row = sqlx::query(AssertSqlSafe(sql.clone()))
                .bind(id.uuid())
                .fetch_optional(&self.readers)
                .await
                .map_err(unavailable)?;
            if let Some(row) = row {
                found.push(conversation_row(&row)?);
            }
        }
        Ok(found)
    }

    async fn members(
        &self,
        keys: &[(ConversationId, UserId)],
    ) -> Result<Vec<(ConversationId, MemberState)>, QueryError> {
        let sql = format!(
            "select {MEMBER_COLUMNS} from inbox_member m where m.conversation_id = ?1 and m.user_id = ?2"
        );
        let mut found = Vec::with_capacity(keys.len());
        for (conversation, user) in keys {
            let row = sqlx::query(AssertSqlSafe(sql.clone()))
                .bind(conversation.uuid())
                .bind(user.uuid())
                .fetch_optional(&self.readers)
                .await
                .map_err(unavailable)?;
            if let Some(row) = row {
                found.push((*conversation, member_row(&row)?));
            }
        }
        Ok(found)
    }

    async fn inbox_page(
        &self,
        user: UserId,
        after: Option<InboxPlace>,
        limit: usize,
    ) -> Result<Vec<(ConversationRow, MemberState)>, QueryError> {
        let sql = format!(
            "select {CONVERSATION_COLUMNS}, {MEMBER_COLUMNS} from inbox_member m \
             join inbox_conversation c on c.conversation_id = m.conversation_id \
             where m.user_id = ?1 and m.left_seq is null and (c.active_at, c.conversation_id) < (?2, ?3) \
             order by c.active_at desc, c.conversation_id desc limit ?4"
        );
        let (active_at, id) = match after {
            Some(place) => (place.active_at.millis(), place.conversation.uuid()),
            None => (i64::MAX, uuid::Uuid::max()),
        };
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(user.uuid())
            .bind(active_at)
            .bind(id)
            .bind(limit_i64(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        rows.iter()
            .map(|row| Ok((conversation_row(row)?, member_row(row)?)))
            .collect()
    }

    async fn markers(
        &self,
        user: UserId,
        ids: &[ConversationId],
    ) -> Result<Vec<StoredMarker>, QueryError> {
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            let row = sqlx::query(
                "select read_no from log.read_marker where conversation_id = ?1 and user_id = ?2",
            )
            .bind(id.uuid())
            .bind(user.uuid())
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable)?;
            if let Some(row) = row {
                let read_no: i64 = row.try_get(0).map_err(unavailable)?;
                found.push(StoredMarker {
                    conversation: *id,
                    read_no: MessageNo::new(to_u64(read_no)),
                });
            }
        }
        Ok(found)
    }

    async fn members_page(
        &self,
        conversation: ConversationId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<MemberState>, QueryError> {
        let sql = format!(
            "select {MEMBER_COLUMNS} from inbox_member m \
             where m.conversation_id = ?1 and m.left_seq is null and m.user_id > ?2 order by m.user_id limit ?3"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(conversation.uuid())
            .bind(after.map_or(uuid::Uuid::nil(), UserId::uuid))
            .bind(limit_i64(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        rows.iter().map(member_row).collect()
    }

    async fn rooms_page(
        &self,
        query: &str,
        after: Option<RoomPlace>,
        limit: usize,
    ) -> Result<Vec<ConversationRow>, QueryError> {
        let sql = format!(
            "select {CONVERSATION_COLUMNS} from inbox_conversation c where c.kind = 2 and c.visibility = 1 \
             and (coalesce(c.title, '') like ?1 escape '\\' or coalesce(c.topic, '') like ?1 escape '\\') \
             and (c.member_count < ?2 or (c.member_count = ?2 and c.conversation_id > ?3)) \
             order by c.member_count desc, c.conversation_id limit ?4"
        );
        let (count, id) = match after {
            Some(place) => (to_i64(place.member_count), place.conversation.uuid()),
            None => (i64::MAX, uuid::Uuid::nil()),
        };
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(contains_pattern(query))
            .bind(count)
            .bind(id)
            .bind(limit_i64(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        rows.iter().map(conversation_row).collect()
    }

    async fn history_seq(&self, conversation: ConversationId) -> Result<Seq, QueryError> {
        let seq: Option<i64> =
            sqlx::query_scalar("select seq from history_conversation where conversation_id = ?1")
                .bind(conversation.uuid())
                .fetch_optional(&self.readers)
                .await
                .map_err(unavailable)?;
        Ok(Seq::new(seq.map_or(0, to_u64)))
    }

    async fn messages(
        &self,
        conversation: ConversationId,
        from: MessageNo,
        to: MessageNo,
        newest: bool,
        limit: usize,
    ) -> Result<Vec<MessageRow>, QueryError> {
        let order = if newest { "desc" } else { "asc" };
        let sql = format!(
            "select {MESSAGE_COLUMNS} from history_message h \
             where h.conversation_id = ?1 and h.message_no between ?2 and ?3 order by h.message_no {order} limit ?4"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(conversation.uuid())
            .bind(to_i64(from.get()))
            .bind(to_i64(to.get()))
            .bind(limit_i64(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        let mut messages = rows
            .iter()
            .map(message_row)
            .collect::<Result<Vec<_>, _>>()?;
        if newest {
            messages.reverse();
        }
        Ok(messages)
    }

    async fn messages_at(
        &self,
        keys: &[(ConversationId, MessageNo)],
    ) -> Result<Vec<MessageRow>, QueryError> {
        let sql = format!(
            "select {MESSAGE_COLUMNS} from history_message h where h.conversation_id = ?1 and h.message_no = ?2"
        );
        let mut found = Vec::with_capacity(keys.len());
        for (conversation, number) in keys {
            let row = sqlx::query(AssertSqlSafe(sql.clone()))
                .bind(conversation.uuid())
                .bind(to_i64(number.get()))
                .fetch_optional(&self.readers)
                .await
                .map_err(unavailable)?;
            if let Some(row) = row {
                found.push(message_row(&row)?);
            }
        }
        Ok(found)
    }

    async fn share(&self, one: UserId, other: UserId) -> Result<bool, QueryError> {
        let found = sqlx::query(
            "select 1 from inbox_member a join inbox_member b on b.conversation_id = a.conversation_id \
             where a.user_id = ?1 and a.left_seq is null and b.user_id = ?2 and b.left_seq is null limit 1",
        )
        .bind(one.uuid())
        .bind(other.uuid())
        .fetch_optional(&self.readers)
        .await
        .map_err(unavailable)?;
        Ok(found.is_some())
    }
}

async fn upsert_conversation(
    tx: &mut Transaction<'_, Sqlite>,
    row: &ConversationRow,
) -> Result<(), QueryError> {
    sqlx::query(
        "insert into inbox_conversation (conversation_id, partition, kind, title, topic, visibility, join_history, posting, receipts, \
         retention_days, pair_low, pair_high, member_count, head_seq, head_epoch, head_no, active_at) \
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17) \
         on conflict (conversation_id) do update set title = excluded.title, topic = excluded.topic, visibility = excluded.visibility, \
         join_history = excluded.join_history, posting = excluded.posting, receipts = excluded.receipts, \
         retention_days = excluded.retention_days, member_count = excluded.member_count, head_seq = excluded.head_seq, \
         head_epoch = excluded.head_epoch, head_no = excluded.head_no, active_at = excluded.active_at \
         where excluded.head_seq > inbox_conversation.head_seq",
    )
    .bind(row.id.uuid())
    .bind(i64::from(row.partition.get()))
    .bind(codes::kind_code(row.kind))
    .bind(&row.title)
    .bind(&row.topic)
    .bind(codes::visibility_code(row.visibility))
    .bind(codes::join_history_code(row.settings.join_history))
    .bind(codes::posting_code(row.settings.posting))
    .bind(row.settings.receipts)
    .bind(row.settings.retention_days)
    .bind(row.pair.map(|(low, _)| low.uuid()))
    .bind(row.pair.map(|(_, high)| high.uuid()))
    .bind(to_i64(row.member_count))
    .bind(to_i64(row.head_seq.get()))
    .bind(to_i64(row.head_epoch.get()))
    .bind(to_i64(row.head_no.get()))
    .bind(row.active_at.millis())
    .execute(&mut **tx)
    .await
    .map_err(unavailable)?;
    Ok(())
}

async fn upsert_member(
    tx: &mut Transaction<'_, Sqlite>,
    conversation: ConversationId,
    member: &MemberState,
) -> Result<(), QueryError> {
    sqlx::query(
        "insert into inbox_member (conversation_id, user_id, role, joined_seq, joined_no, joined_at, own_no, left_seq, seq) \
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
         on conflict (conversation_id, user_id) do update set role = excluded.role, joined_seq = excluded.joined_seq, \
         joined_no = excluded.joined_no, joined_at = excluded.joined_at, own_no = excluded.own_no, left_seq = excluded.left_seq, \
         seq = excluded.seq where excluded.seq > inbox_member.seq",
    )
    .bind(conversation.uuid())
    .bind(member.user.uuid())
    .bind(codes::role_code(member.role))
    .bind(to_i64(member.joined_seq.get()))
    .bind(to_i64(member.joined_no.get()))
    .bind(member.joined_at.millis())
    .bind(to_i64(member.own_no.get()))
    .bind(member.left_seq.map(|seq| to_i64(seq.get())))
    .bind(to_i64(member.seq.get()))
    .execute(&mut **tx)
    .await
    .map_err(unavailable)?;
    Ok(())
}

async fn insert_message(
    tx: &mut Transaction<'_, Sqlite>,
    message: &MessageRow,
) -> Result<(), QueryError> {
    sqlx::query(
        "insert into history_message (conversation_id, message_no, seq, epoch, by_user, at, command_id, body, reply_to_no, \
         thread_root_no) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) on conflict do nothing",
    )
    .bind(message.conversation.uuid())
    .bind(to_i64(message.message_no.get()))
    .bind(to_i64(message.seq.get()))
    .bind(to_i64(message.epoch.get()))
    .bind(message.by.uuid())
    .bind(message.at.millis())
    .bind(message.command_id.uuid())
    .bind(&message.body)
    .bind(message.reply_to_no.map(|number| to_i64(number.get())))
    .bind(message.thread_root_no.map(|number| to_i64(number.get())))
    .execute(&mut **tx)
    .await
    .map_err(unavailable)?;
    Ok(())
}

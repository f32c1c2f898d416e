//! Read models in Postgres: set-based statements, one round trip per table and batch.

use std::str::FromStr as _;
use std::time::Duration;

use async_trait::async_trait;
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{MessageNo, Offset, PartitionId, Seq};
use hubbub_telemetry::fault;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Postgres, Row, Transaction,
};
use uuid::Uuid;

use crate::codes;
use crate::model::{ConversationRow, MemberState};
use crate::port::{MessageRow, QueryError};
use crate::store::postgres_rows::{conversation_row, member_row, message_row};
use crate::store::{
    Applied, CONVERSATION_COLUMNS, Changes, DeadLetter, InboxPlace, MEMBER_COLUMNS,
    MESSAGE_COLUMNS, Move, Projection, RoomPlace, Store, StoredMarker, contains_pattern, limit_i64,
    schema_error, storable, to_i64, to_u64, unavailable,
};

/// Connections for the queries of one node's edge unless told otherwise: history, members, inbox. A query takes a millisecond or two.
pub const QUERY_CONNECTIONS_MAX: u16 = 8;
/// Connections of one node's projectors unless told otherwise: one for each of the two, and one for a look meanwhile.
pub const PROJECTOR_CONNECTIONS_MAX: u16 = 3;
/// Wait for a connection; later, the asking client has given up or soon will (edge 4 s).
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// A query's session: the server gives up before the edge does. Plans of short queries are not compiled: compiling takes longer than they do.
const QUERY_SESSION: &str = "set statement_timeout = '4s'; set lock_timeout = '2s'; set idle_in_transaction_session_timeout = '5s'; \
    set jit = off; set tcp_user_timeout = '5s'";
/// A projector's session: a batch may take long on a busy server, and the next one has to wait for it anyway.
const PROJECTOR_SESSION: &str = "set statement_timeout = '15s'; set lock_timeout = '5s'; set idle_in_transaction_session_timeout = '5s'; \
    set jit = off; set tcp_user_timeout = '5s'";

/// Who uses the connections of a store: one kind of work never waits for the other's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PoolRole {
    /// Queries of an edge.
    Queries,
    /// Projectors.
    Projectors,
}

/// The tables in the cluster's database.
#[derive(Clone, Debug)]
pub struct PostgresStore {
    pool: PgPool,
}

impl PostgresStore {
    /// Brings the tables up to date. The log must have been migrated before: the marker table is read.
    ///
    /// # Errors
    /// When the database cannot be reached or migrated.
    pub async fn migrate(url: &str) -> Result<(), QueryError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(unavailable)?
            .application_name("hubbub/migrate");
        // On a connection without time limits: another node, or another room, may be migrating at this moment.
        let mut connection = options.connect().await.map_err(unavailable)?;
        let mut migrator = sqlx::migrate!("migrations/postgres");
        migrator.dangerous_set_table_name("_migrations_projections");
        migrator.run(&mut connection).await.map_err(schema_error)?;
        connection.close().await.map_err(unavailable)
    }

    /// A pool of its own for `role`, of at most `connections` (at least one). Connects.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn connect(url: &str, role: PoolRole, connections: u16) -> Result<Self, QueryError> {
        let (name, session) = match role {
            PoolRole::Queries => ("hubbub/queries", QUERY_SESSION),
            PoolRole::Projectors => ("hubbub/projectors", PROJECTOR_SESSION),
        };
        let options = PgConnectOptions::from_str(url)
            .map_err(unavailable)?
            .application_name(name)
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(u32::from(connections.max(1)))
            .acquire_timeout(ACQUIRE_TIMEOUT)
            // Not in the startup packet, which a session pooler in between refuses.
            .after_connect(move |connection, _| {
                Box::pin(async move { connection.execute(session).await.map(|_| ()) })
            })
            .connect_with(options)
            .await
            .map_err(unavailable)?;
        Ok(Self { pool })
    }

    /// Connections in use now.
    pub fn busy(&self) -> usize {
        let open = usize::try_from(self.pool.size()).unwrap_or(usize::MAX);
        open.saturating_sub(self.pool.num_idle())
    }
}

fn ids_of(ids: &[ConversationId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.uuid()).collect()
}

#[async_trait]
impl Store for PostgresStore {
    async fn checkpoints(
        &self,
        projection: Projection,
    ) -> Result<Vec<(PartitionId, Offset)>, QueryError> {
        let rows = sqlx::query("select partition, \"offset\" from projection_checkpoint where projection = $1 and version = $2")
            .bind(projection.name())
            .bind(projection.version())
            .fetch_all(&self.pool)
            .await
            .map_err(unavailable)?;
        rows.iter()
            .map(|row| {
                let partition: i16 = row.try_get(0).map_err(unavailable)?;
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
        let mut tx = self.pool.begin().await.map_err(unavailable)?;
        // Ascending, so that two projectors after an ownership change queue up instead of deadlocking.
        let mut ordered = moves.to_vec();
        ordered.sort_by_key(|step| step.partition);
        let partitions: Vec<i16> = ordered
            .iter()
            .map(|step| i16::try_from(step.partition.get()).unwrap_or(i16::MAX))
            .collect();
        let from: Vec<i64> = ordered.iter().map(|step| to_i64(step.from.get())).collect();
        let to: Vec<i64> = ordered.iter().map(|step| to_i64(step.to.get())).collect();
        // The insert of an absent row is the move from zero; a present one moves only from where this projector believes it to stand.
        let moved = sqlx::query(
            "insert into projection_checkpoint as p (projection, partition, version, \"offset\") \
             select $1, m.partition, $2, m.target from unnest($3::smallint[], $4::bigint[], $5::bigint[]) as m(partition, origin, target) \
             where m.origin = 0 or exists (select 1 from projection_checkpoint q where q.projection = $1 \
             and q.partition = m.partition and q.\"offset\" = m.origin) \
             order by m.partition \
             on conflict (projection, partition) do update set \"offset\" = excluded.\"offset\", version = excluded.version \
             where p.\"offset\" = ($4::bigint[])[array_position($3::smallint[], excluded.partition)]",
        )
        .bind(projection.name())
        .bind(projection.version())
        .bind(&partitions)
        .bind(&from)
        .bind(&to)
        .execute(&mut *tx)
        .await
        .map_err(unavailable)?;
        if usize::try_from(moved.rows_affected()).unwrap_or(usize::MAX) != ordered.len() {
            tx.rollback().await.map_err(unavailable)?;
            return Ok(Applied::Lost);
        }
        fault::point("project.checkpoint");
        upsert_conversations(&mut tx, &changes.conversations).await?;
        upsert_members(&mut tx, &changes.members).await?;
        insert_messages(&mut tx, &changes.messages).await?;
        upsert_projected(&mut tx, &changes.projected).await?;
        for dead in &changes.dead {
            insert_dead_letter(&mut tx, projection, dead).await?;
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
        let found: Vec<Uuid> = sqlx::query_scalar(
            "select distinct conversation_id from projection_dead_letter where projection = $1 and conversation_id = any($2)",
        )
        .bind(projection.name())
        .bind(ids_of(ids))
        .fetch_all(&self.pool)
        .await
        .map_err(unavailable)?;
        Ok(found.into_iter().map(ConversationId::from_uuid).collect())
    }

    async fn conversations(
        &self,
        ids: &[ConversationId],
    ) -> Result<Vec<ConversationRow>, QueryError> {
        let sql = format!(
            "select {CONVERSATION_COLUMNS} from inbox_conversation c where c.conversation_id = any($1)"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(ids_of(ids))
            .fetch_all(&self.pool)
            .await
            .map_err(unavailable)?;
        rows.iter().map(conversation_row).collect()
    }

    async fn members(
        &self,
        keys: &[(ConversationId, UserId)],
    ) -> Result<Vec<(ConversationId, MemberState)>, QueryError> {
        let sql = format!(
            "select m.conversation_id, {MEMBER_COLUMNS} from unnest($1::uuid[], $2::uuid[]) as k(conversation_id, user_id) \
             join inbox_member m on m.conversation_id = k.conversation_id and m.user_id = k.user_id"
        );
        let conversations: Vec<Uuid> = keys
            .iter()
            .map(|(conversation, _)| conversation.uuid())
            .collect();
        let users: Vec<Uuid> = keys.iter().map(|(_, user)| user.uuid()).collect();
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(conversations)
            .bind(users)
            .fetch_all(&self.pool)
            .await
            .map_err(unavailable)?;
        rows.iter()
            .map(|row| {
                let id: Uuid = row.try_get("conversation_id").map_err(unavailable)?;
                Ok((ConversationId::from_uuid(id), member_row(row)?))
            })
            .collect()
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
             where m.user_id = $1 and m.left_seq is null and (c.active_at, c.conversation_id) < ($2, $3) \
             order by c.active_at desc, c.conversation_id desc limit $4"
        );
        let (active_at, id) = match after {
            Some(place) => (place.active_at.millis(), place.conversation.uuid()),
            None => (i64::MAX, Uuid::max()),
        };
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(user.uuid())
            .bind(active_at)
            .bind(id)
            .bind(limit_i64(limit))
            .fetch_all(&self.pool)
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
        let rows =
            sqlx::query("select conversation_id, read_no from read_marker where user_id = $1 and conversation_id = any($2)")
                .bind(user.uuid())
                .bind(ids_of(ids))
                .fetch_all(&self.pool)
                .await
                .map_err(unavailable)?;
        rows.iter()
            .map(|row| {
                let id: Uuid = row.try_get(0).map_err(unavailable)?;
                let read_no: i64 = row.try_get(1).map_err(unavailable)?;
                Ok(StoredMarker {
                    conversation: ConversationId::from_uuid(id),
                    read_no: MessageNo::new(to_u64(read_no)),
                })
            })
            .collect()
    }

    async fn members_page(
        &self,
        conversation: ConversationId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<MemberState>, QueryError> {
        let sql = format!(
            "select {MEMBER_COLUMNS} from inbox_member m \
             where m.conversation_id = $1 and m.left_seq is null and m.user_id > $2 order by m.user_id limit $3"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(conversation.uuid())
            .bind(after.map_or(Uuid::nil(), UserId::uuid))
            .bind(limit_i64(limit))
            .fetch_all(&self.pool)
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
             and (coalesce(c.title, '') ilike $1 escape '\\' or coalesce(c.topic, '') ilike $1 escape '\\') \
             and (c.member_count < $2 or (c.member_count = $2 and c.conversation_id > $3)) \
             order by c.member_count desc, c.conversation_id limit $4"
        );
        let (count, id) = match after {
            Some(place) => (to_i64(place.member_count), place.conversation.uuid()),
            None => (i64::MAX, Uuid::nil()),
        };
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(contains_pattern(query))
            .bind(count)
            .bind(id)
            .bind(limit_i64(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(unavailable)?;
        rows.iter().map(conversation_row).collect()
    }

    async fn history_seq(&self, conversation: ConversationId) -> Result<Seq, QueryError> {
        let seq: Option<i64> =
            sqlx::query_scalar("select seq from history_conversation where conversation_id = $1")
                .bind(conversation.uuid())
                .fetch_optional(&self.pool)
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
             where h.conversation_id = $1 and h.message_no between $2 and $3 order by h.message_no {order} limit $4"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(conversation.uuid())
            .bind(to_i64(from.get()))
            .bind(to_i64(to.get()))
            .bind(limit_i64(limit))
            .fetch_all(&self.pool)
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
            "select {MESSAGE_COLUMNS} from unnest($1::uuid[], $2::bigint[]) as k(conversation_id, message_no) \
             join history_message h on h.conversation_id = k.conversation_id and h.message_no = k.message_no"
        );
        let conversations: Vec<Uuid> = keys
            .iter()
            .map(|(conversation, _)| conversation.uuid())
            .collect();
        let numbers: Vec<i64> = keys
            .iter()
            .map(|(_, number)| to_i64(number.get()))
            .collect();
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(conversations)
            .bind(numbers)
            .fetch_all(&self.pool)
            .await
            .map_err(unavailable)?;
        rows.iter().map(message_row).collect()
    }

    async fn share(&self, one: UserId, other: UserId) -> Result<bool, QueryError> {
        sqlx::query_scalar(
            "select exists (select 1 from inbox_member a join inbox_member b on b.conversation_id = a.conversation_id \
             where a.user_id = $1 and a.left_seq is null and b.user_id = $2 and b.left_seq is null)",
        )
        .bind(one.uuid())
        .bind(other.uuid())
        .fetch_one(&self.pool)
        .await
        .map_err(unavailable)
    }
}

fn kept(text: Option<&str>) -> Option<String> {
    text.map(|text| storable(text).into_owned())
}

async fn upsert_conversations(
    tx: &mut Transaction<'_, Postgres>,
    rows: &[ConversationRow],
) -> Result<(), QueryError> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut sorted: Vec<&ConversationRow> = rows.iter().collect();
    sorted.sort_by_key(|row| row.id);
    sqlx::query(
        "insert into inbox_conversation as c (conversation_id, partition, kind, title, topic, visibility, join_history, posting, \
         receipts, retention_days, pair_low, pair_high, member_count, head_seq, head_epoch, head_no, active_at) \
         select * from unnest($1::uuid[], $2::smallint[], $3::smallint[], $4::text[], $5::text[], $6::smallint[], $7::smallint[], \
         $8::smallint[], $9::boolean[], $10::integer[], $11::uuid[], $12::uuid[], $13::bigint[], $14::bigint[], $15::bigint[], \
         $16::bigint[], $17::bigint[]) \
         on conflict (conversation_id) do update set title = excluded.title, topic = excluded.topic, visibility = excluded.visibility, \
         join_history = excluded.join_history, posting = excluded.posting, receipts = excluded.receipts, \
         retention_days = excluded.retention_days, member_count = excluded.member_count, head_seq = excluded.head_seq, \
         head_epoch = excluded.head_epoch, head_no = excluded.head_no, active_at = excluded.active_at \
         where excluded.head_seq > c.head_seq",
    )
    .bind(sorted.iter().map(|row| row.id.uuid()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|row| i16::try_from(row.partition.get()).unwrap_or(i16::MAX)).collect::<Vec<_>>())
    .bind(sorted.iter().map(|row| codes::kind_code(row.kind)).collect::<Vec<_>>())
    .bind(sorted.iter().map(|row| kept(row.title.as_deref())).collect::<Vec<_>>())
    .bind(sorted.iter().map(|row| kept(row.topic.as_deref())).collect::<Vec<_>>())
    .bind(sorted.iter().map(|row| codes::visibility_code(row.visibility)).collect::<Vec<_>>())
    .bind(sorted.iter().map(|row| codes::join_history_code(row.settings.join_history)).collect::<Vec<_>>())
    .bind(sorted.iter().map(|row| codes::posting_code(row.settings.posting)).collect::<Vec<_>>())
    .bind(sorted.iter().map(|row| row.settings.receipts).collect::<Vec<_>>())
    .bind(
        sorted
            .iter()
            .map(|row| row.settings.retention_days.and_then(|days| i32::try_from(days).ok()))
            .collect::<Vec<_>>(),
    )
    .bind(sorted.iter().map(|row| row.pair.map(|(low, _)| low.uuid())).collect::<Vec<_>>())
    .bind(sorted.iter().map(|row| row.pair.map(|(_, high)| high.uuid())).collect::<Vec<_>>())
    .bind(sorted.iter().map(|row| to_i64(row.member_count)).collect::<Vec<_>>())
    .bind(sorted.iter().map(|row| to_i64(row.head_seq.get())).collect::<Vec<_>>())
    .bind(sorted.iter().map(|row| to_i64(row.head_epoch.get())).collect::<Vec<_>>())
    .bind(sorted.iter().map(|row| to_i64(row.head_no.get())).collect::<Vec<_>>())
    .bind(sorted.iter().map(|row| row.active_at.millis()).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await
    .map_err(unavailable)?;
    Ok(())
}

async fn upsert_members(
    tx: &mut Transaction<'_, Postgres>,
    members: &[(ConversationId, MemberState)],
) -> Result<(), QueryError> {
    if members.is_empty() {
        return Ok(());
    }
    let mut sorted: Vec<&(ConversationId, MemberState)> = members.iter().collect();
    sorted.sort_by_key(|(conversation, member)| (*conversation, member.user));
    sqlx::query(
        "insert into inbox_member as m (conversation_id, user_id, role, joined_seq, joined_no, joined_at, own_no, left_seq, seq) \
         select * from unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], \
         $8::bigint[], $9::bigint[]) \
         on conflict (conversation_id, user_id) do update set role = excluded.role, joined_seq = excluded.joined_seq, \
         joined_no = excluded.joined_no, joined_at = excluded.joined_at, own_no = excluded.own_no, left_seq = excluded.left_seq, \
         seq = excluded.seq where excluded.seq > m.seq",
    )
    .bind(sorted.iter().map(|(conversation, _)| conversation.uuid()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|(_, member)| member.user.uuid()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|(_, member)| codes::role_code(member.role)).collect::<Vec<_>>())
    .bind(sorted.iter().map(|(_, member)| to_i64(member.joined_seq.get())).collect::<Vec<_>>())
    .bind(sorted.iter().map(|(_, member)| to_i64(member.joined_no.get())).collect::<Vec<_>>())
    .bind(sorted.iter().map(|(_, member)| member.joined_at.millis()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|(_, member)| to_i64(member.own_no.get())).collect::<Vec<_>>())
    .bind(sorted.iter().map(|(_, member)| member.left_seq.map(|seq| to_i64(seq.get()))).collect::<Vec<_>>())
    .bind(sorted.iter().map(|(_, member)| to_i64(member.seq.get())).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await
    .map_err(unavailable)?;
    Ok(())
}

async fn insert_messages(
    tx: &mut Transaction<'_, Postgres>,
    messages: &[MessageRow],
) -> Result<(), QueryError> {
    if messages.is_empty() {
        return Ok(());
    }
    let number = |value: Option<MessageNo>| value.map(|number| to_i64(number.get()));
    sqlx::query(
        "insert into history_message (conversation_id, message_no, seq, epoch, by_user, at, command_id, body, reply_to_no, \
         thread_root_no) \
         select * from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::uuid[], $6::bigint[], $7::uuid[], $8::text[], \
         $9::bigint[], $10::bigint[]) on conflict do nothing",
    )
    .bind(messages.iter().map(|message| message.conversation.uuid()).collect::<Vec<_>>())
    .bind(messages.iter().map(|message| to_i64(message.message_no.get())).collect::<Vec<_>>())
    .bind(messages.iter().map(|message| to_i64(message.seq.get())).collect::<Vec<_>>())
    .bind(messages.iter().map(|message| to_i64(message.epoch.get())).collect::<Vec<_>>())
    .bind(messages.iter().map(|message| message.by.uuid()).collect::<Vec<_>>())
    .bind(messages.iter().map(|message| message.at.millis()).collect::<Vec<_>>())
    .bind(messages.iter().map(|message| message.command_id.uuid()).collect::<Vec<_>>())
    .bind(messages.iter().map(|message| kept(message.body.as_deref())).collect::<Vec<_>>())
    .bind(messages.iter().map(|message| number(message.reply_to_no)).collect::<Vec<_>>())
    .bind(messages.iter().map(|message| number(message.thread_root_no)).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await
    .map_err(unavailable)?;
    Ok(())
}

async fn upsert_projected(
    tx: &mut Transaction<'_, Postgres>,
    projected: &[(ConversationId, Seq)],
) -> Result<(), QueryError> {
    if projected.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into history_conversation as h (conversation_id, seq) select * from unnest($1::uuid[], $2::bigint[]) order by 1 \
         on conflict (conversation_id) do update set seq = excluded.seq where excluded.seq > h.seq",
    )
    .bind(projected.iter().map(|(conversation, _)| conversation.uuid()).collect::<Vec<_>>())
    .bind(projected.iter().map(|(_, seq)| to_i64(seq.get())).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await
    .map_err(unavailable)?;
    Ok(())
}

async fn insert_dead_letter(
    tx: &mut Transaction<'_, Postgres>,
    projection: Projection,
    dead: &DeadLetter,
) -> Result<(), QueryError> {
    sqlx::query(
        "insert into projection_dead_letter (projection, conversation_id, seq, partition, \"offset\", reason) \
         values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
    )
    .bind(projection.name())
    .bind(dead.conversation.uuid())
    .bind(to_i64(dead.seq.get()))
    .bind(i16::try_from(dead.partition.get()).unwrap_or(i16::MAX))
    .bind(to_i64(dead.offset.get()))
    .bind(&dead.reason)
    .execute(&mut **tx)
    .await
    .map_err(unavailable)?;
    Ok(())
}

//! Reads of the log: the dense tail, a conversation, a command's row, lineage, markers.
//!
//! Never: a lock that an append would wait for; a hole passed over.

use async_trait::async_trait;
use bytes::Bytes;
use hubbub_domain::ids::{CommandId, ConversationId, UserId};
use hubbub_domain::position::{Epoch, MessageNo, Offset, PartitionId, Seq};
use hubbub_domain::time::Timestamp;
use hubbub_wire::bus::PartitionHead;
use hubbub_wire::stored::EventRow;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::append::column;
use super::connect::Query;
use super::{PgLog, fault, heads};
use crate::batch::{dense_conversation, dense_tail, read_limit};
use crate::columns::{narrow, owner, partition, signed, unsigned};
use crate::port::{ConversationHead, LineageEntry, LogReader, Marker, ReadError};

/// A select over `event_log` in the column order of [`event_row`].
macro_rules! select_rows {
    ($rest:literal) => {
        concat!(
            r#"select "offset", seq, at, epoch, crc, body_crc, partition, kind, ver, fmt, conversation_id, command_id, meta, body from event_log "#,
            $rest
        )
    };
}

fn get<'r, T>(row: &'r PgRow, column: usize) -> Result<T, ReadError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(column).map_err(fault::read)
}

fn event_row(row: &PgRow) -> Result<EventRow, ReadError> {
    Ok(EventRow {
        offset: Offset::new(unsigned("offset", get(row, 0)?)?),
        seq: Seq::new(unsigned("seq", get(row, 1)?)?),
        at: Timestamp::from_millis(get(row, 2)?),
        epoch: Epoch::new(unsigned("epoch", get(row, 3)?)?),
        crc: get::<i32>(row, 4)?.cast_unsigned(),
        body_crc: get::<Option<i32>>(row, 5)?.map(i32::cast_unsigned),
        partition: partition(get::<i16>(row, 6)?.into())?,
        kind: get(row, 7)?,
        ver: get(row, 8)?,
        fmt: get(row, 9)?,
        conversation: ConversationId::from_uuid(get(row, 10)?),
        command_id: CommandId::from_uuid(get(row, 11)?),
        meta: Bytes::copy_from_slice(get(row, 12)?),
        body: get::<Option<&[u8]>>(row, 13)?.map(Bytes::copy_from_slice),
    })
}

fn limit_column(limit: usize) -> i64 {
    i64::try_from(read_limit(limit)).unwrap_or(i64::MAX)
}

impl PgLog {
    async fn event_rows(&self, query: Query<'static>) -> Result<Vec<EventRow>, ReadError> {
        let rows = self.readers.fetch(query).await.map_err(fault::read)?;
        rows.iter().map(event_row).collect()
    }
}

#[async_trait]
impl LogReader for PgLog {
    fn is_fit(&self) -> bool {
        self.shared.fitness.is_fit()
    }

    #[tracing::instrument(name = "log.tail", level = "debug", skip_all, fields(partition = partition.get(), after = after.get()))]
    async fn tail(
        &self,
        partition: PartitionId,
        after: Offset,
        limit: usize,
    ) -> Result<Vec<EventRow>, ReadError> {
        let query = sqlx::query(select_rows!(
            r#"where partition = $1 and "offset" > $2 order by "offset" limit $3"#
        ))
        .bind(column(partition))
        .bind(signed(after.get()))
        .bind(limit_column(limit));
        dense_tail(partition, after, self.event_rows(query).await?)
    }

    async fn read_conversation(
        &self,
        conversation: ConversationId,
        from: Seq,
        limit: usize,
    ) -> Result<Vec<EventRow>, ReadError> {
        let query = sqlx::query(select_rows!(
            "where conversation_id = $1 and seq >= $2 order by seq limit $3"
        ))
        .bind(conversation.uuid())
        .bind(signed(from.get()))
        .bind(limit_column(limit));
        dense_conversation(conversation, from, self.event_rows(query).await?)
    }

    async fn find_command(
        &self,
        conversation: ConversationId,
        command: CommandId,
    ) -> Result<Option<EventRow>, ReadError> {
        let query = sqlx::query(select_rows!(
            "where conversation_id = $1 and command_id = $2"
        ))
        .bind(conversation.uuid())
        .bind(command.uuid());
        let mut rows = self.event_rows(query).await?;
        if rows.len() > 1 {
            return Err(ReadError::Inconsistent(format!(
                "command {command} is stored {} times in {conversation}",
                rows.len()
            )));
        }
        Ok(rows.pop())
    }

    async fn conversation_head(
        &self,
        conversation: ConversationId,
    ) -> Result<Option<ConversationHead>, ReadError> {
        let query = sqlx::query(r#"select epoch, seq, "offset" from event_log where conversation_id = $1 order by seq desc limit 1"#)
            .bind(conversation.uuid());
        let rows = self.readers.fetch(query).await.map_err(fault::read)?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        Ok(Some(ConversationHead {
            epoch: Epoch::new(unsigned("epoch", get(row, 0)?)?),
            seq: Seq::new(unsigned("seq", get(row, 1)?)?),
            offset: Offset::new(unsigned("offset", get(row, 2)?)?),
        }))
    }

    async fn heads(&self, partitions: &[PartitionId]) -> Result<Vec<PartitionHead>, ReadError> {
        let wanted = partitions.to_vec();
        self.readers
            .run(move |connection| Box::pin(async move { heads::heads(connection, &wanted).await }))
            .await
            .map_err(fault::read)
    }

    async fn lineage(&self, partition: PartitionId) -> Result<Vec<LineageEntry>, ReadError> {
        let query = sqlx::query("select epoch, start_offset, owner, reason, at from log_epoch where partition = $1 order by epoch")
            .bind(column(partition));
        let rows = self.readers.fetch(query).await.map_err(fault::read)?;
        let entry = |row: &PgRow| {
            Ok(LineageEntry {
                epoch: Epoch::new(unsigned("epoch", get(row, 0)?)?),
                start: Offset::new(unsigned("start_offset", get(row, 1)?)?),
                owner: owner(get::<Option<Uuid>>(row, 2)?),
                reason: get(row, 3)?,
                at: Timestamp::from_millis(get(row, 4)?),
            })
        };
        rows.iter().map(entry).collect()
    }

    async fn markers(&self, conversation: ConversationId) -> Result<Vec<Marker>, ReadError> {
        let query = sqlx::query(
            "select user_id, generation, read_no, own_after, delivered_no, at from read_marker where conversation_id = $1 order by user_id",
        )
        .bind(conversation.uuid());
        let rows = self.readers.fetch(query).await.map_err(fault::read)?;
        let marker = |row: &PgRow| {
            Ok(Marker {
                conversation,
                user: UserId::from_uuid(get(row, 0)?),
                generation: narrow("generation", get(row, 1)?)?,
                read_no: MessageNo::new(unsigned("read_no", get(row, 2)?)?),
                own_after: unsigned("own_after", get(row, 3)?)?,
                delivered_no: MessageNo::new(unsigned("delivered_no", get(row, 4)?)?),
                at: Timestamp::from_millis(get(row, 5)?),
            })
        };
        rows.iter().map(marker).collect()
    }
}

//! Reads on connections of their own: in WAL mode they wait for nobody, and see every commit that was reported before they began.

use async_trait::async_trait;
use bytes::Bytes;
use hubbub_domain::ids::{CommandId, ConversationId, UserId};
use hubbub_domain::position::{Epoch, MessageNo, Offset, PartitionId, Seq};
use hubbub_domain::time::Timestamp;
use hubbub_wire::bus::PartitionHead;
use hubbub_wire::stored::EventRow;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::{SqliteLog, fault};
use crate::batch::{dense_conversation, dense_tail, read_limit};
use crate::columns::{narrow, owner, partition, signed, unsigned};
use crate::port::{ConversationHead, LineageEntry, LogReader, Marker, ReadError};

/// A select over `event_log` in the column order of [`event_row`].
macro_rules! select_rows {
    ($rest:literal) => {
        concat!(
            r#"select "offset", seq, at, epoch, partition, kind, ver, fmt, conversation_id, command_id, meta, body, crc, body_crc from event_log "#,
            $rest
        )
    };
}

fn get<'r, T>(row: &'r SqliteRow, column: usize) -> Result<T, ReadError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column).map_err(fault::read)
}

fn event_row(row: &SqliteRow) -> Result<EventRow, ReadError> {
    Ok(EventRow {
        offset: Offset::new(unsigned("offset", get(row, 0)?)?),
        seq: Seq::new(unsigned("seq", get(row, 1)?)?),
        at: Timestamp::from_millis(get(row, 2)?),
        epoch: Epoch::new(unsigned("epoch", get(row, 3)?)?),
        partition: partition(get(row, 4)?)?,
        kind: narrow("kind", get(row, 5)?)?,
        ver: narrow("ver", get(row, 6)?)?,
        fmt: narrow("fmt", get(row, 7)?)?,
        conversation: ConversationId::from_uuid(get(row, 8)?),
        command_id: CommandId::from_uuid(get(row, 9)?),
        meta: Bytes::copy_from_slice(get(row, 10)?),
        body: get::<Option<&[u8]>>(row, 11)?.map(Bytes::copy_from_slice),
        crc: narrow("crc", get(row, 12)?)?,
        body_crc: get::<Option<i64>>(row, 13)?
            .map(|crc| narrow("body_crc", crc))
            .transpose()?,
    })
}

fn event_rows(rows: &[SqliteRow]) -> Result<Vec<EventRow>, ReadError> {
    rows.iter().map(event_row).collect()
}

fn limit_column(limit: usize) -> i64 {
    i64::try_from(read_limit(limit)).unwrap_or(i64::MAX)
}

#[async_trait]
impl LogReader for SqliteLog {
    async fn tail(
        &self,
        partition: PartitionId,
        after: Offset,
        limit: usize,
    ) -> Result<Vec<EventRow>, ReadError> {
        let rows = sqlx::query(select_rows!(
            r#"where partition = ? and "offset" > ? order by "offset" limit ?"#
        ))
        .bind(i64::from(partition.get()))
        .bind(signed(after.get()))
        .bind(limit_column(limit))
        .fetch_all(&self.shared.readers)
        .await
        .map_err(fault::read)?;
        dense_tail(partition, after, event_rows(&rows)?)
    }

    async fn read_conversation(
        &self,
        conversation: ConversationId,
        from: Seq,
        limit: usize,
    ) -> Result<Vec<EventRow>, ReadError> {
        let rows = sqlx::query(select_rows!(
            "where conversation_id = ? and seq >= ? order by seq limit ?"
        ))
        .bind(conversation.uuid())
        .bind(signed(from.get()))
        .bind(limit_column(limit))
        .fetch_all(&self.shared.readers)
        .await
        .map_err(fault::read)?;
        dense_conversation(conversation, from, event_rows(&rows)?)
    }

    async fn find_command(
        &self,
        conversation: ConversationId,
        command: CommandId,
    ) -> Result<Option<EventRow>, ReadError> {
        let found = sqlx::query(select_rows!("where conversation_id = ? and command_id = ?"))
            .bind(conversation.uuid())
            .bind(command.uuid())
            .fetch_optional(&self.shared.readers)
            .await
            .map_err(fault::read)?;
        found.as_ref().map(event_row).transpose()
    }

    async fn conversation_head(
        &self,
        conversation: ConversationId,
    ) -> Result<Option<ConversationHead>, ReadError> {
        let found = sqlx::query(r#"select epoch, seq, "offset" from event_log where conversation_id = ? order by seq desc limit 1"#)
            .bind(conversation.uuid())
            .fetch_optional(&self.shared.readers)
            .await
            .map_err(fault::read)?;
        let Some(row) = found else { return Ok(None) };
        Ok(Some(ConversationHead {
            epoch: Epoch::new(unsigned("epoch", get(&row, 0)?)?),
            seq: Seq::new(unsigned("seq", get(&row, 1)?)?),
            offset: Offset::new(unsigned("offset", get(&row, 2)?)?),
        }))
    }

    async fn heads(&self, partitions: &[PartitionId]) -> Result<Vec<PartitionHead>, ReadError> {
        let rows = sqlx::query(
            r#"select partition, epoch,
                max(start_offset, coalesce((select max("offset") from event_log e where e.partition = p.partition), 0))
            from log_partition p order by partition"#,
        )
        .fetch_all(&self.shared.readers)
        .await
        .map_err(fault::read)?;
        let mut heads = Vec::with_capacity(rows.len());
        for row in &rows {
            let partition = partition(get(row, 0)?)?;
            if partitions.is_empty() || partitions.contains(&partition) {
                let epoch = Epoch::new(unsigned("epoch", get(row, 1)?)?);
                let head = Offset::new(unsigned("offset", get(row, 2)?)?);
                heads.push(PartitionHead {
                    partition,
                    epoch,
                    head,
                });
            }
        }
        Ok(heads)
    }

    async fn lineage(&self, partition: PartitionId) -> Result<Vec<LineageEntry>, ReadError> {
        let rows = sqlx::query("select epoch, start_offset, owner, reason, at from log_epoch where partition = ? order by epoch")
            .bind(i64::from(partition.get()))
            .fetch_all(&self.shared.readers)
            .await
            .map_err(fault::read)?;
        let entry = |row: &SqliteRow| {
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
        let rows = sqlx::query(
            "select user_id, generation, read_no, own_after, delivered_no, at from read_marker where conversation_id = ? order by user_id",
        )
        .bind(conversation.uuid())
        .fetch_all(&self.shared.readers)
        .await
        .map_err(fault::read)?;
        let marker = |row: &SqliteRow| {
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

//! Snapshots on the writer, behind every append that waits.

use async_trait::async_trait;
use bytes::Bytes;
use hubbub_domain::ids::ConversationId;
use hubbub_domain::position::{Epoch, Seq};
use hubbub_domain::time::Timestamp;
use sqlx::{Connection, Row, SqliteConnection};

use super::{SqliteLog, fault};
use crate::columns::{signed, unsigned};
use crate::memory::SNAPSHOTS_KEPT;
use crate::port::{ReadError, SnapshotRow, Snapshots, StoreError};

pub(super) async fn save(
    connection: &mut SqliteConnection,
    snapshot: &SnapshotRow,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("begin immediate").await?;
    sqlx::query("insert or replace into snapshot (conversation_id, epoch, seq, ver, at, data) values (?, ?, ?, ?, ?, ?)")
        .bind(snapshot.conversation.uuid())
        .bind(signed(snapshot.epoch.get()))
        .bind(signed(snapshot.seq.get()))
        .bind(snapshot.ver)
        .bind(snapshot.at.millis())
        .bind(snapshot.data.as_ref())
        .execute(&mut *transaction)
        .await?;
    sqlx::query(
        "delete from snapshot where conversation_id = ?1 and (epoch, seq, ver) not in
            (select epoch, seq, ver from snapshot where conversation_id = ?1 order by epoch desc, seq desc, ver desc limit ?2)",
    )
    .bind(snapshot.conversation.uuid())
    .bind(i64::try_from(SNAPSHOTS_KEPT).unwrap_or(i64::MAX))
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}

#[async_trait]
impl Snapshots for SqliteLog {
    async fn load_snapshot(
        &self,
        conversation: ConversationId,
        version: i16,
    ) -> Result<Option<SnapshotRow>, ReadError> {
        let found = sqlx::query(
            "select epoch, seq, at, data from snapshot where conversation_id = ? and ver = ? order by epoch desc, seq desc limit 1",
        )
        .bind(conversation.uuid())
        .bind(version)
        .fetch_optional(&self.shared.readers)
        .await
        .map_err(fault::read)?;
        let Some(row) = found else { return Ok(None) };
        Ok(Some(SnapshotRow {
            conversation,
            epoch: Epoch::new(unsigned("epoch", row.try_get(0).map_err(fault::read)?)?),
            seq: Seq::new(unsigned("seq", row.try_get(1).map_err(fault::read)?)?),
            ver: version,
            at: Timestamp::from_millis(row.try_get(2).map_err(fault::read)?),
            data: Bytes::copy_from_slice(row.try_get(3).map_err(fault::read)?),
        }))
    }

    async fn save_snapshot(&self, snapshot: SnapshotRow) -> Result<(), StoreError> {
        self.save(snapshot).await
    }
}

//! Snapshots, beside the log and without its fence.

use async_trait::async_trait;
use bytes::Bytes;
use hubbub_domain::ids::ConversationId;
use hubbub_domain::position::{Epoch, Seq};
use hubbub_domain::time::Timestamp;
use sqlx::Row as _;

use super::{PgLog, fault};
use crate::columns::{signed, unsigned};
use crate::memory::SNAPSHOTS_KEPT;
use crate::port::{ReadError, SnapshotRow, Snapshots, StoreError};

#[async_trait]
impl Snapshots for PgLog {
    async fn load_snapshot(
        &self,
        conversation: ConversationId,
        version: i16,
    ) -> Result<Option<SnapshotRow>, ReadError> {
        let newest = sqlx::query(
            "select epoch, seq, at, data from snapshot where conversation_id = $1 and ver = $2 order by epoch desc, seq desc limit 1",
        )
        .bind(conversation.uuid())
        .bind(version);
        let rows = self.readers.fetch(newest).await.map_err(fault::read)?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
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
        // The delete does not see the insert beside it, so it is told of it.
        let save = sqlx::query(
            "with saved as (
                insert into snapshot (conversation_id, epoch, seq, ver, at, data) values ($1, $2, $3, $4, $5, $6)
                on conflict (conversation_id, epoch, seq, ver) do update set at = excluded.at, data = excluded.data
            )
            delete from snapshot where conversation_id = $1 and (epoch, seq, ver) in (
                select epoch, seq, ver from (
                    select epoch, seq, ver from snapshot where conversation_id = $1
                    union select $2::bigint, $3::bigint, $4::smallint
                ) as kept order by epoch desc, seq desc, ver desc offset $7
            )",
        )
        .bind(snapshot.conversation.uuid())
        .bind(signed(snapshot.epoch.get()))
        .bind(signed(snapshot.seq.get()))
        .bind(snapshot.ver)
        .bind(snapshot.at.millis())
        .bind(snapshot.data.to_vec())
        .bind(i64::try_from(SNAPSHOTS_KEPT).unwrap_or(i64::MAX));
        self.readers
            .fetch(save)
            .await
            .map_err(fault::store)
            .map(|_| ())
    }
}

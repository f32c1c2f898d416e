//! The publish watermark of each partition, lazily written under the fence.

use async_trait::async_trait;
use hubbub_domain::position::{Offset, PartitionId};
use sqlx::Row as _;

use super::append::column;
use super::{PgLog, fault};
use crate::columns::{partition, signed, unsigned};
use crate::port::{Progress, Published, ReadError, StoreError};

#[async_trait]
impl Progress for PgLog {
    async fn published(
        &self,
        partitions: &[PartitionId],
    ) -> Result<Vec<(PartitionId, Offset)>, ReadError> {
        let asked: Vec<i16> = partitions
            .iter()
            .map(|partition| column(*partition))
            .collect();
        let query = sqlx::query(
            "select partition, published from partition_progress where partition = any($1) order by partition",
        )
        .bind(asked);
        let rows = self.readers.fetch(query).await.map_err(fault::read)?;
        let mark = |row: &sqlx::postgres::PgRow| {
            let number: i16 = row.try_get(0).map_err(fault::read)?;
            let published = unsigned("published", row.try_get(1).map_err(fault::read)?)?;
            Ok((partition(number.into())?, Offset::new(published)))
        };
        rows.iter().map(mark).collect()
    }

    async fn save_published(&self, marks: &[Published]) -> Result<(), StoreError> {
        let partitions: Vec<i16> = marks.iter().map(|mark| column(mark.partition)).collect();
        let epochs: Vec<i64> = marks.iter().map(|mark| signed(mark.epoch.get())).collect();
        let published: Vec<i64> = marks
            .iter()
            .map(|mark| signed(mark.published.get()))
            .collect();
        // The fence row is read and not locked: an acquire never waits for this, and a value that comes a moment late only makes the next
        // owner's tail longer or, at worst, leaves to the head broadcasts what it would have told.
        let save = sqlx::query(
            "insert into partition_progress as stored (partition, published)
            select m.partition, m.published
            from unnest($1::smallint[], $2::bigint[], $3::bigint[]) as m(partition, epoch, published)
            join log_partition p on p.partition = m.partition and p.epoch = m.epoch
            order by m.partition
            on conflict (partition) do update set published = excluded.published where stored.published <> excluded.published",
        )
        .bind(partitions)
        .bind(epochs)
        .bind(published);
        self.readers
            .fetch(save)
            .await
            .map_err(fault::store)
            .map(|_| ())
    }
}

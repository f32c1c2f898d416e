//! The publish watermark of each partition, on the writer, behind every append that waits.

use async_trait::async_trait;
use hubbub_domain::position::{Offset, PartitionId};
use sqlx::{Connection, Row, SqliteConnection};

use super::writer::Job;
use super::{SqliteLog, fault};
use crate::columns::{partition, signed, unsigned};
use crate::port::{Progress, Published, ReadError, StoreError};

pub(super) async fn save(
    connection: &mut SqliteConnection,
    marks: &[Published],
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("begin immediate").await?;
    for mark in marks {
        sqlx::query(
            "insert into partition_progress (partition, published)
            select partition, ?3 from log_partition where partition = ?1 and epoch = ?2
            on conflict (partition) do update set published = excluded.published",
        )
        .bind(i64::from(mark.partition.get()))
        .bind(signed(mark.epoch.get()))
        .bind(signed(mark.published.get()))
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await
}

#[async_trait]
impl Progress for SqliteLog {
    async fn published(
        &self,
        partitions: &[PartitionId],
    ) -> Result<Vec<(PartitionId, Offset)>, ReadError> {
        let rows =
            sqlx::query("select partition, published from partition_progress order by partition")
                .fetch_all(&self.shared.readers)
                .await
                .map_err(fault::read)?;
        let mut marks = Vec::with_capacity(rows.len());
        for row in &rows {
            let partition = partition(row.try_get(0).map_err(fault::read)?)?;
            let published = unsigned("published", row.try_get(1).map_err(fault::read)?)?;
            if partitions.contains(&partition) {
                marks.push((partition, Offset::new(published)));
            }
        }
        Ok(marks)
    }

    async fn save_published(&self, marks: &[Published]) -> Result<(), StoreError> {
        let marks = marks.to_vec();
        let job = |reply| Job::Progress(marks, reply);
        self.shared.writer.change(job).await
    }
}

//! Where partitions end: the newest row of each, asked of the newest child first.

use std::fmt::Write as _;

use hubbub_domain::position::{Epoch, Offset, PartitionId};
use hubbub_wire::bus::PartitionHead;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::append::column;
use super::segments::{attached, child};
use crate::columns::{partition, unsigned};
use crate::port::ReadError;

/// Epoch and head of the partitions asked for (all when none is named), ascending.
///
/// `coalesce` stops at the first child that has rows of the partition, so older children cost nothing for a partition that is in use. What
/// was archived is covered by `start_offset`.
pub(super) async fn heads(
    connection: &mut PgConnection,
    partitions: &[PartitionId],
) -> Result<Vec<PartitionHead>, sqlx::Error> {
    let mut newest = String::new();
    for segment in attached(connection).await? {
        let table = child(segment);
        // Writing into a String cannot fail.
        let _always_ok = write!(
            newest,
            r#"(select e."offset" from {table} e where e.partition = p.partition order by e."offset" desc limit 1), "#
        )
        .is_ok();
    }
    let sql = format!(
        "select p.partition, p.epoch, greatest(p.start_offset, coalesce({newest}0)) from log_partition p
        where cardinality($1::smallint[]) = 0 or p.partition = any($1) order by p.partition"
    );
    let wanted: Vec<i16> = partitions
        .iter()
        .map(|partition| column(*partition))
        .collect();
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(wanted)
        .fetch_all(connection)
        .await?;
    let misfit = |error: ReadError| sqlx::Error::Decode(error.into());
    let mut heads = Vec::with_capacity(rows.len());
    for row in &rows {
        heads.push(PartitionHead {
            partition: partition(i64::from(row.try_get::<i16, _>(0)?)).map_err(misfit)?,
            epoch: Epoch::new(unsigned("epoch", row.try_get(1)?).map_err(misfit)?),
            head: Offset::new(unsigned("offset", row.try_get(2)?).map_err(misfit)?),
        });
    }
    Ok(heads)
}

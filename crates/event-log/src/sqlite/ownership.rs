//! Fence rows and lineage. Runs on the writer, so an acquire always comes after every append that was sent before it.

use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::{Epoch, Offset, PartitionCount, PartitionId};
use hubbub_domain::time::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, Row, SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::fault;
use crate::clock::next_epoch;
use crate::columns::{narrow, owner, partition, signed, unsigned};
use crate::memory::FIRST_LEVEL;
use crate::port::{Acquired, Claim, ClusterMeta, PartitionRow, ReadError, StoreError};

/// Milliseconds by the clock of the database.
const NOW: &str = "select cast(unixepoch('now', 'subsec') * 1000 as integer)";

/// A column that does not fit, as an error of the driver.
fn decode(error: ReadError) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}

pub(super) async fn init(
    connection: &mut SqliteConnection,
    wanted: PartitionCount,
) -> Result<ClusterMeta, sqlx::Error> {
    let mut transaction = connection.begin_with("begin immediate").await?;
    sqlx::query(
        "insert into cluster_meta (id, partitions, level) values (1, ?, ?) on conflict do nothing",
    )
    .bind(i64::from(wanted.get()))
    .bind(i64::from(FIRST_LEVEL))
    .execute(&mut *transaction)
    .await?;
    let row = sqlx::query("select partitions, level from cluster_meta")
        .fetch_one(&mut *transaction)
        .await?;
    let count: u16 = narrow("partitions", row.try_get(0)?).map_err(decode)?;
    let partitions = PartitionCount::new(count)
        .ok_or_else(|| decode(ReadError::Inconsistent(format!("{count} partitions"))))?;
    let level = narrow("level", row.try_get(1)?).map_err(decode)?;
    sqlx::query(
        "with recursive numbers(n) as (select 0 union all select n + 1 from numbers where n + 1 < ?)
        insert into log_partition (partition, epoch, owner, start_offset, acquired_at)
        select n, 0, null, 0, 0 from numbers where true on conflict do nothing",
    )
    .bind(i64::from(count))
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(ClusterMeta { partitions, level })
}

pub(super) async fn partitions(readers: &SqlitePool) -> Result<Vec<PartitionRow>, StoreError> {
    let rows = sqlx::query("select partition, epoch, owner from log_partition order by partition")
        .fetch_all(readers)
        .await
        .map_err(fault::store)?;
    let decode = |row: &SqliteRow| -> Result<PartitionRow, ReadError> {
        Ok(PartitionRow {
            partition: partition(row.try_get(0).map_err(fault::read)?)?,
            epoch: Epoch::new(unsigned("epoch", row.try_get(1).map_err(fault::read)?)?),
            owner: owner(row.try_get::<Option<Uuid>, _>(2).map_err(fault::read)?),
        })
    };
    rows.iter()
        .map(decode)
        .collect::<Result<_, _>>()
        .map_err(|error| StoreError::Refused(error.to_string()))
}

pub(super) async fn acquire(
    connection: &mut SqliteConnection,
    me: Incarnation,
    claims: &[Claim],
    reason: &str,
) -> Result<Vec<Acquired>, sqlx::Error> {
    let mut transaction = connection.begin_with("begin immediate").await?;
    let now = Timestamp::from_millis(sqlx::query_scalar(NOW).fetch_one(&mut *transaction).await?);
    let mut taken = Vec::with_capacity(claims.len());
    for claim in claims {
        let epoch = next_epoch(claim.expected_epoch, now);
        if let Some(head) = take(&mut transaction, me, claim, epoch, now).await? {
            write_lineage(
                &mut transaction,
                me,
                claim.partition,
                epoch,
                head,
                reason,
                now,
            )
            .await?;
            taken.push(Acquired {
                partition: claim.partition,
                epoch,
                head,
            });
        }
    }
    transaction.commit().await?;
    Ok(taken)
}

/// Bumps the epoch when the claim still holds, and gives the head.
async fn take(
    connection: &mut SqliteConnection,
    me: Incarnation,
    claim: &Claim,
    epoch: Epoch,
    now: Timestamp,
) -> Result<Option<Offset>, sqlx::Error> {
    let head: Option<i64> = sqlx::query_scalar(
        r#"update log_partition as p set epoch = ?, owner = ?, acquired_at = ?,
            start_offset = max(start_offset, coalesce((select max("offset") from event_log e where e.partition = p.partition), 0))
        where partition = ? and epoch = ? and owner is ?
        returning start_offset"#,
    )
    .bind(signed(epoch.get()))
    .bind(me.uuid())
    .bind(now.millis())
    .bind(i64::from(claim.partition.get()))
    .bind(signed(claim.expected_epoch.get()))
    .bind(claim.expected_owner.map(Incarnation::uuid))
    .fetch_optional(connection)
    .await?;
    head.map(|head| {
        unsigned("start_offset", head)
            .map(Offset::new)
            .map_err(decode)
    })
    .transpose()
}

async fn write_lineage(
    connection: &mut SqliteConnection,
    me: Incarnation,
    partition: PartitionId,
    epoch: Epoch,
    head: Offset,
    reason: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query("insert into log_epoch (partition, epoch, start_offset, owner, reason, at) values (?, ?, ?, ?, ?, ?)")
        .bind(i64::from(partition.get()))
        .bind(signed(epoch.get()))
        .bind(signed(head.get()))
        .bind(me.uuid())
        .bind(reason)
        .bind(now.millis())
        .execute(connection)
        .await
        .map(|_| ())
}

pub(super) async fn release(
    connection: &mut SqliteConnection,
    me: Incarnation,
    partitions: &[(PartitionId, Epoch)],
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("begin immediate").await?;
    for (partition, epoch) in partitions {
        sqlx::query(
            "update log_partition set owner = null where partition = ? and epoch = ? and owner = ?",
        )
        .bind(i64::from(partition.get()))
        .bind(signed(epoch.get()))
        .bind(me.uuid())
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await
}

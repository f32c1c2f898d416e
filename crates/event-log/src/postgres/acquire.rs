//! The acquire: one READ COMMITTED transaction of separate statements, many partitions at once.
//!
//! ```text
//! 1  lock the fence rows, ascending           whoever appends there waits from now on
//! 2  bump the epochs of claims that hold      whoever waited will find its epoch gone
//! 3  read the heads                           a later statement sees every row committed before the locks were had
//! 4  write the lineage, remember the starts
//! ```
//!
//! Never: 2 and 3 in one statement. Its snapshot would be older than its wait for the lock, and the head would miss the row that it waited
//! for.

use std::convert::Infallible;
use std::time::Duration;

use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::{Epoch, PartitionId};
use hubbub_wire::bus::PartitionHead;
use sqlx::{Connection as _, PgConnection, Row as _};
use uuid::Uuid;

use super::append::column;
use super::connect::{Pool, lanes_of};
use super::{heads, segments};
use crate::clock::EPOCH_ORIGIN_MILLIS;
use crate::columns::{owner, signed, unsigned};
use crate::port::{Acquired, Claim, ReadError};

/// How long a backend of the dead owner may hold a row before it is ended; a healthy statement is over long before.
const PATIENCE: Duration = Duration::from_millis(50);

/// Takes what still holds of `claims`. `helpers` lend the connection that ends blockers.
pub(super) async fn acquire(
    connection: &mut PgConnection,
    helpers: &Pool,
    me: Incarnation,
    claims: &[Claim],
    reason: &str,
) -> Result<Vec<Acquired>, sqlx::Error> {
    let mut transaction = connection
        .begin_with("begin isolation level read committed")
        .await?;
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid() from (select set_config('lock_timeout', '500ms', true)) as waiting")
        .fetch_one(&mut *transaction)
        .await?;
    let owners: Vec<String> = claims
        .iter()
        .filter_map(|claim| claim.expected_owner)
        .map(lanes_of)
        .collect();
    let held = tokio::select! {
        held = lock(&mut transaction, claims) => held?,
        never = end_blockers(helpers, pid, dedup(owners)) => match never {},
    };
    if held.is_empty() {
        transaction.rollback().await?;
        return Ok(Vec::new());
    }
    bump(&mut transaction, me, &held).await?;
    let taken = heads::heads(&mut transaction, &held).await?;
    remember(&mut transaction, me, &taken, reason).await?;
    transaction.commit().await?;
    Ok(taken
        .into_iter()
        .map(|row| Acquired {
            partition: row.partition,
            epoch: row.epoch,
            head: row.head,
        })
        .collect())
}

fn dedup(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names.dedup();
    names
}

/// Locks the rows of all claims and gives the partitions whose claim holds.
async fn lock(
    connection: &mut PgConnection,
    claims: &[Claim],
) -> Result<Vec<PartitionId>, sqlx::Error> {
    let wanted: Vec<i16> = claims.iter().map(|claim| column(claim.partition)).collect();
    let rows = sqlx::query(
        "select partition, epoch, owner from log_partition where partition = any($1) order by partition for no key update",
    )
    .bind(wanted)
    .fetch_all(connection)
    .await?;
    let mut held = Vec::with_capacity(rows.len());
    for row in &rows {
        let partition: i16 = row.try_get(0)?;
        let epoch = unsigned("epoch", row.try_get(1)?)
            .map(Epoch::new)
            .map_err(|error: ReadError| sqlx::Error::Decode(error.into()))?;
        let owner = owner(row.try_get::<Option<Uuid>, _>(2)?);
        let holds = claims.iter().find(|claim| {
            column(claim.partition) == partition
                && claim.expected_epoch == epoch
                && claim.expected_owner == owner
        });
        held.extend(holds.map(|claim| claim.partition));
    }
    Ok(held)
}

/// Ends backends of the expected owners that stand in the way of backend `pid`, for as long as it waits.
///
/// Only those that really block, so that lanes of an owner which is this very incarnation (in doubt about one lane) go on.
async fn end_blockers(helpers: &Pool, pid: i32, owners: Vec<String>) -> Infallible {
    loop {
        tokio::time::sleep(PATIENCE).await;
        let ended = helpers
            .fetch(
                sqlx::query(
                    "select pg_terminate_backend(a.pid) from pg_stat_activity a
                    where a.pid = any(pg_blocking_pids($1)) and a.application_name like any($2)",
                )
                .bind(pid)
                .bind(owners.clone()),
            )
            .await;
        match ended {
            Ok(rows) if rows.is_empty() => {}
            Ok(rows) => tracing::warn!(
                backends = rows.len(),
                "ended backends of a former owner that still held a partition"
            ),
            Err(error) => tracing::warn!(%error, "could not look for backends of a former owner"),
        }
    }
}

/// Later than every epoch before it, also than those that a restored backup has forgotten.
#[cfg(not(feature = "sabotage-epoch-not-bumped"))]
macro_rules! next_epoch {
    () => {
        "greatest(epoch + 1, floor(extract(epoch from statement_timestamp()) * 1000)::bigint - $3)"
    };
}
#[cfg(feature = "sabotage-epoch-not-bumped")]
macro_rules! next_epoch {
    () => {
        "greatest(epoch, 1 + 0 * $3::bigint)"
    };
}

/// New epochs and the newest segment that exists for this week. Seeded from the clock, so that no epoch comes back after a restore.
async fn bump(
    connection: &mut PgConnection,
    me: Incarnation,
    held: &[PartitionId],
) -> Result<(), sqlx::Error> {
    let newest = segments::newest_begun(connection).await?;
    let partitions: Vec<i16> = held.iter().map(|partition| column(*partition)).collect();
    sqlx::query(concat!(
        "update log_partition set
            epoch = ",
        next_epoch!(),
        ",
            owner = $2,
            segment = greatest(segment, $4),
            acquired_at = floor(extract(epoch from statement_timestamp()) * 1000)::bigint
        where partition = any($1)"
    ))
    .bind(partitions)
    .bind(me.uuid())
    .bind(EPOCH_ORIGIN_MILLIS)
    .bind(newest)
    .execute(connection)
    .await
    .map(|_| ())
}

/// The lineage rows, and the starts in the fence rows (they stand for what archiving will take away).
async fn remember(
    connection: &mut PgConnection,
    me: Incarnation,
    taken: &[PartitionHead],
    reason: &str,
) -> Result<(), sqlx::Error> {
    let partitions: Vec<i16> = taken.iter().map(|row| column(row.partition)).collect();
    let epochs: Vec<i64> = taken.iter().map(|row| signed(row.epoch.get())).collect();
    let starts: Vec<i64> = taken.iter().map(|row| signed(row.head.get())).collect();
    sqlx::query(
        "with taken as materialized (
            select * from unnest($1::smallint[], $2::bigint[], $3::bigint[]) as t(partition, epoch, start_offset)
        ), started as (
            update log_partition p set start_offset = t.start_offset from taken t where p.partition = t.partition
        )
        insert into log_epoch (partition, epoch, start_offset, owner, reason, at)
        select partition, epoch, start_offset, $4, $5, floor(extract(epoch from statement_timestamp()) * 1000)::bigint from taken",
    )
    .bind(partitions)
    .bind(epochs)
    .bind(starts)
    .bind(me.uuid())
    .bind(reason)
    .execute(connection)
    .await
    .map(|_| ())
}

//! The append: one autocommit statement for rows of many partitions, each stored only if its epoch still stands.
//!
//! ```text
//! fenced   the fence rows of the batch whose epoch matches, locked FOR NO KEY UPDATE, ascending (so that no two lanes deadlock)
//! stored   the batch's rows of fenced partitions, into the fence row's segment
//! answer   per fenced partition, how many rows are in
//! ```
//!
//! A partition or conversation to which this connection has not appended under the same epoch is looked at in the same statement: the log must
//! end right before the batch's rows (see `dense.rs`).
//!
//! An acquire holds the same row lock while it bumps the epoch. A statement that waits for it sees the new epoch when it goes on (READ
//! COMMITTED looks at the locked row again), drops that partition, and stores the rest.

use hubbub_domain::position::{Epoch, PartitionId};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use super::connect::Query;
use crate::columns::{partition, signed, unsigned};
use crate::dense::Joints;
use crate::port::{AppendBatch, Conflict, ReadError};

/// What makes a stale owner harmless.
#[cfg(not(feature = "sabotage-no-fence"))]
macro_rules! fence {
    () => {
        " and p.epoch = wanted.epoch"
    };
}
#[cfg(feature = "sabotage-no-fence")]
macro_rules! fence {
    () => {
        ""
    };
}

/// The fence, and the rows that it lets through.
macro_rules! fenced {
    () => {
        concat!(
            r#"
with fenced as materialized (
    select p.partition, wanted.epoch, p.segment, p.start_offset
    from unnest($1::smallint[], $2::bigint[]) as wanted(partition, epoch)
    join log_partition p on p.partition = wanted.partition"#,
            fence!(),
            r#"
    order by p.partition
    for no key update of p
)"#
        )
    };
}
macro_rules! stored {
    () => {
        r#", stored as (
    insert into event_log ("offset", seq, at, epoch, crc, body_crc, segment, partition, kind, ver, fmt, conversation_id, command_id, meta, body)
    select r."offset", r.seq, r.at, f.epoch, r.crc, r.body_crc, f.segment, f.partition, r.kind, r.ver, r.fmt, r.conversation_id, r.command_id, r.meta, r.body
    from unnest($3::smallint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::integer[], $8::integer[], $9::smallint[], $10::smallint[],
        $11::smallint[], $12::uuid[], $13::uuid[], $14::bytea[], $15::bytea[])
        as r(partition, "offset", seq, at, crc, body_crc, kind, ver, fmt, conversation_id, command_id, meta, body)
    join fenced f on f.partition = r.partition"#
    };
}
macro_rules! seen {
    () => {
        r#"
from (select partition from fenced union all select partition from stored) as seen
group by partition"#
    };
}

/// The statement. Arrays instead of rows: one plan for every batch size.
pub(super) const APPEND: &str = concat!(
    fenced!(),
    stored!(),
    "
    returning partition
)
select partition, count(*) - 1",
    seen!()
);

/// The same, for a batch with joints that this connection does not know: looks where the log ends there, and stores nothing at all when
/// that is elsewhere. The looks see what was stored before the statement began; whoever stored something while it waited has another epoch.
/// Each is a subquery that no planner makes a join of, so that it stays a look into the indexes whatever the tables grow to.
pub(super) const APPEND_JOINED: &str = concat!(
    fenced!(),
    r#", joint as materialized (
    select j.before, greatest(f.start_offset,
        coalesce((select e."offset" from event_log e where e.partition = j.partition order by e."offset" desc limit 1), 0)) as reached
    from unnest($16::smallint[], $17::bigint[]) as j(partition, before)
    join fenced f on f.partition = j.partition
    union all
    select j.before,
        coalesce((select e.seq from event_log e where e.conversation_id = j.conversation_id order by e.seq desc limit 1), 0)
    from unnest($18::smallint[], $19::uuid[], $20::bigint[]) as j(partition, conversation_id, before)
    join fenced f on f.partition = j.partition
), misfit as materialized (
    select bool_and(before > reached) as is_hole from joint where before <> reached
)"#,
    stored!(),
    "
    where (select is_hole from misfit) is null
    returning partition
)
select partition, count(*) - 1, (select is_hole from misfit)",
    seen!()
);

/// The fence as two columns.
pub(super) fn fence_columns(fence: &[(PartitionId, Epoch)]) -> (Vec<i16>, Vec<i64>) {
    fence
        .iter()
        .map(|(partition, epoch)| (column(*partition), signed(epoch.get())))
        .unzip()
}

/// A partition as its column; there are at most 2^14.
pub(super) fn column(partition: PartitionId) -> i16 {
    i16::try_from(partition.get()).unwrap_or(i16::MAX)
}

/// Sends the batch; gives the partitions that passed the fence with the number of their rows stored, or what stands against it.
///
/// Reads the reply to its end: in the extended protocol the commit comes after the rows.
pub(super) async fn append(
    connection: &mut PgConnection,
    batch: &AppendBatch,
    joints: &Joints,
) -> Result<Result<Vec<(PartitionId, u64)>, Conflict>, sqlx::Error> {
    if joints.is_empty() {
        let replied = bound(APPEND, batch).fetch_all(connection).await?;
        return passed(&replied).map(Ok);
    }
    let (of_partitions, of_conversations) = (&joints.partitions, &joints.conversations);
    let replied = bound(APPEND_JOINED, batch)
        .bind(each(of_partitions, |joint| column(joint.0)))
        .bind(each(of_partitions, |joint| signed(joint.1.get())))
        .bind(each(of_conversations, |joint| column(joint.0)))
        .bind(each(of_conversations, |joint| joint.1.uuid()))
        .bind(each(of_conversations, |joint| signed(joint.2.get())))
        .fetch_all(connection)
        .await?;
    let is_hole = replied.first().map(|row| row.try_get::<Option<bool>, _>(2));
    match is_hole.transpose()?.flatten() {
        Some(true) => Ok(Err(Conflict::Hole)),
        Some(false) => Ok(Err(Conflict::Position)),
        None => passed(&replied).map(Ok),
    }
}

/// A statement with the batch as its first fifteen arguments.
fn bound<'q>(statement: &'static str, batch: &'q AppendBatch) -> Query<'q> {
    let (partitions, epochs) = fence_columns(&batch.fence);
    let rows = &batch.rows;
    sqlx::query(statement)
        .bind(partitions)
        .bind(epochs)
        .bind(each(rows, |row| column(row.partition)))
        .bind(each(rows, |row| signed(row.offset.get())))
        .bind(each(rows, |row| signed(row.seq.get())))
        .bind(each(rows, |row| row.at.millis()))
        .bind(each(rows, |row| row.crc.cast_signed()))
        .bind(each(rows, |row| row.body_crc.map(u32::cast_signed)))
        .bind(each(rows, |row| row.kind))
        .bind(each(rows, |row| row.ver))
        .bind(each(rows, |row| row.fmt))
        .bind(each(rows, |row| row.conversation.uuid()))
        .bind(each(rows, |row| row.command_id.uuid()))
        .bind(
            rows.iter()
                .map(|row| row.meta.as_ref())
                .collect::<Vec<&[u8]>>(),
        )
        .bind(
            rows.iter()
                .map(|row| row.body.as_deref())
                .collect::<Vec<Option<&[u8]>>>(),
        )
}

fn each<R, T>(rows: &[R], value: impl Fn(&R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

/// The reply's rows: partition and count.
pub(super) fn passed(rows: &[PgRow]) -> Result<Vec<(PartitionId, u64)>, sqlx::Error> {
    let misfit = |error: ReadError| sqlx::Error::Decode(error.into());
    let mut passed = Vec::with_capacity(rows.len());
    for row in rows {
        let partition = partition(i64::from(row.try_get::<i16, _>(0)?)).map_err(misfit)?;
        passed.push((
            partition,
            unsigned("count", row.try_get(1)?).map_err(misfit)?,
        ));
    }
    Ok(passed)
}

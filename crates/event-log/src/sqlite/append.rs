//! The append: fence and rows in one transaction that holds the write lock of the file from its first statement on.
//!
//! BEGIN IMMEDIATE makes the fence read final: nobody can move an epoch between it and the commit. Rows go in with multi-row inserts of
//! 512, 256, … 1 rows, so that ten prepared statements serve every batch size.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use hubbub_domain::position::{Epoch, PartitionId};
use hubbub_wire::stored::EventRow;
use sqlx::{Row, Sqlite, SqliteConnection};

use super::fault;
use crate::batch::Expected;
use crate::columns::signed;
use crate::dense::{Ends, Joints, graver, misfit};
use crate::port::{APPEND_ROWS_MAX, AppendBatch, AppendOutcome, Conflict};

/// Columns of a row in the order that [`bind`] gives them.
const COLUMNS: usize = 15;
/// Insert sizes: 2^9 down to 2^0.
const SIZES: usize = APPEND_ROWS_MAX.ilog2() as usize + 1;

/// The insert of 2^n rows, for n from 0.
static INSERTS: LazyLock<[String; SIZES]> =
    LazyLock::new(|| std::array::from_fn(|power| insert_statement(1 << power)));

fn insert_statement(rows: usize) -> String {
    let mut sql = String::from(
        r#"insert into event_log ("offset", seq, at, epoch, segment, partition, kind, ver, fmt, conversation_id, command_id, meta, body, crc, body_crc) values "#,
    );
    let row = format!("({})", vec!["?"; COLUMNS].join(","));
    for n in 0..rows {
        // Writing into a String cannot fail.
        let _always_ok = write!(sql, "{}{row}", if n == 0 { "" } else { "," }).is_ok();
    }
    sql
}

/// Partitions that pass the fence, with the segment their rows go to.
type Passed = BTreeMap<PartitionId, i64>;

pub(super) async fn append(
    connection: &mut SqliteConnection,
    ends: &mut Ends,
    batch: &AppendBatch,
    expected: &Expected,
) -> AppendOutcome {
    let joints = match ends.open_joints(batch) {
        Ok(joints) => joints,
        Err(conflict) => return AppendOutcome::Conflict(conflict),
    };
    match store(connection, batch, &joints).await {
        Ok(Ok(stored)) => match commit(connection).await {
            None => {
                let outcome = expected.outcome(stored);
                if let AppendOutcome::Done { committed, .. } = &outcome {
                    ends.stored(batch, committed);
                }
                outcome
            }
            Some(failed) => failed,
        },
        Ok(Err(conflict)) => roll_back(connection, AppendOutcome::Conflict(conflict)).await,
        Err(error) if fault::is_unique_violation(&error) => {
            let conflict = classify(connection, batch, &error).await;
            roll_back(connection, AppendOutcome::Conflict(conflict)).await
        }
        Err(error) => {
            tracing::warn!(%error, "an append was refused by the log file");
            roll_back(connection, AppendOutcome::Refused(fault::refusal(&error))).await
        }
    }
}

/// Begins, reads the fence and inserts; gives the rows stored of each partition that passed, or what stands against the batch.
async fn store(
    connection: &mut SqliteConnection,
    batch: &AppendBatch,
    joints: &Joints,
) -> Result<Result<BTreeMap<PartitionId, u64>, Conflict>, sqlx::Error> {
    let passed = begin(connection, &batch.fence).await?;
    if let Some(conflict) = misfits(connection, &passed, joints).await? {
        return Ok(Err(conflict));
    }
    let mut stored: BTreeMap<PartitionId, u64> =
        passed.keys().map(|&partition| (partition, 0)).collect();
    let mut rows = Vec::with_capacity(batch.rows.len());
    for row in &batch.rows {
        if let (Some(segment), Some(count)) =
            (passed.get(&row.partition), stored.get_mut(&row.partition))
        {
            *count = count.saturating_add(1);
            rows.push((row, *segment));
        }
    }
    let mut rest = rows.as_slice();
    while !rest.is_empty() {
        let power = rest.len().min(APPEND_ROWS_MAX).ilog2();
        let (chunk, after) = rest.split_at(1 << power);
        insert(connection, power, chunk).await?;
        rest = after;
    }
    Ok(Ok(stored))
}

/// Whether the log ends elsewhere than right before the rows of partitions that passed. A wrong position is graver than a hole.
async fn misfits(
    connection: &mut SqliteConnection,
    passed: &Passed,
    joints: &Joints,
) -> Result<Option<Conflict>, sqlx::Error> {
    const HEAD: &str = r#"select coalesce(max("offset"), 0) from event_log where partition = ?"#;
    const LAST: &str = "select coalesce(max(seq), 0) from event_log where conversation_id = ?";
    let mut found = None;
    for (partition, before) in &joints.partitions {
        if passed.contains_key(partition) {
            let end: i64 = sqlx::query_scalar(HEAD)
                .bind(i64::from(partition.get()))
                .fetch_one(&mut *connection)
                .await?;
            found = graver(found, misfit(end, signed(before.get())));
        }
    }
    for (partition, conversation, before) in &joints.conversations {
        if passed.contains_key(partition) {
            let end: i64 = sqlx::query_scalar(LAST)
                .bind(conversation.uuid())
                .fetch_one(&mut *connection)
                .await?;
            found = graver(found, misfit(end, signed(before.get())));
        }
    }
    Ok(found)
}

/// Takes the write lock of the file and tells which partitions of `fence` still have their epoch. One call of the driver for both: each
/// costs a switch to the thread that runs SQLite.
pub(super) async fn begin(
    connection: &mut SqliteConnection,
    fence: &[(PartitionId, Epoch)],
) -> Result<Passed, sqlx::Error> {
    const BEGIN: &str =
        "begin immediate; select partition, epoch, unixepoch() / 604800 from log_partition";
    let rows = sqlx::query(BEGIN).fetch_all(connection).await?;
    let mut current = BTreeMap::new();
    for row in rows {
        current.insert(
            (row.try_get::<i64, _>(0)?, row.try_get::<i64, _>(1)?),
            row.try_get::<i64, _>(2)?,
        );
    }
    let segment_of = |partition: PartitionId, epoch: Epoch| {
        current
            .get(&(i64::from(partition.get()), signed(epoch.get())))
            .copied()
    };
    Ok(fence
        .iter()
        .filter_map(|&(partition, epoch)| Some((partition, segment_of(partition, epoch)?)))
        .collect())
}

async fn insert(
    connection: &mut SqliteConnection,
    power: u32,
    rows: &[(&EventRow, i64)],
) -> Result<(), sqlx::Error> {
    let statement: &'static str = INSERTS.get(power as usize).map_or("", String::as_str);
    let mut query = sqlx::query(statement);
    for (row, segment) in rows {
        query = bind(query, row, *segment);
    }
    query.execute(connection).await.map(|_| ())
}

type Query<'q> = sqlx::query::Query<'q, Sqlite, sqlx::sqlite::SqliteArguments>;

fn bind<'q>(query: Query<'q>, row: &'q EventRow, segment: i64) -> Query<'q> {
    query
        .bind(signed(row.offset.get()))
        .bind(signed(row.seq.get()))
        .bind(row.at.millis())
        .bind(signed(row.epoch.get()))
        .bind(segment)
        .bind(i64::from(row.partition.get()))
        .bind(row.kind)
        .bind(row.ver)
        .bind(row.fmt)
        .bind(row.conversation.uuid())
        .bind(row.command_id.uuid())
        .bind(row.meta.as_ref())
        .bind(row.body.as_deref())
        .bind(i64::from(row.crc))
        .bind(row.body_crc.map(i64::from))
}

/// `None` = committed. After a failure that leaves the end open the outcome is unknown and the connection is given up.
pub(super) async fn commit(connection: &mut SqliteConnection) -> Option<AppendOutcome> {
    let error = sqlx::query("commit")
        .execute(&mut *connection)
        .await
        .err()?;
    tracing::error!(%error, "a commit of the log file failed");
    match fault::commit_refusal(&error) {
        Some(refusal) => Some(roll_back(connection, AppendOutcome::Refused(refusal)).await),
        None => Some(AppendOutcome::Unknown),
    }
}

/// Ends the transaction without a trace; `outcome` is what that means, unless even this fails.
pub(super) async fn roll_back(
    connection: &mut SqliteConnection,
    outcome: AppendOutcome,
) -> AppendOutcome {
    match sqlx::query("rollback").execute(connection).await {
        Ok(_) => outcome,
        // SQLite has rolled back by itself, or never began.
        Err(error)
            if error
                .as_database_error()
                .is_some_and(|told| told.message().contains("no transaction is active")) =>
        {
            outcome
        }
        Err(error) => {
            tracing::error!(%error, "a rollback of the log file failed");
            AppendOutcome::Unknown
        }
    }
}

/// Which uniqueness it was. Positions before commands, whatever SQLite met first: a wrong position is the graver news.
async fn classify(
    connection: &mut SqliteConnection,
    batch: &AppendBatch,
    error: &sqlx::Error,
) -> Conflict {
    const TAKEN: &str = r#"select exists(select 1 from event_log where partition = ? and "offset" = ?)
        or exists(select 1 from event_log where conversation_id = ? and seq = ?)"#;
    // Without this batch's own rows.
    let _already_gone = sqlx::query("rollback")
        .execute(&mut *connection)
        .await
        .is_err();
    for row in &batch.rows {
        let taken = sqlx::query_scalar::<_, bool>(TAKEN)
            .bind(i64::from(row.partition.get()))
            .bind(signed(row.offset.get()))
            .bind(row.conversation.uuid())
            .bind(signed(row.seq.get()))
            .fetch_one(&mut *connection)
            .await;
        if !matches!(taken, Ok(false)) {
            return Conflict::Position;
        }
    }
    let names_command = error
        .as_database_error()
        .is_some_and(|told| told.message().contains("command_id"));
    if names_command {
        Conflict::Command
    } else {
        Conflict::Position
    }
}

//! The contract on real files, and what only files have: locks, restarts, a full disk, a newer schema.

use hubbub_domain::position::{Offset, PartitionId};
use tempfile::TempDir;

use super::*;
use crate::contract::{batch, body_row, claim_all, incarnation, row};
use crate::port::{LogReader as _, Refusal};

async fn fresh() -> Option<(SqliteLog, TempDir)> {
    let dir = tempfile::tempdir().expect("makes a directory");
    let log = SqliteLog::open(dir.path()).await.expect("opens");
    Some((log, dir))
}

crate::event_log_contract!(fresh());

const P: PartitionId = PartitionId::new(0);

fn committed() -> AppendOutcome {
    AppendOutcome::Done {
        committed: vec![P],
        fenced: vec![],
    }
}

/// A connection of an operator's tool, for looking and meddling.
async fn tool(dir: &Path) -> sqlx::SqliteConnection {
    let url = format!("sqlite://{}", SqliteLog::log_path(dir).display());
    <sqlx::SqliteConnection as sqlx::Connection>::connect(&url)
        .await
        .expect("connects")
}

#[tokio::test]
async fn a_second_process_is_told_that_the_directory_is_in_use() {
    let (log, dir) = fresh().await.expect("opens");
    match SqliteLog::open(dir.path()).await {
        Err(OpenError::Unfit(sentence)) => assert!(sentence.contains("in use"), "{sentence}"),
        other => panic!("{other:?}"),
    }
    log.close().await;
    SqliteLog::open(dir.path()).await.expect("is free again");
}

#[tokio::test]
async fn a_closed_log_gives_its_directory_free_although_a_forked_process_has_the_lock_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let lock = open::lock(dir.path()).expect("free");
    // What a fork has until it becomes another program: the same open file under a descriptor of its own.
    let inherited = lock.try_clone().expect("cloned");
    let path = SqliteLog::log_path(dir.path());
    let (connection, _readers) = open::connect(&path).await.expect("connects");
    let writer = Writer::start(connection, path, lock);
    writer.close().await;
    open::lock(dir.path()).expect("is free again");
    drop(inherited);
}

#[tokio::test]
async fn everything_is_there_after_a_restart_and_epochs_go_on() {
    let (log, dir) = fresh().await.expect("opens");
    let epoch = claim_all(&log, incarnation(1)).await;
    let mut lane = log.open_lane(incarnation(1), 0).await.expect("opens");
    let rows = vec![row(P, 1, epoch, 1), body_row(row(P, 2, epoch, 2), b"hi")];
    assert_eq!(lane.append(batch(rows.clone())).await, committed());
    log.close().await;
    assert_eq!(
        lane.append(batch(vec![row(P, 3, epoch, 3)])).await,
        AppendOutcome::Refused(Refusal::Unavailable),
        "a closed log takes nothing"
    );

    let log = SqliteLog::open(dir.path()).await.expect("opens");
    assert_eq!(log.tail(P, Offset::ZERO, 10).await.expect("reads"), rows);
    assert_eq!(log.nodes().await.expect("reads"), []);
    let next = claim_all(&log, incarnation(2)).await;
    assert!(next > epoch);
    assert_eq!(
        log.heads(&[P]).await.expect("reads")[0].head,
        Offset::new(2)
    );
}

#[tokio::test]
async fn a_schema_of_a_newer_release_is_unfit() {
    let (log, dir) = fresh().await.expect("opens");
    log.close().await;
    sqlx::query(
        "insert into _migrations_event_log (version, description, success, checksum, execution_time) values (99991231000000, 'later', 1, x'00', 0)",
    )
    .execute(&mut tool(dir.path()).await)
    .await
    .expect("inserts");
    match SqliteLog::open(dir.path()).await {
        Err(OpenError::Unfit(sentence)) => {
            assert!(sentence.contains("newer release"), "{sentence}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_the_log_goes_on_when_there_is_room() {
    let (log, _dir) = fresh().await.expect("opens");
    let epoch = claim_all(&log, incarnation(1)).await;
    let mut lane = log.open_lane(incarnation(1), 0).await.expect("opens");
    log.shared.writer.limit_pages(20).await;
    let heavy: Vec<_> = (1..=8)
        .map(|n| body_row(row(P, n, epoch, n), &vec![7; 60_000]))
        .collect();
    assert_eq!(
        lane.append(batch(heavy.clone())).await,
        AppendOutcome::Refused(Refusal::StorageFull)
    );
    assert_eq!(log.tail(P, Offset::ZERO, 10).await.expect("reads"), []);
    log.shared.writer.limit_pages(1_000_000).await;
    assert_eq!(lane.append(batch(heavy)).await, committed());
}

#[tokio::test]
async fn a_tool_that_holds_the_file_for_long_costs_a_refusal_and_nothing_else() {
    let (log, dir) = fresh().await.expect("opens");
    let epoch = claim_all(&log, incarnation(1)).await;
    let mut lane = log.open_lane(incarnation(1), 0).await.expect("opens");
    let mut tool = tool(dir.path()).await;
    let run = async |tool: &mut sqlx::SqliteConnection, sql: &'static str| {
        sqlx::query(sql).execute(tool).await.expect("runs");
    };
    run(&mut tool, "begin immediate").await;
    let rows = batch(vec![row(P, 1, epoch, 1)]);
    assert_eq!(
        lane.append(rows.clone()).await,
        AppendOutcome::Refused(Refusal::Unavailable)
    );
    assert_eq!(log.tail(P, Offset::ZERO, 10).await.expect("reads"), []);
    run(&mut tool, "rollback").await;
    assert_eq!(lane.append(rows).await, committed());
}

#[tokio::test]
async fn a_hole_in_the_file_is_an_alarm_for_its_reader() {
    let (log, dir) = fresh().await.expect("opens");
    let epoch = claim_all(&log, incarnation(1)).await;
    let mut lane = log.open_lane(incarnation(1), 0).await.expect("opens");
    let rows = (1..=5).map(|n| row(P, n, epoch, n)).collect();
    assert_eq!(lane.append(batch(rows)).await, committed());
    sqlx::query(r#"delete from event_log where "offset" = 3"#)
        .execute(&mut tool(dir.path()).await)
        .await
        .expect("deletes");
    let read = log.tail(P, Offset::ZERO, 10).await;
    assert!(
        matches!(read, Err(crate::port::ReadError::Inconsistent(_))),
        "{read:?}"
    );
    assert_eq!(
        log.tail(P, Offset::new(3), 10).await.expect("reads").len(),
        2
    );
}

#[tokio::test]
async fn commits_reach_the_disk_before_they_are_reported() {
    let (log, _dir) = fresh().await.expect("opens");
    assert_eq!(log.shared.writer.pragma("journal_mode").await, "wal");
    assert_eq!(log.shared.writer.pragma("synchronous").await, "2", "FULL");
}

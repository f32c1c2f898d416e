//! The fence while an acquire is under way, and the acquire itself.

use super::*;
use crate::contract::{batch, row};
use crate::port::AcquireError;

#[tokio::test]
async fn an_append_waits_for_an_acquire_in_flight_and_then_inserts_nothing() {
    let Some(mut node) = node().await else { return };
    let mut acquire = node.holding(P0).await;
    run(
        &mut acquire,
        "update log_partition set epoch = epoch + 1 where partition = 0",
    )
    .await;

    let rows = batch(vec![row(P0, 1, node.epochs[&P0], 1)]);
    let mut lane = node.log.open_lane(incarnation(1), 1).await.expect("opens");
    let appending = tokio::spawn(async move { lane.append(rows).await });
    node.lane_waits().await;
    run(&mut acquire, "commit").await;

    assert_eq!(appending.await.expect("ends"), done(&[], &[P0]));
    assert_eq!(node.head(P0).await, 0);
    let still_works = node
        .lane
        .append(batch(vec![row(P1, 1, node.epochs[&P1], 1)]))
        .await;
    assert_eq!(still_works, done(&[P1], &[]));
}

#[tokio::test]
async fn an_append_that_waited_for_an_acquire_of_one_partition_stores_the_others() {
    let Some(node) = node().await else { return };
    let mut acquire = node.holding(P1).await;
    run(
        &mut acquire,
        "update log_partition set epoch = epoch + 1 where partition = 1",
    )
    .await;

    let rows = [P0, P1, P2].map(|partition| row(partition, 1, node.epochs[&partition], 1));
    let mut lane = node.log.open_lane(incarnation(1), 1).await.expect("opens");
    let appending = tokio::spawn(async move { lane.append(batch(rows.to_vec())).await });
    node.lane_waits().await;
    run(&mut acquire, "commit").await;

    assert_eq!(appending.await.expect("ends"), done(&[P0, P2], &[P1]));
    assert_eq!(
        (
            node.head(P0).await,
            node.head(P1).await,
            node.head(P2).await
        ),
        (1, 0, 1)
    );
}

#[tokio::test]
async fn an_append_goes_on_when_the_acquire_it_waited_for_was_given_up() {
    let Some(node) = node().await else { return };
    let mut acquire = node.holding(P0).await;
    run(
        &mut acquire,
        "update log_partition set epoch = epoch + 1 where partition = 0",
    )
    .await;
    let rows = batch(vec![row(P0, 1, node.epochs[&P0], 1)]);
    let mut lane = node.log.open_lane(incarnation(1), 1).await.expect("opens");
    let appending = tokio::spawn(async move { lane.append(rows).await });
    node.lane_waits().await;
    run(&mut acquire, "rollback").await;
    assert_eq!(appending.await.expect("ends"), done(&[P0], &[]));
    assert_eq!(node.head(P0).await, 1);
}

#[tokio::test]
async fn an_acquire_that_waited_for_an_append_reads_the_head_behind_it() {
    let Some(node) = node().await else { return };
    // An append under way: it holds the fence row and has inserted, but not committed.
    let mut append = node.holding(P0).await;
    let insert = format!(
        r#"insert into event_log ("offset", seq, at, epoch, crc, segment, partition, kind, ver, fmt, conversation_id, command_id, meta)
        select 1, 1, 0, {}, 0, segment, 0, 1, 1, 1, gen_random_uuid(), gen_random_uuid(), '' from log_partition where partition = 0"#,
        node.epochs[&P0]
    );
    append
        .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(insert)))
        .await
        .expect("inserts");

    let acquiring = node.take_over(P0);
    let committing = async {
        let waits = "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'hubbub/control' and wait_event_type = 'Lock'";
        eventually(DEADLINE, "the acquire to wait", async || {
            node.scratch.psql(waits) == "1"
        })
        .await;
        run(&mut append, "commit").await;
    };
    let ((_, head), ()) = tokio::join!(acquiring, committing);
    assert_eq!(head, Offset::new(1), "no snapshot older than the wait");
}

#[tokio::test]
async fn an_acquire_ends_a_backend_of_the_dead_owner_that_still_holds_the_row() {
    let Some(node) = node().await else { return };
    let _zombie = holding(&node.scratch, P0, &connect::lane_name(incarnation(1), 3)).await;
    let (epoch, _) = node.take_over(P0).await;
    assert!(epoch > node.epochs[&P0]);
    let lane_three = connect::lane_name(incarnation(1), 3);
    let left = format!(
        "select count(*) from pg_stat_activity where datname = current_database() and application_name = '{lane_three}'"
    );
    eventually(DEADLINE, "the backend to end", async || {
        node.scratch.psql(&left) == "0"
    })
    .await;
    assert_eq!(node.backends(), "1", "the lane that held nothing lives");
}

#[tokio::test]
async fn an_acquire_does_not_end_a_stranger_and_says_that_the_row_is_locked() {
    let Some(node) = node().await else { return };
    let mut stranger = node.holding(P0).await;
    let claim = Claim {
        partition: P0,
        expected_owner: Some(incarnation(1)),
        expected_epoch: node.epochs[&P0],
    };
    let refused = node.log.acquire(incarnation(2), &[claim], "takeover").await;
    assert!(matches!(refused, Err(AcquireError::Locked)), "{refused:?}");
    run(&mut stranger, "rollback").await;
    node.take_over(P0).await;
}

#[tokio::test]
async fn an_epoch_after_a_restore_is_above_every_epoch_before_it() {
    let Some(node) = node().await else { return };
    // The backup was taken when the epoch was 5.
    node.scratch
        .psql("delete from log_epoch; update log_partition set epoch = 5, owner = null");
    let claim = Claim {
        partition: P0,
        expected_owner: None,
        expected_epoch: Epoch::new(5),
    };
    let taken = node
        .log
        .acquire(incarnation(2), &[claim], "claim")
        .await
        .expect("acquires");
    assert!(taken[0].epoch > node.epochs[&P0] && taken[0].epoch < Epoch::MAX);
}

#[tokio::test]
async fn two_nodes_that_claim_at_once_share_out_and_never_both_win() {
    let Some((log, _scratch)) = fresh().await else {
        return;
    };
    log.init_cluster(hubbub_domain::position::PartitionCount::CLUSTER)
        .await
        .expect("creates");
    let claims: Vec<Claim> = log
        .partitions()
        .await
        .expect("reads")
        .iter()
        .map(|row| Claim {
            partition: row.partition,
            expected_owner: None,
            expected_epoch: Epoch::ZERO,
        })
        .collect();
    let (one, two) = tokio::join!(
        log.acquire(incarnation(1), &claims, "claim"),
        log.acquire(incarnation(2), &claims, "claim")
    );
    let (one, two) = (one.expect("acquires"), two.expect("acquires"));
    assert_eq!(one.len() + two.len(), 1024);
    assert!(
        one.is_empty() || two.is_empty(),
        "the first to lock takes all"
    );
}

//! Outcomes that nobody told: the line broke, or the reply never came. They are resolved under a new epoch and never before.

use hubbub_testkit::proxy::TcpProxy;

use super::*;
use crate::contract::{batch, row};
use crate::port::AcquireError;

/// A node whose lane goes through a line that can be broken.
async fn behind_a_proxy() -> Option<(Node, TcpProxy)> {
    let mut node = node().await?;
    let proxy = TcpProxy::start(address(&node.scratch))
        .await
        .expect("starts");
    let through = PgOptions::new(proxy.url_through(node.scratch.url()));
    let log = PgLog::open(through).await.expect("opens");
    node.lane = log.open_lane(incarnation(1), 1).await.expect("opens");
    Some((node, proxy))
}

#[tokio::test]
async fn a_swallowed_reply_is_unknown_and_the_new_epoch_finds_the_row() {
    let Some((mut node, proxy)) = behind_a_proxy().await else {
        return;
    };
    proxy.swallow_replies();
    let rows = batch(vec![row(P0, 1, node.epochs[&P0], 1)]);
    assert_eq!(node.lane.append(rows.clone()).await, AppendOutcome::Unknown);
    assert!(proxy.swallowed_bytes() > 0, "the server did answer");

    let (epoch, head) = node.take_over(P0).await;
    assert!(epoch > node.epochs[&P0]);
    assert_eq!(head, Offset::new(1));
    assert_eq!(
        node.log.tail(P0, Offset::ZERO, 10).await.expect("reads"),
        rows.rows
    );

    proxy.resume();
    assert_eq!(
        node.lane
            .append(batch(vec![row(P0, 2, node.epochs[&P0], 2)]))
            .await,
        AppendOutcome::Unknown
    );
    assert_eq!(node.head(P0).await, 1, "a dead lane sends nothing");
}

#[tokio::test]
async fn a_request_that_arrives_after_the_new_epoch_stores_nothing() {
    let Some((mut node, proxy)) = behind_a_proxy().await else {
        return;
    };
    proxy.hold_requests();
    let rows = batch(vec![row(P0, 1, node.epochs[&P0], 1)]);
    assert_eq!(node.lane.append(rows).await, AppendOutcome::Unknown);
    assert!(proxy.held_chunks() > 0, "the request is still under way");

    let (_, head) = node.take_over(P0).await;
    assert_eq!(head, Offset::ZERO, "not applied, and now it never will be");

    let name = connect::lane_name(incarnation(1), 1);
    let left = format!(
        "select count(*) from pg_stat_activity where datname = current_database() and application_name = '{name}'"
    );
    assert_eq!(node.scratch.psql(&left), "1", "its backend waits for it");
    proxy.resume();
    eventually(DEADLINE, "the late request to be served", async || {
        node.scratch.psql(&left) == "0"
    })
    .await;
    assert_eq!(node.head(P0).await, 0);
    assert_eq!(
        node.log.tail(P0, Offset::ZERO, 10).await.expect("reads"),
        []
    );
}

#[tokio::test]
async fn a_cut_line_is_unknown_at_once_and_the_statement_goes_on_at_the_server() {
    let Some((node, proxy)) = behind_a_proxy().await else {
        return;
    };
    let mut holder = node.holding(P0).await;
    let Node {
        log,
        epochs,
        mut lane,
        scratch,
    } = node;
    let rows = batch(vec![row(P0, 1, epochs[&P0], 1)]);
    let appending = tokio::spawn(async move { lane.append(rows).await });
    let name = connect::lane_name(incarnation(1), 1);
    let waiting = format!(
        "select count(*) from pg_stat_activity where datname = current_database() and application_name = '{name}' and wait_event_type = 'Lock'"
    );
    eventually(DEADLINE, "the lane to wait for a lock", async || {
        scratch.psql(&waiting) == "1"
    })
    .await;
    proxy.cut();
    assert_eq!(appending.await.expect("ends"), AppendOutcome::Unknown);
    assert_eq!(scratch.psql(&waiting), "1", "nobody cancelled it");

    run(&mut holder, "rollback").await;
    let head = async || log.heads(&[P0]).await.expect("reads")[0].head;
    eventually(DEADLINE, "the statement to commit", async || {
        head().await == Offset::new(1)
    })
    .await;
}

#[tokio::test]
async fn a_statement_left_behind_in_a_lock_queue_does_not_stand_in_the_way_of_the_next_epoch() {
    let Some((node, proxy)) = behind_a_proxy().await else {
        return;
    };
    let mut holder = node.holding(P0).await;
    let Node {
        log,
        epochs,
        mut lane,
        scratch,
    } = node;
    let rows = batch(vec![row(P0, 1, epochs[&P0], 1)]);
    let appending = tokio::spawn(async move { lane.append(rows).await });
    let name = connect::lane_name(incarnation(1), 1);
    let waiting = format!(
        "select count(*) from pg_stat_activity where datname = current_database() and application_name = '{name}' and wait_event_type = 'Lock'"
    );
    eventually(DEADLINE, "the lane to wait for a lock", async || {
        scratch.psql(&waiting) == "1"
    })
    .await;
    proxy.cut();
    assert_eq!(appending.await.expect("ends"), AppendOutcome::Unknown);

    let claim = Claim {
        partition: P0,
        expected_owner: Some(incarnation(1)),
        expected_epoch: epochs[&P0],
    };
    // The first ends the statement, and is itself held up by the holder.
    let claims = [claim];
    eventually(DEADLINE, "the left statement to be ended", async || {
        let held_up = log.acquire(incarnation(1), &claims, "in_doubt").await;
        assert!(matches!(held_up, Err(AcquireError::Locked)), "{held_up:?}");
        scratch.psql(&waiting) == "0"
    })
    .await;
    run(&mut holder, "rollback").await;
    let acquired = log.acquire(incarnation(1), &claims, "in_doubt").await;
    assert_eq!(acquired.expect("acquires")[0].head, Offset::ZERO);
    assert_eq!(log.tail(P0, Offset::ZERO, 10).await.expect("reads"), []);
}

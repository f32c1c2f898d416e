//! Lanes: no deadlock, no cancel, and what each error of the server means.

use std::time::Duration;

use super::*;
use crate::contract::{batch, conversation, marker, row, user};
use crate::dense::Joints;
use crate::port::{AppendBatch, Conflict, MarkerUpdate, Refusal};

/// Rounds in which a wrong lock order would meet itself.
const ROUNDS: u64 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_lanes_over_the_same_partitions_never_deadlock_whatever_order_they_name_them_in() {
    let Some(node) = node().await else { return };
    let fence: Vec<(PartitionId, Epoch)> = node
        .epochs
        .iter()
        .map(|(partition, epoch)| (*partition, *epoch))
        .collect();
    let rounds = |fence: Vec<(PartitionId, Epoch)>, lane: u16, mine: PartitionId| {
        let server = node.log.shared.server.clone();
        tokio::spawn(async move {
            let mut connection = connect::lane(&server, incarnation(1), lane)
                .await
                .expect("connects");
            for n in 1..=ROUNDS {
                let epoch = fence
                    .iter()
                    .find(|(partition, _)| *partition == mine)
                    .expect("is there")
                    .1;
                let batch = AppendBatch {
                    fence: fence.clone(),
                    rows: vec![row(mine, n, epoch, n)],
                };
                let joints = Joints::of(&batch).expect("is dense");
                let passed = append::append(&mut connection, &batch, &joints)
                    .await
                    .expect("no deadlock")
                    .expect("fits");
                assert_eq!(passed.len(), fence.len());
            }
        })
    };
    let backwards: Vec<_> = fence.iter().rev().copied().collect();
    let (up, down) = (rounds(fence, 1, P0), rounds(backwards, 2, P1));
    up.await.expect("ascending");
    down.await.expect("descending");
    assert_eq!((node.head(P0).await, node.head(P1).await), (ROUNDS, ROUNDS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_and_acquires_over_the_same_partitions_never_deadlock() {
    let Some(node) = node().await else { return };
    let fence: Vec<(PartitionId, Epoch)> = node
        .epochs
        .iter()
        .map(|(partition, epoch)| (*partition, *epoch))
        .collect();
    let mut lane = node.lane;
    let asking = tokio::spawn(async move {
        for _ in 0..ROUNDS {
            let outcome = lane
                .append(AppendBatch {
                    fence: fence.clone(),
                    rows: Vec::new(),
                })
                .await;
            assert!(matches!(outcome, AppendOutcome::Done { .. }), "{outcome:?}");
        }
    });
    while !asking.is_finished() {
        claim_every(&node.log, incarnation(1)).await;
    }
    asking.await.expect("no deadlock");
}

#[tokio::test]
async fn a_dropped_future_never_cancels_its_statement() {
    let Some(mut node) = node().await else { return };
    let mut holder = node.holding(P0).await;
    let rows = batch(vec![row(P0, 1, node.epochs[&P0], 1)]);
    let given_up = tokio::time::timeout(Duration::from_millis(300), node.lane.append(rows)).await;
    assert!(given_up.is_err(), "it waits for the lock");
    node.lane_waits().await;
    run(&mut holder, "rollback").await;
    eventually(DEADLINE, "the row that nobody waits for", async || {
        node.head(P0).await == 1
    })
    .await;
    let next = node
        .lane
        .append(batch(vec![row(P0, 2, node.epochs[&P0], 2)]))
        .await;
    assert_eq!(next, done(&[P0], &[]), "the lane goes on behind it");
}

#[tokio::test]
async fn a_statement_that_an_operator_cancels_has_stored_nothing_and_the_lane_goes_on() {
    let Some(mut node) = node().await else { return };
    let mut holder = node.holding(P0).await;
    let rows = batch(vec![row(P0, 1, node.epochs[&P0], 1)]);
    let name = connect::lane_name(incarnation(1), 0);
    let scratch = PgScratchView(&node.scratch);
    let (outcome, ()) = tokio::join!(node.lane.append(rows.clone()), async {
        scratch.until_waiting(&name).await;
        scratch.0.psql(&format!(
            "select pg_cancel_backend(pid) from pg_stat_activity where datname = current_database() and application_name = '{name}'"
        ));
    });
    assert_eq!(outcome, AppendOutcome::Refused(Refusal::Unavailable));
    run(&mut holder, "rollback").await;
    assert_eq!(node.head(P0).await, 0);
    assert_eq!(node.lane.append(rows).await, done(&[P0], &[]));
}

#[tokio::test]
async fn a_backend_that_is_ended_leaves_the_outcome_unknown_and_the_lane_dead() {
    let Some(mut node) = node().await else { return };
    let mut holder = node.holding(P0).await;
    let rows = batch(vec![row(P0, 1, node.epochs[&P0], 1)]);
    let name = connect::lane_name(incarnation(1), 0);
    let scratch = PgScratchView(&node.scratch);
    let (outcome, ()) = tokio::join!(node.lane.append(rows.clone()), async {
        scratch.until_waiting(&name).await;
        scratch.0.psql(&format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = '{name}'"));
    });
    assert_eq!(outcome, AppendOutcome::Unknown);
    run(&mut holder, "rollback").await;
    assert_eq!(node.lane.append(rows).await, AppendOutcome::Unknown, "dead");
    assert_eq!(node.head(P0).await, 0);
}

/// The parts of a node that a second future may look at while the lane is borrowed.
struct PgScratchView<'a>(&'a PgScratch);

impl PgScratchView<'_> {
    async fn until_waiting(&self, name: &str) {
        let waiting = format!(
            "select count(*) from pg_stat_activity where datname = current_database() and application_name = '{name}' and wait_event_type = 'Lock'"
        );
        eventually(DEADLINE, "the lane to wait for a lock", async || {
            self.0.psql(&waiting) == "1"
        })
        .await;
    }
}

#[tokio::test]
async fn a_server_without_room_refuses_and_so_does_one_that_only_reads() {
    let Some(mut node) = node().await else { return };
    node.scratch.psql(
        "create function full_disk() returns trigger language plpgsql as $$ begin raise exception 'no space left' using errcode = '53100'; end $$;
        create trigger full_disk before insert on event_log for each row execute function full_disk()",
    );
    let rows = batch(vec![row(P0, 1, node.epochs[&P0], 1)]);
    assert_eq!(
        node.lane.append(rows.clone()).await,
        AppendOutcome::Refused(Refusal::StorageFull)
    );
    node.scratch.psql("drop trigger full_disk on event_log");
    assert_eq!(node.lane.append(rows).await, done(&[P0], &[]));

    node.scratch.psql(&format!(
        "alter database {} set default_transaction_read_only = on",
        node.scratch.name()
    ));
    let mut lane = node.log.open_lane(incarnation(1), 1).await.expect("opens");
    let outcome = lane
        .append(batch(vec![row(P0, 2, node.epochs[&P0], 2)]))
        .await;
    assert_eq!(outcome, AppendOutcome::Refused(Refusal::Unavailable));
}

#[tokio::test]
async fn a_partition_that_comes_back_half_stored_is_broken() {
    let Some(mut node) = node().await else { return };
    node.scratch.psql(
        r#"create function swallow() returns trigger language plpgsql as $$ begin if new."offset" = 2 then return null; end if; return new; end $$;
        create trigger swallow before insert on event_log for each row execute function swallow()"#,
    );
    let rows = batch((1..=3).map(|n| row(P0, n, node.epochs[&P0], n)).collect());
    assert_eq!(node.lane.append(rows).await, AppendOutcome::Broken);
    let tail = node.log.tail(P0, Offset::ZERO, 10).await;
    assert!(
        matches!(tail, Err(crate::port::ReadError::Inconsistent(_))),
        "{tail:?}"
    );
}

#[tokio::test]
async fn conflicts_are_told_apart_by_their_index_in_every_segment() {
    let Some(mut node) = node().await else { return };
    let epoch = node.epochs[&P0];
    for segment in [4_000, 4_001] {
        node.log.begin_segment(segment).await.expect("begins");
        let base = node.head(P0).await;
        let first = row(P0, base + 1, epoch, base + 1);
        assert_eq!(
            node.lane.append(batch(vec![first.clone()])).await,
            done(&[P0], &[])
        );
        let mut same_command = row(P0, base + 2, epoch, base + 2);
        same_command.command_id = first.command_id;
        assert_eq!(
            node.lane.append(batch(vec![same_command])).await,
            AppendOutcome::Conflict(Conflict::Command)
        );
        let same_seq = row(P0, base + 2, epoch, base + 1);
        assert_eq!(
            node.lane.append(batch(vec![same_seq])).await,
            AppendOutcome::Conflict(Conflict::Position)
        );
        assert_eq!(
            node.lane.append(batch(vec![first])).await,
            AppendOutcome::Conflict(Conflict::Position)
        );
    }
}

#[tokio::test]
async fn markers_wait_for_an_acquire_in_flight_and_then_move_nothing() {
    let Some(node) = node().await else { return };
    let mut acquire = node.holding(P0).await;
    run(
        &mut acquire,
        "update log_partition set epoch = epoch + 1 where partition = 0",
    )
    .await;
    let update = MarkerUpdate {
        partition: P0,
        marker: marker(conversation(P0, 1), user(1), 0, 5, 5),
    };
    let fence = vec![(P0, node.epochs[&P0])];
    let mut lane = node.log.open_lane(incarnation(1), 1).await.expect("opens");
    let writing = tokio::spawn(async move { lane.write_markers(fence, vec![update]).await });
    node.lane_waits().await;
    run(&mut acquire, "commit").await;
    assert_eq!(writing.await.expect("ends"), done(&[], &[P0]));
    assert_eq!(
        node.log.markers(conversation(P0, 1)).await.expect("reads"),
        []
    );
}

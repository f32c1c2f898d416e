//! Weekly children: rows move on to the next one, reads see all of them.

use hubbub_domain::position::Seq;

use super::*;
use crate::contract::{batch, conversation, row};
use crate::port::Conflict;

/// Three rows of partition 0 in each of three segments, far enough ahead that no real week gets there.
async fn three_segments() -> Option<Node> {
    let mut node = node().await?;
    for segment in [4_000_u16, 4_001, 4_002] {
        node.log
            .begin_segment(segment.try_into().expect("fits"))
            .await
            .expect("begins");
        let base = u64::from(segment - 4_000) * 3;
        let rows = (base + 1..=base + 3)
            .map(|n| row(P0, n, node.epochs[&P0], n))
            .collect();
        assert_eq!(node.lane.append(batch(rows)).await, done(&[P0], &[]));
    }
    Some(node)
}

#[tokio::test]
async fn this_weeks_child_and_the_next_are_there_from_the_start() {
    let Some((_log, scratch)) = fresh().await else {
        return;
    };
    let week = "floor(extract(epoch from now()) / 604800)::int";
    let there = format!(
        "select to_regclass('event_log_s' || {week}) is not null, to_regclass('event_log_s' || {week} + 1) is not null"
    );
    assert_eq!(scratch.psql(&there), "t|t");
}

#[tokio::test]
async fn rows_go_to_the_segment_of_the_fence_row_and_reads_cross_segments() {
    let Some(node) = three_segments().await else {
        return;
    };
    let counts = "select (select count(*) from event_log_s4000), (select count(*) from event_log_s4001), (select count(*) from event_log_s4002)";
    assert_eq!(node.scratch.psql(counts), "3|3|3");

    for after in 0..=9 {
        let tail = node
            .log
            .tail(P0, Offset::new(after), 100)
            .await
            .expect("is dense");
        assert_eq!(tail.len() as u64, 9 - after);
    }
    let chat = conversation(P0, 1);
    let middle = node
        .log
        .read_conversation(chat, Seq::new(3), 5)
        .await
        .expect("is dense");
    assert_eq!(
        middle.iter().map(|row| row.seq.get()).collect::<Vec<_>>(),
        [3, 4, 5, 6, 7]
    );
    assert_eq!(
        node.log
            .conversation_head(chat)
            .await
            .expect("reads")
            .map(|head| head.seq),
        Some(Seq::new(9))
    );
    assert_eq!(node.head(P0).await, 9);
    for n in [1, 5, 9] {
        let sought = row(P0, n, node.epochs[&P0], n);
        let found = node
            .log
            .find_command(chat, sought.command_id)
            .await
            .expect("reads");
        assert_eq!(found, Some(sought), "also in a segment of long ago");
    }
}

#[tokio::test]
async fn a_new_lane_knows_where_the_log_ends_in_an_older_segment() {
    let Some(node) = three_segments().await else {
        return;
    };
    node.log.begin_segment(4_003).await.expect("begins");
    let epoch = node.epochs[&P0];
    let mut lane = node.log.open_lane(incarnation(1), 1).await.expect("opens");
    for (offset, seq, conflict) in [
        (11, 10, Conflict::Hole),
        (10, 11, Conflict::Hole),
        (9, 10, Conflict::Position),
        (10, 9, Conflict::Position),
        (11, 9, Conflict::Position),
    ] {
        let outcome = lane.append(batch(vec![row(P0, offset, epoch, seq)])).await;
        assert_eq!(outcome, AppendOutcome::Conflict(conflict));
    }
    let next = lane.append(batch(vec![row(P0, 10, epoch, 10)])).await;
    assert_eq!(next, done(&[P0], &[]));
    assert_eq!(node.head(P0).await, 10);
}

#[tokio::test]
async fn a_lane_that_comes_back_to_a_server_which_lost_rows_appends_nothing_behind_the_hole() {
    let Some(mut node) = node().await else { return };
    let epoch = node.epochs[&P0];
    let rows = batch((1..=3).map(|n| row(P0, n, epoch, n)).collect());
    assert_eq!(node.lane.append(rows).await, done(&[P0], &[]));
    node.scratch
        .psql(r#"delete from event_log where "offset" = 3"#);
    let next = batch(vec![row(P0, 4, epoch, 4), row(P1, 1, node.epochs[&P1], 1)]);
    let mut lane = node.log.open_lane(incarnation(1), 0).await.expect("opens");
    assert_eq!(
        lane.append(next).await,
        AppendOutcome::Conflict(Conflict::Hole)
    );
    assert_eq!((node.head(P0).await, node.head(P1).await), (2, 0));
}

#[tokio::test]
async fn an_acquire_finds_the_head_in_an_older_segment_and_behind_archived_ones() {
    let Some(node) = three_segments().await else {
        return;
    };
    node.log.begin_segment(4_003).await.expect("begins");
    let (epoch, head) = node.take_over(P0).await;
    assert_eq!(head, Offset::new(9));

    // Archived: the rows are gone from the database, the place is not.
    node.scratch
        .psql("drop table event_log_s4000, event_log_s4001, event_log_s4002");
    let claim = Claim {
        partition: P0,
        expected_owner: Some(incarnation(2)),
        expected_epoch: epoch,
    };
    let taken = node
        .log
        .acquire(incarnation(1), &[claim], "takeover")
        .await
        .expect("acquires");
    assert_eq!(taken[0].head, Offset::new(9));
    assert_eq!(node.head(P0).await, 9);
}

#[tokio::test]
async fn a_segment_never_goes_back() {
    let Some(node) = three_segments().await else {
        return;
    };
    node.log.begin_segment(3_999).await.expect("begins");
    assert_eq!(
        node.scratch
            .psql("select distinct segment from log_partition"),
        "4002"
    );
    node.take_over(P0).await;
    assert_eq!(
        node.scratch
            .psql("select distinct segment from log_partition"),
        "4002"
    );
}

#[tokio::test]
async fn an_append_that_waits_while_the_segment_moves_stores_into_the_new_one() {
    let Some(node) = node().await else { return };
    node.log.begin_segment(4_000).await.expect("begins");
    node.log.begin_segment(4_001).await.expect("begins");
    node.scratch.psql("update log_partition set segment = 4000");
    let mut mover = node.holding(P0).await;
    run(
        &mut mover,
        "update log_partition set segment = 4001 where partition = 0",
    )
    .await;
    let rows = batch(vec![row(P0, 1, node.epochs[&P0], 1)]);
    let mut lane = node.log.open_lane(incarnation(1), 1).await.expect("opens");
    let appending = tokio::spawn(async move { lane.append(rows).await });
    node.lane_waits().await;
    run(&mut mover, "commit").await;
    assert_eq!(appending.await.expect("ends"), done(&[P0], &[]));
    assert_eq!(
        node.scratch.psql(
            "select (select count(*) from event_log_s4000), (select count(*) from event_log_s4001)"
        ),
        "0|1"
    );
}

#[tokio::test]
async fn nodes_that_begin_a_segment_at_once_make_one_child() {
    let Some((log, scratch)) = fresh().await else {
        return;
    };
    let other = PgLog::open(PgOptions::new(scratch.url()))
        .await
        .expect("opens");
    let (one, two, three) = tokio::join!(
        log.begin_segment(4_000),
        other.begin_segment(4_000),
        log.begin_segment(4_000)
    );
    one.and(two).and(three).expect("begin");
    assert_eq!(
        scratch.psql("select count(*) from pg_class where relname = 'event_log_s4000'"),
        "1"
    );
}

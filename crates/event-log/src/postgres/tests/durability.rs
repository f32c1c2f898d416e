//! What a server must promise before it may hold the log, at start and while it runs.

use std::time::Duration;

use hubbub_testkit::pg::PgServer;

use super::*;
use crate::contract::{batch, conversation, marker, row, user};
use crate::port::{MarkerUpdate, Refusal};
use crate::postgres::checks::Demands;
use crate::postgres::connect::parse;
use crate::postgres::segments as upkeep;

/// Well below the minute between two looks at a server that is fit, well above the second between two at one that is not.
const BACK_WITHIN: Duration = Duration::from_secs(30);

fn replicated(url: &str) -> PgOptions {
    PgOptions {
        durability: Durability::Replicated,
        ..PgOptions::new(url)
    }
}

async fn refusal(options: PgOptions) -> String {
    match PgLog::open(options).await {
        Err(OpenError::Unfit(sentence)) => sentence,
        other => panic!("{other:?}"),
    }
}

/// Looks until there is a verdict against the server.
async fn found_unfit(url: &str, durability: Durability, fitness: &Fitness) {
    eventually(DEADLINE, "the server to be found unfit", async || {
        !look(url, durability, fitness).await
    })
    .await;
}

/// One look through a new connection: whether the server counts as fit after it.
async fn look(url: &str, durability: Durability, fitness: &Fitness) -> bool {
    let pool = Pool::new(&parse(url).expect("is a URL"), "hubbub/look", 1);
    let demands = Demands {
        durability,
        allow_unsafe: false,
    };
    upkeep::look(&pool, demands, fitness)
        .await
        .expect("answers");
    fitness.is_fit()
}

/// Two servers of their own, the second a synchronous standby of the first; `None` where there is no `PostgreSQL` to test on.
async fn primary_and_standby() -> Option<(PgServer, PgServer)> {
    PgScratch::create()?;
    let starting = tokio::task::spawn_blocking(|| {
        let primary = PgServer::start(&[]).expect("a server");
        let standby = primary.start_standby("second").expect("a standby");
        primary.synchronise_with("second").expect("streams");
        (primary, standby)
    });
    Some(starting.await.expect("starts"))
}

#[tokio::test]
async fn a_server_without_a_standby_is_not_fit_for_a_replicated_log() {
    let Some(scratch) = PgScratch::create() else {
        return;
    };
    let sentence = refusal(replicated(scratch.url())).await;
    assert!(
        sentence.contains("synchronous_standby_names is empty"),
        "{sentence}"
    );
    scratch.psql(&format!(
        "alter database {} set synchronous_commit = 'local'",
        scratch.name()
    ));
    let sentence = refusal(replicated(scratch.url())).await;
    assert!(
        sentence.contains("synchronous_commit = local"),
        "{sentence}"
    );
    PgLog::open(PgOptions::new(scratch.url()))
        .await
        .expect("the local disk is enough for a local log");
}

#[tokio::test]
async fn a_server_that_becomes_unsafe_while_it_runs_is_noticed_and_so_is_its_repair() {
    let Some(scratch) = PgScratch::create() else {
        return;
    };
    let log = PgLog::open(PgOptions::new(scratch.url()))
        .await
        .expect("opens");
    assert!(log.is_fit());
    let fit = &log.shared.fitness;
    let set = |what: &str| scratch.psql(&format!("alter database {} {what}", scratch.name()));
    set("set synchronous_commit = off");
    found_unfit(scratch.url(), Durability::Local, fit).await;
    assert!(
        !log.is_fit(),
        "a node of this log should not be sent people"
    );
    let lane = log.open_lane(incarnation(1), 0).await;
    assert!(matches!(lane, Err(OpenError::Unfit(_))));
    set("reset synchronous_commit");
    assert!(look(scratch.url(), Durability::Local, fit).await);
    log.open_lane(incarnation(1), 0).await.expect("opens again");
}

#[tokio::test]
async fn an_open_lane_stores_nothing_while_the_server_is_unfit_and_goes_on_when_it_is_fit() {
    let Some(mut node) = node().await else { return };
    let epoch = node.epochs[&P0];
    let fit = Arc::clone(&node.log.shared.fitness);
    assert_eq!(
        node.lane.append(batch(vec![row(P0, 1, epoch, 1)])).await,
        done(&[P0], &[])
    );
    let database = node.scratch.name().to_owned();
    let set = |what: &str| {
        node.scratch
            .psql(&format!("alter database {database} {what}"))
    };
    set("set synchronous_commit = off");
    found_unfit(node.scratch.url(), Durability::Local, &fit).await;
    let refused = AppendOutcome::Refused(Refusal::Unfit);
    let next = batch(vec![row(P0, 2, epoch, 2)]);
    assert_eq!(node.lane.append(next.clone()).await, refused);
    let chat = conversation(P0, 1);
    let update = MarkerUpdate {
        partition: P0,
        marker: marker(chat, user(1), 0, 1, 1),
    };
    let written = node.lane.write_markers(next.fence.clone(), vec![update]);
    assert_eq!(written.await, refused);
    assert_eq!(node.head(P0).await, 1);
    assert_eq!(node.log.markers(chat).await.expect("reads"), []);
    set("reset synchronous_commit");
    assert!(look(node.scratch.url(), Durability::Local, &fit).await);
    assert_eq!(node.lane.append(next).await, done(&[P0], &[]));
}

#[tokio::test]
async fn a_lane_is_not_opened_in_a_session_that_may_lose_commits_before_any_look_found_out() {
    let Some(node) = node().await else { return };
    node.scratch.psql(&format!(
        "alter database {} set synchronous_commit = off",
        node.scratch.name()
    ));
    assert!(node.log.is_fit(), "nobody has looked");
    let lane = node.log.open_lane(incarnation(1), 1).await;
    assert!(matches!(lane, Err(OpenError::Unfit(_))));
}

#[tokio::test]
async fn a_replicated_log_needs_its_standby_to_stream() {
    let Some((primary, mut standby)) = primary_and_standby().await else {
        return;
    };
    let log = PgLog::open(replicated(&primary.url()))
        .await
        .expect("is replicated");
    let fit = &log.shared.fitness;
    assert!(look(&primary.url(), Durability::Replicated, fit).await);
    let epochs = claim_every(&log, incarnation(1)).await;
    let mut lane = log.open_lane(incarnation(1), 0).await.expect("opens");
    let first = batch(vec![row(P0, 1, epochs[&P0], 1)]);
    assert_eq!(lane.append(first).await, done(&[P0], &[]));

    tokio::task::spawn_blocking(move || standby.kill())
        .await
        .expect("ends");
    found_unfit(&primary.url(), Durability::Replicated, fit).await;
    let sentence = refusal(replicated(&primary.url())).await;
    assert!(
        sentence.contains("no synchronous standby is streaming"),
        "{sentence}"
    );
    // Rather than wait for a standby that may never come back.
    let next = batch(vec![row(P0, 2, epochs[&P0], 2)]);
    assert_eq!(
        lane.append(next).await,
        AppendOutcome::Refused(Refusal::Unfit)
    );

    // A role that may not see standbys is told so, rather than that there are none.
    primary
        .psql("set synchronous_commit = local; create role plain login; grant create on schema public to plain; grant create on database postgres to plain")
        .expect("answers");
    let plain = primary.url().replace("postgres@", "plain@");
    let sentence = refusal(replicated(&plain)).await;
    assert!(sentence.contains("pg_read_all_stats"), "{sentence}");
}

#[tokio::test]
async fn a_standby_that_blinks_stops_the_writes_of_a_node_for_no_longer_than_it_is_away() {
    let Some((primary, mut standby)) = primary_and_standby().await else {
        return;
    };
    let log = PgLog::open(replicated(&primary.url()))
        .await
        .expect("is replicated");
    let epochs = claim_every(&log, incarnation(1)).await;
    let mut lane = log.open_lane(incarnation(1), 0).await.expect("opens");
    let mut standby = tokio::task::spawn_blocking(move || {
        standby.kill();
        standby
    })
    .await
    .expect("ends");
    found_unfit(&primary.url(), Durability::Replicated, &log.shared.fitness).await;
    let first = batch(vec![row(P0, 1, epochs[&P0], 1)]);
    assert_eq!(
        lane.append(first.clone()).await,
        AppendOutcome::Refused(Refusal::Unfit)
    );

    let (primary, _standby) = tokio::task::spawn_blocking(move || {
        standby.restart().expect("starts");
        primary.synchronise_with("second").expect("streams again");
        (primary, standby)
    })
    .await
    .expect("is back");
    eventually(
        BACK_WITHIN,
        "the log to find its standby again",
        async || log.is_fit(),
    )
    .await;
    assert_eq!(lane.append(first).await, done(&[P0], &[]));
    drop(primary);
}

#[tokio::test]
async fn a_lane_is_opened_where_its_own_session_finds_the_server_fit_whatever_a_look_found_before()
{
    let Some(node) = node().await else { return };
    let fit = &node.log.shared.fitness;
    let set = |what: &str| {
        node.scratch
            .psql(&format!("alter database {} {what}", node.scratch.name()))
    };
    set("set synchronous_commit = off");
    found_unfit(node.scratch.url(), Durability::Local, fit).await;
    set("reset synchronous_commit");
    let mut lane = node.log.open_lane(incarnation(1), 1).await.expect("opens");
    let first = batch(vec![row(P0, 1, node.epochs[&P0], 1)]);
    assert_eq!(lane.append(first).await, done(&[P0], &[]));
}

#[tokio::test]
async fn one_bad_look_is_not_yet_a_reason_to_stop_and_a_second_one_is() {
    let Some(scratch) = PgScratch::create() else {
        return;
    };
    let fit = Fitness::default();
    let set = |what: &str| scratch.psql(&format!("alter database {} {what}", scratch.name()));
    PgLog::open(PgOptions::new(scratch.url()))
        .await
        .expect("opens");
    for _blink in 0..2 {
        set("set synchronous_commit = off");
        assert!(look(scratch.url(), Durability::Local, &fit).await);
        set("reset synchronous_commit");
        assert!(look(scratch.url(), Durability::Local, &fit).await);
    }
    set("set synchronous_commit = off");
    assert!(look(scratch.url(), Durability::Local, &fit).await);
    assert!(!look(scratch.url(), Durability::Local, &fit).await);
}

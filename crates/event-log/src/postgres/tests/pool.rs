//! The pools while a server does not answer, and after it came back.

use std::time::Duration;

use hubbub_testkit::proxy::TcpProxy;
use sqlx::Row as _;

use super::*;

async fn behind_a_proxy() -> Option<(PgLog, TcpProxy, PgScratch)> {
    let (log, scratch) = fresh().await?;
    claim_every(&log, incarnation(1)).await;
    let proxy = TcpProxy::start(address(&scratch)).await.expect("starts");
    let log = PgLog::open(PgOptions::new(proxy.url_through(scratch.url())))
        .await
        .expect("opens");
    Some((log, proxy, scratch))
}

#[tokio::test]
async fn readers_that_stop_waiting_do_not_use_the_pool_up() {
    let Some((log, proxy, _scratch)) = behind_a_proxy().await else {
        return;
    };
    log.heads(&[]).await.expect("reads");
    proxy.hold_requests();
    for _ in 0..READ_CONNECTIONS_MAX * 3 {
        let given_up = tokio::time::timeout(Duration::from_millis(20), log.heads(&[])).await;
        assert!(given_up.is_err(), "nothing comes back");
    }
    proxy.resume();
    proxy.cut();
    eventually(DEADLINE, "reads to go on", async || {
        log.heads(&[]).await.is_ok()
    })
    .await;
    let one_each = (0..READ_CONNECTIONS_MAX).map(|_| log.heads(&[]));
    for read in futures_util::future::join_all(one_each).await {
        read.expect("every place of the pool is there");
    }
}

#[tokio::test]
async fn a_server_that_was_away_costs_one_error_and_not_one_per_connection() {
    let Some((log, proxy, _scratch)) = behind_a_proxy().await else {
        return;
    };
    let many = (0..READ_CONNECTIONS_MAX).map(|_| log.heads(&[]));
    for read in futures_util::future::join_all(many).await {
        read.expect("reads");
    }
    proxy.cut();
    assert!(log.heads(&[]).await.is_err(), "the first to notice");
    log.heads(&[]).await.expect("a new connection");
}

#[tokio::test]
async fn a_read_that_nobody_waits_for_leaves_its_connection_whole() {
    let Some((log, _scratch)) = fresh().await else {
        return;
    };
    let reads = log.with_own_reads("hubbub/test", 1);
    let backend = async || -> i32 {
        let rows = reads.readers.fetch(sqlx::query("select pg_backend_pid()"));
        rows.await.expect("reads")[0].try_get(0).expect("is there")
    };
    let before = backend().await;
    let slow = reads.readers.fetch(sqlx::query("select pg_sleep(0.3)"));
    let given_up = tokio::time::timeout(Duration::from_millis(50), slow).await;
    assert!(given_up.is_err(), "it takes longer");
    assert_eq!(reads.reads().busy, 1, "the server still works at it");
    assert_eq!(backend().await, before, "the same connection");
    assert_eq!(reads.reads().closed, 0);
}

#[tokio::test]
async fn one_kind_of_reader_does_not_starve_another() {
    let Some((log, _scratch)) = fresh().await else {
        return;
    };
    let greedy = log.with_own_reads("hubbub/greedy", 2);
    let slow = || greedy.readers.fetch(sqlx::query("select pg_sleep(3)"));
    let others = async {
        eventually(DEADLINE, "every place to be taken", async || {
            greedy.reads().busy == 2 && greedy.reads().waiting == 1
        })
        .await;
        log.heads(&[]).await.expect("reads at once");
        assert_eq!(greedy.reads().busy, 2, "while the others still read");
    };
    let (one, other, third, ()) = tokio::join!(slow(), slow(), slow(), others);
    one.and(other).expect("read");
    assert!(third.is_err(), "waits in vain for a place");
    assert_eq!(greedy.reads().refused, 1);
    let places = log.server_places().await.expect("answers");
    assert!(places.taken >= 2 && places.connections_max >= places.taken);
}

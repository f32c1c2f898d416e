//! The pools while a server does not answer, and after it came back.

use std::time::Duration;

use hubbub_testkit::proxy::TcpProxy;

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

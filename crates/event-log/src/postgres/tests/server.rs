//! Servers and schemas that are not fit, and opening in general.

use hubbub_testkit::pg::PgServer;

use super::*;

fn sentence(opened: Result<PgLog, OpenError>) -> String {
    match opened {
        Err(OpenError::Unfit(sentence)) => sentence,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_may_lose_commits_is_unfit_unless_that_is_allowed() {
    let Some(scratch) = PgScratch::create() else {
        return;
    };
    scratch.psql(&format!(
        "alter database {} set synchronous_commit = off",
        scratch.name()
    ));
    let opened = PgLog::open(PgOptions::new(scratch.url())).await;
    assert!(sentence(opened).contains("synchronous_commit = off"));
    let experiment = PgOptions {
        allow_unsafe: true,
        ..PgOptions::new(scratch.url())
    };
    PgLog::open(experiment).await.expect("opens");
}

#[tokio::test]
async fn a_database_that_wants_another_isolation_level_gets_read_committed_from_us() {
    let Some(scratch) = PgScratch::create() else {
        return;
    };
    scratch.psql(&format!(
        "alter database {} set default_transaction_isolation = 'serializable'",
        scratch.name()
    ));
    let log = PgLog::open(PgOptions::new(scratch.url()))
        .await
        .expect("opens");
    log.open_lane(incarnation(1), 0).await.expect("opens");
}

#[tokio::test]
async fn without_migrating_an_old_schema_is_unfit_and_a_current_one_is_not() {
    let Some(scratch) = PgScratch::create() else {
        return;
    };
    let as_it_is = || PgOptions {
        migrate: false,
        ..PgOptions::new(scratch.url())
    };
    assert!(sentence(PgLog::open(as_it_is()).await).contains("hubbub migrate"));
    PgLog::open(PgOptions::new(scratch.url()))
        .await
        .expect("migrates");
    PgLog::open(as_it_is()).await.expect("opens");
}

#[tokio::test]
async fn a_schema_of_a_newer_release_is_unfit_with_and_without_migrating() {
    let Some((_log, scratch)) = fresh().await else {
        return;
    };
    scratch.psql(
        "insert into _migrations_event_log (version, description, success, checksum, execution_time) values (99991231000000, 'later', true, '\\x00', 0)",
    );
    for migrate in [true, false] {
        let options = PgOptions {
            migrate,
            ..PgOptions::new(scratch.url())
        };
        assert!(sentence(PgLog::open(options).await).contains("newer release"));
    }
}

#[tokio::test]
async fn nodes_that_open_an_empty_database_at_once_all_succeed() {
    let Some(scratch) = PgScratch::create() else {
        return;
    };
    let open = || PgLog::open(PgOptions::new(scratch.url()));
    let (one, two, three) = tokio::join!(open(), open(), open());
    one.and(two).and(three).expect("open");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable_and_a_bad_url_unfit() {
    let nobody = format!(
        "postgres://postgres@127.0.0.1:{}/none",
        hubbub_testkit::free_port()
    );
    let opened = PgLog::open(PgOptions::new(nobody)).await;
    assert!(
        matches!(opened, Err(OpenError::Unavailable(_))),
        "{opened:?}"
    );
    let opened = PgLog::open(PgOptions::new("mysql://localhost/none")).await;
    assert!(matches!(opened, Err(OpenError::Unfit(_))), "{opened:?}");
}

#[test]
fn options_in_a_log_line_show_no_password() {
    let shown = format!("{:?}", PgOptions::new("postgres://hubbub:secret@db/hubbub"));
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn the_name_of_a_lane_fits_into_what_the_server_keeps_of_it() {
    const KEPT_BYTES: usize = 63;
    assert!(connect::lane_name(incarnation(u64::MAX), u16::MAX).len() <= KEPT_BYTES);
}

/// A server with the account and the database that nodes get, and how its log is opened under them.
fn as_a_node(server: &PgServer) -> PgOptions {
    let url = server.url().replace("postgres@", "hubbub@");
    let (server, _database) = url.rsplit_once('/').expect("names a database");
    PgOptions::new(format!("{server}/hubbub"))
}

#[tokio::test]
async fn the_line_of_history_is_another_one_after_a_promotion_and_not_after_a_restart() {
    if PgScratch::create().is_none() {
        return;
    }
    let starting = tokio::task::spawn_blocking(|| {
        let mut primary = PgServer::start(&[]).expect("a server");
        // As deploy/reference/postgresql/roles.sql does.
        for statement in [
            "create role hubbub login",
            "create database hubbub owner hubbub",
            "revoke all on database hubbub from public",
        ] {
            primary.psql(statement).expect("answers");
        }
        let standby = primary.start_standby("second").expect("a standby");
        primary.restart().expect("starts again");
        (primary, standby)
    });
    let (primary, mut standby) = starting.await.expect("starts");
    let log = PgLog::open(as_a_node(&primary)).await.expect("opens");
    let before = log.timeline().await.expect("tells");

    let restarting = tokio::task::spawn_blocking(move || {
        let mut primary = primary;
        primary.kill();
        primary.restart().expect("starts again");
        primary
    });
    let primary = restarting.await.expect("is back");
    let log = PgLog::open(as_a_node(&primary)).await.expect("opens");
    assert_eq!(log.timeline().await.expect("tells"), before);

    let promoting = tokio::task::spawn_blocking(move || {
        standby.promote().expect("takes over");
        standby
    });
    let promoted = promoting.await.expect("is promoted");
    let log = PgLog::open(as_a_node(&promoted)).await.expect("opens");
    assert_ne!(log.timeline().await.expect("tells"), before);
}

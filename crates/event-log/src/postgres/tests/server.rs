//! Servers and schemas that are not fit, and opening in general.

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

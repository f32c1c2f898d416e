//! The contract on a real server. What only Postgres has is in the files beside this one.

use hubbub_testkit::pg::PgScratch;

use super::*;

/// A log in a database of its own; `None` without a server to test on.
pub(super) async fn fresh() -> Option<(PgLog, PgScratch)> {
    let scratch = PgScratch::create()?;
    let log = PgLog::open(PgOptions::new(scratch.url()))
        .await
        .expect("opens");
    Some((log, scratch))
}

crate::event_log_contract!(fresh());

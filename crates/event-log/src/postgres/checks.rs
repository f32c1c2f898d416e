//! Whether the server keeps what it commits. An acknowledged message may not depend on a cable.

use sqlx::{PgConnection, Row as _};

use super::fault;
use crate::port::OpenError;

/// Refuses a server that may lose commits (unless `allow_unsafe`), one that only reads, and a session that is not READ COMMITTED.
pub(super) async fn check(
    connection: &mut PgConnection,
    allow_unsafe: bool,
) -> Result<(), OpenError> {
    let row = sqlx::query(
        "select current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'),
            current_setting('transaction_isolation'), pg_is_in_recovery()",
    )
    .fetch_one(connection)
    .await
    .map_err(fault::open)?;
    let setting = |column: usize| row.try_get::<String, _>(column).map_err(fault::open);
    for (column, name) in [
        (0, "fsync"),
        (1, "full_page_writes"),
        (2, "synchronous_commit"),
    ] {
        // Every other value of synchronous_commit waits at least for the local disk.
        if setting(column)? == "off" && !allow_unsafe {
            return Err(OpenError::Unfit(format!(
                "PostgreSQL runs with {name} = off and may lose messages that were acknowledged; set it to on"
            )));
        }
    }
    let isolation = setting(3)?;
    if isolation != "read committed" {
        return Err(OpenError::Unfit(format!(
            "transactions run at isolation level {isolation}; the fence needs read committed"
        )));
    }
    if row.try_get(4).map_err(fault::open)? {
        return Err(OpenError::Unavailable(
            "PostgreSQL is a standby and only reads".into(),
        ));
    }
    Ok(())
}

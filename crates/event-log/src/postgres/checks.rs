//! Whether the server keeps what it commits. An acknowledged message may not depend on a cable.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use super::fault;
use crate::port::OpenError;

/// What a commit must have survived before it counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// The crash of the server: it is on its disk.
    #[default]
    Local,
    /// The loss of the server: it is on the disk of a synchronous standby, too.
    Replicated,
}

/// What a server must offer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demands {
    pub(super) durability: Durability,
    /// Accepts a server that may lose commits. For experiments only.
    pub(super) allow_unsafe: bool,
}

/// Refuses a server that may lose commits (unless that is allowed), one that only reads, and a session that is not READ COMMITTED.
pub(super) async fn check(
    connection: &mut PgConnection,
    demands: Demands,
) -> Result<(), OpenError> {
    let row = sqlx::query(
        "select current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'),
            current_setting('transaction_isolation'), pg_is_in_recovery(), current_setting('synchronous_standby_names'),
            (select count(*) from pg_stat_replication where state = 'streaming' and sync_state in ('sync', 'quorum')),
            pg_has_role(current_user, 'pg_read_all_stats', 'usage')",
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
        if setting(column)? == "off" && !demands.allow_unsafe {
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
    if demands.durability == Durability::Replicated {
        replicated(&row)?;
    }
    Ok(())
}

/// A live synchronous standby that flushes before a commit counts.
fn replicated(row: &PgRow) -> Result<(), OpenError> {
    let unfit = |what: String| {
        Err(OpenError::Unfit(format!(
            "durability = replicated, but {what}"
        )))
    };
    let commit: String = row.try_get(2).map_err(fault::open)?;
    if !matches!(commit.as_str(), "on" | "remote_apply") {
        return unfit(format!(
            "synchronous_commit = {commit} does not wait until a standby has flushed; set it to on"
        ));
    }
    let names: String = row.try_get(5).map_err(fault::open)?;
    if names.is_empty() {
        return unfit("synchronous_standby_names is empty: no commit waits for a standby".into());
    }
    let standbys: i64 = row.try_get(6).map_err(fault::open)?;
    if standbys > 0 {
        return Ok(());
    }
    if row.try_get(7).map_err(fault::open)? {
        unfit("no synchronous standby is streaming".into())
    } else {
        unfit(
            "this role cannot see whether a standby is streaming; grant it pg_read_all_stats"
                .into(),
        )
    }
}

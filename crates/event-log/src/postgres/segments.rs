//! Weekly children of `event_log`: made a week ahead, begun by moving the fence rows, found again by their names.
//!
//! A segment is the number of whole weeks since 1970 by the database's clock. Along the offsets of a partition it never falls, because the
//! fence row's segment never falls; so the newest child that has rows of a partition has its head. Reads of the parent table visit the
//! unique index of every attached child: a few microseconds each.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::time::Instant;

use super::checks::Demands;
use super::connect::{Pool, in_time};
use super::fitness::Fitness;
use super::{checks, fault};
use crate::port::OpenError;

/// Between two looks at the server's settings and the week (ARCHITECTURE.md §4: every minute).
const UPKEEP_EVERY: Duration = Duration::from_mins(1);
/// Between two looks at a server that was found unfit at the last one: a standby that is back must not wait long for the first message.
const DOUBT_LOOK_EVERY: Duration = Duration::from_secs(1);
/// Children that exist before their week begins.
const WEEKS_AHEAD: i16 = 1;
/// Ends the name of a child's index on (conversation, command).
pub(super) const COMMAND_SUFFIX: &str = "_command";
/// One at a time makes a child; any number will do as long as nobody else uses it.
const MAKING_A_CHILD: i64 = 0x6875_6262_7562_7367;

/// The week by the database's clock.
const CURRENT: &str = "select floor(extract(epoch from clock_timestamp()) / 604800)::smallint";

/// The table of a segment.
pub(super) fn child(segment: i16) -> String {
    format!("event_log_s{segment}")
}

/// Attached children, newest first.
pub(super) async fn attached(connection: &mut PgConnection) -> Result<Vec<i16>, sqlx::Error> {
    sqlx::query_scalar(
        r"select substring(c.relname from '^event_log_s(\d+)$')::smallint as segment
        from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'event_log'::regclass and not i.inhdetachpending and c.relname ~ '^event_log_s\d+$'
        order by segment desc",
    )
    .fetch_all(connection)
    .await
}

/// The newest child whose week has begun; zero when there is none, which moves no fence row.
pub(super) async fn newest_begun(connection: &mut PgConnection) -> Result<i16, sqlx::Error> {
    let current: i16 = sqlx::query_scalar(CURRENT)
        .fetch_one(&mut *connection)
        .await?;
    let there = attached(connection).await?;
    Ok(there
        .into_iter()
        .find(|segment| *segment <= current)
        .unwrap_or(0))
}

/// The child of this week and of the next, when opening.
///
/// A role that may not create tables is fine as long as somebody else has made this week's child.
pub(super) async fn ensure_current(connection: &mut PgConnection) -> Result<(), OpenError> {
    match keep_ahead(connection).await {
        Ok(_) => Ok(()),
        Err(error) => {
            let current: i16 = sqlx::query_scalar(CURRENT)
                .fetch_one(&mut *connection)
                .await
                .map_err(fault::open)?;
            if attached(connection)
                .await
                .map_err(fault::open)?
                .contains(&current)
            {
                tracing::warn!(%error, "the next segment of the log could not be made");
                Ok(())
            } else {
                Err(fault::open(error))
            }
        }
    }
}

/// Makes the children up to [`WEEKS_AHEAD`]; gives the current week.
async fn keep_ahead(connection: &mut PgConnection) -> Result<i16, sqlx::Error> {
    let current: i16 = sqlx::query_scalar(CURRENT)
        .fetch_one(&mut *connection)
        .await?;
    let there = attached(connection).await?;
    for segment in current..=current.saturating_add(WEEKS_AHEAD) {
        if !there.contains(&segment) {
            make(connection, segment).await?;
        }
    }
    Ok(current)
}

/// Makes and attaches one child, unless another node was faster.
///
/// The offset index comes first: of two violations in one row the first index wins, and a wrong position is the graver news.
async fn make(connection: &mut PgConnection, segment: i16) -> Result<(), sqlx::Error> {
    let name = child(segment);
    let mut transaction = connection.begin().await?;
    sqlx::query("select pg_advisory_xact_lock($1)")
        .bind(MAKING_A_CHILD)
        .execute(&mut *transaction)
        .await?;
    let exists: bool = sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(&name)
        .fetch_one(&mut *transaction)
        .await?;
    if !exists {
        let statements = format!(
            r#"create table {name} (like event_log including defaults, constraint {name}_week check (segment = {segment}));
            create unique index {name}_offset on {name} (partition, "offset");
            create unique index {name}_seq on {name} (conversation_id, seq);
            create unique index {name}{COMMAND_SUFFIX} on {name} (conversation_id, command_id);
            alter table event_log attach partition {name} for values in ({segment});"#
        );
        transaction
            .execute(sqlx::raw_sql(AssertSqlSafe(statements)))
            .await?;
    }
    transaction.commit().await
}

/// Makes the child when it is not there, then moves the fence rows to it.
pub(super) async fn begin(connection: &mut PgConnection, segment: i16) -> Result<(), sqlx::Error> {
    if !attached(connection).await?.contains(&segment) {
        make(connection, segment).await?;
    }
    advance(connection, segment).await
}

/// Moves the fence rows that are behind, in the order in which everybody locks them.
///
/// Any node may: an append that waits for the row goes on under the same epoch, into the new child.
async fn advance(connection: &mut PgConnection, segment: i16) -> Result<(), sqlx::Error> {
    sqlx::query(
        "with behind as (select partition from log_partition where segment < $1 order by partition for no key update)
        update log_partition p set segment = greatest(p.segment, $1) from behind where p.partition = behind.partition",
    )
    .bind(segment)
    .execute(connection)
    .await
    .map(|_| ())
}

/// Looks every minute, and every second while the server is in doubt: at its settings, at the week.
pub(super) async fn keep_up(pool: Pool, demands: Demands, fitness: Arc<Fitness>) {
    let mut ticks = tokio::time::interval(DOUBT_LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut due = Instant::now();
    loop {
        let now = ticks.tick().await;
        if now < due && !fitness.is_in_doubt() {
            continue;
        }
        due = now + UPKEEP_EVERY;
        if let Err(error) = look(&pool, demands, &fitness).await {
            tracing::warn!(%error, "a look at the log's database failed");
        }
    }
}

/// One look. What the server lacks is told to `fitness`; an error is a look that was not possible and changes no verdict.
pub(super) async fn look(
    pool: &Pool,
    demands: Demands,
    fitness: &Fitness,
) -> Result<(), OpenError> {
    let mut borrowed = pool.borrow().await.map_err(fault::open)?;
    let connection = borrowed.connection();
    match checks::check(connection, demands).await {
        Ok(()) => fitness.found_good(),
        Err(OpenError::Unfit(sentence)) => {
            fitness.found_bad(&sentence);
            // The connection is not given back: a session keeps settings that were changed for new ones, so this one might never see the
            // repair. Nor is a segment made: its commit would wait for the standby that is away.
            return Ok(());
        }
        Err(unavailable) => return Err(unavailable),
    }
    let current = in_time(keep_ahead(connection)).await.map_err(fault::open)?;
    in_time(advance(connection, current))
        .await
        .map_err(fault::open)?;
    borrowed.done();
    Ok(())
}

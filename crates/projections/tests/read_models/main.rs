//! The behaviours of the read models on SQLite and on Postgres, over the real logs.

#![expect(
    clippy::unwrap_used,
    reason = "a behaviour stops where something is not as it must be"
)]

mod behaviour;
mod behind;
mod between;
mod faults;
mod rebuild;
mod watched;
mod world;

use std::sync::Arc;

use hubbub_event_log::LogReader;
use hubbub_event_log::postgres::{PgLog, PgOptions};
use hubbub_event_log::sqlite::SqliteLog;
use hubbub_projections::{PostgresOptions, Projections};
use hubbub_testkit::pg::PgScratch;

use crate::world::World;

async fn on_sqlite() -> (World, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(SqliteLog::open(dir.path()).await.unwrap());
    let reader: Arc<dyn LogReader> = log.clone();
    let projections =
        Projections::open_sqlite(dir.path(), &SqliteLog::log_path(dir.path()), reader)
            .await
            .unwrap();
    (World::new(log, projections).await, dir)
}

async fn on_postgres() -> Option<(World, PgScratch)> {
    let scratch = PgScratch::create()?;
    let log = Arc::new(PgLog::open(PgOptions::new(scratch.url())).await.unwrap());
    let reader: Arc<dyn LogReader> = log.clone();
    let options = PostgresOptions::new(scratch.url());
    let projections = Projections::open_postgres(options, Arc::clone(&reader), reader)
        .await
        .unwrap();
    Some((World::new(log, projections).await, scratch))
}

macro_rules! behaviours {
    ($($module:ident: $($name:ident),* ;)*) => {
        mod sqlite {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let (world, _keep) = super::on_sqlite().await;
                super::$module::$name(world).await;
            })*)*
        }
        mod postgres {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some((world, _keep)) = super::on_postgres().await else { return };
                super::$module::$name(world).await;
            })*)*
        }
    };
}

behaviours![
    behaviour:
    every_answer_equals_a_recount_of_the_log,
    history_pages_are_exact_on_every_side,
    a_new_member_sees_from_joining_on_when_the_room_says_so,
    what_is_not_mine_does_not_exist,
    cursors_walk_through_everything_once,
    two_projectors_at_once_are_harmless,
    an_unreadable_event_parks_its_conversation_only,
    a_text_with_a_nul_is_projected_all_the_same;
    behind:
    a_busy_room_far_behind_answers_its_members,
    many_readers_read_a_long_tail_once,
    what_cannot_be_kept_is_unavailable_until_it_is_projected,
    a_reader_that_does_not_come_back_holds_nobody_for_ever,
    a_damaged_event_in_a_long_tail_is_told,
    a_commit_within_a_long_tail_changes_no_answer;
    faults:
    writers_see_their_writes_although_no_projector_runs,
    a_removal_counts_although_no_projector_runs,
    a_hole_stops_its_own_partition_only,
    a_poison_event_hides_nobody_elses_conversation,
    a_lost_event_hides_nobody_elses_conversation,
    a_commit_between_two_reads_changes_no_answer,
    a_batch_that_comes_again_changes_nothing;
];

/// On SQLite: rebuilt tables stand in a folder of their own beside the same log and the same read markers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_equals_what_was_projected_live() {
    let (world, live) = on_sqlite().await;
    let beside = tempfile::tempdir().unwrap();
    let log_file = SqliteLog::log_path(live.path());
    let rebuilt = Projections::open_sqlite(beside.path(), &log_file, world.projections.log())
        .await
        .unwrap();
    rebuild::equals_live(world, rebuilt).await;
}

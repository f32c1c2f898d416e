//! The behaviours of the read models on SQLite and on Postgres, over the real logs.

#![expect(
    clippy::unwrap_used,
    reason = "a behaviour stops where something is not as it must be"
)]

mod behaviour;
mod world;

use std::sync::Arc;

use hubbub_event_log::LogReader;
use hubbub_event_log::postgres::{PgLog, PgOptions};
use hubbub_event_log::sqlite::SqliteLog;
use hubbub_projections::Projections;
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
    let projections = Projections::open_postgres(scratch.url(), true, reader)
        .await
        .unwrap();
    Some((World::new(log, projections).await, scratch))
}

macro_rules! behaviours {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let (world, _keep) = super::on_sqlite().await;
                super::behaviour::$name(world).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some((world, _keep)) = super::on_postgres().await else { return };
                super::behaviour::$name(world).await;
            })*
        }
    };
}

behaviours![
    every_answer_equals_a_recount_of_the_log,
    history_pages_are_exact_on_every_side,
    a_new_member_sees_from_joining_on_when_the_room_says_so,
    what_is_not_mine_does_not_exist,
    cursors_walk_through_everything_once,
    two_projectors_at_once_are_harmless,
    an_unreadable_event_parks_its_conversation_only,
    a_text_with_a_nul_is_projected_all_the_same,
    an_inbox_far_behind_still_counts_right,
];

//! F4: the primary is killed while appends are under way, and its synchronous standby takes over. What was under way is resolved on
//! the new primary: stored there, or never stored.

use std::time::Duration;

use async_trait::async_trait;
use hubbub_testkit::pg::PgServer;
use tokio::time::Instant;

use crate::row::{Fault, Measured, Verdict};
use crate::scene::Scene;
use crate::world::World;

/// The standby's name.
const STANDBY: &str = "standby";
/// Seconds of load while every commit waits for both disks.
const REPLICATED_S: f64 = 3.0;
/// How long answers of the primary are lost before it dies: some appends are stored and nobody was told.
const ANSWERS_LOST: Duration = Duration::from_millis(300);
/// Seconds on the new primary before the old one comes back.
const ALONE_S: f64 = 15.0;

/// The row.
#[derive(Debug, Default)]
pub struct FailOver {
    old: Option<PgServer>,
}

#[async_trait]
impl Fault for FailOver {
    fn id(&self) -> &'static str {
        "F4"
    }

    fn name(&self) -> &'static str {
        "PostgreSQL failover with a synchronous standby"
    }

    fn expected(&self) -> &'static str {
        "unknown outcomes resolved on the new primary"
    }

    /// As long as a failover may take.
    fn unheard_s(&self) -> u64 {
        15
    }

    async fn inject(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        let mut standby = tokio::task::block_in_place(|| {
            let standby = world.postgres.start_standby(STANDBY)?;
            world.postgres.synchronise_with(STANDBY)?;
            anyhow::Ok(standby)
        })?;
        scene.last(REPLICATED_S).await;
        world.read_metrics().await;
        scene.injected(scene.all_conversations());
        for line in world
            .nodes
            .iter()
            .filter_map(|node| node.database_line.as_ref())
        {
            line.swallow_replies();
        }
        // Part of the fault; that bytes were lost meanwhile is counted, and the run is void without.
        tokio::time::sleep(ANSWERS_LOST).await;
        let began = Instant::now();
        tokio::task::block_in_place(|| {
            world.postgres.kill();
            standby.promote()
        })?;
        let old = world.fail_over_to(standby)?;
        scene.note("promoted_ms", began.elapsed().as_secs_f64() * 1_000.0);
        let lost: u64 = world
            .nodes
            .iter()
            .filter_map(|node| node.database_line.as_ref())
            .map(hubbub_testkit::proxy::TcpProxy::swallowed_bytes)
            .sum();
        scene.note("answer_bytes_lost", crate::figures::number(lost));
        self.old = Some(old);
        scene.last(ALONE_S).await;
        Ok(())
    }

    /// The old primary follows the new one, which waits for it from then on.
    async fn heal(&mut self, world: &mut World, _scene: &mut Scene) -> anyhow::Result<()> {
        if let Some(old) = &mut self.old {
            tokio::task::block_in_place(|| {
                old.follow(&world.postgres, STANDBY)?;
                world.postgres.synchronise_with(STANDBY)
            })?;
        }
        Ok(())
    }

    fn judge(&self, measured: &Measured, verdict: &mut Verdict) {
        verdict.at_most("write gap, ms", measured.writes.concerned.max_ms, 15_000.0);
        verdict.must_have_happened(
            "answers lost in bytes",
            whole(measured.extra("answer_bytes_lost")),
        );
        verdict.must_have_happened(
            "outcomes unknown to an owner",
            measured.counter("log_unknown"),
        );
        verdict.must_have_happened("writes concerned", measured.writes.concerned.count as u64);
        verdict.remark(
            "the failover is done by the harness at once: a tool's time to notice comes on top",
        );
    }
}

/// A figure that is a count.
fn whole(figure: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts are whole, not negative, and far below 2^53"
    )]
    let whole = figure as u64;
    whole
}

//! F3: the database is killed and started again. Sockets stay; writes answer unavailable, and go on after the recovery.

use async_trait::async_trait;

use crate::row::{Fault, Measured, Verdict};
use crate::scene::Scene;
use crate::world::World;

/// Seconds without a database: shorter than a lease would be too easy.
const DOWN_S: f64 = 6.0;

/// The row.
#[derive(Debug, Default)]
pub struct KillDatabase;

#[async_trait]
impl Fault for KillDatabase {
    fn id(&self) -> &'static str {
        "F3"
    }

    fn name(&self) -> &'static str {
        "kill -9 Postgres, restart"
    }

    fn expected(&self) -> &'static str {
        "sockets stay; writes answer unavailable with retry_after"
    }

    /// As long as a write may wait (P7).
    fn unheard_s(&self) -> u64 {
        6
    }

    async fn inject(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        tokio::task::block_in_place(|| world.postgres.kill());
        scene.injected(scene.all_conversations());
        scene.last(DOWN_S).await;
        Ok(())
    }

    async fn heal(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        let from = scene.clock.now();
        tokio::task::block_in_place(|| world.postgres.restart())?;
        scene.note(
            "recovery of the database, ms",
            crate::figures::millis(scene.clock.now() - from),
        );
        Ok(())
    }

    fn judge(&self, measured: &Measured, verdict: &mut Verdict) {
        verdict.at_most(
            "commands after the recovery, ms",
            measured.commands_ms.unwrap_or(f64::MAX),
            2_000.0,
        );
        let broken = measured
            .count("reconnects")
            .saturating_sub(measured.count("moves"));
        verdict.at_most("sockets lost", crate::figures::number(broken), 0.0);
        verdict.must_have_happened(
            "writes refused for now or unknown",
            measured.count("refused_for_now") + measured.count("unknown_attempts"),
        );
    }
}

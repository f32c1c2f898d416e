//! F6: all bus servers are down for a minute. Owners go on for those who are connected to them, edges read heads from the database, nobody
//! takes anything over, and afterwards everybody comes to the head.

use async_trait::async_trait;

use crate::row::{Fault, Measured, Verdict};
use crate::scene::Scene;
use crate::world::World;

/// Seconds without a bus; fewer in a short run.
const DOWN_S: f64 = 60.0;
const DOWN_SHORT_S: f64 = 20.0;

/// The row.
#[derive(Debug, Default)]
pub struct AllBusesDown;

#[async_trait]
impl Fault for AllBusesDown {
    fn id(&self) -> &'static str {
        "F6"
    }

    fn name(&self) -> &'static str {
        "all NATS down 60 s"
    }

    fn expected(&self) -> &'static str {
        "local commands still commit; edges read heads from Postgres; no takeovers"
    }

    /// Edges read the heads from the database meanwhile.
    fn unheard_s(&self) -> u64 {
        10
    }

    /// Removals are read from the log with the heads.
    fn late_removal_s(&self) -> u64 {
        self.unheard_s()
    }

    async fn inject(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        let acked = scene.load.acked();
        tokio::task::block_in_place(|| world.buses.kill_all());
        scene.injected(scene.all_conversations());
        // What was under way when they died has ended by then.
        scene.last(5.0).await;
        let settled = scene.load.acked();
        let down = if scene.short { DOWN_SHORT_S } else { DOWN_S };
        scene.last(down - 5.0).await;
        scene.note(
            "acked in the first 5 s without a bus",
            crate::figures::number(settled - acked),
        );
        scene.note(
            "acked later without a bus",
            crate::figures::number(scene.load.acked() - settled),
        );
        Ok(())
    }

    async fn heal(&mut self, world: &mut World, _scene: &mut Scene) -> anyhow::Result<()> {
        tokio::task::block_in_place(|| world.buses.restart_all())
    }

    fn judge(&self, measured: &Measured, verdict: &mut Verdict) {
        verdict.at_most(
            "heads after the healing, ms",
            measured.heads_ms.unwrap_or(f64::MAX),
            10_000.0,
        );
        verdict.at_most(
            "takeovers",
            crate::figures::number(measured.takeovers()),
            0.0,
        );
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it was a count"
        )]
        let local = measured.extra("acked later without a bus") as u64;
        verdict.must_have_happened("local commands acked without a bus", local);
        verdict.remark("the write gap is that of people whose node does not own the conversation: commands cannot be forwarded without a bus");
    }
}

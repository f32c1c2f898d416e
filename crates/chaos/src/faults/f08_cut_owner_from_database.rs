//! F8: an owner loses the database: first replies are swallowed, so that outcomes are unknown, then nothing passes. It stops, another one
//! takes over, unknowns are resolved by id.

use async_trait::async_trait;

use crate::row::{Fault, Measured, Verdict};
use crate::scene::Scene;
use crate::world::World;

/// Seconds in which statements reach the database and no reply comes back.
const SWALLOWED_S: f64 = 0.5;
/// Seconds in which nothing passes.
const CUT_S: f64 = 10.0;
/// Both together and the time to connect again, rounded up.
const CUT_MAX_S: u64 = 12;

/// The row.
#[derive(Debug, Default)]
pub struct CutOwner {
    victim: usize,
    swallowed: u64,
}

#[async_trait]
impl Fault for CutOwner {
    fn id(&self) -> &'static str {
        "F8"
    }

    fn name(&self) -> &'static str {
        "partition owner ↔ Postgres"
    }

    fn expected(&self) -> &'static str {
        "owner stops; another takes over; unknowns resolved by id"
    }

    /// As long as a write may wait (P7).
    fn unheard_s(&self) -> u64 {
        6
    }

    /// The node that is cut off holds back what the next owner publishes until it can check the new epoch in the log (ADR 0008).
    fn late_removal_s(&self) -> u64 {
        CUT_MAX_S
    }

    async fn inject(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        self.victim = scene.choose(world.nodes.len());
        let concerned = world.conversations_of_node(self.victim).await?;
        scene.hits(self.victim);
        if let Some(line) = &world.nodes[self.victim].database_line {
            line.swallow_replies();
        }
        scene.injected(concerned);
        scene.last(SWALLOWED_S).await;
        world.nodes[self.victim].cut_database();
        scene.last(CUT_S).await;
        Ok(())
    }

    async fn heal(&mut self, world: &mut World, _scene: &mut Scene) -> anyhow::Result<()> {
        if let Some(line) = &world.nodes[self.victim].database_line {
            self.swallowed = line.swallowed_bytes();
        }
        world.nodes[self.victim].mend_database();
        Ok(())
    }

    fn judge(&self, measured: &Measured, verdict: &mut Verdict) {
        verdict.at_most(
            "write gap, concerned, ms",
            measured.writes.concerned.max_ms,
            6_000.0,
        );
        verdict.others_unharmed(measured);
        verdict.must_have_happened("bytes of replies swallowed", self.swallowed);
        verdict.must_have_happened("takeovers", measured.takeovers());
        verdict.must_have_happened(
            "unknown outcomes",
            measured.counter("log_unknown") + measured.count("unknown_attempts"),
        );
    }
}

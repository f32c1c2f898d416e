//! F1: a node is killed. Others take over what it owned; its clients resume elsewhere.

use async_trait::async_trait;

use crate::row::{Fault, Measured, Verdict};
use crate::scene::Scene;
use crate::world::World;

/// Seconds that the node stays dead: a lease, a takeover, and some life without it.
const DEAD_S: f64 = 12.0;

/// The row.
#[derive(Debug, Default)]
pub struct KillNode {
    victim: usize,
}

#[async_trait]
impl Fault for KillNode {
    fn id(&self) -> &'static str {
        "F1"
    }

    fn name(&self) -> &'static str {
        "kill -9 a node"
    }

    fn expected(&self) -> &'static str {
        "others take over what it owned; its clients resume elsewhere"
    }

    /// The publications of a dead owner are made good when the next one has taken over (P7).
    fn unheard_s(&self) -> u64 {
        6
    }

    async fn inject(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        self.victim = scene.choose(world.nodes.len());
        let concerned = world.conversations_of_node(self.victim).await?;
        world.read_metrics().await;
        world.kill_node(self.victim);
        scene.injected(concerned);
        scene.last(DEAD_S).await;
        Ok(())
    }

    async fn heal(&mut self, world: &mut World, _scene: &mut Scene) -> anyhow::Result<()> {
        world.start_node_again(self.victim).await
    }

    fn judge(&self, measured: &Measured, verdict: &mut Verdict) {
        verdict.at_most(
            "write gap, concerned, ms",
            measured.writes.concerned.max_ms,
            6_000.0,
        );
        verdict.others_unharmed(measured);
        verdict.must_have_happened("takeovers", measured.takeovers());
        verdict.must_have_happened("connections broken", measured.count("reconnects"));
        verdict.must_have_happened("writes concerned", measured.writes.concerned.count as u64);
    }
}

//! F17: the links of one node to database and bus are down two seconds and up two seconds, again and again. Ownership does not play ping-pong.

use async_trait::async_trait;

use crate::row::{Fault, Measured, Verdict};
use crate::scene::Scene;
use crate::world::World;

/// Seconds down, and seconds up.
const HALF_S: f64 = 2.0;
/// Seconds of flapping when nothing else was asked for; fewer in a short run.
const FLAPS_S: f64 = 60.0;
const FLAPS_SHORT_S: f64 = 24.0;

/// The row.
#[derive(Debug, Default)]
pub struct FlappingLinks {
    lasted_s: f64,
    moments: u64,
}

#[async_trait]
impl Fault for FlappingLinks {
    fn id(&self) -> &'static str {
        "F17"
    }

    fn name(&self) -> &'static str {
        "link flaps 2 s/2 s for 5 min"
    }

    fn expected(&self) -> &'static str {
        "no ping-pong"
    }

    /// A node that hears nothing notices within ten seconds.
    fn unheard_s(&self) -> u64 {
        12
    }

    /// A publication that is lost takes the news of a removal with it.
    fn late_removal_s(&self) -> u64 {
        self.unheard_s()
    }

    async fn inject(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        let victim = scene.choose(world.nodes.len());
        let concerned = world.conversations_of_node(victim).await?;
        let since = world.database_time().await?;
        scene.hits(victim);
        scene.injected(concerned);
        let usual = if scene.short { FLAPS_SHORT_S } else { FLAPS_S };
        let wanted = scene.minutes.map_or(usual, |minutes| minutes * 60.0);
        while self.lasted_s < wanted {
            world.nodes[victim].cut_database();
            world.nodes[victim].cut_bus();
            scene.last(HALF_S).await;
            world.nodes[victim].mend_database();
            world.nodes[victim].mend_bus();
            scene.last(HALF_S).await;
            self.lasted_s += 2.0 * HALF_S;
        }
        self.moments = world.takeover_moments(since).await?;
        Ok(())
    }

    async fn heal(&mut self, _world: &mut World, _scene: &mut Scene) -> anyhow::Result<()> {
        Ok(())
    }

    fn judge(&self, measured: &Measured, verdict: &mut Verdict) {
        verdict.at_most(
            "moments of takeover per 10 s",
            crate::figures::number(self.moments) / (self.lasted_s / 10.0),
            1.0,
        );
        verdict.others_unharmed(measured);
        verdict.remark(format!(
            "the links flapped for {:.0} s; `--minutes 5` makes it the five minutes of the matrix",
            self.lasted_s
        ));
        verdict.must_have_happened("writes concerned", measured.writes.concerned.count as u64);
    }
}

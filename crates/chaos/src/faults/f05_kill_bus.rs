//! F5: one of three bus servers is killed. Writes do not wait; what was lost on the way is healed.

use async_trait::async_trait;
use hubbub_testkit::proxy::TcpProxy;

use crate::row::{Fault, Measured, Verdict};
use crate::scene::Scene;
use crate::world::World;

/// Servers of the bus.
const BUSES: usize = 3;
/// Seconds that the server stands still before it dies: far less than it takes anybody to notice.
const STILL_S: f64 = 0.5;
/// Seconds that the server stays dead.
const DEAD_S: f64 = 10.0;
/// What a write may wait, in milliseconds: P7.
const GAP_MS: f64 = 6_000.0;
/// How late a delivery may be.
const LATE_MS: f64 = 5_000.0;

/// The row.
#[derive(Debug, Default)]
pub struct KillBus {
    victim: usize,
}

#[async_trait]
impl Fault for KillBus {
    fn id(&self) -> &'static str {
        "F5"
    }

    fn name(&self) -> &'static str {
        "kill 1 of 3 NATS"
    }

    fn expected(&self) -> &'static str {
        "gaps healed"
    }

    /// What was lost with the server is healed by then.
    fn unheard_s(&self) -> u64 {
        5
    }

    /// A publication that is lost takes the news of a removal with it.
    fn late_removal_s(&self) -> u64 {
        self.unheard_s()
    }

    async fn inject(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        // The one that most nodes are connected to: another might not be missed by anybody.
        self.victim = (0..BUSES)
            .max_by_key(|bus| {
                let lines = world
                    .nodes
                    .iter()
                    .filter_map(|node| node.bus_lines.get(*bus));
                lines.map(TcpProxy::open_connections).sum::<usize>()
            })
            .unwrap_or(0);
        // It stands still for a moment before it dies, so that something is on its way through it and is lost.
        world.buses.server(self.victim).suspend();
        // Nobody's writes are to wait.
        scene.injected(std::collections::BTreeSet::new());
        scene.last(STILL_S).await;
        world.buses.server(self.victim).kill();
        scene.last(DEAD_S).await;
        Ok(())
    }

    async fn heal(&mut self, world: &mut World, _scene: &mut Scene) -> anyhow::Result<()> {
        tokio::task::block_in_place(|| world.buses.server(self.victim).restart());
        Ok(())
    }

    fn judge(&self, measured: &Measured, verdict: &mut Verdict) {
        verdict.at_most("write gap, ms", measured.writes.others.max_ms, GAP_MS);
        verdict.remark(
            "the matrix asks for 0 s; a command on its way is asked for again as soon as the bus is back when the connection of its asker is lost; \
             when only that of its owner is, an answer made meanwhile is kept until the line is back, but what was in the dead connection is \
             missed only when the router gives the attempt up after 3 s (what its owner may still store it in), so the limit is that of P7",
        );
        verdict.remark(format!(
            "half of the writes waited {:.0} ms, 99 of 100 at most {:.0} ms",
            measured.writes.others.median_ms, measured.writes.others.p99_ms
        ));
        verdict.at_most("delivery late, ms", measured.late_after.max_ms, LATE_MS);
        verdict.at_most(
            "takeovers",
            crate::figures::number(measured.takeovers()),
            0.0,
        );
        verdict.must_have_happened(
            "gaps and last messages healed",
            measured.counter("feed_healed_gaps") + measured.counter("feed_healed_last"),
        );
    }
}

//! F18: an edge's event loop is starved while its bus connection breaks again and again. It notices by number what it has missed, and heals.

use async_trait::async_trait;

use crate::row::{Course, Fault, Measured, Verdict};
use crate::scene::{Bench, Scene};
use crate::world::World;

/// Milliseconds that every batch from the bus holds the loop up.
const STARVED_MS: u32 = 25;
/// Seconds between two breaks of the bus connection.
const BREAK_EVERY_S: f64 = 3.0;
/// Breaks of the bus connection.
const BREAKS: u32 = 6;

/// The row.
#[derive(Debug, Default)]
pub struct StarvedEdge;

#[async_trait]
impl Fault for StarvedEdge {
    fn id(&self) -> &'static str {
        "F18"
    }

    fn name(&self) -> &'static str {
        "edge event loop starved"
    }

    fn expected(&self) -> &'static str {
        "bus losses detected by number and healed"
    }

    fn course(&self, bench: &Bench) -> Course {
        let mut course = Course::usual(bench);
        let points = format!("edge.batch.received=delay:{STARVED_MS}");
        course
            .shape
            .environment
            .push(("HUBBUB_FAULT_POINTS".to_owned(), points));
        course
    }

    /// The edge comes to what it was told only behind its delays.
    fn unheard_s(&self) -> u64 {
        10
    }

    async fn inject(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        scene.injected(std::collections::BTreeSet::new());
        for n in 0..BREAKS {
            let victim = n as usize % world.nodes.len();
            for line in &world.nodes[victim].bus_lines {
                line.cut();
            }
            scene.last(BREAK_EVERY_S).await;
        }
        Ok(())
    }

    async fn heal(&mut self, _world: &mut World, _scene: &mut Scene) -> anyhow::Result<()> {
        Ok(())
    }

    fn judge(&self, measured: &Measured, verdict: &mut Verdict) {
        verdict.at_most(
            "heads after the healing, ms",
            measured.heads_ms.unwrap_or(f64::MAX),
            10_000.0,
        );
        verdict.must_have_happened(
            "gaps and last messages healed",
            measured.counter("feed_healed_gaps") + measured.counter("feed_healed_last"),
        );
        verdict.remark("gaps left would show as I6: somebody not told an event of the log");
    }
}

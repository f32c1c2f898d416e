//! F22: clients whose lines swallow everything, as after a pulled cable. The node notices and lets them go.

use async_trait::async_trait;

use crate::figures::number;
use crate::load::Mix;
use crate::row::{Course, Fault, Measured, Verdict};
use crate::scene::{Bench, Scene};
use crate::world::World;

/// Clients whose line swallows everything.
const HALF_OPEN: usize = 10;
/// Seconds in which all must have been noticed.
const NOTICED_S: u64 = 60;
/// Seconds after which the row stops waiting.
const PATIENCE_S: u64 = 90;
/// Pause between two looks at the metrics.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(500);

/// The row.
#[derive(Debug, Default)]
pub struct HalfOpen {
    sockets_closed: u64,
}

#[async_trait]
impl Fault for HalfOpen {
    fn id(&self) -> &'static str {
        "F22"
    }

    fn name(&self) -> &'static str {
        "half-open client"
    }

    fn expected(&self) -> &'static str {
        "presence offline"
    }

    fn course(&self, bench: &Bench) -> Course {
        let mut course = Course::usual(bench);
        course.mix = Mix {
            listeners: HALF_OPEN,
            fronted: HALF_OPEN,
            moves: 0,
            ..course.mix
        };
        course
    }

    async fn inject(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        world.read_metrics().await;
        let before = world.counted("hubbub_edge_sockets");
        for front in &scene.load.fronts {
            front.swallow_all();
        }
        scene.injected(std::collections::BTreeSet::new());
        let from = scene.clock.now();
        let mut passed = 0;
        while passed < PATIENCE_S * 1_000_000 && self.sockets_closed < HALF_OPEN as u64 {
            tokio::time::sleep(LOOK_EVERY).await;
            world.read_metrics().await;
            self.sockets_closed = before.saturating_sub(world.counted("hubbub_edge_sockets"));
            passed = scene.clock.now() - from;
        }
        scene.note(
            "half-open sockets let go after, ms",
            crate::figures::millis(passed),
        );
        Ok(())
    }

    async fn heal(&mut self, _world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        for front in &scene.load.fronts {
            front.cut();
            front.resume();
        }
        Ok(())
    }

    fn judge(&self, measured: &Measured, verdict: &mut Verdict) {
        verdict.at_most(
            "half-open sockets let go after, ms",
            measured.extra("half-open sockets let go after, ms"),
            number(NOTICED_S * 1_000),
        );
        verdict.others_unharmed(measured);
        verdict.must_have_happened("sockets let go", self.sockets_closed);
        verdict
            .remark("measured is when the node lets the socket go, which is when presence follows");
    }
}

//! F2: an owner is stopped for three leases and goes on: once while its partitions are idle, once under load with appends between
//! commit and ack. The zombie must insert nothing and ack nothing.

use async_trait::async_trait;

use crate::row::{Course, Fault, Measured, Verdict};
use crate::scene::{Bench, Scene};
use crate::world::World;

/// Three leases of four seconds.
const STOPPED_S: f64 = 12.0;
/// The same on the clock of the checker.
const STOPPED_US: u64 = 12 * hubbub_checker::history::SECOND;
/// Milliseconds between the commit of an append and its acks, so that a stop finds some in between.
const BETWEEN_MS: u32 = 20;

/// The row.
#[derive(Debug, Default)]
pub struct StopOwner {
    victim: usize,
}

#[async_trait]
impl Fault for StopOwner {
    fn id(&self) -> &'static str {
        "F2"
    }

    fn name(&self) -> &'static str {
        "STOP an owner for 3 leases, CONT (idle; between append and ack)"
    }

    fn expected(&self) -> &'static str {
        "new owner; the zombie inserts nothing, acks nothing"
    }

    fn course(&self, bench: &Bench) -> Course {
        let mut course = Course::usual(bench);
        let points = format!("ack.before=delay:{BETWEEN_MS}");
        course
            .shape
            .environment
            .push(("HUBBUB_FAULT_POINTS".to_owned(), points));
        // What stood in the queues of a stopped node is shown when it goes on, also to whom a removal met meanwhile.
        course.checker.after_removal += STOPPED_US;
        course
    }

    async fn inject(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        // Idle: nothing is under way when it stops, and its partitions are asked for while it is away.
        let rate = scene.load.rate();
        scene.load.run_at(0.0);
        scene.load.quiet().await;
        self.victim = scene.choose(world.nodes.len());
        let concerned = world.conversations_of_node(self.victim).await?;
        scene.hits(self.victim);
        world.nodes[self.victim].suspend();
        scene.injected(concerned);
        scene.load.run_at(rate);
        scene.last(STOPPED_S).await;
        world.nodes[self.victim].resume();
        scene.last(STOPPED_S / 2.0).await;
        world.wait_until_shared().await?;

        // Under load: appends and acks are on their way.
        self.victim = scene.choose(world.nodes.len());
        let concerned = world.conversations_of_node(self.victim).await?;
        scene.hits(self.victim);
        world.nodes[self.victim].suspend();
        scene.concerns_too(concerned);
        scene.last(STOPPED_S).await;
        Ok(())
    }

    async fn heal(&mut self, world: &mut World, _scene: &mut Scene) -> anyhow::Result<()> {
        world.nodes[self.victim].resume();
        Ok(())
    }

    fn judge(&self, measured: &Measured, verdict: &mut Verdict) {
        verdict.at_most(
            "write gap, concerned, ms",
            measured.writes.concerned.max_ms,
            6_000.0,
        );
        verdict.others_unharmed(measured);
        verdict.must_have_happened("takeovers", measured.takeovers());
        verdict.must_have_happened("writes concerned", measured.writes.concerned.count as u64);
        verdict.remark("what is shown after a removal (I11) is held against the stop and 1 s: a node that goes on first tells what had reached it");
        verdict.remark("split-brain acks would show as I1, I3 or I12: an ack that the log of the new epoch does not bear out");
    }
}

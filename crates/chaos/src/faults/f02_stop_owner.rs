//! F2: an owner is stopped for three leases and goes on: once while its partitions are idle, once under load, between the decision
//! for an append and the append itself, with others between commit and ack. The zombie must insert nothing and ack nothing: its statement
//! meets the fence.

use std::time::Duration;

use anyhow::ensure;
use async_trait::async_trait;
use tokio::time::Instant;

use crate::row::{Course, Fault, Measured, Verdict};
use crate::scene::{Bench, Scene};
use crate::world::World;

/// Three leases of four seconds.
const STOPPED_S: f64 = 12.0;
/// The same, for what counts whole seconds.
const STOPPED_MAX_S: u64 = 12;
/// Milliseconds between the commit of an append and its acks, so that a stop finds some in between.
const BETWEEN_MS: u32 = 20;
/// Milliseconds for which one append of the victim in so many stands between its owner's decision and the log: it is stopped there.
const STALL_MS: u32 = 1_500;
const STALL_EVERY: usize = 40;
/// Stalls that the victim's plan has: more than a run comes to.
const STALLS: usize = 100;
/// What a node says when an append stalls.
const STALLED: [&str; 2] = ["fault point", "append.before"];
/// How long an append may take to stall: many times as long as it takes.
const STALL_DEADLINE: Duration = Duration::from_mins(1);
/// How long after it goes on the zombie's statement may take to meet the fence.
const FENCED_DEADLINE: Duration = Duration::from_secs(4);
/// Stops under load at most; one is enough unless the machine is so busy that the append was through before the stop.
const STOPS: usize = 3;
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

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
            .push(("HUBBUB_FAULT_POINTS".to_owned(), points.clone()));
        let stalls =
            (1..=STALLS).map(|n| format!(",append.before=delay:{STALL_MS}@{}", n * STALL_EVERY));
        let plan = points + &stalls.collect::<String>();
        course.shape.environment_of.insert(
            victim(bench.seed, course.shape.nodes),
            vec![("HUBBUB_FAULT_POINTS".to_owned(), plan)],
        );
        course
    }

    /// A stopped node hears nothing for three leases, and a takeover comes on top (P7).
    fn unheard_s(&self) -> u64 {
        18
    }

    /// What stood in the queues of a stopped node may be shown when it goes on.
    fn late_removal_s(&self) -> u64 {
        STOPPED_MAX_S
    }

    async fn inject(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        self.victim = victim(scene.seed, world.nodes.len());
        // Idle: nothing is under way when it stops, and its partitions are asked for while it is away.
        let rate = scene.load.rate();
        scene.load.run_at(0.0);
        scene.load.quiet().await;
        let concerned = world.conversations_of_node(self.victim).await?;
        scene.hits(self.victim);
        world.nodes[self.victim].suspend();
        scene.injected(concerned);
        scene.load.run_at(rate);
        scene.last(STOPPED_S).await;
        world.nodes[self.victim].resume();
        scene.last(STOPPED_S / 2.0).await;

        // Under load: appends and acks are on their way.
        self.stop_before_an_append(world, scene).await
    }

    async fn heal(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        for stop in 1.. {
            world.nodes[self.victim].resume();
            if stop == STOPS || is_fenced(world).await {
                break;
            }
            self.stop_before_an_append(world, scene).await?;
        }
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
        verdict.must_have_happened("fenced appends", measured.counter("log_fenced"));
        verdict.remark("what is shown after a removal (I11) is held against the stop and 1 s: a node that goes on first tells what had reached it");
        verdict.remark("split-brain acks would show as I1, I3 or I12: an ack that the log of the new epoch does not bear out");
    }
}

impl StopOwner {
    /// Stops the victim while one of its appends is decided and not yet in the log, for three leases: when it goes on, that append is
    /// the first thing it does, and others own the partition.
    async fn stop_before_an_append(
        &mut self,
        world: &mut World,
        scene: &mut Scene,
    ) -> anyhow::Result<()> {
        world.wait_until_shared().await?;
        scene.concerns_too(world.conversations_of_node(self.victim).await?);
        let node = &mut world.nodes[self.victim];
        let before = node.count_lines(&STALLED);
        let deadline = Instant::now() + STALL_DEADLINE;
        while node.count_lines(&STALLED) <= before {
            ensure!(Instant::now() < deadline, "no append stalls");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        node.suspend();
        scene.last(STOPPED_S).await;
        Ok(())
    }
}

/// Whose turn it is to be stopped.
fn victim(seed: u64, nodes: usize) -> usize {
    usize::try_from(seed).unwrap_or(0) % nodes.max(1)
}

/// Whether any statement has met a fence, a moment after the victim goes on.
async fn is_fenced(world: &World) -> bool {
    let deadline = Instant::now() + FENCED_DEADLINE;
    while Instant::now() < deadline {
        world.read_metrics().await;
        if world.counted("hubbub_log_fenced_total") > 0 {
            return true;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    false
}

//! F16: a node is killed at each step of append, ack, publish, project and snapshot, again and again, and started again.

use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt as _;
use tokio::time::Instant;

use crate::figures::number;
use crate::row::{Fault, Measured, Verdict};
use crate::scene::Scene;
use crate::world::World;

/// The steps: fault points of the server.
const STEPS: &[&str] = &[
    "append.before",
    "append.after",
    "ack.before",
    "ack.after",
    "publish.before",
    "publish.after",
    "project.before",
    "project.after",
    "snapshot.before",
    "snapshot.after",
];
/// How often at each step; with `--minutes` as often as fits.
const ROUNDS: usize = 2;
/// The kill comes at one of so many first passings.
const PASSINGS: u64 = 20;
/// A node that does not come to the step within this long is passed over, and told.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two looks at the process.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The row.
#[derive(Debug, Default)]
pub struct KillAtEachStep {
    kills: u64,
    not_reached: Vec<&'static str>,
}

#[async_trait]
impl Fault for KillAtEachStep {
    fn id(&self) -> &'static str {
        "F16"
    }

    fn name(&self) -> &'static str {
        "kill at each step of append, ack, publish, project, snapshot × 50"
    }

    fn expected(&self) -> &'static str {
        "–"
    }

    async fn inject(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        scene.injected(scene.all_conversations());
        let began = Instant::now();
        let mut round = 0;
        loop {
            let goes_on = match scene.minutes {
                Some(minutes) => began.elapsed().as_secs_f64() < minutes * 60.0,
                None => round < if scene.short { 1 } else { ROUNDS },
            };
            if !goes_on {
                break;
            }
            for step in STEPS
                .iter()
                .copied()
                .filter(|step| {
                    // What was not reached once is not waited for again.
                    !self.not_reached.contains(step)
                })
                .collect::<Vec<_>>()
            {
                let victim = scene.choose(world.nodes.len());
                self.kill_at(world, scene, victim, step).await?;
            }
            round += 1;
        }
        scene.note("kills", number(self.kills));
        Ok(())
    }

    async fn heal(&mut self, world: &mut World, _scene: &mut Scene) -> anyhow::Result<()> {
        world.wait_until_shared().await
    }

    fn judge(&self, _measured: &Measured, verdict: &mut Verdict) {
        verdict.must_have_happened("kills", self.kills);
        for step in &self.not_reached {
            verdict.remark(format!(
                "no kill at {step}: the load did not come there in {} s",
                PATIENCE.as_secs()
            ));
        }
    }
}

impl KillAtEachStep {
    /// Starts the node with a kill at that step, waits for it, and starts it again without.
    async fn kill_at(
        &mut self,
        world: &mut World,
        scene: &mut Scene,
        victim: usize,
        step: &'static str,
    ) -> anyhow::Result<()> {
        let nth = scene.rng.random_range(1..=PASSINGS);
        let nth = if step.starts_with("snapshot") { 1 } else { nth };
        scene.progress.told(&format!(
            "kill {} at {step}, passing {nth}",
            world.nodes[victim].name()
        ));
        world.nodes[victim].plan_mut().environment = vec![(
            "HUBBUB_FAULT_POINTS".to_owned(),
            format!("{step}=kill@{nth}"),
        )];
        // A clean end hands over what it owns; the next start gets its share back.
        end_cleanly(world, victim).await?;
        world.nodes[victim].start_again()?;
        let deadline = Instant::now() + PATIENCE;
        while world.nodes[victim].exit_status().is_none() && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        if world.nodes[victim].exit_status().is_some() {
            self.kills += 1;
        } else {
            self.not_reached.push(step);
            world.kill_node(victim);
        }
        world.nodes[victim].plan_mut().environment.clear();
        world.start_node_again(victim).await
    }
}

/// Fails when the node does not end in time: a second one beside it would be another fault than this row's.
async fn end_cleanly(world: &mut World, victim: usize) -> anyhow::Result<()> {
    world.nodes[victim].terminate();
    let deadline = Instant::now() + PATIENCE;
    while world.nodes[victim].exit_status().is_none() {
        anyhow::ensure!(
            Instant::now() < deadline,
            "{} does not end",
            world.nodes[victim].name()
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

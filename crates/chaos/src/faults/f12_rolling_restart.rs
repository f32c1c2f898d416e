//! F12: every node is stopped and started again as the next version, one after the other. They hand over what they own instead of
//! letting it expire, and the two versions work side by side meanwhile.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use tokio::time::Instant;

use crate::row::{Fault, Measured, RowReport, Verdict};
use crate::scene::{self, Bench, Scene};
use crate::world::World;

/// How long a node may take to hand over, send its clients away and end.
const END_DEADLINE: Duration = Duration::from_secs(30);
/// Pause between two looks at a node that is ending.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Seconds of load between two nodes, beside the time in which the new one gets its share.
const BETWEEN_S: f64 = 2.0;

/// The row.
#[derive(Debug, Default)]
pub struct RollingRestart {
    /// Restart into the same version: what the version under test does when it is asked to stop, not what the one before it did.
    is_same: bool,
    new_binary: Option<PathBuf>,
    is_old_known: bool,
}

impl RollingRestart {
    /// From the previous version to the one under test.
    pub fn between_two_versions() -> Self {
        Self::default()
    }

    /// From the version under test to itself.
    pub fn of_one_version() -> Self {
        Self {
            is_same: true,
            ..Self::default()
        }
    }
}

#[async_trait]
impl Fault for RollingRestart {
    fn id(&self) -> &'static str {
        if self.is_same { "F12-same" } else { "F12" }
    }

    fn name(&self) -> &'static str {
        if self.is_same {
            "rolling restart, one version"
        } else {
            "rolling restart, two versions"
        }
    }

    fn expected(&self) -> &'static str {
        "hand over, not expire"
    }

    /// As long as a write may wait (P7).
    fn unheard_s(&self) -> u64 {
        6
    }

    async fn inject(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        let new_binary = self
            .new_binary
            .clone()
            .context("the row knows the new server")?;
        world.read_metrics().await;
        scene.injected(scene.all_conversations());
        for n in 0..world.nodes.len() {
            let began = Instant::now();
            let node = world.nodes.get_mut(n).context("there is such a node")?;
            node.terminate();
            while node.exit_status().is_none() {
                ensure!(
                    began.elapsed() < END_DEADLINE,
                    "{} does not end",
                    node.name()
                );
                tokio::time::sleep(LOOK_EVERY).await;
            }
            scene.note(
                &format!("end_ms_{}", n + 1),
                began.elapsed().as_secs_f64() * 1_000.0,
            );
            node.plan_mut().binary.clone_from(&new_binary);
            world.start_node_again(n).await?;
            world.wait_until_shared().await?;
            scene.last(BETWEEN_S).await;
        }
        Ok(())
    }

    /// All of them run.
    async fn heal(&mut self, _world: &mut World, _scene: &mut Scene) -> anyhow::Result<()> {
        Ok(())
    }

    fn judge(&self, measured: &Measured, verdict: &mut Verdict) {
        verdict.at_most("write gap p99, ms", measured.writes.concerned.p99_ms, 500.0)
            .because("a third of all partitions changes hands three times; each write asked for meanwhile waits for the hand-over and the first load at the new owner");
        verdict.must_be_none(
            "messages that a person would see fail",
            measured.count("failed") + measured.count("open"),
        );
        verdict.must(
            measured.takeovers() == 0,
            "a lease expired where partitions should have been handed over",
        );
        verdict.must_have_happened("clients sent elsewhere", measured.count("reconnects"));
        if self.is_old_known && !self.is_same {
            verdict.remark(
                "what is stopped here is the previous version: the gap is its way of parting",
            );
        }
        if !self.is_old_known && !self.is_same {
            verdict.remark(
                "no server of the previous revision was given: both versions are the same build",
            );
        }
    }

    /// The nodes begin as the previous version.
    async fn run(&mut self, bench: &Bench) -> anyhow::Result<RowReport> {
        self.new_binary = Some(bench.binary.clone());
        self.is_old_known = bench.old_binary.is_some();
        let mut old = bench.clone();
        if let Some(binary) = &bench.old_binary
            && !self.is_same
        {
            old.binary.clone_from(binary);
        }
        scene::run(self, &old).await
    }
}

//! F16: nodes are killed at each step of append, ack, publish, project and snapshot, hundreds of times. Every node is on its way to a kill
//! at a step of its own, and started again the moment it is dead: what it owned is claimed by the others, who come to their steps by that.
//! (Moving partitions back to a node that has come back takes a hold-off of ten seconds, so waiting for that would be a kill in ten seconds.)

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use async_trait::async_trait;
use hubbub_checker::history::SECOND;
use rand::RngExt as _;
use tokio::time::Instant;

use crate::figures::number;
use crate::row::{Course, Fault, Measured, Verdict};
use crate::scene::{Bench, Scene};
use crate::world::World;

/// The steps: fault points of the server. `project.before` would be passed with nothing to project, too.
const STEPS: [&str; 10] = [
    "append.before",
    "append.after",
    "ack.before",
    "ack.after",
    "publish.before",
    "publish.after",
    "project.write",
    "project.after",
    "snapshot.before",
    "snapshot.after",
];
/// Kills at each step: 300 in all, as the matrix asks; in a short run it is enough to come to every one.
const KILLS_EACH: u64 = 30;
const KILLS_EACH_SHORT: u64 = 1;
/// Seconds after which the row ends with as many kills as there are by then, unless `--minutes` says otherwise.
const BUDGET_S: f64 = 240.0;
const BUDGET_SHORT_S: f64 = 120.0;
/// The kill comes at one of so many first passings; a snapshot is too rare to be passed over.
const PASSINGS: u64 = 5;
/// A node that does not come to its step within this long is killed where it is, and tries another one.
const PATIENCE: Duration = Duration::from_secs(15);
/// A node that is to die at a snapshot is asked to end once it has owned this many partitions for so long: conversations are
/// snapshotted when they leave.
const OWNED_MIN: usize = 4;
const OWNED_FOR: Duration = Duration::from_secs(1);
/// Pause between two looks at what such a node owns; each starts a `psql`.
const LOOK_OWNED_EVERY: Duration = Duration::from_millis(500);
/// Few conversations, so that they grow fast enough to be worth snapshots.
const CONVERSATIONS: usize = 7;
/// Things a second, for the same reason.
const RATE: f64 = 60.0;
/// Pause between two looks at the processes.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Seconds that a client waits at most before it tries to connect again.
const CLIENT_WAIT_S: u64 = 30;
/// The signal that a process ends itself with at a fault point.
const ABORTED: i32 = 6;

/// The row.
#[derive(Debug, Default)]
pub struct KillAtEachStep {
    kills: BTreeMap<&'static str, u64>,
    /// Lives in which a node did not come to its step.
    in_vain: BTreeMap<&'static str, u64>,
    wanted_each: u64,
}

/// A node on its way to a step.
#[derive(Debug)]
struct Hunt {
    node: usize,
    step: &'static str,
    began: Instant,
    /// When somebody looks again at what the node owns; `None` when nobody needs to any more.
    look_owned_at: Option<Instant>,
    /// Since when it owns enough.
    owns_since: Option<Instant>,
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
        "every kill leaves everything whole"
    }

    fn course(&self, bench: &Bench) -> Course {
        let mut course = Course::usual(bench);
        course.crowd.conversations = CONVERSATIONS;
        course.rate = bench.rate.unwrap_or(RATE);
        // Clients that found every node dead again and again wait up to 30 s before they try again, as their contract says.
        course.checker.heads += CLIENT_WAIT_S * SECOND;
        // Whoever has just started gets partitions at once: it lives for seconds only.
        course.shape.settings.push("join_delay_ms=100".to_owned());
        course
    }

    /// Two owners in a row may die before they publish (P7 twice).
    fn unheard_s(&self) -> u64 {
        12
    }

    async fn inject(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        scene.injected(scene.all_conversations());
        let usual = if scene.short {
            BUDGET_SHORT_S
        } else {
            BUDGET_S
        };
        let budget = scene.minutes.map_or(usual, |minutes| minutes * 60.0);
        self.wanted_each = if scene.short {
            KILLS_EACH_SHORT
        } else {
            KILLS_EACH
        };
        let end = Instant::now() + Duration::from_secs_f64(budget);
        let mut hunts: Vec<Hunt> = Vec::with_capacity(world.nodes.len());
        for node in 0..world.nodes.len() {
            world.kill_node(node);
            hunts.push(self.arm(world, scene, node, &hunts)?);
        }
        // Whoever says for how long gets as many as fit.
        let is_timed = scene.minutes.is_some();
        while (is_timed || !self.is_done()) && Instant::now() < end {
            tokio::time::sleep(LOOK_EVERY).await;
            for place in 0..hunts.len() {
                let Some(is_over) = Self::look(world, &mut hunts[place]).await? else {
                    continue;
                };
                let hunt = hunts.swap_remove(place);
                scene.progress.told(&format!(
                    "{} {} {} after {:.1} s",
                    world.nodes[hunt.node].name(),
                    if is_over {
                        "died at"
                    } else {
                        "did not come to"
                    },
                    hunt.step,
                    hunt.began.elapsed().as_secs_f64(),
                ));
                if is_over {
                    *self.kills.entry(hunt.step).or_default() += 1;
                } else {
                    *self.in_vain.entry(hunt.step).or_default() += 1;
                }
                let hunt = self.arm(world, scene, hunt.node, &hunts)?;
                hunts.push(hunt);
                break;
            }
        }
        for hunt in hunts {
            world.nodes[hunt.node].plan_mut().environment.clear();
            world.kill_node(hunt.node);
        }
        for (step, kills) in &self.kills {
            scene.note(&format!("kills at {step}"), number(*kills));
        }
        scene.note("kills", number(self.kills.values().sum()));
        scene.note("lives in vain", number(self.in_vain.values().sum()));
        Ok(())
    }

    async fn heal(&mut self, world: &mut World, _scene: &mut Scene) -> anyhow::Result<()> {
        for node in 0..world.nodes.len() {
            if world.nodes[node].exit_status().is_some() {
                world.start_node_again(node).await?;
            }
        }
        world.wait_until_shared().await
    }

    fn judge(&self, _measured: &Measured, verdict: &mut Verdict) {
        for step in STEPS {
            let kills = self.kills_at(step);
            verdict.must_have_happened(&format!("kills at {step}"), kills);
        }
        let wanted = self.wanted_each * STEPS.len() as u64;
        let short_of: u64 = STEPS
            .iter()
            .map(|step| self.wanted_each.saturating_sub(self.kills_at(step)))
            .sum();
        verdict
            .at_most(&format!("kills short of {wanted}"), number(short_of), 0.0)
            .because("the time that the row has was over first; `--minutes` gives it more");
        verdict.remark(format!(
            "heads (I16) are held against {CLIENT_WAIT_S} s more than elsewhere: the longest pause of a client that found no node alive"
        ));
        verdict.remark(format!(
            "{} of {wanted} kills, with every node on its way to one at any time",
            wanted - short_of
        ));
    }
}

impl KillAtEachStep {
    fn kills_at(&self, step: &str) -> u64 {
        self.kills.get(step).copied().unwrap_or(0)
    }

    fn is_done(&self) -> bool {
        STEPS
            .iter()
            .all(|step| self.kills_at(step) >= self.wanted_each)
    }

    /// Starts a dead node with a kill at a step that has not seen enough of them, was tried least, and that nobody else is on the
    /// way to.
    fn arm(
        &self,
        world: &mut World,
        scene: &mut Scene,
        node: usize,
        others: &[Hunt],
    ) -> anyhow::Result<Hunt> {
        let offset = scene.choose(STEPS.len());
        let step = STEPS
            .iter()
            .cycle()
            .skip(offset)
            .take(STEPS.len())
            .filter(|step| others.iter().all(|other| other.step != **step))
            .min_by_key(|step| {
                let kills = self.kills_at(step);
                let vain = self.in_vain.get(*step).copied().unwrap_or(0);
                (kills >= self.wanted_each, kills + vain)
            })
            .copied()
            .unwrap_or(STEPS[0]);
        let is_rare = step.starts_with("snapshot");
        let nth = if is_rare {
            1
        } else {
            scene.rng.random_range(1..=PASSINGS)
        };
        let place = &mut world.nodes[node];
        place.plan_mut().environment = vec![(
            "HUBBUB_FAULT_POINTS".to_owned(),
            format!("{step}=kill@{nth}"),
        )];
        place.start_again()?;
        world.watch_metrics();
        Ok(Hunt {
            node,
            step,
            began: Instant::now(),
            look_owned_at: is_rare.then(Instant::now),
            owns_since: None,
        })
    }

    /// Whether this life is over, and whether its end was the one that was wanted; `None` while it lasts.
    async fn look(world: &mut World, hunt: &mut Hunt) -> anyhow::Result<Option<bool>> {
        let node = &mut world.nodes[hunt.node];
        if let Some(status) = node.exit_status() {
            return Ok(Some(status.signal() == Some(ABORTED)));
        }
        if hunt.began.elapsed() > PATIENCE {
            node.kill();
            return Ok(Some(false));
        }
        let now = Instant::now();
        if hunt.look_owned_at.is_some_and(|at| at <= now) {
            hunt.look_owned_at = Some(now + LOOK_OWNED_EVERY);
            let owned = world.ownership().await?;
            let node = &mut world.nodes[hunt.node];
            if owned
                .get(node.name())
                .is_some_and(|owned| *owned >= OWNED_MIN)
            {
                let since = *hunt.owns_since.get_or_insert(now);
                if since + OWNED_FOR <= now {
                    hunt.look_owned_at = None;
                    node.terminate();
                }
            }
        }
        Ok(None)
    }
}

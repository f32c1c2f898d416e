//! The usual course of a row: start, connect, load, break, heal, wait, measure, judge.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use hubbub_checker::history::{SECOND, Time};
use hubbub_checker::{Healing, Heals};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;
use uuid::Uuid;

use crate::clock::{Clock, span};
use crate::figures::{Moments, WriteGaps, lateness, millis};
use crate::judge;
use crate::load::stage::{Done, value};
use crate::load::{Load, Told, voice};
use crate::people::People;
use crate::progress::Progress;
use crate::row::{Course, Fault, Measured, RowReport, Verdict};
use crate::world::World;

/// How long what is under way may take to end when nothing new is asked for.
const SETTLE_DEADLINE: Duration = Duration::from_secs(90);
/// How long after the healing commands may take to succeed everywhere before the run stops waiting.
const COMMANDS_DEADLINE: Duration = Duration::from_secs(90);
/// How long partitions may take to be owned before the run stops waiting.
const OWNED_DEADLINE: Duration = Duration::from_secs(90);
/// How long everybody may take to come to what was the head at the healing before the run stops waiting.
const HEADS_DEADLINE: Duration = Duration::from_secs(90);
/// Pause between two looks at ownership; each starts a `psql`.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Lines of each node that a broken run keeps.
const LAST_WORDS: usize = 200;

/// The counters of the nodes that a report tells, without `hubbub_` and `_total`.
const COUNTERS: &[&str] = &[
    "cluster_acquires",
    "cluster_takeovers",
    "cluster_forwarded",
    "cluster_wrong_owner",
    "cluster_unknown_outcomes",
    "log_appends",
    "log_rows",
    "log_fenced",
    "log_unknown",
    "log_conflicts",
    "log_refusals",
    "feed_gaps",
    "feed_healed_gaps",
    "feed_healed_last",
    "feed_duplicates",
    "edge_frames_dropped",
    "edge_resyncs",
    "edge_resets",
    "edge_sockets_refused",
    "edge_http_errors",
    "actors_panics",
    "actors_quarantines",
    "actors_busy",
    "actors_probes",
    "actors_takebacks",
    "projections_parked",
    "unread_mismatch",
    "bus_dropped",
    "bus_publish_failures",
];

/// What all rows of one call share.
#[derive(Clone, Debug, Default)]
pub struct Bench {
    /// The server under test: a copy that nobody rebuilds.
    pub binary: PathBuf,
    /// The server of the previous revision, for rolling restarts.
    pub old_binary: Option<PathBuf>,
    /// Repeats the run.
    pub seed: u64,
    /// Less of everything.
    pub short: bool,
    /// Revision of the source, for the report.
    pub revision: String,
    /// Profile of the builds, for the report.
    pub profile: String,
    /// The times of the checker's limits are multiplied by this.
    pub patience: u64,
    /// Minutes that a row's fault lasts, where it can last; `None`: as long as the row needs.
    pub minutes: Option<f64>,
    /// Things a second, instead of what rows choose.
    pub rate: Option<f64>,
    /// Where histories and last words of broken runs go.
    pub keep: PathBuf,
    /// Tells how far it is.
    pub progress: Progress,
}

/// What a fault has at hand while the load runs.
#[derive(Debug)]
pub struct Scene {
    /// The clock of the run.
    pub clock: Clock,
    /// Everybody who is connected.
    pub load: Load,
    /// The row's own choices.
    pub rng: StdRng,
    /// When things happened.
    pub moments: Moments,
    /// Conversations that the fault concerns.
    pub concerned: BTreeSet<Uuid>,
    /// Nodes that the fault hits as edges: what people at them wait is told apart.
    pub nodes_hit: BTreeSet<u32>,
    /// What this row alone measures.
    pub extra: BTreeMap<String, f64>,
    /// The seed of the run.
    pub seed: u64,
    /// The run is a short one.
    pub short: bool,
    /// Minutes that the fault is to last, where it can.
    pub minutes: Option<f64>,
    /// Tells how far it is.
    pub progress: Progress,
}

impl Scene {
    /// The fault begins now, and concerns these conversations (all others must not notice).
    pub fn injected(&mut self, concerned: BTreeSet<Uuid>) {
        self.moments.injected = self.clock.now();
        self.concerned = concerned;
        self.progress.told("fault injected");
    }

    /// The fault goes on and concerns these conversations too.
    pub fn concerns_too(&mut self, concerned: BTreeSet<Uuid>) {
        self.concerned.extend(concerned);
    }

    /// The fault hits this node as an edge as well.
    pub fn hits(&mut self, node: usize) {
        self.nodes_hit
            .insert(u32::try_from(node).unwrap_or(u32::MAX));
    }

    /// Lets it last, the load going on.
    pub async fn last(&self, seconds: f64) {
        self.progress.told(&format!("lasts {seconds:.0} s"));
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }

    /// Every conversation: for faults that concern all.
    pub fn all_conversations(&self) -> BTreeSet<Uuid> {
        self.load
            .people
            .conversations
            .iter()
            .map(|conversation| conversation.id)
            .collect()
    }

    /// One of so many, by the seed.
    pub fn choose(&mut self, among: usize) -> usize {
        self.rng.random_range(0..among.max(1))
    }

    /// Notes a figure of this row alone.
    pub fn note(&mut self, name: &str, figure: f64) {
        self.extra.insert(name.to_owned(), figure);
    }
}

/// Runs a row from start to judgement.
///
/// # Errors
/// When it could not be carried out; nothing is proved then.
pub async fn run<F: Fault + ?Sized>(fault: &mut F, bench: &Bench) -> anyhow::Result<RowReport> {
    let mut course = fault.course(bench);
    course.checker.unheard += fault.unheard_s() * SECOND;
    course.checker.after_removal += fault.late_removal_s() * SECOND;
    course.checker.stretch(bench.patience);
    let progress = &bench.progress;
    progress.told("start");
    let mut world = World::start(bench.binary.clone(), &course.shape).await?;
    let outcome = run_in(fault, bench, &course, &mut world).await;
    if !matches!(&outcome, Ok(report) if report.words.is_empty()) {
        let path = bench
            .keep
            .join(format!("{}-{}.log", fault.id(), bench.seed));
        // The report says what is wrong; the nodes' words only help.
        let _kept = std::fs::write(path, world.last_words(LAST_WORDS));
    }
    outcome
}

async fn run_in<F: Fault + ?Sized>(
    fault: &mut F,
    bench: &Bench,
    course: &Course,
    world: &mut World,
) -> anyhow::Result<RowReport> {
    let progress = &bench.progress;
    let people = People::gather(world, course.crowd, bench.seed).await?;
    progress.told(&format!("connect {} clients", people.clients));
    let clock = Clock::start();
    let load = Load::connect(world, people, clock, bench.seed, course.mix).await?;
    let mut scene = Scene {
        clock,
        load,
        rng: StdRng::seed_from_u64(bench.seed ^ 0xfa17),
        moments: Moments {
            began: clock.now(),
            ..Moments::default()
        },
        concerned: BTreeSet::new(),
        nodes_hit: BTreeSet::new(),
        extra: BTreeMap::new(),
        seed: bench.seed,
        short: bench.short,
        minutes: bench.minutes,
        progress: progress.clone(),
    };
    scene.load.run_at(course.rate);
    scene
        .last(Duration::from_secs(course.warm_up_s).as_secs_f64())
        .await;
    world.wait_until_shared().await?;
    world.read_metrics().await;
    let hands_before = world.changes_of_hands().await?;

    fault
        .inject(world, &mut scene)
        .await
        .context("inject the fault")?;
    scene.moments.healing = clock.now();
    fault
        .heal(world, &mut scene)
        .await
        .context("heal the fault")?;
    scene.moments.healed = clock.now();
    progress.told("healed");
    let healed = after_healing(world, &scene).await;
    scene
        .last(Duration::from_secs(course.aftermath_s).as_secs_f64())
        .await;
    let before = Before {
        healed,
        hands_before,
    };
    finish(fault, bench, course, world, scene, before).await
}

/// What the end of a row needs from its middle.
struct Before {
    healed: Healed,
    hands_before: BTreeMap<String, u64>,
}

/// How long after the healing things were as they must be.
#[derive(Clone, Copy, Debug, Default)]
struct Healed {
    owned: Option<Time>,
    commands: Option<Time>,
    heads: Option<Time>,
}

async fn after_healing(world: &World, scene: &Scene) -> Healed {
    let owned = async {
        let deadline = Instant::now() + OWNED_DEADLINE;
        loop {
            if world.all_owned().await.unwrap_or(false) {
                return Some(scene.clock.now());
            }
            if Instant::now() > deadline {
                return None;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let commands = async {
        let all: Vec<usize> = (0..scene.load.people.conversations.len()).collect();
        let probed = scene.load.probe(&all, COMMANDS_DEADLINE).await;
        probed.then(|| scene.clock.now())
    };
    let heads = async {
        // What stood in the log at the healing must reach everybody, the load going on.
        let heads = judge::heads(world).await.ok()?;
        let converged = scene.load.converge(&heads, HEADS_DEADLINE).await;
        converged.is_ok().then(|| scene.clock.now())
    };
    let (owned, commands, heads) = tokio::join!(owned, commands, heads);
    Healed {
        owned,
        commands,
        heads,
    }
}

async fn finish<F: Fault + ?Sized>(
    fault: &mut F,
    bench: &Bench,
    course: &Course,
    world: &mut World,
    scene: Scene,
    before: Before,
) -> anyhow::Result<RowReport> {
    let progress = &bench.progress;
    let Before {
        healed,
        hands_before,
    } = before;
    let Scene {
        clock,
        mut load,
        mut moments,
        concerned,
        nodes_hit,
        extra,
        ..
    } = scene;
    progress.told("let everything end");
    load.stop(SETTLE_DEADLINE).await;
    moments.stopped = clock.now();
    let heads = judge::heads(world).await?;
    let converged = load
        .converge(&heads, Duration::from_secs(course.converge_s))
        .await;
    let at_head = clock.now();
    progress.told("read everything");
    judge::read_in_the_end(&load).await;
    world.read_metrics().await;
    let hands = world.changes_of_hands().await?;
    let stage = std::sync::Arc::clone(&load.stage);
    let people = std::sync::Arc::clone(&load.people);
    let mut told = load.end(converged.is_ok()).await;
    let (late_before, late_after) = lateness(
        &told.history,
        &told.breaks,
        moments,
        voice::person_of_subscription,
    );

    let history = &mut told.history;
    fault.id().clone_into(&mut history.meta.run);
    history.meta.seed = bench.seed;
    let mut healing = |heals, healed_at, reached_at| {
        history.healings.push(Healing {
            fault: fault.id().to_owned(),
            healed_at,
            heals,
            reached_at,
        });
    };
    healing(Heals::Owned, moments.healed, healed.owned);
    healing(Heals::Commands, moments.healed, healed.commands);
    healing(Heals::Heads, moments.healed, healed.heads);
    let settled_at = converged.is_ok().then_some(at_head);
    judge::add_log(world, &people, history).await?;
    judge::add_counters(world, history);

    progress.told("judge");
    let report = hubbub_checker::check(history, &course.checker);
    let done = &stage.done;
    let mut measured = Measured {
        moments,
        writes: WriteGaps::of(&stage.waits(), &concerned, &nodes_hit, moments),
        late_before,
        late_after,
        owned_ms: since(moments.healed, healed.owned),
        commands_ms: since(moments.healed, healed.commands),
        heads_ms: since(moments.healed, healed.heads),
        settled_ms: since(moments.stopped, settled_at),
        concerned: concerned.len(),
        extra,
        ..Measured::default()
    };
    count(&mut measured, done, &told);
    read_counters(&mut measured, world, hands, &hands_before);
    measured.judged(&report);
    let mut verdict = Verdict::default();
    verdict.must_have_happened("messages acked", measured.count("acked"));
    verdict.must_have_happened("deliveries", measured.count("deliveries"));
    verdict.must(told.unreadable == 0, "frames that could not be read");
    if let Err(behind) = converged {
        verdict.must(false, &format!("not at the head: {behind}"));
    }
    fault.judge(&measured, &mut verdict);
    let mut words = report.worst();
    for wrong in &verdict.wrong {
        words.push_str(wrong);
        words.push('\n');
    }
    if !words.is_empty() {
        let path = bench
            .keep
            .join(format!("{}-{}.history", fault.id(), bench.seed));
        judge::keep(&told.history, &path);
    }
    Ok(RowReport::of(fault, bench, measured, verdict, words))
}

/// Counters of the harness.
fn count(measured: &mut Measured, done: &Done, told: &Told) {
    for (name, count) in [
        ("sent", value(&done.sent)),
        ("acked", value(&done.acked)),
        ("failed", value(&done.failed)),
        ("open", value(&done.open)),
        ("unknown_attempts", value(&done.unknown_attempts)),
        ("refused_for_now", value(&done.later)),
        ("repeated", value(&done.repeated)),
        ("keys_reused", value(&done.keys_reused)),
        ("keys_refused", value(&done.keys_refused)),
        ("reads", value(&done.reads)),
        ("reads_failed", value(&done.reads_failed)),
        ("moves", value(&done.moves)),
        ("comings_and_goings", value(&done.comings_and_goings)),
        ("marks", value(&done.marks)),
        ("skipped", value(&done.skipped)),
        ("deliveries", told.history.deliveries.len() as u64),
        ("events", told.history.log.len() as u64),
        ("reconnects", told.reconnects),
        ("resyncs", told.resyncs),
        ("unreadable", told.unreadable),
    ] {
        measured.counts.insert(name.to_owned(), count);
    }
}

/// Counters of the nodes, and how often partitions changed hands from the fault on.
fn read_counters(
    measured: &mut Measured,
    world: &World,
    hands: BTreeMap<String, u64>,
    hands_before: &BTreeMap<String, u64>,
) {
    for name in COUNTERS {
        let mut count = world.counted(&format!("hubbub_{name}_total"));
        if count == 0 {
            count = world.counted(&format!("hubbub_{name}"));
        }
        measured.counters.insert((*name).to_owned(), count);
    }
    for (reason, count) in hands {
        let already = hands_before.get(&reason).copied().unwrap_or(0);
        measured
            .counters
            .insert(format!("hands_{reason}"), count.saturating_sub(already));
    }
}

fn since(from: Time, reached_at: Option<Time>) -> Option<f64> {
    reached_at.map(|at| millis(u64::try_from(span(from, at).as_micros()).unwrap_or(u64::MAX)))
}

//! What a row is, and what it says in the end.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use hubbub_checker::Limits as CheckerLimits;
use hubbub_checker::history::{SECOND, Time};
use serde::{Deserialize, Serialize};

use crate::figures::{Moments, Spread, WriteGaps};
use crate::load::Mix;
use crate::people::Crowd;
use crate::scene::{self, Bench, Scene};
use crate::world::{Shape, World};

/// One row of the fault matrix. The course around it (start, connect, load, measure, judge) is the same for all and lives in
/// [`crate::scene`]; a row that needs another course replaces [`Fault::run`].
#[async_trait]
pub trait Fault: Send + Sync {
    /// For example `F1`.
    fn id(&self) -> &'static str;

    /// The fault, as the matrix names it.
    fn name(&self) -> &'static str;

    /// What is expected of the cluster, as the matrix says it.
    fn expected(&self) -> &'static str;

    /// What it runs against and how much load there is; the bench knows whether the run is to be short.
    fn course(&self, bench: &Bench) -> Course {
        Course::usual(bench)
    }

    /// Seconds by which the fault may keep from an edge what was acked (I9): a lost publication, a dead owner's, a stopped process.
    fn unheard_s(&self) -> u64 {
        0
    }

    /// Seconds by which the fault may keep from an edge that somebody was removed: until then it goes on telling, in order, what they saw
    /// as members (I11). What came behind the removal is never theirs, however long.
    fn late_removal_s(&self) -> u64 {
        0
    }

    /// Does the fault and lets it last. Calls [`Scene::injected`] at the moment in which it begins.
    ///
    /// # Errors
    /// When it cannot be done: the run is void.
    async fn inject(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()>;

    /// Takes it back: what was killed runs again, what was cut is whole. Returns when that is done, not when it has had
    /// effect.
    ///
    /// # Errors
    /// When it cannot be done: the run is void.
    async fn heal(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()>;

    /// What the figures must be, and what must have happened or the run is void.
    fn judge(&self, measured: &Measured, verdict: &mut Verdict);

    /// The whole row.
    ///
    /// # Errors
    /// When it could not be carried out: the run is void.
    async fn run(&mut self, bench: &Bench) -> anyhow::Result<RowReport> {
        scene::run(self, bench).await
    }
}

/// What a row runs against, and how much load there is.
#[derive(Clone, Debug)]
pub struct Course {
    /// Nodes, buses, settings.
    pub shape: Shape,
    /// People and conversations.
    pub crowd: Crowd,
    /// What they do.
    pub mix: Mix,
    /// How many things a second.
    pub rate: f64,
    /// Seconds of load before the fault.
    pub warm_up_s: u64,
    /// Seconds of load after the healing.
    pub aftermath_s: u64,
    /// Seconds in which everybody must come to the head in the end, for this run to go on at all; the limit is the
    /// checker's.
    pub converge_s: u64,
    /// What the checker holds the run against.
    pub checker: CheckerLimits,
}

impl Course {
    /// Three nodes, three buses, 300 clients; less of everything in a short run.
    pub fn usual(bench: &Bench) -> Self {
        let (crowd, rate, warm_up_s, aftermath_s) = if bench.short {
            let crowd = Crowd {
                clients: 60,
                hot_members: 100,
                conversations: 30,
            };
            (crowd, 30.0, 4, 4)
        } else {
            (Crowd::default(), 40.0, 6, 6)
        };
        Self {
            shape: Shape::default(),
            crowd,
            mix: Mix::default(),
            rate: bench.rate.unwrap_or(rate),
            warm_up_s,
            aftermath_s,
            converge_s: 120,
            checker: CheckerLimits {
                unheard: UNHEARD_US,
                ..CheckerLimits::default()
            },
        }
    }
}

/// How long after its ack an edge must have heard of an event, in microseconds, where nothing keeps it: the publication follows the
/// ack, and a lost one is made good by the next broadcast of the heads.
const UNHEARD_US: Time = 2 * SECOND;

/// What was measured in a row.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Measured {
    /// When things happened.
    pub moments: Moments,
    /// How long writes waited.
    pub writes: WriteGaps,
    /// How late events came before the fault.
    pub late_before: Spread,
    /// How late events came from the fault on.
    pub late_after: Spread,
    /// Milliseconds from the healing until every partition was owned; `None`: not while the run lasted.
    pub owned_ms: Option<f64>,
    /// … until a command had succeeded in every conversation.
    pub commands_ms: Option<f64>,
    /// … until every client had been told what was the head of each of its conversations at the healing.
    pub heads_ms: Option<f64>,
    /// Milliseconds from the end of the load until every client was at the head.
    pub settled_ms: Option<f64>,
    /// Conversations that the fault concerned.
    pub concerned: usize,
    /// Counters of the harness by name.
    pub counts: BTreeMap<String, u64>,
    /// Counters of the nodes, summed, by metric name.
    pub counters: BTreeMap<String, u64>,
    /// What this row alone measures.
    pub extra: BTreeMap<String, f64>,
    /// Violations by invariant.
    pub violated: BTreeMap<String, u64>,
    /// How much each invariant has looked at.
    pub examined: BTreeMap<String, u64>,
}

impl Measured {
    /// A counter of the harness.
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// A counter of the nodes, without its `hubbub_` and `_total`.
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }

    /// Takes over what the checker says.
    pub fn judged(&mut self, report: &hubbub_checker::Report) {
        for invariant in hubbub_checker::Invariant::ALL {
            let examined = report.examined.get(&invariant).copied().unwrap_or(0);
            self.examined.insert(invariant.to_string(), examined);
            if report.count(invariant) > 0 {
                self.violated
                    .insert(invariant.to_string(), report.count(invariant));
            }
        }
    }

    /// Partitions taken over from an owner that was lost, from the fault on: rows of the lineage.
    pub fn takeovers(&self) -> u64 {
        self.counter("hands_takeover")
    }

    /// What this row alone measures.
    pub fn extra(&self, name: &str) -> f64 {
        self.extra.get(name).copied().unwrap_or(0.0)
    }
}

/// A figure beside its limit.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Held {
    /// What.
    pub what: String,
    /// What was measured.
    pub measured: f64,
    /// What is allowed at most.
    pub limit: f64,
    /// Above the limit a promise is broken, however slow the machine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_promise: bool,
    /// Why it is above the limit when it is, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

impl Held {
    /// Names the cause that a reader is told when the figure is above the limit.
    pub fn because(&mut self, cause: impl Into<String>) {
        self.cause = Some(cause.into());
    }
}

/// What a row's figures are held against.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// Figures beside their limits.
    pub held: Vec<Held>,
    /// Counters that must be above zero.
    pub happened: BTreeMap<String, u64>,
    /// What is wrong beyond limits, in words.
    pub wrong: Vec<String>,
    /// What a reader should know beside the figures.
    pub remarks: BTreeSet<String>,
}

impl Verdict {
    /// `measured` must not be above `limit`.
    pub fn at_most(&mut self, what: &str, measured: f64, limit: f64) -> &mut Held {
        self.held.push_mut(Held {
            what: what.to_owned(),
            measured,
            limit,
            is_promise: false,
            cause: None,
        })
    }

    /// There must be none of it: a promise, which no machine is too slow for.
    pub fn must_be_none(&mut self, what: &str, count: u64) {
        self.at_most(what, crate::figures::number(count), 0.0)
            .is_promise = true;
    }

    /// This must have happened, or the run is void.
    pub fn must_have_happened(&mut self, what: &str, times: u64) {
        self.happened.insert(what.to_owned(), times);
    }

    /// Something must be so.
    pub fn must(&mut self, holds: bool, otherwise: &str) {
        if !holds {
            self.wrong.push(otherwise.to_owned());
        }
    }

    /// Something that a reader should know.
    pub fn remark(&mut self, words: impl Into<String>) {
        self.remarks.insert(words.into());
    }

    /// Limits that were exceeded.
    pub fn exceeded(&self) -> impl Iterator<Item = &Held> {
        self.held.iter().filter(|held| held.measured > held.limit)
    }

    /// What did not happen.
    pub fn missing(&self) -> impl Iterator<Item = &String> {
        self.happened
            .iter()
            .filter(|(_what, times)| **times == 0)
            .map(|(what, _times)| what)
    }
}

/// How a row ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// Nothing lost, doubled or reordered, and every figure within its limit.
    Passed,
    /// No promise broken, but a figure above its limit.
    Slow,
    /// A promise broken.
    Broken,
    /// It did not happen, or could not be carried out: nothing is proved.
    Void,
}

/// Everything about one run of one row: the JSON line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RowReport {
    /// For example `F1`.
    pub fault: String,
    /// In words.
    pub name: String,
    /// What the matrix expects.
    pub expected: String,
    /// Repeats it.
    pub seed: u64,
    /// How it ended.
    pub ending: Ending,
    /// A short run.
    pub short: bool,
    /// Revision of the source.
    #[serde(default)]
    pub revision: String,
    /// Profile that servers and harness were built with; empty when nobody said.
    #[serde(default)]
    pub profile: String,
    /// Load average of the machine before the row began: what else it had to do.
    #[serde(default)]
    pub load_before: f64,
    /// Seconds that the row took, starting and judging included.
    pub took_s: f64,
    /// What was measured.
    pub measured: Measured,
    /// What it was held against.
    pub verdict: Verdict,
    /// First violations, for people.
    pub words: String,
}

impl RowReport {
    /// Of a run that was judged.
    pub fn of<F: Fault + ?Sized>(
        fault: &F,
        bench: &Bench,
        measured: Measured,
        verdict: Verdict,
        words: String,
    ) -> Self {
        let is_promise_broken = verdict.exceeded().any(|held| held.is_promise);
        let ending =
            if is_promise_broken || !measured.violated.is_empty() || !verdict.wrong.is_empty() {
                Ending::Broken
            } else if verdict.missing().next().is_some() {
                Ending::Void
            } else if verdict.exceeded().next().is_some() {
                Ending::Slow
            } else {
                Ending::Passed
            };
        Self {
            fault: fault.id().to_owned(),
            name: fault.name().to_owned(),
            expected: fault.expected().to_owned(),
            seed: bench.seed,
            ending,
            short: bench.short,
            revision: bench.revision.clone(),
            profile: bench.profile.clone(),
            load_before: 0.0,
            took_s: 0.0,
            measured,
            verdict,
            words,
        }
    }

    /// Of a run that could not be carried out.
    pub fn void<F: Fault + ?Sized>(fault: &F, bench: &Bench, why: &anyhow::Error) -> Self {
        let verdict = Verdict {
            wrong: vec![format!("not carried out: {why:#}")],
            ..Verdict::default()
        };
        Self {
            ending: Ending::Void,
            ..Self::of(
                fault,
                bench,
                Measured::default(),
                verdict,
                format!("{why:#}"),
            )
        }
    }
}

/// What a write may wait where a fault must not be noticed, in milliseconds: the matrix says 0, and this is what a busy
/// machine with two cores and unoptimised servers adds on its own.
const UNHARMED_MS: f64 = 1_000.0;

impl Verdict {
    /// Conversations that the fault does not concern wait no longer than before.
    pub fn others_unharmed(&mut self, measured: &Measured) {
        let before = measured.writes.before.max_ms;
        self.at_most(
            "write gap, others, ms",
            measured.writes.others.max_ms,
            UNHARMED_MS.max(2.0 * before),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::f01_kill_node::KillNode;

    fn ending_of(verdict: Verdict) -> Ending {
        let (fault, bench) = (KillNode::default(), Bench::default());
        RowReport::of(&fault, &bench, Measured::default(), verdict, String::new()).ending
    }

    #[test]
    fn a_slow_machine_is_told_from_a_broken_promise() {
        let mut verdict = Verdict::default();
        verdict.must_be_none("commands acked that panicked", 0);
        verdict.at_most("write gap, ms", 900.0, 1_000.0);
        assert_eq!(ending_of(verdict.clone()), Ending::Passed);
        verdict.at_most("delivery late, ms", 1_100.0, 1_000.0);
        assert_eq!(ending_of(verdict.clone()), Ending::Slow);
        verdict.must_have_happened("takeovers", 0);
        assert_eq!(ending_of(verdict.clone()), Ending::Void);
        verdict.must_be_none("processes ended", 1);
        assert_eq!(ending_of(verdict), Ending::Broken);
    }

    #[test]
    fn a_violated_invariant_breaks_a_row_whatever_its_figures_say() {
        let measured = Measured {
            violated: [("I6".to_owned(), 1)].into(),
            ..Measured::default()
        };
        let report = RowReport::of(
            &KillNode::default(),
            &Bench::default(),
            measured,
            Verdict::default(),
            String::new(),
        );
        assert_eq!(report.ending, Ending::Broken);
    }
}

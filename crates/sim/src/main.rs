//! Runs seeds of the simulator: on all cores, with a line of progress, and in the end how to repeat the first one that failed.
//!
//! Never: a decision about what is right; that is the checker's.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to whoever runs it"
)]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use clap::Parser;
use hubbub_sim::{Counters, Run, run};

/// Time between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(5);
/// Results that wait to be counted.
const RESULTS_MAX: usize = 64;
/// Failing seeds that are named.
const NAMED_MAX: usize = 20;
/// What must have happened somewhere in so many seeds, else they prove nothing.
const REQUIRED: [&str; 5] = [
    "takeovers with an append in flight",
    "appends fenced off",
    "appends with unknown outcome",
    "gaps healed",
    "last messages healed",
];
/// From so many seeds on everything required must have happened.
const REQUIRED_FROM: u64 = 200;

/// The product's cores under one seed, many seeds.
#[derive(Debug, Parser)]
#[command(name = "hubbub-sim")]
struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed; alone: only this one.
    #[arg(long)]
    seed: Option<u64>,
    /// Print every step of one seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Go on after a seed that failed.
    #[arg(long)]
    keep_going: bool,
    /// Threads; by default one for each core.
    #[arg(long)]
    threads: Option<usize>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match options.seed {
        Some(seed) if options.seeds == 100 || options.trace => one(seed, options.trace),
        first => many(&options, first.unwrap_or(0)),
    }
}

fn one(seed: u64, trace: bool) -> ExitCode {
    let outcome = run(seed, trace);
    println!("{}", outcome.counters);
    describe(&outcome);
    println!(
        "seed {seed}: {} steps, trace {:016x}, {}",
        outcome.steps,
        outcome.trace_hash,
        if outcome.is_clean() {
            "clean"
        } else {
            "FAILED"
        }
    );
    if outcome.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn describe(outcome: &Run) {
    for finding in &outcome.findings {
        println!("{finding}");
    }
    if !outcome.report.is_clean() {
        println!("{}", outcome.report.worst());
    }
}

fn many(options: &Options, first: u64) -> ExitCode {
    let threads = options
        .threads
        .or_else(|| std::thread::available_parallelism().ok().map(Into::into))
        .unwrap_or(1);
    let (next, stop) = (AtomicU64::new(first), AtomicBool::new(false));
    let end = first.saturating_add(options.seeds);
    let (results, arrived) = sync_channel::<Run>(RESULTS_MAX);
    let started = Instant::now();
    let mut summary = Summary::default();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (results, next, stop) = (results.clone(), &next, &stop);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    if results.send(run(seed, false)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(results);
        let mut shown = Instant::now();
        loop {
            match arrived.recv_timeout(PROGRESS) {
                Ok(outcome) => {
                    if summary.take(&outcome) {
                        eprintln!("seed {} failed", outcome.seed);
                        stop.fetch_or(!options.keep_going, Ordering::Relaxed);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if shown.elapsed() >= PROGRESS {
                shown = Instant::now();
                eprintln!("{}", summary.progress(options.seeds, started.elapsed()));
            }
        }
    });
    summary.print(options.seeds, started.elapsed())
}

#[derive(Default)]
struct Summary {
    runs: u64,
    steps: u64,
    counters: Counters,
    failed: BTreeMap<u64, String>,
}

impl Summary {
    /// Counts a run in; `true` when it failed.
    fn take(&mut self, outcome: &Run) -> bool {
        self.runs += 1;
        self.steps += outcome.steps;
        self.counters.sum(&outcome.counters);
        if outcome.is_clean() {
            return false;
        }
        let mut words = outcome.findings.join("\n");
        if !outcome.report.is_clean() {
            words.push_str(&outcome.report.worst());
        }
        self.failed.insert(outcome.seed, words);
        true
    }

    fn progress(&self, seeds: u64, took: Duration) -> String {
        format!(
            "{} of {seeds} seeds, {:.1} a second, {} failed",
            self.runs,
            self.rate(took),
            self.failed.len()
        )
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate to read, not to reckon with"
    )]
    fn rate(&self, took: Duration) -> f64 {
        self.runs as f64 / took.as_secs_f64().max(0.001)
    }

    fn print(&self, seeds: u64, took: Duration) -> ExitCode {
        println!("{}", self.counters);
        let missing: Vec<&str> = REQUIRED
            .into_iter()
            .filter(|what| self.counters.of(what) == 0)
            .collect();
        let is_void = seeds >= REQUIRED_FROM && !missing.is_empty() && self.failed.is_empty();
        if is_void {
            println!("void: never happened: {}", missing.join(", "));
        }
        for (seed, words) in self.failed.iter().take(NAMED_MAX) {
            println!("seed {seed} failed:\n{words}");
        }
        if let Some(seed) = self.failed.keys().next() {
            println!("repeat the first: cargo xtask sim --seed {seed} --trace");
        }
        println!(
            "{} seeds in {:.1} s, {:.1} a second, {} steps, {} failed",
            self.runs,
            took.as_secs_f64(),
            self.rate(took),
            self.steps,
            self.failed.len()
        );
        if self.failed.is_empty() && !is_void {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

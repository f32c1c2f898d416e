//! `cargo xtask sabotage`: builds with one guarantee taken out, each of which must be caught, by the simulator where it can see the
//! harm and by tests of the room where it cannot.
//!
//! A sabotage that nobody notices is a hole in the proof: then the task fails. So it does when the honest build does not pass the same
//! catcher, because a catcher that always cries catches nothing.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;

use crate::cargo::{Profile, cargo};
use crate::runner::Runner;
use crate::workspace;

/// How long a sabotage may stay unnoticed (RELIABILITY.md), its build not counted.
const NOTICED_WITHIN: Duration = Duration::from_mins(5);
/// Seeds between two looks at what has broken; not 100, which the simulator takes for one seed alone.
const SEEDS_AT_ONCE: u64 = 25;
/// Seeds of the honest build, in any case.
const HONEST_SEEDS_MIN: u64 = 50;
/// The simulator's package.
const SIMULATOR: &str = "hubbub-sim";
/// Its build takes somewhat longer than one of the dev profile, its seeds take a twentieth of the time.
const PROFILE: Profile = Profile::Release;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these, by name and separated by commas, for example `no-fence,resume-twice`.
    #[arg(long)]
    only: Option<String>,
    /// Seeds that the simulator tries at most for each. The rarest harm, that of a batch which is sent again under the same epoch, shows
    /// in one of about 1,200; whatever is noticed earlier ends there.
    #[arg(long, default_value_t = 6_000)]
    seeds: u64,
}

/// A guarantee that is taken out, and what must break (any of them proves that it was noticed).
struct Sabotage {
    name: &'static str,
    breaks: &'static [&'static str],
}

const SABOTAGES: [Sabotage; 14] = [
    sabotage("no-fence", &["I1", "I2", "I4", "I5", "I12", "I15"]),
    sabotage("ack-before-commit", &["I1", "I15"]),
    sabotage("publish-before-commit", &["I5", "I15"]),
    sabotage("no-dedupe", &["I1", "I2", "I3"]),
    sabotage("resume-off-by-one", &["I6", "I9"]),
    sabotage("resume-twice", &["I6", "I9"]),
    sabotage("no-gap-check", &["I6", "I9", "I16"]),
    sabotage("no-last-message-check", &["I6", "I9", "I16"]),
    sabotage("swapped-publishes", &["I5", "I6"]),
    sabotage("unread-counts-redelivery", &["I10", "I14"]),
    sabotage("kick-ignored-elsewhere", &["I11"]),
    sabotage("epoch-not-bumped", &["I1", "I4", "I5", "I12"]),
    sabotage("projector-skips-on-error", &["I8", "I10", "I14"]),
    // The first statement may land late: a row of which its own owner knows nothing, and so tells nobody.
    sabotage("retry-same-epoch", &["I1", "I2", "I3", "I6", "I12", "I16"]),
];

const fn sabotage(name: &'static str, breaks: &'static [&'static str]) -> Sabotage {
    Sabotage { name, breaks }
}

/// What the simulator said.
struct Verdict {
    /// The invariants that it named, in order.
    broken: BTreeSet<String>,
    /// The seed by which it noticed.
    seed: Option<u64>,
    passed: bool,
    took: Duration,
}

pub(crate) fn run(runner: &mut Runner, options: &Options) -> anyhow::Result<ExitCode> {
    let chosen = chosen(options.only.as_deref())?;
    let mut table = Vec::new();
    let mut survivors = 0;
    let mut seeds = HONEST_SEEDS_MIN;
    for (number, sabotage) in chosen.iter().enumerate() {
        println!(
            "==> [{}/{}] {}",
            number + 1,
            chosen.len() + 1,
            sabotage.name
        );
        let verdict = attack(runner, Some(sabotage), options.seeds)?;
        let line = judged(sabotage, &verdict);
        println!("    {}", line.as_deref().unwrap_or_else(|why| why));
        survivors += usize::from(line.is_err());
        seeds = seeds.max(verdict.seed.unwrap_or(0) + 1);
        table.push((sabotage.name, line));
    }
    println!(
        "==> [{0}/{0}] the honest build, {seeds} seeds",
        chosen.len() + 1
    );
    let honest = attack(runner, None, seeds)?;
    println!("\n{}", shown(&table));
    if !honest.passed {
        bail!(
            "the honest build does not pass the same catcher: {:?}",
            honest.broken
        );
    }
    println!(
        "{} of {} noticed; the honest build passes {seeds} seeds in {:.0} s",
        chosen.len() - survivors,
        chosen.len(),
        honest.took.as_secs_f64()
    );
    Ok(if survivors == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn chosen(only: Option<&str>) -> anyhow::Result<Vec<&'static Sabotage>> {
    let Some(only) = only else {
        return Ok(SABOTAGES.iter().collect());
    };
    let named = only.split(',').map(|name| {
        SABOTAGES
            .iter()
            .find(|sabotage| sabotage.name == name.trim())
            .with_context(|| format!("there is no sabotage called {name}"))
    });
    named.collect()
}

/// What must break and has broken.
fn named(sabotage: &Sabotage, verdict: &Verdict) -> Vec<&'static str> {
    let breaks = sabotage.breaks.iter().copied();
    breaks
        .filter(|name| verdict.broken.contains(*name))
        .collect()
}

/// How it was noticed, or why it does not count as such.
fn judged(sabotage: &Sabotage, verdict: &Verdict) -> Result<String, String> {
    let named = sabotage
        .breaks
        .iter()
        .filter(|name| verdict.broken.contains(**name));
    let named: Vec<&str> = named.copied().collect();
    let took = verdict.took.as_secs_f64();
    if verdict.passed {
        return Err(format!("SURVIVED {took:.1} s of simulation"));
    }
    if named.is_empty() {
        return Err(format!(
            "noticed only by {:?}, which would not tell what is broken",
            verdict.broken
        ));
    }
    if verdict.took > NOTICED_WITHIN {
        return Err(format!("noticed after {took:.1} s, too late"));
    }
    let seed = verdict
        .seed
        .map_or_else(String::new, |seed| format!(" at seed {seed}"));
    Ok(format!("{} after {took:.1} s{seed}", named.join(", ")))
}

/// Builds the simulator, without a guarantee or honest, and runs it until what is waited for has broken.
fn attack(runner: &mut Runner, without: Option<&Sabotage>, seeds: u64) -> anyhow::Result<Verdict> {
    build(runner, without.map(|sabotage| sabotage.name))?;
    let mut all = Verdict {
        broken: BTreeSet::new(),
        seed: None,
        passed: true,
        took: Duration::ZERO,
    };
    let mut first = 0;
    while first < seeds {
        let some = simulate(runner, first, SEEDS_AT_ONCE)?;
        first += SEEDS_AT_ONCE;
        all.broken.extend(some.broken);
        all.seed = all.seed.or(some.seed);
        all.passed &= some.passed;
        all.took += some.took;
        let is_noticed = without.is_some_and(|sabotage| !named(sabotage, &all).is_empty());
        if is_noticed || (without.is_some() && all.took > NOTICED_WITHIN) {
            break;
        }
    }
    Ok(all)
}

/// Builds the simulator with this guarantee taken out, or none.
fn build(runner: &mut Runner, without: Option<&str>) -> anyhow::Result<()> {
    let mut build = cargo(&["build", "--quiet", "--package", SIMULATOR]);
    build.args(PROFILE.arguments());
    if let Some(name) = without {
        build.args(["--features", &format!("sabotage-{name}")]);
    }
    let built = runner.run(&mut build)?;
    ensure!(built.success(), "the simulator does not build: {built}");
    Ok(())
}

/// Runs so many seeds from the first one on, those behind a failing one included.
fn simulate(runner: &mut Runner, first: u64, seeds: u64) -> anyhow::Result<Verdict> {
    let heard = workspace::target().join("sabotage.txt");
    let mut command = Command::new(workspace::target().join(PROFILE.folder()).join(SIMULATOR));
    command
        .args(["--keep-going", "--seed", &first.to_string()])
        .args(["--seeds", &seeds.to_string()])
        .stdout(File::create(&heard).context("a file for what the simulator says")?)
        .current_dir(workspace::root());
    let start = Instant::now();
    let status = runner.run(&mut command)?;
    let took = start.elapsed();
    let text = fs::read_to_string(&heard).context("what the simulator said")?;
    Ok(Verdict {
        broken: broken(&text),
        seed: first_seed(&text),
        passed: status.success(),
        took,
    })
}

/// The invariants in a report for people: lines such as `I12 (epochs never fall …): 3`.
fn broken(text: &str) -> BTreeSet<String> {
    let head = |line: &str| {
        let (name, rest) = line.split_once(" (")?;
        let number = name.rsplit('I').next()?;
        let is_one = number.parse::<u8>().is_ok() && rest.contains("): ");
        is_one.then(|| format!("I{number}"))
    };
    text.lines().filter_map(head).collect()
}

/// The seed of the first line such as `seed 7 failed:`.
fn first_seed(text: &str) -> Option<u64> {
    let seed = |line: &str| {
        line.strip_prefix("seed ")?
            .strip_suffix(" failed:")?
            .parse()
            .ok()
    };
    text.lines().find_map(seed)
}

fn shown(table: &[(&str, Result<String, String>)]) -> String {
    let width = table.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, line) in table {
        let word = match line {
            Ok(how) => format!("caught by {how}"),
            Err(why) => why.clone(),
        };
        let _infallible = writeln!(text, "{name:width$}  {word}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "      12  kills\nseed 7 failed:\nthe run does not endI6 (seqs rise): 2\n    words (of it)\n\
        I16 (after healing: owned ≤ 10 s): 1\nrepeat the first: cargo xtask sim --seed 7 --trace\n";

    fn verdict(passed: bool, broken: &[&str], took: u64) -> Verdict {
        Verdict {
            broken: broken.iter().map(|&name| name.to_owned()).collect(),
            seed: Some(7),
            passed,
            took: Duration::from_secs(took),
        }
    }

    #[test]
    fn a_report_names_its_invariants_and_its_seed() {
        assert_eq!(broken(SAID).into_iter().collect::<Vec<_>>(), ["I16", "I6"]);
        assert_eq!(first_seed(SAID), Some(7));
        assert!(broken("nothing (to see)").is_empty());
    }

    #[test]
    fn what_is_not_noticed_in_time_and_by_its_invariant_survives() {
        let sabotage = &sabotage("resume-twice", &["I6", "I9"]);
        assert!(judged(sabotage, &verdict(false, &["I9"], 3)).is_ok());
        assert!(judged(sabotage, &verdict(true, &[], 3)).is_err());
        assert!(judged(sabotage, &verdict(false, &["I17"], 3)).is_err());
        assert!(judged(sabotage, &verdict(false, &["I9"], 301)).is_err());
    }

    #[test]
    fn only_what_exists_can_be_chosen() {
        assert_eq!(chosen(None).unwrap().len(), SABOTAGES.len());
        assert_eq!(chosen(Some("no-fence, no-dedupe")).unwrap().len(), 2);
        assert!(chosen(Some("no-such")).is_err());
    }
}

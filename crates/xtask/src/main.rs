//! `cargo xtask`: everything a developer or the build machine does with this repository, in plain Rust.
//!
//! It finds or installs what a task needs, says what it is doing, runs the steps, and ends whatever it has started.
//!
//! Never: a change outside of the repository except by the system's package manager (as root only); a process ended
//! by its name; a service of the system started, stopped or used.
//!
//! Start reading at [`test::run`], which is the whole quality gate as a list of steps.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to whoever runs it"
)]

mod bench;
mod cargo;
mod chaos;
mod check;
mod previous;
mod runner;
mod sabotage;
mod sim;
mod steps;
mod test;
mod tools;
mod types;
mod up;
mod web;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::runner::Runner;

/// Developer tasks of Hubbub.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build the web client and the server, and run the whole chat on this machine until Ctrl-C.
    ///
    /// Needs Rust and Node.js 20.19 or newer; no database, no broker: data is in one directory.
    Up(up::Options),

    /// Run every check and every test, with real PostgreSQL, NATS and Chromium.
    ///
    /// Installs by package name what is missing (as root on Debian or Ubuntu; otherwise prints the one line to run),
    /// starts private services, and ends everything it has started. The last line counts the steps:
    /// `N passed, M failed`.
    Test(test::Options),

    /// Check form and layers without running tests: formatting, lints, dependencies, web types and lints.
    Check,

    /// Write the TypeScript types of the client protocol, generated from `crates/wire`, to `web/src/wire`.
    Types(types::Options),

    /// Take one guarantee after the other out of the build and see that the checker notices.
    Sabotage(sabotage::Options),

    /// Run seeds of the simulator: the product's cores over a simulated log, bus, clock and chance, judged by the checker.
    Sim(sim::Options),

    /// Measure: hands its arguments to `hubbub-loadtest bench` in a release build.
    Bench(bench::Options),

    /// Break a cluster on purpose, row by row of the fault matrix, and judge what everybody was told.
    ///
    /// Without `--fault` and `--short` it writes `docs/proof.md`.
    Chaos(chaos::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = Runner::new().and_then(|mut runner| match &cli.task {
        Task::Up(options) => up::run(&mut runner, options),
        Task::Test(options) => test::run(&mut runner, options),
        Task::Check => check::run(&mut runner),
        Task::Types(options) => types::run(&mut runner, options),
        Task::Sim(options) => sim::run(&mut runner, options),
        Task::Sabotage(options) => sabotage::run(&mut runner, options),
        Task::Bench(options) => bench::run(&mut runner, options),
        Task::Chaos(options) => chaos::run(&mut runner, options),
    });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

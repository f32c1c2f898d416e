//! `cargo xtask bench`: the load generator in a release build.

use std::process::ExitCode;

use clap::Args;

use crate::cargo::cargo;
use crate::runner::Runner;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Arguments of `hubbub-loadtest bench`; `cargo xtask bench -- --help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(runner: &mut Runner, options: &Options) -> anyhow::Result<ExitCode> {
    let mut command = cargo(&[
        "run",
        "--release",
        "--package",
        "hubbub-loadtest",
        "--",
        "bench",
    ]);
    command.args(&options.arguments);
    let status = runner.run(&mut command)?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

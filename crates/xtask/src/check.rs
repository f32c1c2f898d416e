//! `cargo xtask check`: form and layers, without running anything of ours.

use std::process::ExitCode;

use crate::runner::Runner;
use crate::steps::Steps;
use crate::tools::node::Node;
use crate::{cargo, types, web};

const STEPS: usize = 5;

pub(crate) fn run(runner: &mut Runner) -> anyhow::Result<ExitCode> {
    let node = Node::find()?;
    let mut steps = Steps::new(STEPS);
    steps.commands(runner, "format", [cargo::fmt_check()]);
    steps.commands(runner, "clippy", [cargo::clippy()]);
    deny(&mut steps, runner);
    steps.step("generated types", types::check);
    steps.step("web types and lints", || {
        web::install_if_needed(runner, &node)?;
        web::script(runner, &node, "typecheck")?;
        web::script(runner, &node, "lint")
    });
    Ok(exit_code(&steps))
}

/// Dependencies against `deny.toml`, where the tool is installed.
pub(crate) fn deny(steps: &mut Steps, runner: &mut Runner) {
    match cargo::deny() {
        Some(command) => {
            steps.commands(runner, "dependencies", [command]);
        }
        None => steps.skip(
            "dependencies",
            "cargo-deny is not installed (cargo install cargo-deny)",
        ),
    }
}

pub(crate) fn exit_code(steps: &Steps) -> ExitCode {
    if steps.finish() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

//! `cargo xtask test`: the whole quality gate. Its steps, in order, are the body of [`run_complete`].

use std::process::{Command, ExitCode};

use clap::Args;
use hubbub_testkit::pg::PgServer;
use hubbub_testkit::settings;

use crate::runner::Runner;
use crate::steps::Steps;
use crate::tools::Toolbox;
use crate::{cargo, chaos, check, sim, types, web, workspace};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Without services, browser and web client: formatting, lints, and the tests that need nothing but Rust.
    #[arg(long)]
    fast: bool,
}

/// Where the browser tests find the server under test.
const SERVER_BINARY: &str = "HUBBUB_TEST_BIN";

const STEPS_COMPLETE: usize = 13;
/// Seeds of the simulator in the quality gate: under two minutes on two cores.
const SIMULATED_SEEDS: u64 = 2_000;
const STEPS_FAST: usize = 3;
/// What the property tests and the long end-to-end run draw their cases from, in every gate the same: a change is judged by the change. Whoever
/// searches sets the variable.
const SEEDS: [(&str, &str); 2] = [
    ("PROPTEST_RNG_SEED", "20261120"),
    ("HUBBUB_TEST_SEED", "20261120"),
];

pub(crate) fn run(runner: &mut Runner, options: &Options) -> anyhow::Result<ExitCode> {
    let steps = if options.fast {
        run_fast(runner)
    } else {
        run_complete(runner)?
    };
    Ok(check::exit_code(&steps))
}

fn run_fast(runner: &mut Runner) -> Steps {
    let mut steps = Steps::new(STEPS_FAST);
    steps.commands(runner, "format", [cargo::fmt_check()]);
    steps.commands(runner, "clippy", [cargo::clippy()]);
    let mut tests = rust_tests();
    for variable in [settings::PG_URL, settings::NATS_BIN, settings::REQUIRE] {
        tests.env_remove(variable);
    }
    steps.commands(runner, "rust tests without services", [tests]);
    steps
}

fn run_complete(runner: &mut Runner) -> anyhow::Result<Steps> {
    let tools = Toolbox::complete(runner)?;
    println!("==> start a private PostgreSQL");
    let postgres = PgServer::start(&[])?;
    println!("    {}", postgres.url());
    let services = Services {
        postgres: &postgres,
        tools: &tools,
    };
    let node = &tools.node;

    let mut steps = Steps::new(STEPS_COMPLETE);
    steps.commands(runner, "format", [cargo::fmt_check()]);
    steps.commands(runner, "clippy", [cargo::clippy()]);
    check::deny(&mut steps, runner);
    let installed = steps.step("web packages", || web::install(runner, node))
        && steps.commands(runner, "web lock unchanged", [web::lock_is_clean()]);
    let web_built = if installed {
        steps.step("web types, lints and unit tests", || {
            web::script(runner, node, "typecheck")?;
            web::script(runner, node, "lint")?;
            web::script(runner, node, "test")
        });
        steps.step("web build", || web::script(runner, node, "build"))
    } else {
        steps.missed("web types, lints and unit tests", "no packages");
        steps.missed("web build", "no packages");
        false
    };
    steps.step("generated types", types::check);
    let server_built = steps.commands(runner, "server", [cargo::build_server()]);
    steps.commands(runner, "rust tests", [services.offer_to(rust_tests())]);
    steps.commands(runner, "simulator", [sim::seeds(SIMULATED_SEEDS)]);
    if web_built && server_built {
        let mut browser = services.offer_to(web::script_command(node, "e2e"));
        browser.env(SERVER_BINARY, workspace::server_binary());
        steps.commands(runner, "browser tests", [browser]);
    } else {
        steps.missed(
            "browser tests",
            "the web client or the server was not built",
        );
    }
    // Last: it builds the server with fault points in place of the one that the steps before it have used.
    let short = services.offer_to(chaos::short());
    steps.commands(runner, "chaos, short", [chaos::build_short(), short]);
    Ok(steps)
}

/// Every test of the workspace; one that fails does not hide the others.
fn rust_tests() -> Command {
    let mut tests = cargo::cargo(&["test", "--workspace", "--no-fail-fast"]);
    for (variable, seed) in SEEDS {
        if settings::read(variable).is_none() {
            tests.env(variable, seed);
        }
    }
    tests
}

/// The real parts of this run.
struct Services<'a> {
    postgres: &'a PgServer,
    tools: &'a Toolbox,
}

impl Services<'_> {
    /// Tells a command where the real parts are, and forbids it to go without.
    fn offer_to(&self, mut command: Command) -> Command {
        command
            .env(settings::PG_URL, self.postgres.url())
            .env(settings::NATS_BIN, &self.tools.nats_server)
            .env(settings::CHROMIUM, &self.tools.chromium)
            .env(settings::REQUIRE, "1");
        command
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn the_gate_draws_the_same_cases_every_time_unless_told_otherwise() {
        let tests = rust_tests();
        for (variable, seed) in SEEDS {
            let given = tests.get_envs().find(|(name, _)| *name == variable);
            match settings::read(variable) {
                // The caller's own reaches the tests by inheritance.
                Some(_) => assert_eq!(given, None),
                None => assert_eq!(given, Some((OsStr::new(variable), Some(OsStr::new(seed))))),
            }
        }
    }
}

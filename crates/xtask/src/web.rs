//! The web client's steps: install by lock, then its npm scripts.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::runner::Runner;
use crate::tools::node::Node;
use crate::workspace;

/// Installs the packages when they are missing or older than the lock. The stamp in `node_modules` is a copy of the
/// lock that was installed.
pub(crate) fn install_if_needed(runner: &mut Runner, node: &Node) -> anyhow::Result<()> {
    let lock = workspace::web().join("package-lock.json");
    let wanted = std::fs::read(&lock).with_context(|| format!("read {}", lock.display()))?;
    if std::fs::read(stamp()).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    install(runner, node)
}

/// `npm install` by the committed lock.
///
/// Not `npm ci`: it refuses a lock that lists native packages of one platform only. `npm install` keeps the lock when
/// nothing changed, and [`lock_is_clean`] proves that it did.
pub(crate) fn install(runner: &mut Runner, node: &Node) -> anyhow::Result<()> {
    npm(runner, node, &["install", "--no-audit", "--no-fund"])?;
    let lock = workspace::web().join("package-lock.json");
    std::fs::copy(&lock, stamp()).with_context(|| format!("copy {}", lock.display()))?;
    Ok(())
}

/// Fails when the lock differs from the committed one: then the install was not the reviewed one.
pub(crate) fn lock_is_clean() -> Command {
    let mut command = Command::new("git");
    command
        .args(["diff", "--exit-code", "--", "web/package-lock.json"])
        .current_dir(workspace::root());
    command
}

/// Runs one script of `web/package.json`.
pub(crate) fn script(runner: &mut Runner, node: &Node, name: &str) -> anyhow::Result<()> {
    npm(runner, node, &["run", "--silent", name])
}

/// A script as a command, for a step that adds variables of its own.
pub(crate) fn script_command(node: &Node, name: &str) -> Command {
    npm_command(node, &["run", "--silent", name])
}

fn npm(runner: &mut Runner, node: &Node, arguments: &[&str]) -> anyhow::Result<()> {
    let shown = format!("npm {}", arguments.join(" "));
    println!("    {shown}");
    let status = runner.run(&mut npm_command(node, arguments))?;
    ensure!(status.success(), "{shown}: {status}");
    Ok(())
}

fn npm_command(node: &Node, arguments: &[&str]) -> Command {
    let mut command = node.npm();
    command.args(arguments).current_dir(workspace::web());
    command
}

fn stamp() -> PathBuf {
    workspace::web()
        .join("node_modules")
        .join(".hubbub-installed-lock.json")
}

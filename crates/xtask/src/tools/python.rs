//! A Python environment of our own under `target/`, for tools that are published as Python packages.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::on_path;
use crate::runner::Runner;
use crate::workspace;

/// Debian's package that makes `python3 -m venv` work.
pub(crate) const PACKAGE: &str = "python3-venv";

/// Whether this system's Python can make an environment with pip in it.
pub(crate) fn can_make_venv() -> bool {
    on_path("python3").is_some_and(|python| {
        Command::new(python)
            .args(["-c", "import venv, ensurepip"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}

/// The program of this name in the environment, whether it exists or not.
pub(crate) fn program(name: &str) -> PathBuf {
    directory().join("bin").join(name)
}

/// Installs a package into the environment, which is made first when it is missing.
pub(crate) fn install(runner: &mut Runner, requirement: &str) -> anyhow::Result<()> {
    println!("==> install {requirement} into {}", directory().display());
    if !program("pip").is_file() {
        let python = on_path("python3").context("python3 is missing")?;
        let mut venv = Command::new(python);
        venv.args(["-m", "venv"]).arg(directory());
        let status = runner.run(&mut venv)?;
        ensure!(status.success(), "python3 -m venv: {status}");
    }
    let mut pip = Command::new(program("pip"));
    pip.args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        requirement,
    ]);
    let status = runner.run(&mut pip)?;
    ensure!(status.success(), "pip install {requirement}: {status}");
    Ok(())
}

fn directory() -> PathBuf {
    workspace::target().join("tools").join("venv")
}

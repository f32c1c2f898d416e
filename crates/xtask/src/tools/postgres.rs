//! `PostgreSQL`'s programs. Tests start an instance of their own; a system cluster is never made and never used.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use hubbub_testkit::pg::{Binaries, VERSION_MIN};

/// Debian's package of the distribution's version.
pub(crate) const PACKAGE: &str = "postgresql";
/// Debian's switch for what a new installation does.
pub(crate) const CLUSTER_CONFIG: &str = "/etc/postgresql-common/createcluster.conf";
/// The line that keeps the package from making and starting a cluster on the standard port.
pub(crate) const NO_CLUSTER: &str = "create_main_cluster = false";

pub(crate) fn installed() -> bool {
    Binaries::find().is_some()
}

/// # Errors
/// When the installed version is missing or too old to be found.
pub(crate) fn check() -> anyhow::Result<()> {
    ensure!(
        installed(),
        "PostgreSQL {VERSION_MIN} or newer is needed, with its server programs; this system's package is older \
         (see https://www.postgresql.org/download/)"
    );
    Ok(())
}

/// Writes Debian's switch, unless somebody has decided already.
pub(crate) fn forbid_system_cluster() -> anyhow::Result<()> {
    let path = Path::new(CLUSTER_CONFIG);
    if path.exists() {
        return Ok(());
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    }
    fs::write(path, format!("{NO_CLUSTER}\n")).with_context(|| format!("write {CLUSTER_CONFIG}"))
}

//! Debian's and Ubuntu's packages: installed as root, otherwise named in one line to run.

use std::io::Write as _;
use std::process::Command;

use anyhow::{Context, bail, ensure};

use super::{on_path, postgres};
use crate::runner::Runner;

/// Installs packages by name.
///
/// # Errors
/// Without root or without apt: the error names the line to run, or the packages.
pub(crate) fn install(runner: &mut Runner, packages: &[&str]) -> anyhow::Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    if on_path("apt-get").is_none() {
        bail!("missing: {names} (Debian's names; install them with your package manager)");
    }
    let wants_postgres = packages.contains(&postgres::PACKAGE);
    if !rustix::process::geteuid().is_root() {
        let first = if wants_postgres {
            format!(
                "sudo mkdir -p /etc/postgresql-common && echo '{}' | sudo tee {} && ",
                postgres::NO_CLUSTER,
                postgres::CLUSTER_CONFIG
            )
        } else {
            String::new()
        };
        bail!(
            "missing: {names}. Run this once:\n  {first}sudo apt-get install -y --no-install-recommends {names}"
        );
    }
    if wants_postgres {
        postgres::forbid_system_cluster()?;
    }
    println!("==> install {names}");
    std::io::stdout().flush().context("write to stdout")?;
    apt_get(runner, &["update", "-qq"])?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(packages);
    apt_get(runner, &arguments)
}

fn apt_get(runner: &mut Runner, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive");
    let status = runner.run(&mut command)?;
    ensure!(
        status.success(),
        "apt-get {}: {status}",
        arguments.join(" ")
    );
    Ok(())
}

//! Where programs come from: this build, the environment, the tools under `target/`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use hubbub_testkit::settings;

/// Whether this program was built for speed; the server then is, too.
pub(crate) const fn is_release() -> bool {
    !cfg!(debug_assertions)
}

/// The server: built now when cargo started us (nothing to do when it is fresh), else the one beside this program.
pub(crate) fn hubbub() -> anyhow::Result<PathBuf> {
    let beside = own_directory()?.join("hubbub");
    if let Some(cargo) = settings::read("CARGO") {
        let mut build = Command::new(cargo);
        build.args(["build", "--package", "hubbub"]);
        if is_release() {
            build.arg("--release");
        }
        eprintln!("==> {build:?}");
        let status = build.status().context("start cargo")?;
        ensure!(status.success(), "the server was not built: {status}");
    }
    ensure!(
        beside.is_file(),
        "no server at {}: cargo build -p hubbub",
        beside.display()
    );
    eprintln!("==> server: {}", beside.display());
    Ok(beside)
}

/// `nats-server`: named by the environment, on the path, or where `cargo xtask test` installs it.
pub(crate) fn nats_server() -> anyhow::Result<PathBuf> {
    if let Some(named) = settings::read(settings::NATS_BIN) {
        return Ok(PathBuf::from(named));
    }
    let search_path = settings::read("PATH").unwrap_or_default();
    let installed = target_directory()?.join("tools/venv/bin");
    std::env::split_paths(&search_path)
        .chain([installed])
        .map(|directory| directory.join("nats-server"))
        .find(|candidate| candidate.is_file())
        .with_context(|| {
            format!(
                "no nats-server: set {}, or run `cargo xtask test` once",
                settings::NATS_BIN
            )
        })
}

/// The commit of the sources here, with `+` when they were changed since.
pub(crate) fn revision() -> Option<String> {
    let output = Command::new("git")
        .args(["describe", "--always", "--exclude=*", "--dirty=+"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The `target` directory of this build.
pub(crate) fn target_directory() -> anyhow::Result<PathBuf> {
    let own = own_directory()?;
    own.parent()
        .map(Path::to_owned)
        .context("the program lies in a directory of target")
}

fn own_directory() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("where is this program")?;
    program
        .parent()
        .map(Path::to_owned)
        .context("a program lies in a directory")
}

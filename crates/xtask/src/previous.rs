//! The server of the previous version, for runs in which two versions work side by side.
//!
//! Its source comes out of this repository's history into a folder under `target/`, where it is built once, with a target
//! folder of its own.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

use crate::cargo::Profile;
use crate::runner::Runner;
use crate::{cargo, workspace};

/// Until a release has a tag: the first revision that can log in to a NATS server with roles.
const FIRST: &str = "d285bc4";

/// Its binary, built now if it has not been; minutes then. `None` after saying so when the history does not reach so far (a
/// shallow clone).
///
/// # Errors
/// When it cannot be built.
pub(crate) fn server(runner: &mut Runner, profile: Profile) -> anyhow::Result<Option<PathBuf>> {
    let revision = revision();
    if !is_known(&revision) {
        println!("    skipped: the history here does not reach to {revision}");
        return Ok(None);
    }
    let place = workspace::target().join("previous");
    let kept = place.join(format!("hubbub-{revision}-{}", profile.name()));
    if kept.is_file() {
        return Ok(Some(kept));
    }
    let source = place.join("source");
    if source.exists() {
        std::fs::remove_dir_all(&source).context("remove the source built before")?;
    }
    std::fs::create_dir_all(&source).context("make a folder for the source")?;
    let archive = place.join("source.tar");
    let mut commands = [
        {
            let mut git = Command::new("git");
            git.current_dir(workspace::root())
                .args(["archive", "--format=tar", "--output"])
                .arg(&archive)
                .arg(&revision);
            git
        },
        {
            let mut tar = Command::new("tar");
            tar.arg("-xf").arg(&archive).arg("-C").arg(&source);
            tar
        },
        {
            let mut build = cargo::cargo(&["build", "--package", "hubbub"]);
            build
                .args(profile.arguments())
                .current_dir(&source)
                .env("CARGO_TARGET_DIR", place.join("build"));
            build
        },
    ];
    for command in &mut commands {
        let status = runner.run(command)?;
        if !status.success() {
            bail!("{}: {status}", command.get_program().display());
        }
    }
    let built = place.join("build").join(profile.folder()).join("hubbub");
    std::fs::copy(built, &kept).context("keep the server")?;
    Ok(Some(kept))
}

/// The last released version, else [`FIRST`].
fn revision() -> String {
    let output = Command::new("git")
        .args(["describe", "--tags", "--abbrev=0"])
        .current_dir(workspace::root())
        .output();
    output
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .filter(|tag| !tag.is_empty())
        .unwrap_or_else(|| FIRST.to_owned())
}

fn is_known(revision: &str) -> bool {
    Command::new("git")
        .args(["cat-file", "-e", &format!("{revision}^{{commit}}")])
        .current_dir(workspace::root())
        .output()
        .is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_that_is_not_in_the_history_is_not_known() {
        assert!(!is_known("no-such-revision"));
    }
}

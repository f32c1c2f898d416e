//! A small disk that can be filled to the last byte and emptied again.
//!
//! It is a tmpfs, which only root may mount: elsewhere a test says `skipped: …`.
//!
//! Never: a file of anybody else on it removed; a mount left behind (it is taken away lazily when somebody still has a
//! file open).

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::settings;

/// What fills the disk.
const BALLAST: &str = ".ballast";
/// Written at once while filling; the last bytes are written one page at a time.
const CHUNK_BYTES: usize = 64 * 1024;
const PAGE_BYTES: usize = 4 * 1024;

/// A mounted disk of a few megabytes. Dropping it unmounts it.
#[derive(Debug)]
pub struct Tmpfs {
    directory: TempDir,
}

impl Tmpfs {
    /// Mounts a disk of so many bytes. `None` after printing `skipped: …` when we are not root or the system refuses
    /// (as containers do).
    ///
    /// # Panics
    /// When it cannot be mounted although `HUBBUB_TEST_REQUIRE` is `1` and we are root.
    pub fn mount_or_skip(bytes: u64) -> Option<Self> {
        match Self::mount(bytes) {
            Ok(disk) => Some(disk),
            Err(error) => {
                let required = settings::read(settings::REQUIRE).as_deref() == Some("1");
                let root = rustix::process::geteuid().is_root();
                assert!(!(required && root), "no tmpfs: {error:#}");
                eprintln!("skipped: no small disk ({error:#})");
                None
            }
        }
    }

    /// Mounts a disk of so many bytes, which every account may enter.
    ///
    /// # Errors
    /// When we are not root, or the system refuses.
    pub fn mount(bytes: u64) -> anyhow::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("only root may mount a tmpfs");
        }
        // Not in TMPDIR, which other accounts may be kept out of.
        let parent = if Path::new("/var/tmp").is_dir() {
            "/var/tmp"
        } else {
            "/tmp"
        };
        let directory = tempfile::Builder::new()
            .prefix("hubbub-disk-")
            .tempdir_in(parent)
            .context("make a directory")?;
        run(Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={bytes},mode=0755"),
                "tmpfs",
            ])
            .arg(directory.path()))?;
        Ok(Self { directory })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Fills it until not one more page fits; returns how many bytes that took.
    ///
    /// # Errors
    /// When writing fails for another reason than a full disk.
    pub fn fill(&self) -> anyhow::Result<u64> {
        let mut ballast = File::options()
            .create(true)
            .append(true)
            .open(self.ballast())
            .context("open the ballast")?;
        let mut filled = 0;
        for size in [CHUNK_BYTES, PAGE_BYTES] {
            let bytes = vec![0; size];
            loop {
                match ballast.write(&bytes) {
                    Ok(0) => break,
                    Ok(written) => filled += u64::try_from(written)?,
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("write the ballast"),
                }
            }
        }
        Ok(filled)
    }

    /// Takes the ballast away: there is space again.
    ///
    /// # Errors
    /// When the file cannot be removed; that it is not there is none.
    pub fn empty(&self) -> anyhow::Result<()> {
        match std::fs::remove_file(self.ballast()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).context("remove the ballast")
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn ballast(&self) -> PathBuf {
        self.path().join(BALLAST)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: the name is free at once, the memory when the last file is closed.
        if let Err(error) = run(Command::new("umount").arg("--lazy").arg(self.path())) {
            eprintln!("{} stays mounted: {error:#}", self.path().display());
        }
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_takes_nothing_until_it_is_emptied_and_is_gone_with_its_value() {
        let Some(disk) = Tmpfs::mount_or_skip(1024 * 1024) else {
            return;
        };
        let path = disk.path().to_owned();
        std::fs::write(path.join("kept"), [7; 5000]).expect("there is space");
        assert!(disk.fill().expect("fills") > 900_000);
        let full = std::fs::write(path.join("more"), [7; 5000]).expect_err("no space");
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        disk.empty().expect("empties");
        std::fs::write(path.join("more"), [7; 5000]).expect("there is space");
        assert_eq!(
            std::fs::read(path.join("kept")).expect("is there").len(),
            5000
        );
        disk.empty().expect("is empty already");
        drop(disk);
        assert!(!path.exists());
    }
}

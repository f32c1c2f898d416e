//! Where this machine keeps `PostgreSQL`: Debian outside of `PATH`, others on it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::settings;

/// The oldest major version that Hubbub supports.
pub const VERSION_MIN: u32 = 15;

/// Parents of `<version>/bin` directories: Debian and Ubuntu, Fedora's and `PostgreSQL`'s own packages, Homebrew.
const VERSIONED_ROOTS: [&str; 4] = [
    "/usr/lib/postgresql",
    "/usr",
    "/opt/homebrew/opt",
    "/usr/local/opt",
];

/// What an installation must have: `PATH` may show some of them without the others.
const PROGRAMS: [&str; 3] = ["postgres", "initdb", "psql"];

/// A directory with `postgres`, `initdb` and `psql` of one version.
#[derive(Debug, Clone)]
pub struct Binaries {
    dir: PathBuf,
    version: u32,
}

impl Binaries {
    /// The newest complete installation of at least [`VERSION_MIN`] on this machine.
    pub fn find() -> Option<Self> {
        let mut candidates = settings::search_path();
        for root in VERSIONED_ROOTS {
            let Ok(entries) = std::fs::read_dir(root) else {
                continue;
            };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let named_for_it = root.ends_with("postgresql")
                    || name.to_string_lossy().starts_with("postgresql@")
                    || name.to_string_lossy().starts_with("pgsql-");
                if named_for_it {
                    candidates.push(entry.path().join("bin"));
                }
            }
        }
        let mut best: Option<Self> = None;
        for dir in candidates {
            if !PROGRAMS.iter().all(|program| dir.join(program).is_file()) {
                continue;
            }
            let Some(version) = major_version(&dir.join("postgres")) else {
                continue;
            };
            let newer = best.as_ref().is_none_or(|known| known.version < version);
            if version >= VERSION_MIN && newer {
                best = Some(Self { dir, version });
            }
        }
        best
    }

    /// The major version, such as 15.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The path of one program, such as `initdb`.
    pub fn path(&self, program: &str) -> PathBuf {
        self.dir.join(program)
    }
}

/// `psql` of any version: a client alone may be installed where no server is.
pub(super) fn find_psql() -> Option<PathBuf> {
    let on_path = settings::search_path()
        .into_iter()
        .map(|dir| dir.join("psql"));
    on_path
        .into_iter()
        .find(|psql| psql.is_file())
        .or_else(|| Binaries::find().map(|found| found.path("psql")))
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian …)`.
fn major_version(postgres: &Path) -> Option<u32> {
    let output = Command::new(postgres)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    parse_major(&String::from_utf8_lossy(&output.stdout))
}

fn parse_major(line: &str) -> Option<u32> {
    let number = line
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_any_vendors_line() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)";
        assert_eq!(parse_major(debian), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(parse_major("something else"), None);
    }
}

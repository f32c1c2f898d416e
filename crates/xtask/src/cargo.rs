//! Cargo commands in this workspace.

use std::process::Command;

use crate::workspace;

/// The cargo that runs us (the toolchain of `rust-toolchain.toml`), in the root of the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let program = hubbub_testkit::settings::read("CARGO").unwrap_or_else(|| "cargo".to_owned());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(workspace::root());
    command
}

/// How something is built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Profile {
    /// Quickly, for a judgement of what is right.
    Dev,
    /// As people get it, for figures.
    Release,
}

impl Profile {
    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Release => "release",
        }
    }

    /// The folder below `target` that cargo puts it into.
    pub(crate) const fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }

    /// What cargo is told.
    pub(crate) const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Dev => &[],
            Self::Release => &["--release"],
        }
    }
}

/// `cargo fmt --check` over our own crates.
pub(crate) fn fmt_check() -> Command {
    cargo(&["fmt", "--all", "--check"])
}

/// Clippy over everything, where a warning is an error.
pub(crate) fn clippy() -> Command {
    cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ])
}

/// Licences, layers and sources of the dependency graph, where cargo-deny is installed; it is not installed by itself
/// because building it takes longer than everything else together.
pub(crate) fn deny() -> Option<Command> {
    let installed = Command::new("cargo-deny")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    installed.then(|| cargo(&["deny", "check", "licenses", "bans", "sources"]))
}

/// The server's development build.
pub(crate) fn build_server() -> Command {
    cargo(&["build", "--package", "hubbub"])
}

#[cfg(test)]
mod tests {
    use super::build_server;

    #[test]
    fn what_is_built_to_serve_people_has_no_features_for_tests() {
        let build = build_server();
        let named: Vec<_> = build.get_args().collect();
        assert_eq!(named, ["build", "--package", "hubbub"]);
    }
}

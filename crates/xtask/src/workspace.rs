//! Where things are in this repository.

use std::path::{Path, PathBuf};

/// The root of the checkout that this program was built from.
pub(crate) fn root() -> &'static Path {
    // crates/xtask lies two below; a crate that is moved elsewhere breaks the build of nothing but this.
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest)
}

/// The web client's directory.
pub(crate) fn web() -> PathBuf {
    root().join("web")
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    hubbub_testkit::settings::read("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |directory| root().join(directory))
}

/// The server's binary of a development build.
pub(crate) fn server_binary() -> PathBuf {
    target().join("debug").join("hubbub")
}

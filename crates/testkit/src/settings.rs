//! Which real parts this run may use: the four environment variables, and what happens without them.
//!
//! Never: a default that points at somebody's database.

use std::env;
use std::path::PathBuf;

/// A superuser URL of a private `PostgreSQL` instance, such as `postgres://postgres@127.0.0.1:15432/postgres`.
pub const PG_URL: &str = "HUBBUB_TEST_PG_URL";
/// The path of a `nats-server` binary, 2.10 or newer.
pub const NATS_BIN: &str = "HUBBUB_TEST_NATS_BIN";
/// The path of a Chromium binary, for the browser tests of `web/`.
pub const CHROMIUM: &str = "HUBBUB_TEST_CHROMIUM";
/// `1` turns a skipped test into a failed one, so that a complete run cannot pass by leaving things out.
pub const REQUIRE: &str = "HUBBUB_TEST_REQUIRE";

/// The value of an environment variable; unset, empty and non-Unicode are `None`.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where tests read the environment"
)]
pub fn read(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The value of `name`, or `None` after printing `skipped: <part> not available (<name> unset)`.
///
/// # Panics
/// When the variable is missing although [`REQUIRE`] is `1`.
pub fn read_or_skip(name: &str, part: &str) -> Option<String> {
    let found = read(name);
    if found.is_none() {
        let sentence = format!("{part} not available ({name} unset)");
        assert!(
            read(REQUIRE).as_deref() != Some("1"),
            "{sentence}, and {REQUIRE}=1 forbids to skip"
        );
        eprintln!("skipped: {sentence}");
    }
    found
}

/// The directories of `PATH`, in order.
pub(crate) fn search_path() -> Vec<PathBuf> {
    read("PATH").map_or_else(Vec::new, |path| env::split_paths(&path).collect())
}

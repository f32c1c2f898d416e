//! A Chromium for the browser tests.

use std::path::PathBuf;

use hubbub_testkit::settings;

use super::on_path;

/// Debian's packages: the browser, and a font, without which it draws boxes.
pub(crate) const PACKAGES: [&str; 2] = ["chromium", "fonts-dejavu-core"];

/// Names under which systems know it.
const PROGRAMS: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];

/// The browser of `HUBBUB_TEST_CHROMIUM`, or one on `PATH`.
pub(crate) fn find() -> Option<PathBuf> {
    settings::read(settings::CHROMIUM)
        .map(PathBuf::from)
        .filter(|given| given.is_file())
        .or_else(|| PROGRAMS.iter().find_map(|program| on_path(program)))
}

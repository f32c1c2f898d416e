//! `docs/queues.md` against the code: every bound is the one it names, every metric exists, and no queue of the code is missing from the page.
//!
//! Never: a reading of what a bound means. It compares texts: `NAME = value` must be a constant with exactly this value in the file that
//! the row names, `field: value` must stand there, a metric must be declared.

#![expect(clippy::expect_used, reason = "helpers of a test stop the test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hubbub_telemetry::Metrics;

/// Rooms that run in a server or a client.
const ROOMS: [&str; 9] = [
    "accounts",
    "actors",
    "bus",
    "client",
    "cluster",
    "edge",
    "event-log",
    "hubbub",
    "projections",
];
/// What a channel, a semaphore, a pool or a cache is made with.
const MAKERS: [&str; 5] = [
    "mpsc::channel(",
    "sync_channel(",
    "Semaphore::new(",
    ".max_connections(",
    ".max_capacity(",
];

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("../..").canonicalize().expect("is there")
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/queues.md")).expect("is there")
}

/// Rows of tables: their cells.
fn rows(page: &str) -> Vec<Vec<&str>> {
    page.lines()
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect()
}

/// What stands between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The file that a row names.
fn file_of<'page>(cells: &[&'page str]) -> Option<&'page str> {
    quoted(cells.get(1)?)
        .next()
        .filter(|file| Path::new(file).extension().is_some_and(|end| end == "rs"))
}

fn is_constant(name: &str) -> bool {
    name.chars()
        .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// The value of `const name` in a file's text.
fn value_of<'text>(text: &'text str, name: &str) -> Option<&'text str> {
    let (_, after) = text.split_once(&format!("const {name}: "))?;
    let (_, value) = after.split_once(" = ")?;
    value.split_once(';').map(|(value, _)| value)
}

/// Rust files of the rooms, without tests.
fn sources() -> Vec<(String, String)> {
    let mut folders: Vec<PathBuf> = ROOMS
        .iter()
        .map(|room| root().join("crates").join(room).join("src"))
        .collect();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("reads") {
            let path = entry.expect("reads").path();
            let name = path.to_string_lossy().into_owned();
            if name.contains("tests") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("reads");
                // A module of tests at the end is no part of the room.
                let room = text.split("mod tests {").next().unwrap_or_default();
                found.push((name, room.to_owned()));
            }
        }
    }
    found
}

/// What follows each place where `what` stands.
fn after<'text>(text: &'text str, what: &str) -> impl Iterator<Item = &'text str> {
    text.split(what)
        .skip(1)
        .map(|rest| rest.lines().next().unwrap_or_default())
}

#[test]
fn every_bound_of_the_page_is_the_one_in_the_code() {
    let page = page();
    let mut wrong = Vec::new();
    let mut compared = 0;
    for cells in rows(&page) {
        let Some(file) = file_of(&cells) else {
            continue;
        };
        let queue = cells.first().copied().unwrap_or_default();
        let Ok(text) = std::fs::read_to_string(root().join(file)) else {
            wrong.push(format!("{queue}: no file {file}"));
            continue;
        };
        let bound = cells.get(2).copied().unwrap_or_default();
        if !bound.contains('`') {
            wrong.push(format!("{queue}: a bound without a name"));
        }
        for item in quoted(bound) {
            if let Some((name, value)) = item.split_once(" = ") {
                compared += 1;
                let found = value_of(&text, name);
                if found != Some(value) {
                    wrong.push(format!(
                        "{queue}: {name} is {found:?} in {file}, the page says {value}"
                    ));
                }
            } else if item.contains(": ") {
                compared += 1;
                if !text.contains(&format!("{item},")) {
                    wrong.push(format!("{queue}: no {item} in {file}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared > 80, "the page names its bounds: {compared}");
}

#[test]
fn every_metric_of_the_page_is_declared_and_every_queue_has_one() {
    let declared = Metrics::new().expect("declares").render().expect("renders");
    let page = page();
    let mut wrong = Vec::new();
    for cells in rows(&page) {
        let [queue, _, _, _, metrics, class] = cells.as_slice() else {
            continue;
        };
        if file_of(&cells).is_none() {
            continue;
        }
        let mut named = 0;
        for metric in quoted(metrics) {
            named += 1;
            if !declared.contains(&format!("# TYPE {metric} ")) {
                wrong.push(format!("{queue}: {metric} is not declared"));
            }
        }
        if named == 0 && !metrics.starts_with("none") {
            wrong.push(format!("{queue}: no metric"));
        }
        if !["P0", "P1", "P2", "P3"].contains(class) {
            wrong.push(format!("{queue}: {class} is no class"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_queue_of_the_code_is_on_the_page() {
    let page = page();
    let known: BTreeSet<&str> = rows(&page)
        .into_iter()
        .flatten()
        .flat_map(quoted)
        .map(|item| item.split([' ', ':']).next().unwrap_or_default())
        .collect();
    // Gates and pools that are made with numbers which their options name.
    let passed_on = BTreeSet::from(["at_once", "places", "connections"]);
    let mut missing = Vec::new();
    for (file, text) in sources() {
        for maker in MAKERS {
            for argument in after(&text, maker) {
                let names: Vec<&str> = argument
                    .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .filter(|word| !word.is_empty())
                    .collect();
                // One at a time is no queue.
                let alone = names.first() == Some(&"1");
                let named = |name: &&str| known.contains(name) || passed_on.contains(name);
                if !alone && !names.iter().any(named) {
                    missing.push(format!("{file}: {maker}{argument}"));
                }
            }
        }
        // What is called a queue or a waiting room.
        for rest in after(&text, "const ") {
            let name = rest.split(':').next().unwrap_or_default();
            let waits = ["WAITING_", "HELD_", "PENDING_", "KEPT_"]
                .iter()
                .any(|part| name.contains(part) && name.ends_with("_MAX"));
            if is_constant(name) && (waits || name.contains("QUEUE")) && !known.contains(name) {
                missing.push(format!("{file}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn a_constant_is_found_with_its_value() {
    let text = "/// x\npub(crate) const SOME_MAX: usize = 64 << 20;\nconst OTHER: u8 = 1;";
    assert_eq!(value_of(text, "SOME_MAX"), Some("64 << 20"));
    assert_eq!(value_of(text, "SOME"), None);
    assert!(is_constant("SOME_MAX") && !is_constant("some_max"));
}

//! Facts about the repository that no compiler checks: layers, homes of technologies, the opening of each room.
//!
//! It guards facts, not taste. Every test lists all offenders at once, with their places. `deny.toml` says the same
//! about the shipped dependency graph; this needs no tool and sees source text, too.
//!
//! Never: an exception without its reason beside it.

#![expect(clippy::expect_used, reason = "helpers of a test stop the test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest Rust file, in lines with its tests. The guide asks for 250 and for 500 without tests; this is where a file
/// has become two.
const FILE_LINES_MAX: usize = 700;

/// Which of our rooms a room may use (ARCHITECTURE.md §2), without tests. A room that is not listed may use none.
const ARROWS: [(&str, &[&str]); 17] = [
    ("domain", &[]),
    ("wire", &["domain"]),
    ("telemetry", &["domain"]), // for the type of a point in time
    ("event-log", &["domain", "wire", "telemetry"]),
    ("bus", &["domain", "wire", "telemetry"]),
    (
        "cluster",
        &["domain", "wire", "bus", "event-log", "telemetry"],
    ),
    ("projections", &["domain", "wire", "event-log", "telemetry"]),
    ("accounts", &["domain", "wire", "telemetry"]),
    (
        "actors",
        &["domain", "wire", "cluster", "event-log", "bus", "telemetry"],
    ),
    (
        "edge",
        &[
            "domain",
            "wire",
            "cluster",
            "bus",
            "event-log",
            "projections",
            "accounts",
            "telemetry",
        ],
    ),
    ("client", &["wire"]),
    (
        "sim", // the pure cores of every room, and the checker that judges them
        &[
            "domain",
            "wire",
            "event-log",
            "cluster",
            "actors",
            "projections",
            "client",
            "edge",
            "checker",
            "bus",
            "telemetry",
        ],
    ),
    ("checker", &["wire"]),
    ("chaos", &["client", "wire", "checker", "testkit"]), // meets the server as a black box
    ("testkit", &[]),
    ("xtask", &["testkit"]),
    (
        "loadtest",
        &[
            "client",
            "wire",
            "testkit",
            "telemetry",
            "domain",    // rows of the append floor
            "event-log", // the append floor: its lanes with nothing around them
        ],
    ),
];

/// The top of the house: it wires every room, so it may use every room.
const BINARY: &str = "hubbub";

/// Which rooms may name a technology: as a dependency, and as a path in code.
const HOMES: [(&str, &[&str]); 7] = [
    ("actix", &["actors"]),
    ("actix-rt", &["actors", BINARY]), // the binary starts the System on its main thread
    ("async-nats", &["bus"]),
    ("axum", &["edge", "loadtest"]), // loadtest: the socket floor that the edge is measured against
    (
        "sqlx",
        &["event-log", "projections", "accounts", "loadtest"], // loadtest: the same floor
    ),
    ("argon2", &["accounts"]),
    // loadtest: thousands of sockets at the least cost; edge: only to name the errors of axum's sockets; hubbub: raw frames in its tests
    (
        "tokio-tungstenite",
        &["client", "loadtest", "edge", "hubbub"],
    ),
];

/// Begins the name of a feature that takes a guarantee out.
const SABOTAGE: &str = "sabotage-";

/// Rooms that own tables. testkit is among them for its own tests' sake, loadtest for its socket floor, chaos
/// because it looks behind the nodes' backs.
const SQL_HOMES: [&str; 6] = [
    "event-log",
    "projections",
    "accounts",
    "testkit",
    "loadtest",
    "chaos",
];

/// The end-to-end tests look into the log from outside, past every room, to see what it really holds.
const END_TO_END: &str = "crates/hubbub/tests/";

#[test]
fn a_module_is_named_by_its_file() {
    let found = files()
        .into_iter()
        .filter(|file| file.path.ends_with("mod.rs"));
    none_of(
        "foo.rs + foo/ instead of mod.rs: tabs show names",
        found.map(|file| file.at(1)),
    );
}

#[test]
fn a_rust_file_is_not_a_book() {
    let long = rust_files().filter_map(|file| {
        let lines = file.text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", file.path))
    });
    none_of("a file above 700 lines has become two", long);
}

#[test]
fn every_room_opens_with_what_it_never_does() {
    let mut silent = Vec::new();
    let mut rooms = 0;
    for file in rust_files() {
        let opens_a_room =
            file.path.ends_with("/src/lib.rs") || file.path.ends_with("/src/main.rs");
        if !opens_a_room {
            continue;
        }
        rooms += 1;
        let mut opening = file.text.lines().take_while(|line| line.starts_with("//!"));
        if !opening.any(|line| line.contains("Never")) {
            silent.push(file.at(1));
        }
    }
    assert!(
        rooms >= ARROWS.len(),
        "only {rooms} rooms found: the test looks in the wrong place"
    );
    none_of(
        "the crate's own documentation says what it never does (\"Never: …\")",
        silent,
    );
}

#[test]
fn sql_lives_in_the_rooms_that_own_tables() {
    let foreign = code_lines(|file| !is_in(file, &SQL_HOMES) && !file.path.starts_with(END_TO_END))
        .filter(|(_, line)| looks_like_sql(line));
    none_of(
        "SQL belongs into event-log, projections or accounts",
        foreign.map(|(place, _)| place),
    );
}

#[test]
fn a_technology_is_named_only_in_its_room() {
    let mut found = Vec::new();
    for (package, homes) in HOMES {
        let path = format!("{}::", package.replace('-', "_"));
        let foreign = code_lines(|file| !is_in(file, homes))
            .filter(|(_, line)| names_path(line, &path))
            .map(|(place, _)| format!("{place}: {package} belongs into {homes:?}"));
        found.extend(foreign);
    }
    none_of("one room per technology", found);
}

#[test]
fn arrows_between_rooms_point_down() {
    let mut found = Vec::new();
    let mut manifests = 0;
    for file in files() {
        let Some(room) = room_of_manifest(&file.path) else {
            continue;
        };
        manifests += 1;
        for dependency in shipped_dependencies(&file.text) {
            if let Some(target) = dependency.strip_prefix("hubbub-") {
                let allowed = ARROWS.iter().find(|(from, _)| *from == room);
                let ok =
                    room == BINARY || allowed.is_some_and(|(_, targets)| targets.contains(&target));
                if !ok {
                    found.push(format!("{}: {room} must not use {target}", file.path));
                }
            }
            if let Some((_, homes)) = HOMES.iter().find(|(package, _)| *package == dependency)
                && !homes.contains(&room)
            {
                found.push(format!(
                    "{}: {dependency} belongs into {homes:?}",
                    file.path
                ));
            }
        }
    }
    assert!(manifests > ARROWS.len(), "only {manifests} manifests found");
    none_of(
        "an arrow that ARCHITECTURE.md §2 does not draw needs a decision record",
        found,
    );
}

#[test]
fn what_the_manifests_do_is_what_deny_toml_allows() {
    // Formats and names that every room may use.
    const OF_ALL: [&str; 3] = ["domain", "wire", "telemetry"];
    let rules = std::fs::read_to_string(root().join("deny.toml")).expect("is there");
    let wrappers: BTreeMap<&str, &str> = rules
        .split("[[bans.deny]]")
        .filter_map(|rule| {
            let (_, rule) = rule.split_once("crate = \"hubbub-")?;
            let (room, rule) = rule.split_once('"')?;
            let (_, wrappers) = rule.split_once("wrappers = [")?;
            Some((room, wrappers.split_once(']')?.0))
        })
        .collect();
    let mut found = Vec::new();
    for file in files() {
        let Some(room) = room_of_manifest(&file.path) else {
            continue;
        };
        let package = match room {
            BINARY | "xtask" => room.to_owned(),
            room => format!("hubbub-{room}"),
        };
        for dependency in shipped_dependencies(&file.text) {
            let Some(target) = dependency.strip_prefix("hubbub-") else {
                continue;
            };
            let named = wrappers
                .get(target)
                .is_some_and(|wrappers| wrappers.contains(&format!("\"{package}\"")));
            if !named && !OF_ALL.contains(&target) {
                found.push(format!("{dependency}: {package} uses it and is not named"));
            }
        }
    }
    none_of("deny.toml draws the same arrows", found);
}

#[test]
fn no_default_build_lacks_a_guarantee() {
    let mut found = Vec::new();
    let mut taken_out = Vec::new();
    let mut forwarded = String::new();
    for file in files() {
        let Some(room) = room_of_manifest(&file.path) else {
            continue;
        };
        for (name, value) in features(&file.text) {
            if name == "default" && value.contains(SABOTAGE) {
                found.push(format!("{}: {value} by default", file.path));
            } else if name.starts_with(SABOTAGE) && value == "[]" {
                taken_out.push(format!("hubbub-{room}/{name}"));
            } else if name.starts_with(SABOTAGE) && room == BINARY {
                forwarded.push_str(&value);
            }
        }
    }
    assert!(!taken_out.is_empty(), "the test looks in the wrong place");
    let unreachable = taken_out.iter().filter(|name| !forwarded.contains(*name));
    found.extend(unreachable.map(|name| format!("{name} is not a feature of the binary")));
    none_of(
        "a guarantee is taken out by a feature of the binary, and never by default",
        found,
    );
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    // Put together here, so that this file does not offend.
    let machine_paths = [
        ["/wo", "rk/"].concat(),
        ["/ho", "me/"].concat(),
        ["/tmp/", "hubbub/"].concat(),
    ];
    let mut found = Vec::new();
    for file in files() {
        for (number, line) in file.text.lines().enumerate() {
            for path in &machine_paths {
                if starts_a_path(line, path) {
                    found.push(format!("{}: {path}", file.at(number + 1)));
                }
            }
        }
    }
    none_of("a path of one machine means nothing on another", found);
}

#[test]
fn locked_packages_come_from_the_public_registries() {
    let mut found = Vec::new();
    for file in files() {
        let (key, registry) = match file.path.rsplit('/').next() {
            Some("Cargo.lock") => (
                "source = ",
                "registry+https://github.com/rust-lang/crates.io-index",
            ),
            Some("package-lock.json") => ("\"resolved\": ", "https://registry.npmjs.org/"),
            _ => continue,
        };
        for (number, line) in file.text.lines().enumerate() {
            let source = line.trim_start().strip_prefix(key);
            if source.is_some_and(|source| !source.trim_matches('"').starts_with(registry)) {
                found.push(file.at(number + 1));
            }
        }
    }
    none_of(
        "a lock that names a mirror works on one machine only",
        found,
    );
}

// === the repository as a list of texts ===

struct RepoFile {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
}

impl RepoFile {
    fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path)
    }
}

fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest
        .ancestors()
        .nth(2)
        .expect("crates/testkit lies two below the root")
        .to_owned()
}

/// Every text file that is tracked or would be: ignored files are nobody's business.
fn files() -> Vec<RepoFile> {
    let root = root();
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(&root)
        .output()
        .expect("git lists the files");
    assert!(
        output.status.success(),
        "git: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let listed = String::from_utf8(output.stdout).expect("paths are UTF-8");
    let mut files = Vec::new();
    for path in listed.split('\0').filter(|path| !path.is_empty()) {
        // Unreadable as text (an image), or deleted and not yet committed: not for us.
        if let Ok(text) = std::fs::read_to_string(root.join(path)) {
            files.push(RepoFile {
                path: path.to_owned(),
                text,
            });
        }
    }
    files
}

fn rust_files() -> impl Iterator<Item = RepoFile> {
    files().into_iter().filter(|file| {
        Path::new(&file.path)
            .extension()
            .is_some_and(|ext| ext == "rs")
    })
}

/// Every line of Rust that is not a comment of its own, with its place.
fn code_lines(wanted: impl Fn(&RepoFile) -> bool) -> impl Iterator<Item = (String, String)> {
    rust_files()
        .filter(move |file| wanted(file))
        .flat_map(|file| {
            let lines: Vec<_> = file
                .text
                .lines()
                .enumerate()
                .filter(|(_, line)| !line.trim_start().starts_with("//"))
                .map(|(number, line)| (file.at(number + 1), line.to_owned()))
                .collect();
            lines
        })
}

fn is_in(file: &RepoFile, rooms: &[&str]) -> bool {
    let path = file.path.strip_prefix("crates/").unwrap_or(&file.path);
    rooms.iter().any(|room| {
        path.strip_prefix(room)
            .is_some_and(|rest| rest.starts_with('/'))
    })
}

/// `crates/edge/Cargo.toml` → `edge`; the workspace's own manifest is no room.
fn room_of_manifest(path: &str) -> Option<&str> {
    let directory = path.strip_suffix("/Cargo.toml")?;
    let room = directory.strip_prefix("crates/").unwrap_or(directory);
    (!room.contains('/')).then_some(room)
}

/// The names under `[dependencies]` and `[dependencies.name]`; tests and build scripts may reach further.
fn shipped_dependencies(manifest: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
            if let Some(name) = line.strip_prefix("[dependencies.") {
                names.push(name.trim_end_matches(']'));
            }
        } else if inside && !line.starts_with('#') {
            let end = line.find(['.', '=', ' ']).unwrap_or(line.len());
            let (name, _) = line.split_at(end);
            if !name.is_empty() {
                names.push(name);
            }
        }
    }
    names
}

/// The features of a manifest with what they enable, on one line each.
fn features(manifest: &str) -> Vec<(String, String)> {
    let mut features: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') && !line.starts_with("[\"") {
            inside = line == "[features]";
        } else if inside && !line.starts_with('#') {
            match line.split_once(" = ") {
                Some((name, value)) => features.push((name.to_owned(), value.to_owned())),
                None => {
                    if let Some((_, value)) = features.last_mut() {
                        value.push_str(line);
                    }
                }
            }
        }
    }
    features
}

fn looks_like_sql(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    let in_order = |words: [&str; 2]| {
        line.find(words[0]).is_some_and(|start| {
            let (_, rest) = line.split_at(start + words[0].len());
            rest.contains(words[1])
        })
    };
    line.contains("insert into ")
        || line.contains("create table ")
        || in_order(["select ", " from "])
        || in_order(["update ", " set "])
        || line.contains("delete from ")
}

/// Whether `path` (such as `axum::`) begins a path in this line, and is not the end of another name.
fn names_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(start, _)| {
        let before = line.split_at(start).0.chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

/// Whether an absolute path begins here: `https://host/home/` and `../work/` are none.
fn starts_a_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(start, _)| {
        let before = line.split_at(start).0.chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-/}~$*".contains(c))
    })
}

fn none_of(rule: &str, offenders: impl IntoIterator<Item = String>) {
    let mut listed = String::new();
    let mut count = 0;
    for offender in offenders {
        count += 1;
        writeln!(listed, "  {offender}").expect("a String takes everything");
    }
    assert!(count == 0, "{rule}\n{listed}");
}

// === the checks themselves can fail ===

#[test]
fn sql_is_told_from_prose_and_rust() {
    for sql in [
        "\"INSERT INTO event_log values\"",
        "\"select seq from event_log\"",
        "create table x (",
        "update node set state = 1",
        "DELETE FROM node",
    ] {
        assert!(looks_like_sql(sql), "{sql}");
    }
    for innocent in [
        "tokio::select! {",
        "let from = select(a);",
        "// update the set",
    ] {
        assert!(!looks_like_sql(innocent), "{innocent}");
    }
}

#[test]
fn a_path_is_named_only_where_it_begins() {
    assert!(names_path("use door::Router;", "door::"));
    assert!(names_path("fn f(r: door::Router)", "door::"));
    assert!(!names_path("use my_door::Router;", "door::"));
    assert!(!names_path("use crate::door::Router;", "door::"));
    let machine = ["/ho", "me/"].concat();
    assert!(starts_a_path(&format!("\"{machine}me\""), &machine));
    assert!(!starts_a_path(
        &format!("https://example.org{machine}x"),
        &machine
    ));
}

#[test]
fn features_are_read_from_one_line_or_several() {
    let manifest = "[features]\n# why\na = []\nb = [\n  \"x/a\",\n]\n[dependencies]\nc = \"1\"\n";
    let read = features(manifest);
    let expected = [("a", "[]"), ("b", "[\"x/a\",]")];
    assert_eq!(
        read,
        expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}

#[test]
fn dependencies_are_read_from_any_spelling() {
    let manifest = "[dependencies]\na.workspace = true\nb = \"1\"\n# c = 1\n\n[dependencies.d]\nversion = \"1\"\n\
                    [dev-dependencies]\ne = \"1\"\n";
    assert_eq!(shipped_dependencies(manifest), ["a", "b", "d"]);
}

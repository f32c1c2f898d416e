//! Where the server and the generic clients come from: this build, the machine, or an environment under `target/tools`.

use std::env;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use hubbub_testkit::settings;

/// The server of this build, beside the tests.
pub(crate) fn server() -> Option<PathBuf> {
    let test = env::current_exe().unwrap();
    let built = test.ancestors().nth(2).unwrap().join("hubbub");
    found_or_skipped(
        built.is_file().then_some(built),
        "the server (cargo build -p hubbub)",
    )
}

/// A `PATH` on which `python3` has `websockets`; it is installed when it has not.
pub(crate) fn search_path_with_python() -> Option<String> {
    let search_path = settings::read("PATH").unwrap_or_default();
    if imports_websockets(Path::new("python3")) {
        return Some(search_path);
    }
    let venv = tools_directory().join("venv");
    let bin = venv.join("bin");
    let python = bin.join("python3");
    let made = python.is_file() || ran(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    let ready = made && (imports_websockets(&python) || installs_websockets(&python));
    let extended = ready.then(|| format!("{}:{search_path}", bin.display()));
    found_or_skipped(extended, "Python with websockets")
}

/// The `PATH` with `wscat` on it, and whether that worked.
pub(crate) fn with_wscat(search_path: String) -> (String, bool) {
    if ran(Command::new("wscat").arg("--version")) {
        return (search_path, true);
    }
    let packages = tools_directory().join("wscat");
    let bin = packages.join("node_modules").join(".bin");
    let installed = bin.join("wscat").is_file() || {
        std::fs::create_dir_all(&packages).unwrap();
        ran(Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--prefix"])
            .arg(&packages)
            .arg("wscat"))
    };
    let found = found_or_skipped(installed.then_some(bin), "npm's wscat");
    match found {
        Some(bin) => (format!("{}:{search_path}", bin.display()), true),
        None => (search_path, false),
    }
}

/// Waits for a child whose standard input stays open until it has ended.
pub(crate) fn finish(mut child: Child) -> (ExitStatus, String, String) {
    let standard_input = child.stdin.take();
    let mut stderr = child.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).unwrap();
        text
    });
    let mut stdout = Vec::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut stdout)
        .unwrap();
    let status = child.wait().unwrap();
    drop(standard_input);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status, text(stdout), text(errors.join().unwrap()))
}

fn found_or_skipped<T>(found: Option<T>, part: &str) -> Option<T> {
    if found.is_none() {
        assert!(
            settings::read(settings::REQUIRE).as_deref() != Some("1"),
            "{part} is missing, and {}=1 forbids to skip",
            settings::REQUIRE
        );
        eprintln!("skipped: {part} not available");
    }
    found
}

fn imports_websockets(python: &Path) -> bool {
    ran(Command::new(python).args(["-c", "import websockets.sync.client"]))
}

fn installs_websockets(python: &Path) -> bool {
    ran(Command::new(python).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "websockets",
    ]))
}

fn ran(command: &mut Command) -> bool {
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

fn tools_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools")
}

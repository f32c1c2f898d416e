//! `docs/protocol-by-hand.md`, run: each block of commands in one bash against a server, each answer compared with the page.
//!
//! Owns: what the page's notation means ([`page`]), and where the generic clients come from ([`tools`]).
//!
//! Never: knowledge of the protocol. What is right stands on the page alone.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of a test stop the test and speak to whoever reads its output"
)]

#[path = "protocol_by_hand/page.rs"]
mod page;
#[path = "protocol_by_hand/tools.rs"]
mod tools;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use hubbub_testkit::process::{ServerCommand, ServerProcess};
use hubbub_testkit::wait::DEADLINE;

use crate::page::Block;

/// Seconds that the whole page may take, on a machine that does much else.
const PAGE_SECONDS_MAX: u32 = 300;

#[tokio::test]
async fn a_client_that_knows_nothing_of_hubbub_chats_by_following_the_page() {
    let Some(server_program) = tools::server() else {
        return;
    };
    let Some(search_path) = tools::search_path_with_python() else {
        return;
    };
    let (search_path, has_wscat) = tools::with_wscat(search_path);
    let mut blocks = page::blocks(include_str!("../../docs/protocol-by-hand.md"));
    assert!(blocks.len() >= 12, "only {} blocks found", blocks.len());
    if !has_wscat {
        blocks.retain(|block| !block.needs_wscat);
    }

    let directory = tempfile::tempdir().unwrap();
    let (_server, url) = serve(&server_program, directory.path()).await;
    let output = run_all(&blocks, &url, &search_path, directory.path());

    let mut complaints = String::new();
    for (number, block) in blocks.iter().enumerate() {
        let printed = page::printed_by(number, &output);
        for expected in page::missing(&block.expected, &printed) {
            writeln!(complaints, "line {}: no answer like {expected}", block.line).unwrap();
        }
    }
    assert!(complaints.is_empty(), "{complaints}\n{output}");
}

/// An embedded server of our own, and its URL.
async fn serve(program: &Path, directory: &Path) -> (ServerProcess, String) {
    let data = directory.join("data");
    let mut server = ServerCommand::new("hubbub", program)
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .args([&data])
        .spawn()
        .unwrap();
    let line = server
        .wait_for_line(DEADLINE, |line| page::url_in(line).is_some())
        .await
        .unwrap();
    let url = page::url_in(&line).expect("the line has one").to_owned();
    (server, url)
}

/// Runs the blocks one after another in one bash and gives what it printed, with a line between the blocks.
fn run_all(blocks: &[Block], url: &str, search_path: &str, directory: &Path) -> String {
    let mut script = String::from("set -eu\n");
    for (number, block) in blocks.iter().enumerate() {
        writeln!(script, "echo '{}'\n{}", page::mark(number), block.commands).unwrap();
    }
    let path = directory.join("page.sh");
    std::fs::write(&path, script).unwrap();
    // `timeout` ends the whole group. The standard input stays open as a terminal's does: wscat leaves when it ends.
    let child = Command::new("timeout")
        .args([&PAGE_SECONDS_MAX.to_string(), "bash"])
        .arg(&path)
        .current_dir(directory)
        .env("HUBBUB", url)
        .env("PATH", search_path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (status, stdout, stderr) = tools::finish(child);
    assert!(
        status.success(),
        "{status}\n--- printed\n{stdout}\n--- errors\n{stderr}"
    );
    stdout
}

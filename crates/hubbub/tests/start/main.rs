//! Starts that cannot succeed: a server says in one line what is missing and what to do, and ends with an error.
//!
//! Never: a server that serves. Without `PostgreSQL` the cases that need one say `skipped: …`.

#![expect(clippy::expect_used, reason = "helpers of a test stop the test")]

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use hubbub_testkit::free_port;
use hubbub_testkit::pg::PgScratch;
use hubbub_testkit::process::ServerCommand;
use hubbub_testkit::wait::eventually;

/// How long a server may look for what is not there.
const PATIENCE: Duration = Duration::from_mins(1);
/// Nobody listens on the port of TCP's own service multiplexer.
const NOBODY: &str = "127.0.0.1:1";

/// Starts a server with these arguments, waits until it has ended with an error, and returns its last word.
async fn last_word(arguments: &[&str]) -> String {
    let mut server = ServerCommand::new("start", env!("CARGO_BIN_EXE_hubbub"))
        .args(["serve"])
        .args(arguments)
        .spawn()
        .expect("the binary can be started");
    eventually(PATIENCE, "the server to give up", async || {
        server.exit_status().is_some()
    })
    .await;
    let code = server.exit_status().and_then(|status| status.code());
    assert_eq!(code, Some(1), "{:?}", server.lines());
    let said = |server: &hubbub_testkit::process::ServerProcess| {
        let lines = server.lines();
        let words = lines
            .iter()
            .filter_map(|line| Some(line.split_once("hubbub: ")?.1.to_owned()))
            .collect::<Vec<_>>();
        (words.len() == 1).then(|| words.concat())
    };
    // What it has written may still be on its way through the pipe.
    eventually(PATIENCE, "one last word", async || said(&server).is_some()).await;
    said(&server).expect("was there")
}

fn is_told(word: &str, parts: &[&str]) {
    for part in parts {
        assert_eq!(word.matches(part).count(), 1, "{part:?} once in {word:?}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of the test")
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("is bound").to_string();
    let word = last_word(&["--listen", &address, "--data-dir", text(folder.path())]).await;
    is_told(
        &word,
        &[&format!("listen on {address}"), "in use", "--listen"],
    );
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let file = folder.path().join("a file");
    std::fs::write(&file, "no folder").expect("a file can be written");
    let listen = format!("127.0.0.1:{}", free_port());
    for place in [file.clone(), file.join("below")] {
        let word = last_word(&["--listen", &listen, "--data-dir", text(&place)]).await;
        is_told(&word, &["make the data folder", text(&place), "--data-dir"]);
    }
    let word = last_word(&["--config", text(&folder.path().join("none.toml"))]).await;
    is_told(&word, &["none.toml", "not found"]);
}

#[tokio::test]
async fn a_wrong_database_is_told_without_its_password() {
    let wrong = format!("postgres://someone:secret@{NOBODY}/hubbub");
    let bus = format!("nats://{NOBODY}");
    let cluster = |database| {
        [
            "--database-url",
            database,
            "--nats-url",
            &bus,
            "--node-id",
            "a",
        ]
    };
    let word = last_word(&cluster(&wrong)).await;
    is_told(
        &word,
        &[
            "open the log in PostgreSQL",
            "Connection refused",
            "--database-url",
        ],
    );
    assert!(!word.contains("secret"), "{word}");
    let word = last_word(&cluster("mysql://127.0.0.1/hubbub")).await;
    is_told(&word, &["postgres://"]);
    let word = last_word(&["--database-url", &wrong]).await;
    is_told(&word, &["database_url needs nats_url"]);
    let Some(scratch) = PgScratch::create() else {
        return;
    };
    let (server, _name) = scratch.url().rsplit_once('/').expect("a URL with a name");
    let word = last_word(&cluster(&format!("{server}/no_such_database"))).await;
    is_told(
        &word,
        &["\"no_such_database\" does not exist", "start PostgreSQL"],
    );
}

#[tokio::test]
async fn a_missing_bus_and_tables_of_a_newer_release_are_told() {
    let Some(scratch) = PgScratch::create() else {
        return;
    };
    let bus = format!("nats://{NOBODY}");
    let cluster = [
        "--database-url",
        scratch.url(),
        "--nats-url",
        &bus,
        "--node-id",
        "a",
    ];
    // The database is fine, so this start makes its tables.
    let word = last_word(&cluster).await;
    is_told(
        &word,
        &["connect to NATS", "Connection refused", "--nats-url"],
    );
    for (room, name) in [
        ("projections", "read models"),
        ("accounts", "accounts"),
        ("event_log", "log"),
    ] {
        let newer = format!(
            "insert into _migrations_{room} (version, description, success, checksum, execution_time) \
             values (20990101000001, 'newer', true, 'x', 1)"
        );
        scratch.psql(&newer);
        let word = last_word(&cluster).await;
        is_told(&word, &["20990101000001", "run that release"]);
        assert!(word.contains(name), "{word}");
    }
}

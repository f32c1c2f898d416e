//! The benchmark itself, at its smallest: it starts its parts, loads both servers, finds no fault, and leaves nothing behind.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of a test stop the test and speak to whoever reads its output"
)]

#[path = "protocol_by_hand/tools.rs"]
#[expect(
    dead_code,
    reason = "of the other test's tools only the server is needed"
)]
mod tools;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use hubbub_testkit::settings;
use serde_json::Value;

#[test]
fn a_small_run_gives_figures_of_both_servers_and_loses_nothing() {
    let Some(_server) = tools::server() else {
        return;
    };
    let Some(_nats) = settings::read_or_skip(settings::NATS_BIN, "nats-server") else {
        return;
    };
    let mut bench = Command::new(env!("CARGO_BIN_EXE_hubbub-loadtest"));
    bench
        .args([
            "bench",
            "--short",
            "--only",
            "dm,room,idle",
            "--seconds",
            "1",
        ])
        .args(["--pairs", "2", "--members", "40", "--sockets", "40"])
        // It would build the server, which is there.
        .env_remove("CARGO")
        .stdin(Stdio::null());
    let output = bench.output().unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{}\n{stdout}\n{stderr}",
        output.status
    );

    let lines: Vec<Value> = stdout
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let told: BTreeSet<(&str, &str)> = lines
        .iter()
        .map(|line| {
            (
                line["scenario"].as_str().unwrap(),
                line["target"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = ["dm", "idle", "room"]
        .into_iter()
        .flat_map(|scenario| [(scenario, "hubbub"), (scenario, "socket floor")]);
    assert_eq!(told, expected.collect::<BTreeSet<_>>());
    let ratio = |line: &&Value| line["scenario"] == "dm" && line["target"] == "hubbub";
    let of_floor = lines.iter().find(ratio).unwrap()["throughput_of_floor"].as_f64();
    assert!(of_floor.is_some_and(|ratio| ratio > 0.0), "{of_floor:?}");
}

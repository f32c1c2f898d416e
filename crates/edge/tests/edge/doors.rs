//! Who is let in, in which order, and who is not.

use std::time::Duration;

use hubbub_edge::{Doors, EdgeLimits};
use hubbub_testkit::wait::eventually;
use serde_json::json;

use crate::rig::{PATIENCE, Rig};

fn narrow(handshake_patience: Duration) -> EdgeLimits {
    EdgeLimits {
        doors: Doors {
            handshakes_at_once: 1,
            handshake_patience,
            ..Doors::default()
        },
        ..EdgeLimits::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_the_line_does_not_take_a_turn_and_who_speaks_in_it_is_heard() {
    let rig = Rig::with(1, narrow(PATIENCE), None).await;
    let ada = rig.person("ada").await;
    rig.gate.greetings.set_shut(true);
    let mut inside = rig.knock(0, &ada, json!([])).await;
    rig.gate.greetings.until_held(true).await;
    let leaver = rig.knock(0, &ada, json!([])).await;
    let mut talker = rig.knock(0, &ada, json!([])).await;
    talker.say(&json!({"t": "ping", "n": 7})).await;
    eventually(PATIENCE, "both to wait", async || {
        rig.metric(0, "hubbub_edge_handshakes_waiting").await == 2
    })
    .await;
    drop(leaver);
    eventually(PATIENCE, "one to have left", async || {
        rig.metric(0, "hubbub_edge_handshakes_waiting").await == 1
    })
    .await;
    assert_eq!(rig.metric(0, "hubbub_edge_handshakes_left_total").await, 1);
    rig.gate.greetings.set_shut(false);
    inside.one("live").await;
    let frames = talker.until("pong").await;
    assert_eq!(frames[0]["t"], "welcome");
    assert_eq!(frames.last().unwrap()["n"], 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_waited_too_long_to_be_let_in_is_told_when_to_come_back() {
    let rig = Rig::with(1, narrow(Duration::from_millis(50)), None).await;
    let ada = rig.person("ada").await;
    rig.gate.greetings.set_shut(true);
    let mut inside = rig.knock(0, &ada, json!([])).await;
    rig.gate.greetings.until_held(true).await;
    let mut late = rig.knock(0, &ada, json!([])).await;
    let (frames, closed) = late.end().await;
    assert_eq!((frames.len(), closed), (1, Some(4503)), "{frames:?}");
    assert_eq!(frames[0]["t"], "drain");
    assert!(frames[0]["reconnect_after_ms"].as_u64().unwrap() >= 500);
    assert_eq!(
        rig.metric(0, "hubbub_edge_handshakes_refused_total").await,
        1
    );
    rig.gate.greetings.set_shut(false);
    inside.one("live").await;
}

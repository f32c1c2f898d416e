//! Who is let in, in which order, and who is not.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hubbub_bus::BusStatus;
use hubbub_cluster::CommandRouter;
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_edge::{Doors, EdgeLimits};
use hubbub_testkit::wait::eventually;
use serde_json::json;

use crate::owner::message;
use crate::rig::{PATIENCE, Rig, Socket};

/// Longer than any turn of a loop that goes.
const STOPPED: Duration = Duration::from_secs(6);
/// Given out one after another, these keep the loop for as long.
const EVENTS_OF_A_TURN: u32 = 60;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_let_in_while_the_node_sends_its_sockets_elsewhere_is_sent_there_too() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let mut seated = rig.socket(&ada).await;
    seated.one("live").await;
    rig.gate.greetings.set_shut(true);
    let mut late = rig.knock(0, &ada, json!([])).await;
    rig.gate.greetings.until_held(true).await;
    rig.neighbours.hear.store(true, Ordering::SeqCst);
    rig.bus.set_status(BusStatus::Down);
    assert_eq!(seated.end().await.1, Some(4503));
    rig.gate.greetings.set_shut(false);
    let (frames, closed) = late.end().await;
    assert_eq!((frames.len(), closed), (0, Some(4503)), "{frames:?}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "the pause of the whole process is the fault under test; nothing waits for it"
)]
fn stop_the_process() {
    std::thread::sleep(STOPPED);
}

/// One thread for everything, as if the process had been stopped: nothing of it runs while this sleeps.
#[tokio::test]
async fn a_node_that_stood_still_sends_its_sockets_away_and_lets_them_in_again_when_it_has_looked_around()
 {
    let rig = Rig::start().await;
    let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
    let group = rig.group(&ada, &[&bob]).await;
    let mut sockets = Vec::new();
    for _ in 0..5 {
        let mut socket = rig.socket(&bob).await;
        socket.one("live").await;
        sockets.push(socket);
    }
    let (room, by) = (ConversationId::from_uuid(group), UserId::from_uuid(ada.id));
    let command = message(room, by, "just before");
    let accepted = rig.owner.submit(command, false, PATIENCE, None).await;
    // Nothing is awaited in between: the message is on its way when all stands still.
    stop_the_process();
    accepted.unwrap();
    for mut socket in sockets {
        let (frames, closed) = socket.end().await;
        assert_eq!((frames.len(), closed), (0, Some(4503)), "{frames:?}");
    }
    assert!(rig.metric(0, "hubbub_edge_stood_still_total").await > 0);
    eventually(PATIENCE, "the door to open again", async || {
        Socket::connect(rig.addr(), &[]).await.is_ok()
    })
    .await;
    let mut back = rig.socket(&bob).await;
    back.one("live").await;
    rig.send(&ada, group, "as ever").await;
    assert_eq!(back.one("event").await["data"]["body"], "as ever");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_is_long_because_it_gives_out_many_events_is_no_pause() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let mut socket = rig.socket(&ada).await;
    socket.one("live").await;
    rig.owner.inline.store(false, Ordering::SeqCst);
    let slow = rig.owner.faults.members.write().await;
    let group = rig.group(&ada, &[]).await;
    let (room, by) = (ConversationId::from_uuid(group), UserId::from_uuid(ada.id));
    for n in 0..EVENTS_OF_A_TURN {
        let command = message(room, by, &n.to_string());
        let accepted = rig.owner.submit(command, false, PATIENCE, None).await;
        accepted.unwrap();
    }
    let stored = rig.owner.stored().await;
    eventually(PATIENCE, "all to wait for the members", async || {
        rig.metric(0, "hubbub_feed_events_total").await >= stored
    })
    .await;
    let each = STOPPED.as_millis() / u128::from(EVENTS_OF_A_TURN);
    let each = u64::try_from(each).unwrap();
    rig.clock.takes_ms.store(each, Ordering::SeqCst);
    drop(slow);
    assert_eq!(socket.one("event").await["kind"], "conversation_created");
    for n in 0..EVENTS_OF_A_TURN {
        assert_eq!(socket.one("event").await["data"]["body"], n.to_string());
    }
    assert_eq!(rig.metric(0, "hubbub_edge_stood_still_total").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_whose_members_are_unknown_do_not_take_all_connections() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let mut socket = rig.socket(&ada).await;
    socket.one("live").await;
    rig.owner.inline.store(false, Ordering::SeqCst);
    let slow = rig.owner.faults.members.write().await;
    let before = rig.owner.faults.members_asked.load(Ordering::SeqCst);
    for _ in 0..10 {
        rig.group(&ada, &[]).await;
    }
    eventually(PATIENCE, "all but four to wait", async || {
        rig.metric(0, "hubbub_edge_member_reads_waiting").await == 6
    })
    .await;
    let asked = rig.owner.faults.members_asked.load(Ordering::SeqCst) - before;
    assert_eq!(asked, 4);
    drop(slow);
    for _ in 0..10 {
        let event = socket.one("event").await;
        assert_eq!(event["kind"], "conversation_created");
    }
}

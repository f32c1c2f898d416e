//! Ends: a node that goes down, clients that vanish or do not read, a loop that is starved.

use std::collections::BTreeSet;
use std::time::Duration;

use hubbub_bus::{Bus, Subject};
use hubbub_cluster::CommandRouter;
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_edge::EdgeLimits;
use hubbub_testkit::wait::eventually;
use serde_json::{Value, json};

use crate::owner::{PARTITIONS, message};
use crate::rig::{PATIENCE, Rig, Socket, call};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_goes_down_sends_its_sockets_away_one_by_one_and_lets_nobody_in() {
    let limits = EdgeLimits {
        sockets_per_user: 100,
        ..EdgeLimits::default()
    };
    let mut rig = Rig::draining_over(Duration::from_secs(3), 1, limits, None).await;
    let ada = rig.person("ada").await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        let mut socket = rig.socket(&ada).await;
        socket.one("live").await;
        sockets.push(socket);
    }
    let edge = rig.edges.remove(0);
    let addr = edge.addr();
    let down = tokio::spawn(edge.shutdown(PATIENCE));
    let mut moments = BTreeSet::new();
    for socket in &mut sockets {
        let drain = socket.one("drain").await;
        moments.insert(drain["reconnect_after_ms"].as_u64().unwrap() / 100);
    }
    assert!(moments.len() > 5, "not all at once: {moments:?}");
    let bearer = format!("Bearer {}", ada.token);
    let handshake = [
        ("Authorization", bearer.as_str()),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let refused = call(addr, "GET", "/api/v1/ws", &handshake, None).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "unavailable")
    );
    assert!(refused.headers.contains_key("retry-after"));
    let ready = call(addr, "GET", "/healthz/ready", &[], None).await;
    assert_eq!(ready.status, 503);
    for socket in &mut sockets {
        assert_eq!(socket.end().await.1, Some(1012));
    }
    drop(sockets);
    assert!(down.await.unwrap(), "everything ended in time");
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_vanished_without_a_word_is_gone_after_two_missed_pongs() {
    let limits = EdgeLimits {
        heartbeat_s: 1,
        ..EdgeLimits::default()
    };
    let rig = Rig::with(1, limits, None).await;
    let ada = rig.person("ada").await;
    let mut alive = rig.socket(&ada).await;
    alive.one("live").await;
    // Whoever does not read answers no ping, as a half-open line would not.
    let _half_open = rig.socket(&ada).await;
    let gone = async {
        eventually(PATIENCE, "the half-open socket to be gone", async || {
            rig.metric(0, "hubbub_edge_sockets").await == 1
        })
        .await;
    };
    tokio::select! {
        () = gone => {}
        frame = alive.hear() => panic!("the one that answers stays: {frame:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_clients_that_stop_reading_become_cursors_and_the_others_miss_nothing() {
    let limits = EdgeLimits {
        sockets_per_user: 100,
        ..EdgeLimits::default()
    };
    let rig = Rig::with(1, limits, None).await;
    let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
    let group = rig.group(&ada, &[&bob]).await;
    let mut lazy: Vec<Socket> = Vec::new();
    for _ in 0..50 {
        let mut socket = rig.socket(&bob).await;
        socket.one("live").await;
        lazy.push(socket);
    }
    let mut eager = rig.socket(&ada).await;
    eager.one("live").await;
    let big = "x".repeat(16_000);
    let count = 700_u64;
    for seq in 2..count + 2 {
        let command = message(
            ConversationId::from_uuid(group),
            UserId::from_uuid(ada.id),
            &big,
        );
        let accepted = rig.owner.submit(command, false, PATIENCE, None).await;
        accepted.unwrap();
        assert_eq!(eager.one("event").await["seq"], json!(seq));
    }
    // Not a byte of events is kept for those who fell behind, only how far they are.
    let queued = rig.metric(0, "hubbub_edge_queued_bytes").await;
    assert!(queued <= 51 * 262_144, "{queued}");
    for socket in &mut lazy {
        let (mut at, mut jumps) = (1, 0);
        while at < count + 1 {
            let frame = socket.hear().await.unwrap();
            if frame["t"] == "resync" {
                at = frame["conversations"][0][2].as_u64().unwrap();
                jumps += 1;
            } else if frame["t"] == "event" {
                assert_eq!(frame["seq"], json!(at + 1));
                at += 1;
            }
        }
        assert!(jumps > 0, "11 MB cannot have fitted");
    }
}

/// One thread for everything: while messages are sent without a pause nothing else runs, and the subscription overflows.
#[tokio::test]
async fn a_starved_loop_notices_by_number_what_the_bus_dropped() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let group = rig.group(&ada, &[]).await;
    let mut socket = rig.socket(&ada).await;
    socket.one("live").await;
    let conversation = ConversationId::from_uuid(group);
    let subject = Subject::Events(PARTITIONS.partition_of(conversation));
    for _ in 0..40 {
        let command = message(conversation, UserId::from_uuid(ada.id), "heard or not");
        let accepted = rig.owner.submit(command, false, PATIENCE, None).await;
        accepted.unwrap();
        // Others talk as well, more than the subscription keeps: this goes on without giving the loop a turn.
        for _ in 0..300 {
            rig.bus
                .publish(subject, bytes::Bytes::new(), None)
                .await
                .unwrap();
        }
    }
    let mut seqs = Vec::new();
    while seqs.len() < 40 {
        let frame: Value = socket.one("event").await;
        seqs.push(frame["seq"].as_u64().unwrap());
    }
    assert_eq!(seqs, (2..42).collect::<Vec<u64>>());
    assert!(
        rig.metric(0, "hubbub_feed_gaps_total").await > 0,
        "nothing was dropped"
    );
}

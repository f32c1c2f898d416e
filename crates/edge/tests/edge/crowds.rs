//! Rooms that have grown, and nodes that are full.

use std::time::Duration;

use hubbub_edge::{Doors, EdgeLimits, RoomModes};
use hubbub_testkit::wait::eventually;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::rig::{PATIENCE, Rig, Socket};

/// Everyone but oneself is a crowd.
fn small() -> EdgeLimits {
    EdgeLimits {
        rooms: RoomModes {
            receipts_members_max: 1,
            typing_members_max: 1,
            whole_members_max: 1,
            crowd_every: Duration::from_millis(40),
        },
        ..EdgeLimits::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_crowd_words_come_where_the_room_is_open_and_every_event_comes_in_order() {
    let rig = Rig::with(1, small(), None).await;
    let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
    let room = rig.group(&ada, &[&bob]).await;
    let mut socket = rig.socket(&bob).await;
    socket.one("live").await;
    for _ in 2..12 {
        rig.send(&ada, room, "unseen").await;
    }
    for seq in 2..12 {
        let event = socket.one("event").await;
        // Nobody may take it for deleted.
        assert_eq!(
            (&event["seq"], &event["data"]),
            (&json!(seq), &json!({"body": "", "outline": true}))
        );
    }
    socket
        .say(&json!({"t": "open", "conversation_id": room}))
        .await;
    let mut seq = 12;
    loop {
        rig.send(&ada, room, "seen").await;
        let event = socket.one("event").await;
        assert_eq!(event["seq"], json!(seq));
        seq += 1;
        if event["data"] == json!({"body": "seen"}) {
            break;
        }
    }
    socket
        .say(&json!({"t": "close", "conversation_id": room}))
        .await;
    loop {
        rig.send(&ada, room, "seen").await;
        let event = socket.one("event").await;
        assert_eq!(event["seq"], json!(seq));
        seq += 1;
        if event["data"]["outline"] == true {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_members_goes_out_behind_what_was_collected() {
    let rig = Rig::with(1, small(), None).await;
    let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
    let room = rig.group(&ada, &[&bob]).await;
    let mut socket = rig.socket(&bob).await;
    socket.one("live").await;
    rig.send(&ada, room, "one").await;
    rig.send(&ada, room, "two").await;
    let path = format!("/conversations/{room}/members/{}", bob.id);
    assert_eq!(rig.api(&ada, "DELETE", &path, None).await.status, 204);
    rig.send(&ada, room, "without bob").await;
    let frames = socket.until("removed").await;
    let seqs: Vec<_> = frames
        .iter()
        .filter_map(|frame| frame["seq"].as_u64())
        .collect();
    assert_eq!(seqs, [2, 3, 4]);
    socket.say(&json!({"t": "ping", "n": 1})).await;
    assert_eq!(socket.hear().await.unwrap()["t"], "pong");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_while_events_are_collected_hears_each_of_them_once() {
    let mut limits = small();
    limits.rooms.crowd_every = Duration::from_hours(1);
    let rig = Rig::with(1, limits, None).await;
    let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
    let room = rig.group(&ada, &[&bob]).await;
    let mut head = 1;
    for missed in 0..=3_u64 {
        rig.send(&ada, room, "one").await;
        let sent = rig.send(&ada, room, "two").await;
        head += 2;
        let stored = rig.owner.stored().await;
        eventually(PATIENCE, "the events to be collected", async || {
            rig.metric(0, "hubbub_feed_events_total").await >= stored
        })
        .await;
        let cursor = json!([[room, sent["epoch"], head - missed]]);
        let mut socket = rig.socket_at(0, &bob, cursor).await;
        let frames = socket.until("live").await;
        let seqs: Vec<_> = frames
            .iter()
            .filter_map(|frame| frame["seq"].as_u64())
            .collect();
        let expected: Vec<_> = (head - missed + 1..=head).collect();
        assert_eq!(seqs, expected, "{frames:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_room_shows_neither_typing_nor_the_receipts_of_others() {
    let rig = Rig::with(1, small(), None).await;
    let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
    let room = rig.group(&ada, &[&bob]).await;
    rig.send(&bob, room, "to be read").await;
    let (mut typist, mut device) = (rig.socket(&ada).await, rig.socket(&ada).await);
    let mut reader = rig.socket(&bob).await;
    for socket in [&mut typist, &mut device, &mut reader] {
        socket.one("live").await;
    }
    typist
        .say(&json!({"t": "typing", "conversation_id": room, "on": true}))
        .await;
    typist
        .say(&json!({"t": "mark", "conversation_id": room, "read_no": 1}))
        .await;
    // The own device hears of it, so it has been given out.
    let marker = device.one("marker").await;
    assert_eq!(marker["read_no"], 1);
    rig.send(&ada, room, "next").await;
    let frames = reader.until("event").await;
    assert_eq!(frames.len(), 1, "{frames:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_finds_no_place_is_told_when_to_come_back_and_who_was_there_stays() {
    let limits = EdgeLimits {
        connections: 4,
        ..EdgeLimits::default()
    };
    let rig = Rig::with(1, limits, None).await;
    let ada = rig.person("ada").await;
    let mut socket = rig.socket(&ada).await;
    socket.one("live").await;
    let mut held = Vec::new();
    let refusal = loop {
        let mut tcp = TcpStream::connect(rig.addr()).await.unwrap();
        let mut text = String::new();
        let read = tokio::time::timeout(Duration::from_millis(300), tcp.read_to_string(&mut text));
        if read.await.is_ok() {
            break text;
        }
        held.push(tcp);
        assert!(held.len() < 10, "nobody is refused");
    };
    assert!(refusal.starts_with("HTTP/1.1 503 "), "{refusal}");
    assert!(refusal.contains("\r\nretry-after: "), "{refusal}");
    assert!(refusal.contains("\"code\":\"busy\""), "{refusal}");
    assert_eq!(
        rig.metric(0, "hubbub_edge_connections_refused_total").await,
        1
    );
    // Those who hold on, the socket, and the one who asks for this.
    let open = u64::try_from(held.len()).unwrap() + 2;
    eventually(PATIENCE, "the count of connections", async || {
        rig.metric(0, "hubbub_edge_connections").await == open
    })
    .await;
    socket.say(&json!({"t": "ping", "n": 1})).await;
    socket.one("pong").await;
    drop(held);
    eventually(PATIENCE, "a place", async || {
        Socket::connect(rig.addr(), &[]).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_sockets_is_let_in_one_by_one_and_nobody_is_forgotten() {
    let limits = EdgeLimits {
        sockets_per_user: 1_000,
        doors: Doors {
            handshakes_at_once: 2,
            handshake_patience: PATIENCE,
            resumes_at_once: 1,
            ..Doors::default()
        },
        ..EdgeLimits::default()
    };
    let rig = Rig::with(1, limits, None).await;
    let ada = rig.person("ada").await;
    let group = rig.group(&ada, &[]).await;
    let sent = rig.send(&ada, group, "before").await;
    let storm = (0..200).map(|n| {
        let (rig, ada) = (&rig, &ada);
        let cursor = json!([[group, sent["epoch"], n % 3]]);
        async move {
            let mut socket = rig.socket_at(0, ada, cursor).await;
            let frames = socket.until("live").await;
            assert_eq!(frames.len(), 3 - n % 3, "{frames:?}");
        }
    });
    futures_util::future::join_all(storm).await;
    // It is shown twice a second.
    eventually(PATIENCE, "the line to be empty", async || {
        rig.metric(0, "hubbub_edge_handshakes_waiting").await == 0
    })
    .await;
}

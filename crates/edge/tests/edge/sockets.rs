//! Sockets: the beginning, frames, events, membership, the end.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hubbub_edge::EdgeLimits;
use hubbub_testkit::fresh_uuid;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::rig::{Rig, Socket, call};

fn types(frames: &[Value]) -> Vec<&str> {
    frames
        .iter()
        .map(|frame| frame["t"].as_str().unwrap())
        .collect()
}

fn seqs(frames: &[Value]) -> Vec<u64> {
    frames
        .iter()
        .filter(|frame| frame["t"] == "event")
        .map(|frame| frame["seq"].as_u64().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hello_is_answered_with_welcome_and_live() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let mut socket = Socket::connect(rig.addr(), &[("sec-websocket-protocol", "hubbub.v1")])
        .await
        .unwrap();
    socket.say(&json!({"t": "hello", "token": ada.token})).await;
    let welcome = socket.hear().await.unwrap();
    assert_eq!(welcome["t"], "welcome");
    assert_eq!(welcome["user"]["username"], ada.name);
    assert_eq!(welcome["node"], "n0");
    assert_eq!(welcome["limits"]["frame_bytes"], 65_536);
    assert_eq!(socket.hear().await.unwrap(), json!({"t": "live"}));
    socket.say(&json!({"t": "ping", "n": 7})).await;
    assert_eq!(socket.hear().await.unwrap(), json!({"t": "pong", "n": 7}));
    socket.say(&json!({"t": "hello"})).await;
    let error = socket.hear().await.unwrap();
    assert_eq!(
        (&error["t"], &error["code"]),
        (&json!("error"), &json!("invalid"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_or_lies_or_speaks_out_of_turn_is_sent_away() {
    let rig = Rig::start().await;
    let mut silent = Socket::connect(rig.addr(), &[]).await.unwrap();
    let mut liar = Socket::connect(rig.addr(), &[]).await.unwrap();
    liar.say(&json!({"t": "hello", "token": "no such token"}))
        .await;
    assert_eq!(liar.end().await, (vec![], Some(4401)));
    let mut nameless = Socket::connect(rig.addr(), &[]).await.unwrap();
    nameless.say(&json!({"t": "hello"})).await;
    assert_eq!(nameless.end().await, (vec![], Some(4401)));
    let mut hasty = Socket::connect(rig.addr(), &[]).await.unwrap();
    hasty.say(&json!({"t": "ping", "n": 1})).await;
    assert_eq!(hasty.end().await, (vec![], Some(1008)));
    assert_eq!(silent.end().await, (vec![], Some(4401)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_door_knows_bearers_and_cookies() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let bearer = format!("Bearer {}", ada.token);
    let cookie = format!("hubbub={}", ada.token);
    let own = format!("http://{}", rig.addr());
    assert_eq!(
        Socket::connect(rig.addr(), &[("authorization", "Bearer wrong")])
            .await
            .err(),
        Some(401)
    );
    assert_eq!(
        Socket::connect(rig.addr(), &[("cookie", &cookie)])
            .await
            .err(),
        Some(403),
        "no Origin"
    );
    let foreign = [
        ("cookie", cookie.as_str()),
        ("origin", "http://evil.example"),
    ];
    assert_eq!(Socket::connect(rig.addr(), &foreign).await.err(), Some(403));
    assert_eq!(
        Socket::connect(rig.addr(), &[("sec-websocket-protocol", "other")])
            .await
            .err(),
        Some(400)
    );
    for headers in [
        vec![("authorization", bearer.as_str())],
        vec![("cookie", &cookie), ("origin", &own)],
    ] {
        let mut socket = Socket::connect(rig.addr(), &headers).await.unwrap();
        socket.say(&json!({"t": "hello"})).await;
        assert_eq!(socket.hear().await.unwrap()["user"]["id"], json!(ada.id));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreadable_frames_are_answered_until_patience_ends() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let mut socket = rig.socket(&ada).await;
    socket.one("live").await;
    let id = fresh_uuid();
    socket
        .say(&json!({"t": "send", "id": id, "conversation_id": id, "body": "x", "colour": 1}))
        .await;
    let error = socket.hear().await.unwrap();
    assert_eq!(
        (&error["code"], &error["id"]),
        (&json!("invalid"), &json!(id))
    );
    for bad in [
        "",
        "[]",
        "{}",
        "{\"t\":\"welcome\"}",
        "{\"t\":\"nonsense\"}",
        "{\"t\":\"ping\",\"n\":1,\"n\":2}",
    ] {
        socket.say_text(bad).await;
        assert_eq!(socket.hear().await.unwrap()["code"], "invalid", "{bad}");
    }
    socket.say_binary(b"bytes").await;
    assert_eq!(socket.hear().await.unwrap()["code"], "invalid");
    socket.say_text("nine").await;
    assert_eq!(socket.hear().await.unwrap()["code"], "invalid");
    socket.say_text("ten").await;
    let (_, code) = socket.end().await;
    assert_eq!(code, Some(1008));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_over_the_limit_closes_the_socket() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    for size in [65_537, 300_000] {
        let mut socket = rig.socket(&ada).await;
        socket.say_text(&"x".repeat(size)).await;
        let (_, code) = socket.end().await;
        assert_eq!(code, Some(1009), "{size}");
    }
    let mut socket = rig.socket(&ada).await;
    socket.one("live").await;
    socket.say_text(&"x".repeat(65_536)).await;
    assert_eq!(socket.one("error").await["code"], "invalid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sends_are_acknowledged_in_order_and_arrive_everywhere() {
    let rig = Rig::with(2, EdgeLimits::default(), None).await;
    let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
    let group = rig.group(&ada, &[&bob]).await;
    let mut from = rig.socket(&ada).await;
    let mut to = rig.socket_at(1, &bob, json!([])).await;
    from.one("live").await;
    to.one("live").await;
    let ids: Vec<_> = (0..50).map(|_| fresh_uuid()).collect();
    for (n, id) in ids.iter().enumerate() {
        from.say(
            &json!({"t": "send", "id": id, "conversation_id": group, "body": format!("m{n}")}),
        )
        .await;
    }
    let mut acks = Vec::new();
    let mut own = Vec::new();
    while acks.len() < 50 || own.len() < 50 {
        let frame = from.hear().await.unwrap();
        match frame["t"].as_str().unwrap() {
            "ack" => acks.push(frame),
            "event" => own.push(frame),
            other => panic!("{other}"),
        }
    }
    for (n, ack) in acks.iter().enumerate() {
        assert_eq!(ack["id"], json!(ids[n]));
        assert_eq!(ack["message_no"], json!(n + 1));
    }
    let mut heard = Vec::new();
    while heard.len() < 50 {
        heard.push(to.one("event").await);
    }
    assert_eq!(seqs(&heard), (2..=51).collect::<Vec<u64>>());
    assert_eq!(heard[0]["command_id"], json!(ids[0]));
    assert_eq!(heard[49]["data"]["body"], "m49");
    assert_eq!(heard, own);
    // The same id again is the same answer; another body under it is not.
    from.say(
        &json!({"t": "send", "id": ids[0], "conversation_id": group, "body": "m0", "retry": true}),
    )
    .await;
    let again = from.hear().await.unwrap();
    assert_eq!(
        (&again["seq"], &again["duplicate"]),
        (&acks[0]["seq"], &json!(true))
    );
    from.say(&json!({"t": "send", "id": ids[0], "conversation_id": group, "body": "other"}))
        .await;
    assert_eq!(from.hear().await.unwrap()["code"], "idempotency_mismatch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_told_the_same_as_about_nothing() {
    let rig = Rig::start().await;
    let (ada, eve) = (rig.person("ada").await, rig.person("eve").await);
    let group = rig.group(&ada, &[]).await;
    let mut socket = rig.socket(&eve).await;
    socket.one("live").await;
    let mut answers = Vec::new();
    for conversation in [group, fresh_uuid()] {
        let id = fresh_uuid();
        for frame in [
            json!({"t": "send", "id": id, "conversation_id": conversation, "body": ""}),
            json!({"t": "history", "id": id, "conversation_id": conversation}),
        ] {
            socket.say(&frame).await;
            let mut error = socket.hear().await.unwrap();
            assert_eq!(
                (&error["code"], &error["id"]),
                (&json!("not_found"), &json!(id))
            );
            error["id"] = Value::Null;
            answers.push(error);
        }
    }
    assert_eq!(answers[0..2], answers[2..4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_only_sees_a_public_room_reads_nothing_in_it_over_a_socket_either() {
    let rig = Rig::start().await;
    let (ada, eve) = (rig.person("ada").await, rig.person("eve").await);
    let room = json!({"kind": "room", "title": "garden", "visibility": "public"});
    let made = rig.api(&ada, "POST", "/conversations", Some(room)).await;
    let room: uuid::Uuid = made.json()["id"].as_str().unwrap().parse().unwrap();
    rig.send(&ada, room, "among us").await;
    let messages = format!("/conversations/{room}/messages");
    let asked = rig.api(&eve, "GET", &messages, None).await;
    assert_eq!(asked.status, 403, "{asked:?}");
    let mut socket = rig.socket(&eve).await;
    socket.one("live").await;
    socket
        .say(&json!({"t": "history", "id": fresh_uuid(), "conversation_id": room}))
        .await;
    let answer = socket.hear().await.unwrap();
    assert_eq!(
        (&answer["t"], &answer["code"], &answer["detail"]),
        (
            &json!("error"),
            &asked.json()["code"],
            &asked.json()["detail"]
        )
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_member_hears_added_first_and_a_removed_one_nothing_more() {
    for inline in [true, false] {
        let rig = Rig::with(2, EdgeLimits::default(), None).await;
        rig.owner
            .inline
            .store(inline, std::sync::atomic::Ordering::SeqCst);
        let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
        let mut socket = rig.socket_at(1, &bob, json!([])).await;
        socket.one("live").await;
        let group = rig.group(&ada, &[]).await;
        rig.send(&ada, group, "before").await;
        let members = format!("/conversations/{group}/members");
        let add = rig
            .api(&ada, "POST", &members, Some(json!({"user_id": bob.id})))
            .await;
        assert_eq!(add.status, 204, "{add:?}");
        rig.send(&ada, group, "during").await;
        let remove = rig
            .api(&ada, "DELETE", &format!("{members}/{}", bob.id), None)
            .await;
        assert_eq!(remove.status, 204, "{remove:?}");
        rig.send(&ada, group, "after").await;
        rig.api(&ada, "POST", &members, Some(json!({"user_id": bob.id})))
            .await;
        rig.send(&ada, group, "again").await;
        let mut frames = Vec::new();
        while frames.len() < 7 {
            frames.push(socket.hear().await.unwrap());
        }
        let expected = [
            "added", "event", "event", "event", "removed", "added", "event",
        ];
        assert_eq!(types(&frames), expected, "inline: {inline}");
        assert_eq!(frames[0]["conversation"]["id"], json!(group));
        assert_eq!(seqs(&frames), [3, 4, 5, 7], "inline: {inline}");
        assert_eq!(
            frames[4],
            json!({"t": "removed", "conversation_id": group, "reason": "removed"})
        );
        assert_eq!(socket.one("event").await["data"]["body"], "again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_named_at_creation_hears_added_and_then_the_creation() {
    let rig = Rig::start().await;
    let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
    let (mut one, mut other) = (rig.socket(&ada).await, rig.socket(&bob).await);
    one.one("live").await;
    other.one("live").await;
    let answer = rig
        .api(
            &ada,
            "POST",
            "/conversations",
            Some(json!({"kind": "direct", "members": [bob.id]})),
        )
        .await;
    assert_eq!(answer.status, 201);
    for (socket, peer) in [(&mut one, &bob), (&mut other, &ada)] {
        let frames = [socket.hear().await.unwrap(), socket.hear().await.unwrap()];
        assert_eq!(types(&frames), ["added", "event"]);
        assert_eq!(frames[0]["conversation"]["peer"]["id"], json!(peer.id));
        assert_eq!(frames[1]["kind"], "conversation_created");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typing_and_markers_reach_members_and_nobody_else() {
    let rig = Rig::with(2, EdgeLimits::default(), None).await;
    let (ada, bob, eve) = (
        rig.person("ada").await,
        rig.person("bob").await,
        rig.person("eve").await,
    );
    let group = rig.group(&ada, &[&bob]).await;
    rig.send(&ada, group, "hi").await;
    let mut from = rig.socket(&bob).await;
    let mut to = rig.socket_at(1, &ada, json!([])).await;
    let mut outside = rig.socket(&eve).await;
    for socket in [&mut from, &mut to, &mut outside] {
        socket.one("live").await;
    }
    outside
        .say(&json!({"t": "typing", "conversation_id": group, "on": true}))
        .await;
    outside
        .say(&json!({"t": "mark", "conversation_id": group, "read_no": 1}))
        .await;
    outside.say(&json!({"t": "ping", "n": 1})).await;
    outside.one("pong").await;
    from.say(&json!({"t": "typing", "conversation_id": group, "on": true}))
        .await;
    let typing = to.hear().await.unwrap();
    assert_eq!(
        typing,
        json!({"t": "typing", "conversation_id": group, "user_id": bob.id, "on": true})
    );
    from.say(&json!({"t": "mark", "conversation_id": group, "read_no": 1}))
        .await;
    for socket in [&mut to, &mut from] {
        let marker = socket.hear().await.unwrap();
        assert_eq!(
            (&marker["t"], &marker["user_id"], &marker["read_no"]),
            (&json!("marker"), &json!(bob.id), &json!(1))
        );
    }
    outside.say(&json!({"t": "ping", "n": 2})).await;
    assert_eq!(
        outside.hear().await.unwrap()["t"],
        "pong",
        "nothing came before it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_comes_over_the_socket() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let group = rig.group(&ada, &[]).await;
    for n in 0..5 {
        rig.send(&ada, group, &format!("m{n}")).await;
    }
    let mut socket = rig.socket(&ada).await;
    socket.one("live").await;
    let id = fresh_uuid();
    socket.say(&json!({"t": "history", "id": id, "conversation_id": group, "before_no": 5, "limit": 2})).await;
    let page = socket.hear().await.unwrap();
    assert_eq!(
        (&page["t"], &page["id"], &page["has_more"]),
        (&json!("page"), &json!(id), &json!(true))
    );
    let bodies: Vec<_> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["body"].clone())
        .collect();
    assert_eq!(bodies, ["m2", "m3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logging_out_closes_the_sockets_of_that_session_on_every_node() {
    let rig = Rig::with(2, EdgeLimits::default(), None).await;
    let ada = rig.person("ada").await;
    let login = json!({"username": ada.name, "password": "a long enough passphrase 7"});
    let answer = call(rig.addr(), "POST", "/api/v1/auth/login", &[], Some(&login)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let other = crate::rig::Person {
        token: answer.json()["token"].as_str().unwrap().to_owned(),
        ..ada.clone()
    };
    let mut here = rig.socket(&ada).await;
    let mut there = rig.socket_at(1, &ada, json!([])).await;
    let mut stays = rig.socket_at(1, &other, json!([])).await;
    stays.one("live").await;
    assert_eq!(
        rig.api(&ada, "POST", "/auth/logout", None).await.status,
        204
    );
    assert_eq!(here.end().await.1, Some(4401));
    assert_eq!(there.end().await.1, Some(4401));
    stays.say(&json!({"t": "ping", "n": 1})).await;
    stays.one("pong").await;
    assert_eq!(
        rig.api(&ada, "GET", "/me", None).await.code(),
        "unauthenticated"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_whose_message_is_lost_is_noticed_by_the_next_head() {
    let rig = Rig::with(2, EdgeLimits::default(), None).await;
    let ada = rig.person("ada").await;
    let mut there = rig.socket_at(1, &ada, json!([])).await;
    there.one("live").await;
    rig.bus.inject(|subject| {
        if subject == hubbub_bus::Subject::User {
            hubbub_bus::Fault::Lose
        } else {
            hubbub_bus::Fault::None
        }
    });
    assert_eq!(
        rig.api(&ada, "POST", "/auth/logout", None).await.status,
        204
    );
    assert_eq!(there.end().await.1, Some(4401));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_sockets_of_one_person_are_refused_and_places_come_back() {
    let limits = EdgeLimits {
        sockets_per_user: 2,
        ..EdgeLimits::default()
    };
    let rig = Rig::with(1, limits, None).await;
    let ada = rig.person("ada").await;
    let first = rig.socket(&ada).await;
    let mut second = rig.socket(&ada).await;
    second.one("live").await;
    let mut third = rig.knock(0, &ada, json!([])).await;
    assert_eq!(third.end().await, (vec![], Some(4429)), "not welcome");
    drop(first);
    hubbub_testkit::wait::eventually(crate::rig::PATIENCE, "a free place", async || {
        let mut socket = rig.knock(0, &ada, json!([])).await;
        socket
            .hear()
            .await
            .is_some_and(|frame| frame["t"] == "welcome")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutting_down_says_drain_and_closes_with_restart() {
    let mut rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let mut socket = rig.socket(&ada).await;
    socket.one("live").await;
    let edge = rig.edges.remove(0);
    let addr = edge.addr();
    let down = tokio::spawn(edge.shutdown(Duration::from_secs(30)));
    let drain = socket.hear().await.unwrap();
    assert_eq!(drain["t"], "drain");
    assert!(drain["reconnect_after_ms"].is_u64());
    assert_eq!(socket.end().await.1, Some(1012));
    drop(socket);
    assert!(down.await.unwrap(), "everything ended in time");
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_says_goodbye_gets_it_back() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    for hello in [true, false] {
        let url = format!("ws://{}/api/v1/ws", rig.addr());
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        if hello {
            let hello = json!({"t": "hello", "token": ada.token}).to_string();
            socket.send(Message::text(hello)).await.unwrap();
        }
        let frame = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        socket.send(Message::Close(Some(frame))).await.unwrap();
        let mut answer = None;
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Close(frame) = message {
                answer = frame.map(|frame| u16::from(frame.code));
            }
        }
        assert_eq!(answer, Some(1000), "after hello: {hello}");
    }
}

//! What open sockets get.

use hubbub_client::Notice;
use hubbub_testkit::fresh_uuid;
use hubbub_wire::client::close;
use serde_json::json;

use crate::harness::deployment::World;
use crate::harness::person::Person;
use crate::harness::raw_socket::{event_seqs, send_frame};

pub(crate) async fn pipelined_messages_keep_their_order(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    let mut ben_hears = ben.socket(&[]).await;
    let mut socket = ada.socket(&[]).await;
    let ids: Vec<_> = (0..100).map(|_| fresh_uuid()).collect();
    for (n, id) in ids.iter().enumerate() {
        socket
            .feed_text(send_frame(*id, chat, &format!("{n}")).to_string())
            .await;
    }
    socket.is_alive(1).await;
    // Acks may overtake each other; the log may not.
    let log_order: Vec<_> = {
        let mut last = ben_hears.find(|frame| frame["data"]["body"] == "0").await;
        let mut order = vec![last.clone()];
        while last["data"]["body"] != "99" {
            last = ben_hears.frame("event").await;
            order.push(last.clone());
        }
        order
    };
    let heard: Vec<_> = log_order
        .iter()
        .map(|event| event["command_id"].clone())
        .collect();
    let sent: Vec<_> = ids.iter().map(|id| json!(id)).collect();
    assert_eq!(heard, sent);
    assert_eq!(
        event_seqs(&log_order, chat),
        (2..=101).collect::<Vec<u64>>()
    );
    let stored: Vec<_> = ada
        .log(chat)
        .await
        .into_iter()
        .skip(1)
        .map(|event| event.command_id)
        .collect();
    assert_eq!(stored, ids);
}

pub(crate) async fn every_pipelined_message_is_acked_once_with_its_place(world: &World) {
    let ada = Person::register(world, "ada", 1).await;
    let ben = Person::register(world, "ben", 0).await;
    let chat = ada.direct(&ben).await;
    let mut socket = ada.socket(&[]).await;
    let ids: Vec<_> = (0..50).map(|_| fresh_uuid()).collect();
    for id in &ids {
        socket
            .feed_text(send_frame(*id, chat, "again and again").to_string())
            .await;
    }
    let mut acks = Vec::new();
    let mut own_events = Vec::new();
    socket.send(&json!({"t": "ping", "n": 1})).await;
    while acks.len() < ids.len() || own_events.len() < ids.len() {
        let frame = socket.next().await.expect("the socket stays");
        match frame["t"].as_str() {
            Some("ack") => acks.push((
                frame["id"].clone(),
                frame["seq"].clone(),
                frame["message_no"].clone(),
            )),
            Some("event") => own_events.push((
                frame["command_id"].clone(),
                frame["seq"].clone(),
                frame["message_no"].clone(),
            )),
            Some("error") => panic!("{frame}"),
            _other => {}
        }
    }
    acks.sort_by_key(|(_id, seq, _no)| seq.as_u64());
    assert_eq!(acks, own_events, "the ack and the own event say the same");
}

pub(crate) async fn typing_reaches_the_other_side_and_nobody_else(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let eve = Person::register(world, "eve", 1).await;
    let chat = ada.direct(&ben).await;
    let (ada_says, mut ben_hears) = (ada.connect().await, ben.connect().await);
    let mut eve_hears = eve.socket(&[]).await;
    // Typing is dropped under load, so it is shown again until it is seen, as people do who go on typing.
    let showing = async {
        let mut every = tokio::time::interval(std::time::Duration::from_millis(500));
        for round in 0_u64.. {
            every.tick().await;
            ada_says.client.typing(chat, round % 2 == 0).await;
        }
    };
    let seeing = ben_hears.until("typing", |notice| match notice {
        Notice::Typing(typing) => Some(*typing),
        _other => None,
    });
    let seen = tokio::select! {
        () = showing => unreachable!("people go on typing"),
        seen = seeing => seen,
    };
    assert_eq!((seen.conversation_id, seen.user_id), (chat, ada.id()));

    // Eve types into a conversation that is not hers, and hears of none.
    eve_hears
        .send(&json!({"t": "typing", "conversation_id": chat, "on": true}))
        .await;
    eve_hears.send(&json!({"t": "ping", "n": 1})).await;
    let frames = eve_hears.collect_until(|frame| frame["t"] == "pong").await;
    assert!(
        frames.iter().all(|frame| frame["t"] != "typing"),
        "{frames:?}"
    );
}

pub(crate) async fn a_client_that_closes_in_order_is_answered_in_order(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let socket = ada.socket(&[]).await;
    assert_eq!(socket.close().await, Some(close::NORMAL));
}

pub(crate) async fn a_library_client_moves_between_nodes_and_misses_nothing(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    let mut ben_hears = ben.connect_from(vec![(chat, 0, 0).into()]).await;
    for round in 0..60_usize {
        ada.say(chat, &format!("{round}")).await;
        if round % 7 == 0 {
            ben_hears.client.force_reconnect(round % 2).await;
        }
    }
    ben_hears.message(chat, "59").await;
    assert_eq!(
        ben_hears.delivered_seqs(chat),
        (1..=61).collect::<Vec<u64>>()
    );
}

//! The same command id: the same answer, and never a second event (P3).

use hubbub_testkit::fresh_uuid;
use hubbub_wire::client::words::ConversationKind;
use hubbub_wire::error::ErrorCode;
use hubbub_wire::rest::CreateConversation;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::deployment::World;
use crate::harness::person::{Person, direct_with};
use crate::harness::raw_socket::send_frame;

/// Ids as clients make them, and as a careless one might.
fn ids() -> [Uuid; 2] {
    let by_time = fresh_uuid();
    // Version 4 says nothing about its age, so the server must look it up.
    let by_chance = uuid::Builder::from_random_bytes(*fresh_uuid().as_bytes()).into_uuid();
    [by_time, by_chance]
}

pub(crate) async fn a_repeated_send_gets_the_same_answer_and_stores_nothing(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    for id in ids() {
        let head = ada.head(chat).await.seq;
        let mut socket = ada.socket(&[]).await;
        socket.say(id, chat, "once").await;
        let first = socket.answer(id).await;
        assert_eq!(
            (&first["t"], &first["seq"]),
            (&json!("ack"), &json!(head + 1))
        );
        assert_eq!(first.get("duplicate"), None);

        let mut marked = send_frame(id, chat, "once");
        marked["retry"] = json!(true);
        for repeated in [send_frame(id, chat, "once"), marked.clone()] {
            socket.send(&repeated).await;
            assert_same_answer(&first, &socket.answer(id).await);
        }
        // On every node, over a new socket.
        for url in &ada.urls {
            let mut elsewhere = crate::harness::raw_socket::RawSocket::open(url, &ada.token).await;
            elsewhere.hello(&[]).await;
            elsewhere.send(&marked).await;
            assert_same_answer(&first, &elsewhere.answer(id).await);
        }
        // Socket ids and REST keys are one space.
        let stored = ada
            .try_say(chat, "once", Some(id))
            .await
            .expect("it is stored");
        assert_eq!(json!(stored.seq), first["seq"]);
        assert_eq!(json!(stored.at), first["at"]);

        let log = ada.log(chat).await;
        assert_eq!(log.iter().filter(|event| event.command_id == id).count(), 1);
        assert_eq!(ada.head(chat).await.seq, head + 1);
    }
}

pub(crate) async fn a_repeated_rest_send_gets_the_same_answer_and_stores_nothing(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    for id in ids() {
        let first = ada
            .try_say(chat, "once", Some(id))
            .await
            .expect("it is stored");
        for rest in ada.rests() {
            let message = crate::harness::person::message("once");
            let again = rest.send_message(chat, &message, Some(id)).await;
            assert_eq!(again.expect("it is stored"), first);
        }
        assert_eq!(ada.head(chat).await.seq, first.seq);
    }
}

pub(crate) async fn an_id_of_another_request_is_a_mismatch_for_everyone(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    for id in ids() {
        ada.try_say(chat, "mine", Some(id))
            .await
            .expect("it is stored");
        let head = ada.head(chat).await;
        // Another text by the same person; the same text by another.
        for (person, body) in [(&ada, "something else"), (&ben, "mine")] {
            let mut socket = person.socket(&[]).await;
            socket.say(id, chat, body).await;
            let answer = socket.answer(id).await;
            assert_eq!(
                (&answer["t"], &answer["code"]),
                (&json!("error"), &json!("idempotency_mismatch"))
            );

            let refused = person
                .try_say(chat, body, Some(id))
                .await
                .expect_err("another request");
            let problem = refused.problem().expect("the server says why");
            assert_eq!(
                (problem.status, problem.code),
                (409, ErrorCode::IdempotencyMismatch)
            );
            for detail in [answer["detail"].as_str().unwrap_or(""), &problem.detail] {
                assert!(
                    !detail.contains("mine") && !detail.contains(&id.to_string()),
                    "{detail}"
                );
            }
        }
        assert_eq!(ada.head(chat).await, head);
    }
}

pub(crate) async fn a_group_made_again_with_its_key_is_the_same_group(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let new = CreateConversation {
        kind: ConversationKind::Group,
        title: Some("Reading circle".to_owned()),
        ..direct_with(ben.id())
    };
    let key = fresh_uuid();
    let group = ada
        .rest
        .create_conversation(&new, Some(key))
        .await
        .expect("it is made");
    for rest in ada.rests() {
        let again = rest
            .create_conversation(&new, Some(key))
            .await
            .expect("it is there");
        assert_eq!(again.id, group.id);
    }
    assert_eq!(ada.log(group.id).await.len(), 1);

    let another = ada
        .rest
        .create_conversation(&new, Some(fresh_uuid()))
        .await
        .expect("it is made");
    assert_ne!(another.id, group.id, "another key is another group");
    let by_ben = CreateConversation {
        members: Some(vec![ada.id()]),
        ..new.clone()
    };
    let of_ben = ben
        .rest
        .create_conversation(&by_ben, Some(key))
        .await
        .expect("it is made");
    assert_ne!(
        of_ben.id, group.id,
        "keys belong to the one who makes the group"
    );

    let renamed = CreateConversation {
        title: Some("Another circle".to_owned()),
        ..new
    };
    let refused = ada
        .rest
        .create_conversation(&renamed, Some(key))
        .await
        .expect_err("another request");
    assert_eq!(
        refused.problem().expect("why").code,
        ErrorCode::IdempotencyMismatch
    );
    assert_eq!(ada.log(group.id).await.len(), 1);
}

fn assert_same_answer(first: &Value, again: &Value) {
    assert_eq!(again["duplicate"], json!(true), "{again}");
    for field in [
        "t",
        "id",
        "conversation_id",
        "epoch",
        "seq",
        "message_no",
        "at",
    ] {
        assert_eq!(again[field], first[field], "{field} of {again}");
    }
}

//! History pages and raw events.

use hubbub_testkit::fresh_uuid;
use hubbub_wire::rest::MessagesQuery;
use serde_json::{Value, json};

use crate::harness::deployment::World;
use crate::harness::person::Person;

/// Messages in the conversation that is paged through.
const MESSAGES: u64 = 23;

pub(crate) async fn history_is_paged_before_after_and_around(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    for n in 1..=MESSAGES {
        ada.say(chat, &format!("{n}")).await;
    }
    let page = |before_no, after_no, around_no, limit| MessagesQuery {
        before_no,
        after_no,
        around_no,
        limit: Some(limit),
        ..MessagesQuery::default()
    };
    let cases: Vec<(MessagesQuery, Vec<u64>)> = vec![
        (page(None, None, None, 5), (19..=23).collect()),
        (page(None, None, None, 200), (1..=23).collect()),
        (page(Some(19), None, None, 5), (14..=18).collect()),
        (page(Some(3), None, None, 5), (1..=2).collect()),
        (page(Some(1), None, None, 5), vec![]),
        (page(None, Some(0), None, 5), (1..=5).collect()),
        (page(None, Some(20), None, 5), (21..=23).collect()),
        (page(None, Some(23), None, 5), vec![]),
        (page(None, None, Some(10), 5), (8..=12).collect()),
        (page(None, None, Some(10), 1), vec![10]),
    ];
    for rest in [ada.rests(), ben.rests()].into_iter().flatten() {
        for (query, expected) in &cases {
            let page = rest
                .messages(chat, query)
                .await
                .expect("history can be read");
            let numbers: Vec<u64> = page
                .items
                .iter()
                .map(|message| message.message_no)
                .collect();
            assert_eq!(&numbers, expected, "{query:?}");
        }
    }
}

pub(crate) async fn cursors_of_history_pages_lead_through_all_of_it(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    for n in 1..=MESSAGES {
        ada.say(chat, &format!("{n}")).await;
    }
    // Backwards from the newest page, then forwards from the oldest message.
    for after_no in [None, Some(0)] {
        let mut query = MessagesQuery {
            after_no,
            limit: Some(5),
            ..MessagesQuery::default()
        };
        let mut pages = Vec::new();
        loop {
            let page = ben
                .rest
                .messages(chat, &query)
                .await
                .expect("history can be read");
            pages.push(
                page.items
                    .iter()
                    .map(|message| message.message_no)
                    .collect::<Vec<u64>>(),
            );
            assert!(pages.len() <= 6, "pages end: {pages:?}");
            match page.next_cursor {
                Some(cursor) => {
                    query = MessagesQuery {
                        limit: Some(5),
                        cursor: Some(cursor),
                        ..MessagesQuery::default()
                    }
                }
                None => break,
            }
        }
        if after_no.is_none() {
            pages.reverse();
        }
        assert_eq!(pages.concat(), (1..=MESSAGES).collect::<Vec<u64>>());
    }
}

pub(crate) async fn a_socket_asks_for_pages_as_well(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    for n in 1..=MESSAGES {
        ada.say(chat, &format!("{n}")).await;
    }
    let mut socket = ben.socket(&[]).await;
    let cases = [
        (json!({"limit": 5}), (19..=23).collect::<Vec<u64>>(), true),
        (
            json!({"before_no": 19, "limit": 5}),
            (14..=18).collect(),
            true,
        ),
        (
            json!({"before_no": 4, "limit": 5}),
            (1..=3).collect(),
            false,
        ),
        (json!({"after_no": 0, "limit": 5}), (1..=5).collect(), true),
        (
            json!({"after_no": 18, "limit": 5}),
            (19..=23).collect(),
            false,
        ),
        (
            json!({"around_no": 10, "limit": 5}),
            (8..=12).collect(),
            true,
        ),
    ];
    for (position, expected, has_more) in cases {
        let id = fresh_uuid();
        let mut frame = json!({"t": "history", "id": id, "conversation_id": chat});
        for (name, value) in position.as_object().expect("an object") {
            frame[name] = value.clone();
        }
        socket.send(&frame).await;
        let page = socket.find(|frame| frame["id"] == json!(id)).await;
        assert_eq!(
            (&page["t"], &page["conversation_id"]),
            (&json!("page"), &json!(chat)),
            "{page}"
        );
        let items = page["items"].as_array().expect("a page has items");
        let numbers: Vec<u64> = items
            .iter()
            .filter_map(|item| item["message_no"].as_u64())
            .collect();
        assert_eq!(numbers, expected, "{position}");
        assert_eq!(page["has_more"], json!(has_more), "{position}");
    }
}

pub(crate) async fn raw_events_tell_everything_that_happened(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let cid = Person::register(world, "cid", 1).await;
    let group = ada.group("Choir", &[&ben]).await;
    let id = fresh_uuid();
    let stored = ada
        .try_say(group, "la", Some(id))
        .await
        .expect("it is stored");
    ada.add(group, &cid).await;
    cid.rest
        .leave(group, None)
        .await
        .expect("anybody may leave");

    let mut logs = Vec::new();
    for rest in [ada.rests(), ben.rests()].into_iter().flatten() {
        logs.push(crate::harness::person::log(&rest, group).await);
    }
    assert!(
        logs.iter().all(|log| *log == logs[0]),
        "the same on every node, for everyone"
    );
    let log = &logs[0];
    let kinds: Vec<_> = log
        .iter()
        .map(|event| (event.seq, event.event.kind()))
        .collect();
    assert_eq!(
        kinds,
        [
            (1, "conversation_created"),
            (2, "message_sent"),
            (3, "member_added"),
            (4, "member_removed")
        ]
    );
    let said = &log[1];
    assert_eq!(
        (said.command_id, said.message_no, said.by),
        (id, Some(1), ada.id())
    );
    assert_eq!(
        (said.seq, said.epoch, said.at),
        (stored.seq, stored.epoch, stored.at)
    );
    assert!(
        log.windows(2).all(|pair| pair[0].at <= pair[1].at),
        "time never falls"
    );

    let answer = ben
        .http()
        .get(&format!("/conversations/{group}/events?from_seq=2&limit=2"))
        .await;
    let page = answer.json();
    let seqs: Vec<_> = page["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|event| event["seq"].clone())
        .collect();
    assert_eq!(seqs, [2, 3]);
    let cursor = page["next_cursor"].as_str().expect("there is one more");
    let rest = ben
        .http()
        .get(&format!(
            "/conversations/{group}/events?limit=2&cursor={cursor}"
        ))
        .await
        .json();
    assert_eq!(
        (&rest["items"][0]["seq"], &rest["next_cursor"]),
        (&json!(4), &Value::Null)
    );
}

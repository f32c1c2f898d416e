//! Cursors: what a socket gets of the past (P4).

use hubbub_testkit::fresh_uuid;
use hubbub_wire::client::Cursor;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::deployment::World;
use crate::harness::person::Person;
use crate::harness::raw_socket::{RawSocket, event_seqs, send_frame};

pub(crate) async fn a_resumed_socket_gets_exactly_what_it_missed_before_anything_new(
    world: &World,
) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    let quiet = ben.group("nothing happens here", &[]).await;
    let mut socket = ben.socket(&[]).await;
    ada.say(chat, "seen").await;
    let seen = socket.find(|frame| frame["data"]["body"] == "seen").await;
    let cursor = Cursor {
        conversation_id: chat,
        epoch: seen["epoch"].as_u64().expect("an event has an epoch"),
        seq: seen["seq"].as_u64().expect("an event has a seq"),
    };
    drop(socket);
    for n in 0..30 {
        ada.say(chat, &format!("missed {n}")).await;
    }

    // Ada goes on talking while ben comes back: on either node, nothing twice, nothing lost, `live` in its place.
    for url in &ben.urls {
        let mut socket = RawSocket::open(url, &ben.token).await;
        let cursors = [cursor, ben.head(quiet).await];
        let missed_at_least = ada.head(chat).await.seq;
        let talking = async {
            for n in 0..20 {
                ada.say(chat, &format!("meanwhile {n}")).await;
            }
            ada.say(chat, &format!("last at {url}")).await
        };
        let listening = async {
            socket.hello(&cursors).await;
            let mut frames = socket.collect_until(|frame| frame["t"] == "live").await;
            let caught_up = event_seqs(&frames, chat);
            let last = format!("last at {url}");
            frames.extend(
                socket
                    .collect_until(|frame| frame["data"]["body"] == last)
                    .await,
            );
            (caught_up, event_seqs(&frames, chat), frames)
        };
        let (last, (caught_up, all, frames)) = tokio::join!(talking, listening);
        assert_eq!(all, (cursor.seq + 1..=last.seq).collect::<Vec<u64>>());
        assert!(
            caught_up.last().is_some_and(|seq| *seq >= missed_at_least),
            "everything missed comes before live: {caught_up:?}"
        );
        assert_eq!(
            frames.iter().filter(|frame| frame["t"] == "live").count(),
            1
        );
        assert!(
            event_seqs(&frames, quiet).is_empty(),
            "nothing was missed there"
        );
    }
}

pub(crate) async fn a_hello_without_cursors_starts_live_everywhere(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    ada.say(chat, "old").await;
    let mut socket = ben.socket(&[]).await;
    let frames = socket.collect_until(|frame| frame["t"] == "live").await;
    assert!(event_seqs(&frames, chat).is_empty(), "{frames:?}");
    ada.say(chat, "new").await;
    let event = socket.frame("event").await;
    assert_eq!(event["data"]["body"], "new");
}

pub(crate) async fn cursors_of_unknown_conversations_are_passed_over(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let eve = Person::register(world, "eve", 1).await;
    let chat = ada.direct(&ben).await;
    ada.say(chat, "private").await;
    let mut socket = RawSocket::open(&eve.urls[0], &eve.token).await;
    let cursors: [Cursor; 2] = [(chat, 0, 0).into(), (fresh_uuid(), 0, 0).into()];
    socket
        .send(&json!({"t": "hello", "cursors": cursors}))
        .await;
    let frames = socket.collect_until(|frame| frame["t"] == "live").await;
    let types: Vec<_> = frames.iter().map(|frame| frame["t"].clone()).collect();
    assert_eq!(types, ["welcome", "live"]);
}

pub(crate) async fn a_cursor_more_than_a_thousand_events_behind_gets_a_resync(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    flood(&ada, chat, 1_100).await;
    let log = ben.log(chat).await;
    let head = log.last().expect("there are events").seq;
    assert_eq!(head, 1_101);
    let at = |behind: u64| {
        let event = &log[usize::try_from(head - behind - 1).expect("small")];
        Cursor::from((chat, event.epoch, event.seq))
    };

    for url in &ben.urls {
        let mut near = RawSocket::open(url, &ben.token).await;
        near.hello(&[at(1_000)]).await;
        let frames = near.collect_until(|frame| frame["t"] == "live").await;
        assert_eq!(
            event_seqs(&frames, chat),
            (head - 999..=head).collect::<Vec<u64>>()
        );
        assert!(frames.iter().all(|frame| frame["t"] != "resync"));

        let mut far = RawSocket::open(url, &ben.token).await;
        far.hello(&[at(1_001)]).await;
        let frames = far.collect_until(|frame| frame["t"] == "live").await;
        let resync: Vec<&Value> = frames
            .iter()
            .filter(|frame| frame["t"] == "resync")
            .collect();
        assert_eq!(resync.len(), 1, "{frames:?}");
        let epoch = log.last().expect("there are events").epoch;
        assert_eq!(resync[0]["conversations"], json!([[chat, epoch, head]]));
        assert!(event_seqs(&frames, chat).is_empty());
    }

    let mut far = ben.socket(&[at(1_050)]).await;
    far.frame("live").await;
    let mut library = ben.connect_from(vec![at(1_050)]).await;
    ada.say(chat, "after the resync").await;
    assert_eq!(far.frame("event").await["seq"], json!(head + 1));
    // The library fetches what lies between.
    library.message(chat, "after the resync").await;
    assert_eq!(
        library.delivered_seqs(chat),
        (head - 1_049..=head + 1).collect::<Vec<u64>>()
    );
}

pub(crate) async fn a_cursor_that_the_log_never_held_gets_a_reset(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    for n in 0..5 {
        ada.say(chat, &format!("{n}")).await;
    }
    let head = ada.head(chat).await;
    let made_up_epoch = Cursor {
        epoch: head.epoch + 1_000,
        seq: 3,
        ..head
    };
    let beyond_the_head = Cursor {
        seq: head.seq + 50,
        ..head
    };
    for url in &ben.urls {
        for cursor in [made_up_epoch, beyond_the_head] {
            let mut socket = RawSocket::open(url, &ben.token).await;
            socket.hello(&[cursor]).await;
            let frames = socket.collect_until(|frame| frame["t"] == "live").await;
            let reset = frames
                .iter()
                .find(|frame| frame["t"] == "reset")
                .expect("a reset");
            assert_eq!(reset["conversation_id"], json!(chat));
            let from_seq = reset["from_seq"].as_u64().expect("a number");
            assert!((1..=cursor.seq + 1).contains(&from_seq), "{reset}");
            // The stream goes on from there.
            let expected: Vec<u64> = (from_seq..=head.seq).collect();
            assert_eq!(event_seqs(&frames, chat), expected, "{frames:#?}");
        }
    }
    // Zero is before the first event, whatever the epoch.
    let start = Cursor {
        epoch: 77,
        seq: 0,
        ..head
    };
    let mut socket = ben.socket(&[start]).await;
    let frames = socket.collect_until(|frame| frame["t"] == "live").await;
    assert_eq!(
        event_seqs(&frames, chat),
        (1..=head.seq).collect::<Vec<u64>>()
    );
}

/// Says so many things as fast as one socket can.
async fn flood(person: &Person, conversation: Uuid, count: usize) {
    /// So many are on their way at once: below every permit of one person.
    const AT_ONCE: usize = 50;
    let mut socket = person.socket(&[]).await;
    let mut left = count;
    while left > 0 {
        let batch = left.min(AT_ONCE);
        for n in 0..batch {
            let frame = send_frame(fresh_uuid(), conversation, &format!("flood {n}"));
            socket.feed_text(frame.to_string()).await;
        }
        socket.send(&json!({"t": "ping", "n": left})).await;
        for _ in 0..batch {
            let answer = socket
                .find(|frame| frame["t"] == "ack" || frame["t"] == "error")
                .await;
            assert_eq!(answer["t"], "ack", "{answer}");
        }
        left -= batch;
    }
}

//! Cursors: what was missed comes first, in order, once; and faults of the bus do not show.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hubbub_bus::{Fault, Subject};
use hubbub_cluster::CommandRouter;
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_edge::{Doors, EdgeLimits};
use hubbub_testkit::fresh_uuid;
use serde_json::{Value, json};

use crate::owner::message;
use crate::rig::{PATIENCE, Person, Rig, Socket};

async fn say(rig: &Rig, who: &Person, conversation: uuid::Uuid, count: usize) {
    for n in 0..count {
        let command = message(
            ConversationId::from_uuid(conversation),
            UserId::from_uuid(who.id),
            &format!("m{n}"),
        );
        rig.owner
            .submit(command, false, PATIENCE, None)
            .await
            .unwrap();
    }
}

async fn events(socket: &mut Socket, count: usize) -> Vec<u64> {
    let mut seqs = Vec::new();
    while seqs.len() < count {
        let frame = socket.hear().await.unwrap();
        if frame["t"] == "event" {
            seqs.push(frame["seq"].as_u64().unwrap());
        }
    }
    seqs
}

/// Like [`events`], of a room whose creation may or may not have been given out before the socket was seated.
async fn events_behind_the_creation(socket: &mut Socket, count: usize) -> Vec<u64> {
    let mut seqs = events(socket, count).await;
    if seqs.first() == Some(&1) {
        seqs.remove(0);
        seqs.extend(events(socket, 1).await);
    }
    seqs
}

async fn epoch_of(rig: &Rig, who: &Person, conversation: uuid::Uuid) -> u64 {
    rig.api(who, "GET", &format!("/conversations/{conversation}"), None)
        .await
        .json()["epoch"]
        .as_u64()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_gets_exactly_what_it_missed_before_live() {
    let rig = Rig::with(2, EdgeLimits::default(), None).await;
    let ada = rig.person("ada").await;
    let group = rig.group(&ada, &[]).await;
    say(&rig, &ada, group, 300).await;
    let epoch = epoch_of(&rig, &ada, group).await;
    let mut socket = rig.socket_at(1, &ada, json!([[group, epoch, 100]])).await;
    let missed = socket.until("live").await;
    let seqs: Vec<u64> = missed
        .iter()
        .filter_map(|frame| frame["seq"].as_u64())
        .collect();
    assert_eq!(seqs, (101..=301).collect::<Vec<u64>>());
    say(&rig, &ada, group, 1).await;
    assert_eq!(events(&mut socket, 1).await, [302]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_current_cursor_and_unknown_ones_get_nothing() {
    let rig = Rig::start().await;
    let (ada, eve) = (rig.person("ada").await, rig.person("eve").await);
    let group = rig.group(&ada, &[]).await;
    say(&rig, &ada, group, 3).await;
    let epoch = epoch_of(&rig, &ada, group).await;
    let mut current = rig
        .socket_at(0, &ada, json!([[group, epoch, 4], [fresh_uuid(), 1, 7]]))
        .await;
    assert_eq!(current.until("live").await.len(), 1);
    let mut stranger = rig
        .socket_at(0, &eve, json!([[group, epoch, 1], [group, 0, 0]]))
        .await;
    assert_eq!(stranger.until("live").await.len(), 1);
    say(&rig, &ada, group, 1).await;
    assert_eq!(events(&mut current, 1).await, [5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seq_zero_is_the_beginning() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let group = rig.group(&ada, &[]).await;
    say(&rig, &ada, group, 3).await;
    let mut socket = rig.socket_at(0, &ada, json!([[group, 0, 0]])).await;
    assert_eq!(events(&mut socket, 4).await, [1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_too_far_behind_is_told_to_fetch() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let group = rig.group(&ada, &[]).await;
    say(&rig, &ada, group, 1_010).await;
    let epoch = epoch_of(&rig, &ada, group).await;
    let mut socket = rig.socket_at(0, &ada, json!([[group, epoch, 1]])).await;
    let frames = socket.until("live").await;
    assert_eq!(
        frames[0],
        json!({"t": "resync", "conversations": [[group, epoch, 1_011]]})
    );
    assert_eq!(frames.len(), 2);
    say(&rig, &ada, group, 1).await;
    assert_eq!(events(&mut socket, 1).await, [1_012]);
    // Exactly as many as are allowed is not too far.
    let mut near = rig.socket_at(0, &ada, json!([[group, epoch, 12]])).await;
    assert_eq!(
        events(&mut near, 1_000).await,
        (13..=1_012).collect::<Vec<u64>>()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unsound_cursor_is_reset() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let group = rig.group(&ada, &[]).await;
    say(&rig, &ada, group, 3).await;
    let epoch = epoch_of(&rig, &ada, group).await;
    for (cursor, from) in [
        (json!([group, epoch - 1, 2]), 1),
        (json!([group, epoch, 99]), 5),
    ] {
        let mut socket = rig.socket_at(0, &ada, json!([cursor])).await;
        let frames = socket.until("live").await;
        assert_eq!(
            frames[0],
            json!({"t": "reset", "conversation_id": group, "from_seq": from}),
            "{cursor}"
        );
        let seqs: Vec<u64> = frames
            .iter()
            .filter_map(|frame| frame["seq"].as_u64())
            .collect();
        assert_eq!(seqs, (from..=4).collect::<Vec<u64>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_from_before_a_removal_begins_at_the_own_joining() {
    let rig = Rig::start().await;
    let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
    let group = rig.group(&ada, &[&bob]).await;
    let epoch = epoch_of(&rig, &ada, group).await;
    let members = format!("/conversations/{group}/members");
    let mut watch = rig.socket(&ada).await;
    watch.one("live").await;
    rig.api(&ada, "DELETE", &format!("{members}/{}", bob.id), None)
        .await;
    // The node has given the removal out: a socket seated before that would rightly hear of it.
    watch.one("event").await;
    let mut out = rig.socket_at(0, &bob, json!([[group, epoch, 1]])).await;
    assert_eq!(out.until("live").await.len(), 1, "who is out hears nothing");
    rig.send(&ada, group, "meanwhile").await;
    rig.api(&ada, "POST", &members, Some(json!({"user_id": bob.id})))
        .await;
    rig.send(&ada, group, "back").await;
    let mut again = rig.socket_at(0, &bob, json!([[group, epoch, 1]])).await;
    let frames = again.until("live").await;
    let types: Vec<&str> = frames
        .iter()
        .map(|frame| frame["t"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["added", "event", "event", "live"]);
    assert_eq!(frames[1]["kind"], "member_added");
    assert_eq!(frames[1]["seq"], 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resuming_in_the_middle_of_a_stream_loses_and_repeats_nothing() {
    let rig = Rig::with(2, EdgeLimits::default(), None).await;
    let ada = rig.person("ada").await;
    let group = rig.group(&ada, &[]).await;
    let epoch = epoch_of(&rig, &ada, group).await;
    let talk = async { say(&rig, &ada, group, 600).await };
    let listen = async {
        let mut at = 1_u64;
        let mut edge = 0;
        while at < 601 {
            let mut socket = rig.socket_at(edge, &ada, json!([[group, epoch, at]])).await;
            edge = 1 - edge;
            for _ in 0..37 {
                if at == 601 {
                    break;
                }
                let frame = socket.one("event").await;
                assert_eq!(frame["seq"], json!(at + 1));
                at += 1;
            }
        }
    };
    tokio::join!(talk, listen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loss_doubling_and_delay_on_the_bus_do_not_show() {
    for inline in [true, false] {
        let rig = Rig::start().await;
        rig.owner.inline.store(inline, Ordering::SeqCst);
        let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
        let group = rig.group(&ada, &[&bob]).await;
        let mut socket = rig.socket(&bob).await;
        socket.one("live").await;
        let turn = AtomicU64::new(0);
        rig.bus.inject(move |subject| match subject {
            Subject::Events(_) => match turn.fetch_add(1, Ordering::SeqCst) % 5 {
                0 => Fault::Lose,
                1 => Fault::Duplicate,
                2 => Fault::Hold,
                _ => Fault::None,
            },
            _ => Fault::None,
        });
        say(&rig, &ada, group, 100).await;
        rig.bus.release_held();
        // The last one is lost for certain: only a head tells.
        rig.bus.inject(|subject| {
            if matches!(subject, Subject::Events(_)) {
                Fault::Lose
            } else {
                Fault::None
            }
        });
        say(&rig, &ada, group, 1).await;
        assert_eq!(
            events_behind_the_creation(&mut socket, 101).await,
            (2..=102).collect::<Vec<u64>>(),
            "inline: {inline}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_is_down_delays_events_and_loses_none() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let group = rig.group(&ada, &[]).await;
    let mut socket = rig.socket(&ada).await;
    socket.one("live").await;
    rig.bus.set_status(hubbub_bus::BusStatus::Down);
    say(&rig, &ada, group, 20).await;
    assert_eq!(
        events(&mut socket, 20).await,
        (2..=21).collect::<Vec<u64>>()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_resynced_and_others_are_not_held_up() {
    let rig = Rig::start().await;
    let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
    let group = rig.group(&ada, &[&bob]).await;
    let mut lazy = rig.socket(&bob).await;
    let mut eager = rig.socket(&ada).await;
    lazy.one("live").await;
    eager.one("live").await;
    let big = "x".repeat(16_000);
    let count = 1_200_u64;
    let talk = async {
        for _ in 0..count {
            let command = message(
                ConversationId::from_uuid(group),
                UserId::from_uuid(ada.id),
                &big,
            );
            rig.owner
                .submit(command, false, PATIENCE, None)
                .await
                .unwrap();
        }
    };
    let listen = async {
        let mut at = 1;
        while at < count + 1 {
            let Some(frame) = eager.hear().await else {
                panic!("closed {:?} behind {at}", eager.closed);
            };
            follow(&frame, &mut at);
        }
    };
    tokio::join!(talk, listen);
    let (mut at, mut resyncs) = (1, 0);
    while at < count + 1 {
        let Some(frame) = lazy.hear().await else {
            panic!("closed {:?} behind {at}", lazy.closed);
        };
        resyncs += u32::from(frame["t"] == "resync");
        follow(&frame, &mut at);
    }
    assert!(resyncs > 0, "19 MB cannot have fitted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_slowly_does_not_keep_others_from_resuming() {
    let doors = Doors {
        resumes_at_once: 1,
        ..Doors::default()
    };
    let limits = EdgeLimits {
        doors,
        ..EdgeLimits::default()
    };
    let rig = Rig::with(1, limits, None).await;
    let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
    let big = "x".repeat(16_000);
    let mut cursors = Vec::new();
    for _ in 0..2 {
        let group = rig.group(&ada, &[]).await;
        for _ in 0..900 {
            let (conversation, by) = (ConversationId::from_uuid(group), UserId::from_uuid(ada.id));
            let command = message(conversation, by, &big);
            let accepted = rig.owner.submit(command, false, PATIENCE, None).await;
            accepted.unwrap();
        }
        cursors.push(json!([group, 0, 0]));
    }
    let group = rig.group(&bob, &[]).await;
    say(&rig, &bob, group, 3).await;
    let mut slow = rig.socket_at(0, &ada, json!(cursors)).await;
    slow.one("event").await;
    let mut quick = rig.socket_at(0, &bob, json!([[group, 0, 0]])).await;
    let (mut read, mut heard) = (0, Vec::new());
    // It reads just fast enough not to be given up.
    while heard.last() != Some(&json!("live")) {
        match tokio::time::timeout(Duration::from_millis(100), quick.hear()).await {
            Ok(frame) => heard.push(frame.unwrap()["t"].clone()),
            Err(_elapsed) => read += usize::from(slow.hear().await.is_some()),
        }
    }
    assert_eq!(heard, ["event", "event", "event", "event", "live"]);
    // More than what fits into any buffer on the way is still to come.
    assert!(read < 300, "it waited until the slow one had read {read}");
    say(&rig, &bob, group, 1).await;
    assert_eq!(events(&mut quick, 1).await, [5]);
}

/// Rule 2: one more each time, or a jump where a resync says.
fn follow(frame: &Value, at: &mut u64) {
    match frame["t"].as_str().unwrap() {
        "event" => {
            assert_eq!(frame["seq"], json!(*at + 1));
            *at += 1;
        }
        "resync" => *at = frame["conversations"][0][2].as_u64().unwrap(),
        other => panic!("{other}"),
    }
}

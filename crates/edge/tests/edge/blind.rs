//! A node that does not hear.

use std::sync::atomic::Ordering;

use hubbub_bus::{Bus, BusStatus, Fault, Subject, SubjectPattern};
use hubbub_cluster::CommandRouter;
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_edge::EdgeLimits;
use hubbub_event_log::LogReader;
use hubbub_testkit::wait::eventually;
use hubbub_wire::bus::{EvBatch, EvEntry, RangeRequest};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::owner::message;
use crate::rig::{PATIENCE, Person, Rig, Socket, call};

/// As another node's command would: nothing of the edge takes part.
async fn say(rig: &Rig, who: &Person, group: Uuid, body: &str) {
    let command = message(
        ConversationId::from_uuid(group),
        UserId::from_uuid(who.id),
        body,
    );
    let accepted = rig.owner.submit(command, false, PATIENCE, None).await;
    accepted.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hears_nothing_sends_its_sockets_to_those_that_do() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let mut socket = rig.socket(&ada).await;
    socket.one("live").await;
    rig.neighbours.hear.store(true, Ordering::SeqCst);
    rig.bus.set_status(BusStatus::Down);
    assert_eq!(socket.end().await.1, Some(4503));
    let bearer = format!("Bearer {}", ada.token);
    let knock = [("authorization", bearer.as_str())];
    assert_eq!(Socket::connect(rig.addr(), &knock).await.err(), Some(503));
    let ready = call(rig.addr(), "GET", "/healthz/ready", &[], None).await;
    assert_eq!(ready.status, 503);
    eventually(PATIENCE, "the node to say so", async || {
        rig.metric(0, "hubbub_edge_blind").await == 1
    })
    .await;
    rig.bus.set_status(BusStatus::Up);
    eventually(PATIENCE, "the door to open again", async || {
        Socket::connect(rig.addr(), &knock).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_brings_nothing_is_noticed_although_it_looks_up() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let group = rig.group(&ada, &[]).await;
    let mut socket = rig.socket(&ada).await;
    socket.one("live").await;
    rig.bus.inject(|_| Fault::Lose);
    say(&rig, &ada, group, "by the log").await;
    assert_eq!(socket.one("event").await["data"]["body"], "by the log");
    eventually(PATIENCE, "the node to know", async || {
        rig.metric(0, "hubbub_edge_blind").await == 1
    })
    .await;
    rig.neighbours.hear.store(true, Ordering::SeqCst);
    assert_eq!(socket.end().await.1, Some(4503));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_nobody_hears_sockets_stay_and_are_served_from_the_log() {
    let rig = Rig::start().await;
    let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
    let group = rig.group(&ada, &[&bob]).await;
    let mut socket = rig.socket(&bob).await;
    socket.one("live").await;
    rig.bus.set_status(BusStatus::Down);
    for n in 0..30 {
        say(&rig, &ada, group, &n.to_string()).await;
        assert_eq!(socket.one("event").await["data"]["body"], n.to_string());
    }
    let members = format!("/conversations/{group}/members/{}", bob.id);
    assert_eq!(rig.api(&ada, "DELETE", &members, None).await.status, 204);
    say(&rig, &ada, group, "without bob").await;
    let last = socket.until("removed").await;
    assert!(
        last.iter()
            .all(|frame| frame["data"]["body"] != "without bob"),
        "{last:?}"
    );
    rig.bus.set_status(BusStatus::Up);
    rig.send(&ada, group, "still without").await;
    socket.say(&json!({"t": "ping", "n": 1})).await;
    assert_eq!(socket.hear().await.unwrap()["t"], "pong");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_ends_elsewhere_ends_here_also_while_nothing_is_heard() {
    for lost in [false, true] {
        let rig = Rig::with(2, EdgeLimits::default(), None).await;
        let ada = rig.person("ada").await;
        let mut socket = rig.socket(&ada).await;
        socket.one("live").await;
        if lost {
            rig.bus.inject(|subject| match subject {
                Subject::User | Subject::Heads => Fault::Lose,
                _ => Fault::None,
            });
        } else {
            rig.bus.set_status(BusStatus::Down);
        }
        let ended = rig.api_at(1, &ada, "POST", "/auth/logout", None).await;
        assert_eq!(ended.status, 204);
        assert_eq!(socket.end().await.1, Some(4401), "lost: {lost}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_filled_from_the_owners_ring() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let group = rig.group(&ada, &[]).await;
    let mut socket = rig.socket(&ada).await;
    socket.one("live").await;
    let subject = Subject::Range(rig.owner.me);
    let mut questions = rig
        .bus
        .subscribe(SubjectPattern::One(subject), 16)
        .await
        .unwrap();
    let (bus, log) = (rig.bus.clone(), rig.owner.log.clone());
    let ring = tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            let asked = RangeRequest::decode(&question.payload).unwrap();
            let rows = log.tail(asked.partition, asked.after, 100).await.unwrap();
            let batch = EvBatch {
                partition: asked.partition,
                epoch: rows[0].epoch,
                base_offset: rows[0].offset,
                events: rows
                    .into_iter()
                    .map(|row| EvEntry {
                        row,
                        recipients: None,
                    })
                    .collect(),
            };
            bus.reply(question.reply.unwrap(), batch.encode())
                .await
                .unwrap();
        }
    });
    rig.bus.inject(|subject| match subject {
        Subject::Events(_) => Fault::Lose,
        _ => Fault::None,
    });
    say(&rig, &ada, group, "lost").await;
    rig.bus.heal();
    say(&rig, &ada, group, "found").await;
    for body in ["lost", "found"] {
        assert_eq!(socket.one("event").await["data"]["body"], body);
    }
    assert_eq!(rig.metric(0, "hubbub_feed_healed_by_ring_total").await, 1);
    assert_eq!(rig.metric(0, "hubbub_feed_healed_by_log_total").await, 0);
    ring.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_whose_members_are_read_too_slowly_is_resynced_and_nobody_is_closed() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let good = rig.group(&ada, &[]).await;
    let mut socket = rig.socket(&ada).await;
    socket.one("live").await;
    rig.owner.inline.store(false, Ordering::SeqCst);
    let slow = rig.owner.faults.members.write().await;
    let room = rig.group(&ada, &[]).await;
    let many = 4_200;
    for _ in 0..many {
        say(&rig, &ada, room, "x").await;
    }
    rig.owner.inline.store(true, Ordering::SeqCst);
    say(&rig, &ada, good, "not held up").await;
    assert_eq!(socket.one("event").await["data"]["body"], "not held up");
    rig.owner.inline.store(false, Ordering::SeqCst);
    drop(slow);
    let added = socket.hear().await.unwrap();
    assert_eq!(
        (&added["t"], &added["conversation"]["id"]),
        (&json!("added"), &json!(room))
    );
    let resync = socket.hear().await.unwrap();
    assert_eq!(resync["t"], "resync", "{resync}");
    let mut at = resync["conversations"][0][2].as_u64().unwrap();
    assert!(at > 4_000, "{resync}");
    say(&rig, &ada, room, "behind it").await;
    loop {
        let event = socket.one("event").await;
        assert_eq!(event["seq"], json!(at + 1));
        at += 1;
        if event["data"]["body"] == "behind it" {
            break;
        }
    }
    assert_eq!(at, many + 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_missed_nothing_is_let_in_without_a_question_to_the_stores() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let mut cursors = Vec::new();
    for _ in 0..20 {
        let group = rig.group(&ada, &[]).await;
        let sent = rig.send(&ada, group, "the last one").await;
        cursors.push(json!([group, sent["epoch"], sent["seq"]]));
    }
    // What was sent is given out here before the next socket is seated.
    let mut first = rig.socket_at(0, &ada, Value::Array(cursors.clone())).await;
    first.one("live").await;
    let asked = || {
        rig.log.asked.load(Ordering::SeqCst)
            + usize::try_from(rig.owner.faults.asked.load(Ordering::SeqCst)).unwrap()
    };
    let before = asked();
    for _ in 0..10 {
        let mut again = rig.socket_at(0, &ada, Value::Array(cursors.clone())).await;
        assert_eq!(again.until("live").await.len(), 1);
    }
    assert_eq!(asked(), before);
    assert!(
        rig.metric(0, "hubbub_edge_resumes_without_query_total")
            .await
            >= 200
    );
}

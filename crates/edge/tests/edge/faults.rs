//! Faults around the edge: lost messages, answers that come late, an owner that is not heard, a conversation that cannot be read.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hubbub_bus::{Fault, Subject};
use hubbub_cluster::CommandRouter;
use hubbub_domain::conversation::{
    Command, Intent, Kind, NewConversation, RequestKey, Settings, Visibility,
};
use hubbub_domain::ids::{CommandId, ConversationId, UserId};
use hubbub_edge::EdgeLimits;
use hubbub_event_log::LogReader;
use hubbub_testkit::fresh_uuid;
use hubbub_testkit::wait::eventually;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::owner::{PARTITIONS, message};
use crate::rig::{PATIENCE, Person, Rig, Socket, call};

fn conversation(id: Uuid) -> ConversationId {
    ConversationId::from_uuid(id)
}

fn user(who: &Person) -> UserId {
    UserId::from_uuid(who.id)
}

/// As another node's command would: nothing of the edge takes part.
async fn create(rig: &Rig, who: &Person, key: CommandId, members: Vec<UserId>) {
    let new = NewConversation {
        kind: Kind::Group,
        members,
        title: Some("a group".to_owned()),
        topic: None,
        visibility: Visibility::Private,
        settings: Settings::default(),
        request_key: RequestKey::from_bytes([0; 32]),
    };
    let create = Command {
        id: key,
        conversation: ConversationId::created(user(who), key),
        by: user(who),
        intent: Intent::Create(new),
    };
    rig.owner
        .submit(create, false, PATIENCE, None)
        .await
        .unwrap();
}

/// As another node's command would: nothing of the edge takes part.
async fn say(rig: &Rig, who: &Person, group: Uuid, body: &str) {
    let command = message(conversation(group), user(who), body);
    rig.owner
        .submit(command, false, PATIENCE, None)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_without_recipients_reaches_everyone_named() {
    for lost in [false, true] {
        let rig = Rig::start().await;
        let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
        let (mut one, mut other) = (rig.socket(&ada).await, rig.socket(&bob).await);
        one.one("live").await;
        other.one("live").await;
        if lost {
            // Read from the log, an event has no recipients.
            rig.bus.inject(|subject| match subject {
                Subject::Events(_) => Fault::Lose,
                _ => Fault::None,
            });
        } else {
            rig.owner.inline.store(false, Ordering::SeqCst);
        }
        let group = rig.group(&ada, &[&bob]).await;
        rig.bus.heal();
        for socket in [&mut one, &mut other] {
            let added = socket.hear().await.unwrap();
            assert_eq!(added["t"], "added", "lost: {lost}");
            assert_eq!(added["conversation"]["id"], json!(group));
            let event = socket.hear().await.unwrap();
            assert_eq!(
                (&event["kind"], &event["seq"]),
                (&json!("conversation_created"), &json!(1)),
                "lost: {lost}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_is_not_heard_is_followed_by_the_log() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let group = rig.group(&ada, &[]).await;
    let mut socket = rig.socket(&ada).await;
    socket.one("live").await;
    let partition = PARTITIONS.partition_of(conversation(group));
    // The other partitions go on telling where they stand.
    *rig.owner.faults.silent.lock() = Some(partition);
    rig.bus.inject(move |subject| {
        if subject == Subject::Events(partition) {
            Fault::Lose
        } else {
            Fault::None
        }
    });
    say(&rig, &ada, group, "unheard").await;
    assert_eq!(socket.one("event").await["data"]["body"], "unheard");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_that_cannot_be_read_keeps_nobody_from_the_others() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let (bad, good) = (rig.group(&ada, &[]).await, rig.group(&ada, &[]).await);
    say(&rig, &ada, bad, "x").await;
    say(&rig, &ada, good, "y").await;
    *rig.owner.faults.unreadable.lock() = Some(conversation(bad));
    let cursors = json!([[bad, 1, 1], [good, 0, 0]]);
    let mut socket = rig.socket_at(0, &ada, cursors).await;
    let frames = socket.until("live").await;
    let of_good = |frame: &&Value| frame["conversation_id"] == json!(good);
    assert_eq!(frames.iter().filter(of_good).count(), 2, "{frames:?}");
    say(&rig, &ada, good, "z").await;
    assert_eq!(socket.one("event").await["data"]["body"], "z");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_answer_about_sessions_does_not_close_a_newer_one() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let mut old = rig.socket(&ada).await;
    old.one("live").await;
    let short = login(&rig, &ada).await;
    rig.gate.set_shut(true);
    let ended = rig.api(&short, "POST", "/auth/logout", None).await;
    assert_eq!(ended.status, 204);
    rig.gate.until_held(true).await;
    let newer = login(&rig, &ada).await;
    let mut socket = rig.socket(&newer).await;
    socket.one("live").await;
    rig.gate.set_shut(false);
    rig.gate.until_held(false).await;
    // What is asked now comes after what waited.
    let ended = rig.api(&ada, "POST", "/auth/logout", None).await;
    assert_eq!(ended.status, 204);
    assert_eq!(old.end().await.1, Some(4401));
    socket.say(&json!({"t": "ping", "n": 1})).await;
    socket.one("pong").await;
}

async fn login(rig: &Rig, who: &Person) -> Person {
    let login = json!({"username": who.name, "password": "a long enough passphrase 7"});
    let answer = call(rig.addr(), "POST", "/api/v1/auth/login", &[], Some(&login)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    Person {
        token: answer.json()["token"].as_str().unwrap().to_owned(),
        ..who.clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_end_where_access_was_judged() {
    let rig = Rig::start().await;
    let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
    let group = rig.group(&ada, &[&bob]).await;
    say(&rig, &ada, group, "for both").await;
    let removal = Command {
        id: CommandId::from_uuid(fresh_uuid()),
        conversation: conversation(group),
        by: user(&ada),
        intent: Intent::RemoveMember { user: user(&bob) },
    };
    let behind = message(conversation(group), user(&ada), "without bob");
    *rig.owner.faults.meanwhile.lock() = vec![removal, behind];
    let path = format!("/conversations/{group}/events");
    let answer = rig.api(&bob, "GET", &path, None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let items = answer.json()["items"].clone();
    let seqs: Vec<&Value> = items
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["seq"])
        .collect();
    assert_eq!(seqs, [&json!(1), &json!(2)], "{items}");
    assert_eq!(rig.api(&bob, "GET", &path, None).await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_that_the_owner_loses_is_sent_again() {
    let rig = Rig::start().await;
    let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
    let group = rig.group(&ada, &[&bob]).await;
    say(&rig, &ada, group, "read me").await;
    let mut socket = rig.socket(&bob).await;
    socket.one("live").await;
    rig.owner.faults.lost_marks.store(2, Ordering::SeqCst);
    socket
        .say(&json!({"t": "mark", "conversation_id": group, "read_no": 1}))
        .await;
    let marker = socket.one("marker").await;
    assert_eq!(
        (&marker["user_id"], &marker["read_no"]),
        (&json!(bob.id), &json!(1))
    );
    assert_eq!(rig.owner.faults.lost_marks.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_room_whose_members_cannot_be_read_closes_no_socket() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let good = rig.group(&ada, &[]).await;
    let mut socket = rig.socket(&ada).await;
    socket.one("live").await;
    let key = CommandId::from_uuid(fresh_uuid());
    let bad = ConversationId::created(user(&ada), key).uuid();
    rig.owner.inline.store(false, Ordering::SeqCst);
    *rig.owner.faults.unreadable.lock() = Some(conversation(bad));
    create(&rig, &ada, key, vec![]).await;
    // More than one room may hold while its members are read.
    for _ in 0..4_100 {
        say(&rig, &ada, bad, "x").await;
    }
    say(&rig, &ada, good, "y").await;
    assert_eq!(socket.one("event").await["data"]["body"], "y");
}

/// A socket that was caught up to the creation of this group, and has heard nothing of it since.
async fn caught_up(rig: &Rig, who: &Person, group: Uuid) -> Socket {
    let mut socket = rig.socket_at(0, who, json!([[group, 0, 0]])).await;
    let frames = socket.until("live").await;
    assert_eq!(frames.len(), 2, "{frames:?}");
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_cannot_be_read_closes_no_socket_that_was_caught_up_before_it() {
    let rig = Rig::start().await;
    let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
    let group = rig.group(&ada, &[&bob]).await;
    let mut socket = caught_up(&rig, &bob, group).await;
    rig.owner.faults.rotten.store(true, Ordering::SeqCst);
    say(&rig, &ada, group, "never to be read").await;
    say(&rig, &ada, group, "behind it").await;
    let event = socket.one("event").await;
    assert_eq!(
        (&event["seq"], &event["data"]["body"]),
        (&json!(3), &json!("behind it"))
    );
}

/// Says things until members were asked for so often. Every further question shows that what waited for the one before it was given up.
async fn say_until_asked(rig: &Rig, who: &Person, group: Uuid, times: u32) {
    let asked = || rig.owner.faults.members_asked.load(Ordering::SeqCst);
    let before = asked();
    eventually(PATIENCE, "members to be asked for", async || {
        say(rig, who, group, "for nobody").await;
        asked() >= before + times
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_cannot_be_read_for_a_while_close_no_socket_that_was_caught_up() {
    let rig = Rig::start().await;
    let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
    rig.owner.inline.store(false, Ordering::SeqCst);
    let key = CommandId::from_uuid(fresh_uuid());
    let group = ConversationId::created(user(&ada), key).uuid();
    *rig.owner.faults.unreadable.lock() = Some(conversation(group));
    create(&rig, &ada, key, vec![user(&bob)]).await;
    say_until_asked(&rig, &ada, group, 2).await;
    let head = rig.owner.log.conversation_head(conversation(group)).await;
    let head = head.unwrap().unwrap();
    let cursor = json!([[group, head.epoch.get(), head.seq.get()]]);
    let mut socket = rig.socket_at(0, &bob, cursor).await;
    socket.one("live").await;
    // One question may still be about what came before.
    say_until_asked(&rig, &ada, group, 3).await;
    *rig.owner.faults.unreadable.lock() = None;
    // What waits for the last answer may be given up as well.
    let event = loop {
        say(&rig, &ada, group, "for everyone").await;
        let event = socket.one("event");
        if let Ok(event) = tokio::time::timeout(Duration::from_millis(100), event).await {
            break event;
        }
    };
    assert!(event["seq"].as_u64() > Some(head.seq.get() + 1), "{event}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_has_left_is_not_caught_up_any_further() {
    let limits = EdgeLimits {
        sockets_per_user: 1,
        ..EdgeLimits::default()
    };
    let rig = Rig::with(1, limits, None).await;
    let ada = rig.person("ada").await;
    let group = rig.group(&ada, &[]).await;
    let asked = || rig.owner.faults.asked.load(Ordering::SeqCst);
    let before = asked();
    // Nobody hears more from the read models until this is let go.
    let busy = rig.owner.inner.lock().await;
    let cursors: Vec<Value> = (0..400).map(|_| json!([fresh_uuid(), 1, 1])).collect();
    let socket = rig.socket_at(0, &ada, json!(cursors)).await;
    eventually(PATIENCE, "reads under way", async || asked() > before).await;
    drop(socket);
    eventually(PATIENCE, "the seat to be free", async || {
        let mut next = rig.knock(0, &ada, json!([])).await;
        next.hear()
            .await
            .is_some_and(|frame| frame["t"] == "welcome")
    })
    .await;
    drop(busy);
    // Each of these waits for its turn among the reads of the catch-up, if it goes on.
    for _ in 0..50 {
        let path = format!("/conversations/{group}/messages");
        assert_eq!(rig.api(&ada, "GET", &path, None).await.status, 200);
    }
    assert!(
        asked() - before - 50 < 50,
        "{} reads for nobody",
        asked() - before - 50
    );
}

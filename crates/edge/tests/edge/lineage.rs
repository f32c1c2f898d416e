//! A failover that lost commits: whoever got what is gone is told so, and everything goes on from what is left.

use std::sync::atomic::Ordering;

use hubbub_bus::{Fault, Subject};
use hubbub_cluster::CommandRouter;
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::PartitionId;
use hubbub_testkit::wait::eventually;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::owner::{PARTITIONS, message};
use crate::rig::{PATIENCE, Person, Rig, Socket};

/// As another node's command would: nothing of the edge takes part.
async fn say(rig: &Rig, who: &Person, group: Uuid, body: &str) {
    let (group, by) = (ConversationId::from_uuid(group), UserId::from_uuid(who.id));
    let accepted = rig
        .owner
        .submit(message(group, by, body), false, PATIENCE, None);
    accepted.await.unwrap();
}

async fn live(rig: &Rig, who: &Person) -> Socket {
    let mut socket = rig.socket(who).await;
    socket.one("live").await;
    socket
}

/// Says something and waits until the socket has it.
async fn heard(rig: &Rig, who: &Person, group: Uuid, body: &str, socket: &mut Socket) {
    say(rig, who, group, body).await;
    assert_eq!(socket.one("event").await["data"]["body"], body);
}

fn partition(group: Uuid) -> PartitionId {
    PARTITIONS.partition_of(ConversationId::from_uuid(group))
}

/// Another group whose events go with those of the first one, or do not.
async fn neighbour(rig: &Rig, group: Uuid, who: &Person, others: &[&Person], near: bool) -> Uuid {
    loop {
        let other = rig.group(who, others).await;
        if (partition(other) == partition(group)) == near {
            return other;
        }
    }
}

async fn losses(rig: &Rig) -> u64 {
    rig.metric(0, "hubbub_feed_lineage_losses_total").await
}

/// The socket hears nothing before the answer to what is asked now.
async fn hears_nothing(socket: &mut Socket) {
    socket.say(&json!({"t": "ping", "n": 1})).await;
    assert_eq!(socket.hear().await.unwrap()["t"], "pong");
}

fn reset(group: Uuid, from: u64) -> Value {
    json!({"t": "reset", "conversation_id": group, "from_seq": from})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_is_still_catching_up_is_told_of_a_loss_as_well() {
    let rig = Rig::start().await;
    let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
    let group = rig.group(&ada, &[&bob]).await;
    let mut watch = live(&rig, &ada).await;
    heard(&rig, &ada, group, "kept", &mut watch).await;
    let image = rig.owner.log.image();
    *rig.owner.faults.judged_late.lock() = Some(UserId::from_uuid(bob.id));
    let judged = rig.owner.faults.access.write().await;
    let mut socket = rig.socket_at(0, &bob, json!([[group, 0, 0]])).await;
    heard(&rig, &ada, group, "lost", &mut watch).await;
    rig.owner.fail_over_to(image).await;
    // Both sockets are held for it at once; this one needs nothing that waits.
    assert_eq!(watch.one("reset").await, reset(group, 3));
    drop(judged);
    let frames = socket.until("reset").await;
    assert_eq!(frames.last(), Some(&reset(group, 3)), "{frames:?}");
    say(&rig, &ada, group, "instead").await;
    for socket in [&mut socket, &mut watch] {
        let event = socket.one("event").await;
        assert_eq!(
            (&event["seq"], &event["data"]["body"]),
            (&json!(3), &json!("instead"))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_a_failover_took_are_reset_on_live_sockets_and_others_do_not_notice() {
    let rig = Rig::start().await;
    let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
    let group = rig.group(&ada, &[&bob]).await;
    let other = neighbour(&rig, group, &ada, &[&bob], false).await;
    let mut socket = live(&rig, &bob).await;
    heard(&rig, &ada, group, "kept", &mut socket).await;
    let image = rig.owner.log.image();
    heard(&rig, &ada, group, "lost", &mut socket).await;
    rig.owner.fail_over_to(image).await;
    assert_eq!(socket.hear().await.unwrap(), reset(group, 3));
    assert_eq!(losses(&rig).await, 1);
    say(&rig, &ada, other, "as ever").await;
    assert_eq!(socket.hear().await.unwrap()["data"]["body"], "as ever");
    say(&rig, &ada, group, "instead").await;
    let event = socket.hear().await.unwrap();
    assert_eq!(
        (&event["seq"], &event["data"]["body"]),
        (&json!(3), &json!("instead"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_next_owner_stored_before_anyone_heard_of_it_reaches_the_untouched() {
    let rig = Rig::start().await;
    let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
    let group = rig.group(&ada, &[&bob]).await;
    let near = neighbour(&rig, group, &ada, &[&bob], true).await;
    let mut socket = live(&rig, &bob).await;
    heard(&rig, &ada, near, "before", &mut socket).await;
    let image = rig.owner.log.image();
    heard(&rig, &ada, group, "lost", &mut socket).await;
    rig.bus.inject(|subject| match subject {
        Subject::Events(_) | Subject::Heads => Fault::Lose,
        _ => Fault::None,
    });
    rig.owner.fail_over_to(image).await;
    for body in ["instead", "more"] {
        say(&rig, &ada, near, body).await;
    }
    rig.bus.heal();
    // The loss is told, and nothing of what is new is lost or comes twice.
    let mut bodies = Vec::new();
    let mut resets = 0;
    while bodies.len() < 2 {
        let frame = socket.hear().await.unwrap();
        if frame["t"] == "reset" {
            assert_eq!(frame, reset(group, 2));
            resets += 1;
        } else {
            assert_eq!(frame["conversation_id"], json!(near), "{frame}");
            assert_eq!(frame["seq"], json!(3 + bodies.len()), "{frame}");
            bodies.push(frame["data"]["body"].clone());
        }
    }
    assert_eq!(bodies, [json!("instead"), json!("more")]);
    if resets == 0 {
        assert_eq!(socket.hear().await.unwrap(), reset(group, 2));
    }
    say(&rig, &ada, group, "in its place").await;
    let event = socket.hear().await.unwrap();
    assert_eq!(
        (&event["seq"], &event["data"]["body"]),
        (&json!(2), &json!("in its place"))
    );
    hears_nothing(&mut socket).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_the_members_of_a_room_is_not_given_out_once_it_is_lost() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let mut socket = live(&rig, &ada).await;
    rig.owner.inline.store(false, Ordering::SeqCst);
    let slow = rig.owner.faults.members.write().await;
    let group = rig.group(&ada, &[]).await;
    let image = rig.owner.log.image();
    say(&rig, &ada, group, "lost").await;
    let stored = rig.owner.stored().await;
    eventually(PATIENCE, "the edge to hold it", async || {
        rig.metric(0, "hubbub_feed_events_total").await >= stored
    })
    .await;
    rig.owner.fail_over_to(image).await;
    eventually(PATIENCE, "the edge to notice", async || {
        losses(&rig).await == 1
    })
    .await;
    drop(slow);
    assert_eq!(
        socket.one("added").await["conversation"]["id"],
        json!(group)
    );
    assert_eq!(socket.one("event").await["kind"], "conversation_created");
    say(&rig, &ada, group, "instead").await;
    let event = socket.hear().await.unwrap();
    assert_eq!(
        (&event["seq"], &event["data"]["body"]),
        (&json!(2), &json!("instead"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_members_that_were_read_before_and_after_a_loss_is_given_out_unless_it_is_lost()
 {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let mut socket = live(&rig, &ada).await;
    rig.owner.inline.store(false, Ordering::SeqCst);
    let members = rig.owner.faults.members.write().await;
    let group = rig.group(&ada, &[]).await;
    say(&rig, &ada, group, "kept").await;
    let image = rig.owner.log.image();
    say(&rig, &ada, group, "lost").await;
    let stored = rig.owner.stored().await;
    eventually(PATIENCE, "the edge to hold it", async || {
        rig.metric(0, "hubbub_feed_events_total").await >= stored
    })
    .await;
    // The members are those after the lost event, and what led to them is gone when it is asked for.
    let rows = rig.log.rows.write().await;
    drop(members);
    eventually(PATIENCE, "the members to be folded", async || {
        rig.log.asked.load(Ordering::SeqCst) > 0
    })
    .await;
    rig.owner.fail_over_to(image).await;
    eventually(PATIENCE, "the edge to notice", async || {
        losses(&rig).await == 1
    })
    .await;
    drop(rows);
    assert_eq!(socket.one("event").await["kind"], "conversation_created");
    assert_eq!(socket.one("event").await["data"]["body"], "kept");
    heard(&rig, &ada, group, "instead", &mut socket).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_a_lost_event_had_let_in_is_taken_out_again() {
    let rig = Rig::start().await;
    let (ada, eve) = (rig.person("ada").await, rig.person("eve").await);
    let group = rig.group(&ada, &[]).await;
    let (mut inside, mut outside) = (live(&rig, &ada).await, live(&rig, &eve).await);
    let image = rig.owner.log.image();
    let members = format!("/conversations/{group}/members");
    let added = rig.api(&ada, "POST", &members, Some(json!({"user_id": eve.id})));
    assert!(added.await.status < 300);
    assert_eq!(outside.until("event").await[0]["t"], "added");
    rig.owner.fail_over_to(image).await;
    assert_eq!(
        outside.hear().await.unwrap(),
        json!({"t": "removed", "conversation_id": group, "reason": "removed"})
    );
    assert_eq!(inside.one("reset").await, reset(group, 2));
    heard(&rig, &ada, group, "among us", &mut inside).await;
    hears_nothing(&mut outside).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_a_lost_event_had_put_out_gets_the_room_back() {
    let rig = Rig::start().await;
    let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
    let group = rig.group(&ada, &[&bob]).await;
    let mut socket = live(&rig, &bob).await;
    let image = rig.owner.log.image();
    let member = format!("/conversations/{group}/members/{}", bob.id);
    assert_eq!(rig.api(&ada, "DELETE", &member, None).await.status, 204);
    socket.one("removed").await;
    rig.owner.fail_over_to(image).await;
    let added = socket.hear().await.unwrap();
    assert_eq!(
        (&added["t"], &added["conversation"]["id"]),
        (&json!("added"), &json!(group))
    );
    heard(&rig, &ada, group, "welcome back", &mut socket).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_that_never_was_is_taken_from_everyone() {
    let rig = Rig::start().await;
    let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
    let mut sockets = [live(&rig, &ada).await, live(&rig, &bob).await];
    let image = rig.owner.log.image();
    let group = rig.group(&ada, &[&bob]).await;
    for socket in &mut sockets {
        assert_eq!(socket.until("event").await[0]["t"], "added");
    }
    rig.owner.fail_over_to(image).await;
    for socket in &mut sockets {
        assert_eq!(
            socket.hear().await.unwrap(),
            json!({"t": "removed", "conversation_id": group, "reason": "removed"})
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_that_cannot_be_read_keeps_no_other_from_going_on() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let bad = rig.group(&ada, &[]).await;
    let good = neighbour(&rig, bad, &ada, &[], true).await;
    let mut socket = live(&rig, &ada).await;
    let image = rig.owner.log.image();
    for group in [bad, good] {
        heard(&rig, &ada, group, "lost", &mut socket).await;
    }
    *rig.log.unreadable.lock() = Some(ConversationId::from_uuid(bad));
    rig.owner.fail_over_to(image).await;
    assert_eq!(socket.hear().await.unwrap(), reset(good, 2));
    heard(&rig, &ada, good, "instead", &mut socket).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_at_what_is_left_that_panics_sends_everyone_to_resume() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let group = rig.group(&ada, &[]).await;
    let mut socket = live(&rig, &ada).await;
    let image = rig.owner.log.image();
    say(&rig, &ada, group, "lost").await;
    let lost = socket.one("event").await;
    rig.log.panics.store(true, Ordering::SeqCst);
    rig.owner.fail_over_to(image).await;
    assert_eq!(socket.end().await.1, Some(4503));
    let cursors = json!([[group, lost["epoch"], lost["seq"]]]);
    let mut again = rig.socket_at(0, &ada, cursors).await;
    assert_eq!(again.hear().await.unwrap(), reset(group, 2));
    again.one("live").await;
    heard(&rig, &ada, group, "instead", &mut again).await;
}

//! A failover that lost commits: whoever got what is gone is told so, and everything goes on from what is left.

use hubbub_cluster::CommandRouter;
use hubbub_domain::ids::{ConversationId, UserId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::owner::message;
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

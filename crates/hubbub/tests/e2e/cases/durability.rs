//! What a restart keeps. These cases have a deployment of their own, since they end its processes.

use std::collections::BTreeMap;

use hubbub_testkit::fresh_uuid;
use hubbub_wire::client::outbound::Ack;
use hubbub_wire::client::{Cursor, close};
use hubbub_wire::rest::MessagesQuery;
use uuid::Uuid;

use crate::harness::deployment::Deployment;
use crate::harness::listener::{body_of, until_stored};
use crate::harness::person::Person;

/// How often the node is killed in mid-traffic.
const KILLS: usize = 10;
/// Messages acked between a start and the next kill.
const ACKED_PER_ROUND: usize = 25;

pub(crate) async fn a_restart_after_sigterm_keeps_everything(deployment: &mut Deployment) {
    let ada = Person::register(deployment, "ada", 0).await;
    let ben = Person::register(deployment, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    let key = fresh_uuid();
    for n in 1..=5 {
        ada.say(chat, &format!("{n}")).await;
    }
    let stored = ada
        .try_say(chat, "six", Some(key))
        .await
        .expect("it is stored");
    ben.rest.marker(chat, 4).await.expect("marking works");
    let before = (
        ada.log(chat).await,
        ada.history(chat).await,
        ben.inbox_entry(chat).await,
    );
    assert_eq!(before.2.unread, 2);

    let mut ada_hears = ada.connect_from(vec![Cursor::from((chat, 0, 0))]).await;
    ada_hears.message(chat, "six").await;
    let mut sockets = vec![ada.socket(&[]).await, ben.socket(&[]).await];
    for node in &mut deployment.nodes {
        node.terminate();
    }
    for socket in &mut sockets {
        assert_eq!(socket.closed().await, Some(close::RESTART));
    }
    for node in &mut deployment.nodes {
        assert_eq!(node.ended().await, Some(0), "{} ends in order", node.name());
    }
    for node in &mut deployment.nodes {
        node.restart().await;
    }

    assert_eq!(ada.log(chat).await, before.0);
    assert_eq!(ada.history(chat).await, before.1);
    assert_eq!(ben.inbox_entry(chat).await, before.2);
    let again = ada.say_until_stored_as(key, chat, "six").await;
    assert_eq!(again, stored, "the id is known after the restart");
    // The session lives on, and the library comes back by itself.
    let last = ben.say_until_stored(chat, "seven").await;
    ada_hears.message(chat, "seven").await;
    assert_eq!(
        ada_hears.delivered_seqs(chat),
        (1..=last.seq).collect::<Vec<u64>>()
    );
}

pub(crate) async fn a_node_killed_in_mid_traffic_keeps_every_acked_message_exactly_once(
    deployment: &mut Deployment,
) {
    let ada = Person::register(deployment, "ada", 0).await;
    let ben = Person::register(deployment, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    let mut ben_hears = ben.connect_from(vec![Cursor::from((chat, 0, 0))]).await;
    let ada_says = ada.connect().await;

    let mut sent: BTreeMap<Uuid, String> = BTreeMap::new();
    let mut acked: BTreeMap<Uuid, Ack> = BTreeMap::new();
    for round in 0..KILLS {
        let mut open = Vec::new();
        // So many are on their way when the node dies: twice what this round waits for.
        for n in 0..2 * ACKED_PER_ROUND {
            let body = format!("round {round} message {n}");
            let receipt = ada_says
                .client
                .send(chat, body.clone())
                .await
                .expect("the client runs");
            sent.insert(receipt.id(), body.clone());
            open.push((receipt, body));
        }
        let rest = open.split_off(ACKED_PER_ROUND);
        for (receipt, body) in open {
            let ack = until_stored(&ada_says.client, receipt, chat, &body).await;
            acked.insert(ack.id, ack);
        }
        deployment.nodes[0].kill();
        deployment.nodes[0].restart().await;
        // The node is back: no need to wait as long as one should who does not know.
        for listener in [&ada_says, &ben_hears] {
            listener.client.force_reconnect(0).await;
        }
        for (receipt, body) in rest {
            let ack = until_stored(&ada_says.client, receipt, chat, &body).await;
            acked.insert(ack.id, ack);
        }
    }
    let last = ben.say_until_stored(chat, "the end").await;
    ben_hears.message(chat, "the end").await;

    let log = ada.log(chat).await;
    let seqs: Vec<u64> = log.iter().map(|event| event.seq).collect();
    assert_eq!(
        seqs,
        (1..=last.seq).collect::<Vec<u64>>(),
        "one order without holes"
    );
    assert_eq!(
        acked.len(),
        sent.len(),
        "every message was acked in the end"
    );
    for (id, ack) in &acked {
        let stored: Vec<_> = log.iter().filter(|event| event.command_id == *id).collect();
        assert_eq!(stored.len(), 1, "{id} is in the log exactly once");
        assert_eq!((stored[0].seq, stored[0].epoch), (ack.seq, ack.epoch));
        assert_eq!(body_of(stored[0]), Some(sent[id].as_str()));
    }
    assert_eq!(log.len(), sent.len() + 2, "nothing else is there");
    assert_eq!(
        ben_hears.delivered_seqs(chat),
        seqs,
        "and ben got each of them once"
    );
    let newest = ada
        .rest
        .messages(chat, &MessagesQuery::default())
        .await
        .expect("history can be read");
    assert_eq!(
        newest.items.last().expect("there is one").message_no,
        last.message_no
    );
    assert_eq!(ada.unread(chat).await, 1);
}

pub(crate) async fn sigterm_lets_messages_on_their_way_end_well(deployment: &mut Deployment) {
    let ada = Person::register(deployment, "ada", 0).await;
    let ben = Person::register(deployment, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    let ada_says = ada.connect().await;
    let mut receipts = Vec::new();
    for n in 0..40 {
        let body = format!("{n}");
        let receipt = ada_says.client.send(chat, body.clone()).await;
        receipts.push((receipt.expect("the client runs"), body));
    }
    let node = &mut deployment.nodes[0];
    node.terminate();
    assert_eq!(node.ended().await, Some(0));
    node.restart().await;
    let mut seqs = Vec::new();
    for (receipt, body) in receipts {
        let ack = until_stored(&ada_says.client, receipt, chat, &body).await;
        seqs.push(ack.seq);
    }
    assert_eq!(
        seqs,
        (2..=41).collect::<Vec<u64>>(),
        "each once, in the order sent"
    );
    assert_eq!(ada.head(chat).await.seq, 41);
}

//! The bus is only a hint: what it loses is healed from the log.

use hubbub_testkit::fresh_uuid;
use hubbub_testkit::wait::eventually;
use hubbub_wire::client::Cursor;
use uuid::Uuid;

use crate::harness::PATIENCE;
use crate::harness::deployment::Deployment;
use crate::harness::listener::say_until_stored;
use crate::harness::person::{Person, message};

/// Groups, so that both nodes own some of them.
const GROUPS: usize = 6;
/// Messages in each group while the bus is gone.
const MESSAGES: usize = 5;

pub(crate) async fn what_is_said_while_the_bus_is_gone_arrives_when_it_is_back(
    cluster: &mut Deployment,
) {
    let ada = Person::register(cluster, "ada", 0).await;
    let ben = Person::register(cluster, "ben", 1).await;
    let mut groups = Vec::new();
    for n in 0..GROUPS {
        groups.push(ada.group(&format!("group {n}"), &[&ben]).await);
    }
    let start: Vec<Cursor> = groups.iter().map(|group| (*group, 0, 0).into()).collect();
    let mut ada_hears = ada.connect_from(start.clone()).await;
    let mut ben_hears = ben.connect_from(start).await;
    // Partitions that move in order, as they do when one node has the bus back much later than the other, are another matter.
    let takeovers = "select count(*) from log_epoch where reason = 'takeover'";
    let takeovers_before = cluster.sql(takeovers);

    cluster.nats().kill_all();
    for group in &groups {
        for n in 0..MESSAGES {
            say_at_the_owner(&ada, *group, &format!("message {n}")).await;
        }
    }
    cluster.nats().restart_all().expect("the bus comes back");

    // Nobody says anything more: that the last message of each group was lost must be noticed by itself.
    for group in &groups {
        for listener in [&mut ada_hears, &mut ben_hears] {
            listener.wait_for_seq(*group, MESSAGES as u64 + 1).await;
        }
    }
    assert_eq!(
        cluster.sql(takeovers),
        takeovers_before,
        "losing the bus causes no takeover"
    );
    // And the two nodes work together as before, once both have the bus again.
    for group in &groups {
        say_until_stored(&ada_hears.client, *group, "here we are again").await;
        ben_hears.message(*group, "here we are again").await;
        let expected: Vec<u64> = (1..=MESSAGES as u64 + 2).collect();
        assert_eq!(ben_hears.delivered_seqs(*group), expected);
    }
}

/// Without the bus only the owner's own node can store; which one that is, is found by asking both.
async fn say_at_the_owner(person: &Person, group: Uuid, body: &str) {
    let id = fresh_uuid();
    eventually(PATIENCE, "the owner to store it", async || {
        for rest in person.rests() {
            let stored = rest.send_message(group, &message(body), Some(id)).await;
            if stored.is_ok() {
                return true;
            }
        }
        false
    })
    .await;
}

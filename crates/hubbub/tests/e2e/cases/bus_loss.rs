//! The bus is only a hint: what it loses is healed from the log.

use hubbub_client::Rest;
use hubbub_testkit::fresh_uuid;
use hubbub_testkit::wait::eventually_some;
use hubbub_wire::client::Cursor;
use uuid::Uuid;

use crate::harness::PATIENCE;
use crate::harness::deployment::Deployment;
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
    let epochs = "select count(*) from log_epoch";
    let epochs_before = cluster.sql(epochs);

    cluster.nats().kill_all();
    for group in &groups {
        let owner = say_at_the_owner(&ada, *group, "message 0").await;
        for n in 1..MESSAGES {
            let said = message(&format!("message {n}"));
            let stored = owner.send_message(*group, &said, None).await;
            stored.expect("the owner needs no bus");
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
        cluster.sql(epochs),
        epochs_before,
        "losing the bus causes no takeover"
    );
    // And the two nodes work together as before.
    for group in &groups {
        ada_hears.say(*group, "here we are again").await;
        ben_hears.message(*group, "here we are again").await;
        let expected: Vec<u64> = (1..=MESSAGES as u64 + 2).collect();
        assert_eq!(ben_hears.delivered_seqs(*group), expected);
    }
}

/// Without the bus only the owner's own node can store; which one that is, is found by asking both.
async fn say_at_the_owner(person: &Person, group: Uuid, body: &str) -> Rest {
    let id = fresh_uuid();
    eventually_some(PATIENCE, "the owner to store it", async || {
        for rest in person.rests() {
            let stored = rest.send_message(group, &message(body), Some(id)).await;
            if stored.is_ok() {
                return Some(rest);
            }
        }
        None
    })
    .await
}

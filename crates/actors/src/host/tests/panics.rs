//! What a panic costs, and what an unreadable event costs: one conversation, never its neighbours, never the process.

use hubbub_domain::conversation::{Command, Rejection, rules};
use hubbub_domain::position::{PartitionId, Seq};
use hubbub_testkit::wait;
use hubbub_wire::bus::OwnerReply;

use super::*;
use crate::partition::residents::Pauses;

/// Panics for every message whose text says so.
fn poison() -> BeforeJudging {
    Arc::new(|command: &Command| {
        if matches!(&command.intent, Intent::SendMessage { body, .. } if body == "poison") {
            panic!("poisoned, as the test wants");
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_its_command_and_the_conversation_comes_back_from_the_log() {
    let world = World::with(quick(), Some(poison())).await;
    let pair = world.pair().await;
    for round in 0..5 {
        let said = accepted(world.say(&pair, "fine").await);
        assert_eq!(said.seq, Seq::new(2 + round));
        assert!(matches!(
            world.say(&pair, "poison").await,
            OwnerReply::Unavailable { .. }
        ));
    }
    assert_eq!(world.host.stats().panics, 5);
    assert_eq!(
        world.host.stats().quarantines,
        0,
        "a success in between forgives"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_in_flight_at_a_panic_is_unknown_to_its_sender_and_known_to_the_next_actor() {
    let world = World::with(quick(), Some(poison())).await;
    let pair = world.pair().await;
    let held = world.log.hold_appends();
    let command = world.message(&pair, "in flight");
    let in_flight = world.send(command.clone()).await;
    world.until_held(1).await;
    assert!(matches!(
        world.say(&pair, "poison").await,
        OwnerReply::Unavailable { .. }
    ));
    assert_eq!(in_flight.await.unwrap(), OwnerReply::Unknown);
    let parked = world.send(command).await;
    assert!(!parked.is_finished());
    drop(held);
    let parked = accepted(parked.await.unwrap());
    assert_eq!((parked.seq, parked.how), (Seq::new(2), How::Duplicate));
    accepted(world.say(&pair, "goes on").await);
    assert_eq!(
        bodies(&world.stored(pair.id).await),
        ["in flight", "goes on"]
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_panics_ends_the_incarnation_and_leaves_nobody_waiting() {
    let mut world = World::start().await;
    let pair = world.pair().await;
    world.log.before_appends(|batch| {
        assert!(batch.rows.is_empty(), "a lane with a bug");
    });
    assert_eq!(world.say(&pair, "open").await, OwnerReply::Unknown);
    assert_eq!(
        world.host_event().await.signal,
        hubbub_cluster::PartitionSignal::Broken
    );
    world.end().await;
}

fn later(reply: &OwnerReply) -> u32 {
    match reply {
        OwnerReply::Unavailable { retry_after_ms } => *retry_after_ms,
        other => panic!("not unavailable: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_panics_in_a_row_put_a_conversation_into_quarantine_and_its_neighbours_run_on() {
    let world = World::with(quick(), Some(poison())).await;
    let sick = world.pair_in(PartitionId::new(1)).await;
    let neighbour = world.pair_in(PartitionId::new(1)).await;
    for round in 0..100 {
        later(&world.say(&sick, "poison").await);
        let said = accepted(world.say(&neighbour, "fine").await);
        assert_eq!(said.seq, Seq::new(2 + round));
    }
    let stats = world.host.stats();
    assert_eq!(
        (stats.panics, stats.quarantines, stats.out_of_service),
        (3, 1, 1)
    );
    let told = later(&world.say(&sick, "fine").await);
    assert!(
        (1_000..=10_000).contains(&told),
        "the rest of its quarantine: {told}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_comes_back_from_quarantine_by_itself() {
    let pauses = Pauses {
        quarantine_min: Duration::from_millis(50),
        ..Pauses::default()
    };
    let options = HostOptions { pauses, ..quick() };
    let world = World::with(options, Some(poison())).await;
    let sick = world.pair().await;
    for _ in 0..3 {
        later(&world.say(&sick, "poison").await);
    }
    assert_eq!(world.host.stats().quarantines, 1);
    wait::eventually(wait::DEADLINE, "it to be back", async || {
        matches!(world.say(&sick, "fine").await, OwnerReply::Accepted(_))
    })
    .await;
    wait::eventually(wait::DEADLINE, "nobody out of service", async || {
        world.host.stats().out_of_service == 0
    })
    .await;
    world.end().await;
}

/// Damages the newest event of a conversation, lets the partition be served anew, and finds just that conversation read-only.
async fn read_only_after(how: impl Fn(&mut EventRow)) {
    let partition = PartitionId::new(1);
    let pauses = Pauses {
        read_only: Duration::from_millis(50),
        ..Pauses::default()
    };
    let mut world = World::with(HostOptions { pauses, ..quick() }, None).await;
    let sick = world.pair_in(partition).await;
    let neighbour = world.pair_in(partition).await;
    let place = accepted(world.say(&sick, "soon unreadable").await).seq;
    let sound = world.stored(sick.id).await.pop().unwrap();
    assert_eq!(sound.seq, place);
    world.log.damage(partition, sound.offset, &how);
    world.acquire(partition).await;

    let read_only = OwnerReply::Rejected(Rejection::Conflict {
        reason: rules::UNREADABLE,
    });
    for round in 0..3 {
        assert_eq!(world.say(&sick, "anyone?").await, read_only);
        let said = accepted(world.say(&neighbour, "unharmed").await);
        assert_eq!(said.seq, Seq::new(2 + round));
    }
    let mut repeated = world.request(world.message(&sick, "was this stored?"));
    repeated.retry = true;
    let reply = world.host.handle(repeated, None).await;
    assert!(
        matches!(reply, OwnerReply::Unavailable { .. }),
        "nothing definite about what may be stored: {reply:?}"
    );
    let stats = world.host.stats();
    assert_eq!((stats.quarantines, stats.panics), (0, 0));
    assert!(stats.unreadable >= 1 && stats.out_of_service == 1);
    assert_eq!(world.host.heads().len(), 16, "no partition was given up");

    // Someone mends it.
    world
        .log
        .damage(partition, sound.offset, |row| *row = sound.clone());
    wait::eventually(wait::DEADLINE, "it to be written again", async || {
        matches!(world.say(&sick, "back").await, OwnerReply::Accepted(_))
    })
    .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_event_makes_its_conversation_read_only() {
    read_only_after(|row| row.crc ^= 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_text_makes_its_conversation_read_only() {
    read_only_after(|row| row.body = Some(bytes::Bytes::from_static(b"another text"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_future_version_makes_its_conversation_read_only() {
    read_only_after(|row| row.ver = 999).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_an_unknown_kind_makes_its_conversation_read_only() {
    read_only_after(|row| row.kind = 9_999).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_in_a_form_that_nobody_knows_makes_its_conversation_read_only() {
    read_only_after(|row| row.fmt = 99).await;
}

//! What a panic costs, and what an unreadable event costs: one conversation, never its neighbours, never the process.

use hubbub_domain::conversation::Command;
use hubbub_domain::position::{Offset, PartitionId, Seq};
use hubbub_event_log::{AppendBatch, AppendOutcome, EventLog};
use hubbub_testkit::{fresh_uuid, wait};
use hubbub_wire::bus::OwnerReply;

use super::*;

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
async fn three_panics_in_a_row_put_a_conversation_into_quarantine_and_its_neighbours_run_on() {
    let world = World::with(quick(), Some(poison())).await;
    let sick = world.pair_in(PartitionId::new(1)).await;
    let neighbour = world.pair_in(PartitionId::new(1)).await;
    for _ in 0..100 {
        assert!(matches!(
            world.say(&sick, "poison").await,
            OwnerReply::Unavailable { .. }
        ));
    }
    assert_eq!(
        (world.host.stats().panics, world.host.stats().quarantines),
        (3, 1)
    );
    assert!(matches!(
        world.say(&sick, "fine").await,
        OwnerReply::Unavailable { .. }
    ));
    accepted(world.say(&neighbour, "fine").await);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_read_takes_one_conversation_out_of_service() {
    let mut world = World::start().await;
    let partition = PartitionId::new(1);
    let sick = world.pair_in(partition).await;
    let neighbour = world.pair_in(partition).await;
    accepted(world.say(&sick, "soon unreadable").await);

    // A row that no release has written, stored by someone who owned the partition for a moment.
    let me = Incarnation::from_uuid(fresh_uuid());
    let (epoch, head) = world.seize(partition, me).await;
    let mut row = world.stored(sick.id).await.pop().unwrap();
    row.kind = 9_999;
    row.seq = row.seq.next();
    row.offset = head.next();
    row.epoch = epoch;
    row.command_id = world.command_id();
    let mut lane = world.log.open_lane(me, 0).await.unwrap();
    let stored = lane
        .append(AppendBatch {
            fence: vec![(partition, epoch)],
            rows: vec![row],
        })
        .await;
    assert!(matches!(stored, AppendOutcome::Done { .. }), "{stored:?}");
    world.acquire(partition).await;

    for _ in 0..3 {
        assert!(matches!(
            world.say(&sick, "anyone?").await,
            OwnerReply::Unavailable { .. }
        ));
    }
    let said = accepted(world.say(&neighbour, "unharmed").await);
    assert_eq!(said.seq, Seq::new(2));
    assert_eq!(world.host.stats().quarantines, 1);
    wait::eventually(wait::DEADLINE, "the head", async || {
        world
            .host
            .heads()
            .iter()
            .any(|head| head.partition == partition && head.head == Offset::new(5))
    })
    .await;
    world.end().await;
}

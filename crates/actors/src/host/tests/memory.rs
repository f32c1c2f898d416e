//! Leaving memory and coming back: the same state, whatever way it comes.

use hubbub_domain::position::{PartitionId, Seq};
use hubbub_event_log::Snapshots;
use hubbub_testkit::wait;
use hubbub_wire::bus::{How, OwnerReply};
use hubbub_wire::snapshot::SNAPSHOT_VERSION;

use super::*;
use crate::conversation::load::load;

fn cramped() -> HostOptions {
    HostOptions {
        residents_max: 1,
        ..quick()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_leave_memory_and_come_back_with_everything_they_knew() {
    let world = World::with(cramped(), None).await;
    let mut pairs = Vec::new();
    for _ in 0..20 {
        pairs.push(world.pair().await);
    }
    let mut first = Vec::new();
    for pair in &pairs {
        let command = world.message(pair, "one");
        first.push((command.clone(), accepted(world.ask(command).await)));
    }
    wait::eventually(wait::DEADLINE, "memory to be given back", async || {
        world.host.stats().residents <= 1
    })
    .await;
    for (pair, (command, then)) in pairs.iter().zip(first) {
        let again = accepted(world.ask(command).await);
        assert_eq!(
            (again.how, again.seq, again.epoch),
            (How::Duplicate, then.seq, then.epoch)
        );
        assert_eq!(accepted(world.say(pair, "two").await).seq, Seq::new(3));
    }
    assert!(world.host.stats().passivations >= 19);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_race_with_leaving_and_none_is_lost() {
    let world = Arc::new(World::with(cramped(), None).await);
    let mut pairs = Vec::new();
    for _ in 0..8 {
        pairs.push(world.pair_in(PartitionId::new(1)).await);
    }
    let mut senders = Vec::new();
    for pair in pairs.clone() {
        let world = Arc::clone(&world);
        senders.push(tokio::spawn(async move {
            for n in 0..50 {
                accepted(world.say(&pair, &n.to_string()).await);
            }
        }));
    }
    for sender in senders {
        sender.await.unwrap();
    }
    let expected: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    for pair in &pairs {
        assert_eq!(bodies(&world.stored(pair.id).await), expected);
    }
    assert!(world.host.stats().passivations > 0, "the race took place");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_plus_the_tail_is_the_same_state_as_the_whole_log() {
    let mut world = World::start().await;
    let pair = world.pair().await;
    let partition = partition_of(pair.id);
    for n in 0..100 {
        accepted(world.say(&pair, &n.to_string()).await);
    }
    let whole = load(&world.log, pair.id).await.unwrap();
    assert_eq!(whole.snapshot, Seq::ZERO);
    assert!(world.host.drain(partition, PATIENCE).await);
    let snapshot = world
        .log
        .load_snapshot(pair.id, SNAPSHOT_VERSION)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(snapshot.seq, Seq::new(101));
    assert_eq!(load(&world.log, pair.id).await.unwrap().state, whole.state);

    world.acquire(partition).await;
    for n in 100..110 {
        accepted(world.say(&pair, &n.to_string()).await);
    }
    let resumed = load(&world.log, pair.id).await.unwrap();
    assert_eq!(resumed.snapshot, Seq::new(101));
    assert_eq!(resumed.state.last_seq(), Seq::new(111));
    // A repetition from before the snapshot: the window is in it, the epoch of then is not and is looked up.
    let first = world.stored(pair.id).await.remove(1);
    let again = accepted(
        world
            .ask(message(first.command_id, pair.id, pair.anna, "0"))
            .await,
    );
    assert_eq!(
        (again.how, again.seq, again.epoch),
        (How::Duplicate, first.seq, first.epoch)
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_the_log_does_not_bear_out_is_not_used() {
    let world = World::start().await;
    let pair = world.pair().await;
    for n in 0..70 {
        accepted(world.say(&pair, &n.to_string()).await);
    }
    let partition = partition_of(pair.id);
    assert!(world.host.drain(partition, PATIENCE).await);
    let sound = world
        .log
        .load_snapshot(pair.id, SNAPSHOT_VERSION)
        .await
        .unwrap()
        .unwrap();
    let mut foreign = sound.clone();
    foreign.epoch = foreign.epoch.next();
    foreign.at = foreign.at.plus_millis(1);
    world.log.save_snapshot(foreign).await.unwrap();
    let loaded = load(&world.log, pair.id).await.unwrap();
    assert_eq!(loaded.state.last_seq(), Seq::new(71));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_never_rests_is_snapshotted_on_its_way() {
    let world = World::start().await;
    let pair = world.pair().await;
    let mut sent = Vec::new();
    for n in 0..1_200 {
        let (host, request) = (
            Arc::clone(&world.host),
            world.request(world.message(&pair, &n.to_string())),
        );
        sent.push(tokio::spawn(
            async move { host.handle(request, None).await },
        ));
        if sent.len() == 200 {
            for reply in sent.drain(..) {
                accepted(reply.await.unwrap());
            }
        }
    }
    for reply in sent {
        assert!(matches!(reply.await.unwrap(), OwnerReply::Accepted(_)));
    }
    wait::eventually(wait::DEADLINE, "a snapshot", async || {
        world.host.stats().snapshots == 1
    })
    .await;
    let snapshot = world
        .log
        .load_snapshot(pair.id, SNAPSHOT_VERSION)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(snapshot.seq, Seq::new(1_024));
    world.end().await;
}

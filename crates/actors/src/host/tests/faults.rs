//! What the lane makes of everything but "stored": unknown, fenced, refused, conflicting.

use hubbub_cluster::port::{LocalConversations as _, PartitionSignal};
use hubbub_domain::conversation::Rejection;
use hubbub_domain::conversation::limits::DEDUPE_COMMANDS_MAX;
use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::{Offset, PartitionId, Seq};
use hubbub_event_log::memory::Fault;
use hubbub_event_log::{LogReader, Refusal};
use hubbub_telemetry::Metrics;
use hubbub_testkit::{fresh_uuid, wait};
use hubbub_wire::bus::{How, OwnerReply};

use super::*;

async fn unknown_then_acquired(fault: Fault) -> (OwnerReply, usize) {
    let mut world = World::start().await;
    let pair = world.pair().await;
    let bystander = world
        .pair_in(PartitionId::new((partition_of(pair.id).get() + 1) % 16))
        .await;
    world.log.fail_next_append(fault);
    let command = world.message(&pair, "in doubt");
    assert_eq!(world.ask(command.clone()).await, OwnerReply::Unknown);
    let event = world.host_event().await;
    assert_eq!(
        (event.partition, event.signal),
        (partition_of(pair.id), PartitionSignal::InDoubt)
    );
    assert_eq!(event.epoch, world.epoch(event.partition));
    assert_eq!(
        world.say(&pair, "not served").await,
        OwnerReply::WrongOwner { hint: None }
    );
    // The lane comes back for everyone else without anybody's help.
    accepted(world.say(&bystander, "unharmed").await);
    world.acquire(partition_of(pair.id)).await;
    let mut again = world.request(command);
    again.retry = true;
    let reply = world.host.handle(again, None).await;
    let rows = world.stored(pair.id).await.len();
    world.end().await;
    (reply, rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_without_an_answer_that_was_stored_is_a_duplicate_under_the_next_epoch() {
    let (reply, rows) = unknown_then_acquired(Fault::UnknownApplied).await;
    let accepted = accepted(reply);
    assert_eq!(
        (accepted.how, accepted.seq, rows),
        (How::Duplicate, Seq::new(2), 2)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_without_an_answer_that_was_lost_is_stored_under_the_next_epoch() {
    let (reply, rows) = unknown_then_acquired(Fault::UnknownNotApplied).await;
    let accepted = accepted(reply);
    assert_eq!(
        (accepted.how, accepted.seq, rows),
        (How::Stored, Seq::new(2), 2)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_arrives_late_stores_nothing_any_more() {
    let (reply, rows) = unknown_then_acquired(Fault::UnknownLate).await;
    assert_eq!((accepted(reply).how, rows), (How::Stored, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_behind_an_append_in_doubt_hears_unknown_and_nothing_definite() {
    let mut world = World::start().await;
    let pair = world.pair().await;
    let held = world.log.hold_appends();
    world.log.fail_next_append(Fault::UnknownApplied);
    let first = world.send(world.message(&pair, "first")).await;
    world.until_held(1).await;
    let behind = world.send(world.message(&pair, "behind")).await;
    let rejected = world.send(world.message(&pair, "")).await;
    wait::eventually(wait::DEADLINE, "all to be under way", async || {
        world.host.stats().under_way == 3
    })
    .await;
    drop(held);
    for reply in [first, behind, rejected] {
        assert_eq!(reply.await.unwrap(), OwnerReply::Unknown);
    }
    assert_eq!(world.host_event().await.signal, PartitionSignal::InDoubt);
    assert_eq!(bodies(&world.stored(pair.id).await), ["first"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_partition_is_counted_and_stops_and_its_neighbours_in_the_batch_commit() {
    let options = HostOptions {
        // Only the end brings the counters over.
        tick: Duration::from_hours(1),
        ..quick()
    };
    let mut world = World::with(options, None).await;
    let metrics = Metrics::new().unwrap();
    world.host.report_to(&metrics);
    let pair = world.pair_in(PartitionId::new(1)).await;
    let neighbour = world.pair_in(PartitionId::new(2)).await;
    let (_, head) = world
        .seize(PartitionId::new(1), Incarnation::from_uuid(fresh_uuid()))
        .await;
    let held = world.log.hold_appends();
    let mut sent = vec![world.send(world.message(&neighbour, "before")).await];
    world.until_held(1).await;
    let fenced = world.send(world.message(&pair, "stale")).await;
    sent.push(world.send(world.message(&neighbour, "beside")).await);
    wait::eventually(wait::DEADLINE, "all to be under way", async || {
        world.host.stats().under_way == 3
    })
    .await;
    drop(held);
    assert_eq!(fenced.await.unwrap(), OwnerReply::Unknown);
    for reply in sent {
        accepted(reply.await.unwrap());
    }
    let event = world.host_event().await;
    assert_eq!(
        (event.partition, event.signal),
        (PartitionId::new(1), PartitionSignal::Fenced)
    );
    assert_eq!(head.get(), 1);
    assert_eq!(world.stored(pair.id).await.len(), 1);
    assert_eq!(
        bodies(&world.stored(neighbour.id).await),
        ["before", "beside"]
    );
    assert!(
        world
            .host
            .heads()
            .iter()
            .all(|head| head.partition != PartitionId::new(1))
    );
    assert_eq!(world.host.stats().fenced, 1);
    world.host.shutdown(PATIENCE).await;
    assert_eq!(metrics.log.fenced.get(), 1);
}

async fn refused(refusal: Refusal) -> (Vec<OwnerReply>, Vec<String>) {
    let world = World::start().await;
    let pair = world.pair().await;
    let held = world.log.hold_appends();
    world.log.fail_next_append(Fault::Refused(refusal));
    let mut sent = vec![world.send(world.message(&pair, "first")).await];
    world.until_held(1).await;
    sent.push(world.send(world.message(&pair, "behind")).await);
    sent.push(world.send(world.message(&pair, "")).await);
    wait::eventually(wait::DEADLINE, "all to be under way", async || {
        world.host.stats().under_way == 3
    })
    .await;
    drop(held);
    let mut replies = Vec::new();
    for reply in sent {
        replies.push(reply.await.unwrap());
    }
    let next = accepted(world.say(&pair, "afterwards").await);
    assert_eq!(next.seq, Seq::new(2), "seq and offset were taken back");
    let stored = bodies(&world.stored(pair.id).await);
    world.end().await;
    (replies, stored)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_a_definite_no_for_everything_speculative_and_recovers_by_itself() {
    let (replies, stored) = refused(Refusal::StorageFull).await;
    assert_eq!(replies, vec![OwnerReply::StorageFull; 3]);
    assert_eq!(stored, ["afterwards"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_refusal_is_unavailable() {
    let (replies, stored) = refused(Refusal::Unavailable).await;
    assert!(
        replies
            .iter()
            .all(|reply| matches!(reply, OwnerReply::Unavailable { .. })),
        "{replies:?}"
    );
    assert_eq!(stored, ["afterwards"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_refuses_and_is_back_when_it_is_back() {
    let world = World::start().await;
    let pair = world.pair().await;
    world.log.set_unavailable(true);
    assert!(matches!(
        world.say(&pair, "away").await,
        OwnerReply::Unavailable { .. }
    ));
    world.log.set_unavailable(false);
    accepted(world.say(&pair, "back").await);
    assert_eq!(bodies(&world.stored(pair.id).await), ["back"]);
    world.end().await;
}

/// A pair whose first message has left the dedupe window, although its id claims to be younger than what was forgotten.
async fn with_a_forgotten_id(world: &World, partition: PartitionId) -> (Pair, Command) {
    let pair = world.pair_in(partition).await;
    let young = world.command_id_made_at(world.clock.now().plus_millis(59_000));
    let forgotten = message(young, pair.id, pair.anna, "forgotten");
    accepted(world.ask(forgotten.clone()).await);
    let mut sent = Vec::new();
    for n in 0..DEDUPE_COMMANDS_MAX + 8 {
        let command = world.message(&pair, &n.to_string());
        let (host, request) = (Arc::clone(&world.host), world.request(command));
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
        accepted(reply.await.unwrap());
    }
    // From here on new ids are younger than everything that was forgotten.
    world.clock.advance(Duration::from_secs(1));
    (pair, forgotten)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_id_fails_one_command_and_spares_its_batch() {
    let world = World::start().await;
    let (pair, forgotten) = with_a_forgotten_id(&world, PartitionId::new(1)).await;
    let same_partition = world.pair_in(PartitionId::new(1)).await;
    let neighbour = world.pair_in(PartitionId::new(2)).await;
    let head = world
        .log
        .conversation_head(pair.id)
        .await
        .unwrap()
        .unwrap()
        .seq
        .get();
    let unprobed = world.host.stats();

    let held = world.log.hold_appends();
    let mut sent = vec![world.send(world.message(&neighbour, "before")).await];
    world.until_held(1).await;
    let ahead = world.send(world.message(&pair, "ahead")).await;
    let repeated = world.send(forgotten.clone()).await;
    let mismatch = world
        .send(message(forgotten.id, pair.id, pair.anna, "another request"))
        .await;
    let behind = world.send(world.message(&pair, "behind")).await;
    sent.push(world.send(world.message(&same_partition, "beside")).await);
    sent.push(world.send(world.message(&neighbour, "beside")).await);
    wait::eventually(wait::DEADLINE, "all to be under way", async || {
        world.host.stats().under_way == 7
    })
    .await;
    assert_eq!(
        world.host.stats().probes,
        unprobed.probes,
        "the ids look young, so nothing is looked up before"
    );
    drop(held);

    assert_eq!(accepted(ahead.await.unwrap()).seq.get(), head + 1);
    let duplicate = accepted(repeated.await.unwrap());
    assert_eq!(
        (duplicate.how, duplicate.seq),
        (How::Duplicate, Seq::new(2))
    );
    assert_eq!(
        mismatch.await.unwrap(),
        OwnerReply::Rejected(Rejection::IdempotencyMismatch)
    );
    assert_eq!(accepted(behind.await.unwrap()).seq.get(), head + 2);
    for reply in sent {
        accepted(reply.await.unwrap());
    }
    assert!(world.host.stats().append_conflicts >= 1);
    assert_eq!(world.host.heads().len(), 16, "no partition was given up");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marked_repetition_of_a_forgotten_id_is_looked_up_before_and_later_sends_wait_behind_it()
{
    let world = World::start().await;
    let (pair, forgotten) = with_a_forgotten_id(&world, PartitionId::new(1)).await;
    let before = world.host.stats();
    let mut request = world.request(forgotten);
    request.retry = true;
    let (host, next) = (
        Arc::clone(&world.host),
        world.request(world.message(&pair, "next")),
    );
    let (reply, next) = tokio::join!(world.host.handle(request, None), host.handle(next, None));
    assert_eq!(accepted(reply).how, How::Duplicate);
    accepted(next);
    let after = world.host.stats();
    assert_eq!(
        (after.probes - before.probes, after.append_conflicts),
        (1, before.append_conflicts)
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ownership_that_is_over_is_not_served_over_a_later_one() {
    let mut world = World::start().await;
    let partition = PartitionId::new(1);
    let pair = world.pair_in(partition).await;
    let over = world.epoch(partition);
    world.acquire(partition).await;
    assert!(world.epoch(partition) > over);
    world.host.serve(partition, over, Offset::ZERO).await;
    accepted(world.say(&pair, "to the later one").await);

    // At once, in either order of beginning.
    let later = world.epoch(partition);
    world.acquire(partition).await;
    let now = world.epoch(partition);
    let head = Offset::new(world.stored(pair.id).await.len() as u64);
    for _ in 0..20 {
        tokio::join!(
            world.host.serve(partition, later, head),
            world.host.serve(partition, now, head)
        );
        let heads = world.host.heads();
        let served = heads.iter().find(|head| head.partition == partition);
        assert_eq!(served.map(|head| head.epoch), Some(now));
    }
    accepted(world.say(&pair, "to the latest").await);
    world.end().await;
}

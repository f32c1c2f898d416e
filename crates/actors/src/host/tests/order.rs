//! One order, one event per command, replies that tell the truth.

use std::time::{Duration, Instant};

use hubbub_bus::{Bus, SubjectPattern};
use hubbub_domain::conversation::{Intent, Rejection, Role};
use hubbub_domain::position::{Epoch, MessageNo, Offset, PartitionId, Seq};
use hubbub_event_log::LogReader;
use hubbub_testkit::wait;
use hubbub_wire::bus::{EvBatch, HeadBroadcast, How, OwnerReply};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_stored_numbered_and_acknowledged() {
    let world = World::start().await;
    let pair = world.pair().await;
    let first = accepted(world.say(&pair, "hello").await);
    let second = accepted(world.say(&pair, "again").await);
    assert_eq!(
        (first.seq, first.message_no),
        (Seq::new(2), Some(MessageNo::new(1)))
    );
    assert_eq!(
        (second.seq, second.message_no),
        (Seq::new(3), Some(MessageNo::new(2)))
    );
    assert_eq!(
        (first.how, first.epoch),
        (How::Stored, world.epoch(partition_of(pair.id)))
    );
    assert_eq!(bodies(&world.stored(pair.id).await), ["hello", "again"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_sends_keep_their_order_and_share_an_append() {
    let world = World::start().await;
    let pair = world.pair().await;
    let before = world.host.stats().appends;
    let held = world.log.hold_appends();
    let mut sent = Vec::new();
    for n in 0..50 {
        sent.push(world.send(world.message(&pair, &n.to_string())).await);
    }
    world.until_held(1).await;
    drop(held);
    let mut seqs = Vec::new();
    for reply in sent {
        seqs.push(accepted(reply.await.unwrap()).seq.get());
    }
    assert_eq!(seqs, (2..52).collect::<Vec<u64>>());
    let expected: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    assert_eq!(bodies(&world.stored(pair.id).await), expected);
    assert!(
        world.host.stats().appends - before < 50,
        "what arrives while a statement is in flight goes together"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_of_many_partitions_commit_together() {
    let world = World::start().await;
    let mut pairs = Vec::new();
    for partition in PartitionCount::EMBEDDED.all() {
        pairs.push(world.pair_in(partition).await);
    }
    let before = world.host.stats();
    let held = world.log.hold_appends();
    let mut sent = vec![world.send(world.message(&pairs[0], "first")).await];
    world.until_held(1).await;
    for pair in &pairs {
        sent.push(world.send(world.message(pair, "rest")).await);
    }
    wait::eventually(wait::DEADLINE, "all to be under way", async || {
        world.host.stats().under_way == 17
    })
    .await;
    drop(held);
    for reply in sent {
        accepted(reply.await.unwrap());
    }
    let after = world.host.stats();
    assert_eq!(after.events_committed - before.events_committed, 17);
    assert!(
        after.appends - before.appends < 17,
        "group commit over partitions"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_gets_the_first_answer_and_another_request_under_its_id_does_not() {
    let world = World::start().await;
    let pair = world.pair().await;
    let command = world.message(&pair, "once");
    let first = accepted(world.ask(command.clone()).await);
    let again = accepted(world.ask(command.clone()).await);
    assert_eq!(again.how, How::Duplicate);
    assert_eq!(
        (again.seq, again.message_no, again.at, again.epoch),
        (first.seq, first.message_no, first.at, first.epoch)
    );
    let other = message(command.id, pair.id, pair.anna, "other");
    assert_eq!(
        world.ask(other).await,
        OwnerReply::Rejected(Rejection::IdempotencyMismatch)
    );
    let stranger = message(command.id, pair.id, pair.bert, "once");
    assert_eq!(
        world.ask(stranger).await,
        OwnerReply::Rejected(Rejection::IdempotencyMismatch)
    );
    assert_eq!(world.stored(pair.id).await.len(), 2);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_waits_until_what_it_depends_on_is_durable() {
    let world = World::start().await;
    let pair = world.pair().await;
    let held = world.log.hold_appends();
    let command = world.message(&pair, "first");
    let stored = world.send(command.clone()).await;
    let duplicate = world.send(command).await;
    let rejected = world.send(world.message(&pair, "")).await;
    world.until_held(1).await;
    wait::eventually(wait::DEADLINE, "all three to be under way", async || {
        world.host.stats().under_way == 3
    })
    .await;
    assert!(!stored.is_finished() && !duplicate.is_finished() && !rejected.is_finished());
    drop(held);
    assert_eq!(accepted(stored.await.unwrap()).how, How::Stored);
    assert_eq!(accepted(duplicate.await.unwrap()).how, How::Duplicate);
    assert!(matches!(
        rejected.await.unwrap(),
        OwnerReply::Rejected(Rejection::Invalid { .. })
    ));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_are_published_dense_in_order_and_with_recipients() {
    let world = World::start().await;
    let mut events = world
        .bus
        .subscribe(SubjectPattern::AllEvents, 4_096)
        .await
        .unwrap();
    let pair = world.pair_in(PartitionId::new(3)).await;
    let mut sent = Vec::new();
    for n in 0..100 {
        sent.push(world.send(world.message(&pair, &n.to_string())).await);
    }
    for reply in sent {
        accepted(reply.await.unwrap());
    }
    let mut next = Offset::new(1);
    while next <= Offset::new(101) {
        let delivery = tokio::time::timeout(wait::DEADLINE, events.next())
            .await
            .unwrap()
            .unwrap();
        let batch = EvBatch::decode(&delivery.payload).unwrap();
        assert_eq!(
            (batch.base_offset, batch.epoch),
            (next, world.epoch(PartitionId::new(3)))
        );
        for entry in &batch.events {
            assert_eq!(entry.row.offset, next);
            let mut members = [pair.anna, pair.bert];
            members.sort_unstable();
            assert_eq!(entry.recipients.as_deref(), Some(&members[..]));
            next = next.next();
        }
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_tell_what_is_published_also_when_the_bus_was_down() {
    let world = World::start().await;
    let mut heads = world
        .bus
        .subscribe(SubjectPattern::One(hubbub_bus::Subject::Heads), 4_096)
        .await
        .unwrap();
    world.bus.inject(|subject| match subject {
        hubbub_bus::Subject::Events(_) => hubbub_bus::memory::Fault::Lose,
        _ => hubbub_bus::memory::Fault::None,
    });
    let pair = world.pair().await;
    accepted(world.say(&pair, "lost on the way").await);
    wait::eventually(wait::DEADLINE, "a head of 2", async || {
        let delivery = heads.next().await.unwrap();
        let broadcast = HeadBroadcast::decode(&delivery.payload).unwrap();
        assert_eq!(broadcast.heads.len(), 16);
        broadcast
            .heads
            .iter()
            .any(|head| head.partition == partition_of(pair.id) && head.head == Offset::new(2))
    })
    .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_epoch_or_partition_is_a_wrong_owner_with_a_hint_where_there_is_one() {
    let world = World::start().await;
    let pair = world.pair().await;
    let partition = partition_of(pair.id);
    let mut request = world.request(world.message(&pair, "late"));
    request.epoch = Epoch::new(1);
    let reply = world.host.handle(request.clone(), None).await;
    let OwnerReply::WrongOwner {
        hint: Some((_, epoch)),
    } = reply
    else {
        panic!("{reply:?}")
    };
    assert_eq!(epoch, world.epoch(partition));
    world.host.stop(partition).await;
    assert_eq!(
        world.host.handle(request.clone(), None).await,
        OwnerReply::WrongOwner { hint: None }
    );
    // A sender that got the partition wrong must not write into another partition's log.
    request.partition = PartitionId::new((partition.get() + 1) % 16);
    request.epoch = world.epoch(request.partition);
    assert_eq!(
        world.host.handle(request, None).await,
        OwnerReply::WrongOwner { hint: None }
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_and_what_is_not_allowed_is_refused_and_appends_nothing() {
    let world = World::start().await;
    let pair = world.pair().await;
    let nowhere = strangers();
    assert_eq!(
        world.say(&nowhere, "hello?").await,
        OwnerReply::Rejected(Rejection::NotFound)
    );
    let outsider = message(world.command_id(), pair.id, nowhere.anna, "hello?");
    assert_eq!(
        world.ask(outsider).await,
        OwnerReply::Rejected(Rejection::NotFound)
    );
    let add = Command {
        id: world.command_id(),
        conversation: pair.id,
        by: pair.anna,
        intent: Intent::AddMember {
            user: nowhere.anna,
            role: Role::Member,
        },
    };
    assert!(matches!(world.ask(add).await, OwnerReply::Rejected(_)));
    let already = accepted(world.ask(world.create(&pair)).await);
    assert_eq!((already.how, already.seq), (How::Already, Seq::new(1)));
    assert_eq!(world.stored(pair.id).await.len(), 1);
    assert!(
        world
            .log
            .tail(partition_of(nowhere.id), Offset::new(1), 10)
            .await
            .unwrap()
            .is_empty()
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_with_too_much_under_way_is_told_to_wait() {
    let mut options = quick();
    options.permits.user.count_max = 3;
    let world = World::with(options, None).await;
    let pair = world.pair().await;
    let held = world.log.hold_appends();
    let mut sent = Vec::new();
    for n in 0..3 {
        sent.push(world.send(world.message(&pair, &n.to_string())).await);
    }
    wait::eventually(wait::DEADLINE, "three to be under way", async || {
        world.host.stats().under_way == 3
    })
    .await;
    assert!(matches!(
        world.say(&pair, "too much").await,
        OwnerReply::Busy {
            retry_after_ms: 1..
        }
    ));
    drop(held);
    for reply in sent {
        accepted(reply.await.unwrap());
    }
    accepted(world.say(&pair, "now").await);
    assert_eq!(bodies(&world.stored(pair.id).await), ["0", "1", "2", "now"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_past_its_deadline_is_dropped_before_the_append_and_its_followers_are_not() {
    let world = World::start().await;
    let pair = world.pair().await;
    let held = world.log.hold_appends();
    let sent = world.send(world.message(&pair, "in flight")).await;
    world.until_held(1).await;
    // Behind the append that is held: its deadline passes while it waits for the lane.
    let mut impatient = world.request(world.message(&pair, "too late"));
    impatient.remaining_ms = 50;
    let passed = Instant::now() + Duration::from_millis(u64::from(impatient.remaining_ms));
    let late = world.send_request(impatient).await;
    let follower = world.send(world.message(&pair, "patient")).await;
    wait::eventually(wait::DEADLINE, "the deadline to pass", async || {
        Instant::now() > passed
    })
    .await;
    drop(held);
    accepted(sent.await.unwrap());
    assert!(matches!(
        late.await.unwrap(),
        OwnerReply::Unavailable { .. }
    ));
    assert_eq!(accepted(follower.await.unwrap()).seq, Seq::new(3));
    assert_eq!(
        bodies(&world.stored(pair.id).await),
        ["in flight", "patient"]
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_partition_has_answered_everyone_and_is_no_longer_served() {
    let world = World::start().await;
    let pair = world.pair().await;
    let partition = partition_of(pair.id);
    let held = world.log.hold_appends();
    let sent = world.send(world.message(&pair, "last words")).await;
    world.until_held(1).await;
    let draining = tokio::spawn({
        let host = Arc::clone(&world.host);
        async move { host.drain(partition, PATIENCE).await }
    });
    wait::eventually(wait::DEADLINE, "the door to be closed", async || {
        let served = world.host.find(partition).unwrap();
        !served.accepting.load(std::sync::atomic::Ordering::SeqCst)
    })
    .await;
    assert_eq!(
        world.say(&pair, "too late").await,
        OwnerReply::WrongOwner { hint: None }
    );
    drop(held);
    accepted(sent.await.unwrap());
    assert!(draining.await.unwrap());
    assert_eq!(bodies(&world.stored(pair.id).await), ["last words"]);
    assert!(
        world
            .host
            .heads()
            .iter()
            .all(|head| head.partition != partition)
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_runs_out_of_patience_says_so_and_pending_replies_are_unknown() {
    let world = World::start().await;
    let pair = world.pair().await;
    let held = world.log.hold_appends();
    let sent = world.send(world.message(&pair, "stuck")).await;
    world.until_held(1).await;
    assert!(
        !world
            .host
            .drain(partition_of(pair.id), Duration::from_millis(50))
            .await
    );
    assert_eq!(sent.await.unwrap(), OwnerReply::Unknown);
    drop(held);
    world.end().await;
}

//! Members' markers: stored by the owner, coalesced, told to the others.

use hubbub_bus::{Bus, SubjectPattern};
use hubbub_domain::conversation::Rejection;
use hubbub_domain::position::MessageNo;
use hubbub_event_log::LogReader;
use hubbub_testkit::wait;
use hubbub_wire::bus::{Ephemeral, OwnerReply};

use super::*;

fn read(pair: &Pair, no: u64, wait_stored: bool) -> MarkRequest {
    MarkRequest {
        conversation: pair.id,
        user: pair.bert,
        read_no: Some(MessageNo::new(no)),
        delivered_no: None,
        wait_stored,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_waits_is_stored_when_it_is_answered_and_told_to_the_others() {
    let world = World::start().await;
    let mut news = world
        .bus
        .subscribe(SubjectPattern::AllEphemeral, 64)
        .await
        .unwrap();
    let pair = world.pair().await;
    for n in 0..5 {
        accepted(world.say(&pair, &n.to_string()).await);
    }
    assert_eq!(world.mark(read(&pair, 3, true)).await, OwnerReply::Marked);
    let stored = world.log.markers(pair.id).await.unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!(
        (stored[0].user, stored[0].read_no, stored[0].delivered_no),
        (pair.bert, MessageNo::new(3), MessageNo::new(3))
    );
    let delivery = tokio::time::timeout(wait::DEADLINE, news.next())
        .await
        .unwrap()
        .unwrap();
    let told = Ephemeral::decode(&delivery.payload).unwrap();
    assert_eq!(
        told,
        Ephemeral::Marker {
            conversation: pair.id,
            user: pair.bert,
            read_no: Some(MessageNo::new(3)),
            delivered_no: Some(MessageNo::new(3)),
            at: world.clock.now(),
        }
    );
    // Backwards moves nothing and is no error; above the head counts as the head.
    assert_eq!(world.mark(read(&pair, 2, true)).await, OwnerReply::Marked);
    assert_eq!(
        world.log.markers(pair.id).await.unwrap()[0].read_no,
        MessageNo::new(3)
    );
    assert_eq!(world.mark(read(&pair, 99, true)).await, OwnerReply::Marked);
    assert_eq!(
        world.log.markers(pair.id).await.unwrap()[0].read_no,
        MessageNo::new(5)
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_that_do_not_wait_are_coalesced_and_stored_soon() {
    let world = World::start().await;
    let pair = world.pair().await;
    for n in 0..50 {
        accepted(world.say(&pair, &n.to_string()).await);
    }
    for n in 1..=50 {
        assert_eq!(world.mark(read(&pair, n, false)).await, OwnerReply::Marked);
    }
    wait::eventually(wait::DEADLINE, "the last mark to be stored", async || {
        let stored = world.log.markers(pair.id).await.unwrap();
        stored
            .first()
            .is_some_and(|marker| marker.read_no == MessageNo::new(50))
    })
    .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_survives_a_drain_that_follows_it_at_once() {
    let mut options = quick();
    options.tick = Duration::from_hours(1);
    let world = World::with(options, None).await;
    let pair = world.pair().await;
    accepted(world.say(&pair, "read me").await);
    assert_eq!(world.mark(read(&pair, 1, false)).await, OwnerReply::Marked);
    assert!(world.host.drain(partition_of(pair.id), PATIENCE).await);
    assert_eq!(
        world.log.markers(pair.id).await.unwrap()[0].read_no,
        MessageNo::new(1)
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_a_member_has_no_markers() {
    let world = World::start().await;
    let pair = world.pair().await;
    let mut mark = read(&pair, 1, true);
    mark.user = strangers().anna;
    assert_eq!(
        world.mark(mark).await,
        OwnerReply::Rejected(Rejection::NotFound)
    );
    let nowhere = strangers();
    assert_eq!(
        world.mark(read(&nowhere, 1, false)).await,
        OwnerReply::Rejected(Rejection::NotFound)
    );
    assert!(world.log.markers(pair.id).await.unwrap().is_empty());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn markers_rise_also_across_a_new_owner() {
    let mut world = World::start().await;
    let pair = world.pair().await;
    for n in 0..5 {
        accepted(world.say(&pair, &n.to_string()).await);
    }
    assert_eq!(world.mark(read(&pair, 4, true)).await, OwnerReply::Marked);
    world.host.stop(partition_of(pair.id)).await;
    world.acquire(partition_of(pair.id)).await;
    assert_eq!(world.mark(read(&pair, 2, true)).await, OwnerReply::Marked);
    assert_eq!(
        world.log.markers(pair.id).await.unwrap()[0].read_no,
        MessageNo::new(4)
    );
    world.end().await;
}

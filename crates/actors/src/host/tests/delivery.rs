//! What a new owner tells again, what a ring gives, how far the watermark in the log has come.

use hubbub_bus::{Bus, Subject, SubjectPattern, Subscription};
use hubbub_event_log::{Progress, Published};
use hubbub_wire::bus::{EvBatch, RangeRequest};

use super::*;

const HERE: PartitionId = PartitionId::new(1);

async fn listen(world: &World) -> Subscription {
    let pattern = SubjectPattern::One(Subject::Events(HERE));
    world.bus.subscribe(pattern, 64).await.unwrap()
}

async fn hear(news: &mut Subscription) -> EvBatch {
    let delivery = tokio::time::timeout(wait::DEADLINE, news.next())
        .await
        .unwrap()
        .unwrap();
    EvBatch::decode(&delivery.payload).unwrap()
}

fn offsets(batch: &EvBatch) -> Vec<u64> {
    let events = batch.events.iter();
    events.map(|entry| entry.row.offset.get()).collect()
}

async fn watermark(world: &World) -> Option<u64> {
    let marks = world.log.published(&[HERE]).await.unwrap();
    marks.first().map(|(_, published)| published.get())
}

async fn set_watermark(world: &World, published: u64) {
    let mark = Published {
        partition: HERE,
        epoch: world.epoch(HERE),
        published: Offset::new(published),
    };
    world.log.save_published(&[mark]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watermark_follows_what_was_published() {
    let world = World::start().await;
    let pair = world.pair_in(HERE).await;
    accepted(world.say(&pair, "one").await);
    wait::eventually(wait::DEADLINE, "the watermark", async || {
        watermark(&world).await == Some(2)
    })
    .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_owner_tells_again_what_its_predecessor_did_not_publish() {
    let mut world = World::start().await;
    let pair = world.pair_in(HERE).await;
    for body in ["one", "two", "three"] {
        accepted(world.say(&pair, body).await);
    }
    wait::eventually(wait::DEADLINE, "all of it to be published", async || {
        watermark(&world).await == Some(4)
    })
    .await;
    let written_under = world.epoch(HERE);
    // As after a crash between commit and publish: the log knows of four events, and that two of them were published.
    world.host.stop(HERE).await;
    set_watermark(&world, 2).await;
    let mut news = listen(&world).await;
    world.acquire(HERE).await;
    let batch = hear(&mut news).await;
    assert_eq!((batch.base_offset.get(), offsets(&batch)), (3, vec![3, 4]));
    assert_eq!(
        batch.epoch,
        world.epoch(HERE),
        "said by the owner of now, or nobody would listen"
    );
    assert!(
        batch
            .events
            .iter()
            .all(|entry| entry.row.epoch == written_under),
        "and written by the one of then"
    );
    wait::eventually(wait::DEADLINE, "the watermark", async || {
        watermark(&world).await == Some(4)
    })
    .await;
    let request = RangeRequest {
        partition: HERE,
        after: Offset::new(2),
        to: Offset::new(4),
    };
    assert_eq!(offsets(&world.host.range(request).unwrap()), [3, 4]);
    assert_eq!(world.host.stats().republished, 2);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_leaves_nothing_to_be_told_again() {
    let mut world = World::start().await;
    let pair = world.pair_in(HERE).await;
    accepted(world.say(&pair, "one").await);
    assert!(world.host.drain(HERE, PATIENCE).await);
    assert_eq!(watermark(&world).await, Some(2));
    let mut news = listen(&world).await;
    world.acquire(HERE).await;
    accepted(world.say(&pair, "two").await);
    assert_eq!(offsets(&hear(&mut news).await), [3]);
    assert_eq!(world.host.stats().republished, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_read_at_a_takeover_keeps_nobody_from_writing() {
    let mut world = World::start().await;
    let pair = world.pair_in(HERE).await;
    world.host.stop(HERE).await;
    let (epoch, head) = world.seize(HERE, world.me).await;
    world.log.set_unavailable(true);
    world.host.serve(HERE, epoch, head).await;
    world.owned.insert(HERE, (epoch, head));
    assert!(matches!(
        world.say(&pair, "away").await,
        OwnerReply::Unavailable { .. }
    ));
    world.log.set_unavailable(false);
    accepted(world.say(&pair, "back").await);
    wait::eventually(wait::DEADLINE, "the watermark", async || {
        watermark(&world).await == Some(2)
    })
    .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_gives_what_was_committed_here_until_the_partition_is_left() {
    let world = World::start().await;
    let pair = world.pair_in(HERE).await;
    for body in ["one", "two", "three"] {
        accepted(world.say(&pair, body).await);
    }
    let request = |after, to| RangeRequest {
        partition: HERE,
        after: Offset::new(after),
        to: Offset::new(to),
    };
    wait::eventually(wait::DEADLINE, "the ring to have it", async || {
        world.host.range(request(3, 4)).is_some()
    })
    .await;
    let piece = world.host.range(request(1, 3)).unwrap();
    assert_eq!(
        (piece.epoch, offsets(&piece)),
        (world.epoch(HERE), vec![2, 3])
    );
    let recipients = piece.events[0].recipients.as_ref().unwrap();
    assert_eq!(recipients.len(), 2, "as they were published");
    assert!(world.host.range(request(4, 9)).is_none());
    assert_eq!(
        (
            world.host.stats().ring_misses,
            world.host.stats().ring_hits > 0
        ),
        (world.host.stats().ring_misses.max(1), true)
    );
    assert!(world.host.stats().ring_bytes > 0);
    world.host.stop(HERE).await;
    assert!(world.host.range(request(1, 3)).is_none());
    wait::eventually(wait::DEADLINE, "the ring to be let go", async || {
        world.host.stats().ring_bytes == 0
    })
    .await;
    world.end().await;
}

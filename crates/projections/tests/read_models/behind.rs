//! What readers get, and what it costs, while the projectors are far behind (F23): right answers as long as the tail fits into memory, one
//! reader that reads it for all of them, and "unavailable" beyond.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hubbub_domain::conversation::{Event, Kind, Recorded};
use hubbub_domain::position::MessageNo;
use hubbub_projections::{
    Anchor, KEPT_BYTES_MAX, QueryError, ReadModels, Reader, TAIL_WAIT_MAX, TailLimits,
};

use crate::between::Between;
use crate::watched::Watched;
use crate::world::{PARTITIONS, World, new_conversation, user};

/// More than anything that is read at once.
const MANY: usize = 10_500;

/// A room with more unprojected events than any page: its members are let in, resume, page through it and see right counts.
pub(crate) async fn a_busy_room_far_behind_answers_its_members(mut world: World) {
    let room = world
        .create(user(0), new_conversation(Kind::Group, &[user(1)]))
        .await;
    world.say(room, user(1), "first").await.unwrap();
    world.catch_up().await;
    world.say_many(room, user(0), MANY).await;
    let reader = world.reader();
    let head = MANY as u64 + 1;
    let access = reader.access(room, user(1)).await.unwrap().unwrap();
    assert_eq!(
        (access.head_no.get(), access.head_seq.get()),
        (head, head + 1)
    );
    let summary = reader.summary(room, user(1)).await.unwrap().unwrap();
    assert_eq!(summary.unread, MANY as u64);
    let fold = reader.membership(room).await.unwrap().unwrap();
    assert_eq!((fold.as_of, fold.members.len()), (access.head_seq, 2));
    for anchor in [Anchor::Newest, Anchor::Before(MessageNo::new(head + 1))] {
        let page = reader.history(room, user(1), anchor, 2).await.unwrap();
        let page = page.unwrap();
        let numbers: Vec<_> = page
            .items
            .iter()
            .map(|item| item.message_no.get())
            .collect();
        assert_eq!((numbers, page.has_more), (vec![head - 1, head], true));
    }
    assert!(reader.kept().1 <= 2 * KEPT_BYTES_MAX);
}

/// However many ask at once, each unprojected event is read from the log once.
pub(crate) async fn many_readers_read_a_long_tail_once(mut world: World) {
    let busy = world
        .create(user(0), new_conversation(Kind::Group, &[user(1)]))
        .await;
    let quiet = world
        .create(user(0), new_conversation(Kind::Group, &[user(1)]))
        .await;
    world.catch_up().await;
    world.say_many(busy, user(0), 5_000).await;
    world.say(quiet, user(0), "and one").await.unwrap();
    let log = Arc::new(Watched::new(world.projections.log()));
    let reader = Reader::new(world.projections.store(), log.clone());
    let pages = join_all((0..64).map(|_| reader.inbox(user(1), None, 10))).await;
    for page in pages {
        let unread: Vec<_> = page.unwrap().items.iter().map(|item| item.unread).collect();
        assert_eq!(unread, [1, 5_000]);
    }
    assert_eq!(log.rows(), 5_001, "read for the inbox");
    let summaries = join_all((0..64).map(|_| reader.summary(busy, user(1)))).await;
    for summary in summaries {
        assert_eq!(summary.unwrap().unwrap().unread, 5_000);
    }
    // The last message is in the history's tail, which is kept for itself.
    assert_eq!(log.rows(), 10_001, "and for the last message");
    assert_eq!(reader.waiting(), 0);
}

/// What does not fit is "unavailable", and memory stays within the bound; what needs little goes on, and later everything is right.
pub(crate) async fn what_cannot_be_kept_is_unavailable_until_it_is_projected(mut world: World) {
    let quiet = world
        .create(user(0), new_conversation(Kind::Group, &[user(1)]))
        .await;
    let busy = world
        .create(user(0), new_conversation(Kind::Group, &[user(2)]))
        .await;
    world.catch_up().await;
    world.say(quiet, user(0), "one").await.unwrap();
    world
        .say_many_of(busy, user(0), 300, &"x".repeat(8_000))
        .await;
    let limits = TailLimits {
        kept_bytes: 1 << 20,
        ..TailLimits::default()
    };
    let reader = world.reader().limited_to(limits);
    for _ in 0..3 {
        let all = join_all((0..16).map(|_| reader.inbox(user(1), None, 50))).await;
        assert!(all.iter().all(is_unavailable), "{:?}", all[0]);
        assert!(is_unavailable(&reader.access(busy, user(2)).await));
        assert!(is_unavailable(&reader.rooms(user(1), "", None, 9).await));
        assert!(reader.kept().1 <= 2 * limits.kept_bytes);
        let summary = reader.summary(quiet, user(1)).await.unwrap().unwrap();
        assert_eq!(summary.unread, 1, "its own tail is short");
    }
    world.catch_up().await;
    let page = reader.inbox(user(2), None, 50).await.unwrap();
    assert_eq!(page.items[0].unread, 300);
    assert_eq!(
        reader.inbox(user(1), None, 50).await.unwrap().items.len(),
        1
    );
    assert_eq!(
        reader
            .access(busy, user(2))
            .await
            .unwrap()
            .unwrap()
            .head_no
            .get(),
        300
    );
    assert_eq!(reader.kept().0, 0, "what is projected is let go");
}

/// Who waits for another reader does so for a while only.
pub(crate) async fn a_reader_that_does_not_come_back_holds_nobody_for_ever(mut world: World) {
    let group = world
        .create(user(0), new_conversation(Kind::Group, &[user(1)]))
        .await;
    world.say(group, user(0), "one").await.unwrap();
    let log = Arc::new(Watched::new(world.projections.log()));
    let limits = TailLimits {
        wait: Duration::from_millis(50),
        ..TailLimits::default()
    };
    assert!(limits.wait < TAIL_WAIT_MAX);
    let reader = Reader::new(world.projections.store(), log.clone()).limited_to(limits);
    let reader = Arc::new(reader);
    log.stop();
    let first = {
        let reader = Arc::clone(&reader);
        tokio::spawn(async move { reader.inbox(user(1), None, 9).await })
    };
    log.until_somebody_reads().await;
    let second = reader.inbox(user(1), None, 9).await;
    assert!(is_unavailable(&second), "{second:?}");
    log.go_on();
    assert_eq!(first.await.unwrap().unwrap().items.len(), 1);
    assert_eq!(reader.inbox(user(1), None, 9).await.unwrap().items.len(), 1);
}

/// An event that cannot be read, deep in a long tail, is told; it is not left out of the fold.
pub(crate) async fn a_damaged_event_in_a_long_tail_is_told(mut world: World) {
    let group = world
        .create(user(0), new_conversation(Kind::Group, &[user(1)]))
        .await;
    world.say_many(group, user(0), 1_500).await;
    let command_id = world.next_command();
    let mut row = world.row(&Recorded {
        seq: world.states[&group].last_seq().next(),
        command_id,
        event: Event::MessageSent {
            message_no: MessageNo::new(1_501),
            body: Some("x".to_owned()),
            reply_to_no: None,
            thread_root_no: None,
        },
        ..world.events[0].clone()
    });
    row.kind = 9_999;
    world.append(row).await;
    let access = world.reader().access(group, user(1)).await;
    assert!(
        matches!(access, Err(QueryError::Inconsistent(_))),
        "{access:?}"
    );
}

/// Wherever the projectors commit while a long tail is read, nothing is left out of it.
pub(crate) async fn a_commit_within_a_long_tail_changes_no_answer(mut world: World) {
    for round in 0.. {
        let group = world
            .create(user(0), new_conversation(Kind::Group, &[user(1)]))
            .await;
        world.say_many(group, user(1), 20).await;
        world.catch_up().await;
        world.say_many(group, user(0), 300).await;
        let projections = world.projections.clone();
        let everything = Box::new(move |projection| {
            projections.projector(projection, Arc::new(|| PARTITIONS.all().collect()))
        });
        let between = Arc::new(Between::new(world.projections.store(), everything, round));
        let reader = Reader::new(between.clone(), world.projections.log());
        let at = format!("a commit before read {round}");
        let summary = reader.summary(group, user(1)).await.unwrap().unwrap();
        assert_eq!((summary.head_no.get(), summary.unread), (320, 300), "{at}");
        assert!(summary.last_message.is_some(), "{at}");
        let reads = between.reads();
        let newest = reader.history(group, user(1), Anchor::Newest, 200).await;
        let numbers: Vec<_> = newest
            .unwrap()
            .unwrap()
            .items
            .iter()
            .map(|item| item.message_no.get())
            .collect();
        assert!(numbers.iter().copied().eq(121..=320), "{at}: {numbers:?}");
        if round > reads {
            break;
        }
    }
}

fn is_unavailable<T>(answer: &Result<T, QueryError>) -> bool {
    matches!(answer, Err(QueryError::Unavailable(_)))
}

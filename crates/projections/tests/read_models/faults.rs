//! What the read models show while something is wrong: a projector that stands still, a hole, a poison event, a commit between two reads of
//! one query, a batch that is delivered again.

use std::sync::Arc;

use hubbub_domain::conversation::{Intent, Kind, Recorded, Role};
use hubbub_domain::ids::ConversationId;
use hubbub_domain::position::MessageNo;
use hubbub_event_log::ReadError;
use hubbub_projections::store::Applied;
use hubbub_projections::{Anchor, Projection, Projector, QueryError, ReadModels, Reader};

use crate::between::Between;
use crate::watched::Watched;
use crate::world::{PARTITIONS, World, new_conversation, user};

/// F23: no projector has run for thousands of events. Who writes sees it at once, in every list, and never
/// less afterwards.
pub(crate) async fn writers_see_their_writes_although_no_projector_runs(mut world: World) {
    let old = world
        .create(user(0), new_conversation(Kind::Group, &[user(1)]))
        .await;
    world.say(old, user(0), "before").await.unwrap();
    world.catch_up().await;
    let busy = world
        .create(user(3), new_conversation(Kind::Group, &[user(4)]))
        .await;
    world.say_many(busy, user(3), 10_500).await;

    let reader = world.reader();
    let fresh = world
        .create(user(0), new_conversation(Kind::Group, &[user(1)]))
        .await;
    world.say(fresh, user(0), "mine").await.unwrap();
    world.say(old, user(1), "answer").await.unwrap();
    let room = world
        .create(user(0), new_conversation(Kind::Room, &[]))
        .await;
    world.submit(room, user(1), Intent::Join).await.unwrap();

    let seen = async |person| {
        let page = reader.inbox(user(person), None, 50).await.unwrap();
        page.items
            .iter()
            .map(|item| (item.id, item.head_no.get(), item.unread))
            .collect::<Vec<_>>()
    };
    let (of_0, of_1) = (seen(0).await, seen(1).await);
    assert_eq!(of_0, [(room, 0, 0), (old, 2, 1), (fresh, 1, 0)]);
    assert_eq!(of_1, [(room, 0, 0), (old, 2, 0), (fresh, 1, 1)]);
    assert_eq!(bodies(&reader, fresh, 0).await, ["mine"]);
    assert_eq!(bodies(&reader, old, 1).await, ["before", "answer"]);
    let rooms = reader.rooms(user(0), "", None, 10).await.unwrap();
    assert!(rooms.items.iter().any(|item| item.id == room));
    let (events, bytes) = reader.kept();
    assert!(events > 10_500 && bytes > events);

    // One projection comes back before the other; nothing that was seen is gone meanwhile.
    for projection in [Projection::Inbox, Projection::History] {
        world.projector(projection).catch_up().await.unwrap();
        assert_eq!((seen(0).await, seen(1).await), (of_0.clone(), of_1.clone()));
    }
    assert_eq!(reader.kept(), (0, 0), "what is projected is let go");
}

/// A removal counts at once, however far the projectors are behind.
pub(crate) async fn a_removal_counts_although_no_projector_runs(mut world: World) {
    let group = world
        .create(user(0), new_conversation(Kind::Group, &[user(1)]))
        .await;
    world.catch_up().await;
    let reader = world.reader();
    assert_eq!(reader.inbox(user(1), None, 9).await.unwrap().items.len(), 1);
    let removal = Intent::RemoveMember { user: user(1) };
    world.submit(group, user(0), removal).await.unwrap();
    assert!(
        reader
            .inbox(user(1), None, 9)
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert_eq!(reader.access(group, user(1)).await.unwrap(), None);
}

/// A partition with a hole stands still and is left out of lists; every other one is projected and read. Whoever opens a conversation of the
/// holed one sees all of it, or is told that something of it is missing.
pub(crate) async fn a_hole_stops_its_own_partition_only(mut world: World) {
    let holed = world
        .create(user(0), new_conversation(Kind::Group, &[user(1)]))
        .await;
    let fine = made_until(&mut world, |one| !in_one_partition(one, holed)).await;
    let busy = made_until(&mut world, |one| in_one_partition(one, holed)).await;
    world.catch_up().await;
    world.say(holed, user(0), "lost").await.unwrap();
    // No writer makes a hole; a disk may.
    let log = Watched::without(world.projections.log(), world.head(holed));
    world.say(holed, user(0), "behind the hole").await.unwrap();
    world.say(fine, user(0), "beside it").await.unwrap();
    // More than is read before somebody asks how far the projectors are, and more than a page of it.
    world.say_many(busy, user(0), 1_300).await;
    let log = Arc::new(log);
    let reader = Reader::new(world.projections.store(), log.clone());
    for projected in [false, true] {
        if projected {
            for projection in [Projection::Inbox, Projection::History] {
                let all = Arc::new(|| PARTITIONS.all().collect());
                let store = world.projections.store();
                Projector::new(projection, log.clone(), store, all)
                    .catch_up()
                    .await
                    .unwrap();
            }
        }
        let inbox = reader.inbox(user(1), None, 50).await.unwrap();
        let unread = |id: ConversationId| {
            let item = inbox.items.iter().find(|item| item.id == id);
            item.map(|item| item.unread)
        };
        assert_eq!(unread(fine), Some(1), "projected: {projected}");
        assert!(unread(holed).is_some(), "projected: {projected}");
        assert!(unread(busy).is_some(), "projected: {projected}");
        assert_eq!(bodies(&reader, fine, 1).await, ["beside it"]);

        let summary = reader.summary(busy, user(1)).await.unwrap().unwrap();
        assert_eq!((summary.head_no.get(), summary.unread), (1_300, 1_300));
        assert!(summary.last_message.is_some(), "projected: {projected}");
        let newest = reader.history(busy, user(1), Anchor::Newest, 200).await;
        let newest = newest.unwrap().unwrap().items;
        let numbers = newest.iter().map(|item| item.message_no.get());
        assert!(numbers.eq(1_101..=1_300), "projected: {projected}");
        let fold = reader.membership(busy).await.unwrap().unwrap();
        assert_eq!(fold.as_of, world.states[&busy].last_seq());

        let told = reader.access(holed, user(1)).await;
        assert!(
            matches!(told, Err(QueryError::Log(ReadError::Inconsistent(_)))),
            "{told:?}"
        );
    }
    assert_eq!(reader.lag(PARTITIONS.partition_of(fine)).await.unwrap(), 0);
    assert!(reader.lag(PARTITIONS.partition_of(holed)).await.unwrap() > 0);
}

/// A poison event in one conversation: every list of its members goes on, with the projectors before it, between them and past it.
pub(crate) async fn a_poison_event_hides_nobody_elses_conversation(mut world: World) {
    let broken = world
        .create(user(0), new_conversation(Kind::Group, &[user(1)]))
        .await;
    world.say(broken, user(0), "readable").await.unwrap();
    let fine = world
        .create(user(0), new_conversation(Kind::Group, &[user(1)]))
        .await;
    let command_id = world.next_command();
    let mut row = world.row(&Recorded {
        seq: world.states[&broken].last_seq().next(),
        command_id,
        conversation: broken,
        ..world.events[0].clone()
    });
    row.kind = 9_999;
    world.append(row).await;
    world.say(fine, user(0), "still here").await.unwrap();
    let reader = world.reader();
    for projected in [None, Some(Projection::Inbox), Some(Projection::History)] {
        if let Some(projection) = projected {
            world.projector(projection).catch_up().await.unwrap();
        }
        let inbox = reader.inbox(user(1), None, 50).await.unwrap();
        let item = inbox.items.iter().find(|item| item.id == fine);
        assert_eq!(item.map(|item| item.unread), Some(1), "{projected:?}");
        assert_eq!(bodies(&reader, fine, 1).await, ["still here"]);
    }
    let inbox = reader.inbox(user(1), None, 50).await.unwrap();
    assert_eq!(inbox.items.len(), 2, "the damaged one stays listed");
}

/// A lost row between the two projections: the inbox has what the history cannot read, and every list goes on.
pub(crate) async fn a_lost_event_hides_nobody_elses_conversation(mut world: World) {
    let broken = world
        .create(user(0), new_conversation(Kind::Group, &[user(1)]))
        .await;
    let fine = world
        .create(user(0), new_conversation(Kind::Group, &[user(1)]))
        .await;
    world.catch_up().await;
    world.say(broken, user(0), "lost").await.unwrap();
    let lost = world.head(broken);
    world.say_many(broken, user(0), 200).await;
    world.say(fine, user(0), "still here").await.unwrap();
    world.projector(Projection::Inbox).catch_up().await.unwrap();
    let log = Arc::new(Watched::without(world.projections.log(), lost));
    let reader = Reader::new(world.projections.store(), log);
    let inbox = reader.inbox(user(1), None, 50).await.unwrap();
    let unread = |id: ConversationId| {
        let item = inbox.items.iter().find(|item| item.id == id);
        item.map(|item| item.unread)
    };
    assert_eq!((unread(fine), unread(broken)), (Some(1), Some(201)));
}

/// Wherever between two reads of one query the projectors commit, the answer is the same.
pub(crate) async fn a_commit_between_two_reads_changes_no_answer(mut world: World) {
    let mut conversations = Vec::new();
    let mut points = 0;
    for round in 0_u8.. {
        // Something old, something new, somebody in, somebody out, and a read marker, all of it unprojected but the first.
        let group = world
            .create(user(0), new_conversation(Kind::Group, &[user(1), user(2)]))
            .await;
        conversations.push(group);
        world.say(group, user(0), "one").await.unwrap();
        world.catch_up().await;
        world.say(group, user(0), "two").await.unwrap();
        world.mark(group, user(1), MessageNo::new(1)).await;
        let removal = Intent::RemoveMember { user: user(2) };
        world.submit(group, user(0), removal).await.unwrap();
        let addition = Intent::AddMember {
            user: user(3),
            role: Role::Member,
        };
        world.submit(group, user(0), addition).await.unwrap();
        world.say(group, user(1), "three").await.unwrap();
        world.say(group, user(0), "four").await.unwrap();

        let projections = world.projections.clone();
        let everything = Box::new(move |projection| {
            projections.projector(projection, Arc::new(|| PARTITIONS.all().collect()))
        });
        let between = Arc::new(Between::new(
            world.projections.store(),
            everything,
            usize::from(round),
        ));
        let reader = Reader::new(between.clone(), world.projections.log());
        let at = format!("a commit before read {round}");
        // One query each round, so that the commit falls into each of its gaps in turn.
        let begun = between.reads();
        let inbox = reader.inbox(user(1), None, 200).await.unwrap();
        let inbox_reads = between.reads() - begun;
        let item = inbox.items.iter().find(|item| item.id == group);
        assert!(item.is_some(), "{at}: not listed");
        let item = item.unwrap();
        assert_eq!((item.head_no.get(), item.unread), (4, 1), "{at}");
        let last = item.last_message.as_ref().unwrap();
        assert_eq!(last.body.as_deref(), Some("four"), "{at}");
        assert_eq!(item.member_count, 3, "{at}");
        let out = reader.inbox(user(2), None, 200).await.unwrap();
        assert!(out.items.iter().all(|item| item.id != group), "{at}");
        let new = reader.summary(group, user(3)).await.unwrap().unwrap();
        assert_eq!((new.joined_no.get(), new.unread), (2, 2), "{at}");
        assert_eq!(
            bodies(&reader, group, 0).await,
            ["one", "two", "three", "four"],
            "{at}"
        );
        let members = reader.members(group, user(0), None, 9).await.unwrap();
        let members: Vec<_> = members.unwrap().items.iter().map(|m| m.user).collect();
        assert_eq!(members, [user(0), user(1), user(3)], "{at}");
        points = points.max(inbox_reads);
        if usize::from(round) > between.reads() {
            break;
        }
    }
    assert!(points >= 5, "the inbox has several reads: {points}");
}

/// What a projector wrote, written again, in order or all of it after the newest: nothing changes (I10).
pub(crate) async fn a_batch_that_comes_again_changes_nothing(mut world: World) {
    let store = world.projections.store();
    let group = world
        .create(user(0), new_conversation(Kind::Group, &[user(1)]))
        .await;
    let recording = Arc::new(crate::between::Remembering::new(store.clone()));
    let steps = ["one", "two", "three"];
    for (number, text) in (1_u64..).zip(steps) {
        world.say(group, user(0), text).await.unwrap();
        world.mark(group, user(1), MessageNo::new(number - 1)).await;
        for projection in [Projection::Inbox, Projection::History] {
            let all = Arc::new(|| PARTITIONS.all().collect());
            let log = world.projections.log();
            Projector::new(projection, log, recording.clone(), all)
                .catch_up()
                .await
                .unwrap();
        }
    }
    let reader = world.reader();
    let before = reader.summary(group, user(1)).await.unwrap().unwrap();
    assert_eq!(before.unread, 1);
    let batches = recording.batches();
    assert!(batches.len() >= 6, "{}", batches.len());
    for (projection, changes) in batches.iter().chain(batches.iter().rev()) {
        let applied = store.apply(*projection, &[], changes).await.unwrap();
        assert_eq!(applied, Applied::Done);
        let again = reader.summary(group, user(1)).await.unwrap().unwrap();
        assert_eq!(again, before);
        assert_eq!(bodies(&reader, group, 1).await, steps);
    }
}

async fn bodies(reader: &Reader, conversation: ConversationId, person: u8) -> Vec<String> {
    let page = reader
        .history(conversation, user(person), Anchor::Newest, 200)
        .await
        .unwrap()
        .unwrap();
    page.items
        .iter()
        .map(|item| item.body.clone().unwrap())
        .collect()
}

fn in_one_partition(one: ConversationId, other: ConversationId) -> bool {
    PARTITIONS.partition_of(one) == PARTITIONS.partition_of(other)
}

/// A group that is as it should be; the others made on the way stay.
async fn made_until(
    world: &mut World,
    is_right: impl Fn(ConversationId) -> bool,
) -> ConversationId {
    loop {
        let group = world
            .create(user(0), new_conversation(Kind::Group, &[user(1)]))
            .await;
        if is_right(group) {
            return group;
        }
    }
}

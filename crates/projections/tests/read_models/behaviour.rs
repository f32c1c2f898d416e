//! What the read models must show, whatever they are stored in and however far they are projected.

use std::collections::BTreeMap;

use hubbub_domain::conversation::{Event, Intent, JoinHistory, Kind, Recorded, Role};
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::MessageNo;
use hubbub_projections::{Anchor, Projection, ReadModels};

use crate::world::{World, new_conversation, user};

/// A naive reading of all events: the truth that every answer is compared with.
struct Recount<'events> {
    events: &'events [Recorded],
}

impl Recount<'_> {
    fn of(&self, conversation: ConversationId) -> impl Iterator<Item = &Recorded> {
        self.events
            .iter()
            .filter(move |event| event.conversation == conversation)
    }

    fn members(&self, conversation: ConversationId) -> BTreeMap<UserId, (Role, MessageNo)> {
        let mut members = BTreeMap::new();
        let mut head = MessageNo::ZERO;
        for event in self.of(conversation) {
            match &event.event {
                Event::ConversationCreated { members: first, .. } => {
                    members.extend(
                        first
                            .iter()
                            .map(|(user, role)| (*user, (*role, MessageNo::ZERO))),
                    );
                }
                Event::MemberAdded { user, role } => {
                    members.insert(*user, (*role, head));
                }
                Event::MemberRemoved { user, .. } => {
                    members.remove(user);
                }
                Event::RoleChanged { user, role } => {
                    members.get_mut(user).unwrap().0 = *role;
                }
                Event::MessageSent { message_no, .. } => head = *message_no,
            }
        }
        members
    }

    fn bodies(&self, conversation: ConversationId) -> Vec<(MessageNo, String)> {
        self.of(conversation)
            .filter_map(|event| match &event.event {
                Event::MessageSent {
                    message_no, body, ..
                } => Some((*message_no, body.clone().unwrap())),
                _ => None,
            })
            .collect()
    }

    /// Messages of others after the last thing the user read, wrote or joined at.
    fn unread(&self, conversation: ConversationId, reader: UserId, read: MessageNo) -> u64 {
        let joined = self.members(conversation)[&reader].1;
        let mut marker = read.max(joined);
        for event in self.of(conversation) {
            if let Event::MessageSent { message_no, .. } = &event.event
                && event.by == reader
            {
                marker = marker.max(*message_no);
            }
        }
        let after = self.of(conversation).filter(|event| {
            matches!(&event.event, Event::MessageSent { message_no, .. } if *message_no > marker && event.by != reader)
        });
        u64::try_from(after.count()).unwrap()
    }
}

/// A small generator so that a failing script can be named by its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn person(&mut self) -> UserId {
        user(u8::try_from(self.roll(6)).unwrap())
    }
}

/// Whatever happens and wherever the projectors stand, every answer equals a recount of the log.
pub(crate) async fn every_answer_equals_a_recount_of_the_log(mut world: World) {
    for seed in 1..=3_u64 {
        let mut dice = Dice(seed);
        let mut conversations = vec![
            world
                .create(user(0), new_conversation(Kind::Group, &[user(1), user(2)]))
                .await,
            world
                .create(user(3), new_conversation(Kind::Room, &[user(0)]))
                .await,
        ];
        if seed == 1 {
            conversations.push(
                world
                    .create(user(1), new_conversation(Kind::Direct, &[user(4)]))
                    .await,
            );
        }
        let mut read: BTreeMap<(ConversationId, UserId), MessageNo> = BTreeMap::new();
        for step in 0..60_u32 {
            let conversation =
                conversations[usize::try_from(dice.roll(conversations.len() as u64)).unwrap()];
            let (one, other) = (dice.person(), dice.person());
            match dice.roll(12) {
                0 => drop(world.submit(conversation, one, Intent::Join).await),
                1 => drop(world.submit(conversation, one, Intent::Leave).await),
                2 => drop(
                    world
                        .submit(
                            conversation,
                            one,
                            Intent::AddMember {
                                user: other,
                                role: Role::Member,
                            },
                        )
                        .await,
                ),
                3 => drop(
                    world
                        .submit(conversation, one, Intent::RemoveMember { user: other })
                        .await,
                ),
                4 => drop(
                    world
                        .submit(
                            conversation,
                            one,
                            Intent::ChangeRole {
                                user: other,
                                role: Role::Admin,
                            },
                        )
                        .await,
                ),
                5 => {
                    let head = world.states[&conversation].last_message_no();
                    if world.states[&conversation].is_member(one) {
                        world.mark(conversation, one, head).await;
                        let entry = read.entry((conversation, one)).or_default();
                        *entry = head.max(*entry);
                    }
                }
                6 => world.projector(Projection::Inbox).catch_up().await.unwrap(),
                7 => world
                    .projector(Projection::History)
                    .catch_up()
                    .await
                    .unwrap(),
                _ => drop(
                    world
                        .say(conversation, one, &format!("seed {seed} step {step}"))
                        .await,
                ),
            }
            if step % 6 == 5 {
                compare(&world, &conversations, &read, seed).await;
            }
        }
        world.catch_up().await;
        compare(&world, &conversations, &read, seed).await;
    }
}

async fn compare(
    world: &World,
    conversations: &[ConversationId],
    read: &BTreeMap<(ConversationId, UserId), MessageNo>,
    seed: u64,
) {
    let reader = world.reader();
    let recount = Recount {
        events: &world.events,
    };
    for person in (0..6).map(user) {
        let inbox = reader.inbox(person, None, 200).await.unwrap();
        let mut order = inbox
            .items
            .iter()
            .map(|item| (item.active_at, item.id))
            .collect::<Vec<_>>();
        order.sort_by(|one, other| other.cmp(one));
        assert!(
            order.iter().eq(inbox
                .items
                .iter()
                .map(|item| (item.active_at, item.id))
                .collect::<Vec<_>>()
                .iter())
        );
        for conversation in conversations {
            let members = recount.members(*conversation);
            let listed = inbox.items.iter().find(|item| item.id == *conversation);
            assert_eq!(
                listed.is_some(),
                members.contains_key(&person),
                "seed {seed}: {person} in {conversation}"
            );
            let access = reader.access(*conversation, person).await.unwrap();
            assert_eq!(
                access.and_then(|access| access.role),
                members.get(&person).map(|member| member.0),
                "seed {seed}"
            );
            let Some(item) = listed else { continue };
            let marker = read
                .get(&(*conversation, person))
                .copied()
                .unwrap_or_default();
            assert_eq!(
                item.unread,
                recount.unread(*conversation, person, marker),
                "seed {seed}: unread of {person}"
            );
            assert_eq!(item.member_count, members.len() as u64, "seed {seed}");
            let bodies = recount.bodies(*conversation);
            assert_eq!(item.head_no.get(), bodies.len() as u64, "seed {seed}");
            let last = item
                .last_message
                .as_ref()
                .map(|message| message.body.clone().unwrap());
            assert_eq!(
                last,
                bodies.last().map(|(_, body)| body.clone()),
                "seed {seed}"
            );
            assert_eq!(
                Some(item),
                reader
                    .summary(*conversation, person)
                    .await
                    .unwrap()
                    .as_ref(),
                "seed {seed}"
            );

            let everyone = reader
                .members(*conversation, person, None, 200)
                .await
                .unwrap()
                .unwrap();
            let everyone: BTreeMap<_, _> = everyone
                .items
                .iter()
                .map(|member| (member.user, (member.role, member.joined_no)))
                .collect();
            assert_eq!(everyone, members, "seed {seed}");
            let fold = reader.membership(*conversation).await.unwrap().unwrap();
            assert!(fold.members.iter().eq(members.keys()), "seed {seed}");

            let newest = reader
                .history(*conversation, person, Anchor::Newest, 200)
                .await
                .unwrap()
                .unwrap();
            let texts: Vec<_> = newest
                .items
                .iter()
                .map(|item| (item.message_no, item.body.clone().unwrap()))
                .collect();
            assert_eq!(texts, bodies, "seed {seed}");
            assert!(!newest.has_more);
        }
    }
}

/// Pages of history are cut exactly, from either side, half projected or not.
pub(crate) async fn history_pages_are_exact_on_every_side(mut world: World) {
    let group = world
        .create(user(0), new_conversation(Kind::Group, &[user(1)]))
        .await;
    for number in 1..=25_u32 {
        world
            .say(group, user(0), &format!("message {number}"))
            .await
            .unwrap();
        if number == 15 {
            world.catch_up().await;
        }
    }
    let reader = world.reader();
    let page = async |anchor, limit| {
        let page = reader
            .history(group, user(1), anchor, limit)
            .await
            .unwrap()
            .unwrap();
        let numbers: Vec<u64> = page
            .items
            .iter()
            .map(|item| item.message_no.get())
            .collect();
        (numbers, page.has_more)
    };
    let no = MessageNo::new;
    assert_eq!(page(Anchor::Newest, 4).await, (vec![22, 23, 24, 25], true));
    assert_eq!(page(Anchor::Newest, 25).await, ((1..=25).collect(), false));
    assert_eq!(
        page(Anchor::Before(no(17)), 4).await,
        (vec![13, 14, 15, 16], true)
    );
    assert_eq!(page(Anchor::Before(no(3)), 4).await, (vec![1, 2], false));
    assert_eq!(page(Anchor::Before(no(1)), 4).await, (vec![], false));
    assert_eq!(page(Anchor::Before(no(900)), 2).await, (vec![24, 25], true));
    assert_eq!(
        page(Anchor::After(no(13)), 4).await,
        (vec![14, 15, 16, 17], true)
    );
    assert_eq!(page(Anchor::After(no(23)), 4).await, (vec![24, 25], false));
    assert_eq!(page(Anchor::After(no(25)), 4).await, (vec![], false));
    assert_eq!(
        page(Anchor::Around(no(15)), 4).await,
        (vec![13, 14, 15, 16], true)
    );
    assert_eq!(
        page(Anchor::Around(no(1)), 4).await,
        (vec![1, 2, 3, 4], true)
    );
    assert_eq!(
        page(Anchor::Around(no(25)), 4).await,
        (vec![23, 24, 25], true)
    );
}

/// Who joins with history from the joining on sees nothing older.
pub(crate) async fn a_new_member_sees_from_joining_on_when_the_room_says_so(mut world: World) {
    let mut new = new_conversation(Kind::Group, &[user(1)]);
    new.settings.join_history = JoinHistory::FromJoin;
    let group = world.create(user(0), new).await;
    world.say(group, user(0), "before").await.unwrap();
    world.catch_up().await;
    world
        .submit(
            group,
            user(0),
            Intent::AddMember {
                user: user(2),
                role: Role::Member,
            },
        )
        .await
        .unwrap();
    let reader = world.reader();
    let seen = async |person| {
        let page = reader
            .history(group, person, Anchor::Newest, 10)
            .await
            .unwrap()
            .unwrap();
        page.items
            .iter()
            .map(|item| item.body.clone().unwrap())
            .collect::<Vec<_>>()
    };
    assert!(seen(user(2)).await.is_empty());
    let summary = reader.summary(group, user(2)).await.unwrap().unwrap();
    assert_eq!(
        (summary.unread, summary.last_message),
        (0, None),
        "nor in the summary"
    );
    world.say(group, user(0), "after").await.unwrap();
    assert_eq!(seen(user(2)).await, ["after"]);
    assert_eq!(seen(user(1)).await, ["before", "after"]);
}

/// What one may not see and what does not exist answer alike.
pub(crate) async fn what_is_not_mine_does_not_exist(mut world: World) {
    let group = world
        .create(user(0), new_conversation(Kind::Group, &[user(1)]))
        .await;
    let room = world
        .create(user(0), new_conversation(Kind::Room, &[]))
        .await;
    world.say(group, user(0), "secret").await.unwrap();
    world.say(room, user(0), "for members").await.unwrap();
    let reader = world.reader();
    for _ in 0..2 {
        assert_eq!(reader.access(group, user(5)).await.unwrap(), None);
        assert_eq!(reader.summary(group, user(5)).await.unwrap(), None);
        assert_eq!(
            reader
                .history(group, user(5), Anchor::Newest, 5)
                .await
                .unwrap(),
            None
        );
        assert_eq!(reader.members(group, user(5), None, 5).await.unwrap(), None);
        assert!(
            reader
                .inbox(user(5), None, 5)
                .await
                .unwrap()
                .items
                .is_empty()
        );
        assert_eq!(
            reader.access(room, user(5)).await.unwrap().unwrap().role,
            None,
            "a public room can be looked at"
        );
        let seen = reader.summary(room, user(5)).await.unwrap().unwrap();
        assert_eq!(
            (seen.head_no.get(), seen.last_message),
            (1, None),
            "not read"
        );
        let listed = reader.rooms(user(5), "", None, 50).await.unwrap();
        let listed = listed.items.iter().find(|item| item.id == room).unwrap();
        assert_eq!(listed.last_message, None);
        world.catch_up().await;
    }
    world
        .submit(group, user(0), Intent::RemoveMember { user: user(1) })
        .await
        .unwrap();
    assert_eq!(
        reader.access(group, user(1)).await.unwrap(),
        None,
        "a removal counts at once"
    );
}

/// Cursors walk through lists without leaving out or repeating anything.
pub(crate) async fn cursors_walk_through_everything_once(mut world: World) {
    let mut made = Vec::new();
    for number in 0..23_u8 {
        let mut new = new_conversation(Kind::Room, &[]);
        new.title = Some(format!("Room {number} 100%_sure"));
        made.push(world.create(user(0), new).await);
        if number == 17 {
            world.catch_up().await;
        }
    }
    let reader = world.reader();
    let mut inbox = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = reader.inbox(user(0), cursor.as_deref(), 5).await.unwrap();
        inbox.extend(page.items.iter().map(|item| item.id));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    made.reverse();
    assert_eq!(inbox, made, "newest activity first");

    world.catch_up().await;
    let mut rooms = Vec::new();
    loop {
        let page = reader
            .rooms(user(0), "100%_SURE", cursor.as_deref(), 7)
            .await
            .unwrap();
        rooms.extend(page.items.iter().map(|item| item.id));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    rooms.sort();
    made.sort();
    assert_eq!(rooms, made);
    assert!(
        reader
            .rooms(user(0), "100x_sure", None, 7)
            .await
            .unwrap()
            .items
            .is_empty(),
        "wildcards are ordinary characters"
    );

    for number in 1..=9 {
        world
            .submit(made[0], user(number), Intent::Join)
            .await
            .unwrap();
    }
    let mut people = Vec::new();
    loop {
        let page = reader
            .members(made[0], user(0), cursor.as_deref(), 3)
            .await
            .unwrap()
            .unwrap();
        people.extend(page.items.iter().map(|item| item.user));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(people, (0..=9).map(user).collect::<Vec<_>>());
    assert!(
        reader
            .inbox(user(0), Some("r.1.00000000000000000000000000000000"), 5)
            .await
            .is_err()
    );
}

/// A second projector, as after an ownership change, neither doubles nor loses anything.
pub(crate) async fn two_projectors_at_once_are_harmless(mut world: World) {
    let group = world
        .create(user(0), new_conversation(Kind::Group, &[user(1)]))
        .await;
    for number in 0..40_u32 {
        world
            .say(group, user(0), &format!("{number}"))
            .await
            .unwrap();
    }
    for projection in [Projection::Inbox, Projection::History] {
        let (mut one, mut other) = (world.projector(projection), world.projector(projection));
        let (first, second) = tokio::join!(one.catch_up(), other.catch_up());
        first.unwrap();
        second.unwrap();
    }
    let reader = world.reader();
    assert_eq!(
        reader
            .summary(group, user(1))
            .await
            .unwrap()
            .unwrap()
            .unread,
        40
    );
    let page = reader
        .history(group, user(1), Anchor::Newest, 200)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(page.items.len(), 40);
    let partition = crate::world::PARTITIONS.partition_of(group);
    assert_eq!(reader.lag(partition).await.unwrap(), 0);
}

/// An unreadable event parks its own conversation; everyone else's goes on.
pub(crate) async fn an_unreadable_event_parks_its_conversation_only(mut world: World) {
    let broken = world
        .create(user(0), new_conversation(Kind::Group, &[user(1)]))
        .await;
    let fine = world
        .create(user(0), new_conversation(Kind::Group, &[user(1)]))
        .await;
    let command_id = world.next_command();
    let mut row = world.row(&Recorded {
        seq: world.states[&broken].last_seq().next(),
        command_id,
        ..world.events[0].clone()
    });
    row.kind = 9_999;
    world.append(row).await;
    world.say(fine, user(0), "still here").await.unwrap();
    world.catch_up().await;
    let reader = world.reader();
    assert_eq!(
        reader.summary(fine, user(1)).await.unwrap().unwrap().unread,
        1
    );
    assert!(
        reader
            .history(broken, user(0), Anchor::Newest, 5)
            .await
            .is_err(),
        "reported, not papered over"
    );
    let partition = crate::world::PARTITIONS.partition_of(broken);
    assert_eq!(
        reader.lag(partition).await.unwrap(),
        0,
        "the projector went past it"
    );
    assert!(
        reader
            .inbox(user(1), None, 50)
            .await
            .unwrap()
            .items
            .iter()
            .any(|item| item.id == fine)
    );
}

/// A text that a store cannot keep as it is does not stop the projection of everything else.
pub(crate) async fn a_text_with_a_nul_is_projected_all_the_same(mut world: World) {
    let group = world
        .create(user(0), new_conversation(Kind::Group, &[user(1)]))
        .await;
    let command_id = world.next_command();
    let row = world.row(&Recorded {
        seq: world.states[&group].last_seq().next(),
        command_id,
        event: Event::MessageSent {
            message_no: MessageNo::new(1),
            body: Some("a\0b".to_owned()),
            reply_to_no: None,
            thread_root_no: None,
        },
        ..world.events[0].clone()
    });
    world.append(row).await;
    world.catch_up().await;
    let reader = world.reader();
    let page = reader
        .history(group, user(1), Anchor::Newest, 5)
        .await
        .unwrap()
        .unwrap();
    let body = page.items[0].body.clone().unwrap();
    assert!(["a\0b", "a\u{fffd}b"].contains(&body.as_str()), "{body:?}");
    assert_eq!(
        reader
            .lag(crate::world::PARTITIONS.partition_of(group))
            .await
            .unwrap(),
        0
    );
    assert!(
        reader
            .rooms(user(0), "a\0", None, 5)
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

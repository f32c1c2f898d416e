//! Two people talk.

use hubbub_client::Notice;
use hubbub_wire::client::EventData;
use hubbub_wire::client::words::ConversationKind;

use crate::harness::deployment::World;
use crate::harness::listener::body_of;
use crate::harness::person::{Person, direct_with};

pub(crate) async fn a_direct_chat_goes_both_ways_with_history_and_exact_unread_counts(
    world: &World,
) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let (mut ada_hears, mut ben_hears) = (ada.connect().await, ben.connect().await);

    let chat = ada.direct(&ben).await;
    let first = ada_hears.say(chat, "good morning").await;
    assert_eq!((first.message_no, first.duplicate), (Some(1), false));
    let heard = ben_hears.message(chat, "good morning").await;
    assert_eq!(
        (heard.seq, heard.epoch, heard.by),
        (first.seq, first.epoch, ada.id())
    );
    assert_eq!((heard.command_id, heard.message_no), (first.id, Some(1)));
    ada_hears.message(chat, "good morning").await;
    ada_hears.say(chat, "did you sleep well?").await;

    assert_eq!(ben.unread(chat).await, 2);
    assert_eq!(
        ada.unread(chat).await,
        0,
        "one's own messages are never unread"
    );

    let entry = ben.inbox_entry(chat).await;
    assert_eq!(entry.kind, ConversationKind::Direct);
    assert_eq!(entry.peer, Some(ada.user.clone()));
    assert_eq!(
        (entry.head_no, entry.read_no, entry.member_count),
        (2, 0, 2)
    );
    let last = entry.last_message.expect("there is one");
    assert_eq!(last.body.as_deref(), Some("did you sleep well?"));

    // Answering says that one has read what came before.
    ben_hears.say(chat, "like a stone").await;
    ada_hears.message(chat, "like a stone").await;
    assert_eq!((ben.unread(chat).await, ada.unread(chat).await), (0, 1));

    for person in [&ada, &ben] {
        for rest in person.rests() {
            let history = crate::harness::person::history(&rest, chat).await;
            let bodies: Vec<_> = history
                .iter()
                .filter_map(|message| message.body.as_deref())
                .collect();
            assert_eq!(
                bodies,
                ["good morning", "did you sleep well?", "like a stone"]
            );
            let numbers: Vec<u64> = history.iter().map(|message| message.message_no).collect();
            assert_eq!(numbers, [1, 2, 3]);
        }
    }
    ben_hears.message(chat, "like a stone").await;
    assert_eq!(
        ben_hears.delivered_seqs(chat),
        (1..=first.seq + 2).collect::<Vec<_>>()
    );
}

pub(crate) async fn both_sides_beginning_a_direct_chat_at_once_get_the_same_one(world: &World) {
    for _round in 0..5 {
        let ada = Person::register(world, "ada", 0).await;
        let ben = Person::register(world, "ben", 1).await;
        let (to_ben, to_ada) = (direct_with(ben.id()), direct_with(ada.id()));
        let (one, other) = tokio::join!(
            ada.rest.create_conversation(&to_ben, None),
            ben.rest.create_conversation(&to_ada, None),
        );
        let chat = one.expect("it begins").id;
        assert_eq!(other.expect("it begins").id, chat);
        assert_eq!(
            ada.direct(&ben).await,
            chat,
            "nor does a third request make another"
        );

        let log = ada.log(chat).await;
        let created = log
            .iter()
            .filter(|event| matches!(event.event, EventData::ConversationCreated(_)));
        assert_eq!((created.count(), log.len()), (1, 1), "{log:?}");
        assert_eq!(ben.log(chat).await, log);
    }
}

pub(crate) async fn the_other_person_is_told_of_a_new_direct_chat(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let mut ben_hears = ben.connect().await;
    let chat = ada.direct(&ben).await;
    let added = ben_hears
        .until("added", |notice| match notice {
            Notice::Added(conversation) => Some(conversation.as_ref().clone()),
            _other => None,
        })
        .await;
    assert_eq!((added.id, added.peer), (chat, Some(ada.user.clone())));
    let first = ben_hears.event_of(chat).await;
    assert_eq!((first.seq, first.event.kind()), (1, "conversation_created"));
}

/// P5: after an ack, history and counts that the same user reads contain the message.
pub(crate) async fn after_an_ack_the_own_history_and_inbox_contain_the_message(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    let ada_says = ada.connect().await;
    for round in 1..=20_u64 {
        let body = format!("message {round}");
        if round % 2 == 0 {
            ada_says.say(chat, &body).await;
        } else {
            ada.say(chat, &body).await;
        }
        for rest in ada.rests() {
            let newest = rest
                .messages(chat, &hubbub_wire::rest::MessagesQuery::default())
                .await;
            let newest = newest.expect("history can be read").items;
            let last = newest.last().expect("it is there at once");
            assert_eq!(
                (last.message_no, last.body.as_deref()),
                (round, Some(body.as_str()))
            );
            let inbox = crate::harness::person::inbox(&rest).await;
            assert_eq!(
                (inbox[0].id, inbox[0].head_no, inbox[0].read_no),
                (chat, round, round)
            );
        }
        assert_eq!(ben.unread(chat).await, round);
    }
}

pub(crate) async fn two_people_talking_at_once_see_one_order(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    let (mut ada_hears, mut ben_hears) = (ada.connect().await, ben.connect().await);
    let mut receipts = Vec::new();
    for round in 0..50 {
        for speaker in [&ada_hears, &ben_hears] {
            receipts.push(
                speaker
                    .client
                    .send(chat, format!("{round}"))
                    .await
                    .expect("the client runs"),
            );
        }
    }
    for receipt in receipts {
        receipt.await.expect("every message is stored");
    }
    ada_hears.say(chat, "the end").await;
    let mut orders = Vec::new();
    for listener in [&mut ada_hears, &mut ben_hears] {
        listener.message(chat, "the end").await;
        let told: Vec<_> = listener
            .heard
            .iter()
            .filter_map(|notice| match notice {
                Notice::Delivered(event) => {
                    body_of(event).map(|body| (event.seq, event.by, body.to_owned()))
                }
                _other => None,
            })
            .collect();
        assert_eq!(told.len(), 101);
        orders.push(told);
    }
    assert_eq!(orders[0], orders[1]);
}

//! Rooms that everyone may find.

use hubbub_wire::client::words::{ConversationKind, Role, Visibility};
use hubbub_wire::rest::{CreateConversation, SearchQuery};

use crate::harness::deployment::World;
use crate::harness::http::Http;
use crate::harness::person::{Person, direct_with, unique};

pub(crate) async fn a_visitor_sees_a_public_room_but_nothing_that_was_said_there(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let eve = Person::register(world, "eve", 1).await;
    let title = unique("garden");
    let room = ada.room(&title).await;
    ada.say(room, "the key is under the mat").await;
    for url in &eve.urls {
        let http = Http::new(url).with_token(&eve.token);
        for path in [
            format!("/conversations/{room}"),
            format!("/rooms?query={title}"),
        ] {
            let answer = http.get(&path).await;
            assert_eq!(answer.status, 200, "{path}");
            let shown = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(
                shown.contains(&title) && !shown.contains("mat"),
                "{path}: {shown}"
            );
        }
        for path in ["messages", "messages/1", "events", "members"] {
            let answer = http.get(&format!("/conversations/{room}/{path}")).await;
            assert_eq!(answer.said(), "403 forbidden", "{path}: only members");
        }
    }
    let mut socket = eve.socket(&[(room, 0, 0).into()]).await;
    let frames = socket.collect_until(|frame| frame["t"] == "live").await;
    assert_eq!(frames.len(), 1, "nothing of it on the socket: {frames:?}");
    let refused = eve.try_say(room, "hello", None).await;
    assert_eq!(refused.expect_err("only members post").status(), Some(403));
}

pub(crate) async fn a_public_room_is_found_and_joined_and_a_private_one_is_not(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let word = unique("garden");
    let open = ada.room(&format!("{word} open")).await;
    let closed = CreateConversation {
        kind: ConversationKind::Room,
        members: None,
        title: Some(format!("{word} closed")),
        visibility: Some(Visibility::Private),
        ..direct_with(ada.id())
    };
    let closed = ada
        .rest
        .create_conversation(&closed, None)
        .await
        .expect("it is made")
        .id;
    ada.say(open, "the beans are up").await;

    let search = SearchQuery {
        query: Some(word),
        ..SearchQuery::default()
    };
    for rest in ben.rests() {
        let found = rest
            .rooms(&search)
            .await
            .expect("rooms can be searched")
            .items;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (found[0].id, found[0].my_role, found[0].member_count),
            (open, None, 1)
        );
        let seen = rest
            .conversation(open)
            .await
            .expect("a public room can be looked at");
        assert_eq!((seen.my_role, seen.kind), (None, ConversationKind::Room));
        assert_eq!(
            rest.conversation(closed)
                .await
                .expect_err("it is private")
                .status(),
            Some(404)
        );
    }

    let mut ben_hears = ben.connect().await;
    let joined = ben.rest.join(open, None).await.expect("anyone may join");
    assert_eq!(
        (joined.my_role, joined.member_count, joined.unread),
        (Some(Role::Member), 2, 0)
    );
    ben.rest
        .join(open, None)
        .await
        .expect("joining again is no error");
    let own = ben_hears.event_of(open).await;
    assert_eq!((own.event.kind(), own.by), ("member_added", ben.id()));
    ada.say(open, "hello ben").await;
    ben_hears.message(open, "hello ben").await;
    assert_eq!(ben.unread(open).await, 1);
    assert_eq!(ben.history(open).await.len(), 2, "a room shows its past");

    let refused = ben
        .rest
        .join(closed, None)
        .await
        .expect_err("it is private");
    assert_eq!(refused.status(), Some(404));
    ben.rest.leave(open, None).await.expect("anybody may leave");
    assert_eq!(
        ada.log(open).await.len(),
        5,
        "created, said, joined, said, left"
    );
}

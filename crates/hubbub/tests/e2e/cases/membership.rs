//! Who is in a group, and what everybody hears of it.

use hubbub_client::Notice;
use hubbub_wire::client::close;
use hubbub_wire::client::words::{RemovalReason, Role};
use hubbub_wire::client::{EventData, RawEvent};
use hubbub_wire::error::ErrorCode;
use hubbub_wire::rest::{AddMember, ChangeRole};
use serde_json::json;
use uuid::Uuid;

use crate::harness::deployment::World;
use crate::harness::listener::Listener;
use crate::harness::person::Person;
use crate::harness::raw_socket::event_seqs;

pub(crate) async fn an_added_member_hears_added_and_then_the_own_joining_first(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let cid = Person::register(world, "cid", 1).await;
    let group = ada.group("Choir", &[&ben]).await;
    ada.say(group, "before cid").await;
    let mut cid_hears = cid.socket(&[]).await;
    let mut ben_hears = ben.connect().await;

    ada.add(group, &cid).await;
    ada.say(group, "welcome").await;

    let added = cid_hears
        .find(|frame| frame["t"] == "added" || frame["t"] == "event")
        .await;
    assert_eq!(
        added["t"], "added",
        "the stream is announced first: {added}"
    );
    assert_eq!(added["conversation"]["id"], json!(group));
    let joining = cid_hears.frame("event").await;
    assert_eq!(
        (&joining["kind"], &joining["seq"]),
        (&json!("member_added"), &json!(3))
    );
    assert_eq!(joining["data"]["user_id"], json!(cid.id()));
    let welcome = cid_hears.frame("event").await;
    assert_eq!(
        (&welcome["seq"], &welcome["data"]["body"]),
        (&json!(4), &json!("welcome"))
    );

    let told = ben_hears.event_of(group).await;
    assert_member_added(&told, &cid);
    // A group shows its past from the start, and what came before joining is not unread.
    assert_eq!(cid.history(group).await.len(), 2);
    assert_eq!(cid.unread(group).await, 1);
}

pub(crate) async fn a_removed_member_hears_of_it_and_then_nothing(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let cid = Person::register(world, "cid", 1).await;
    let group = ada.group("Choir", &[&ben, &cid]).await;
    let mut cid_hears = cid.socket(&[]).await;
    let mut ben_hears = ben.connect().await;

    ada.rest
        .remove_member(group, cid.id(), None)
        .await
        .expect("an owner removes members");
    ada.rest
        .remove_member(group, cid.id(), None)
        .await
        .expect("removing again is no error");
    ada.say(group, "without cid").await;
    ada.add(group, &cid).await;

    let frames = cid_hears
        .collect_until(|frame| frame["t"] == "event" && frame["kind"] == "member_added")
        .await;
    let heard: Vec<_> = frames
        .iter()
        .map(|frame| {
            (
                frame["t"].as_str().unwrap_or(""),
                frame["kind"].as_str().unwrap_or(""),
            )
        })
        .filter(|(t, _kind)| ["event", "removed", "added"].contains(t))
        .collect();
    assert_eq!(
        heard,
        [
            ("event", "member_removed"),
            ("removed", ""),
            ("added", ""),
            ("event", "member_added")
        ],
        "nothing was heard while away"
    );
    assert_eq!(event_seqs(&frames, group), [2, 4]);

    let removed = ben_hears.event_of(group).await;
    assert_member_removed(&removed, &cid, RemovalReason::Removed);
    ben_hears.message(group, "without cid").await;
    assert_member_added(&ben_hears.event_of(group).await, &cid);
}

pub(crate) async fn a_member_who_leaves_cannot_read_any_more(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let group = ada.group("Choir", &[&ben]).await;
    let (mut ada_hears, mut ben_hears) = (ada.connect().await, ben.connect().await);

    ben.rest
        .leave(group, None)
        .await
        .expect("anybody may leave");
    assert_member_removed(&ada_hears.event_of(group).await, &ben, RemovalReason::Left);
    assert_eq!(
        hear_removed(&mut ben_hears, group).await,
        Some(RemovalReason::Left)
    );

    for rest in ben.rests() {
        let refused = rest.conversation(group).await.expect_err("ben is out");
        assert_eq!(refused.status(), Some(404));
        assert!(crate::harness::person::inbox(&rest).await.is_empty());
    }
    let refused = ben
        .try_say(group, "hello?", None)
        .await
        .expect_err("ben is out");
    assert_eq!(refused.status(), Some(404));
    let refused = ben
        .rest
        .join(group, None)
        .await
        .expect_err("a private group is not joined");
    assert_eq!(refused.status(), Some(404));
}

pub(crate) async fn the_last_owner_cannot_leave_and_roles_rule_who_may_do_what(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let cid = Person::register(world, "cid", 0).await;
    let group = ada.group("Choir", &[&ben]).await;

    let refused = ada
        .rest
        .leave(group, None)
        .await
        .expect_err("the last owner stays");
    assert_eq!(refused.problem().expect("why").code, ErrorCode::Conflict);
    let add = AddMember {
        user_id: cid.id(),
        role: None,
    };
    let refused = ben
        .rest
        .add_member(group, &add, None)
        .await
        .expect_err("a member manages nobody");
    assert_eq!(refused.problem().expect("why").code, ErrorCode::Forbidden);
    let refused = ben
        .rest
        .remove_member(group, ada.id(), None)
        .await
        .expect_err("nor removes the owner");
    assert_eq!(refused.problem().expect("why").code, ErrorCode::Forbidden);
    assert_eq!(
        ada.head(group).await.seq,
        1,
        "what is refused is not stored"
    );

    let role = ChangeRole { role: Role::Admin };
    ada.rest
        .change_role(group, ben.id(), &role, None)
        .await
        .expect("an owner gives roles");
    ben.rest
        .add_member(group, &add, None)
        .await
        .expect("an admin adds members");
    ben.rest
        .add_member(group, &add, None)
        .await
        .expect("adding again is no error");
    assert_eq!(ada.head(group).await.seq, 3);

    for rest in ada.rests() {
        let members = rest
            .members(group, None)
            .await
            .expect("members can be listed")
            .items;
        let mut roles: Vec<_> = members
            .iter()
            .map(|member| (member.user.clone(), member.role))
            .collect();
        roles.sort_by_key(|(user, _role)| user.username.clone());
        assert_eq!(
            roles,
            [
                (ada.user.clone(), Role::Owner),
                (ben.user.clone(), Role::Admin),
                (cid.user.clone(), Role::Member)
            ]
        );
    }
}

pub(crate) async fn a_removed_member_is_removed_from_open_sockets_on_every_node(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let cid = Person::register(world, "cid", 1).await;
    let group = ada.group("Choir", &[&cid]).await;
    let mut sockets = Vec::new();
    for url in &cid.urls {
        let mut socket = crate::harness::raw_socket::RawSocket::open(url, &cid.token).await;
        socket.hello(&[]).await;
        sockets.push(socket);
    }
    ada.rest
        .remove_member(group, cid.id(), None)
        .await
        .expect("an owner removes members");
    for socket in &mut sockets {
        let removed = socket.frame("removed").await;
        assert_eq!(
            (&removed["conversation_id"], &removed["reason"]),
            (&json!(group), &json!("removed"))
        );
        socket.is_alive(7).await;
    }
    cid.rest.logout().await.expect("logging out works");
    for socket in &mut sockets {
        assert_eq!(socket.closed().await, Some(close::SESSION_ENDED));
    }
}

async fn hear_removed(listener: &mut Listener, conversation: Uuid) -> Option<RemovalReason> {
    listener
        .until("removed", |notice| match notice {
            Notice::Removed {
                conversation_id,
                reason,
            } if *conversation_id == conversation => Some(*reason),
            _other => None,
        })
        .await
}

fn assert_member_added(event: &RawEvent, person: &Person) {
    match &event.event {
        EventData::MemberAdded(added) => assert_eq!(added.user_id, person.id()),
        other => panic!("not a joining: {other:?}"),
    }
}

fn assert_member_removed(event: &RawEvent, person: &Person, reason: RemovalReason) {
    match &event.event {
        EventData::MemberRemoved(removed) => {
            assert_eq!((removed.user_id, removed.reason), (person.id(), reason));
        }
        other => panic!("not a removal: {other:?}"),
    }
}

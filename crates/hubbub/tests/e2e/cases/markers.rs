//! What has been read.

use hubbub_client::Notice;
use hubbub_testkit::wait::eventually;

use crate::harness::PATIENCE;
use crate::harness::deployment::World;
use crate::harness::person::Person;

pub(crate) async fn marks_reach_the_other_side_and_clear_the_unread_count(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    let (mut ada_hears, mut ben_hears) = (ada.connect().await, ben.connect().await);
    for body in ["one", "two", "three"] {
        ada_hears.say(chat, body).await;
    }
    ben_hears.message(chat, "three").await;
    assert_eq!(ben.unread(chat).await, 3);

    ben_hears.client.mark(chat, Some(2), Some(3)).await;
    let marker = ada_hears
        .until("ben's marker", |notice| match notice {
            Notice::Marker(marker) if marker.read_no == Some(2) => Some(*marker),
            _other => None,
        })
        .await;
    assert_eq!((marker.conversation_id, marker.user_id), (chat, ben.id()));
    eventually(PATIENCE, "one message to be unread", async || {
        ben.unread(chat).await == 1
    })
    .await;

    // A marker never falls, and one beyond the head counts as the head.
    ben.rest.marker(chat, 1).await.expect("marking works");
    assert_eq!(ben.inbox_entry(chat).await.read_no, 2);
    ben.rest.marker(chat, 1_000).await.expect("marking works");
    for rest in ben.rests() {
        let entry = rest.conversation(chat).await.expect("it can be read");
        assert_eq!(
            (entry.read_no, entry.unread),
            (3, 0),
            "the next read shows it"
        );
    }
    ada_hears.say(chat, "four").await;
    assert_eq!(ben.unread(chat).await, 1, "the marker did not run ahead");
    assert_eq!(ada.unread(chat).await, 0);
}

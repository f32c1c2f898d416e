use hubbub_domain::conversation::{RemovalReason, Role};
use hubbub_domain::ids::CommandId;
use hubbub_domain::time::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::*;

fn recorded(event: Event) -> Recorded {
    Recorded {
        conversation: ConversationId::from_uuid(Uuid::from_u128(1)),
        seq: Seq::new(7),
        at: Timestamp::from_millis(0),
        by: UserId::from_uuid(Uuid::from_u128(2)),
        command_id: CommandId::from_uuid(Uuid::from_u128(3)),
        request_mac: None,
        event,
    }
}

fn shown(event: Event) -> serde_json::Value {
    let raw = raw_event(Epoch::new(5), &recorded(event));
    serde_json::from_str(&frame(&ServerFrame::Event(raw))).unwrap()
}

#[test]
fn a_sent_message_is_shown_as_the_contract_says() {
    let event = Event::MessageSent {
        message_no: MessageNo::new(4),
        body: Some("hi".to_owned()),
        reply_to_no: Some(MessageNo::new(2)),
        thread_root_no: None,
    };
    let expected = json!({
        "t": "event", "conversation_id": Uuid::from_u128(1), "epoch": 5, "seq": 7, "at": "1970-01-01T00:00:00.000Z",
        "by": Uuid::from_u128(2), "kind": "message_sent", "data": {"body": "hi", "reply_to_no": 2},
        "command_id": Uuid::from_u128(3), "message_no": 4
    });
    assert_eq!(shown(event), expected);
}

#[test]
fn an_erased_message_has_a_null_body() {
    let event = Event::MessageSent {
        message_no: MessageNo::new(4),
        body: None,
        reply_to_no: None,
        thread_root_no: None,
    };
    assert_eq!(shown(event)["data"], json!({"body": null}));
}

#[test]
fn a_removal_names_its_reason() {
    let event = Event::MemberRemoved {
        user: UserId::from_uuid(Uuid::from_u128(9)),
        reason: RemovalReason::Left,
    };
    assert_eq!(
        shown(event)["data"],
        json!({"user_id": Uuid::from_u128(9), "reason": "left"})
    );
}

#[test]
fn a_big_group_is_created_with_a_number_instead_of_a_list() {
    let created = |count: u128| Event::ConversationCreated {
        kind: hubbub_domain::conversation::Kind::Group,
        title: None,
        topic: None,
        visibility: hubbub_domain::conversation::Visibility::Private,
        settings: hubbub_domain::conversation::Settings::default(),
        members: (0..count)
            .map(|n| (UserId::from_uuid(Uuid::from_u128(n)), Role::Member))
            .collect(),
        request_key: hubbub_domain::conversation::RequestKey::from_bytes([0; 32]),
    };
    assert_eq!(
        shown(created(100))["data"]["members"]
            .as_array()
            .unwrap()
            .len(),
        100
    );
    assert_eq!(shown(created(101))["data"]["member_count"], 101);
    assert!(shown(created(101))["data"].get("members").is_none());
}

#[test]
fn a_resync_names_conversations_or_all_of_them() {
    let id = ConversationId::from_uuid(Uuid::from_u128(1));
    let named: serde_json::Value =
        serde_json::from_str(&resync_frame(Some(&[(id, Epoch::new(2), Seq::new(3))]))).unwrap();
    assert_eq!(
        named,
        json!({"t": "resync", "conversations": [[id.uuid(), 2, 3]]})
    );
    let all: serde_json::Value = serde_json::from_str(&resync_frame(None)).unwrap();
    assert_eq!(all, json!({"t": "resync", "all": true}));
}

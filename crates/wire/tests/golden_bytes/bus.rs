//! One instance of each bus message, so that a release notices when it would no longer understand its neighbour.

use hubbub_domain::conversation::{
    Command, Event, Intent, Kind, NewConversation, Recorded, Rejection, RequestKey, RequestMac,
    Role, Settings, Visibility, rules,
};
use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::{Epoch, MessageNo, Offset, PartitionId, Seq};
use hubbub_wire::bus::{
    Accepted, CommandRequest, Ephemeral, EvBatch, EvEntry, HeadBroadcast, How, MarkRequest,
    OwnerReply, OwnerRequest, OwnershipHint, PartitionHead, RangeReply, RangeRequest,
    ReleasedPartition, UserChanged,
};
use hubbub_wire::stored::EventRow;
use uuid::Uuid;

use crate::support::{AT, check_golden, command_id, conversation, hex, unhex, user};

/// Encodes as the golden file says, and decodes from it to the value.
macro_rules! check {
    ($name:literal, $type:ident, $value:expr) => {
        let value: $type = $value;
        let path = concat!("bus/", $name, ".hex");
        let text = hex(&value.encode());
        check_golden(path, &text);
        assert_eq!($type::decode(&unhex(&text)).unwrap(), value, "{path}");
    };
}

fn entry(offset: u64, body: &str, recipients: Option<&[u8]>) -> EvEntry {
    let recorded = Recorded {
        conversation: conversation(),
        seq: Seq::new(300),
        at: AT,
        by: user(1),
        command_id: command_id(),
        request_mac: Some(RequestMac::from_bytes([0xAB; 16])),
        event: Event::MessageSent {
            message_no: MessageNo::new(299),
            body: (!body.is_empty()).then(|| body.to_owned()),
            reply_to_no: None,
            thread_root_no: None,
        },
    };
    let partition = PartitionId::new(517);
    EvEntry {
        row: EventRow::encode(partition, Offset::new(offset), Epoch::new(9), &recorded).unwrap(),
        recipients: recipients.map(|users| users.iter().map(|number| user(*number)).collect()),
    }
}

fn incarnation() -> Incarnation {
    Incarnation::from_uuid(Uuid::from_bytes([0x11; 16]))
}

fn request(intent: Intent) -> CommandRequest {
    let command = Command {
        id: command_id(),
        conversation: conversation(),
        by: user(1),
        intent,
    };
    CommandRequest {
        partition: PartitionId::new(517),
        epoch: Epoch::new(9),
        remaining_ms: 4_999,
        retry: true,
        request: OwnerRequest::Command(command),
    }
}

#[test]
fn events_cross_the_bus_as_they_always_did() {
    let events = vec![entry(70_000, "hi", Some(&[1, 2])), entry(70_001, "", None)];
    check!(
        "ev_batch",
        EvBatch,
        EvBatch {
            partition: PartitionId::new(517),
            epoch: Epoch::new(9),
            base_offset: Offset::new(70_000),
            events: events.clone(),
        }
    );
    check!("range_reply", RangeReply, RangeReply { events });
}

#[test]
fn commands_cross_the_bus_as_they_always_did() {
    check!(
        "command_create",
        CommandRequest,
        request(Intent::Create(NewConversation {
            kind: Kind::Room,
            members: vec![user(2), user(3)],
            title: Some("Tea".to_owned()),
            topic: None,
            visibility: Visibility::Public,
            settings: Settings {
                retention_days: Some(30),
                ..Settings::default()
            },
            request_key: RequestKey::from_bytes([0x5C; 32]),
        }))
    );
    let someone = user(2);
    check!(
        "command_add_member",
        CommandRequest,
        request(Intent::AddMember {
            user: someone,
            role: Role::Admin
        })
    );
    check!("command_join", CommandRequest, request(Intent::Join));
    check!("command_leave", CommandRequest, request(Intent::Leave));
    check!(
        "command_remove_member",
        CommandRequest,
        request(Intent::RemoveMember { user: someone })
    );
    check!(
        "command_change_role",
        CommandRequest,
        request(Intent::ChangeRole {
            user: someone,
            role: Role::Guest
        })
    );
    check!(
        "command_send_message",
        CommandRequest,
        request(Intent::SendMessage {
            body: "hällo".to_owned(),
            reply_to_no: None,
            thread_root_no: Some(MessageNo::new(300)),
        })
    );
    let mark = MarkRequest {
        conversation: conversation(),
        user: user(1),
        read_no: Some(MessageNo::new(299)),
        delivered_no: None,
        wait_stored: true,
    };
    check!(
        "command_mark",
        CommandRequest,
        CommandRequest {
            request: OwnerRequest::Mark(mark),
            ..request(Intent::Join)
        }
    );
}

#[test]
fn replies_cross_the_bus_as_they_always_did() {
    let accepted = |how| {
        OwnerReply::Accepted(Accepted {
            conversation: conversation(),
            epoch: Epoch::new(9),
            seq: Seq::new(300),
            message_no: Some(MessageNo::new(299)),
            at: AT,
            how,
        })
    };
    check!("reply_stored", OwnerReply, accepted(How::Stored));
    check!("reply_duplicate", OwnerReply, accepted(How::Duplicate));
    check!("reply_already", OwnerReply, accepted(How::Already));
    check!("reply_marked", OwnerReply, OwnerReply::Marked);
    check!(
        "reply_not_found",
        OwnerReply,
        OwnerReply::Rejected(Rejection::NotFound)
    );
    check!(
        "reply_no_such_member",
        OwnerReply,
        OwnerReply::Rejected(Rejection::NoSuchMember)
    );
    check!(
        "reply_no_such_message",
        OwnerReply,
        OwnerReply::Rejected(Rejection::NoSuchMessage)
    );
    let rule = rules::MEMBERS_ONLY;
    check!(
        "reply_forbidden",
        OwnerReply,
        OwnerReply::Rejected(Rejection::Forbidden { rule })
    );
    let (field, reason) = (rules::FIELD_BODY, rules::BLANK);
    check!(
        "reply_invalid",
        OwnerReply,
        OwnerReply::Rejected(Rejection::Invalid { field, reason })
    );
    let reason = rules::LAST_OWNER_STAYS;
    check!(
        "reply_conflict",
        OwnerReply,
        OwnerReply::Rejected(Rejection::Conflict { reason })
    );
    check!(
        "reply_mismatch",
        OwnerReply,
        OwnerReply::Rejected(Rejection::IdempotencyMismatch)
    );
    let hint = Some((incarnation(), Epoch::new(10)));
    check!(
        "reply_wrong_owner",
        OwnerReply,
        OwnerReply::WrongOwner { hint }
    );
    check!(
        "reply_busy",
        OwnerReply,
        OwnerReply::Busy {
            retry_after_ms: 250
        }
    );
    check!(
        "reply_unavailable",
        OwnerReply,
        OwnerReply::Unavailable {
            retry_after_ms: 1_000
        }
    );
    check!("reply_storage_full", OwnerReply, OwnerReply::StorageFull);
    check!("reply_unknown", OwnerReply, OwnerReply::Unknown);
}

#[test]
fn signals_cross_the_bus_as_they_always_did() {
    let head = |partition, head| PartitionHead {
        partition: PartitionId::new(partition),
        epoch: Epoch::new(9),
        head: Offset::new(head),
    };
    check!(
        "head_broadcast",
        HeadBroadcast,
        HeadBroadcast {
            incarnation: incarnation(),
            user_rev: 77,
            heads: vec![head(0, 0), head(517, 70_001)],
        }
    );
    check!(
        "range_request",
        RangeRequest,
        RangeRequest {
            partition: PartitionId::new(517),
            after: Offset::new(69_999),
            to: Offset::new(70_001),
        }
    );
    check!(
        "ephemeral_typing",
        Ephemeral,
        Ephemeral::Typing {
            conversation: conversation(),
            user: user(1),
            on: true,
        }
    );
    check!(
        "ephemeral_marker",
        Ephemeral,
        Ephemeral::Marker {
            conversation: conversation(),
            user: user(1),
            read_no: Some(MessageNo::new(299)),
            delivered_no: None,
            at: AT,
        }
    );
    check!(
        "user_changed",
        UserChanged,
        UserChanged {
            user: user(1),
            rev: 77
        }
    );
}

#[test]
fn ownership_hints_cross_the_bus_as_they_always_did() {
    let released = |partition, next| ReleasedPartition {
        partition: PartitionId::new(partition),
        epoch: Epoch::new(9),
        next,
    };
    check!(
        "ownership_released",
        OwnershipHint,
        OwnershipHint::Released {
            by: incarnation(),
            partitions: vec![released(0, None), released(517, Some(incarnation()))],
        }
    );
    check!(
        "ownership_taken",
        OwnershipHint,
        OwnershipHint::Taken {
            by: incarnation(),
            partitions: vec![(PartitionId::new(517), Epoch::new(10))],
        }
    );
}

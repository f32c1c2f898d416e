//! Every (kind, ver) as stored.

use bytes::Bytes;
use hubbub_domain::conversation::{
    Event, JoinHistory, Kind, Posting, Recorded, RemovalReason, RequestKey, RequestMac, Role,
    Settings, Visibility,
};
use hubbub_domain::position::{Epoch, MessageNo, Offset, PartitionId, Seq};
use hubbub_wire::stored::{
    EventRow, FMT_POSTCARD, KIND_CONVERSATION_CREATED, KIND_MEMBER_ADDED, KIND_MEMBER_REMOVED,
    KIND_MESSAGE_SENT, KIND_ROLE_CHANGED,
};

use crate::support::{AT, check_golden, command_id, conversation, golden_dir, hex, unhex, user};

fn recorded(event: Event) -> Recorded {
    Recorded {
        conversation: conversation(),
        seq: Seq::new(300),
        at: AT,
        by: user(1),
        command_id: command_id(),
        request_mac: Some(RequestMac::from_bytes([0xAB; 16])),
        event,
    }
}

fn encode(recorded: &Recorded) -> EventRow {
    EventRow::encode(
        PartitionId::new(517),
        Offset::new(70_000),
        Epoch::new(9),
        recorded,
    )
    .unwrap()
}

fn created(kind: Kind) -> Event {
    let room = kind == Kind::Room;
    Event::ConversationCreated {
        kind,
        title: room.then(|| "Tea & söhne".to_owned()),
        topic: room.then(|| "all about it".to_owned()),
        visibility: if room {
            Visibility::Public
        } else {
            Visibility::Private
        },
        settings: if room {
            Settings {
                join_history: JoinHistory::FromJoin,
                posting: Posting::Admins,
                receipts: false,
                retention_days: Some(365),
            }
        } else {
            Settings::default()
        },
        members: if room {
            vec![(user(1), Role::Owner), (user(2), Role::Member)]
        } else {
            vec![(user(1), Role::Member), (user(2), Role::Member)]
        },
        request_key: RequestKey::from_bytes([0x5C; 32]),
    }
}

fn said(body: Option<&str>) -> Event {
    Event::MessageSent {
        message_no: MessageNo::new(299),
        body: body.map(str::to_owned),
        reply_to_no: Some(MessageNo::new(7)),
        thread_root_no: None,
    }
}

/// Columns of a row as text: what depends on the kind.
fn text(row: &EventRow) -> String {
    let body = row.body.as_deref().map_or_else(|| "-\n".to_owned(), hex);
    let body_crc = row
        .body_crc
        .map_or_else(|| "-".to_owned(), |crc| format!("{crc:08x}"));
    format!(
        "kind {} ver {} fmt {}\ncrc {:08x} body_crc {body_crc}\nmeta\n{}body\n{body}",
        row.kind,
        row.ver,
        row.fmt,
        row.crc,
        hex(&row.meta)
    )
}

/// The row that a golden file describes, with the columns of [`recorded`].
fn read(path: &str) -> EventRow {
    let text = std::fs::read_to_string(golden_dir().join(path)).unwrap();
    let (head, rest) = text.split_once("meta\n").unwrap();
    let (meta, body) = rest.split_once("body\n").unwrap();
    let words: Vec<&str> = head.split_whitespace().collect();
    let number = |index: usize| words[index].parse::<i16>().unwrap();
    let crc = |index: usize| u32::from_str_radix(words[index], 16);
    EventRow {
        partition: PartitionId::new(517),
        offset: Offset::new(70_000),
        epoch: Epoch::new(9),
        conversation: conversation(),
        seq: Seq::new(300),
        at: AT,
        command_id: command_id(),
        kind: number(1),
        ver: number(3),
        fmt: number(5),
        crc: crc(7).unwrap(),
        body_crc: crc(9).ok(),
        meta: Bytes::from(unhex(meta)),
        body: (body != "-\n").then(|| Bytes::from(unhex(body))),
    }
}

#[test]
fn every_kind_and_version_is_written_and_read_as_it_always_was() {
    let removed = |reason| Event::MemberRemoved {
        user: user(3),
        reason,
    };
    let erased = Recorded {
        request_mac: None,
        ..recorded(said(None))
    };
    let cases = [
        (
            "created_v1_room",
            KIND_CONVERSATION_CREATED,
            recorded(created(Kind::Room)),
        ),
        (
            "created_v1_direct",
            KIND_CONVERSATION_CREATED,
            recorded(created(Kind::Direct)),
        ),
        (
            "member_added_v1",
            KIND_MEMBER_ADDED,
            recorded(Event::MemberAdded {
                user: user(3),
                role: Role::Guest,
            }),
        ),
        (
            "member_removed_v1_left",
            KIND_MEMBER_REMOVED,
            recorded(removed(RemovalReason::Left)),
        ),
        (
            "member_removed_v1_removed",
            KIND_MEMBER_REMOVED,
            recorded(removed(RemovalReason::Removed)),
        ),
        (
            "member_removed_v1_banned",
            KIND_MEMBER_REMOVED,
            recorded(removed(RemovalReason::Banned)),
        ),
        (
            "role_changed_v1",
            KIND_ROLE_CHANGED,
            recorded(Event::RoleChanged {
                user: user(3),
                role: Role::Admin,
            }),
        ),
        (
            "message_sent_v1",
            KIND_MESSAGE_SENT,
            recorded(said(Some("hällo *there*\n"))),
        ),
        ("message_sent_v1_erased", KIND_MESSAGE_SENT, erased),
    ];
    for (name, kind, recorded) in cases {
        let path = format!("stored/{name}.hex");
        let row = encode(&recorded);
        assert_eq!(
            (row.kind, row.ver, row.fmt),
            (kind, 1, FMT_POSTCARD),
            "{path}"
        );
        check_golden(&path, &text(&row));
        assert_eq!(read(&path).decode().unwrap(), recorded, "{path}");
    }
}

#[test]
fn erasing_a_body_leaves_a_row_that_reads_as_erased() {
    let mut row = encode(&recorded(said(Some("secret"))));
    row.body = None;
    row.body_crc = None;
    assert_eq!(row.decode().unwrap(), recorded(said(None)));
}

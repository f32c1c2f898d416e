//! Any event, row, command, state that the types allow.

use hubbub_domain::conversation::{
    AuthoredCommand, Command, Event, Intent, JoinHistory, Kind, Member, NewConversation, Posting,
    RecentCommand, Recorded, RemovalReason, RequestKey, RequestMac, Role, Settings, State,
    StateParts, Visibility,
};
use hubbub_domain::ids::{CommandId, ConversationId, UserId};
use hubbub_domain::position::{Epoch, MessageNo, Offset, PartitionId, Seq};
use hubbub_domain::time::Timestamp;
use hubbub_wire::bus::EvEntry;
use hubbub_wire::stored::EventRow;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use uuid::Uuid;

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

pub(crate) fn user() -> impl Strategy<Value = UserId> {
    uuid().prop_map(UserId::from_uuid)
}

pub(crate) fn conversation() -> impl Strategy<Value = ConversationId> {
    uuid().prop_map(ConversationId::from_uuid)
}

fn command_id() -> impl Strategy<Value = CommandId> {
    uuid().prop_map(CommandId::from_uuid)
}

pub(crate) fn message_no() -> impl Strategy<Value = MessageNo> {
    any::<u64>().prop_map(MessageNo::new)
}

pub(crate) fn timestamp() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_millis)
}

fn mac() -> impl Strategy<Value = Option<RequestMac>> {
    option::of(any::<[u8; 16]>().prop_map(RequestMac::from_bytes))
}

fn key() -> impl Strategy<Value = RequestKey> {
    any::<[u8; 32]>().prop_map(RequestKey::from_bytes)
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Direct), Just(Kind::Group), Just(Kind::Room)]
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![
        Just(Role::Guest),
        Just(Role::Member),
        Just(Role::Admin),
        Just(Role::Owner)
    ]
}

fn visibility() -> impl Strategy<Value = Visibility> {
    prop_oneof![Just(Visibility::Private), Just(Visibility::Public)]
}

fn settings() -> impl Strategy<Value = Settings> {
    (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<Option<u32>>(),
    )
        .prop_map(|(from_join, admins, receipts, retention_days)| Settings {
            join_history: if from_join {
                JoinHistory::FromJoin
            } else {
                JoinHistory::FromStart
            },
            posting: if admins {
                Posting::Admins
            } else {
                Posting::Everyone
            },
            receipts,
            retention_days,
        })
}

fn text() -> impl Strategy<Value = String> {
    ".{0,40}"
}

fn event() -> impl Strategy<Value = Event> {
    let reason = prop_oneof![
        Just(RemovalReason::Left),
        Just(RemovalReason::Removed),
        Just(RemovalReason::Banned)
    ];
    let created = (
        kind(),
        option::of(text()),
        option::of(text()),
        visibility(),
        settings(),
        vec((user(), role()), 0..5),
        key(),
    )
        .prop_map(
            |(kind, title, topic, visibility, settings, members, request_key)| {
                Event::ConversationCreated {
                    kind,
                    title,
                    topic,
                    visibility,
                    settings,
                    members,
                    request_key,
                }
            },
        );
    let no = || option::of(message_no());
    prop_oneof![
        created,
        (user(), role()).prop_map(|(user, role)| Event::MemberAdded { user, role }),
        (user(), reason).prop_map(|(user, reason)| Event::MemberRemoved { user, reason }),
        (user(), role()).prop_map(|(user, role)| Event::RoleChanged { user, role }),
        (message_no(), option::of(text()), no(), no()).prop_map(
            |(message_no, body, reply_to_no, thread_root_no)| Event::MessageSent {
                message_no,
                body,
                reply_to_no,
                thread_root_no,
            }
        ),
    ]
}

pub(crate) fn recorded() -> impl Strategy<Value = Recorded> {
    (
        conversation(),
        any::<u64>(),
        timestamp(),
        user(),
        command_id(),
        mac(),
        event(),
    )
        .prop_map(
            |(conversation, seq, at, by, command_id, request_mac, event)| Recorded {
                conversation,
                seq: Seq::new(seq),
                at,
                by,
                command_id,
                request_mac,
                event,
            },
        )
}

pub(crate) fn row() -> impl Strategy<Value = EventRow> {
    (any::<u16>(), any::<u64>(), any::<u64>(), recorded()).prop_map(
        |(partition, offset, epoch, recorded)| {
            let partition = PartitionId::new(partition);
            EventRow::encode(partition, Offset::new(offset), Epoch::new(epoch), &recorded).unwrap()
        },
    )
}

pub(crate) fn entry() -> impl Strategy<Value = EvEntry> {
    (row(), option::of(vec(user(), 0..32)))
        .prop_map(|(row, recipients)| EvEntry { row, recipients })
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    let new = (
        kind(),
        vec(user(), 0..5),
        option::of(text()),
        option::of(text()),
        visibility(),
        settings(),
        key(),
    )
        .prop_map(
            |(kind, members, title, topic, visibility, settings, request_key)| {
                Intent::Create(NewConversation {
                    kind,
                    members,
                    title,
                    topic,
                    visibility,
                    settings,
                    request_key,
                })
            },
        );
    let no = || option::of(message_no());
    let intent = prop_oneof![
        new,
        (user(), role()).prop_map(|(user, role)| Intent::AddMember { user, role }),
        Just(Intent::Join),
        Just(Intent::Leave),
        user().prop_map(|user| Intent::RemoveMember { user }),
        (user(), role()).prop_map(|(user, role)| Intent::ChangeRole { user, role }),
        (text(), no(), no()).prop_map(|(body, reply_to_no, thread_root_no)| {
            Intent::SendMessage {
                body,
                reply_to_no,
                thread_root_no,
            }
        }),
    ];
    (command_id(), conversation(), user(), intent).prop_map(|(id, conversation, by, intent)| {
        Command {
            id,
            conversation,
            by,
            intent,
        }
    })
}

fn authored() -> impl Strategy<Value = AuthoredCommand> {
    (
        user(),
        command_id(),
        any::<u64>(),
        timestamp(),
        option::of(message_no()),
        mac(),
    )
        .prop_map(|(by, id, seq, at, message_no, mac)| AuthoredCommand {
            by,
            command: RecentCommand {
                id,
                seq: Seq::new(seq),
                at,
                message_no,
                mac,
            },
        })
}

fn member() -> impl Strategy<Value = Member> {
    (role(), any::<u64>(), message_no(), timestamp()).prop_map(
        |(role, joined_seq, joined_no, joined_at)| Member {
            role,
            joined_seq: Seq::new(joined_seq),
            joined_no,
            joined_at,
        },
    )
}

pub(crate) fn state() -> impl Strategy<Value = State> {
    let names = (
        conversation(),
        option::of(kind()),
        option::of(text()),
        option::of(text()),
    );
    let people = (
        btree_map(user(), member(), 0..6),
        btree_map(user(), timestamp(), 0..3),
    );
    let head = (any::<u64>(), timestamp(), message_no());
    let commands = (
        option::of(authored()),
        vec(authored(), 0..9),
        option::of(timestamp()),
    );
    (
        names,
        visibility(),
        settings(),
        people,
        head,
        key(),
        commands,
    )
        .prop_map(
            |(names, visibility, settings, people, head, request_key, commands)| {
                let (id, kind, title, topic) = names;
                let (members, banned) = people;
                let (last_seq, last_at, last_message_no) = head;
                let (created, recent, forgotten_until) = commands;
                State::from_parts(StateParts {
                    id,
                    kind,
                    title,
                    topic,
                    visibility,
                    settings,
                    members,
                    banned,
                    last_seq: Seq::new(last_seq),
                    last_at,
                    last_message_no,
                    request_key,
                    created,
                    recent,
                    forgotten_until,
                })
            },
        )
}

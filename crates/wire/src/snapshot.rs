//! The folded state of a conversation as stored: disposable, versioned, never upcast (an unknown version is as good as none).
//!
//! Bytes: CRC-32 (IEEE, big-endian) of what follows, then one frozen postcard struct. A snapshot that rotted must not be believed: unlike an
//! event it has no checksum column.

mod v1;

use std::collections::BTreeMap;

use bytes::Bytes;
use hubbub_domain::conversation::{
    AuthoredCommand, Member, RecentCommand, RequestKey, RequestMac, Settings, State, StateParts,
};
use hubbub_domain::ids::{CommandId, ConversationId, UserId};
use hubbub_domain::position::{MessageNo, Seq};
use hubbub_domain::time::Timestamp;
use uuid::Uuid;

use crate::stored::codes;

/// Version that this release writes and reads.
pub const SNAPSHOT_VERSION: i16 = 1;

/// Encodes a state. `None` when postcard refuses; then there is no snapshot, which costs only time.
pub fn encode(state: &State) -> Option<Bytes> {
    let snapshot = v1::Snapshot {
        id: state.id().uuid().into_bytes(),
        kind: state.kind().map(codes::of_kind),
        title: state.title(),
        topic: state.topic(),
        visibility: codes::of_visibility(state.visibility()),
        join_history: codes::of_join_history(state.settings().join_history),
        posting: codes::of_posting(state.settings().posting),
        receipts: state.settings().receipts,
        retention_days: state.settings().retention_days,
        members: state
            .members()
            .iter()
            .map(|(user, member)| of_member(*user, member))
            .collect(),
        banned: state
            .banned()
            .iter()
            .map(|(user, at)| (user.uuid().into_bytes(), at.millis()))
            .collect(),
        last_seq: state.last_seq().get(),
        last_at: state.last_at().millis(),
        last_message_no: state.last_message_no().get(),
        request_key: *state.request_key().bytes(),
        created: state.created().map(of_command),
        recent: state.recent_commands().map(of_command).collect(),
        forgotten_until: state.forgotten_until().map(Timestamp::millis),
    };
    // The checksum's place is kept free in front, so that nothing is moved afterwards.
    let mut bytes = postcard::to_extend(&snapshot, vec![0_u8; CRC_BYTES]).ok()?;
    let (head, body) = bytes.split_first_chunk_mut::<CRC_BYTES>()?;
    *head = crc32fast::hash(body).to_be_bytes();
    Some(bytes.into())
}

/// Decodes a state; `None` for another version or malformed bytes: the caller folds from the log instead.
pub fn decode(version: i16, data: &[u8]) -> Option<State> {
    if version != SNAPSHOT_VERSION {
        return None;
    }
    let (crc, body) = data.split_first_chunk::<CRC_BYTES>()?;
    if u32::from_be_bytes(*crc) != crc32fast::hash(body) {
        return None;
    }
    let (snapshot, rest) = postcard::take_from_bytes::<v1::Snapshot<'_>>(body).ok()?;
    if rest.is_empty() {
        parts(&snapshot).ok().map(State::from_parts)
    } else {
        None
    }
}

const CRC_BYTES: usize = 4;

fn parts(snapshot: &v1::Snapshot<'_>) -> Result<StateParts, postcard::Error> {
    let mut members = BTreeMap::new();
    for member in &snapshot.members {
        members.insert(user_id(member.user), to_member(member)?);
    }
    Ok(StateParts {
        id: ConversationId::from_uuid(Uuid::from_bytes(snapshot.id)),
        kind: snapshot.kind.map(codes::to_kind).transpose()?,
        title: snapshot.title.map(str::to_owned),
        topic: snapshot.topic.map(str::to_owned),
        visibility: codes::to_visibility(snapshot.visibility)?,
        settings: Settings {
            join_history: codes::to_join_history(snapshot.join_history)?,
            posting: codes::to_posting(snapshot.posting)?,
            receipts: snapshot.receipts,
            retention_days: snapshot.retention_days,
        },
        members,
        banned: snapshot
            .banned
            .iter()
            .map(|(user, at)| (user_id(*user), Timestamp::from_millis(*at)))
            .collect(),
        last_seq: Seq::new(snapshot.last_seq),
        last_at: Timestamp::from_millis(snapshot.last_at),
        last_message_no: MessageNo::new(snapshot.last_message_no),
        request_key: RequestKey::from_bytes(snapshot.request_key),
        created: snapshot.created.as_ref().map(to_command),
        recent: snapshot.recent.iter().map(to_command).collect(),
        forgotten_until: snapshot.forgotten_until.map(Timestamp::from_millis),
    })
}

fn of_member(user: UserId, member: &Member) -> v1::Member {
    v1::Member {
        user: user.uuid().into_bytes(),
        role: codes::of_role(member.role),
        joined_seq: member.joined_seq.get(),
        joined_no: member.joined_no.get(),
        joined_at: member.joined_at.millis(),
    }
}

fn to_member(member: &v1::Member) -> Result<Member, postcard::Error> {
    Ok(Member {
        role: codes::to_role(member.role)?,
        joined_seq: Seq::new(member.joined_seq),
        joined_no: MessageNo::new(member.joined_no),
        joined_at: Timestamp::from_millis(member.joined_at),
    })
}

fn of_command(entry: &AuthoredCommand) -> v1::Command {
    v1::Command {
        by: entry.by.uuid().into_bytes(),
        id: entry.command.id.uuid().into_bytes(),
        seq: entry.command.seq.get(),
        at: entry.command.at.millis(),
        message_no: entry.command.message_no.map(MessageNo::get),
        mac: entry.command.mac.map(|mac| *mac.bytes()),
    }
}

fn to_command(command: &v1::Command) -> AuthoredCommand {
    AuthoredCommand {
        by: user_id(command.by),
        command: RecentCommand {
            id: CommandId::from_uuid(Uuid::from_bytes(command.id)),
            seq: Seq::new(command.seq),
            at: Timestamp::from_millis(command.at),
            message_no: command.message_no.map(MessageNo::new),
            mac: command.mac.map(RequestMac::from_bytes),
        },
    }
}

fn user_id(bytes: [u8; 16]) -> UserId {
    UserId::from_uuid(Uuid::from_bytes(bytes))
}

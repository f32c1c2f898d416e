//! Small values for tests: ids by number, rows by hand.

use std::collections::BTreeMap;
use std::fmt::Display;

use bytes::Bytes;
use hubbub_domain::ids::{CommandId, ConversationId, Incarnation, UserId};
use hubbub_domain::position::{Epoch, MessageNo, Offset, PartitionCount, PartitionId, Seq};
use hubbub_domain::time::Timestamp;
use hubbub_wire::stored::EventRow;
use uuid::Uuid;

use crate::port::{AppendBatch, Claim, EventLog, Marker, NodeRegistration};

/// The value, or the end of the test with the error's sentence.
#[expect(
    clippy::panic,
    reason = "the one place where a behaviour stops on an error"
)]
#[track_caller]
pub fn must<T, E: Display>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

/// Conversation `n` of a partition, in a cluster of [`PartitionCount::EMBEDDED`].
pub fn conversation(partition: PartitionId, n: u64) -> ConversationId {
    let slot = u128::from(partition.get()) << 10;
    ConversationId::from_uuid(Uuid::from_u128(
        0xC0_u128 << 120 | u128::from(n) << 32 | slot,
    ))
}

/// Command `n`.
pub fn command(n: u64) -> CommandId {
    CommandId::from_uuid(Uuid::from_u128(0xCA_u128 << 120 | u128::from(n)))
}

/// User `n`.
pub fn user(n: u64) -> UserId {
    UserId::from_uuid(Uuid::from_u128(0xAA_u128 << 120 | u128::from(n)))
}

/// Incarnation `n`.
pub fn incarnation(n: u64) -> Incarnation {
    Incarnation::from_uuid(Uuid::from_u128(0x1A_u128 << 120 | u128::from(n)))
}

/// Incarnation `n` of a node.
pub fn registration(n: u64, node_id: &str) -> NodeRegistration {
    NodeRegistration {
        incarnation: incarnation(n),
        node_id: node_id.to_owned(),
        addr: format!("127.0.0.1:{}", 7_000 + n),
        max_level: 1,
    }
}

/// A row of conversation 1 of its partition, whose command id no other place of that partition has.
pub fn row(partition: PartitionId, offset: u64, epoch: Epoch, seq: u64) -> EventRow {
    row_of(conversation(partition, 1), partition, offset, epoch, seq)
}

/// A row of a given conversation.
pub fn row_of(
    conversation: ConversationId,
    partition: PartitionId,
    offset: u64,
    epoch: Epoch,
    seq: u64,
) -> EventRow {
    let place = u32::try_from(offset & 0xFFFF).unwrap_or(0);
    EventRow {
        partition,
        offset: Offset::new(offset),
        epoch,
        conversation,
        seq: Seq::new(seq),
        at: Timestamp::from_millis(1_780_000_000_000_i64.saturating_add(i64::from(place))),
        command_id: command(u64::from(partition.get()) << 40 | offset << 20 | seq),
        kind: 7,
        ver: 1,
        fmt: 1,
        meta: Bytes::from(vec![0, 1, 255, partition.get().to_be_bytes()[1]]),
        body: None,
        // The high bit is set: a column of signed integers must keep the pattern.
        crc: 0xF000_0000 | place,
        body_crc: None,
    }
}

/// The row with a body.
pub fn body_row(mut row: EventRow, body: &[u8]) -> EventRow {
    row.body = Some(Bytes::copy_from_slice(body));
    row.body_crc = Some(u32::MAX);
    row
}

/// The rows with the fence that their epochs say.
pub fn batch(rows: Vec<EventRow>) -> AppendBatch {
    let fence: BTreeMap<PartitionId, Epoch> =
        rows.iter().map(|row| (row.partition, row.epoch)).collect();
    AppendBatch {
        fence: fence.into_iter().collect(),
        rows,
    }
}

/// A marker that moved at second 100.
pub fn marker(
    conversation: ConversationId,
    user: UserId,
    generation: u32,
    read: u64,
    delivered: u64,
) -> Marker {
    marker_at(conversation, user, generation, read, delivered, 100_000)
}

/// A marker that moved at `millis`.
pub fn marker_at(
    conversation: ConversationId,
    user: UserId,
    generation: u32,
    read: u64,
    delivered: u64,
    millis: i64,
) -> Marker {
    Marker {
        conversation,
        user,
        generation,
        read_no: MessageNo::new(read),
        own_after: 0,
        delivered_no: MessageNo::new(delivered),
        at: Timestamp::from_millis(millis),
    }
}

/// Creates an embedded-size cluster where there is none and takes every partition as `me`, whoever owned it. Gives each epoch.
pub async fn claim_every(log: &dyn EventLog, me: Incarnation) -> BTreeMap<PartitionId, Epoch> {
    must(log.init_cluster(PartitionCount::EMBEDDED).await);
    let rows = must(log.partitions().await);
    let claims: Vec<Claim> = rows
        .iter()
        .map(|row| Claim {
            partition: row.partition,
            expected_owner: row.owner,
            expected_epoch: row.epoch,
        })
        .collect();
    let taken = must(log.acquire(me, &claims, "claim").await);
    assert_eq!(taken.len(), claims.len(), "nobody else is there");
    taken
        .into_iter()
        .map(|taken| (taken.partition, taken.epoch))
        .collect()
}

/// Like [`claim_every`], and gives the epoch of partition 0.
pub async fn claim_all(log: &dyn EventLog, me: Incarnation) -> Epoch {
    let epochs = claim_every(log, me).await;
    epochs
        .get(&PartitionId::new(0))
        .copied()
        .unwrap_or(Epoch::ZERO)
}

//! Events on the bus: as committed ([`EvBatch`]) and on request ([`RangeReply`]).
//!
//! `meta` and `body` of a decoded event are windows into the received message: fan-out shares them, nothing is copied per event.

use bytes::Bytes;
use hubbub_domain::ids::{CommandId, ConversationId, UserId};
use hubbub_domain::position::{Epoch, Offset, PartitionId, Seq};
use hubbub_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::bus::codec::{self, Raw};
use crate::bus::{BusDecodeError, EvBatch, EvEntry, RangeReply};
use crate::stored::EventRow;

/// Bytes that an entry can add beyond [`EventRow::size_bytes`]: varints at their longest, tags, lengths.
const ENTRY_OVERHEAD_BYTES: usize = 32;
/// Bytes of one recipient.
const RECIPIENT_BYTES: usize = 16;
/// Protocol byte and the numbers of a batch at their longest.
const HEADER_BYTES: usize = 40;

#[derive(Serialize, Deserialize)]
struct BatchV1<'a> {
    partition: u16,
    epoch: u64,
    base_offset: u64,
    #[serde(borrow)]
    events: Vec<EntryV1<'a>>,
}

#[derive(Serialize, Deserialize)]
struct RangeReplyV1<'a> {
    #[serde(borrow)]
    events: Vec<EntryV1<'a>>,
}

#[derive(Serialize, Deserialize)]
struct EntryV1<'a> {
    #[serde(borrow)]
    row: RowV1<'a>,
    recipients: Option<Vec<[u8; 16]>>,
}

#[derive(Serialize, Deserialize)]
struct RowV1<'a> {
    partition: u16,
    offset: u64,
    epoch: u64,
    conversation: [u8; 16],
    seq: u64,
    at: i64,
    command_id: [u8; 16],
    kind: i16,
    ver: i16,
    fmt: i16,
    #[serde(borrow)]
    meta: Raw<'a>,
    #[serde(borrow)]
    body: Option<Raw<'a>>,
    crc: u32,
    body_crc: Option<u32>,
}

// === impl EvBatch ===

impl EvBatch {
    /// The message. Cut a large batch with [`EvBatch::split`] first.
    pub fn encode(&self) -> Bytes {
        codec::seal(&BatchV1 {
            partition: self.partition.get(),
            epoch: self.epoch.get(),
            base_offset: self.base_offset.get(),
            events: self.events.iter().map(of_entry).collect(),
        })
    }

    /// Reads a message that is only borrowed: copies it once as a whole. With [`Bytes`] at hand use [`EvBatch::decode_shared`].
    ///
    /// # Errors
    /// [`BusDecodeError`] when this is no batch of a protocol that this release speaks.
    pub fn decode(bytes: &[u8]) -> Result<Self, BusDecodeError> {
        Self::decode_shared(&Bytes::copy_from_slice(bytes))
    }

    /// Reads a message without copying `meta` and `body`: they keep the message alive.
    ///
    /// # Errors
    /// [`BusDecodeError`] when this is no batch of a protocol that this release speaks.
    pub fn decode_shared(message: &Bytes) -> Result<Self, BusDecodeError> {
        let batch: BatchV1<'_> = codec::open("EvBatch", message)?;
        Ok(Self {
            partition: PartitionId::new(batch.partition),
            epoch: Epoch::new(batch.epoch),
            base_offset: Offset::new(batch.base_offset),
            events: batch
                .events
                .into_iter()
                .map(|entry| to_entry(message, entry))
                .collect(),
        })
    }

    /// Cuts into batches of at most `bytes_max` encoded bytes each (see [`EV_BATCH_BYTES_MAX`](crate::bus::EV_BATCH_BYTES_MAX)), in order
    /// and dense. An event that is larger alone goes alone. An empty batch gives none.
    pub fn split(self, bytes_max: usize) -> Vec<Self> {
        let Self {
            partition,
            epoch,
            base_offset,
            events,
        } = self;
        let mut batches: Vec<Self> = Vec::new();
        let mut next_offset = base_offset;
        let mut room = 0;
        for entry in events {
            let size = entry.size_bytes();
            match batches.last_mut() {
                Some(batch) if size <= room => {
                    room = room.saturating_sub(size);
                    batch.events.push(entry);
                }
                Some(_) | None => {
                    room = bytes_max.saturating_sub(HEADER_BYTES).saturating_sub(size);
                    batches.push(Self {
                        partition,
                        epoch,
                        base_offset: next_offset,
                        events: vec![entry],
                    });
                }
            }
            next_offset = next_offset.next();
        }
        batches
    }
}

// === impl EvEntry ===

impl EvEntry {
    /// Bytes that this entry adds to a message, at most.
    pub fn size_bytes(&self) -> usize {
        let recipients = self.recipients.as_ref().map_or(0, Vec::len);
        self.row
            .size_bytes()
            .saturating_add(recipients.saturating_mul(RECIPIENT_BYTES))
            .saturating_add(ENTRY_OVERHEAD_BYTES)
    }
}

// === impl RangeReply ===

impl RangeReply {
    /// The answer that fits into `bytes_max` encoded bytes: as many of `events` as do, from the first on.
    pub fn fitting(events: impl IntoIterator<Item = EvEntry>, bytes_max: usize) -> Self {
        let mut room = bytes_max.saturating_sub(HEADER_BYTES);
        let mut fitting = Vec::new();
        for entry in events {
            let Some(left) = room.checked_sub(entry.size_bytes()) else {
                break;
            };
            room = left;
            fitting.push(entry);
        }
        Self { events: fitting }
    }

    /// The message.
    pub fn encode(&self) -> Bytes {
        codec::seal(&RangeReplyV1 {
            events: self.events.iter().map(of_entry).collect(),
        })
    }

    /// Reads a message that is only borrowed: copies it once as a whole. With [`Bytes`] at hand use [`RangeReply::decode_shared`].
    ///
    /// # Errors
    /// [`BusDecodeError`] when this is no such answer of a protocol that this release speaks.
    pub fn decode(bytes: &[u8]) -> Result<Self, BusDecodeError> {
        Self::decode_shared(&Bytes::copy_from_slice(bytes))
    }

    /// Reads a message without copying `meta` and `body`: they keep the message alive.
    ///
    /// # Errors
    /// [`BusDecodeError`] when this is no such answer of a protocol that this release speaks.
    pub fn decode_shared(message: &Bytes) -> Result<Self, BusDecodeError> {
        let reply: RangeReplyV1<'_> = codec::open("RangeReply", message)?;
        Ok(Self {
            events: reply
                .events
                .into_iter()
                .map(|entry| to_entry(message, entry))
                .collect(),
        })
    }
}

fn of_entry(entry: &EvEntry) -> EntryV1<'_> {
    let row = &entry.row;
    EntryV1 {
        row: RowV1 {
            partition: row.partition.get(),
            offset: row.offset.get(),
            epoch: row.epoch.get(),
            conversation: row.conversation.uuid().into_bytes(),
            seq: row.seq.get(),
            at: row.at.millis(),
            command_id: row.command_id.uuid().into_bytes(),
            kind: row.kind,
            ver: row.ver,
            fmt: row.fmt,
            meta: Raw(&row.meta),
            body: row.body.as_deref().map(Raw),
            crc: row.crc,
            body_crc: row.body_crc,
        },
        recipients: entry
            .recipients
            .as_ref()
            .map(|users| users.iter().map(|user| user.uuid().into_bytes()).collect()),
    }
}

/// `entry` was parsed from `message`.
fn to_entry(message: &Bytes, entry: EntryV1<'_>) -> EvEntry {
    let RowV1 { meta, body, .. } = entry.row;
    EvEntry {
        row: EventRow {
            partition: PartitionId::new(entry.row.partition),
            offset: Offset::new(entry.row.offset),
            epoch: Epoch::new(entry.row.epoch),
            conversation: ConversationId::from_uuid(Uuid::from_bytes(entry.row.conversation)),
            seq: Seq::new(entry.row.seq),
            at: Timestamp::from_millis(entry.row.at),
            command_id: CommandId::from_uuid(Uuid::from_bytes(entry.row.command_id)),
            kind: entry.row.kind,
            ver: entry.row.ver,
            fmt: entry.row.fmt,
            meta: message.slice_ref(meta.0),
            body: body.map(|body| message.slice_ref(body.0)),
            crc: entry.row.crc,
            body_crc: entry.row.body_crc,
        },
        recipients: entry.recipients.map(|users| {
            users
                .into_iter()
                .map(|user| UserId::from_uuid(Uuid::from_bytes(user)))
                .collect()
        }),
    }
}

//! One event as the log keeps it: columns, one frozen postcard struct for structure (`meta`), one for what a person wrote (`body`).
//!
//! Adding a field or a kind: a new frozen struct in `stored/v<n>.rs`, written by `stored/newest.rs`, read by `stored/upcast.rs`, and a golden
//! file for it. Released structs, kinds and code numbers are never edited, golden files never regenerated.

mod checksum;
pub(crate) mod codes;
mod newest;
mod upcast;
mod v1;

use bytes::Bytes;
use hubbub_domain::conversation::Recorded;
use hubbub_domain::ids::{CommandId, ConversationId};
use hubbub_domain::position::{Epoch, Offset, PartitionId, Seq};
use hubbub_domain::time::Timestamp;

/// A conversation began. `body`: title and topic; none for a direct conversation.
pub const KIND_CONVERSATION_CREATED: i16 = 1;
/// Someone became a member. No `body`.
pub const KIND_MEMBER_ADDED: i16 = 2;
/// Someone is no longer a member. No `body`.
pub const KIND_MEMBER_REMOVED: i16 = 3;
/// A member's role is another. No `body`.
pub const KIND_ROLE_CHANGED: i16 = 4;
/// A message was said. `body`: its text.
pub const KIND_MESSAGE_SENT: i16 = 5;

/// `meta` and `body` are postcard.
pub const FMT_POSTCARD: i16 = 1;

/// One row of `event_log`.
///
/// `crc` covers the key columns and `meta` (layout: `stored/checksum.rs`); `body_crc` covers `body`. Erasing sets `body` and `body_crc` to `None`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventRow {
    /// The log it is in.
    pub partition: PartitionId,
    /// Its place there.
    pub offset: Offset,
    /// The ownership that wrote it.
    pub epoch: Epoch,
    /// The conversation.
    pub conversation: ConversationId,
    /// Its place there.
    pub seq: Seq,
    /// When it was decided.
    pub at: Timestamp,
    /// The command that caused it.
    pub command_id: CommandId,
    /// What kind of event (`KIND_*`).
    pub kind: i16,
    /// Version of that kind's structs, from 1.
    pub ver: i16,
    /// Encoding of `meta` and `body`: 1 = postcard.
    pub fmt: i16,
    /// Structure: sender, numbers, request MAC.
    pub meta: Bytes,
    /// What a person wrote; `None` when the kind has none or it was erased.
    pub body: Option<Bytes>,
    /// CRC-32 (IEEE) of key columns and `meta`.
    pub crc: u32,
    /// CRC-32 (IEEE) of `body`.
    pub body_crc: Option<u32>,
}

/// Why an event could not be put into its stored form. A bug or a broken limit; nothing was stored.
#[derive(Debug, thiserror::Error)]
#[error("encode event kind {kind}: {source}")]
pub struct EncodeError {
    /// The kind.
    pub kind: i16,
    /// What postcard said.
    #[source]
    pub source: postcard::Error,
}

/// Why a stored row cannot be read: its conversation becomes read-only and is reported; everything else runs (F14).
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A checksum does not match.
    #[error("checksum mismatch in {part} of {conversation} seq {seq}")]
    Corrupt {
        /// `meta` or `body`.
        part: &'static str,
        /// Where.
        conversation: ConversationId,
        /// Where.
        seq: Seq,
    },
    /// Written by a newer release, or never released.
    #[error("unknown event kind {kind} version {ver} format {fmt}")]
    Unknown {
        /// As stored.
        kind: i16,
        /// As stored.
        ver: i16,
        /// As stored.
        fmt: i16,
    },
    /// The struct does not parse.
    #[error("malformed event kind {kind} version {ver}: {source}")]
    Malformed {
        /// As stored.
        kind: i16,
        /// As stored.
        ver: i16,
        /// What postcard said.
        #[source]
        source: postcard::Error,
    },
}

impl EventRow {
    /// The stored form of `recorded` at this place, in the newest version this release writes.
    ///
    /// # Errors
    /// [`EncodeError`] when postcard refuses, which no valid event causes.
    pub fn encode(
        partition: PartitionId,
        offset: Offset,
        epoch: Epoch,
        recorded: &Recorded,
    ) -> Result<Self, EncodeError> {
        let newest::Payload {
            kind,
            ver,
            meta,
            body,
        } = newest::payload(recorded)?;
        let mut row = Self {
            partition,
            offset,
            epoch,
            conversation: recorded.conversation,
            seq: recorded.seq,
            at: recorded.at,
            command_id: recorded.command_id,
            kind,
            ver,
            fmt: FMT_POSTCARD,
            meta,
            body_crc: body.as_deref().map(checksum::of_body),
            body,
            crc: 0,
        };
        row.crc = checksum::of_columns_and_meta(&row);
        Ok(row)
    }

    /// Checks the checksums and gives the event, upcast to what the domain knows today.
    ///
    /// # Errors
    /// [`DecodeError`] when the row is corrupt, unknown or malformed.
    pub fn decode(&self) -> Result<Recorded, DecodeError> {
        let corrupt = |part| DecodeError::Corrupt {
            part,
            conversation: self.conversation,
            seq: self.seq,
        };
        if self.crc != checksum::of_columns_and_meta(self) {
            return Err(corrupt("meta"));
        }
        if self.body_crc != self.body.as_deref().map(checksum::of_body) {
            return Err(corrupt("body"));
        }

        let unknown = DecodeError::Unknown {
            kind: self.kind,
            ver: self.ver,
            fmt: self.fmt,
        };
        if self.fmt != FMT_POSTCARD {
            return Err(unknown);
        }
        let malformed = |source| DecodeError::Malformed {
            kind: self.kind,
            ver: self.ver,
            source,
        };
        let said = upcast::said(self.kind, self.ver, &self.meta, self.body.as_deref())
            .map_err(malformed)?;
        let upcast::Said {
            by,
            request_mac,
            event,
        } = said.ok_or(unknown)?;
        Ok(Recorded {
            conversation: self.conversation,
            seq: self.seq,
            at: self.at,
            by,
            command_id: self.command_id,
            request_mac,
            event,
        })
    }

    /// Bytes that this row adds to a batch, for limits: columns plus `meta` plus `body`.
    pub fn size_bytes(&self) -> usize {
        const COLUMNS_BYTES: usize = 96;
        COLUMNS_BYTES
            .saturating_add(self.meta.len())
            .saturating_add(self.body.as_ref().map_or(0, Bytes::len))
    }
}

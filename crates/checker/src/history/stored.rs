//! What the log and the lineage hold.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Digest, Time, serde_default};

/// An event as somebody saw it: in a frame, in a page, from the library or in the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Where.
    #[serde(rename = "c")]
    pub conversation: Uuid,
    /// Epoch under which it was written.
    #[serde(rename = "e")]
    pub epoch: u64,
    /// Place in the conversation.
    #[serde(rename = "s")]
    pub seq: u64,
    /// The command that caused it; `None` where the viewer is not told.
    #[serde(rename = "id", default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Uuid>,
    /// Who caused it.
    #[serde(rename = "u")]
    pub by: Uuid,
    /// What happened.
    #[serde(rename = "f")]
    pub fact: Fact,
}

/// What happened, as far as an invariant asks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// The conversation began with these members.
    Created {
        /// Who was in from the start; empty when the frame left them out.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        members: Vec<Uuid>,
    },
    /// Someone came in.
    Added {
        /// Who.
        user: Uuid,
    },
    /// Someone went.
    Removed {
        /// Who.
        user: Uuid,
    },
    /// Who joins from now on sees only what comes after (or, if false, everything).
    HistoryFromJoin(bool),
    /// A message.
    Sent {
        /// Its number.
        no: u64,
        /// Its text; `None` once it is erased.
        #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
        body: Option<Digest>,
        /// Whom it mentions.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        mentions: Vec<Uuid>,
    },
    /// Another text for a message.
    Edited {
        /// Which message.
        no: u64,
        /// The new text; `None` once it is erased.
        #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
        body: Option<Digest>,
    },
    /// A message away for everyone.
    Deleted {
        /// Which message.
        no: u64,
    },
    /// Anything else; equal things have equal digests.
    Other(Digest),
}

impl Fact {
    /// Number of the message that it sends.
    pub const fn message_no(&self) -> Option<u64> {
        match self {
            Self::Sent { no, .. } => Some(*no),
            _no_message => None,
        }
    }
}

/// A row of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogRow {
    /// Partition.
    #[serde(rename = "p")]
    pub partition: u32,
    /// Offset: 1, 2, 3 … in the partition.
    #[serde(rename = "o")]
    pub offset: u64,
    /// Epoch under which it was written.
    #[serde(rename = "e")]
    pub epoch: u64,
    /// Conversation.
    #[serde(rename = "c")]
    pub conversation: Uuid,
    /// Place in the conversation.
    #[serde(rename = "s")]
    pub seq: u64,
    /// The command that caused it.
    #[serde(rename = "id")]
    pub command: Uuid,
    /// Its checksum is right.
    #[serde(
        rename = "crc",
        default = "serde_default::yes",
        skip_serializing_if = "serde_default::is_true"
    )]
    pub crc_ok: bool,
    /// When it was committed, where the recorder can know it (the simulator does).
    #[serde(rename = "at", default, skip_serializing_if = "Option::is_none")]
    pub committed_at: Option<Time>,
}

/// A row of the lineage: an epoch of a partition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LineageRow {
    /// Partition.
    #[serde(rename = "p")]
    pub partition: u32,
    /// The epoch.
    #[serde(rename = "e")]
    pub epoch: u64,
    /// The last offset of the epochs before it; its own first row has the next one.
    #[serde(rename = "after")]
    pub start_after: u64,
    /// Incarnation that acquired it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Uuid>,
    /// When it began, where the recorder can know it on the harness clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
}

/// Someone was seen serving a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OwnerSeen {
    /// When.
    pub at: Time,
    /// Partition.
    #[serde(rename = "p")]
    pub partition: u32,
    /// Under which epoch.
    #[serde(rename = "e")]
    pub epoch: u64,
    /// Which incarnation.
    pub owner: Uuid,
}

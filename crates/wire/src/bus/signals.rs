//! Short messages: heads, range requests, ephemera, account changes.
//!
//! Variants are numbered by their order here: new ones go to the end, none is ever removed or moved.

use bytes::Bytes;
use hubbub_domain::ids::{ConversationId, Incarnation, UserId};
use hubbub_domain::position::{Epoch, MessageNo, Offset, PartitionId};
use hubbub_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::bus::{
    BusDecodeError, Ephemeral, HeadBroadcast, PartitionHead, RangeRequest, UserChanged, codec,
};

#[derive(Serialize, Deserialize)]
struct HeadBroadcastV1 {
    incarnation: [u8; 16],
    user_rev: u64,
    heads: Vec<HeadV1>,
}

#[derive(Serialize, Deserialize)]
struct HeadV1 {
    partition: u16,
    epoch: u64,
    head: u64,
}

#[derive(Serialize, Deserialize)]
struct RangeRequestV1 {
    partition: u16,
    after: u64,
    to: u64,
}

#[derive(Serialize, Deserialize)]
enum EphemeralV1 {
    Typing {
        conversation: [u8; 16],
        user: [u8; 16],
        on: bool,
    },
    Marker {
        conversation: [u8; 16],
        user: [u8; 16],
        read_no: Option<u64>,
        delivered_no: Option<u64>,
        at: i64,
    },
}

#[derive(Serialize, Deserialize)]
struct UserChangedV1 {
    user: [u8; 16],
    rev: u64,
}

impl HeadBroadcast {
    /// The message.
    pub fn encode(&self) -> Bytes {
        let of_head = |head: &PartitionHead| HeadV1 {
            partition: head.partition.get(),
            epoch: head.epoch.get(),
            head: head.head.get(),
        };
        codec::seal(&HeadBroadcastV1 {
            incarnation: self.incarnation.uuid().into_bytes(),
            user_rev: self.user_rev,
            heads: self.heads.iter().map(of_head).collect(),
        })
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`BusDecodeError`] when this is no such broadcast of a protocol that this release speaks.
    pub fn decode(bytes: &[u8]) -> Result<Self, BusDecodeError> {
        let broadcast: HeadBroadcastV1 = codec::open("HeadBroadcast", bytes)?;
        let to_head = |head: HeadV1| PartitionHead {
            partition: PartitionId::new(head.partition),
            epoch: Epoch::new(head.epoch),
            head: Offset::new(head.head),
        };
        Ok(Self {
            incarnation: Incarnation::from_uuid(Uuid::from_bytes(broadcast.incarnation)),
            user_rev: broadcast.user_rev,
            heads: broadcast.heads.into_iter().map(to_head).collect(),
        })
    }
}

impl RangeRequest {
    /// The message.
    pub fn encode(&self) -> Bytes {
        codec::seal(&RangeRequestV1 {
            partition: self.partition.get(),
            after: self.after.get(),
            to: self.to.get(),
        })
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`BusDecodeError`] when this is no such request of a protocol that this release speaks.
    pub fn decode(bytes: &[u8]) -> Result<Self, BusDecodeError> {
        let request: RangeRequestV1 = codec::open("RangeRequest", bytes)?;
        Ok(Self {
            partition: PartitionId::new(request.partition),
            after: Offset::new(request.after),
            to: Offset::new(request.to),
        })
    }
}

impl Ephemeral {
    /// The message.
    pub fn encode(&self) -> Bytes {
        codec::seal(&match self {
            Self::Typing {
                conversation,
                user,
                on,
            } => EphemeralV1::Typing {
                conversation: conversation.uuid().into_bytes(),
                user: user.uuid().into_bytes(),
                on: *on,
            },
            Self::Marker {
                conversation,
                user,
                read_no,
                delivered_no,
                at,
            } => EphemeralV1::Marker {
                conversation: conversation.uuid().into_bytes(),
                user: user.uuid().into_bytes(),
                read_no: read_no.map(MessageNo::get),
                delivered_no: delivered_no.map(MessageNo::get),
                at: at.millis(),
            },
        })
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`BusDecodeError`] when this is no such message of a protocol that this release speaks.
    pub fn decode(bytes: &[u8]) -> Result<Self, BusDecodeError> {
        let conversation_id = |bytes| ConversationId::from_uuid(Uuid::from_bytes(bytes));
        let user_id = |bytes| UserId::from_uuid(Uuid::from_bytes(bytes));
        Ok(match codec::open("Ephemeral", bytes)? {
            EphemeralV1::Typing {
                conversation,
                user,
                on,
            } => Self::Typing {
                conversation: conversation_id(conversation),
                user: user_id(user),
                on,
            },
            EphemeralV1::Marker {
                conversation,
                user,
                read_no,
                delivered_no,
                at,
            } => Self::Marker {
                conversation: conversation_id(conversation),
                user: user_id(user),
                read_no: read_no.map(MessageNo::new),
                delivered_no: delivered_no.map(MessageNo::new),
                at: Timestamp::from_millis(at),
            },
        })
    }
}

impl UserChanged {
    /// The message.
    pub fn encode(&self) -> Bytes {
        codec::seal(&UserChangedV1 {
            user: self.user.uuid().into_bytes(),
            rev: self.rev,
        })
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`BusDecodeError`] when this is no such message of a protocol that this release speaks.
    pub fn decode(bytes: &[u8]) -> Result<Self, BusDecodeError> {
        let changed: UserChangedV1 = codec::open("UserChanged", bytes)?;
        Ok(Self {
            user: UserId::from_uuid(Uuid::from_bytes(changed.user)),
            rev: changed.rev,
        })
    }
}

//! News of owners.
//!
//! Variants are numbered by their order here: new ones go to the end, none is ever removed or moved.

use bytes::Bytes;
use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::{Epoch, PartitionId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::bus::{BusDecodeError, OwnershipHint, ReleasedPartition, codec};

#[derive(Serialize, Deserialize)]
enum HintV1 {
    Released {
        by: [u8; 16],
        partitions: Vec<ReleasedV1>,
    },
    Taken {
        by: [u8; 16],
        partitions: Vec<(u16, u64)>,
    },
}

#[derive(Serialize, Deserialize)]
struct ReleasedV1 {
    partition: u16,
    epoch: u64,
    next: Option<[u8; 16]>,
}

fn incarnation(bytes: [u8; 16]) -> Incarnation {
    Incarnation::from_uuid(Uuid::from_bytes(bytes))
}

impl OwnershipHint {
    /// The message.
    pub fn encode(&self) -> Bytes {
        let hint = match self {
            Self::Released { by, partitions } => HintV1::Released {
                by: by.uuid().into_bytes(),
                partitions: partitions
                    .iter()
                    .map(|released| ReleasedV1 {
                        partition: released.partition.get(),
                        epoch: released.epoch.get(),
                        next: released.next.map(|next| next.uuid().into_bytes()),
                    })
                    .collect(),
            },
            Self::Taken { by, partitions } => HintV1::Taken {
                by: by.uuid().into_bytes(),
                partitions: partitions
                    .iter()
                    .map(|(partition, epoch)| (partition.get(), epoch.get()))
                    .collect(),
            },
        };
        codec::seal(&hint)
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`BusDecodeError`] when this is no such hint of a protocol that this release speaks.
    pub fn decode(bytes: &[u8]) -> Result<Self, BusDecodeError> {
        Ok(match codec::open("OwnershipHint", bytes)? {
            HintV1::Released { by, partitions } => Self::Released {
                by: incarnation(by),
                partitions: partitions
                    .into_iter()
                    .map(|released| ReleasedPartition {
                        partition: PartitionId::new(released.partition),
                        epoch: Epoch::new(released.epoch),
                        next: released.next.map(incarnation),
                    })
                    .collect(),
            },
            HintV1::Taken { by, partitions } => Self::Taken {
                by: incarnation(by),
                partitions: partitions
                    .into_iter()
                    .map(|(partition, epoch)| (PartitionId::new(partition), Epoch::new(epoch)))
                    .collect(),
            },
        })
    }
}

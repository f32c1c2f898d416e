//! Where something stands: in a conversation, in a partition's log, in the lineage of owners.

use std::fmt;

use crate::ids::ConversationId;

macro_rules! position_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(u64);

        impl $name {
            /// Before the first.
            pub const ZERO: Self = Self(0);
            /// Largest value: JSON numbers are exact below 2^53 (PROTOCOL.md, Conventions).
            pub const MAX: Self = Self((1 << 53) - 1);

            /// Wraps a number read from a format or a column.
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The number itself.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The one after; stays at `u64::MAX`, which no log reaches.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }

            /// `n` further on, saturating.
            #[must_use]
            pub const fn plus(self, n: u64) -> Self {
                Self(self.0.saturating_add(n))
            }

            /// The one before; stays at zero.
            #[must_use]
            pub const fn prev(self) -> Self {
                Self(self.0.saturating_sub(1))
            }

            /// How far `self` is past `other`; zero when it is not.
            pub const fn since(self, other: Self) -> u64 {
                self.0.saturating_sub(other.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

position_newtype! {
    /// Place of an event in its conversation: 1, 2, 3 … without holes (P2).
    Seq
}
position_newtype! {
    /// Place of a message among the messages of its conversation: 1, 2, 3 …; what people link to and count.
    MessageNo
}
position_newtype! {
    /// Place of an event in its partition's log: 1, 2, 3 … without holes.
    Offset
}
position_newtype! {
    /// Which ownership of a partition wrote an event; rises with every acquire, never repeats.
    Epoch
}

/// Bits of a conversation id that choose its slot.
const SLOT_BITS: u32 = 14;

/// One of the P logs that conversations are spread over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(u16);

impl PartitionId {
    /// Wraps a number below the partition count.
    pub const fn new(value: u16) -> Self {
        Self(value)
    }

    /// The number itself.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartitionId({})", self.0)
    }
}

/// How many partitions a cluster has: a power of two from 1 to 2^14, fixed when the cluster is created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartitionCount(u16);

impl PartitionCount {
    /// Default of a cluster (ARCHITECTURE.md §4).
    pub const CLUSTER: Self = Self(1024);
    /// Default of embedded mode.
    pub const EMBEDDED: Self = Self(16);

    /// `None` unless `count` is a power of two from 1 to 16,384.
    pub const fn new(count: u16) -> Option<Self> {
        if count.is_power_of_two() && count <= 1 << SLOT_BITS {
            Some(Self(count))
        } else {
            None
        }
    }

    /// The number itself.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Every partition, ascending.
    pub fn all(self) -> impl DoubleEndedIterator<Item = PartitionId> + ExactSizeIterator + Clone {
        (0..self.0).map(PartitionId)
    }

    /// `slot >> (14 - log2 P)`, slot = low 14 bits of the id's last two bytes: doubling P splits each partition in two
    /// and moves no slot.
    pub fn partition_of(self, conversation: ConversationId) -> PartitionId {
        let [.., high, low] = *conversation.uuid().as_bytes();
        let slot = u16::from_be_bytes([high, low]) & ((1 << SLOT_BITS) - 1);
        let shift = SLOT_BITS.saturating_sub(self.0.trailing_zeros());
        PartitionId(slot.checked_shr(shift).unwrap_or(0))
    }
}

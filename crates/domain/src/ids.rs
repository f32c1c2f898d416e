//! Who and what: identifiers as types, so that two of them cannot be swapped.

use std::fmt;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::time::Timestamp;

macro_rules! uuid_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID that is already known to name this kind of thing.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID itself, for formats and columns.
            pub const fn uuid(self) -> Uuid {
                self.0
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

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_newtype! {
    /// A conversation: direct, group or room.
    ConversationId
}
uuid_newtype! {
    /// A person or a bot.
    UserId
}
uuid_newtype! {
    /// The client's name for one attempt to change something; repeating it never changes twice (P3).
    CommandId
}
uuid_newtype! {
    /// One life of one node process. A restarted node is a new incarnation.
    Incarnation
}

impl ConversationId {
    /// The one conversation of two people, whoever starts it: `UUIDv8` of sha256(smaller id ‖ larger id).
    pub fn direct(one: UserId, other: UserId) -> Self {
        let (first, second) = if one <= other {
            (one, other)
        } else {
            (other, one)
        };
        Self(uuid_v8(&[
            first.uuid().as_bytes(),
            second.uuid().as_bytes(),
        ]))
    }

    /// The group or room that `creator` made with this idempotency key: repeating the request names the same conversation.
    pub fn created(creator: UserId, key: CommandId) -> Self {
        Self(uuid_v8(&[
            b"created",
            creator.uuid().as_bytes(),
            key.uuid().as_bytes(),
        ]))
    }
}

impl CommandId {
    /// When the id says it was made, by the clock of the device that made it: the time in a `UUIDv7` (RFC 9562 §5.7). `None` for others.
    pub fn made_at(self) -> Option<Timestamp> {
        if self.0.get_version_num() != 7 {
            return None;
        }
        let millis = self.0.as_u128() >> 80;
        i64::try_from(millis).ok().map(Timestamp::from_millis)
    }
}

/// `UUIDv8` (RFC 9562 §5.8) from the first 16 bytes of sha256 over the parts.
fn uuid_v8(parts: &[&[u8]]) -> Uuid {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    let digest = hasher.finalize();
    let mut bytes = [0_u8; 16];
    for (to, from) in bytes.iter_mut().zip(digest.iter()) {
        *to = *from;
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

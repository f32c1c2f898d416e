//! The frame around every bus message: one protocol byte, then one postcard struct, nothing after it.
//!
//! Decoding allocates by bytes present, never by a declared length: lengths of lists and texts are checked against what is left of
//! the input (postcard hands out no size hint beyond it) and the whole message has a bound.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::bus::{BUS_MESSAGE_BYTES_MAX, BusDecodeError};

/// Protocol that this release speaks. The next one must be read by this release's successor and this one by it.
const PROTOCOL: u8 = 1;

/// Puts `value` behind the protocol byte.
pub(super) fn seal(value: &impl Serialize) -> Bytes {
    // postcard fails only for lists of unknown length and for full buffers; there are neither. An empty message is refused by `open`.
    postcard::to_extend(value, vec![PROTOCOL]).map_or_else(|_| Bytes::new(), Bytes::from)
}

/// What is behind the protocol byte, as a whole. `message` names it in the error.
pub(super) fn open<'a, T: Deserialize<'a>>(
    message: &'static str,
    bytes: &'a [u8],
) -> Result<T, BusDecodeError> {
    if bytes.len() > BUS_MESSAGE_BYTES_MAX {
        return Err(BusDecodeError::TooLarge {
            message,
            bytes: bytes.len(),
        });
    }
    let body = match bytes.split_first() {
        Some((&PROTOCOL, body)) => body,
        Some((&found, _)) => {
            return Err(BusDecodeError::Protocol {
                message,
                found: Some(found),
            });
        }
        None => {
            return Err(BusDecodeError::Protocol {
                message,
                found: None,
            });
        }
    };
    let malformed = |source| BusDecodeError::Malformed { message, source };
    let (value, rest) = postcard::take_from_bytes(body).map_err(malformed)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(malformed(postcard::Error::DeserializeBadEncoding))
    }
}

/// For a value that postcard accepts and the domain does not know.
pub(super) fn malformed(message: &'static str) -> impl Fn(postcard::Error) -> BusDecodeError {
    move |source| BusDecodeError::Malformed { message, source }
}

/// Bytes that are written in one piece and read without a copy. The derived form of a slice would go byte by byte.
#[derive(Clone, Copy)]
pub(super) struct Raw<'a>(pub(super) &'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'a [u8]>::deserialize(deserializer).map(Self)
    }
}

//! Randomness of the operating system as ids and tokens, and what is stored of a token.
//!
//! Never: a token in a column or a log; randomness that a seed could repeat.

use hubbub_domain::time::Timestamp;
use rand::TryRng as _;
use rand::rngs::SysRng;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::port::{AccountsError, SessionToken};

/// Bytes of a token: 256 bits.
const TOKEN_BYTES: usize = 32;

/// What is stored of a secret.
pub(crate) type Hash = [u8; 32];

/// A new token and its hash. A plain hash is enough: 256 random bits cannot be guessed, with or without salt.
pub(crate) fn new_token() -> Result<(SessionToken, Hash), AccountsError> {
    let bytes: [u8; TOKEN_BYTES] = random()?;
    let text = bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0xF])
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect();
    Ok((SessionToken(text), hash(&bytes)))
}

/// The hash of a token; `None` for a text that is no token, which so costs no query.
pub(crate) fn token_hash(text: &str) -> Option<Hash> {
    let digits = text.as_bytes();
    if digits.len() != TOKEN_BYTES * 2 {
        return None;
    }
    let mut bytes = [0; TOKEN_BYTES];
    let (pairs, _) = digits.as_chunks::<2>();
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = hex_digit(*high)? << 4 | hex_digit(*low)?;
    }
    Some(hash(&bytes))
}

/// Lower case only: a token has one spelling.
fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// sha256.
pub(crate) fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// A new id: time-ordered (`UUIDv7`), with the time that the caller's clock shows.
pub(crate) fn new_id(at: Timestamp) -> Result<Uuid, AccountsError> {
    let millis = u64::try_from(at.millis()).unwrap_or(0);
    Ok(uuid::Builder::from_unix_timestamp_millis(millis, &random()?).into_uuid())
}

fn random<const N: usize>() -> Result<[u8; N], AccountsError> {
    let mut bytes = [0; N];
    SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| AccountsError::Unavailable(Box::new(error)))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_64_characters_that_hash_to_what_is_stored() {
        let (token, stored) = new_token().expect("the system has randomness");
        assert_eq!(token.0.len(), 64);
        assert_eq!(token_hash(&token.0), Some(stored));
        let (other, other_stored) = new_token().expect("the system has randomness");
        assert_ne!(token, other);
        assert_ne!(stored, other_stored);
    }

    #[test]
    fn a_text_of_another_form_is_no_token() {
        let digits = "0123456789abcdef".repeat(4);
        assert!(token_hash(&digits).is_some());
        for text in [
            "",
            "abc",
            &digits.to_uppercase(),
            &format!("{digits}0"),
            &digits.replace('f', "g"),
            &"é".repeat(32),
        ] {
            assert_eq!(token_hash(text), None, "{text}");
        }
    }

    #[test]
    fn an_id_carries_the_time_of_the_clock() {
        let at = Timestamp::from_millis(1_800_000_000_123);
        let id = new_id(at).expect("the system has randomness");
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(
            id.get_timestamp().map(|time| time.to_unix().0),
            Some(1_800_000_000)
        );
        assert_ne!(id, new_id(at).expect("the system has randomness"));
    }
}

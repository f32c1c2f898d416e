//! Golden files: hex text, compared, never written.

use std::fmt::Write as _;
use std::path::PathBuf;

use hubbub_domain::ids::{CommandId, ConversationId, UserId};
use hubbub_domain::time::Timestamp;
use uuid::Uuid;

/// 2026-01-01T00:00:00.123Z.
pub(crate) const AT: Timestamp = Timestamp::from_millis(1_767_225_600_123);

pub(crate) fn user(number: u8) -> UserId {
    UserId::from_uuid(Uuid::from_bytes([number; 16]))
}

pub(crate) fn conversation() -> ConversationId {
    ConversationId::from_uuid(Uuid::from_u128(0x78d6_8721_debb_823c_b880_2328_69a6_3e25))
}

pub(crate) fn command_id() -> CommandId {
    CommandId::from_uuid(Uuid::from_u128(0x019b_76da_a87b_7000_8000_0000_0000_002a))
}

pub(crate) fn golden_dir() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"))
}

/// Compares with the golden file `path` (below `tests/golden`). To add one, write what the failure prints.
#[track_caller]
pub(crate) fn check_golden(path: &str, actual: &str) {
    match std::fs::read_to_string(golden_dir().join(path)) {
        Ok(golden) => assert_eq!(golden, actual, "{path}: released bytes have changed"),
        Err(error) => panic!("{path}: {error}; if it is new, add it with this content:\n{actual}"),
    }
}

/// Lower-case hex, 32 bytes a line, so that a difference can be seen.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(32) {
        for byte in line {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    text
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|character| !character.is_whitespace())
        .map(|digit| u8::try_from(digit.to_digit(16).unwrap()).unwrap())
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

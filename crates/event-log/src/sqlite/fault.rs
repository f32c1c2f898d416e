//! What an error of SQLite means for who waits.

use sqlx::Error;

use crate::port::{ReadError, Refusal, StoreError};

/// Primary result codes (low byte of the extended ones) and the two extended ones that matter here.
const BUSY: i32 = 5;
const FULL: i32 = 13;
const CORRUPT: i32 = 11;
const NOT_A_DATABASE: i32 = 26;
/// The shared-memory index could not grow: the disk is full as well.
const IOERR_SHMSIZE: i32 = 4_874;
const CONSTRAINT_PRIMARYKEY: i32 = 1_555;
const CONSTRAINT_UNIQUE: i32 = 2_067;

fn extended_code(error: &Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

/// A uniqueness stood against the statement.
pub(super) fn is_unique_violation(error: &Error) -> bool {
    matches!(
        extended_code(error),
        Some(CONSTRAINT_PRIMARYKEY | CONSTRAINT_UNIQUE)
    )
}

/// The refusal that an error before COMMIT is: the transaction is rolled back and nothing is stored.
pub(super) fn refusal(error: &Error) -> Refusal {
    match extended_code(error) {
        Some(code) if code & 0xFF == FULL || code == IOERR_SHMSIZE => Refusal::StorageFull,
        _ => Refusal::Unavailable,
    }
}

/// The refusal that an error of COMMIT itself is, when it is one at all.
///
/// A full disk means that the commit frame was not written, a busy file that it was not tried. After anything else (a failed fsync) the
/// frame may be in the file and may come back with the next recovery.
pub(super) fn commit_refusal(error: &Error) -> Option<Refusal> {
    match extended_code(error)? & 0xFF {
        FULL => Some(Refusal::StorageFull),
        BUSY => Some(Refusal::Unavailable),
        _ => None,
    }
}

fn is_damaged(error: &Error) -> bool {
    extended_code(error).is_some_and(|code| matches!(code & 0xFF, CORRUPT | NOT_A_DATABASE))
}

pub(super) fn read(error: Error) -> ReadError {
    match error {
        Error::ColumnDecode { .. } | Error::Decode(_) => ReadError::Inconsistent(error.to_string()),
        error if is_damaged(&error) => ReadError::Inconsistent(error.to_string()),
        error => ReadError::Unavailable(error.into()),
    }
}

pub(super) fn store(error: Error) -> StoreError {
    if is_damaged(&error) {
        StoreError::Refused(error.to_string())
    } else {
        StoreError::Unavailable(error.into())
    }
}

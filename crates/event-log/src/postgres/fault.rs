//! What an error of the server means for who waits.
//!
//! For an append the question is: is it certain that nothing was stored? It is, when the server itself said so in an ERROR while it went
//! on serving the connection: the statement was rolled back. It is not, when the connection or the server ended (FATAL, PANIC, classes
//! 08 and 57P), because the end may have come after the commit; nor when the line broke or nothing was heard. A wait for a synchronous
//! standby that is cut short ends with a warning and a success, or with FATAL: never with an ERROR that would be believed here.

use sqlx::Error;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::port::{
    AcquireError, AppendOutcome, Conflict, OpenError, ReadError, Refusal, StoreError,
};

const UNIQUE_VIOLATION: &str = "23505";
const DISK_FULL: &str = "53100";
const LOCK_NOT_AVAILABLE: &str = "55P03";
const DATA_CORRUPTED: &str = "XX001";
const INDEX_CORRUPTED: &str = "XX002";
/// Connection exceptions.
const CLASS_CONNECTION: &str = "08";
/// Shutdowns and everything like them.
const CLASS_SHUTDOWN: &str = "57P";

fn server_error(error: &Error) -> Option<&PgDatabaseError> {
    error
        .as_database_error()?
        .try_downcast_ref::<PgDatabaseError>()
}

/// The code of an error after which the connection goes on.
fn definite(error: &Error) -> Option<&PgDatabaseError> {
    let told = server_error(error)?;
    let ended = matches!(told.severity(), PgSeverity::Fatal | PgSeverity::Panic);
    let code = told.code();
    (!ended && !code.starts_with(CLASS_CONNECTION) && !code.starts_with(CLASS_SHUTDOWN))
        .then_some(told)
}

/// How an append that failed ended.
pub(super) fn append(error: &Error) -> AppendOutcome {
    // The arguments could not be encoded: nothing was sent.
    if matches!(error, Error::Encode(_)) {
        tracing::error!(%error, "an append could not be encoded");
        return AppendOutcome::Refused(Refusal::Unavailable);
    }
    let Some(told) = definite(error) else {
        tracing::warn!(%error, "the outcome of an append is unknown");
        return AppendOutcome::Unknown;
    };
    match told.code() {
        UNIQUE_VIOLATION => AppendOutcome::Conflict(conflict(told.constraint())),
        DISK_FULL => {
            tracing::error!(%error, "the database server has no room for an append");
            AppendOutcome::Refused(Refusal::StorageFull)
        }
        _ => {
            tracing::warn!(%error, "an append was rolled back");
            AppendOutcome::Refused(Refusal::Unavailable)
        }
    }
}

/// By the name of the child's index. A name that is not ours stands against the position: stopping is the safe side.
fn conflict(constraint: Option<&str>) -> Conflict {
    match constraint {
        Some(name) if name.ends_with(super::segments::COMMAND_SUFFIX) => Conflict::Command,
        _ => Conflict::Position,
    }
}

fn is_damage(error: &Error) -> bool {
    server_error(error).is_some_and(|told| matches!(told.code(), DATA_CORRUPTED | INDEX_CORRUPTED))
}

pub(super) fn read(error: Error) -> ReadError {
    match error {
        Error::ColumnDecode { .. } | Error::Decode(_) => ReadError::Inconsistent(error.to_string()),
        error if is_damage(&error) => ReadError::Inconsistent(error.to_string()),
        error => ReadError::Unavailable(error.into()),
    }
}

pub(super) fn store(error: Error) -> StoreError {
    if is_damage(&error) || matches!(error, Error::ColumnDecode { .. } | Error::Decode(_)) {
        StoreError::Refused(error.to_string())
    } else {
        StoreError::Unavailable(error.into())
    }
}

pub(super) fn acquire(error: Error) -> AcquireError {
    if server_error(&error).is_some_and(|told| told.code() == LOCK_NOT_AVAILABLE) {
        AcquireError::Locked
    } else {
        AcquireError::Unavailable(error.into())
    }
}

pub(super) fn open(error: Error) -> OpenError {
    OpenError::Unavailable(error.into())
}

//! The one table from what went wrong to what a client is told: code, status, words.
//!
//! Inside the edge a failure travels as a [`Refusal`]. Over REST it becomes a problem document ([`crate::http::finish`] adds the
//! request id), over a socket an `error` frame.
//!
//! Never: SQL, paths, ids or causes in the words; those are logged here, once.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hubbub_accounts::{AccountsError, LoginError, RegisterError};
use hubbub_cluster::SubmitError;
use hubbub_domain::conversation::{Denied, Rejection};
use hubbub_event_log::ReadError;
use hubbub_projections::QueryError;
use hubbub_wire::client::BadFrame;
use hubbub_wire::client::outbound::ErrorFrame;
use hubbub_wire::error::{ErrorCode, STATUS_UNPROCESSABLE};
use hubbub_wire::rest::Unreadable;
use uuid::Uuid;

/// When to come back after a store did not answer.
const STORE_RETRY_MS: u64 = 1_000;
/// When to come back after the disk was full: someone has to make room first.
const STORAGE_FULL_RETRY_MS: u64 = 10_000;
/// When to come back after all places for hashing were taken: one hash takes some 50 ms.
const HASHING_RETRY_MS: u64 = 500;
/// The one sentence for what is not there and for what may not be seen.
const NOT_FOUND: &str = "there is nothing here, or you may not see it";

/// A request that is not done, in the words of the contract.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) status: u16,
    pub(crate) detail: Cow<'static, str>,
    pub(crate) retry_after_ms: Option<u64>,
    pub(crate) fields: Option<BTreeMap<String, String>>,
    /// The connection cannot be used any further.
    pub(crate) close: bool,
}

impl Refusal {
    fn new(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            status: code.http_status(),
            detail: detail.into(),
            retry_after_ms: None,
            fields: None,
            close: false,
        }
    }

    /// Not readable as what was expected.
    pub(crate) fn unreadable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::Invalid, detail)
    }

    /// Readable but not allowed.
    pub(crate) fn unprocessable(field: &str, reason: &str) -> Self {
        let fields = BTreeMap::from([(field.to_owned(), reason.to_owned())]);
        Self {
            status: STATUS_UNPROCESSABLE,
            fields: Some(fields),
            ..Self::new(ErrorCode::Invalid, format!("{field} {reason}"))
        }
    }

    /// A part of the contract that this release does not have yet.
    pub(crate) fn not_yet(what: &'static str) -> Self {
        Self {
            status: STATUS_UNPROCESSABLE,
            ..Self::new(
                ErrorCode::Invalid,
                format!("{what} is not available on this server yet"),
            )
        }
    }

    pub(crate) fn not_found() -> Self {
        Self::new(ErrorCode::NotFound, NOT_FOUND)
    }

    pub(crate) fn unauthenticated() -> Self {
        Self::new(ErrorCode::Unauthenticated, "a live session is needed")
    }

    pub(crate) fn forbidden(rule: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::Forbidden, rule)
    }

    /// The id belongs to another request.
    pub(crate) fn other_request() -> Self {
        Self::new(
            ErrorCode::IdempotencyMismatch,
            "this id was used for another request",
        )
    }

    pub(crate) fn too_large() -> Self {
        Self {
            close: true,
            ..Self::new(ErrorCode::TooLarge, "the body is larger than it may be")
        }
    }

    pub(crate) fn not_json() -> Self {
        Self::new(ErrorCode::UnsupportedMediaType, "send application/json")
    }

    /// The resource has other methods than this one.
    pub(crate) fn method_not_allowed() -> Self {
        Self {
            status: 405,
            ..Self::new(
                ErrorCode::Invalid,
                "this resource does not take that method",
            )
        }
    }

    /// The request's framing is ambiguous.
    pub(crate) fn ambiguous_framing() -> Self {
        Self {
            close: true,
            ..Self::new(
                ErrorCode::Invalid,
                "give either Content-Length or Transfer-Encoding",
            )
        }
    }

    /// The body did not come in time.
    pub(crate) fn too_slow() -> Self {
        Self {
            close: true,
            ..Self::new(ErrorCode::Invalid, "the body did not arrive in time")
        }
    }

    pub(crate) fn rate_limited(retry_after_ms: u64) -> Self {
        Self {
            retry_after_ms: Some(retry_after_ms),
            ..Self::new(ErrorCode::RateLimited, "too many requests of this kind")
        }
    }

    pub(crate) fn unavailable(retry_after_ms: u64) -> Self {
        Self {
            retry_after_ms: Some(retry_after_ms),
            ..Self::new(ErrorCode::Unavailable, "this cannot be served now")
        }
    }

    /// Too much of this kind at once.
    pub(crate) fn busy(retry_after_ms: u64) -> Self {
        Self {
            retry_after_ms: Some(retry_after_ms),
            ..Self::new(ErrorCode::Busy, "too much at once on this node")
        }
    }

    /// The `error` frame that says the same.
    pub(crate) fn into_frame(self, id: Option<Uuid>) -> ErrorFrame {
        ErrorFrame {
            id,
            code: self.code,
            detail: self.detail.into_owned(),
            retry_after_ms: self.retry_after_ms,
            fields: self.fields,
        }
    }
}

/// A bare response that carries the refusal; [`crate::http::finish`] writes it out.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Unreadable> for Refusal {
    fn from(unreadable: Unreadable) -> Self {
        Self::unreadable(unreadable.detail)
    }
}

impl From<BadFrame> for Refusal {
    fn from(bad: BadFrame) -> Self {
        Self::new(bad.code, bad.detail)
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::NotFound | Rejection::NoSuchMember | Rejection::NoSuchMessage => {
                Self::not_found()
            }
            Rejection::Forbidden { rule } => Self::forbidden(rule),
            Rejection::Invalid { field, reason } => Self::unprocessable(field, reason),
            Rejection::Conflict { reason } => Self::new(ErrorCode::Conflict, reason),
            Rejection::IdempotencyMismatch => Self::other_request(),
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Rejection::from(denied).into()
    }
}

impl From<SubmitError> for Refusal {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Rejected(rejection) => rejection.into(),
            SubmitError::Busy { retry_after_ms } => Self {
                retry_after_ms: Some(retry_after_ms.into()),
                ..Self::new(ErrorCode::Busy, "too much at once in this conversation")
            },
            SubmitError::Unavailable { retry_after_ms } => Self::unavailable(retry_after_ms.into()),
            SubmitError::StorageFull => Self {
                retry_after_ms: Some(STORAGE_FULL_RETRY_MS),
                ..Self::new(ErrorCode::StorageFull, "there is no room to store this")
            },
            SubmitError::UnknownOutcome => Self::new(
                ErrorCode::UnknownOutcome,
                "it may or may not be stored: send it again with the same id",
            ),
        }
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::BadCursor => Self::unreadable("cursor is not one of ours"),
            QueryError::Unavailable(cause) => {
                tracing::warn!(error = %cause, "read models do not answer");
                Self::unavailable(STORE_RETRY_MS)
            }
            QueryError::Log(error) => error.into(),
            QueryError::Inconsistent(what) => {
                tracing::error!(error = %what, "read models contradict themselves");
                Self::unavailable(STORE_RETRY_MS)
            }
        }
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(cause) => {
                tracing::warn!(error = %cause, "the log does not answer");
            }
            ReadError::Inconsistent(what) => {
                tracing::error!(error = %what, "the log contradicts itself");
            }
        }
        Self::unavailable(STORE_RETRY_MS)
    }
}

impl From<AccountsError> for Refusal {
    fn from(error: AccountsError) -> Self {
        match error {
            AccountsError::BadCursor => Self::unreadable("cursor is not one of ours"),
            AccountsError::Unavailable(cause) => {
                tracing::warn!(error = %cause, "accounts do not answer");
                Self::unavailable(STORE_RETRY_MS)
            }
        }
    }
}

impl From<RegisterError> for Refusal {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Invalid(faults) => {
                let detail = faults
                    .first()
                    .map_or_else(String::new, |(field, reason)| format!("{field} {reason}"));
                let fields = faults
                    .into_iter()
                    .map(|(field, reason)| (field.to_owned(), reason.to_owned()))
                    .collect();
                Self {
                    status: STATUS_UNPROCESSABLE,
                    fields: Some(fields),
                    ..Self::new(ErrorCode::Invalid, detail)
                }
            }
            RegisterError::Taken => Self::new(ErrorCode::Conflict, "this username is taken"),
            RegisterError::Gone => Self::unauthenticated(),
            RegisterError::Busy => Self {
                retry_after_ms: Some(HASHING_RETRY_MS),
                ..Self::new(ErrorCode::Busy, "too many people are logging in")
            },
            RegisterError::Store(error) => error.into(),
        }
    }
}

impl From<LoginError> for Refusal {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Refused => {
                Self::new(ErrorCode::Unauthenticated, "wrong username or password")
            }
            LoginError::Later { retry_after_ms } => Self::rate_limited(retry_after_ms.into()),
            LoginError::Store(error) => error.into(),
        }
    }
}

//! The words in which the server says no, the same over REST and WebSocket, and the problem document of RFC 9457.
//!
//! Which error of which room becomes which code is decided in the edge's one table, not here.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// Media type of a [`Problem`].
pub const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";

/// Status for `invalid` when the request is readable but not allowed: empty body, weak password, over a limit.
pub const STATUS_UNPROCESSABLE: u16 = 422;

/// What went wrong, as one word that programs may branch on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not readable as this type (400), or readable but not allowed (422).
    Invalid,
    /// More bytes than the published limit.
    TooLarge,
    /// A body that is not JSON.
    UnsupportedMediaType,
    /// No session, or an ended one.
    Unauthenticated,
    /// Visible, but this may not be done; the detail names the rule.
    Forbidden,
    /// Unknown, or not visible to the asker: one answer for both.
    NotFound,
    /// The present state stands against it.
    Conflict,
    /// The id was used for another request, or by another person.
    IdempotencyMismatch,
    /// Over a budget.
    RateLimited,
    /// A queue is full.
    Busy,
    /// Cannot be done now.
    Unavailable,
    /// No room on disk.
    StorageFull,
    /// It may or may not have been stored: safe to send again with the same id.
    UnknownOutcome,
    /// A word from a newer server. Servers never send it; clients read it as "outcome open".
    #[serde(other)]
    #[ts(skip)]
    Unrecognised,
}

/// What the caller should do about a code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorClass {
    /// Change the request.
    FixIt,
    /// Not allowed or not there.
    NotYours,
    /// Look again, then decide.
    Clash,
    /// The same request later; it was not stored.
    Later,
    /// The same request with the same id; it may have been stored.
    Open,
}

impl ErrorCode {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::TooLarge => "too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::IdempotencyMismatch => "idempotency_mismatch",
            Self::RateLimited => "rate_limited",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::StorageFull => "storage_full",
            Self::UnknownOutcome => "unknown_outcome",
            Self::Unrecognised => "unrecognised",
        }
    }

    /// HTTP status. `invalid` is 400 here; where the request was readable, use [`STATUS_UNPROCESSABLE`].
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict | Self::IdempotencyMismatch => 409,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::RateLimited => 429,
            Self::Unrecognised => 500,
            Self::Busy | Self::Unavailable => 503,
            Self::UnknownOutcome => 504,
            Self::StorageFull => 507,
        }
    }

    /// What the caller should do about it.
    pub const fn class(self) -> ErrorClass {
        match self {
            Self::Invalid | Self::TooLarge | Self::UnsupportedMediaType => ErrorClass::FixIt,
            Self::Unauthenticated | Self::Forbidden | Self::NotFound => ErrorClass::NotYours,
            Self::Conflict | Self::IdempotencyMismatch => ErrorClass::Clash,
            Self::RateLimited | Self::Busy | Self::Unavailable | Self::StorageFull => {
                ErrorClass::Later
            }
            Self::UnknownOutcome | Self::Unrecognised => ErrorClass::Open,
        }
    }

    /// Title of the problem: the same sentence for every occurrence of the code (RFC 9457 §3.1.3).
    pub const fn title(self) -> &'static str {
        match self {
            Self::Invalid => "The request is not valid",
            Self::TooLarge => "The request is too large",
            Self::UnsupportedMediaType => "The body must be JSON",
            Self::Unauthenticated => "Not logged in",
            Self::Forbidden => "Not allowed",
            Self::NotFound => "Not found",
            Self::Conflict => "Not possible in the present state",
            Self::IdempotencyMismatch => "The id was used for another request",
            Self::RateLimited => "Too many requests",
            Self::Busy => "Too much at once",
            Self::Unavailable => "Not available now",
            Self::StorageFull => "Storage is full",
            Self::UnknownOutcome => "The outcome is not known",
            Self::Unrecognised => "An error this program does not know",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error answer over REST (RFC 9457).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct Problem {
    /// Always `about:blank`: the code says more than a page could.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// The code's title.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// The code.
    pub code: ErrorCode,
    /// What is wrong with this request, in words; never repeats an id.
    pub detail: String,
    /// Names this request in the server's logs.
    pub request_id: String,
    /// When trying again makes sense, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub retry_after_ms: Option<u64>,
    /// What is wrong with which field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub fields: Option<BTreeMap<String, String>>,
}

impl Problem {
    /// A problem with the code's own status and title.
    pub fn new(code: ErrorCode, detail: impl Into<String>, request_id: impl Into<String>) -> Self {
        Self {
            type_uri: "about:blank".to_owned(),
            title: code.title().to_owned(),
            status: code.http_status(),
            code,
            detail: detail.into(),
            request_id: request_id.into(),
            retry_after_ms: None,
            fields: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_on_the_wire_is_the_word_in_the_code() {
        for code in [
            ErrorCode::Invalid,
            ErrorCode::TooLarge,
            ErrorCode::UnsupportedMediaType,
            ErrorCode::Unauthenticated,
            ErrorCode::Forbidden,
            ErrorCode::NotFound,
            ErrorCode::Conflict,
            ErrorCode::IdempotencyMismatch,
            ErrorCode::RateLimited,
            ErrorCode::Busy,
            ErrorCode::Unavailable,
            ErrorCode::StorageFull,
            ErrorCode::UnknownOutcome,
        ] {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }

    #[test]
    fn a_code_of_a_newer_server_leaves_the_outcome_open() {
        let code: ErrorCode = serde_json::from_str("\"on_fire\"").unwrap();
        assert_eq!(code.class(), ErrorClass::Open);
    }

    #[test]
    fn a_problem_leaves_out_what_it_does_not_say() {
        let problem = Problem::new(ErrorCode::NotFound, "no such conversation", "r1");
        assert_eq!(
            serde_json::to_value(problem).unwrap(),
            serde_json::json!({
                "type": "about:blank", "title": "Not found", "status": 404, "code": "not_found",
                "detail": "no such conversation", "request_id": "r1"
            })
        );
    }
}

//! A rejection on the bus: class, field and text. The texts become static again through the domain's closed table; one that this release does
//! not know becomes the general text of its class.

use hubbub_domain::conversation::{Rejection, rules};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub(super) struct RejectionV1<'a> {
    class: u8,
    field: &'a str,
    text: &'a str,
}

const NOT_FOUND: u8 = 0;
const NO_SUCH_MEMBER: u8 = 1;
const NO_SUCH_MESSAGE: u8 = 2;
const FORBIDDEN: u8 = 3;
const INVALID: u8 = 4;
const CONFLICT: u8 = 5;
const IDEMPOTENCY_MISMATCH: u8 = 6;

impl RejectionV1<'_> {
    pub(super) fn of(rejection: Rejection) -> RejectionV1<'static> {
        let (class, field, text) = match rejection {
            Rejection::NotFound => (NOT_FOUND, "", ""),
            Rejection::NoSuchMember => (NO_SUCH_MEMBER, "", ""),
            Rejection::NoSuchMessage => (NO_SUCH_MESSAGE, "", ""),
            Rejection::Forbidden { rule } => (FORBIDDEN, "", rule),
            Rejection::Invalid { field, reason } => (INVALID, field, reason),
            Rejection::Conflict { reason } => (CONFLICT, "", reason),
            Rejection::IdempotencyMismatch => (IDEMPOTENCY_MISMATCH, "", ""),
        };
        RejectionV1 { class, field, text }
    }

    pub(super) fn into_rejection(self) -> Result<Rejection, postcard::Error> {
        let text = |general| rules::known(self.text).unwrap_or(general);
        Ok(match self.class {
            NOT_FOUND => Rejection::NotFound,
            NO_SUCH_MEMBER => Rejection::NoSuchMember,
            NO_SUCH_MESSAGE => Rejection::NoSuchMessage,
            FORBIDDEN => Rejection::Forbidden {
                rule: text(rules::RULE_UNNAMED),
            },
            INVALID => Rejection::Invalid {
                field: rules::known(self.field).unwrap_or(rules::FIELD_UNNAMED),
                reason: text(rules::INVALID_UNNAMED),
            },
            CONFLICT => Rejection::Conflict {
                reason: text(rules::CONFLICT_UNNAMED),
            },
            IDEMPOTENCY_MISMATCH => Rejection::IdempotencyMismatch,
            _ => return Err(postcard::Error::DeserializeBadEnum),
        })
    }
}

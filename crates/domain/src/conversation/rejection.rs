//! Why the domain says no. Every variant maps to one client code, in the edge's one table.

/// A definite no: nothing was or will be stored for this attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Rejection {
    /// The conversation does not exist, or the asker may not know that it does: one answer for both.
    #[error("no such conversation")]
    NotFound,
    /// The person to act on is not a member.
    #[error("that person is not a member")]
    NoSuchMember,
    /// The message referred to does not exist.
    #[error("no such message")]
    NoSuchMessage,
    /// The asker may see the conversation but not do this; names the rule.
    #[error("not allowed: {rule}")]
    Forbidden {
        /// The rule in words that can be shown.
        rule: &'static str,
    },
    /// The request can never be right as it stands.
    #[error("invalid {field}: {reason}")]
    Invalid {
        /// Field of the request.
        field: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The conversation's present state stands against it, for example the last owner leaving.
    #[error("conflict: {reason}")]
    Conflict {
        /// What stands against it.
        reason: &'static str,
    },
    /// The command id was used before for another request, or by another person.
    #[error("this command id was used for another request")]
    IdempotencyMismatch,
}

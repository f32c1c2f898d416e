//! New ids, for requests and for commands whose client gave none. This is the rim: further in, ids are arguments.

use uuid::Uuid;

/// A fresh id, sortable by time.
#[expect(
    clippy::disallowed_methods,
    reason = "the edge is the rim at which ids are assigned"
)]
pub(crate) fn fresh() -> Uuid {
    Uuid::now_v7()
}

/// 16 random bytes.
#[expect(
    clippy::disallowed_methods,
    reason = "the edge is the rim at which randomness enters"
)]
pub(crate) fn random() -> Uuid {
    Uuid::new_v4()
}

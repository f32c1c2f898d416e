//! One caller who waits for one reply.

use hubbub_wire::bus::OwnerReply;
use tokio::sync::oneshot;

use crate::permits::Permit;

/// What "try again later" asks for when this conversation or node cannot serve, in milliseconds: about the time of an activation that
/// went wrong, short against a client's patience of five seconds.
pub(crate) const UNAVAILABLE_RETRY_AFTER_MS: u32 = 500;

/// The caller's end, with the permit that admitted the request.
///
/// Dropped without a reply it says nothing, which the caller's side reads as "unknown": that is the only thing that may be said of a
/// request whose actor is gone.
#[derive(Debug)]
pub(crate) struct Answer {
    to: oneshot::Sender<OwnerReply>,
    permit: Permit,
}

impl Answer {
    pub(crate) fn new(to: oneshot::Sender<OwnerReply>, permit: Permit) -> Self {
        Self { to, permit }
    }

    /// Says it; a caller that no longer listens is no error.
    pub(crate) fn send(self, reply: OwnerReply) {
        let mut permit = self.permit;
        // Marks are answered beside the lane, so they say nothing about how fast it is.
        if matches!(reply, OwnerReply::Accepted(_) | OwnerReply::Rejected(_)) {
            permit.served();
        }
        // First, so that a caller who has its reply can send again at once.
        drop(permit);
        if self.to.send(reply).is_err() {
            tracing::trace!("the caller no longer waits");
        }
    }
}

/// The reply of who cannot serve now.
pub(crate) const fn unavailable() -> OwnerReply {
    OwnerReply::Unavailable {
        retry_after_ms: UNAVAILABLE_RETRY_AFTER_MS,
    }
}

//! What the looks at the server have found, shared by all lanes.
//!
//! One bad look is not yet a verdict: a standby that changes its connection is away for a moment, and no commit is lost meanwhile, because
//! a commit waits for it. A good look always is one.
//!
//! Never: a statement. `checks.rs` looks, `segments.rs` says when.

use std::sync::atomic::{AtomicU32, Ordering};

/// Bad looks in a row after which nothing is stored.
const BAD_LOOKS_MIN: u32 = 2;

/// Whether the server keeps what it commits, as far as is known. Fit in the beginning: a log opens only where it is.
#[derive(Debug, Default)]
pub(super) struct Fitness {
    /// Since the last good one.
    bad_looks: AtomicU32,
}

impl Fitness {
    /// Whether something may be stored.
    pub(super) fn is_fit(&self) -> bool {
        self.bad_looks.load(Ordering::Relaxed) < BAD_LOOKS_MIN
    }

    /// Whether the last look was a bad one: then the next should not be long in coming.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.bad_looks.load(Ordering::Relaxed) > 0
    }

    /// A look, or the session of a new lane, found everything as it must be.
    pub(super) fn found_good(&self) {
        if self.bad_looks.swap(0, Ordering::Relaxed) >= BAD_LOOKS_MIN {
            tracing::info!("the database server is fit for the log again");
        }
    }

    /// A look found this against the server.
    pub(super) fn found_bad(&self, sentence: &str) {
        let bad_looks = self
            .bad_looks
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        if bad_looks < BAD_LOOKS_MIN {
            tracing::warn!(%sentence, "the database server may not be fit for the log any more; it is looked at again in a moment");
        } else if bad_looks == BAD_LOOKS_MIN {
            tracing::error!(%sentence, "the database server is not fit for the log any more; nothing is stored until it is");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_bad_looks_in_a_row_are_a_verdict_and_one_good_look_ends_it() {
        let fitness = Fitness::default();
        for _blink in 0..3 {
            fitness.found_bad("a blink");
            assert!(fitness.is_fit() && fitness.is_in_doubt());
            fitness.found_good();
            assert!(fitness.is_fit() && !fitness.is_in_doubt());
        }
        for _look in 0..3 {
            fitness.found_bad("away");
        }
        assert!(!fitness.is_fit() && fitness.is_in_doubt());
        fitness.found_good();
        assert!(fitness.is_fit() && !fitness.is_in_doubt());
    }
}

//! How long ago this node last saw in the database what it owns.
//!
//! A process that was stopped, or that cannot reach the database, must not go on answering from memory as if nothing had happened
//! (ARCHITECTURE.md §5, Wedged). Appends are safe without this, because the epoch fences them; answers that need no append are not.
//! The clock is the process's monotonic one and only measures this process's own silence.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hubbub_event_log::port::LEASE;
use tokio::time::Instant;

/// When the fence rows were last confirmed. Shared by the ownership loop, which renews it, and whoever answers for local partitions.
#[derive(Debug)]
pub struct Lease {
    origin: Instant,
    /// Milliseconds after `origin`, plus one; zero = never.
    renewed: AtomicU64,
    /// The database did not answer the last time it was asked.
    doubted: AtomicBool,
}

impl Default for Lease {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            renewed: AtomicU64::new(0),
            doubted: AtomicBool::new(false),
        }
    }
}

impl Lease {
    /// The rows were as this node believes them at `seen`, the moment before they were read.
    pub fn renew(&self, seen: Instant) {
        let millis = seen.saturating_duration_since(self.origin).as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        self.renewed
            .fetch_max(millis.saturating_add(1), Ordering::SeqCst);
        self.doubted.store(false, Ordering::SeqCst);
    }

    /// The database did not answer: until the next renewal nobody need wait here for an owner to appear.
    pub fn doubt(&self) {
        self.doubted.store(true, Ordering::SeqCst);
    }

    /// Whether this node sees the database: the lease is fresh, and nothing has failed since it was renewed.
    pub fn is_undoubted(&self) -> bool {
        self.is_fresh() && !self.doubted.load(Ordering::SeqCst)
    }

    /// Whether that was less than a lease ago.
    pub fn is_fresh(&self) -> bool {
        match self.renewed.load(Ordering::SeqCst).checked_sub(1) {
            Some(millis) => {
                self.origin
                    .elapsed()
                    .saturating_sub(Duration::from_millis(millis))
                    < LEASE
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_stale_until_renewed_and_after_its_time() {
        let lease = Lease::default();
        assert!(!lease.is_fresh());
        lease.renew(Instant::now());
        assert!(lease.is_fresh());
        let old = Lease {
            origin: Instant::now().checked_sub(LEASE + LEASE).unwrap(),
            renewed: AtomicU64::new(1),
            doubted: AtomicBool::new(false),
        };
        assert!(!old.is_fresh());
        old.renew(Instant::now());
        assert!(old.is_fresh());
    }

    #[test]
    fn a_doubted_lease_is_still_held_until_its_time_is_over() {
        let lease = Lease::default();
        lease.renew(Instant::now());
        assert!(lease.is_undoubted());
        lease.doubt();
        assert!(lease.is_fresh() && !lease.is_undoubted());
        lease.renew(Instant::now());
        assert!(lease.is_undoubted());
    }
}

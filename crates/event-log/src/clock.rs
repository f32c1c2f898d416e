//! Time for the stores that have no database clock, and the epochs that are seeded from it.
//!
//! Never: the wall clock; whoever makes a store brings the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hubbub_domain::position::Epoch;
use hubbub_domain::time::Timestamp;

/// 2020-01-01T00:00:00Z: epochs count milliseconds from here, so they stay below 2^53 until the year 287,000.
pub(crate) const EPOCH_ORIGIN_MILLIS: i64 = 1_577_836_800_000;

/// A clock that stands still until it is told to move, shared by its clones.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// Stands at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(start.millis())))
    }

    /// Where it stands.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }

    /// Moves it on by whole milliseconds.
    pub fn advance(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.0.fetch_add(millis, Ordering::Relaxed);
    }
}

/// The epoch of the next ownership: above `last` always, and above everything issued before a backup was restored, because no clock of a
/// store went back to before those epochs.
pub(crate) fn next_epoch(last: Epoch, now: Timestamp) -> Epoch {
    let seed = u64::try_from(now.millis().saturating_sub(EPOCH_ORIGIN_MILLIS)).unwrap_or(0);
    last.next().max(Epoch::new(seed))
}

/// Milliseconds as a duration; a clock that went back gives zero.
pub(crate) fn since(earlier: Timestamp, now: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(now.millis_since(earlier)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_rises_with_the_clock_and_also_when_the_clock_stands_or_goes_back() {
        let at = |millis| Timestamp::from_millis(EPOCH_ORIGIN_MILLIS + millis);
        let first = next_epoch(Epoch::ZERO, at(5_000));
        assert_eq!(first, Epoch::new(5_000));
        assert_eq!(next_epoch(first, at(5_000)), Epoch::new(5_001));
        assert_eq!(next_epoch(first, at(-90_000)), Epoch::new(5_001));
        assert_eq!(next_epoch(first, at(9_000)), Epoch::new(9_000));
    }

    #[test]
    fn epochs_stay_exact_in_json_for_longer_than_this_program_lives() {
        let year_9999 = Timestamp::from_millis(253_402_300_799_000);
        assert!(next_epoch(Epoch::ZERO, year_9999) < Epoch::MAX);
    }
}

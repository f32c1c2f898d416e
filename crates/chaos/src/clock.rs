//! The one clock of a run.

use std::time::Duration;

use hubbub_checker::history::Time;
use tokio::time::Instant;

/// Microseconds since the run began; copies show the same.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Begins at zero.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Now.
    pub fn now(self) -> Time {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// A stretch of the run as a duration.
pub fn span(from: Time, to: Time) -> Duration {
    Duration::from_micros(to.saturating_sub(from))
}

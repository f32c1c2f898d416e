//! Times of single things, kept as a histogram.

use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;

/// Longest time told apart, in nanoseconds: a minute. Longer ones count as this.
const LONGEST_NS: u64 = 60_000_000_000;
/// Significant digits: a tenth of a percent, at 50 KB per histogram or so.
const DIGITS: u8 = 3;
/// Shortest time told apart, in nanoseconds: finer than any socket.
const SHORTEST_NS: u64 = 1_000;

/// How long things took.
#[derive(Clone, Debug)]
pub(crate) struct Latency(Histogram<u64>);

impl Latency {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Histogram::new_with_bounds(SHORTEST_NS, LONGEST_NS, DIGITS)
            .map(Self)
            .context("make a histogram")
    }

    pub(crate) fn record(&mut self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(LONGEST_NS);
        self.0.saturating_record(nanoseconds);
    }

    pub(crate) fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.0
            .add(&other.0)
            .context("add histograms of the same bounds")
    }

    /// The time that this share of the things did not exceed, in milliseconds.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a minute in nanoseconds is below 2^53"
    )]
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_merged_times() {
        let mut all = Latency::new().unwrap();
        let mut slow = Latency::new().unwrap();
        for millisecond in 1..=98 {
            all.record(Duration::from_millis(millisecond));
        }
        slow.record(Duration::from_millis(500));
        slow.record(Duration::from_mins(90));
        all.add(&slow).unwrap();
        assert!((all.quantile_ms(0.5) - 50.0).abs() < 0.1);
        assert!((all.quantile_ms(0.99) - 500.0).abs() < 1.0);
    }
}

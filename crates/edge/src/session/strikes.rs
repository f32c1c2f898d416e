//! How often a client has sent something unreadable lately.

use std::collections::VecDeque;

use hubbub_wire::client::BAD_FRAMES_PER_MINUTE_MAX;

/// The span that is looked at, in milliseconds.
const SPAN_MS: u64 = 60_000;

/// The times of the latest bad frames.
#[derive(Debug, Default)]
pub(crate) struct Strikes {
    at_ms: VecDeque<u64>,
}

impl Strikes {
    /// Counts one more; `true` when that is one too many.
    pub(crate) fn strike(&mut self, now_ms: u64) -> bool {
        while self
            .at_ms
            .front()
            .is_some_and(|at| now_ms.saturating_sub(*at) >= SPAN_MS)
        {
            self.at_ms.pop_front();
        }
        self.at_ms.push_back(now_ms);
        u32::try_from(self.at_ms.len()).unwrap_or(u32::MAX) >= BAD_FRAMES_PER_MINUTE_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenth_bad_frame_of_a_minute_is_one_too_many() {
        let mut strikes = Strikes::default();
        assert!((0..9).all(|n| !strikes.strike(n)));
        assert!(strikes.strike(9));
    }

    #[test]
    fn bad_frames_are_forgiven_after_a_minute() {
        let mut strikes = Strikes::default();
        assert!((0..100).all(|n| !strikes.strike(n * 7_000)));
    }
}

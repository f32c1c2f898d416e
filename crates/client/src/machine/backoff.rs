//! When to try again: full jitter between half a second and a ceiling that doubles up to thirty seconds (PROTOCOL.md
//! rule 7). A server's hint wins.

use rand::{Rng, RngExt as _};

/// Shortest wait, in milliseconds: keeps a refusing server from being hammered.
pub const WAIT_MS_MIN: u64 = 500;
/// Longest wait, in milliseconds.
pub const WAIT_MS_MAX: u64 = 30_000;
/// Ceiling of the first wait, in milliseconds.
const FIRST_CEILING_MS: u64 = 1_000;

/// Milliseconds to wait before attempt `failures` + 1, after so many failures in a row.
pub fn wait_ms(failures: u32, rng: &mut dyn Rng) -> u64 {
    let doubled = FIRST_CEILING_MS
        .checked_shl(failures)
        .unwrap_or(WAIT_MS_MAX);
    // A shift can push the bit out without overflowing the shift count.
    let ceiling = if failures >= 5 {
        WAIT_MS_MAX
    } else {
        doubled.clamp(WAIT_MS_MIN, WAIT_MS_MAX)
    };
    rng.random_range(WAIT_MS_MIN..=ceiling)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    proptest! {
        #[test]
        fn every_wait_is_between_half_a_second_and_thirty_seconds(failures: u32, seed: u64) {
            let wait = wait_ms(failures, &mut StdRng::seed_from_u64(seed));
            prop_assert!((WAIT_MS_MIN..=WAIT_MS_MAX).contains(&wait));
        }
    }

    #[test]
    fn the_ceiling_doubles_and_waits_spread_over_all_of_it() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut longest = |failures| {
            (0..2_000)
                .map(|_| wait_ms(failures, &mut rng))
                .max()
                .unwrap()
        };
        assert!((900..=1_000).contains(&longest(0)));
        assert!((1_800..=2_000).contains(&longest(1)));
        assert!((27_000..=30_000).contains(&longest(5)));
        assert!((27_000..=30_000).contains(&longest(63)));
        assert!((27_000..=30_000).contains(&longest(64)));
    }
}

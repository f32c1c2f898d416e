//! When this process stood still, it heard nothing: its own pause is not the bus's silence.
//!
//! A node that was stopped for three seconds (a debugger, a hypervisor that moves it) would otherwise take itself for blind when it wakes, and
//! hand everything over although the bus was well all the time.

use std::time::Duration;

/// The silence is asked for several times a second; when it has grown by so much from one time to the next, this process did not run.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// What is taken off the bus's silence.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    told: Duration,
    excused: Duration,
}

impl Pauses {
    /// The silence as far as this process was there to listen. One pause is excused until the bus is heard again: one that never is must not be
    /// excused for ever on a machine that always stutters.
    pub(super) fn without(&mut self, silent: Duration) -> Duration {
        if silent < self.told {
            self.excused = Duration::ZERO;
        }
        let grown = silent.saturating_sub(self.told);
        if grown >= PAUSE_MIN && self.excused.is_zero() {
            self.excused = grown;
        }
        self.told = silent;
        silent.saturating_sub(self.excused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pauses: &mut Pauses, millis: u64) -> u128 {
        pauses.without(Duration::from_millis(millis)).as_millis()
    }

    #[test]
    fn silence_that_grows_with_the_clock_is_silence() {
        let mut pauses = Pauses::default();
        for millis in (0..10_000).step_by(250) {
            assert_eq!(told(&mut pauses, millis), u128::from(millis));
        }
    }

    #[test]
    fn one_pause_is_excused_until_the_bus_is_heard_again() {
        let mut pauses = Pauses::default();
        assert_eq!(told(&mut pauses, 400), 400);
        assert_eq!(told(&mut pauses, 3_400), 400);
        assert_eq!(told(&mut pauses, 3_650), 650, "from then on it counts");
        assert_eq!(told(&mut pauses, 6_650), 3_650, "a second pause, too");
        assert_eq!(told(&mut pauses, 100), 100);
        assert_eq!(told(&mut pauses, 3_100), 100);
    }
}

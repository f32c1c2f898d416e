//! How long a command that comes now would wait for its turn at a lane, from what the lane has lately finished: who would wait in vain is
//! told so at the door.
//!
//! ```text
//! expected wait = under way / finished per second          (Little's law; no clock is read per command but the caller's)
//! ```
//!
//! Admitting more than can be finished in time makes every command late: each one is then worked on and thrown away. So a command is let in
//! while it would wait at most a third of what it has left; the rest hear "busy" with the time after which it is worth trying again.
//!
//! Fair over partitions: a lane draws its rows in turns, so a partition that holds less than its share of the room is let in although
//! others have filled it. Without I/O and without a clock of its own.

use std::time::{Duration, Instant};

/// Length of a window in which finished commands are counted.
const WINDOW: Duration = Duration::from_millis(100);
/// Windows that a rate is taken from: one second, longer than a checkpoint of the database usually holds a statement up.
const WINDOWS: usize = 10;
/// The part of what a command has left that it may wait: a third, because a statement under way, a batch that is just full and a repetition
/// after a take-back come on top. Measured with half: a quarter of what was let in expired.
const WAIT_PART: u32 = 3;
/// Windows for which a measured rate is believed after the lane was last busy: ten seconds. Shorter, and the first pause of an overload
/// lets everything in again.
const KNOWN_WINDOWS: u64 = 100;
/// Commands under way below which a lane counts as idle, and below which nobody is ever refused: a few batches of a slow disk.
pub(crate) const UNDER_WAY_MIN: usize = 256;
/// Commands that each partition may have under way however full its lane is: below a lane's turn, so it goes with the next batch.
pub(crate) const SHARE_MIN: usize = 16;
/// What "busy" asks for at least: a few commits on a loaded database, so that the queue has moved on.
pub(crate) const RETRY_AFTER_MIN: Duration = Duration::from_millis(250);
/// And at most: by then a lane has either recovered or says so again.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);

/// What waits for one lane, and how fast it moves.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    origin: Instant,
    under_way: usize,
    /// Partitions with something under way.
    partitions: usize,
    /// Finished per window, by window number modulo [`WINDOWS`].
    finished: [u32; WINDOWS],
    newest: u64,
    /// The window since which the lane has never been idle: only then what it finished says what it can.
    busy_since: Option<u64>,
    /// What it finished per second when it was last measured, and in which window that was.
    known: Option<(u64, u64)>,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            origin: now,
            under_way: 0,
            partitions: 0,
            finished: [0; WINDOWS],
            newest: 0,
            busy_since: None,
            known: None,
        }
    }

    /// Commands under way.
    #[cfg(test)]
    pub(crate) fn under_way(&self) -> usize {
        self.under_way
    }

    /// A command is let in; `first` = its partition had none under way.
    pub(crate) fn enter(&mut self, first: bool, now: Instant) {
        self.advance(now);
        self.under_way = self.under_way.saturating_add(1);
        self.partitions = self.partitions.saturating_add(usize::from(first));
        if self.busy_since.is_none() && self.under_way >= UNDER_WAY_MIN {
            self.busy_since = Some(self.newest);
        }
    }

    /// A command has found its end; `served` = it got the answer it came for, `last` = its partition has none under way any more.
    pub(crate) fn leave(&mut self, served: bool, last: bool, now: Instant) {
        self.advance(now);
        self.under_way = self.under_way.saturating_sub(1);
        self.partitions = self.partitions.saturating_sub(usize::from(last));
        if served && let Some(count) = self.finished.get_mut(place(self.newest)) {
            *count = count.saturating_add(1);
        }
        if self.under_way < UNDER_WAY_MIN {
            self.busy_since = None;
        }
    }

    /// What a command would wait that comes now; `None` while the lane is idle or has not been busy long enough to know.
    pub(crate) fn expected_wait(&mut self, now: Instant) -> Option<Duration> {
        let per_second = self.per_second(now)?;
        (self.under_way >= UNDER_WAY_MIN).then(|| wait(self.under_way, per_second))
    }

    /// `Err` when a command that has `patience` left should not be let in: after which time it is worth trying again. `held` is what its
    /// partition has under way.
    pub(crate) fn admit(
        &mut self,
        held: usize,
        patience: Duration,
        now: Instant,
    ) -> Result<(), Duration> {
        let Some(per_second) = self.per_second(now) else {
            return Ok(());
        };
        let room = room(per_second, patience / WAIT_PART).max(UNDER_WAY_MIN);
        if self.under_way < room {
            return Ok(());
        }
        let share = room.checked_div(self.partitions).unwrap_or(room);
        if held < share.max(SHARE_MIN) {
            return Ok(());
        }
        if let Some((rate, window)) = &mut self.known
            && *window != self.newest
        {
            // Refusing without a measurement: the lane runs dry in between, so it can do more. The next measurement corrects it.
            *rate = rate.saturating_add((*rate / 16).max(1));
            *window = self.newest;
        }
        let expected = wait(self.under_way, per_second);
        Err(expected.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX))
    }

    /// What the lane can finish in a second, as far as that is known. One measurement below the last counts a quarter: a statement that
    /// takes long is not a slow database yet.
    fn per_second(&mut self, now: Instant) -> Option<u64> {
        self.advance(now);
        if let Some(measured) = self.measured() {
            let rate = match self.known {
                Some((known, window)) if window == self.newest => known,
                Some((known, _)) if measured < known => {
                    known.saturating_mul(3).saturating_add(measured) / 4
                }
                Some(_) | None => measured,
            };
            self.known = Some((rate, self.newest));
        }
        let (rate, window) = self.known?;
        let believed = self.newest.saturating_sub(window) <= KNOWN_WINDOWS;
        believed.then_some(rate)
    }

    /// What the lane has finished in the last second, if it was busy all the time.
    fn measured(&self) -> Option<u64> {
        let since = self.busy_since?;
        let windows = u64::try_from(WINDOWS).unwrap_or(u64::MAX);
        if self.newest.saturating_sub(since) <= windows {
            return None;
        }
        // Without the window that is not over yet.
        let current = self
            .finished
            .get(place(self.newest))
            .copied()
            .unwrap_or_default();
        let all: u64 = self.finished.iter().copied().map(u64::from).sum();
        let complete = all.saturating_sub(u64::from(current));
        let per_window = windows.saturating_sub(1).max(1);
        Some(complete.saturating_mul(windows) / per_window)
    }

    fn advance(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.origin);
        let window = u64::try_from(since.as_millis() / WINDOW.as_millis()).unwrap_or(u64::MAX);
        let steps = window.saturating_sub(self.newest);
        for step in 1..=steps.min(u64::try_from(WINDOWS).unwrap_or(u64::MAX)) {
            if let Some(count) = self
                .finished
                .get_mut(place(self.newest.saturating_add(step)))
            {
                *count = 0;
            }
        }
        self.newest = self.newest.max(window);
    }
}

fn place(window: u64) -> usize {
    let windows = u64::try_from(WINDOWS).unwrap_or(u64::MAX);
    usize::try_from(window % windows).unwrap_or_default()
}

/// How many commands are finished within `patience`.
fn room(per_second: u64, patience: Duration) -> usize {
    let millis = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
    usize::try_from(per_second.saturating_mul(millis) / 1_000).unwrap_or(usize::MAX)
}

fn wait(under_way: usize, per_second: u64) -> Duration {
    let under_way = u64::try_from(under_way).unwrap_or(u64::MAX);
    under_way
        .saturating_mul(1_000)
        .checked_div(per_second)
        .map_or(RETRY_AFTER_MAX, Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(1_800);

    /// A lane that finishes `capacity` per second for `seconds`, while `offered` per second come, all of one partition.
    fn run(pace: &mut Pace, from: Instant, seconds: u64, offered: u64, capacity: u64) -> u64 {
        const STEP_MS: u64 = 10;
        let mut refused = 0;
        for step in 0..seconds * 1_000 / STEP_MS {
            let now = from + Duration::from_millis(step * STEP_MS);
            for _ in 0..offered * STEP_MS / 1_000 {
                match pace.admit(pace.under_way, PATIENCE, now) {
                    Ok(()) => pace.enter(pace.under_way == 0, now),
                    Err(_) => refused += 1,
                }
            }
            for _ in 0..capacity * STEP_MS / 1_000 {
                if pace.under_way > 0 {
                    pace.leave(true, pace.under_way == 1, now);
                }
            }
        }
        refused
    }

    /// Fills what room there still is at the end of a step.
    fn fill(pace: &mut Pace, now: Instant) {
        while pace.admit(pace.under_way, PATIENCE, now).is_ok() {
            pace.enter(false, now);
        }
    }

    #[test]
    fn nobody_is_refused_while_the_lane_keeps_up() {
        let from = Instant::now();
        let mut pace = Pace::new(from);
        assert_eq!(run(&mut pace, from, 10, 5_000, 5_000), 0);
    }

    #[test]
    fn a_burst_of_thousands_from_idle_is_let_in() {
        let from = Instant::now();
        let mut pace = Pace::new(from);
        for n in 0..10_000 {
            assert_eq!(pace.admit(n, PATIENCE, from), Ok(()));
            pace.enter(n == 0, from);
        }
    }

    #[test]
    fn under_four_times_the_load_what_is_let_in_waits_a_third_of_its_patience() {
        let from = Instant::now();
        let mut pace = Pace::new(from);
        let refused = run(&mut pace, from, 60, 20_000, 5_000);
        let end = from + Duration::from_mins(1);
        let expected = pace.expected_wait(end).unwrap();
        assert!(expected <= PATIENCE / 3 + WINDOW, "{expected:?}");
        assert!(
            expected >= PATIENCE / 4,
            "the lane never runs dry: {expected:?}"
        );
        let offered = 60 * 20_000;
        assert!(refused > offered / 2, "{refused} of {offered}");
        // The load falls: nobody is refused any more once the queue has drained.
        run(&mut pace, end, 3, 4_000, 5_000);
        assert_eq!(
            run(&mut pace, end + Duration::from_secs(3), 10, 4_000, 5_000),
            0
        );
    }

    #[test]
    fn a_partition_below_its_share_is_let_in_although_another_has_filled_the_lane() {
        let from = Instant::now();
        let mut pace = Pace::new(from);
        run(&mut pace, from, 10, 20_000, 5_000);
        let now = from + Duration::from_secs(10);
        fill(&mut pace, now);
        pace.enter(true, now);
        assert!(pace.admit(pace.under_way, PATIENCE, now).is_err());
        assert_eq!(pace.admit(SHARE_MIN - 1, PATIENCE, now), Ok(()));
    }

    #[test]
    fn a_lane_that_stands_still_refuses_with_the_longest_pause_and_is_forgiven_when_it_moves() {
        let from = Instant::now();
        let mut pace = Pace::new(from);
        run(&mut pace, from, 3, 1_000, 0);
        let now = from + Duration::from_secs(3);
        assert_eq!(pace.admit(1_000, PATIENCE, now), Err(RETRY_AFTER_MAX));
        while pace.under_way() > 0 {
            pace.leave(true, false, now);
        }
        assert_eq!(pace.admit(0, PATIENCE, now), Ok(()));
    }

    #[test]
    fn a_pause_in_an_overload_does_not_let_everything_in_again() {
        let from = Instant::now();
        let mut pace = Pace::new(from);
        run(&mut pace, from, 10, 20_000, 5_000);
        let now = from + Duration::from_secs(10);
        while pace.under_way() > 0 {
            pace.leave(false, false, now);
        }
        fill(&mut pace, now);
        assert!(pace.under_way() <= 3_100, "{}", pace.under_way());
        // Long afterwards nothing is known any more.
        let later = now + Duration::from_secs(20);
        while pace.under_way() > 0 {
            pace.leave(false, false, now);
        }
        for _ in 0..10_000 {
            assert_eq!(pace.admit(pace.under_way, PATIENCE, later), Ok(()));
            pace.enter(false, later);
        }
    }

    #[test]
    fn less_patience_is_refused_earlier() {
        let from = Instant::now();
        let mut pace = Pace::new(from);
        run(&mut pace, from, 10, 20_000, 5_000);
        let now = from + Duration::from_secs(10);
        fill(&mut pace, now);
        let held = pace.under_way();
        assert!(pace.admit(held, PATIENCE, now).is_err());
        assert_eq!(pace.admit(held, PATIENCE * 4, now), Ok(()));
    }
}

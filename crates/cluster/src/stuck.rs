//! A node that is heard and of no use: its heartbeats get through, but for two leases it could not see, or not follow, what it owns. Its own
//! heartbeat keeps its partitions from everybody else, so it falls silent until it sees them again: whoever sees takes them over, and where
//! nobody does (a database that is slow, or refuses everybody alike) it is an outage like any other, after which everything is where it was.
//!
//! Never: an end of the process. What keeps one node from looking may keep all of them, and they would end together.

use hubbub_event_log::port::LEASE;

use crate::ownership::millis;

/// How long such a node goes on saying that it is alive: its lease is over by then for the third time.
const PATIENCE_LEASES: u64 = 2;

/// Memory of that, pure; times in monotonic milliseconds of this process.
#[derive(Debug, Default)]
pub(crate) struct Stuck {
    /// The last heartbeat that got through.
    heard_ms: Option<u64>,
    /// Since when it has been heard and without a lease at every look.
    since_ms: Option<u64>,
    silent: bool,
}

impl Stuck {
    /// A heartbeat got through. One that fails in between changes nothing: the others wait a lease for the next one.
    pub(crate) fn heard(&mut self, now_ms: u64) {
        self.heard_ms = Some(now_ms);
    }

    /// Whether it says nothing at present.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent
    }

    /// The lease is renewed: what it owns was seen, and is served here or nowhere. `true` when it was silent until now.
    pub(crate) fn sees(&mut self) -> bool {
        self.since_ms = None;
        std::mem::take(&mut self.silent)
    }

    /// To be told several times a second; `true` when this node falls silent now. `wedged` = its lease is over.
    pub(crate) fn falls_silent(&mut self, now_ms: u64, wedged: bool) -> bool {
        let lease_ms = millis(LEASE);
        // Whoever stood still was not heard in the meantime.
        let heard = self
            .heard_ms
            .is_some_and(|heard_ms| now_ms.saturating_sub(heard_ms) < lease_ms);
        if self.silent || !(wedged && heard) {
            self.since_ms = None;
            return false;
        }
        let since_ms = *self.since_ms.get_or_insert(now_ms);
        self.silent = now_ms.saturating_sub(since_ms) >= lease_ms.saturating_mul(PATIENCE_LEASES);
        self.silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks, and heartbeats every `beat_ms`, from `from_ms` on, until it falls silent or `to_ms`.
    fn falls_at(
        stuck: &mut Stuck,
        from_ms: u64,
        to_ms: u64,
        beat_ms: u64,
        wedged: bool,
    ) -> Option<u64> {
        (from_ms..to_ms).step_by(250).find(|now_ms| {
            if now_ms % beat_ms == 0 {
                stuck.heard(*now_ms);
            }
            stuck.falls_silent(*now_ms, wedged)
        })
    }

    #[test]
    fn a_node_that_is_heard_and_wedged_falls_silent_after_two_leases_until_it_sees() {
        let mut stuck = Stuck::default();
        assert_eq!(falls_at(&mut stuck, 0, 60_000, 1_000, false), None);
        assert_eq!(
            falls_at(&mut stuck, 60_000, 100_000, 1_000, true),
            Some(68_000)
        );
        assert!(stuck.is_silent());
        assert!(!stuck.falls_silent(120_000, true), "said once");
        assert!(stuck.is_silent());
        assert!(stuck.sees());
        assert!(!stuck.is_silent());
        assert!(!stuck.sees());
    }

    #[test]
    fn a_heartbeat_that_fails_now_and_then_is_no_excuse() {
        let mut stuck = Stuck::default();
        assert_eq!(falls_at(&mut stuck, 0, 60_000, 3_000, true), Some(8_000));
    }

    #[test]
    fn a_lease_that_comes_back_begins_its_time_anew() {
        let mut stuck = Stuck::default();
        assert_eq!(falls_at(&mut stuck, 0, 7_000, 1_000, true), None);
        assert_eq!(falls_at(&mut stuck, 7_000, 8_000, 1_000, false), None);
        assert_eq!(
            falls_at(&mut stuck, 8_000, 100_000, 1_000, true),
            Some(16_000)
        );
    }

    #[test]
    fn a_node_without_a_database_is_unheard_anyway() {
        let mut stuck = Stuck::default();
        stuck.heard(0);
        for now_ms in (0..60_000).step_by(250) {
            assert!(!stuck.falls_silent(now_ms, true));
        }
    }

    #[test]
    fn a_node_that_stood_still_is_not_stuck_when_it_wakes() {
        let mut stuck = Stuck::default();
        assert_eq!(falls_at(&mut stuck, 0, 1_000, 1_000, true), None);
        assert!(!stuck.falls_silent(60_000, true));
        stuck.heard(60_100);
        assert!(!stuck.falls_silent(60_250, true));
    }
}

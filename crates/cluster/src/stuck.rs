//! A node that is heard and of no use: its heartbeats get through, but for two leases it could not see, or not follow, what it owns. Its own
//! heartbeat keeps its partitions from everybody else, so it must end.
//!
//! Never: an end because of a database that does not answer. Then the heartbeats fail as well, nobody could take over, and all nodes would go at
//! once.

use hubbub_event_log::port::LEASE;

use crate::ownership::millis;

/// How long such a node is given: its lease is over by then for the third time.
const PATIENCE_LEASES: u64 = 2;

/// Memory of that, pure; times in monotonic milliseconds of this process.
#[derive(Debug, Default)]
pub(crate) struct Stuck {
    /// The last heartbeat, unless one has failed since.
    heard_ms: Option<u64>,
    /// Since when it has been heard and without a lease at every look.
    since_ms: Option<u64>,
}

impl Stuck {
    /// A heartbeat got through.
    pub(crate) fn heard(&mut self, now_ms: u64) {
        self.heard_ms = Some(now_ms);
    }

    /// A heartbeat failed: the others will see this node as silent if that goes on.
    pub(crate) fn unheard(&mut self) {
        *self = Self::default();
    }

    /// To be asked several times a second; `true` when this incarnation must end. `wedged` = its lease is over.
    pub(crate) fn must_end(&mut self, now_ms: u64, wedged: bool) -> bool {
        let lease_ms = millis(LEASE);
        // Whoever stood still was not heard in the meantime.
        let heard = self
            .heard_ms
            .is_some_and(|heard_ms| now_ms.saturating_sub(heard_ms) < lease_ms);
        if !(wedged && heard) {
            self.since_ms = None;
            return false;
        }
        let since_ms = *self.since_ms.get_or_insert(now_ms);
        now_ms.saturating_sub(since_ms) >= lease_ms.saturating_mul(PATIENCE_LEASES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks and heartbeats from `from_ms` on, until it must end or `to_ms`.
    fn ends_at(stuck: &mut Stuck, from_ms: u64, to_ms: u64, wedged: bool) -> Option<u64> {
        (from_ms..to_ms).step_by(250).find(|now_ms| {
            if now_ms % 1_000 == 0 {
                stuck.heard(*now_ms);
            }
            stuck.must_end(*now_ms, wedged)
        })
    }

    #[test]
    fn a_node_that_is_heard_and_wedged_ends_after_two_leases() {
        let mut stuck = Stuck::default();
        assert_eq!(ends_at(&mut stuck, 0, 60_000, false), None);
        assert_eq!(ends_at(&mut stuck, 60_000, 100_000, true), Some(68_000));
    }

    #[test]
    fn a_lease_that_comes_back_begins_its_time_anew() {
        let mut stuck = Stuck::default();
        assert_eq!(ends_at(&mut stuck, 0, 7_000, true), None);
        assert_eq!(ends_at(&mut stuck, 7_000, 8_000, false), None);
        assert_eq!(ends_at(&mut stuck, 8_000, 100_000, true), Some(16_000));
    }

    #[test]
    fn a_node_without_a_database_waits_for_it() {
        let mut stuck = Stuck::default();
        stuck.heard(0);
        for now_ms in (0..60_000).step_by(250) {
            if now_ms % 1_000 == 0 {
                stuck.unheard();
            }
            assert!(!stuck.must_end(now_ms, true));
        }
        // Not even the answer comes that it failed.
        stuck.heard(60_000);
        for now_ms in (60_000..120_000).step_by(250) {
            assert!(!stuck.must_end(now_ms, true));
        }
    }

    #[test]
    fn a_node_that_stood_still_is_not_stuck_when_it_wakes() {
        let mut stuck = Stuck::default();
        assert_eq!(ends_at(&mut stuck, 0, 1_000, true), None);
        assert!(!stuck.must_end(60_000, true));
        stuck.heard(60_100);
        assert!(!stuck.must_end(60_250, true));
    }
}

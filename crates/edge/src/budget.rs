//! How often someone may do something on this node: a bucket per key that refills steadily.
//!
//! Per node, in memory. Budgets that must hold across nodes (wrong passwords) live with the accounts.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use hubbub_domain::ids::UserId;
use hubbub_domain::time::Timestamp;
use hubbub_wire::rest::Budget;
use parking_lot::Mutex;

/// A clock that falls further than this was set; less is two requests that met at the lock in another order.
const CLOCK_FALL_US: i64 = 1_000_000;
/// Keys of one budget that are remembered; above it those that have refilled are forgotten.
const KEYS_MAX: usize = 100_000;

/// The budgets of a node.
#[derive(Debug)]
pub(crate) struct Budgets {
    pub(crate) sends: Buckets<UserId>,
    pub(crate) searches: Buckets<UserId>,
    /// Spent after the answer, by what it showed.
    pub(crate) directory_rows: Buckets<UserId>,
    pub(crate) logins: Buckets<IpAddr>,
    pub(crate) registrations: Buckets<IpAddr>,
}

impl Budgets {
    pub(crate) fn new(budgets: &hubbub_wire::rest::Budgets) -> Self {
        Self {
            sends: Buckets::new(budgets.sends),
            searches: Buckets::new(budgets.searches),
            directory_rows: Buckets::new(budgets.directory_rows),
            logins: Buckets::new(budgets.logins),
            registrations: Buckets::new(budgets.registrations),
        }
    }
}

/// One budget for many keys. Each key's state is the time at which its bucket is full again.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    /// Microseconds that one use costs.
    cost_us: i64,
    /// Microseconds that a full bucket holds.
    full_us: i64,
    state: Mutex<State<K>>,
}

#[derive(Debug)]
struct State<K> {
    keys: HashMap<K, i64>,
    /// The latest time that was told.
    latest_us: i64,
    /// What is added to the time told: as much as the clock was set back. Without it a spent bucket would stay spent until
    /// the clock has come again to where it was.
    shift_us: i64,
}

impl<K: Eq + Hash> State<K> {
    /// The time told, on a clock that never falls.
    fn rising(&mut self, now: Timestamp) -> i64 {
        let told_us = now.millis().saturating_mul(1_000);
        let now_us = told_us.saturating_add(self.shift_us);
        let fall_us = self.latest_us.saturating_sub(now_us);
        if fall_us > CLOCK_FALL_US {
            self.shift_us = self.shift_us.saturating_add(fall_us);
        }
        self.latest_us = self.latest_us.max(now_us);
        self.latest_us
    }
}

impl<K: Eq + Hash> Buckets<K> {
    pub(crate) fn new(budget: Budget) -> Self {
        let cost_us =
            i64::from(budget.per_s).saturating_mul(1_000_000) / i64::from(budget.count.max(1));
        let burst = budget.burst.unwrap_or(budget.count).max(1);
        Self {
            cost_us,
            full_us: cost_us.saturating_mul(i64::from(burst)),
            state: Mutex::new(State {
                keys: HashMap::new(),
                latest_us: i64::MIN,
                shift_us: 0,
            }),
        }
    }

    /// Whether anything is left.
    ///
    /// # Errors
    /// When it is spent: in how many milliseconds it will not be.
    pub(crate) fn look(&self, key: &K, now: Timestamp) -> Result<(), u64> {
        let mut state = self.state.lock();
        let now_us = state.rising(now);
        let spent_us = state
            .keys
            .get(key)
            .map_or(0, |full_at| full_at.saturating_sub(now_us));
        let over_us = spent_us
            .saturating_add(self.cost_us)
            .saturating_sub(self.full_us);
        if over_us > 0 {
            return Err(u64::try_from(over_us / 1_000)
                .unwrap_or(0)
                .saturating_add(1));
        }
        Ok(())
    }

    /// Takes `uses` off, also more than there is: what was shown was shown.
    pub(crate) fn charge(&self, key: K, uses: usize, now: Timestamp) {
        let cost_us = self
            .cost_us
            .saturating_mul(i64::try_from(uses).unwrap_or(i64::MAX));
        let mut state = self.state.lock();
        let now_us = state.rising(now);
        forget_refilled(&mut state.keys, now_us);
        let full_at = state.keys.entry(key).or_insert(now_us);
        *full_at = (*full_at).max(now_us).saturating_add(cost_us);
    }

    /// Uses the budget once.
    ///
    /// # Errors
    /// When it is spent: in how many milliseconds it will not be.
    pub(crate) fn spend(&self, key: K, now: Timestamp) -> Result<(), u64> {
        let mut state = self.state.lock();
        let now_us = state.rising(now);
        forget_refilled(&mut state.keys, now_us);
        let full_at = state.keys.entry(key).or_insert(now_us);
        let after = (*full_at).max(now_us).saturating_add(self.cost_us);
        let over_us = after.saturating_sub(now_us).saturating_sub(self.full_us);
        if over_us > 0 {
            return Err(u64::try_from(over_us / 1_000)
                .unwrap_or(0)
                .saturating_add(1));
        }
        *full_at = after;
        Ok(())
    }
}

/// A full bucket is as good as none.
fn forget_refilled<K: Eq + Hash>(keys: &mut HashMap<K, i64>, now_us: i64) {
    if keys.len() >= KEYS_MAX {
        keys.retain(|_, full_at| *full_at > now_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_burst_is_allowed_then_the_steady_rate() {
        let sends = Buckets::new(Budget {
            count: 20,
            per_s: 1,
            burst: Some(3),
        });
        for _ in 0..3 {
            assert_eq!(sends.spend(1, at(1_000)), Ok(()));
        }
        let wait = sends.spend(1, at(1_000)).expect_err("spent");
        assert_eq!(wait, 51, "one use in 50 ms, rounded up");
        assert_eq!(sends.spend(1, at(1_050)), Ok(()));
        assert!(sends.spend(1, at(1_050)).is_err());
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_keep_a_bucket_spent() {
        const HOUR_MS: i64 = 3_600_000;
        let sends = Buckets::new(Budget {
            count: 20,
            per_s: 1,
            burst: Some(3),
        });
        for _ in 0..3 {
            assert_eq!(sends.spend(1, at(2 * HOUR_MS)), Ok(()));
        }
        let wait = sends.spend(1, at(HOUR_MS)).expect_err("still spent");
        assert!(wait <= 51, "{wait} ms, and not an hour");
        assert_eq!(sends.spend(1, at(HOUR_MS + 50)), Ok(()));
        assert_eq!(sends.look(&1, at(HOUR_MS + 100)), Ok(()));
    }

    #[test]
    fn what_was_shown_is_charged_afterwards() {
        let rows = Buckets::new(Budget {
            count: 600,
            per_s: 3_600,
            burst: None,
        });
        assert_eq!(rows.look(&1, at(0)), Ok(()));
        rows.charge(1, 599, at(0));
        assert_eq!(rows.look(&1, at(0)), Ok(()));
        rows.charge(1, 200, at(0));
        assert!(rows.look(&1, at(0)).is_err());
        assert_eq!(rows.look(&1, at(200 * 6_000)), Ok(()));
    }

    #[test]
    fn keys_do_not_share() {
        let logins = Buckets::new(Budget {
            count: 1,
            per_s: 60,
            burst: None,
        });
        assert_eq!(logins.spend("a", at(0)), Ok(()));
        assert!(logins.spend("a", at(0)).is_err());
        assert_eq!(logins.spend("b", at(0)), Ok(()));
        assert_eq!(logins.spend("a", at(60_000)), Ok(()));
    }
}

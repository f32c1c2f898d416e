//! What this node remembers of the others between looks: since when they have been silent, since when they have been well.
//!
//! A node is dead when the database says that it has been silent for a lease **and** this process's own monotonic clock agrees: the second half
//! keeps a database whose clock jumps ahead from making everybody look dead (F13). A clock that jumps back says nothing about the dead for as
//! long as it jumped: a heartbeat that has stood in the row unchanged at every look for a lease and a half is as dead.

use std::collections::BTreeMap;
use std::time::Duration;

use hubbub_domain::ids::Incarnation;
use hubbub_domain::time::Timestamp;
use hubbub_event_log::port::LEASE;
use hubbub_event_log::{NodeRow, NodeState};

/// What a look may take between the database's judgement and this process's clock: so much less than a lease is silence here, too.
const LOOK_SLACK: Duration = Duration::from_millis(250);

/// How long a heartbeat stands unchanged until its node is dead whatever the database's clock says: a lease, and what two looks may take.
const UNCHANGED_DEAD_MS: u64 = 6_000;
/// What the time between two looks counts for at most: whoever looked more rarely did not see whether anything changed.
const LOOKED_MAX_MS: u64 = 1_500;

/// Memory of other nodes.
#[derive(Debug, Default)]
pub(super) struct Others {
    sights: BTreeMap<Incarnation, Sight>,
    looked_ms: Option<u64>,
}

#[derive(Debug)]
struct Sight {
    /// Its last heartbeat by this process's clock; the first look, when it was silent already then.
    beat_ms: u64,
    /// Its last heartbeat as the row has it, and how long that has been so at every look.
    last_seen: Timestamp,
    unchanged_ms: u64,
    /// Since when it has been active with a working bus, at every look.
    well_since_ms: Option<u64>,
}

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Others {
    /// Takes a look in. `owners` are those that fence rows name: one without a node row is watched like a silent one.
    pub(super) fn look(
        &mut self,
        now_ms: u64,
        nodes: &[NodeRow],
        owners: impl Iterator<Item = Incarnation> + Clone,
    ) {
        self.sights.retain(|incarnation, _| {
            nodes.iter().any(|row| row.incarnation == *incarnation)
                || owners.clone().any(|owner| owner == *incarnation)
        });
        let looked_ms = self.looked_ms.replace(now_ms).unwrap_or(now_ms);
        let passed_ms = now_ms.saturating_sub(looked_ms).min(LOOKED_MAX_MS);
        for row in nodes {
            let alive = row.silent_for < LEASE;
            let beat_ms = now_ms.saturating_sub(millis(row.silent_for));
            let sight = self.sights.entry(row.incarnation).or_insert(Sight {
                beat_ms: if alive { beat_ms } else { now_ms },
                last_seen: row.last_seen,
                unchanged_ms: 0,
                well_since_ms: None,
            });
            sight.unchanged_ms = if sight.last_seen == row.last_seen {
                sight.unchanged_ms.saturating_add(passed_ms)
            } else {
                0
            };
            sight.last_seen = row.last_seen;
            if alive {
                sight.beat_ms = sight.beat_ms.max(beat_ms);
            }
            let well = row.state == NodeState::Active && row.nats_ok && alive;
            sight.well_since_ms = well.then(|| sight.well_since_ms.unwrap_or(now_ms));
        }
        for owner in owners {
            self.sights.entry(owner).or_insert(Sight {
                beat_ms: now_ms,
                last_seen: Timestamp::default(),
                unchanged_ms: 0,
                well_since_ms: None,
            });
        }
    }

    /// This node could not look: what it knew is old.
    pub(super) fn blink(&mut self) {
        for sight in self.sights.values_mut() {
            sight.well_since_ms = None;
            sight.unchanged_ms = 0;
        }
    }

    /// Milliseconds until this process's own clock agrees that the node is silent; zero = it does.
    pub(super) fn quiet_in_ms(&self, incarnation: Incarnation, now_ms: u64) -> u64 {
        let lease_ms = millis(LEASE.saturating_sub(LOOK_SLACK));
        self.sights.get(&incarnation).map_or(lease_ms, |sight| {
            lease_ms.saturating_sub(now_ms.saturating_sub(sight.beat_ms))
        })
    }

    /// Stopped, silent for a lease by both clocks, or without another heartbeat for longer by this process's own.
    pub(super) fn is_dead(&self, row: &NodeRow, now_ms: u64) -> bool {
        let unchanged_ms = self
            .sights
            .get(&row.incarnation)
            .map_or(0, |sight| sight.unchanged_ms);
        row.state == NodeState::Stopped
            || (row.silent_for >= LEASE && self.quiet_in_ms(row.incarnation, now_ms) == 0)
            || unchanged_ms >= UNCHANGED_DEAD_MS
    }

    /// How long the node has been active with a working bus.
    pub(super) fn well_for_ms(&self, incarnation: Incarnation, now_ms: u64) -> Option<u64> {
        let since = self.sights.get(&incarnation)?.well_since_ms?;
        Some(now_ms.saturating_sub(since))
    }
}

//! How fast partitions may move to a better place: a budget per window, and none for a while after the membership changed.

use std::collections::{BTreeMap, BTreeSet};

use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::PartitionCount;
use hubbub_event_log::NodeRow;

use super::{Move, Observation};

/// Length of the window in which the share of moved partitions is bounded, in milliseconds.
pub const REBALANCE_WINDOW_MS: u64 = 10_000;
/// A receiver below half its share may take this many of a hundred partitions per window (ARCHITECTURE.md §5).
pub const REBALANCE_STARVED_PERCENT: u32 = 25;

/// The budget of this node's own hand-overs.
#[derive(Debug)]
pub(super) struct Rebalance {
    percent: u32,
    hold_off_ms: u64,
    /// Beginning of the current window and what was handed over in it.
    window: (u64, u32),
    members: BTreeSet<Incarnation>,
    /// Whoever was a member before, as long as its row exists: one that returns is not a newcomer.
    known: BTreeSet<Incarnation>,
    /// When a member was last lost or came back.
    shaken_ms: Option<u64>,
}

impl Rebalance {
    pub(super) fn new(percent: u32, hold_off_ms: u64) -> Self {
        Self {
            percent,
            hold_off_ms,
            window: (0, 0),
            members: BTreeSet::new(),
            known: BTreeSet::new(),
            shaken_ms: None,
        }
    }

    /// Takes the members in. A newcomer has been steady for the join delay and shakes nothing; one that leaves or comes back does.
    pub(super) fn members_are(
        &mut self,
        now_ms: u64,
        members: &[&NodeRow],
        rows: &[NodeRow],
        me: Incarnation,
    ) {
        let members: BTreeSet<Incarnation> = members
            .iter()
            .map(|row| row.incarnation)
            .filter(|incarnation| *incarnation != me)
            .collect();
        let left = self.members.difference(&members).next().is_some();
        let back = members
            .difference(&self.members)
            .any(|incarnation| self.known.contains(incarnation));
        if left || back {
            self.shaken_ms = Some(now_ms);
        }
        self.known
            .retain(|incarnation| rows.iter().any(|row| row.incarnation == *incarnation));
        self.known.extend(members.iter().copied());
        self.members = members;
    }

    /// As many of `candidates` as the window still allows. The budget of the whole cluster is shared between those who give.
    pub(super) fn choose(
        &mut self,
        seen: &Observation,
        partitions: PartitionCount,
        members: usize,
        candidates: impl Iterator<Item = Move>,
    ) -> Vec<Move> {
        let held_off = self
            .shaken_ms
            .is_some_and(|shaken| seen.now_ms.saturating_sub(shaken) < self.hold_off_ms);
        if members < 2 || held_off {
            return Vec::new();
        }
        if seen.now_ms.saturating_sub(self.window.0) >= REBALANCE_WINDOW_MS {
            self.window = (seen.now_ms, 0);
        }
        let count = u32::from(partitions.get());
        let members = u32::try_from(members).unwrap_or(u32::MAX);
        let (share, givers) = (count / members, members.saturating_sub(1).max(1));
        let budget_of = |percent: u32| (count.saturating_mul(percent) / 100 / givers).max(1);
        let mut owned: BTreeMap<Incarnation, u32> = BTreeMap::new();
        for owner in seen.partitions.iter().filter_map(|row| row.owner) {
            let owned = owned.entry(owner).or_default();
            *owned = owned.saturating_add(1);
        }
        let mut moves = Vec::new();
        for candidate in candidates {
            let owned_there = candidate.next.and_then(|next| owned.get(&next));
            let starved = owned_there.copied().unwrap_or(0) < share / 2;
            let budget = budget_of(if starved {
                REBALANCE_STARVED_PERCENT.max(self.percent)
            } else {
                self.percent
            });
            if self.window.1 >= budget {
                continue;
            }
            self.window.1 = self.window.1.saturating_add(1);
            moves.push(candidate);
        }
        moves
    }
}

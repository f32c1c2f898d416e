//! The pure core of ownership: from what the database shows to what this node should do next.
//!
//! One `step` per heartbeat. Liveness in the observation was judged by the database's clock; `now_ms` is this process's monotonic clock and
//! serves only for waiting (one steady lease before claiming, the join delay, the rebalance window).
//!
//! Rules (ARCHITECTURE.md §5): a live owner is never pre-empted, only hands over by itself; nobody claims before its own heartbeat has
//! succeeded unbroken for one lease, so that a database outage makes nobody steal; a joining node waits unless nothing is active yet;
//! claims of the second-best node wait one step longer, of the third two, so that nodes do not fight over a takeover.

use std::collections::{BTreeMap, BTreeSet};

use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::{Epoch, PartitionCount, PartitionId};
use hubbub_event_log::port::LEASE;
use hubbub_event_log::{Claim, NodeRow, NodeState, PartitionRow};

use crate::placement::{place, ranking};

/// Length of the window in which the share of moved partitions is bounded, in milliseconds.
pub const REBALANCE_WINDOW_MS: u64 = 10_000;
/// A receiver below half its share may take this many of a hundred partitions per window (ARCHITECTURE.md §5).
pub const REBALANCE_STARVED_PERCENT: u32 = 25;

/// Settings of ownership.
#[derive(Clone, Copy, Debug)]
pub struct OwnershipSettings {
    /// How long a joining node's heartbeat must be steady before it becomes active beside others, in milliseconds.
    pub join_delay_ms: u64,
    /// How many of a hundred partitions an owner may hand over per [`REBALANCE_WINDOW_MS`].
    pub rebalance_percent: u32,
}

impl Default for OwnershipSettings {
    fn default() -> Self {
        Self {
            join_delay_ms: 15_000,
            rebalance_percent: 2,
        }
    }
}

/// What one look at the database showed.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Monotonic milliseconds of this process.
    pub now_ms: u64,
    /// All nodes, liveness judged by the database.
    pub nodes: Vec<NodeRow>,
    /// All fence rows.
    pub partitions: Vec<PartitionRow>,
}

/// What to do now, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Say `Active` from the next heartbeat on.
    BecomeActive,
    /// The fence row names another: stop serving.
    Abandon(Vec<PartitionId>),
    /// Hand these over in order: drain, release.
    HandOver(Vec<(PartitionId, Epoch)>),
    /// Try to own these.
    Claim(Vec<Claim>),
}

/// Memory of the ownership loop between steps.
#[derive(Debug)]
pub struct OwnershipCore {
    me: Incarnation,
    settings: OwnershipSettings,
    partitions: PartitionCount,
    state: NodeState,
    /// Since when this node's heartbeat has succeeded without a break.
    steady_since_ms: Option<u64>,
    /// Partitions seen without a live owner, and for how many steps.
    orphan_steps: BTreeMap<PartitionId, u32>,
    /// Beginning of the current rebalance window and what was handed over in it.
    window: (u64, u32),
}

impl OwnershipCore {
    /// A node that has just registered.
    pub fn new(me: Incarnation, partitions: PartitionCount, settings: OwnershipSettings) -> Self {
        Self {
            me,
            settings,
            partitions,
            state: NodeState::Joining,
            steady_since_ms: None,
            orphan_steps: BTreeMap::new(),
            window: (0, 0),
        }
    }

    /// What the next heartbeat should say.
    pub fn state(&self) -> NodeState {
        self.state
    }

    /// The heartbeat did not get through: the steady time begins anew.
    pub fn heartbeat_failed(&mut self) {
        self.steady_since_ms = None;
        self.orphan_steps.clear();
    }

    /// Stop claiming and receiving; everything owned is to be handed over.
    pub fn begin_draining(&mut self) {
        self.state = NodeState::Draining;
    }

    /// Looks and says what to do. `serving` is what the host serves at this moment.
    pub fn step(
        &mut self,
        seen: &Observation,
        serving: &BTreeMap<PartitionId, Epoch>,
    ) -> Vec<Action> {
        let steady_since = *self.steady_since_ms.get_or_insert(seen.now_ms);
        let steady_ms = seen.now_ms.saturating_sub(steady_since);
        let mut actions = Vec::new();

        let lost: Vec<PartitionId> = seen
            .partitions
            .iter()
            .filter(|row| {
                serving
                    .get(&row.partition)
                    .is_some_and(|epoch| row.epoch > *epoch)
            })
            .map(|row| row.partition)
            .collect();
        if !lost.is_empty() {
            actions.push(Action::Abandon(lost));
        }

        let others_active = seen
            .nodes
            .iter()
            .any(|node| node.incarnation != self.me && node.is_alive() && takes_part(node.state));
        if self.state == NodeState::Joining
            && (!others_active || steady_ms >= self.settings.join_delay_ms)
        {
            self.state = NodeState::Active;
            actions.push(Action::BecomeActive);
        }
        if self.state != NodeState::Active {
            return actions;
        }

        // Placement counts every live active node, and this one even if its row does not say so yet.
        let members: Vec<&NodeRow> = seen
            .nodes
            .iter()
            .filter(|node| {
                node.incarnation == self.me || (node.is_alive() && takes_part(node.state))
            })
            .collect();
        let names: Vec<&str> = members.iter().map(|node| node.node_id.as_str()).collect();
        let homes = place(&names, self.partitions);
        let alive: BTreeSet<Incarnation> = seen
            .nodes
            .iter()
            .filter(|node| node.is_alive())
            .map(|node| node.incarnation)
            .collect();

        let claims = self.claims(seen, &members, &names, &homes, &alive, steady_ms);
        let hand_over = self.hand_over(seen, &members, &homes, serving);
        if !hand_over.is_empty() {
            actions.push(Action::HandOver(hand_over));
        }
        if !claims.is_empty() {
            actions.push(Action::Claim(claims));
        }
        actions
    }

    fn claims(
        &mut self,
        seen: &Observation,
        members: &[&NodeRow],
        names: &[&str],
        homes: &BTreeMap<PartitionId, usize>,
        alive: &BTreeSet<Incarnation>,
        steady_ms: u64,
    ) -> Vec<Claim> {
        let lease_ms = u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX);
        let mut orphans = BTreeMap::new();
        let mut claims = Vec::new();
        for row in &seen.partitions {
            let owned = row
                .owner
                .is_some_and(|owner| owner != self.me && alive.contains(&owner));
            // An own row that the host does not serve is in doubt or was never served: acquiring it anew is always right,
            // and the in-doubt path does it; here only rows without a live owner are looked at.
            if owned || row.owner == Some(self.me) {
                continue;
            }
            let steps = self.orphan_steps.get(&row.partition).copied().unwrap_or(0);
            orphans.insert(row.partition, steps.saturating_add(1));
            // A silent owner may only be cut off from the database together with everyone else: one steady lease first.
            // An owner that stopped, was declared dead or never was needs no waiting.
            if !gone_for_good(seen, row.owner) && steady_ms < lease_ms {
                continue;
            }
            let rank = self.rank(members, names, homes, row.partition);
            if rank.is_some_and(|rank| rank <= steps) {
                claims.push(Claim {
                    partition: row.partition,
                    expected_owner: row.owner,
                    expected_epoch: row.epoch,
                });
            }
        }
        self.orphan_steps = orphans;
        claims
    }

    /// 0 when this node is the partition's home, else its place in the partition's ranking (at least 1).
    fn rank(
        &self,
        members: &[&NodeRow],
        names: &[&str],
        homes: &BTreeMap<PartitionId, usize>,
        partition: PartitionId,
    ) -> Option<u32> {
        let is_me = |index: &usize| {
            members
                .get(*index)
                .is_some_and(|node| node.incarnation == self.me)
        };
        if homes.get(&partition).is_some_and(is_me) {
            return Some(0);
        }
        let place = ranking(names, partition).iter().position(is_me)?;
        u32::try_from(place).ok().map(|place| place.max(1))
    }

    fn hand_over(
        &mut self,
        seen: &Observation,
        members: &[&NodeRow],
        homes: &BTreeMap<PartitionId, usize>,
        serving: &BTreeMap<PartitionId, Epoch>,
    ) -> Vec<(PartitionId, Epoch)> {
        if members.len() < 2 {
            return Vec::new();
        }
        if seen.now_ms.saturating_sub(self.window.0) >= REBALANCE_WINDOW_MS {
            self.window = (seen.now_ms, 0);
        }
        let count = u32::from(self.partitions.get());
        let share = count / u32::try_from(members.len()).unwrap_or(u32::MAX).max(1);
        let percent = |percent: u32| (count.saturating_mul(percent) / 100).max(1);
        let mut moves = Vec::new();
        for (partition, epoch) in serving {
            let Some(home) = homes.get(partition).and_then(|index| members.get(*index)) else {
                continue;
            };
            if home.incarnation == self.me || home.state != NodeState::Active {
                continue;
            }
            let owned_there = seen
                .partitions
                .iter()
                .filter(|row| row.owner == Some(home.incarnation))
                .count();
            let starved = u32::try_from(owned_there).unwrap_or(u32::MAX) < share / 2;
            let budget = percent(if starved {
                REBALANCE_STARVED_PERCENT.max(self.settings.rebalance_percent)
            } else {
                self.settings.rebalance_percent
            });
            if self.window.1 >= budget {
                break;
            }
            self.window.1 = self.window.1.saturating_add(1);
            moves.push((*partition, *epoch));
        }
        moves
    }
}

/// States in which a node owns partitions.
fn takes_part(state: NodeState) -> bool {
    match state {
        NodeState::Active | NodeState::Blind => true,
        NodeState::Joining | NodeState::Draining | NodeState::Stopped => false,
    }
}

/// There is no owner, or it stopped or was declared dead: it will not come back under this incarnation.
fn gone_for_good(seen: &Observation, owner: Option<Incarnation>) -> bool {
    owner.is_none_or(|owner| {
        seen.nodes
            .iter()
            .find(|node| node.incarnation == owner)
            .is_none_or(|node| node.state == NodeState::Stopped)
    })
}

#[cfg(test)]
#[path = "ownership/tests.rs"]
mod tests;

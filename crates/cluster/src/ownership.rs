//! The pure core of ownership: from what the database shows to what this node should do next.
//!
//! One `step` per look at the rows. Who is alive was judged by the database's clock; `now_ms` is this process's monotonic clock and can
//! only delay: one steady lease before claiming, the join delay, the rank of a claim, the hold-off and the window of the rebalance.
//!
//! Rules (ARCHITECTURE.md §5): a live owner is never pre-empted, only hands over by itself; nobody claims before its own heartbeat has
//! succeeded unbroken for one lease, so that a database outage makes nobody steal; a joining node waits unless nothing is active yet;
//! claims of the second-best node wait a second, of the third two, so that nodes do not fight over a takeover; a blind node hands over as
//! long as somebody sees; nothing moves to a node that is blind, draining or joining.
//!
//! Start reading at [`OwnershipCore::step`]; [`node`] has the states, [`crate::partitions`] what becomes of each partition.

mod lost;
pub mod node;
mod others;
mod pauses;
mod rebalance;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::{Epoch, PartitionCount, PartitionId};
use hubbub_event_log::port::LEASE;
use hubbub_event_log::{Claim, NodeRow, NodeState, PartitionRow};
use hubbub_wire::bus::ReleasedPartition;

use self::lost::Lost;
use self::node::{NodeMachine, Phase};
use self::others::Others;
pub(crate) use self::others::millis;
use self::pauses::Pauses;
use self::rebalance::Rebalance;
pub use self::rebalance::{REBALANCE_STARVED_PERCENT, REBALANCE_WINDOW_MS};
use crate::placement::{place, ranking};

/// How much longer each place in a partition's ranking waits with its claim, in milliseconds: a look of the better one, and a margin.
pub const RANK_DELAY_MS: u64 = 1_000;
/// How long somebody must have been seeing before a blind node hands over to it. Longer than the pauses between two nodes' reconnections, so
/// that nothing moves when the bus comes back for one a little earlier than for another (F6).
pub const SEEING_STEADY_MS: u64 = 5_000;
/// Until the next look when a hand-over is under way or a partition has no owner, instead of the next heartbeat.
const LOOK_SOON: Duration = Duration::from_millis(200);
/// After the moment at which a silent owner's lease ends: the look should come late rather than early.
const LOOK_MARGIN: Duration = Duration::from_millis(20);

/// Settings of ownership.
#[derive(Clone, Copy, Debug)]
pub struct OwnershipSettings {
    /// How long a joining node's heartbeat must be steady before it becomes active beside others, in milliseconds.
    pub join_delay_ms: u64,
    /// How many of a hundred partitions the owners together may hand over per [`REBALANCE_WINDOW_MS`].
    pub rebalance_percent: u32,
    /// How long nothing is rebalanced after a node was lost, left or came back to sight, and how long the bus must be back before a blind
    /// node that gave its partitions away is active again; in milliseconds.
    pub hold_off_ms: u64,
}

impl Default for OwnershipSettings {
    fn default() -> Self {
        Self {
            join_delay_ms: 15_000,
            rebalance_percent: 2,
            hold_off_ms: 10_000,
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
    /// The line of history that the database writes; another one after a failover.
    pub timeline: u64,
}

/// A partition on its way from this node to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    /// Which.
    pub partition: PartitionId,
    /// Under which epoch it is served here.
    pub epoch: Epoch,
    /// Who is told to take it; a hint.
    pub next: Option<Incarnation>,
}

/// What to do now, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// The fence row names another, or a failover has forgotten the acquire, or may have forgotten events: stop serving. What the rows still give
    /// to this node is acquired anew.
    Abandon(Vec<PartitionId>),
    /// Hand these over in order: drain, release, tell the next.
    HandOver(Vec<Move>),
    /// Try to own these.
    Claim(Vec<Claim>),
}

/// Memory of the ownership loop between steps.
#[derive(Debug)]
pub struct OwnershipCore {
    me: Incarnation,
    partitions: PartitionCount,
    node: NodeMachine,
    pauses: Pauses,
    others: Others,
    lost: Lost,
    rebalance: Rebalance,
    /// Since when this node's heartbeat has succeeded without a break.
    steady_since_ms: Option<u64>,
    /// Partitions without a live owner, and since when this node sees them so.
    orphan_since_ms: BTreeMap<PartitionId, u64>,
    /// Active nodes with a working bus besides this one, as last seen.
    seeing: Vec<(Incarnation, String)>,
    /// Handed over and not yet gone, so that it is not asked for twice.
    leaving: BTreeMap<PartitionId, Epoch>,
    look_again: Option<Duration>,
}

impl OwnershipCore {
    /// A node that has just registered.
    pub fn new(me: Incarnation, partitions: PartitionCount, settings: OwnershipSettings) -> Self {
        Self {
            me,
            partitions,
            node: NodeMachine::new(settings.join_delay_ms, settings.hold_off_ms),
            pauses: Pauses::default(),
            others: Others::default(),
            lost: Lost::default(),
            rebalance: Rebalance::new(settings.rebalance_percent, settings.hold_off_ms),
            steady_since_ms: None,
            orphan_since_ms: BTreeMap::new(),
            seeing: Vec::new(),
            leaving: BTreeMap::new(),
            look_again: None,
        }
    }

    /// What this node is.
    pub fn phase(&self) -> Phase {
        self.node.phase()
    }

    /// What the next heartbeat says.
    pub fn state(&self) -> NodeState {
        self.node.state()
    }

    /// What the next heartbeat says about the bus.
    pub fn bus_ok(&self) -> bool {
        self.node.bus_ok()
    }

    /// The bus's last proof of life is `silent` old. To be told several times a second, and before each step; from a longer gap this core knows
    /// that the process stood still.
    pub fn bus_silent_for(&mut self, now_ms: u64, silent: Duration) {
        let heard_nothing = self.pauses.without(silent);
        self.node.bus_silent_for(now_ms, heard_nothing);
    }

    /// The heartbeat or the look did not get through: the steady time begins anew.
    pub fn heartbeat_failed(&mut self) {
        self.steady_since_ms = None;
        self.orphan_since_ms.clear();
    }

    /// The rows were not seen for a lease: this node is wedged, and whoever runs it must stop serving everything.
    pub fn lease_lost(&mut self) {
        self.heartbeat_failed();
        self.others.blink();
        self.node.lease_lost();
    }

    /// Stop claiming and receiving; everything served is handed over from the next step on. What can be said at once is the answer.
    pub fn begin_draining(&mut self, serving: &BTreeMap<PartitionId, Epoch>) -> Vec<Move> {
        self.node.drain();
        self.everything(serving)
    }

    /// Everything is gone.
    pub fn stopped(&mut self) {
        self.node.stop();
    }

    /// An earlier look than the next heartbeat's, when one is worth while after the last step.
    pub fn look_again_in(&self) -> Option<Duration> {
        self.look_again
    }

    /// Somebody says that these were handed over. What this node was named for it claims at once; the acquire re-checks owner and epoch, so a
    /// late, doubled or wrong word is harmless.
    pub fn hint_released(&self, released: &[ReleasedPartition]) -> Vec<Claim> {
        let steady = self.steady_since_ms.is_some();
        if self.phase() != Phase::Active || !self.bus_ok() || !steady {
            return Vec::new();
        }
        let named = released
            .iter()
            .filter(|released| released.next == Some(self.me));
        let mut claims: Vec<Claim> = named
            .map(|released| Claim {
                partition: released.partition,
                expected_owner: None,
                expected_epoch: released.epoch,
            })
            .collect();
        claims.sort_unstable_by_key(|claim| claim.partition);
        claims.dedup_by_key(|claim| claim.partition);
        claims
    }

    /// Looks and says what to do. `serving` is what the host serves at this moment.
    pub fn step(
        &mut self,
        seen: &Observation,
        serving: &BTreeMap<PartitionId, Epoch>,
    ) -> Vec<Action> {
        let now_ms = seen.now_ms;
        let steady_since = *self.steady_since_ms.get_or_insert(now_ms);
        let steady_ms = now_ms.saturating_sub(steady_since);
        let owners: BTreeSet<Incarnation> =
            seen.partitions.iter().filter_map(|row| row.owner).collect();
        self.others
            .look(now_ms, &seen.nodes, owners.iter().copied());
        self.leaving
            .retain(|partition, epoch| serving.get(partition) == Some(epoch));

        let mut actions = Vec::new();
        let lost = self.lost.look(seen.timeline, &seen.partitions, serving);
        let lost_any = !lost.is_empty();
        if !lost.is_empty() {
            actions.push(Action::Abandon(lost));
        }

        let alive: Vec<&NodeRow> = seen
            .nodes
            .iter()
            .filter(|row| row.incarnation != self.me && !self.others.is_dead(row, now_ms))
            .collect();
        self.node
            .looked(steady_ms, alive.iter().any(|row| takes_part(row.state)));
        self.seeing = alive
            .iter()
            .filter(|row| row.state == NodeState::Active && row.nats_ok && row.is_alive())
            .map(|row| (row.incarnation, row.node_id.clone()))
            .collect();
        let members = self.members(seen, &alive);
        self.rebalance
            .members_are(now_ms, &members, &seen.nodes, self.me);

        let names: Vec<&str> = members.iter().map(|row| row.node_id.as_str()).collect();
        let mut claims = Vec::new();
        let mut moves = Vec::new();
        if !self.may_claim() {
            // Who claims nothing waits for no place in a ranking, and need not look for it.
            self.orphan_since_ms.clear();
        }
        match self.phase() {
            Phase::Active => {
                let homes = place(&names, self.partitions);
                if self.may_claim() {
                    claims = self.claims(seen, &members, &homes, steady_ms);
                }
                moves = self.rebalance(seen, &members, &homes, serving);
            }
            Phase::Blind => {
                if self.somebody_sees(now_ms) {
                    self.node.gives_away();
                    moves = self.everything(serving);
                } else if self.may_claim() {
                    // All are blind: nothing moves, but what a dead one left must be served by somebody.
                    let homes = place(&names, self.partitions);
                    claims = self.claims(seen, &members, &homes, steady_ms);
                }
            }
            Phase::Draining => moves = self.everything(serving),
            Phase::Starting | Phase::Joining | Phase::Wedged | Phase::Stopped => {}
        }
        // What was dropped and is still this node's is taken back at the next look.
        let soon = lost_any.then_some(LOOK_SOON);
        self.look_again = self.next_look(seen, &alive).into_iter().chain(soon).min();
        if !moves.is_empty() {
            actions.push(Action::HandOver(moves));
        }
        if !claims.is_empty() {
            actions.push(Action::Claim(claims));
        }
        actions
    }

    /// Whether this node takes what nobody serves: it has the bus, or nobody else has it either.
    fn may_claim(&self) -> bool {
        match self.phase() {
            Phase::Active => self.bus_ok() || self.seeing.is_empty(),
            Phase::Blind => self.seeing.is_empty(),
            Phase::Starting | Phase::Joining | Phase::Draining | Phase::Wedged | Phase::Stopped => {
                false
            }
        }
    }

    /// Who can have partitions: every live active node, and this one even if its row does not say so yet; the blind ones when there is
    /// nobody else.
    fn members<'a>(&self, seen: &'a Observation, alive: &[&'a NodeRow]) -> Vec<&'a NodeRow> {
        let with = |state: NodeState, phase: Phase| {
            let mine = seen
                .nodes
                .iter()
                .filter(move |row| row.incarnation == self.me && self.phase() == phase);
            let theirs = alive.iter().copied().filter(move |row| row.state == state);
            let mut members: Vec<&NodeRow> = mine.chain(theirs).collect();
            members.sort_by(|one, other| one.node_id.cmp(&other.node_id));
            members
        };
        let active = with(NodeState::Active, Phase::Active);
        if active.is_empty() {
            with(NodeState::Blind, Phase::Blind)
        } else {
            active
        }
    }

    fn claims(
        &mut self,
        seen: &Observation,
        members: &[&NodeRow],
        homes: &BTreeMap<PartitionId, usize>,
        steady_ms: u64,
    ) -> Vec<Claim> {
        let mut orphans = BTreeMap::new();
        let mut claims = Vec::new();
        for row in &seen.partitions {
            // An own row that the host does not serve is in doubt or was never served: acquiring it anew is always right, and the in-doubt
            // path does it; here only rows without a live owner are looked at.
            if row.owner == Some(self.me) || self.has_live_owner(seen, row) {
                continue;
            }
            let since_ms = self
                .orphan_since_ms
                .get(&row.partition)
                .copied()
                .unwrap_or(seen.now_ms);
            orphans.insert(row.partition, since_ms);
            // A silent owner may only be cut off from the database together with everyone else: one steady lease first.
            // An owner that stopped, was declared dead or never was needs no waiting.
            if !gone_for_good(seen, row.owner) && steady_ms < millis(LEASE) {
                continue;
            }
            let waited_ms = seen.now_ms.saturating_sub(since_ms);
            let rank = self.rank(members, homes, row.partition);
            if rank.is_some_and(|rank| rank.saturating_mul(RANK_DELAY_MS) <= waited_ms) {
                claims.push(Claim {
                    partition: row.partition,
                    expected_owner: row.owner,
                    expected_epoch: row.epoch,
                });
            }
        }
        self.orphan_since_ms = orphans;
        claims
    }

    fn has_live_owner(&self, seen: &Observation, row: &PartitionRow) -> bool {
        row.owner.is_some_and(|owner| {
            seen.nodes
                .iter()
                .find(|node| node.incarnation == owner)
                .map_or_else(
                    // A row that is gone, or not shown because the database's clock jumped: as good as silent.
                    || self.others.quiet_in_ms(owner, seen.now_ms) > 0,
                    |node| !self.others.is_dead(node, seen.now_ms),
                )
        })
    }

    /// 0 when this node is the partition's home, else its place in the partition's ranking (at least 1).
    fn rank(
        &self,
        members: &[&NodeRow],
        homes: &BTreeMap<PartitionId, usize>,
        partition: PartitionId,
    ) -> Option<u64> {
        let is_me = |index: &usize| {
            members
                .get(*index)
                .is_some_and(|node| node.incarnation == self.me)
        };
        if homes.get(&partition).is_some_and(is_me) {
            return Some(0);
        }
        let names: Vec<&str> = members.iter().map(|node| node.node_id.as_str()).collect();
        let place = ranking(&names, partition).iter().position(is_me)?;
        u64::try_from(place).ok().map(|place| place.max(1))
    }

    /// Whether a blind node has somebody to hand over to.
    fn somebody_sees(&self, now_ms: u64) -> bool {
        self.seeing.iter().any(|(incarnation, _)| {
            self.others
                .well_for_ms(*incarnation, now_ms)
                .is_some_and(|well_ms| well_ms >= SEEING_STEADY_MS)
        })
    }

    /// Everything that is served and not yet on its way, to whom the others will place it without this node.
    fn everything(&mut self, serving: &BTreeMap<PartitionId, Epoch>) -> Vec<Move> {
        let staying: Vec<(PartitionId, Epoch)> = serving
            .iter()
            .map(|(partition, epoch)| (*partition, *epoch))
            .filter(|(partition, epoch)| self.leaving.get(partition) != Some(epoch))
            .collect();
        // Asked after every event of a node that drains: placing all partitions each time would cost more than the hand-over.
        if staying.is_empty() {
            return Vec::new();
        }
        let mut seeing: Vec<&(Incarnation, String)> = self.seeing.iter().collect();
        seeing.sort_by(|one, other| one.1.cmp(&other.1));
        let names: Vec<&str> = seeing.iter().map(|(_, name)| name.as_str()).collect();
        let homes = place(&names, self.partitions);
        let next = |partition: &PartitionId| {
            let home = homes.get(partition).and_then(|index| seeing.get(*index));
            home.map(|(incarnation, _)| *incarnation)
        };
        let moves: Vec<Move> = staying
            .iter()
            .map(|(partition, epoch)| Move {
                partition: *partition,
                epoch: *epoch,
                next: next(partition),
            })
            .collect();
        self.leaving.extend(staying);
        moves
    }

    fn rebalance(
        &mut self,
        seen: &Observation,
        members: &[&NodeRow],
        homes: &BTreeMap<PartitionId, usize>,
        serving: &BTreeMap<PartitionId, Epoch>,
    ) -> Vec<Move> {
        let candidates = serving
            .iter()
            .filter(|(partition, _)| !self.leaving.contains_key(partition))
            .filter_map(|(partition, epoch)| {
                let home = members.get(*homes.get(partition)?)?;
                let fit = home.incarnation != self.me
                    && home.state == NodeState::Active
                    && home.nats_ok
                    && self
                        .others
                        .well_for_ms(home.incarnation, seen.now_ms)
                        .is_some();
                fit.then_some(Move {
                    partition: *partition,
                    epoch: *epoch,
                    next: Some(home.incarnation),
                })
            });
        let moves = self
            .rebalance
            .choose(seen, self.partitions, members.len(), candidates);
        self.leaving
            .extend(moves.iter().map(|moved| (moved.partition, moved.epoch)));
        moves
    }

    /// When something is about to happen, the moment to look at it: an owner's lease ends, a hand-over is under way, nobody owns a partition.
    fn next_look(&self, seen: &Observation, alive: &[&NodeRow]) -> Option<Duration> {
        if !matches!(self.phase(), Phase::Active | Phase::Blind) {
            return None;
        }
        let owns = |incarnation: Incarnation| {
            seen.partitions
                .iter()
                .any(|row| row.owner == Some(incarnation))
        };
        let ends = alive.iter().filter(|row| owns(row.incarnation)).map(|row| {
            let quiet = self.others.quiet_in_ms(row.incarnation, seen.now_ms);
            LEASE
                .saturating_sub(row.silent_for)
                .max(Duration::from_millis(quiet))
                .saturating_add(LOOK_MARGIN)
        });
        // One without the bus will hand over as soon as it is sure, and cannot say so.
        let leaves = |row: &&&NodeRow| match row.state {
            NodeState::Draining => true,
            NodeState::Blind => self.phase() == Phase::Active,
            NodeState::Active => self.phase() == Phase::Active && self.bus_ok() && !row.nats_ok,
            NodeState::Joining | NodeState::Stopped => false,
        };
        let under_way = alive.iter().filter(leaves).any(|row| owns(row.incarnation));
        let soon = under_way || !self.orphan_since_ms.is_empty();
        ends.chain(soon.then_some(LOOK_SOON)).min()
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
            .is_some_and(|node| node.state == NodeState::Stopped)
    })
}

#[cfg(test)]
#[path = "ownership/tests.rs"]
mod tests;

//! What becomes of each partition at this node, pure:
//!
//! ```text
//! Unowned → Acquiring → Recovering → Serving → HandingOff → Unowned
//!                ↑                      ├→ Fenced → Unowned
//!                └──────── InDoubt ←────┘   (InDoubt → Fenced when somebody else has it by now)
//! ```
//!
//! Inputs are decisions of [`crate::ownership`], signals of the host and results of effects; outputs are effects as data. Only one effect is
//! under way for a partition at any moment, so calls to the host and statements for it come one after the other. Partitions are independent
//! of each other: a slow drain or acquire holds nobody else up.
//!
//! Never: a clock, a wait, a judgement about who is alive.

use std::collections::{BTreeMap, VecDeque};

use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::{Epoch, PartitionId};
use hubbub_event_log::{Acquired, Claim, PartitionRow};

use crate::ownership::Move;
use crate::port::{HostEvent, PartitionSignal};

/// Claims in one acquire at most: keeps the fence rows of a large cluster locked for a moment only.
pub const ACQUIRE_PARTITIONS_MAX: usize = 128;
/// Partitions that are handed over at the same time: a wave. Those behind it go on serving, so the pause of each is that of one wave.
pub const HANDOVER_WAVE_MAX: usize = 64;

/// Where a partition is at this node; one that is not listed is Unowned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartitionState {
    /// The statement is under way.
    Acquiring {
        /// What was asked for.
        claim: Claim,
        /// Why.
        reason: Reason,
    },
    /// Acquired; the host takes it up.
    Recovering(Epoch),
    /// The only state that accepts commands.
    Serving(Epoch),
    /// Draining, or drained and not yet released.
    HandingOff(Move, HandOff),
    /// The fence row names another, or there is no database: the host is told to drop it.
    Fenced,
    /// Whether the last append of this epoch is stored is open: acquire anew before anything else.
    InDoubt(Epoch),
}

/// How far a hand-over is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandOff {
    /// What is in flight finds its end.
    Draining,
    /// Nothing is in flight; the row still names this node.
    Drained,
    /// The statement is under way.
    Releasing,
}

/// Why a partition is acquired; the word in the lineage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Nobody owned it.
    Claim,
    /// Its owner is dead.
    Takeover,
    /// Its owner handed it over to this node.
    Handoff,
    /// This node's own last append is open, or its own acquire had no answer.
    InDoubt,
}

impl Reason {
    /// The word in the lineage.
    pub fn word(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Takeover => "takeover",
            Self::Handoff => "handoff",
            Self::InDoubt => "in_doubt",
        }
    }
}

/// What the shell is to do; each but the announcements is answered by the input named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Acquire in one transaction → [`PartitionTable::acquired`] or [`PartitionTable::acquire_failed`].
    Acquire(Vec<Claim>, Reason),
    /// Have the host serve → [`PartitionTable::served`].
    Serve(Vec<Acquired>),
    /// Have the host drop → [`PartitionTable::stopped`].
    Stop(PartitionId),
    /// Have the host drain, and drop what does not end in time → [`PartitionTable::drained`].
    Drain(Move),
    /// Release in one statement → [`PartitionTable::released`] or [`PartitionTable::release_failed`].
    Release(Vec<Move>),
    /// Tell everybody that these have no owner any more.
    AnnounceReleased(Vec<Move>),
    /// Tell everybody that these are served here.
    AnnounceTaken(Vec<(PartitionId, Epoch)>),
}

/// All partitions that are something at this node.
#[derive(Debug)]
pub struct PartitionTable {
    me: Incarnation,
    entries: BTreeMap<PartitionId, PartitionState>,
    /// Hand-overs that wait for their wave; still served.
    waiting: VecDeque<Move>,
    /// An acquire of what is in doubt failed: not again before [`PartitionTable::retry_doubts`].
    doubts_rest: bool,
    /// Recovering under an epoch, and by the rows no longer this node's: the host is busy taking them up, and told to drop them when it has.
    forfeited: BTreeMap<PartitionId, Epoch>,
}

impl PartitionTable {
    /// A table without partitions.
    pub fn new(me: Incarnation) -> Self {
        Self {
            me,
            entries: BTreeMap::new(),
            waiting: VecDeque::new(),
            doubts_rest: false,
            forfeited: BTreeMap::new(),
        }
    }

    /// Where a partition is; `None` = Unowned.
    pub fn state(&self, partition: PartitionId) -> Option<PartitionState> {
        self.entries.get(&partition).copied()
    }

    /// What is served, with its epoch.
    pub fn serving(&self) -> BTreeMap<PartitionId, Epoch> {
        self.entries
            .iter()
            .filter_map(|(partition, state)| match state {
                PartitionState::Serving(epoch) => Some((*partition, *epoch)),
                PartitionState::Acquiring { .. }
                | PartitionState::Recovering(_)
                | PartitionState::HandingOff(..)
                | PartitionState::Fenced
                | PartitionState::InDoubt(_) => None,
            })
            .collect()
    }

    /// Every partition is Unowned.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the host still has, or is about to serve, something that the rows no longer allow.
    pub fn has_fenced(&self) -> bool {
        !self.forfeited.is_empty()
            || self
                .entries
                .values()
                .any(|state| *state == PartitionState::Fenced)
    }

    // --- decisions ---

    /// Wishes to own. What is something already at this node is left out.
    #[must_use]
    pub fn claim(&mut self, claims: Vec<Claim>, handed_over: bool) -> Vec<Effect> {
        let mut parts: BTreeMap<bool, Vec<Claim>> = BTreeMap::new();
        for claim in claims {
            if self.entries.contains_key(&claim.partition) {
                continue;
            }
            parts
                .entry(claim.expected_owner.is_some())
                .or_default()
                .push(claim);
        }
        let mut effects = Vec::new();
        for (owned, claims) in parts {
            let reason = match (owned, handed_over) {
                (true, _) => Reason::Takeover,
                (false, true) => Reason::Handoff,
                (false, false) => Reason::Claim,
            };
            self.acquire(&claims, reason, &mut effects);
        }
        effects
    }

    /// To be handed over, in waves.
    #[must_use]
    pub fn hand_over(&mut self, moves: Vec<Move>) -> Vec<Effect> {
        self.waiting.extend(moves);
        self.pump()
    }

    /// The fence rows name others for these.
    #[must_use]
    pub fn abandon(&mut self, partitions: &[PartitionId]) -> Vec<Effect> {
        partitions
            .iter()
            .filter_map(|partition| self.fence(*partition))
            .collect()
    }

    /// There is no database: nothing is served any more. What the rows still name this node for is acquired anew when they are seen again.
    #[must_use]
    pub fn wedge(&mut self) -> Vec<Effect> {
        self.waiting.clear();
        let serving: Vec<PartitionId> = self.serving().into_keys().collect();
        self.abandon(&serving)
    }

    /// Rows that name this node although it does nothing with them: an acquire whose answer was lost, a release that failed, what was dropped
    /// without a database. Nobody else may take them from a live node, so they are taken again under a newer epoch. And rows that have moved on
    /// while the host takes the partition up: it is dropped as soon as it is there.
    #[must_use]
    pub fn reclaim(&mut self, rows: &[PartitionRow]) -> Vec<Effect> {
        for row in rows {
            if let Some(PartitionState::Recovering(epoch)) = self.entries.get(&row.partition)
                && row.epoch > *epoch
            {
                self.forfeited.insert(row.partition, *epoch);
            }
        }
        for row in rows.iter().filter(|row| row.owner == Some(self.me)) {
            self.entries
                .entry(row.partition)
                .or_insert(PartitionState::InDoubt(row.epoch));
        }
        self.pump()
    }

    /// Time to try again what is in doubt.
    #[must_use]
    pub fn retry_doubts(&mut self) -> Vec<Effect> {
        self.doubts_rest = false;
        self.pump()
    }

    /// The host stopped serving a partition by itself. [`PartitionSignal::Broken`] is not for this table.
    #[must_use]
    pub fn signal(&mut self, event: HostEvent) -> Vec<Effect> {
        let current = match self.entries.get(&event.partition) {
            Some(PartitionState::Serving(epoch) | PartitionState::Recovering(epoch)) => *epoch,
            // A hand-over ends by itself: what is open is settled by the next owner's acquire. Everything else has left that epoch.
            Some(
                PartitionState::Acquiring { .. }
                | PartitionState::HandingOff(..)
                | PartitionState::Fenced
                | PartitionState::InDoubt(_),
            )
            | None => return Vec::new(),
        };
        if current != event.epoch {
            return Vec::new();
        }
        match event.signal {
            PartitionSignal::Fenced => self.fence(event.partition).into_iter().collect(),
            PartitionSignal::InDoubt => {
                self.entries
                    .insert(event.partition, PartitionState::InDoubt(event.epoch));
                self.pump()
            }
            PartitionSignal::Broken => Vec::new(),
        }
    }

    // --- results ---

    /// An acquire was answered: of what was asked, `granted` is this node's.
    #[must_use]
    pub fn acquired(&mut self, asked: &[Claim], granted: Vec<Acquired>) -> Vec<Effect> {
        for taken in &granted {
            self.entries
                .insert(taken.partition, PartitionState::Recovering(taken.epoch));
        }
        let mut stops = Vec::new();
        for claim in asked {
            if !self.is_acquiring(claim) {
                continue;
            }
            // What was not granted belongs to somebody else by now, or to this node under an epoch that the next look shows.
            if claim.expected_owner == Some(self.me) {
                self.entries.insert(claim.partition, PartitionState::Fenced);
                stops.push(Effect::Stop(claim.partition));
            } else {
                self.entries.remove(&claim.partition);
            }
        }
        let mut effects = self.pump();
        effects.extend(stops);
        if !granted.is_empty() {
            effects.push(Effect::Serve(granted));
        }
        effects
    }

    /// An acquire had no answer; whether it took place is open, and harmless. What was this node's stays in doubt, the rest shows itself in the
    /// rows.
    #[must_use]
    pub fn acquire_failed(&mut self, asked: &[Claim]) -> Vec<Effect> {
        for claim in asked {
            if !self.is_acquiring(claim) {
                continue;
            }
            if claim.expected_owner == Some(self.me) {
                self.doubts_rest = true;
                self.entries.insert(
                    claim.partition,
                    PartitionState::InDoubt(claim.expected_epoch),
                );
            } else {
                self.entries.remove(&claim.partition);
            }
        }
        self.pump()
    }

    /// The host serves these.
    #[must_use]
    pub fn served(&mut self, taken: &[Acquired]) -> Vec<Effect> {
        let mut news = Vec::new();
        let mut stops = Vec::new();
        for taken in taken {
            // What the host says of an older epoch settles nothing for the one it takes up now.
            let forfeited = self.forfeited.get(&taken.partition) == Some(&taken.epoch);
            if forfeited {
                self.forfeited.remove(&taken.partition);
            }
            let state = self.entries.get_mut(&taken.partition);
            // In between the host may have said that it is in doubt.
            if let Some(state) =
                state.filter(|state| **state == PartitionState::Recovering(taken.epoch))
            {
                if forfeited {
                    *state = PartitionState::Fenced;
                    stops.push(Effect::Stop(taken.partition));
                } else {
                    *state = PartitionState::Serving(taken.epoch);
                    news.push((taken.partition, taken.epoch));
                }
            }
        }
        let mut effects = self.pump();
        effects.extend(stops);
        if !news.is_empty() {
            effects.push(Effect::AnnounceTaken(news));
        }
        effects
    }

    /// The host has dropped it.
    #[must_use]
    pub fn stopped(&mut self, partition: PartitionId) -> Vec<Effect> {
        if self.entries.get(&partition) == Some(&PartitionState::Fenced) {
            self.entries.remove(&partition);
        }
        self.pump()
    }

    /// The host has drained it, or dropped it when its patience was over: the next owner's acquire settles what is open either way.
    #[must_use]
    pub fn drained(&mut self, partition: PartitionId) -> Vec<Effect> {
        if let Some(PartitionState::HandingOff(_, stage @ HandOff::Draining)) =
            self.entries.get_mut(&partition)
        {
            *stage = HandOff::Drained;
        }
        self.pump()
    }

    /// The rows no longer name this node for these.
    #[must_use]
    pub fn released(&mut self, moves: &[Move]) -> Vec<Effect> {
        for moved in moves {
            self.entries.remove(&moved.partition);
        }
        let mut effects = vec![Effect::AnnounceReleased(moves.to_vec())];
        effects.extend(self.pump());
        effects
    }

    /// Whether the rows still name this node is open: they are taken back rather than left without service.
    #[must_use]
    pub fn release_failed(&mut self, moves: &[Move]) -> Vec<Effect> {
        self.doubts_rest = true;
        for moved in moves {
            self.entries
                .insert(moved.partition, PartitionState::InDoubt(moved.epoch));
        }
        self.pump()
    }

    // --- inside ---

    fn is_acquiring(&self, asked: &Claim) -> bool {
        matches!(
            self.entries.get(&asked.partition),
            Some(PartitionState::Acquiring { claim, .. }) if claim == asked
        )
    }

    fn fence(&mut self, partition: PartitionId) -> Option<Effect> {
        match self.entries.get_mut(&partition)? {
            state @ PartitionState::Serving(_) => {
                *state = PartitionState::Fenced;
                Some(Effect::Stop(partition))
            }
            // The host is busy taking it up: dropped when it has.
            PartitionState::Recovering(epoch) => {
                self.forfeited.insert(partition, *epoch);
                None
            }
            PartitionState::Acquiring { .. }
            | PartitionState::HandingOff(..)
            | PartitionState::Fenced
            | PartitionState::InDoubt(_) => None,
        }
    }

    fn acquire(&mut self, claims: &[Claim], reason: Reason, effects: &mut Vec<Effect>) {
        for part in claims.chunks(ACQUIRE_PARTITIONS_MAX) {
            for claim in part {
                let acquiring = PartitionState::Acquiring {
                    claim: *claim,
                    reason,
                };
                self.entries.insert(claim.partition, acquiring);
            }
            effects.push(Effect::Acquire(part.to_vec(), reason));
        }
    }

    /// What can begin now: acquires of what is in doubt, the next of the hand-overs, a release of what is drained.
    fn pump(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut doubts = Vec::new();
        let mut drained = Vec::new();
        let (mut handing_off, mut releasing) = (0_usize, false);
        for (partition, state) in &self.entries {
            match state {
                PartitionState::InDoubt(epoch) => doubts.push(Claim {
                    partition: *partition,
                    expected_owner: Some(self.me),
                    expected_epoch: *epoch,
                }),
                PartitionState::HandingOff(moved, stage) => {
                    handing_off = handing_off.saturating_add(1);
                    match stage {
                        HandOff::Draining => {}
                        HandOff::Drained => drained.push(*moved),
                        HandOff::Releasing => releasing = true,
                    }
                }
                PartitionState::Acquiring { .. }
                | PartitionState::Recovering(_)
                | PartitionState::Serving(_)
                | PartitionState::Fenced => {}
            }
        }
        if !self.doubts_rest {
            self.acquire(&doubts, Reason::InDoubt, &mut effects);
        }
        while handing_off < HANDOVER_WAVE_MAX {
            let Some(moved) = self.waiting.pop_front() else {
                break;
            };
            if self.entries.get(&moved.partition) == Some(&PartitionState::Serving(moved.epoch)) {
                handing_off = handing_off.saturating_add(1);
                self.entries.insert(
                    moved.partition,
                    PartitionState::HandingOff(moved, HandOff::Draining),
                );
                effects.push(Effect::Drain(moved));
            }
        }
        if !drained.is_empty() && !releasing {
            for moved in &drained {
                self.entries.insert(
                    moved.partition,
                    PartitionState::HandingOff(*moved, HandOff::Releasing),
                );
            }
            effects.push(Effect::Release(drained));
        }
        effects
    }
}

#[cfg(test)]
#[path = "partitions/tests.rs"]
mod tests;

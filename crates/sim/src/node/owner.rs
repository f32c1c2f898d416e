//! The ownership loop around its two cores, as `cluster/src/node.rs`, `node/work.rs` and `pulse.rs` run it.

use std::time::Duration;

use bytes::Bytes;
use hubbub_cluster::ownership::node::Phase;
use hubbub_cluster::ownership::{Action, Observation, OwnershipCore, OwnershipSettings};
use hubbub_cluster::partitions::{Effect, PartitionTable};
use hubbub_cluster::{HostEvent, OwnersView, PartitionSignal};
use hubbub_event_log::port::LEASE;
use hubbub_event_log::{Acquired, Claim, NodeRow, NodeState, PartitionRow};
use hubbub_wire::bus::{OwnershipHint, ReleasedPartition};

use crate::node::host::Host;
use crate::recorder;
use crate::wires::{Ask, BusMessage, NodeInput, To, Wires};

/// Time between heartbeats, in milliseconds.
const BEAT_MS: u64 = 1_000;
/// After a heartbeat that did not get through.
const BEAT_AGAIN_MS: u64 = 250;
/// Time between ticks of the loop.
const TICK_MS: u64 = 250;
/// An orderly end is over after this long.
const HAND_OVER_MAX_MS: u64 = 6_000;

/// How the loop ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Declared dead, or the log contradicts it: the process ends and another begins.
    Fatal,
    /// In order.
    Stopped,
}

/// The loop of one process.
pub struct OwnerLoop {
    me: To,
    core: OwnershipCore,
    table: PartitionTable,
    said: (NodeState, bool),
    looking: bool,
    next_look_ms: Option<u64>,
    /// A look whose findings the host has not yet followed.
    unsettled_ms: Option<u64>,
    lease_ms: Option<u64>,
    doubted: bool,
    bus_heard_ms: u64,
    ends_ms: Option<u64>,
    retiring: bool,
    /// Set when the loop has ended.
    pub end: Option<End>,
}

impl OwnerLoop {
    /// A process that has just registered.
    pub fn new(me: To, settings: OwnershipSettings, wires: &mut Wires) -> Self {
        let core = OwnershipCore::new(me.incarnation(), wires.partitions, settings);
        let said = (core.state(), core.bus_ok());
        wires.wake(me, 0, NodeInput::BeatTimer);
        wires.wake(me, TICK_MS, NodeInput::OwnerTick);
        Self {
            me,
            core,
            table: PartitionTable::new(me.incarnation()),
            said,
            looking: false,
            next_look_ms: None,
            unsettled_ms: None,
            lease_ms: None,
            doubted: false,
            bus_heard_ms: wires.now_ms,
            ends_ms: None,
            retiring: false,
            end: None,
        }
    }

    /// Whether it saw less than a lease ago what it owns.
    pub fn is_fresh(&self, wires: &Wires) -> bool {
        let lease = u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX);
        self.lease_ms
            .is_some_and(|seen| wires.now_ms.saturating_sub(seen) < lease)
    }

    /// … and nothing has failed since.
    pub fn is_undoubted(&self, wires: &Wires) -> bool {
        self.is_fresh(wires) && !self.doubted
    }

    /// What becomes of its partitions.
    pub fn table(&self) -> &PartitionTable {
        &self.table
    }

    /// How long nothing came back over the bus.
    fn bus_silent(&self, wires: &Wires) -> Duration {
        Duration::from_millis(wires.now_ms.saturating_sub(self.bus_heard_ms))
    }

    // === heartbeats ===

    /// Time for a heartbeat.
    pub fn beat(&self, wires: &mut Wires) {
        let (state, nats_ok) = self.said;
        wires.ask(self.me, Ask::Beat { state, nats_ok });
    }

    /// How a heartbeat went; the next one is planned.
    pub fn beaten(&mut self, answer: Option<bool>, wires: &mut Wires) {
        match answer {
            Some(true) => {
                wires.wake(self.me, BEAT_MS, NodeInput::BeatTimer);
                self.look(wires);
            }
            Some(false) => {
                if !self.retiring {
                    wires
                        .counters
                        .one("nodes that found themselves declared dead");
                    self.end = Some(End::Fatal);
                }
            }
            None => {
                wires.wake(self.me, BEAT_AGAIN_MS, NodeInput::BeatTimer);
                self.lose_sight();
            }
        }
    }

    fn lose_sight(&mut self) {
        self.core.heartbeat_failed();
        self.doubted = true;
    }

    /// A look, unless one is under way.
    pub fn look(&mut self, wires: &mut Wires) {
        if !self.looking {
            self.looking = true;
            self.next_look_ms = None;
            let seen_at_ms = wires.now_ms;
            wires.ask(self.me, Ask::Look { seen_at_ms });
        }
    }

    /// An earlier look is due.
    pub fn look_if_due(&mut self, wires: &mut Wires) {
        if self.next_look_ms.is_some_and(|due| due <= wires.now_ms) {
            self.look(wires);
        }
    }

    /// A quarter of a second has passed.
    pub fn tick(&mut self, host: &mut Host, view: &OwnersView, wires: &mut Wires) {
        wires.wake(self.me, TICK_MS, NodeInput::OwnerTick);
        if !wires.weather.is_bus_cut(self.me.node) {
            self.bus_heard_ms = wires.now_ms;
        }
        let before = self.core.phase();
        let silent = self.bus_silent(wires);
        self.core.bus_silent_for(wires.now_ms, silent);
        if !self.is_fresh(wires) {
            self.core.lease_lost();
        }
        let phase = self.core.phase();
        if phase == Phase::Wedged {
            if before != Phase::Wedged {
                wires.counters.one("nodes wedged");
            }
            let effects = self.table.wedge();
            self.carry_out(effects, host, view, wires);
        } else if phase != before {
            if phase == Phase::Blind {
                wires.counters.one("nodes blind");
            }
            self.look(wires);
        }
        let effects = self.table.retry_doubts();
        self.carry_out(effects, host, view, wires);
    }

    /// Something of the host.
    pub fn signal(
        &mut self,
        event: HostEvent,
        host: &mut Host,
        view: &OwnersView,
        wires: &mut Wires,
    ) {
        match event.signal {
            PartitionSignal::Fenced => wires.counters.one("partitions found fenced off"),
            PartitionSignal::InDoubt => wires.counters.one("partitions in doubt"),
            PartitionSignal::Broken => {
                wires
                    .counters
                    .one("nodes stopped: the log contradicts them");
                self.end = Some(End::Fatal);
                return;
            }
        }
        let effects = self.table.signal(event);
        self.carry_out(effects, host, view, wires);
    }

    /// Ends in order.
    pub fn drain(&mut self, wires: &Wires) {
        self.ends_ms
            .get_or_insert(wires.now_ms.saturating_add(HAND_OVER_MAX_MS));
    }

    /// After every input: what drains goes on draining, and news of this node go into a heartbeat.
    pub fn go_on(&mut self, host: &mut Host, view: &OwnersView, wires: &mut Wires) {
        if let Some(ends) = self.ends_ms {
            let moves = self.core.begin_draining(&self.table.serving());
            let effects = self.table.hand_over(moves);
            self.carry_out(effects, host, view, wires);
            let is_over = self.table.is_empty() || wires.now_ms >= ends;
            if is_over && !self.retiring {
                self.retiring = true;
                for partition in self.table.serving().into_keys() {
                    host.stop(partition);
                }
                wires.ask(self.me, Ask::Retire);
            }
        }
        let said = (self.core.state(), self.core.bus_ok());
        if self.said != said {
            self.said = said;
            self.beat_out_of_turn(wires);
        }
    }

    fn beat_out_of_turn(&self, wires: &mut Wires) {
        let (state, nats_ok) = self.said;
        wires.ask(self.me, Ask::BeatOutOfTurn { state, nats_ok });
    }

    /// Nodes and fence rows.
    pub fn looked(
        &mut self,
        seen_at_ms: u64,
        seen: Option<(Vec<NodeRow>, Vec<PartitionRow>)>,
        host: &mut Host,
        view: &OwnersView,
        wires: &mut Wires,
    ) {
        self.looking = false;
        let Some((nodes, partitions)) = seen else {
            return self.lose_sight();
        };
        for row in &partitions {
            view.learn(row.partition, row.epoch, row.owner);
        }
        let seen = Observation {
            now_ms: wires.now_ms,
            nodes,
            partitions,
            timeline: wires.server,
        };
        let silent = self.bus_silent(wires);
        self.core.bus_silent_for(seen.now_ms, silent);
        for action in self.core.step(&seen, &self.table.serving()) {
            let effects = match action {
                Action::Abandon(partitions) => self.table.abandon(&partitions),
                Action::HandOver(moves) => self.table.hand_over(moves),
                Action::Claim(claims) => self.table.claim(claims, false),
            };
            self.carry_out(effects, host, view, wires);
        }
        let effects = self.table.reclaim(&seen.partitions);
        self.carry_out(effects, host, view, wires);
        let effects = self.table.retry_doubts();
        self.carry_out(effects, host, view, wires);
        self.unsettled_ms = Some(seen_at_ms);
        self.settle_look();
        if let Some(pause) = self.core.look_again_in() {
            let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            self.next_look_ms = Some(wires.now_ms.saturating_add(pause));
            wires.wake(self.me, pause, NodeInput::OwnerLook);
        }
    }

    /// When the host has dropped what the rows no longer allow, what is served here is what they said at the look.
    fn settle_look(&mut self) {
        if !self.table.has_fenced()
            && let Some(seen_at_ms) = self.unsettled_ms.take()
        {
            self.lease_ms = self.lease_ms.max(Some(seen_at_ms));
            self.doubted = false;
        }
    }

    /// How an acquire went.
    pub fn acquired(
        &mut self,
        claims: &[Claim],
        reason: &'static str,
        taken: Option<Vec<Acquired>>,
        host: &mut Host,
        view: &OwnersView,
        wires: &mut Wires,
    ) {
        let effects = if let Some(taken) = taken {
            wires.trace.line(wires.now_ms, || {
                format!("n{} has {taken:?} ({reason})", self.me.node)
            });
            self.table.acquired(claims, taken)
        } else {
            self.doubted = true;
            self.table.acquire_failed(claims)
        };
        self.carry_out(effects, host, view, wires);
    }

    /// Hand-overs that have come to an end.
    pub fn drained(&mut self, host: &mut Host, view: &OwnersView, wires: &mut Wires) {
        for (partition, clean) in std::mem::take(&mut host.drained) {
            if !clean {
                wires.counters.one("hand-overs with work in flight");
            }
            let effects = self.table.drained(partition);
            self.carry_out(effects, host, view, wires);
        }
    }

    /// How a release went.
    pub fn released(
        &mut self,
        moves: &[hubbub_cluster::ownership::Move],
        is_sure: bool,
        host: &mut Host,
        view: &OwnersView,
        wires: &mut Wires,
    ) {
        let effects = if is_sure {
            wires.counters.one("hand-overs");
            self.table.released(moves)
        } else {
            self.table.release_failed(moves)
        };
        self.carry_out(effects, host, view, wires);
    }

    /// The node row says stopped, or nobody knows.
    pub fn retired(&mut self) {
        self.core.stopped();
        self.end = Some(End::Stopped);
    }

    /// From another node: who gave what up, who has it.
    pub fn hint(&mut self, payload: &Bytes, host: &mut Host, view: &OwnersView, wires: &mut Wires) {
        match OwnershipHint::decode(payload) {
            Ok(OwnershipHint::Released { by, partitions }) if by != self.me.incarnation() => {
                for released in &partitions {
                    view.learn(released.partition, released.epoch, None);
                }
                let claims = self.core.hint_released(&partitions);
                let effects = self.table.claim(claims, true);
                self.carry_out(effects, host, view, wires);
            }
            Ok(OwnershipHint::Taken { by, partitions }) if by != self.me.incarnation() => {
                for (partition, epoch) in partitions {
                    view.learn(partition, epoch, Some(by));
                }
            }
            Ok(_) | Err(_) => {}
        }
    }

    fn carry_out(
        &mut self,
        effects: Vec<Effect>,
        host: &mut Host,
        view: &OwnersView,
        wires: &mut Wires,
    ) {
        let mut effects = std::collections::VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Acquire(claims, reason) => {
                    let reason = reason.word();
                    wires.ask(self.me, Ask::Acquire { claims, reason });
                }
                Effect::Serve(taken) => {
                    for taken in &taken {
                        wires.trace.mix(taken.epoch.get());
                        recorder::serves(wires, self.me, taken);
                        host.serve(taken.partition, taken.epoch, taken.head, wires);
                    }
                    effects.extend(self.table.served(&taken));
                }
                Effect::Stop(partition) => {
                    host.stop(partition);
                    effects.extend(self.table.stopped(partition));
                    self.settle_look();
                }
                Effect::Drain(moved) => {
                    wires.counters.one("hand-overs begun");
                    host.drain(moved.partition, wires);
                }
                Effect::Release(moves) => wires.ask(self.me, Ask::Release { moves }),
                Effect::AnnounceReleased(moves) => {
                    for moved in &moves {
                        view.learn(moved.partition, moved.epoch, None);
                    }
                    let partitions = moves.iter().map(|moved| ReleasedPartition {
                        partition: moved.partition,
                        epoch: moved.epoch,
                        next: moved.next,
                    });
                    let hint = OwnershipHint::Released {
                        by: self.me.incarnation(),
                        partitions: partitions.collect(),
                    };
                    wires.publish(self.me, &BusMessage::Hint(hint.encode()));
                }
                Effect::AnnounceTaken(partitions) => {
                    for (partition, epoch) in &partitions {
                        view.learn(*partition, *epoch, Some(self.me.incarnation()));
                    }
                    let hint = OwnershipHint::Taken {
                        by: self.me.incarnation(),
                        partitions,
                    };
                    wires.publish(self.me, &BusMessage::Hint(hint.encode()));
                }
            }
        }
    }
}

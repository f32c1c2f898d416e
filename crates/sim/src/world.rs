//! The world of one run: who lives in it, what goes wrong, and the order of things.
//!
//! ```text
//! 0 s   nodes start      3 s  groups are made      5 s … 5 + n s  everything happens      heal      quiet      last reads, judgement
//! ```

mod healing;

use std::collections::BTreeMap;

use hubbub_checker::Report;
use hubbub_domain::ids::UserId;
use hubbub_domain::position::{Offset, PartitionCount, PartitionId};
use hubbub_event_log::Ownership;
use uuid::Uuid;

use crate::client::{Client, ClientInput};
use crate::counters::Counters;
use crate::database::{Image, now};
use crate::judge;
use crate::node::{Fate, Process};
use crate::random::Random;
use crate::trace::Trace;
use crate::weather::{Act, Weather};
use crate::wires::{Ask, Event, NodeInput, To, Wires};

/// When groups are made, in milliseconds.
const BEGIN_MS: u64 = 3_000;
/// When things begin to go wrong.
const TROUBLE_MS: u64 = 5_000;
/// How long after healing the last looks are taken: longer than anything that was promised.
const QUIET_MS: u64 = 60_000;
/// After this long nothing is waited for any more, whatever still happens.
const JUDGED_AT_LAST_MS: u64 = 2 * QUIET_MS;
/// Steps of one run at most: far above what any run needs, so that one that does not end is reported as such.
const STEPS_MAX: u64 = 3_000_000;

/// What a run has shown.
#[derive(Debug)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// Equal for equal runs.
    pub trace_hash: u64,
    /// What the checker says.
    pub report: Report,
    /// What the simulator itself found wrong, beside the checker.
    pub findings: Vec<String>,
    /// What really happened.
    pub counters: Counters,
    /// Steps.
    pub steps: u64,
}

impl Run {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.report.is_clean() && self.findings.is_empty()
    }
}

/// Runs one seed to its end.
pub fn run(seed: u64, prints: bool) -> Run {
    let mut world = World::new(seed, prints);
    let mut steps = 0;
    while let Some((at, event)) = world.wires.schedule.pop() {
        steps += 1;
        if matches!(event, Event::Act(Act::Judge)) {
            if world.is_over(at) {
                break;
            }
            continue;
        }
        world.step(at, event);
        if steps >= STEPS_MAX {
            world.findings.push("the run does not end".to_owned());
            break;
        }
    }
    world.end(seed, steps)
}

/// Everyone and everything.
pub struct World {
    /// What lies between them.
    pub wires: Wires,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    image: Option<Image>,
    image_rows: Vec<u64>,
    healed_ms: Option<u64>,
    owned_ms: Option<u64>,
    heads_ms: Option<u64>,
    /// Since when everyone is at the head, as far as is known.
    settled_ms: Option<u64>,
    /// When the last reads were asked for.
    finished_ms: Option<u64>,
    /// What is wrong although the checker cannot see it.
    pub findings: Vec<String>,
}

/// A place where processes live one after the other.
struct Node {
    process: Option<Process>,
    life: u64,
    clock_offset_ms: i64,
    paused: bool,
    /// It ends in order.
    ends: bool,
    /// … and was to start again before it had ended.
    starts_again: bool,
    /// What waits while it stands still.
    deferred: Vec<NodeInput>,
}

impl World {
    fn new(seed: u64, prints: bool) -> Self {
        let mut random = Random::new(seed ^ 0x5eed_0000_0000_0000);
        let nodes = 2 + random.index(2);
        let partitions = if random.chance(500) { 2 } else { 4 };
        let weather = Weather::draw(&mut random.fork(), nodes);
        let count = PartitionCount::new(partitions).unwrap_or(PartitionCount::EMBEDDED);
        let mut wires = Wires::new(random.fork(), weather, Trace::new(prints), count, nodes);
        if now(wires.database.log.init_cluster(count)).is_err() {
            wires.counters.one("databases that did not begin");
        }
        let mut world = Self {
            nodes: (0..nodes)
                .map(|_| Node {
                    process: None,
                    life: 0,
                    clock_offset_ms: clock_offset(&mut random),
                    paused: false,
                    ends: false,
                    starts_again: false,
                    deferred: Vec::new(),
                })
                .collect(),
            clients: Vec::new(),
            image: None,
            image_rows: Vec::new(),
            healed_ms: None,
            owned_ms: None,
            heads_ms: None,
            settled_ms: None,
            finished_ms: None,
            findings: Vec::new(),
            wires,
        };
        for node in 0..nodes {
            let at = random.below(400);
            world.wires.schedule.at(at, Event::Act(Act::Start(node)));
        }
        let clients = 3 + random.index(3);
        for number in 0..clients {
            let user = UserId::from_uuid(Uuid::from_u64_pair(
                0xc11e,
                u64::try_from(number).unwrap_or(0),
            ));
            world.wires.recorder.add_user(user);
            world
                .clients
                .push(Client::new(number, user, nodes, random.fork()));
            let at = BEGIN_MS.saturating_add(random.below(300));
            world
                .wires
                .schedule
                .at(at, Event::Client(number, ClientInput::Start));
            let at = TROUBLE_MS.saturating_add(random.below(500));
            world
                .wires
                .schedule
                .at(at, Event::Client(number, ClientInput::Work));
        }
        for _ in 0..random.between(2, 4) {
            let members = world
                .clients
                .iter()
                .map(Client::user)
                .filter(|_| random.chance(700))
                .collect();
            let at = BEGIN_MS.saturating_add(random.between(500, 1_500));
            let create = ClientInput::Create(members);
            world
                .wires
                .schedule
                .at(at, Event::Client(random.index(clients), create));
        }
        world.plan(&mut random);
        world
    }

    /// What goes wrong when.
    fn plan(&mut self, random: &mut Random) {
        let nodes = self.nodes.len();
        let until = TROUBLE_MS.saturating_add(random.between(6_000, 20_000));
        let wires = &mut self.wires;
        let schedule = &mut wires.schedule;
        let mut act = |at: u64, act: Act| schedule.at(at, Event::Act(act));
        let moment = |random: &mut Random| random.between(TROUBLE_MS, until);
        for _ in 0..random.below(3) {
            let (at, node) = (moment(random), random.index(nodes));
            let back = random.between(300, 7_000);
            if random.chance(500) {
                act(at, Act::Kill(node));
            } else {
                let steps = u32::try_from(random.between(1, 200)).unwrap_or(1);
                act(at, Act::KillSoon(node, steps));
            }
            act(at.saturating_add(back), Act::Start(node));
        }
        // What is on its way when a failover forgets must have arrived before the log begins to say something else: else nobody could tell
        // an old sighting from a wrong one. So such a run has no pauses, and the database stays away for a moment.
        let fails_over = random.chance(120);
        let pauses = if fails_over { 0 } else { random.below(3) };
        for _ in 0..pauses {
            let (at, node) = (moment(random), random.index(nodes));
            let length = random.between(100, 12_000);
            act(at, Act::Pause(node, length));
            act(at.saturating_add(length), Act::Resume(node));
        }
        for _ in 0..random.below(3) {
            let (at, node) = (moment(random), random.index(nodes));
            act(at, Act::Drain(node));
            act(
                at.saturating_add(random.between(3_500, 8_000)),
                Act::Start(node),
            );
        }
        for _ in 0..random.below(3) {
            let (at, node) = (moment(random), random.index(nodes));
            act(at, Act::CutBus(node, true));
            act(
                at.saturating_add(random.between(200, 8_000)),
                Act::CutBus(node, false),
            );
        }
        for _ in 0..random.below(3) {
            let (at, node) = (moment(random), random.index(nodes));
            act(at, Act::CutStore(node, true));
            act(
                at.saturating_add(random.between(200, 8_000)),
                Act::CutStore(node, false),
            );
        }
        if random.chance(250) {
            let at = moment(random);
            act(at, Act::Away(true));
            act(
                at.saturating_add(random.between(100, 6_000)),
                Act::Away(false),
            );
        }
        if random.chance(250) {
            let at = moment(random);
            act(at, Act::Full(true));
            act(
                at.saturating_add(random.between(100, 6_000)),
                Act::Full(false),
            );
        }
        if fails_over {
            wires.weather.slow_readers = 0;
            wires.weather.store_late = 0;
            let at = moment(random);
            let lost = random.between(5, 1_500);
            act(at, Act::Snapshot);
            act(at.saturating_add(lost), Act::FailOver);
            act(
                at.saturating_add(lost)
                    .saturating_add(random.between(1_000, 3_000)),
                Act::Away(false),
            );
        }
        if random.chance(60) {
            act(moment(random), Act::Corrupt);
        }
        for _ in 0..random.below(6) {
            let at = moment(random);
            act(at, Act::LoseProjection(random.chance(500)));
        }
        // Only when what a failover has lost is behind everyone.
        let heal = until.saturating_add(if fails_over { 6_000 } else { 0 });
        act(heal, Act::Heal);
        act(heal.saturating_add(JUDGED_AT_LAST_MS), Act::Judge);
    }

    fn step(&mut self, at: u64, event: Event) {
        self.wires.now_ms = at;
        self.wires.database.advance_to(at);
        self.wires.trace.mix(at);
        match event {
            Event::Node(to, input) => self.reach_node(to, input),
            Event::Bus(node, message) => {
                if let Some(life) = self.wires.lives.get(node).copied().flatten() {
                    self.reach_node(To { node, life }, NodeInput::Bus(message));
                }
            }
            Event::Client(number, input) => {
                if let Some(client) = self.clients.get_mut(number) {
                    client.handle(input, &mut self.wires);
                }
            }
            Event::Store(from, ask) => self.reach_store(from, ask),
            Event::Act(act) => self.act(act),
        }
        if self.healed_ms.is_some() {
            self.watch_healing();
        }
    }

    fn reach_store(&mut self, from: To, ask: Ask) {
        if let Ask::Acquire { claims, .. } = &ask {
            for claim in claims {
                let Some(owner) = claim.expected_owner.map(To::of) else {
                    continue;
                };
                let in_flight = owner != from
                    && self
                        .living(owner)
                        .is_some_and(|process| process.has_in_flight(claim.partition));
                if in_flight {
                    self.wires
                        .counters
                        .one("takeovers with an append in flight");
                }
            }
        }
        crate::store::arrive(&mut self.wires, from, ask);
    }

    fn living(&self, to: To) -> Option<&Process> {
        self.nodes
            .get(to.node)
            .filter(|node| node.life == to.life)
            .and_then(|node| node.process.as_ref())
    }

    fn reach_node(&mut self, to: To, input: NodeInput) {
        let Some(node) = self.nodes.get_mut(to.node) else {
            return;
        };
        if node.life != to.life || node.process.is_none() {
            // Nobody listens there any more.
            if let NodeInput::Connect { client, socket } = input {
                let refused = ClientInput::Refused { socket };
                self.wires.after(1, Event::Client(client, refused));
            }
            return;
        }
        if node.paused {
            node.deferred.push(input);
            return;
        }
        let starts_again = node.starts_again;
        let fate = match &mut node.process {
            Some(process) => process.handle(input, &mut self.wires),
            None => Fate::Lives,
        };
        match fate {
            Fate::Lives => {}
            Fate::Killed => self.kill(to.node),
            Fate::Ended(end) => {
                self.wires.trace.line(self.wires.now_ms, || {
                    format!("n{} ends by itself: {end:?}", to.node)
                });
                self.kill(to.node);
                if end == crate::node::owner::End::Fatal || starts_again {
                    let back = self.wires.random.between(200, 2_000);
                    self.wires.after(back, Event::Act(Act::Start(to.node)));
                }
            }
        }
    }

    fn kill(&mut self, number: usize) {
        let Some(node) = self.nodes.get_mut(number) else {
            return;
        };
        if node.process.take().is_none() {
            return;
        }
        node.paused = false;
        node.ends = false;
        node.starts_again = false;
        node.deferred.clear();
        if let Some(life) = self.wires.lives.get_mut(number) {
            *life = None;
        }
        self.wires.armed.remove(&number);
        self.wires
            .trace
            .line(self.wires.now_ms, || format!("n{number} is gone"));
        for (client, there) in self.clients.iter().enumerate() {
            if let Some((to, socket)) = there.line_to()
                && to.node == number
            {
                let closed = ClientInput::Closed { socket, code: None };
                let noticed = self.wires.random.between(1, 200);
                self.wires.after(noticed, Event::Client(client, closed));
            }
        }
    }

    fn start(&mut self, number: usize) {
        let Some(node) = self.nodes.get_mut(number) else {
            return;
        };
        if node.process.is_some() {
            node.starts_again = node.ends;
            return;
        }
        node.life += 1;
        let me = To {
            node: number,
            life: node.life,
        };
        node.process = Process::start(me, node.clock_offset_ms, &mut self.wires);
        if node.process.is_some() {
            if let Some(life) = self.wires.lives.get_mut(number) {
                *life = Some(node.life);
            }
            self.wires.counters.one("nodes started");
            self.wires.trace.line(self.wires.now_ms, || {
                format!("n{number} starts, life {}", me.life)
            });
        } else {
            self.wires.after(500, Event::Act(Act::Start(number)));
        }
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "one arm for each thing that happens, which happens once"
    )]
    fn act(&mut self, act: Act) {
        self.wires
            .trace
            .line(self.wires.now_ms, || format!("—— {act:?}"));
        match act {
            Act::Kill(node) => {
                self.wires.counters.one("kills");
                self.kill(node);
            }
            Act::KillSoon(node, steps) => {
                if self.wires.lives.get(node).copied().flatten().is_some() {
                    self.wires.armed.insert(node, steps);
                }
            }
            Act::Start(node) => self.start(node),
            Act::Drain(number) => {
                if let Some(life) = self.wires.lives.get(number).copied().flatten() {
                    self.wires.counters.one("ends in order");
                    if let Some(node) = self.nodes.get_mut(number) {
                        node.ends = true;
                    }
                    self.reach_node(To { node: number, life }, NodeInput::Drain);
                }
            }
            Act::Pause(number, length) => {
                if let Some(node) = self.nodes.get_mut(number)
                    && node.process.is_some()
                {
                    self.wires.counters.one("pauses");
                    if length > 4_000 {
                        self.wires.counters.one("pauses past the lease");
                    }
                    node.paused = true;
                }
            }
            Act::Resume(number) => self.resume(number),
            Act::CutBus(node, cut) => {
                if let Some(is_cut) = self.wires.weather.bus_cut.get_mut(node) {
                    *is_cut = cut;
                }
            }
            Act::CutStore(node, cut) => {
                if let Some(is_cut) = self.wires.weather.store_cut.get_mut(node) {
                    *is_cut = cut;
                }
            }
            Act::Away(away) => {
                self.wires.weather.away = away;
                self.wires.database.set_away(away);
            }
            Act::Full(full) => self.wires.weather.full = full,
            Act::Snapshot => {
                // Also what nobody can reach at this moment is kept.
                self.wires.database.set_away(false);
                self.image = Some(self.wires.database.image());
                self.image_rows = self
                    .wires
                    .partitions
                    .all()
                    .map(|partition| count(&self.wires.database.rows(partition)))
                    .collect();
                self.wires.database.set_away(self.wires.weather.away);
            }
            Act::FailOver => self.fail_over(),
            Act::Corrupt => self.corrupt(),
            Act::LoseProjection(applied) => {
                self.wires.database.tables.lose_next_answer(applied);
            }
            Act::Break(client) => {
                if let Some(client) = self.clients.get_mut(client) {
                    client.break_line(&mut self.wires);
                }
            }
            Act::Heal => self.heal(),
            Act::Judge => {}
        }
    }

    fn resume(&mut self, number: usize) {
        let Some(node) = self.nodes.get_mut(number) else {
            return;
        };
        if !std::mem::take(&mut node.paused) {
            return;
        }
        let life = node.life;
        for input in std::mem::take(&mut node.deferred) {
            // At once: what is planned for this very moment comes after what has waited.
            self.reach_node(To { node: number, life }, input);
        }
    }

    fn fail_over(&mut self) {
        let Some(image) = self.image.take() else {
            return;
        };
        // Also what nobody can reach at this moment is lost.
        self.wires.database.set_away(false);
        let kept: BTreeMap<PartitionId, u64> = self
            .wires
            .partitions
            .all()
            .zip(self.image_rows.iter().copied())
            .collect();
        let is_lost = |partition: PartitionId, offset: Offset| {
            kept.get(&partition)
                .is_some_and(|kept| offset.get() > *kept)
        };
        let mut lost = Vec::new();
        for partition in kept.keys() {
            let rows = self.wires.database.rows(*partition);
            lost.extend(
                rows.into_iter()
                    .filter(|row| is_lost(*partition, row.offset)),
            );
        }
        let healed = self.wires.database.lose_rot(is_lost);
        self.wires.counters.one("failovers");
        self.wires
            .counters
            .add("commits lost by a failover", count(&lost));
        self.wires.recorder.failed_over(lost, healed);
        self.wires.database.fail_over_to(image);
        self.wires.server = self.wires.server.saturating_add(1);
        self.wires.weather.away = true;
        self.wires.database.set_away(true);
    }

    fn corrupt(&mut self) {
        let partitions: Vec<PartitionId> = self.wires.partitions.all().collect();
        let Some(partition) = self.wires.random.pick(&partitions).copied() else {
            return;
        };
        let rows = count(&self.wires.database.rows(partition));
        if rows > 0 {
            let offset = Offset::new(self.wires.random.between(1, rows));
            self.wires.counters.one("rows that rotted");
            self.wires.trace.line(self.wires.now_ms, || {
                format!("row {offset} of partition {partition} rots")
            });
            self.wires.database.corrupt(partition, offset);
        }
    }

    fn heal(&mut self) {
        self.act(Act::Away(false));
        self.wires.weather.clear_up();
        self.wires.armed.clear();
        for node in 0..self.nodes.len() {
            self.resume(node);
            self.start(node);
        }
        for client in &mut self.clients {
            client.rests = true;
        }
        self.healed_ms = Some(self.wires.now_ms);
    }

    fn end(mut self, seed: u64, steps: u64) -> Run {
        if self.heads_ms.is_none() {
            for straggler in self.stragglers() {
                self.wires.trace.line(self.wires.now_ms, || straggler);
            }
        }
        let unreadable = self.wires.database.unreadable();
        let healing = judge::Healed {
            healed_ms: self.healed_ms.unwrap_or(0),
            owned_ms: self.owned_ms,
            heads_ms: self.heads_ms,
        };
        for client in &self.clients {
            client.complete(&unreadable, &mut self.wires);
        }
        self.wires.recorder.ends(self.wires.now_ms);
        let report = judge::judge(&mut self.wires, seed, &healing);
        Run {
            seed,
            trace_hash: self.wires.trace.hash(),
            report,
            findings: self.findings,
            counters: self.wires.counters,
            steps,
        }
    }
}

fn count<T>(list: &[T]) -> u64 {
    u64::try_from(list.len()).unwrap_or(u64::MAX)
}

/// Most clocks are right; some are minutes off, some an hour (F13).
fn clock_offset(random: &mut Random) -> i64 {
    let most = match random.below(4) {
        0 => 3_600_000,
        1 => 300_000,
        _ => 50,
    };
    let offset = i64::try_from(random.below(most)).unwrap_or(0);
    if random.chance(500) { offset } else { -offset }
}

#[cfg(test)]
mod tests;

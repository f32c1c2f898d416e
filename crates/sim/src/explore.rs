//! Append, takeover and in-doubt resolution at small bounds, all of it: two nodes, commands to both, messages that take as long as they like.
//!
//! The product's sequencer, partition and lane cores run on both nodes over the honest log. Whatever is on its way may be the next to arrive;
//! an append's outcome may become unknown at any time while its statement still travels. Depth first over all orders; a state that was
//! reached before by another order is not entered again. A node's state follows from what it was told in which order, so that order, the
//! log and what is on its way are the state.
//!
//! Never: a draw of chance, a state that is left out.

use std::collections::BTreeSet;

use hubbub_domain::conversation::{
    Command, Intent, Kind, NewConversation, RequestKey, Settings, Visibility,
};
use hubbub_domain::ids::{CommandId, ConversationId, UserId};
use hubbub_domain::position::{Epoch, PartitionCount, PartitionId};
use hubbub_event_log::{Claim, Ownership};
use hubbub_wire::bus::{CommandRequest, OwnerReply, OwnerRequest};
use uuid::Uuid;

use crate::database::now;
use crate::node::actor::ActorMail;
use crate::node::host::Host;
use crate::random::Random;
use crate::trace::Trace;
use crate::weather::Weather;
use crate::wires::{Answer, Ask, Event, NodeInput, ReplyTo, To, Wires};

const P: PartitionId = PartitionId::new(0);

/// How much may happen.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Commands, all of one conversation.
    pub commands: u64,
    /// Outcomes that become unknown.
    pub unknowns: u32,
    /// Takeovers by the other node.
    pub takeovers: u32,
    /// Repetitions of a command whose outcome was not told.
    pub repetitions: u32,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Explored {
    /// Different states.
    pub states: usize,
    /// Ends: nothing is on its way any more.
    pub ends: usize,
    /// What is wrong, with the moves that lead there; the search stops at the first.
    pub violation: Option<(String, Vec<String>)>,
}

/// Explores everything within the bounds.
pub fn explore(bounds: Bounds) -> Explored {
    let mut explored = Explored::default();
    let mut seen = BTreeSet::new();
    let mut path = Vec::new();
    search(bounds, &mut path, &mut seen, &mut explored);
    explored.states = seen.len();
    explored
}

fn search(
    bounds: Bounds,
    path: &mut Vec<usize>,
    seen: &mut BTreeSet<u64>,
    explored: &mut Explored,
) {
    if explored.violation.is_some() {
        return;
    }
    let mut stage = Stage::new(bounds);
    for step in path.iter() {
        stage.go(*step);
    }
    if let Some(what) = stage.wrong() {
        explored.violation = Some((what, stage.moves));
        return;
    }
    if !seen.insert(stage.fingerprint()) {
        return;
    }
    let count = stage.choices().len();
    explored.ends += usize::from(count == 0);
    for step in 0..count {
        path.push(step);
        search(bounds, path, seen, explored);
        path.pop();
    }
}

/// The whole small world, after some moves.
struct Stage {
    wires: Wires,
    hosts: [Host; 2],
    pending: Vec<Event>,
    told: [Trace; 2],
    left: Bounds,
    replies: Vec<(u64, OwnerReply)>,
    moves: Vec<String>,
    wrong: Option<String>,
}

enum Choice {
    /// This arrives.
    Deliver(usize),
    /// The sender of this append gives up waiting; the statement still travels.
    GiveUp(usize),
    /// The other node takes over.
    TakeOver,
}

fn to(node: usize) -> To {
    To { node, life: 1 }
}

fn conversation() -> ConversationId {
    ConversationId::created(user(), CommandId::from_uuid(Uuid::from_u64_pair(9, 0)))
}

const fn user() -> UserId {
    UserId::from_uuid(Uuid::from_u128(7))
}

impl Stage {
    fn new(bounds: Bounds) -> Self {
        let one = PartitionCount::new(1).unwrap_or(PartitionCount::EMBEDDED);
        let calm = Weather {
            bus_cut: vec![false; 2],
            store_cut: vec![false; 2],
            ..Weather::default()
        };
        let mut wires = Wires::new(Random::new(1), calm, Trace::new(false), one, 2);
        wires.lives = vec![Some(1), Some(1)];
        let _fresh = now(wires.database.log.init_cluster(one)).is_ok();
        let hosts = [
            Host::new(to(0), 0, &mut wires),
            Host::new(to(1), 0, &mut wires),
        ];
        let mut stage = Self {
            wires,
            hosts,
            pending: Vec::new(),
            told: [Trace::new(false), Trace::new(false)],
            left: bounds,
            replies: Vec::new(),
            moves: Vec::new(),
            wrong: None,
        };
        stage.acquire(0, None, Epoch::ZERO);
        stage.collect();
        stage.ask(0, 0, false);
        while !stage.pending.is_empty() {
            stage.deliver(0);
        }
        stage.replies.clear();
        for command in 1..=bounds.commands {
            stage.request(0, command, false);
        }
        stage.moves.clear();
        stage
    }

    fn command(number: u64) -> Command {
        let id = CommandId::from_uuid(Uuid::from_u64_pair(9, number));
        let intent = if number == 0 {
            Intent::Create(NewConversation {
                kind: Kind::Group,
                members: Vec::new(),
                title: None,
                topic: None,
                visibility: Visibility::Private,
                settings: Settings::default(),
                request_key: RequestKey::from_bytes([7; 32]),
            })
        } else {
            Intent::SendMessage {
                body: format!("{number}"),
                reply_to_no: None,
                thread_root_no: None,
            }
        };
        Command {
            id,
            conversation: conversation(),
            by: user(),
            intent,
        }
    }

    /// The store's own word on who owns the partition.
    fn owner(&self) -> Option<(usize, Epoch)> {
        let rows = now(self.wires.database.log.partitions()).ok()?;
        let row = rows.first()?;
        row.owner.map(|owner| (To::of(owner).node, row.epoch))
    }

    fn acquire(&mut self, node: usize, owner: Option<usize>, epoch: Epoch) {
        self.wires.now_ms += 1;
        self.wires.database.advance_to(self.wires.now_ms);
        let claim = Claim {
            partition: P,
            expected_owner: owner.map(|owner| to(owner).incarnation()),
            expected_epoch: epoch,
        };
        let me = to(node).incarnation();
        let taken = now(self.wires.database.log.acquire(me, &[claim], "explored"));
        for taken in taken.unwrap_or_default() {
            self.told[node].mix(taken.epoch.get());
            self.hosts[node].serve(P, taken.epoch, taken.head, &mut self.wires);
        }
    }

    /// A command on its way to a node, under the epoch that the node serves by then.
    fn request(&mut self, node: usize, command: u64, retry: bool) {
        let from = ReplyTo {
            to: to(node),
            route: command,
            attempt: u64::from(retry),
        };
        let payload = bytes::Bytes::new();
        let input = NodeInput::Command { from, payload };
        self.pending.push(Event::Node(to(node), input));
    }

    fn ask(&mut self, node: usize, command: u64, retry: bool) {
        let epoch = self.hosts[node]
            .heads()
            .first()
            .map_or(Epoch::ZERO, |head| head.epoch);
        let request = CommandRequest {
            partition: P,
            epoch,
            remaining_ms: u32::MAX,
            retry,
            request: OwnerRequest::Command(Self::command(command)),
        };
        let from = ReplyTo {
            to: to(node),
            route: command,
            attempt: u64::from(retry),
        };
        self.told[node].mix(command * 2 + u64::from(retry));
        self.hosts[node].ask(request, from, &self.wires);
        self.settle(node);
    }

    /// A node goes on until it waits; what it has sent is on its way.
    fn settle(&mut self, node: usize) {
        self.wires.random = Random::new(1);
        self.hosts[node].run(&mut self.wires);
        for event in std::mem::take(&mut self.hosts[node].signals) {
            // Acquire before anything else: only if the row still says so.
            self.told[node].mix(event.epoch.get());
            if event.signal == hubbub_cluster::PartitionSignal::InDoubt {
                self.acquire(node, Some(node), event.epoch);
            }
            if event.signal == hubbub_cluster::PartitionSignal::Broken {
                self.wrong.get_or_insert(format!(
                    "the log contradicts node {node}, which has done nothing wrong"
                ));
            }
            self.wires.random = Random::new(1);
            self.hosts[node].run(&mut self.wires);
        }
        for (from, reply) in std::mem::take(&mut self.hosts[node].replies) {
            self.heard(from.route, reply);
        }
        self.collect();
    }

    fn heard(&mut self, command: u64, reply: OwnerReply) {
        if let OwnerReply::Accepted(accepted) = &reply {
            let stored =
                self.wires.database.rows(P).into_iter().find(|row| {
                    row.command_id == Self::command(command).id && row.seq == accepted.seq
                });
            if stored.is_none() {
                self.wrong.get_or_insert(format!(
                    "command {command} was acknowledged at seq {} and is not there (I1, I15)",
                    accepted.seq
                ));
            }
        } else if self.left.repetitions > 0
            && let Some((owner, _)) = self.owner()
        {
            self.left.repetitions -= 1;
            self.request(owner, command, true);
        }
        self.replies.push((command, reply));
    }

    /// What was planned: no time passes, so timers are left out; opening a connection is no matter of order.
    fn collect(&mut self) {
        while let Some((_, event)) = self.wires.schedule.pop() {
            match event {
                Event::Store(from, Ask::OpenLane { lane, connection }) => {
                    let node = from.node;
                    self.hosts[node]
                        .with_lane(lane, |lane| lane.opened(connection, true, &mut self.wires));
                    self.wires.random = Random::new(1);
                    self.hosts[node].run(&mut self.wires);
                }
                Event::Store(..) | Event::Node(_, NodeInput::Answer(_)) => {
                    self.pending.push(event);
                }
                Event::Node(..) | Event::Bus(..) | Event::Client(..) | Event::Act(_) => {}
            }
        }
    }

    fn choices(&self) -> Vec<Choice> {
        let mut choices: Vec<Choice> = (0..self.pending.len()).map(Choice::Deliver).collect();
        if self.left.unknowns > 0 {
            for (index, event) in self.pending.iter().enumerate() {
                let is_append = match event {
                    Event::Store(_, Ask::Append { .. }) => true,
                    Event::Node(_, NodeInput::Answer(answer)) => {
                        matches!(**answer, Answer::Appended { .. })
                    }
                    _ => false,
                };
                if is_append {
                    choices.push(Choice::GiveUp(index));
                }
            }
        }
        if self.left.takeovers > 0 && self.owner().is_some_and(|(owner, _)| owner == 0) {
            choices.push(Choice::TakeOver);
        }
        choices
    }

    fn go(&mut self, step: usize) {
        match self.choices().into_iter().nth(step) {
            Some(Choice::Deliver(index)) => self.deliver(index),
            Some(Choice::GiveUp(index)) => self.give_up(index),
            Some(Choice::TakeOver) => {
                self.moves.push("node 1 takes over".to_owned());
                self.left.takeovers -= 1;
                if let Some((owner, epoch)) = self.owner() {
                    self.acquire(1, Some(owner), epoch);
                    self.settle(1);
                }
            }
            None => {}
        }
    }

    fn give_up(&mut self, index: usize) {
        self.left.unknowns -= 1;
        let (node, lane, connection) = match self.pending.get(index) {
            Some(Event::Store(
                from,
                Ask::Append {
                    lane, connection, ..
                },
            )) => (from.node, *lane, *connection),
            Some(Event::Node(to, NodeInput::Answer(answer))) => match **answer {
                Answer::Appended {
                    lane, connection, ..
                } => (to.node, lane, connection),
                _ => return,
            },
            _ => return,
        };
        self.moves
            .push(format!("node {node} gives up waiting for its append"));
        self.told[node].mix(0xdead);
        let unknown = hubbub_event_log::AppendOutcome::Unknown;
        self.hosts[node].with_lane(lane, |lane| {
            lane.appended(connection, &unknown, &mut self.wires)
        });
        self.settle(node);
    }

    fn deliver(&mut self, index: usize) {
        if index >= self.pending.len() {
            return;
        }
        let event = self.pending.remove(index);
        self.moves.push(describe(&event));
        match event {
            Event::Store(from, ask) => {
                crate::store::arrive(&mut self.wires, from, ask);
                self.collect();
            }
            Event::Node(to, NodeInput::Command { from, .. }) => {
                self.ask(to.node, from.route, from.attempt > 0);
            }
            Event::Node(to, NodeInput::Answer(answer)) => {
                let node = to.node;
                self.told[node].bytes(describe_answer(&answer).as_bytes());
                let (host, wires) = (&mut self.hosts[node], &mut self.wires);
                match *answer {
                    Answer::Appended {
                        lane,
                        connection,
                        outcome,
                    } => host.with_lane(lane, |lane| lane.appended(connection, &outcome, wires)),
                    Answer::LookedUp { lane, drawn, found } => {
                        host.with_lane(lane, |lane| lane.looked_up(drawn, found, wires));
                    }
                    Answer::Loaded(actor, loaded) => {
                        host.to_actor(actor, ActorMail::Loaded(loaded));
                    }
                    Answer::Probed {
                        actor,
                        ticket,
                        found,
                    } => host.to_actor(actor, ActorMail::Probed(ticket, found)),
                    _ => {}
                }
                self.settle(node);
            }
            _ => {}
        }
    }

    /// Everything that can be said of this state so far.
    fn wrong(&self) -> Option<String> {
        if self.wrong.is_some() {
            return self.wrong.clone();
        }
        let rows = self.wires.database.rows(P);
        let mut ids = BTreeSet::new();
        for (index, row) in rows.iter().enumerate() {
            let place = u64::try_from(index).unwrap_or(0) + 1;
            if (row.offset.get(), row.seq.get()) != (place, place) {
                return Some(format!("offset {} at place {place} (I4)", row.offset));
            }
            if !ids.insert(row.command_id) {
                return Some(format!("{} is stored twice (I3)", row.command_id));
            }
        }
        if !rows.is_sorted_by_key(|row| row.epoch) {
            return Some("an epoch falls along offsets (I12)".to_owned());
        }
        let lineage = now(hubbub_event_log::LogReader::lineage(
            &self.wires.database,
            P,
        ))
        .unwrap_or_default();
        if !lineage.is_sorted_by(|one, other| one.epoch < other.epoch) {
            return Some("an epoch was given out twice (I12)".to_owned());
        }
        for (one, other) in lineage.iter().zip(lineage.iter().skip(1)) {
            let late = rows
                .iter()
                .find(|row| row.epoch <= one.epoch && row.offset > other.start);
            if let Some(late) = late {
                return Some(format!(
                    "offset {} of epoch {} came after epoch {} began (I12)",
                    late.offset, late.epoch, other.epoch
                ));
            }
        }
        None
    }

    fn fingerprint(&self) -> u64 {
        let mut hash = Trace::new(false);
        hash.mix(self.told[0].hash());
        hash.mix(self.told[1].hash());
        for row in self.wires.database.rows(P) {
            hash.mix(row.epoch.get());
            hash.bytes(row.command_id.uuid().as_bytes());
        }
        if let Some((owner, epoch)) = self.owner() {
            hash.mix(u64::try_from(owner).unwrap_or(0));
            hash.mix(epoch.get());
        }
        let mut pending: Vec<String> = self.pending.iter().map(describe).collect();
        pending.sort_unstable();
        for words in pending {
            hash.bytes(words.as_bytes());
        }
        for number in [
            self.left.unknowns,
            self.left.takeovers,
            self.left.repetitions,
        ] {
            hash.mix(u64::from(number));
        }
        hash.hash()
    }
}

fn describe(event: &Event) -> String {
    match event {
        Event::Store(from, Ask::Append { batch, .. }) => {
            let rows: Vec<_> = batch
                .rows
                .iter()
                .map(|row| (row.epoch, row.offset, row.command_id.uuid().as_u64_pair().1))
                .collect();
            format!("append of node {} reaches the log: {rows:?}", from.node)
        }
        Event::Store(from, Ask::Load(actor)) => {
            format!("node {} loads under {}", from.node, actor.epoch)
        }
        Event::Store(from, Ask::Probe { command, .. }) => {
            format!("node {} looks {command} up", from.node)
        }
        Event::Store(from, _) => format!("node {} asks the log", from.node),
        Event::Node(to, NodeInput::Command { from, .. }) => format!(
            "command {} reaches node {}, {} time",
            from.route,
            to.node,
            if from.attempt == 0 { "first" } else { "second" }
        ),
        Event::Node(to, NodeInput::Answer(answer)) => {
            format!("node {} hears {}", to.node, describe_answer(answer))
        }
        _ => String::new(),
    }
}

fn describe_answer(answer: &Answer) -> String {
    match answer {
        Answer::Appended { outcome, .. } => format!("{outcome:?}"),
        Answer::Loaded(actor, loaded) => format!(
            "a state at {:?} for {}",
            loaded.as_ref().ok().map(|loaded| loaded.state.last_seq()),
            actor.epoch
        ),
        Answer::Probed { found, .. } => format!(
            "found {:?}",
            found
                .as_ref()
                .ok()
                .map(|row| row.as_ref().map(|row| row.seq))
        ),
        Answer::LookedUp { found, .. } => {
            format!("looked up {:?}", found.as_ref().ok().map(Vec::len))
        }
        _ => String::new(),
    }
}

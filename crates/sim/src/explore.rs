//! Append, takeover, hand-over and in-doubt resolution at small bounds, all of it: two nodes, commands to both, messages that take as long as they like.
//!
//! The product's sequencer, partition and lane cores run on both nodes over the honest log. Whatever is on its way may be the next to arrive;
//! an append's outcome may become unknown at any time while its statement still travels; a hand-over's patience may end before anything else
//! does. Depth first over all orders; a state that was
//! reached before by another order is not entered again. A node's state follows from what it was told in which order, so that order, the
//! log and what is on its way are the state.
//!
//! Never: a draw of chance, a state that is left out.

mod moves;

use std::collections::BTreeSet;

use hubbub_cluster::ownership::Move;
use hubbub_domain::conversation::{
    Command, Intent, Kind, NewConversation, RequestKey, Settings, Visibility,
};
use hubbub_domain::ids::{CommandId, ConversationId, UserId};
use hubbub_domain::position::{Epoch, PartitionCount, PartitionId};
use hubbub_event_log::{Claim, Ownership};
use hubbub_wire::bus::{CommandRequest, OwnerReply, OwnerRequest};
use uuid::Uuid;

use self::moves::{describe, describe_answer, is_append, is_deadline};
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
    /// Hand-overs by the owner to the other node.
    pub hand_overs: u32,
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
    /// … and every command is stored.
    pub complete: usize,
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
    explored.complete += usize::from(count == 0 && stage.is_complete(bounds));
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
    /// What each node hands over, if it does.
    handing: [Option<Epoch>; 2],
    /// Commands that found no owner: said again to the next one.
    unserved: Vec<u64>,
    /// Something went wrong, or took too long.
    disturbed: bool,
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
    /// This node begins to hand over.
    HandOver(usize),
    /// What was released gets its next owner.
    Take(usize, Epoch),
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
            handing: [None, None],
            unserved: Vec::new(),
            disturbed: false,
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

    /// Who had it last, and under which epoch, by the lineage.
    fn last_owner(&self) -> Option<(usize, Epoch)> {
        let database = &self.wires.database;
        let lineage = now(hubbub_event_log::LogReader::lineage(database, P)).ok()?;
        let last = lineage.last()?;
        last.owner.map(|owner| (To::of(owner).node, last.epoch))
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
            for command in std::mem::take(&mut self.unserved) {
                self.request(node, command, true);
            }
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
            // A hand-over ends by itself: what is open is settled by the next owner's acquire.
            let hands_over = self.handing[node] == Some(event.epoch);
            if event.signal == hubbub_cluster::PartitionSignal::InDoubt && !hands_over {
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
        for (_, clean) in std::mem::take(&mut self.hosts[node].drained) {
            if let Some(epoch) = self.handing[node].take() {
                self.drained(node, epoch, clean);
            }
        }
    }

    /// A hand-over has come to an end: the release is on its way.
    fn drained(&mut self, node: usize, epoch: Epoch, clean: bool) {
        self.told[node].mix(u64::from(clean));
        self.pending.retain(|event| !is_deadline(event, node));
        if clean && self.pending.iter().any(|event| is_append(event, epoch)) {
            self.wrong.get_or_insert(format!(
                "node {node} says that nothing is in flight under {epoch}, but an append is (F12)"
            ));
        }
        let moved = Move {
            partition: P,
            epoch,
            next: Some(to(1 - node).incarnation()),
        };
        let moves = vec![moved];
        self.pending
            .push(Event::Store(to(node), Ask::Release { moves }));
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
        } else {
            if reply == OwnerReply::Unknown && !self.disturbed {
                self.wrong.get_or_insert(format!(
                    "nobody knows what became of command {command}, though nothing went wrong (F12)"
                ));
            }
            if self.left.repetitions > 0 {
                self.left.repetitions -= 1;
                match self.owner() {
                    Some((owner, _)) => self.request(owner, command, true),
                    None => self.unserved.push(command),
                }
            }
        }
        self.replies.push((command, reply));
    }

    /// What was planned: no time passes, so timers are left out; opening a connection is no matter of order.
    fn collect(&mut self) {
        while let Some((_, event)) = self.wires.schedule.pop() {
            match event {
                Event::Store(from, Ask::OpenLane { lane, connection }) => {
                    let node = from.node;
                    let server = self.wires.server;
                    self.wires
                        .connections
                        .insert((from, lane, connection), server);
                    self.hosts[node]
                        .with_lane(lane, |lane| lane.opened(connection, true, &mut self.wires));
                    self.wires.random = Random::new(1);
                    self.hosts[node].run(&mut self.wires);
                }
                // Its sender does nothing more with that partition.
                Event::Node(_, NodeInput::Answer(answer))
                    if matches!(*answer, Answer::Released { .. }) => {}
                Event::Store(..)
                | Event::Node(_, NodeInput::Answer(_) | NodeInput::DrainDeadline { .. }) => {
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
        match self.owner() {
            Some((owner, epoch)) => {
                let heads = self.hosts[owner].heads();
                let serves = heads.first().is_some_and(|head| head.epoch == epoch);
                if self.left.hand_overs > 0 && serves {
                    choices.push(Choice::HandOver(owner));
                }
            }
            None => {
                if let Some((last, epoch)) = self.last_owner() {
                    choices.push(Choice::Take(1 - last, epoch));
                }
            }
        }
        choices
    }

    fn go(&mut self, step: usize) {
        match self.choices().into_iter().nth(step) {
            Some(Choice::Deliver(index)) => self.deliver(index),
            Some(Choice::GiveUp(index)) => self.give_up(index),
            Some(Choice::TakeOver) => {
                self.moves.push("node 1 takes over".to_owned());
                self.disturbed = true;
                self.left.takeovers -= 1;
                if let Some((owner, epoch)) = self.owner() {
                    self.acquire(1, Some(owner), epoch);
                    self.settle(1);
                }
            }
            Some(Choice::HandOver(node)) => {
                self.moves.push(format!("node {node} begins to hand over"));
                self.left.hand_overs -= 1;
                self.told[node].mix(0xd0);
                self.handing[node] = self.owner().map(|(_, epoch)| epoch);
                self.hosts[node].drain(P, &mut self.wires);
                self.settle(node);
            }
            Some(Choice::Take(node, epoch)) => {
                self.moves
                    .push(format!("node {node} takes what was released"));
                self.acquire(node, None, epoch);
                self.settle(node);
            }
            None => {}
        }
    }

    fn give_up(&mut self, index: usize) {
        self.left.unknowns -= 1;
        self.disturbed = true;
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
            Event::Node(to, NodeInput::DrainDeadline { partition, epoch }) => {
                self.disturbed = true;
                self.told[to.node].mix(0xdd);
                self.hosts[to.node].drain_deadline(partition, epoch);
                self.settle(to.node);
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

    /// Every command is in the log, the one that made the conversation too.
    fn is_complete(&self, bounds: Bounds) -> bool {
        u64::try_from(self.wires.database.rows(P).len()).is_ok_and(|rows| rows > bounds.commands)
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
            self.left.hand_overs,
            self.left.repetitions,
            u32::from(self.disturbed),
        ] {
            hash.mix(u64::from(number));
        }
        for command in &self.unserved {
            hash.mix(*command);
        }
        hash.hash()
    }
}

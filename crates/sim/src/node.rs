//! One node: a process that lives, stands still, dies and begins anew, made of the product's cores.

pub mod actor;
pub mod edge;
pub mod host;
pub mod lane;
pub mod owner;
pub mod router;

use std::sync::Arc;

use hubbub_cluster::OwnersView;
use hubbub_cluster::ownership::OwnershipSettings;
use hubbub_domain::position::MessageNo;
use hubbub_domain::position::PartitionId;
use hubbub_event_log::NodeRegistration;
use hubbub_event_log::Ownership;
use hubbub_projections::{OwnedPartitions, Projection, Projector};
use hubbub_wire::bus::{CommandRequest, HeadBroadcast, MarkRequest, OwnerReply, OwnerRequest};
use parking_lot::Mutex;

use crate::client::ClientInput;
use crate::database::now;
use crate::node::actor::ActorMail;
use crate::node::edge::ask::{Failed, RestAnswer};
use crate::node::edge::{Edge, EdgeAnswer, EdgeAsk, Submit};
use crate::node::host::Host;
use crate::node::owner::{End, OwnerLoop};
use crate::node::router::{Attempt, Router, Waiter};
use crate::wires::{Answer, Ask, BusMessage, Event, NodeInput, RestRequest, To, Wires};

/// Time between head broadcasts, in milliseconds.
const HEADS_MS: u64 = 1_000;
/// Time between the host's ticks.
const TICK_MS: u64 = 1_000;
/// Pause before a job of the edge is tried again.
const JOB_RETRY_MS: u64 = 500;
/// A REST command is tried for this long.
const REST_DEADLINE_MS: u64 = 4_000;
/// How long a joining node waits beside others, in milliseconds: short, so that a run of a minute sees nodes join.
const JOIN_DELAY_MS: u64 = 3_000;
/// How long nothing is rebalanced after a change, in milliseconds.
const HOLD_OFF_MS: u64 = 2_000;
/// How many of a hundred partitions may move in ten seconds: a quarter of four.
const REBALANCE_PERCENT: u32 = 25;

/// What became of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It goes on.
    Lives,
    /// It was killed between two of its steps.
    Killed,
    /// It ended by itself and will be started again.
    Ended(End),
}

/// A living process.
pub struct Process {
    me: To,
    view: OwnersView,
    owner: OwnerLoop,
    host: Host,
    router: Router,
    edge: Edge,
    projectors: Vec<Projector>,
    owned: Arc<Mutex<Vec<PartitionId>>>,
}

impl Process {
    /// Registers and begins. `None` when the database does not take the registration.
    pub fn start(me: To, clock_offset_ms: i64, wires: &mut Wires) -> Option<Self> {
        let registration = NodeRegistration {
            incarnation: me.incarnation(),
            node_id: format!("n{}", me.node),
            addr: String::new(),
            max_level: 1,
        };
        now(wires.database.log.register(&registration)).ok()?;
        let settings = OwnershipSettings {
            join_delay_ms: JOIN_DELAY_MS,
            rebalance_percent: REBALANCE_PERCENT,
            hold_off_ms: HOLD_OFF_MS,
        };
        let owned: Arc<Mutex<Vec<PartitionId>>> = Arc::default();
        let projectors = [Projection::Inbox, Projection::History]
            .into_iter()
            .map(|projection| {
                let named = Arc::clone(&owned);
                let named: OwnedPartitions = Arc::new(move || named.lock().clone());
                let log = Arc::new(wires.database.clone());
                Projector::new(projection, log, wires.database.tables.clone(), named)
            })
            .collect();
        wires.wake(me, HEADS_MS, NodeInput::HeadsTimer);
        wires.wake(me, TICK_MS, NodeInput::Tick);
        wires.wake(me, 100, NodeInput::ProjectTimer);
        Some(Self {
            me,
            view: OwnersView::new(wires.partitions),
            owner: OwnerLoop::new(me, settings, wires),
            host: Host::new(me, clock_offset_ms, wires),
            router: Router::new(me),
            edge: Edge::new(me, wires),
            projectors,
            owned,
        })
    }

    /// Whether it believes to own something that is on its way to the log.
    pub fn has_in_flight(&self, partition: PartitionId) -> bool {
        self.host.has_in_flight(partition)
    }

    /// What it serves, as it believes.
    pub fn owner(&self) -> &OwnerLoop {
        &self.owner
    }

    /// Its edge.
    pub fn edge(&self) -> &Edge {
        &self.edge
    }

    /// Takes one input to its end.
    pub fn handle(&mut self, input: NodeInput, wires: &mut Wires) -> Fate {
        self.take(input, wires);
        loop {
            if !self.host.run(wires) {
                return Fate::Killed;
            }
            if let Some(end) = self.owner.end {
                if end == End::Stopped {
                    self.edge
                        .close_all(hubbub_wire::client::close::RESTART, wires);
                }
                return Fate::Ended(end);
            }
            if !self.settle(wires) {
                return Fate::Lives;
            }
        }
    }

    /// Brings what the parts have for one another over. `false` when there was nothing.
    fn settle(&mut self, wires: &mut Wires) -> bool {
        let mut moved = false;
        for event in std::mem::take(&mut self.host.signals) {
            moved = true;
            self.owner.signal(event, &mut self.host, &self.view, wires);
        }
        if !self.host.drained.is_empty() {
            moved = true;
            self.owner.drained(&mut self.host, &self.view, wires);
        }
        self.owner.go_on(&mut self.host, &self.view, wires);
        for (to, reply) in std::mem::take(&mut self.host.replies) {
            moved = true;
            self.replied(to, reply, wires);
        }
        for (waiter, end) in std::mem::take(&mut self.router.ended) {
            moved = true;
            match waiter {
                Waiter::Rest { client, op } => {
                    let answer = RestAnswer::Routed(end);
                    self.answer_rest(client, op, answer, wires);
                }
                Waiter::Send { .. } | Waiter::Mark { .. } => self.edge.routed(waiter, end, wires),
            }
        }
        for submit in std::mem::take(&mut self.edge.submits) {
            moved = true;
            self.submit(submit, wires);
        }
        moved
    }

    fn submit(&mut self, submit: Submit, wires: &mut Wires) {
        self.router.submit(
            submit.waiter,
            submit.request,
            submit.retry,
            submit.deadline_ms,
            &mut self.host,
            &self.owner,
            &self.view,
            wires,
        );
    }

    fn replied(&mut self, to: crate::wires::ReplyTo, reply: OwnerReply, wires: &mut Wires) {
        let reply = router::if_still_fresh(reply, &self.owner, wires);
        let end = Attempt::Answered(reply);
        if to.to == self.me {
            self.router
                .attempt(to.route, to.attempt, end, &self.view, wires);
            return;
        }
        let fates = wires
            .weather
            .on_the_bus(self.me.node, to.to.node, &mut wires.random);
        for delay in fates.into_iter().take(1) {
            let input = NodeInput::Attempt {
                route: to.route,
                attempt: to.attempt,
                end: end.clone(),
            };
            wires.after(delay.saturating_add(1), Event::Node(to.to, input));
        }
    }

    fn take(&mut self, input: NodeInput, wires: &mut Wires) {
        match input {
            NodeInput::BeatTimer => self.owner.beat(wires),
            NodeInput::OwnerTick => self.owner.tick(&mut self.host, &self.view, wires),
            NodeInput::OwnerLook => self.owner.look_if_due(wires),
            NodeInput::HeadsTimer => self.tell_heads(wires),
            NodeInput::Tick => {
                wires.wake(self.me, TICK_MS, NodeInput::Tick);
                self.host.tick(wires);
            }
            NodeInput::EdgeCheck => self.edge.check(wires),
            NodeInput::FeedTimer => self.edge.on_time(wires),
            NodeInput::ProjectTimer => self.project(wires),
            NodeInput::Drain => self.owner.drain(wires),
            NodeInput::LaneDeadline {
                lane,
                connection,
                statement,
            } => self
                .host
                .with_lane(lane, |lane| lane.deadline(connection, statement, wires)),
            NodeInput::LaneReopen { lane } => self.host.with_lane(lane, |lane| {
                lane.reopen(wires);
                Vec::new()
            }),
            NodeInput::DrainDeadline { partition, epoch } => {
                self.host.drain_deadline(partition, epoch);
            }
            NodeInput::Answer(answer) => self.answered(*answer, wires),
            NodeInput::Bus(BusMessage::Hint(payload)) => {
                self.owner.hint(&payload, &mut self.host, &self.view, wires);
            }
            NodeInput::Bus(message) => self.edge.on_bus(&message, &self.view, wires),
            NodeInput::Command { from, payload } => match CommandRequest::decode(&payload) {
                Ok(request) => {
                    router::handle(request, from, &mut self.host, &self.owner, wires);
                }
                Err(_unreadable) => self.host.replies.push((from, actor::unavailable())),
            },
            NodeInput::Attempt {
                route,
                attempt,
                end,
            } => self.router.attempt(route, attempt, end, &self.view, wires),
            NodeInput::RouteLook { route, attempt } => self.router.look(
                route,
                attempt,
                &mut self.host,
                &self.owner,
                &self.view,
                wires,
            ),
            NodeInput::Connect { client, socket } => self.edge.connect(client, socket, wires),
            NodeInput::Text { socket, text } => self.edge.on_text(socket, &text, wires),
            NodeInput::Taken { socket } => self.edge.taken(socket, wires),
            NodeInput::Gone { socket } => self.edge.gone(socket),
            NodeInput::MarksDue { socket } => self.edge.send_marks(socket),
            NodeInput::CatchUpGoesOn { job } => self.edge.feed_on(job, wires),
            NodeInput::Rest {
                client,
                op,
                user,
                request,
            } => self.rest(client, op, user, request, wires),
        }
    }

    fn answered(&mut self, answer: Answer, wires: &mut Wires) {
        match answer {
            Answer::LaneOpen {
                lane,
                connection,
                is_open,
            } => self
                .host
                .with_lane(lane, |lane| lane.opened(connection, is_open, wires)),
            Answer::Appended {
                lane,
                connection,
                outcome,
            } => self
                .host
                .with_lane(lane, |lane| lane.appended(connection, &outcome, wires)),
            Answer::MarkersWritten {
                lane,
                connection,
                outcome,
            } => self.host.with_lane(lane, |lane| {
                lane.markers_written(connection, &outcome, wires)
            }),
            Answer::LookedUp { lane, drawn, found } => self
                .host
                .with_lane(lane, |lane| lane.looked_up(drawn, found, wires)),
            Answer::Beat(answer) => self.owner.beaten(answer, wires),
            Answer::Looked { seen_at_ms, seen } => {
                self.owner
                    .looked(seen_at_ms, seen, &mut self.host, &self.view, wires);
            }
            Answer::Acquired {
                claims,
                reason,
                taken,
            } => {
                self.owner
                    .acquired(&claims, reason, taken, &mut self.host, &self.view, wires);
            }
            Answer::Released { moves, is_sure } => {
                self.owner
                    .released(&moves, is_sure, &mut self.host, &self.view, wires);
            }
            Answer::Retired => self.owner.retired(),
            Answer::Loaded(actor, loaded) => {
                self.host.to_actor(actor, ActorMail::Loaded(loaded));
            }
            Answer::Probed {
                actor,
                ticket,
                found,
            } => self.host.to_actor(actor, ActorMail::Probed(ticket, found)),
            Answer::Markers(actor, markers) => {
                self.host.to_actor(actor, ActorMail::Markers(markers));
            }
            Answer::Edge(answer) => self.edge_answered(answer, wires),
        }
    }

    fn edge_answered(&mut self, answer: EdgeAnswer, wires: &mut Wires) {
        match answer {
            EdgeAnswer::Heads(heads) => self.edge.on_heads(heads, wires),
            EdgeAnswer::Range {
                partition,
                after,
                fetched,
            } => self.edge.on_range(partition, after, fetched, wires),
            EdgeAnswer::Members {
                conversation,
                before,
                members,
            } => match members {
                Ok(members) => self.edge.on_members(conversation, Some(members), wires),
                Err(Failed::Unreadable) => self.edge.on_members(conversation, None, wires),
                Err(Failed::Later) => self.again(
                    EdgeAsk::Members {
                        conversation,
                        before,
                    },
                    wires,
                ),
            },
            EdgeAnswer::Summary {
                conversation,
                user,
                seq,
                sockets,
                summary,
            } => match summary {
                Ok(summary) => {
                    self.edge
                        .on_summary(conversation, seq, sockets, summary.as_ref(), wires);
                }
                Err(Failed::Unreadable) => {
                    self.edge
                        .on_summary(conversation, seq, sockets, None, wires);
                }
                Err(Failed::Later) => self.again(
                    EdgeAsk::Summary {
                        conversation,
                        user,
                        seq,
                        sockets,
                    },
                    wires,
                ),
            },
            EdgeAnswer::Judged { job, judged } => self.edge.on_judged(job, judged, wires),
            EdgeAnswer::Page { job, rows } => self.edge.on_page(job, rows, wires),
            EdgeAnswer::Rest { client, op, answer } => {
                self.answer_rest(client, op, answer, wires);
            }
        }
    }

    /// Tried until it works: whoever waits for it holds something back.
    fn again(&self, ask: EdgeAsk, wires: &mut Wires) {
        wires.after(JOB_RETRY_MS, Event::Store(self.me, Ask::Edge(ask)));
    }

    fn tell_heads(&self, wires: &mut Wires) {
        wires.wake(self.me, HEADS_MS, NodeInput::HeadsTimer);
        let broadcast = HeadBroadcast {
            incarnation: self.me.incarnation(),
            user_rev: 0,
            heads: self.host.heads(),
        };
        wires.publish(self.me, &BusMessage::Heads(broadcast.encode()));
    }

    fn project(&mut self, wires: &mut Wires) {
        let rest = wires
            .random
            .between(50, wires.weather.project_every_ms.max(50));
        wires.wake(self.me, rest, NodeInput::ProjectTimer);
        if wires.weather.store_cut.get(self.me.node) == Some(&true) {
            return;
        }
        *self.owned.lock() = self
            .host
            .heads()
            .iter()
            .map(|head| head.partition)
            .collect();
        for projector in &mut self.projectors {
            if now(projector.catch_up()).is_err() {
                wires
                    .counters
                    .one("projections that failed and are tried again");
            }
        }
    }

    // === REST ===

    fn rest(
        &mut self,
        client: usize,
        op: u64,
        user: hubbub_domain::ids::UserId,
        request: RestRequest,
        wires: &mut Wires,
    ) {
        let waiter = Waiter::Rest { client, op };
        let (request, retry) = match request {
            RestRequest::Command { command } => (OwnerRequest::Command(command), true),
            RestRequest::Mark {
                conversation,
                read_no,
            } => (
                OwnerRequest::Mark(MarkRequest {
                    conversation,
                    user,
                    read_no: Some(MessageNo::new(read_no)),
                    delivered_no: None,
                    wait_stored: true,
                }),
                false,
            ),
            request => {
                let ask = EdgeAsk::Rest {
                    client,
                    op,
                    user,
                    request,
                };
                return wires.ask(self.me, Ask::Edge(ask));
            }
        };
        self.submit(
            Submit {
                waiter,
                request,
                retry,
                deadline_ms: REST_DEADLINE_MS,
            },
            wires,
        );
    }

    fn answer_rest(&self, client: usize, op: u64, answer: RestAnswer, wires: &mut Wires) {
        let delay = wires.random.between(1, 8);
        let input = ClientInput::Rest {
            node: self.me.node,
            op,
            answer,
        };
        wires.after(delay, Event::Client(client, input));
    }
}

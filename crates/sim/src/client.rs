//! A person with the product's client machine: sockets, sends, marks, reads, and what the application is told.

mod rest;
pub mod work;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hubbub_checker::history::Digest;
use hubbub_checker::{
    Access, AccessChange, Delivery, Event as Seen, Frame, FrameSeen, InboxEntry, OperationKind,
    Outcome, Place, Read, Reading, Socket, Subscription, Told,
};
use hubbub_client::Notice;
use hubbub_client::machine::input::FetchedPage;
use hubbub_client::machine::{Effect, FetchFailure, Fetched, Input, Machine, Settings};
use hubbub_cluster::SubmitError;
use hubbub_domain::conversation::Command;
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_projections::ReadModels;
use hubbub_wire::bus::How;
use hubbub_wire::client::inbound::Program;
use hubbub_wire::client::{ClientFrame, ServerFrame};
use hubbub_wire::error::ErrorCode;
use uuid::Uuid;

use crate::database::now;
use crate::node::edge::ask::RestAnswer;
use crate::node::router::code_of;
use crate::random::Random;
use crate::recorder::time;
use crate::wires::{Event, NodeInput, RestRequest, To, Wires};

/// A REST request has that long, in milliseconds.
const REST_PATIENCE_MS: u64 = 8_000;

/// What reaches a client.
pub enum ClientInput {
    /// Begin.
    Start,
    /// The application makes a group.
    Create(Vec<UserId>),
    /// The application does something.
    Work,
    /// The machine wants the time.
    Tick,
    /// The socket is open.
    Opened {
        /// Which.
        socket: u64,
    },
    /// It could not be opened.
    Refused {
        /// Which.
        socket: u64,
    },
    /// A text came.
    Text {
        /// On which socket.
        socket: u64,
        /// What.
        text: String,
    },
    /// The socket is gone.
    Closed {
        /// Which.
        socket: u64,
        /// With which code.
        code: Option<u16>,
    },
    /// A REST answer.
    Rest {
        /// Which node.
        node: usize,
        /// To which request.
        op: u64,
        /// What.
        answer: RestAnswer,
    },
    /// A REST request has had its time.
    RestTimeout {
        /// Which.
        op: u64,
    },
}

/// One person at one device.
pub struct Client {
    number: usize,
    user: UserId,
    machine: Machine,
    random: Random,
    nodes: usize,
    /// The socket that is open or opening.
    line: Option<Line>,
    arrives_ms: u64,
    ticks_at: Option<u64>,
    /// Attempts on each socket that wait for their answers, in order.
    attempts: BTreeMap<(u64, Uuid), VecDeque<usize>>,
    rest: BTreeMap<u64, Rest>,
    ops: u64,
    /// What the application follows.
    follows: BTreeMap<Uuid, Follow>,
    /// Commands sent before, to be repeated on purpose.
    sent: Vec<ClientFrame>,
    bodies: u64,
    /// The application does nothing more.
    pub rests: bool,
    /// Reads from now on are judged as the last word.
    pub is_quiet: bool,
}

#[derive(Clone, Copy)]
struct Line {
    /// The machine's number.
    own: u64,
    /// The run's number.
    socket: u64,
    node: usize,
    life: u64,
}

struct Follow {
    subscription: u64,
    is_member: bool,
    seq: u64,
    /// Of the event at `seq`, if that is known.
    epoch: Option<u64>,
    head_no: u64,
}

struct Rest {
    asked_ms: u64,
    asks: Asks,
}

enum Asks {
    Fetch {
        fetch: u64,
        conversation: Uuid,
    },
    Inbox,
    History(ConversationId),
    Command {
        attempt: usize,
        conversation: Uuid,
        kind: OperationKind,
    },
    Mark {
        attempt: usize,
    },
}

impl Client {
    /// Not connected yet.
    pub fn new(number: usize, user: UserId, nodes: usize, mut random: Random) -> Self {
        let machine = Machine::new(Settings {
            nodes,
            program: Program {
                name: "sim".to_owned(),
                version: "1".to_owned(),
                device_id: random.uuid(),
            },
            cursors: Vec::new(),
        });
        Self {
            number,
            user,
            machine,
            random,
            nodes,
            line: None,
            arrives_ms: 0,
            ticks_at: None,
            attempts: BTreeMap::new(),
            rest: BTreeMap::new(),
            ops: 0,
            follows: BTreeMap::new(),
            sent: Vec::new(),
            bodies: 0,
            rests: false,
            is_quiet: false,
        }
    }

    /// Who.
    pub const fn user(&self) -> UserId {
        self.user
    }

    /// The node that its socket leads to.
    pub fn line_to(&self) -> Option<(To, u64)> {
        self.line.map(|line| {
            let to = To {
                node: line.node,
                life: line.life,
            };
            (to, line.socket)
        })
    }

    /// Whether it is connected, has said everything, and was told everything.
    pub fn is_settled(&self) -> bool {
        self.machine.state().is_caught_up()
            && self.machine.commands_waiting() == 0
            && self.rest.is_empty()
    }

    /// Where it is, in words.
    pub fn describe(&self) -> String {
        format!(
            "c{} is {:?}, {} commands and {} requests wait",
            self.number,
            self.machine.state(),
            self.machine.commands_waiting(),
            self.rest.len()
        )
    }

    /// Last seq of a conversation that the application was told and its epoch, if it is a member as far as it knows.
    pub fn stands_at(&self, conversation: Uuid) -> Option<(u64, Option<u64>)> {
        self.follows
            .get(&conversation)
            .filter(|follow| follow.is_member)
            .map(|follow| (follow.seq, follow.epoch))
    }

    /// Takes one input to its end.
    pub fn handle(&mut self, input: ClientInput, wires: &mut Wires) {
        match input {
            ClientInput::Start => self.drive(Input::Start, wires),
            ClientInput::Create(members) => self.create(members, wires),
            ClientInput::Work => self.work(wires),
            ClientInput::Tick => {
                self.ticks_at = None;
                self.drive(Input::Tick, wires);
            }
            ClientInput::Opened { socket } => {
                if let Some(line) = self.line_of(socket) {
                    self.drive(Input::SocketOpened { socket: line.own }, wires);
                }
            }
            ClientInput::Refused { socket } => {
                if let Some(line) = self.line_of(socket) {
                    self.line = None;
                    let failed = Input::SocketFailed {
                        socket: line.own,
                        unauthenticated: false,
                        retry_after_ms: None,
                    };
                    self.drive(failed, wires);
                }
            }
            ClientInput::Text { socket, text } => self.hear(socket, &text, wires),
            ClientInput::Closed { socket, code } => {
                if let Some(line) = self.line_of(socket) {
                    self.saw(socket, Frame::Closed { code }, wires);
                    self.lose(socket, wires);
                    let closed = Input::SocketClosed {
                        socket: line.own,
                        code,
                    };
                    self.drive(closed, wires);
                }
            }
            ClientInput::Rest { node, op, answer } => self.answered(node, op, answer, wires),
            ClientInput::RestTimeout { op } => self.timed_out(op, wires),
        }
        self.plan_tick(wires);
    }

    /// The line breaks under both of them.
    pub fn break_line(&mut self, wires: &mut Wires) {
        if let Some(line) = self.line {
            let to = To {
                node: line.node,
                life: line.life,
            };
            let noticed = wires.random.between(1, 3_000);
            wires.wake(
                to,
                noticed,
                NodeInput::Gone {
                    socket: line.socket,
                },
            );
            let closed = ClientInput::Closed {
                socket: line.socket,
                code: None,
            };
            self.handle(closed, wires);
        }
    }

    fn line_of(&self, socket: u64) -> Option<Line> {
        self.line.filter(|line| line.socket == socket)
    }

    fn plan_tick(&mut self, wires: &mut Wires) {
        let Some(at) = self.machine.wake_at() else {
            return;
        };
        let at = at.max(wires.now_ms.saturating_add(1));
        if self.ticks_at.is_none_or(|planned| at < planned) {
            self.ticks_at = Some(at);
            wires
                .schedule
                .at(at, Event::Client(self.number, ClientInput::Tick));
        }
    }

    fn drive(&mut self, input: Input, wires: &mut Wires) {
        let effects = self.machine.handle(input, wires.now_ms, &mut self.random);
        for effect in effects {
            match effect {
                Effect::Connect { socket, node } => self.connect(socket, node, wires),
                Effect::CloseSocket { socket } => {
                    if let Some(line) = self.line.filter(|line| line.own == socket) {
                        let to = To {
                            node: line.node,
                            life: line.life,
                        };
                        let noticed = wires.random.between(1, 40);
                        wires.wake(
                            to,
                            noticed,
                            NodeInput::Gone {
                                socket: line.socket,
                            },
                        );
                        self.saw(line.socket, Frame::Closed { code: None }, wires);
                        self.lose(line.socket, wires);
                    }
                }
                Effect::Transmit(frame) => self.transmit(&frame, wires),
                Effect::Fetch {
                    fetch,
                    node,
                    conversation_id,
                    from_seq,
                    limit,
                } => {
                    wires.counters.one("events fetched by clients");
                    let request = RestRequest::Events {
                        conversation: ConversationId::from_uuid(conversation_id),
                        from_seq,
                        limit,
                    };
                    let asks = Asks::Fetch {
                        fetch,
                        conversation: conversation_id,
                    };
                    self.ask(node, request, asks, wires);
                }
                Effect::Settle { .. } => wires.counters.one("commands settled"),
                Effect::Notify(notice) => self.told(notice, wires),
            }
        }
    }

    // === the socket ===

    fn connect(&mut self, own: u64, node: usize, wires: &mut Wires) {
        let socket = wires.new_socket();
        let life = wires.lives.get(node).copied().flatten();
        let delay = wires.random.between(1, 10);
        self.arrives_ms = wires.now_ms.saturating_add(delay);
        self.line = Some(Line {
            own,
            socket,
            node,
            life: life.unwrap_or(0),
        });
        match life {
            Some(life) => {
                let connect = NodeInput::Connect {
                    client: self.number,
                    socket,
                };
                wires.wake(To { node, life }, delay, connect);
            }
            None => wires.after(
                delay,
                Event::Client(self.number, ClientInput::Refused { socket }),
            ),
        }
    }

    fn transmit(&mut self, frame: &ClientFrame, wires: &mut Wires) {
        let Some(line) = self.line else { return };
        match frame {
            ClientFrame::Hello(hello) => {
                let cursors = hello.cursors.iter().flatten();
                wires.recorder.history.sockets.push(Socket {
                    socket: line.socket,
                    user: self.user.uuid(),
                    session: None,
                    node: u32::try_from(line.node).unwrap_or(u32::MAX),
                    hello_at: time(wires.now_ms),
                    cursors: cursors
                        .map(|cursor| (cursor.conversation_id, cursor.epoch, cursor.seq))
                        .collect(),
                });
            }
            ClientFrame::Send(send) => {
                wires.trace.line(wires.now_ms, || {
                    format!(
                        "c{} sends {} on socket {}",
                        self.number, send.id, line.socket
                    )
                });
                let index = wires.recorder.attempt(
                    wires.now_ms,
                    send.id,
                    send.conversation_id,
                    self.user,
                    OperationKind::Send,
                    Some(Digest::of(&send.body)),
                    line.node,
                    Some(line.socket),
                );
                self.attempts
                    .entry((line.socket, send.id))
                    .or_default()
                    .push_back(index);
            }
            _ => {}
        }
        let Ok(text) = serde_json::to_string(frame) else {
            return;
        };
        let delay = wires.random.between(1, 8);
        let at = wires.now_ms.saturating_add(delay).max(self.arrives_ms);
        self.arrives_ms = at;
        let to = To {
            node: line.node,
            life: line.life,
        };
        let text = NodeInput::Text {
            socket: line.socket,
            text,
        };
        wires.schedule.at(at, Event::Node(to, text));
    }

    fn hear(&mut self, socket: u64, text: &str, wires: &mut Wires) {
        let Some(line) = self.line_of(socket) else {
            return;
        };
        wires.trace.bytes(text.as_bytes());
        let slow = wires.random.chance(wires.weather.slow_readers);
        let rests = if slow {
            wires.random.between(200, 3_000)
        } else {
            1
        };
        let to = To {
            node: line.node,
            life: line.life,
        };
        wires.wake(to, rests, NodeInput::Taken { socket });
        let Ok(frames) = ServerFrame::decode(text) else {
            wires.counters.one("server frames that could not be read");
            return;
        };
        for frame in frames {
            if let Some(seen) = Frame::of(&frame) {
                self.saw(socket, seen, wires);
            }
            match &frame {
                ServerFrame::Ack(ack) => {
                    let place = Place {
                        epoch: ack.epoch,
                        seq: ack.seq,
                        message_no: ack.message_no,
                        is_duplicate: ack.duplicate,
                    };
                    self.attempt_ended(socket, ack.id, Outcome::Acked(place), wires);
                }
                ServerFrame::Error(error) => {
                    if let Some(id) = error.id {
                        let outcome = outcome_of(error.code);
                        wires.trace.line(wires.now_ms, || {
                            format!("c{} hears of {id}: {outcome:?}", self.number)
                        });
                        self.attempt_ended(socket, id, outcome, wires);
                    }
                }
                _ => {}
            }
            self.drive(
                Input::Frame {
                    socket: line.own,
                    frame: Box::new(frame),
                },
                wires,
            );
            if self.line_of(socket).is_none() {
                return;
            }
        }
    }

    fn saw(&self, socket: u64, frame: Frame, wires: &mut Wires) {
        wires.trace.line(wires.now_ms, || {
            format!("c{} on socket {socket}: {frame:?}", self.number)
        });
        wires.recorder.history.frames.push(FrameSeen {
            socket,
            at: time(wires.now_ms),
            frame,
        });
    }

    fn attempt_ended(&mut self, socket: u64, id: Uuid, outcome: Outcome, wires: &mut Wires) {
        let attempts = self.attempts.get_mut(&(socket, id));
        if let Some(index) = attempts.and_then(VecDeque::pop_front) {
            wires.recorder.ended(index, wires.now_ms, outcome);
        }
    }

    fn lose(&mut self, socket: u64, wires: &mut Wires) {
        self.line = None;
        let keys: Vec<(u64, Uuid)> = self
            .attempts
            .keys()
            .copied()
            .filter(|(of, _)| *of == socket)
            .collect();
        for key in keys {
            for index in self.attempts.remove(&key).into_iter().flatten() {
                wires.recorder.ended(index, wires.now_ms, Outcome::Unknown);
            }
        }
    }

    // === what the application is told ===

    fn told(&mut self, notice: Notice, wires: &mut Wires) {
        match notice {
            Notice::Delivered(event) => {
                let seen = Seen::from(&*event);
                let number = event.message_no.unwrap_or(0);
                let id = event.conversation_id;
                let (seq, epoch) = (event.seq, event.epoch);
                self.follow(id, wires, |follow| {
                    follow.seq = seq;
                    follow.epoch = Some(epoch);
                    follow.is_member = true;
                    follow.head_no = follow.head_no.max(number);
                });
                self.deliver(id, Told::Event(seen), wires);
            }
            Notice::Added(conversation) => {
                let knew = self.follows.contains_key(&conversation.id);
                self.follow(conversation.id, wires, |follow| follow.is_member = true);
                if knew {
                    self.deliver(conversation.id, Told::Skipped, wires);
                }
            }
            Notice::Removed {
                conversation_id, ..
            } => {
                self.follow(conversation_id, wires, |follow| follow.is_member = false);
                self.deliver(conversation_id, Told::Removed, wires);
            }
            Notice::Reset {
                conversation_id,
                from_seq,
            } => {
                wires.counters.one("resets");
                self.follow(conversation_id, wires, |follow| {
                    if follow.seq >= from_seq {
                        follow.seq = from_seq.saturating_sub(1);
                        follow.epoch = None;
                    }
                });
                self.deliver(conversation_id, Told::Reset { from_seq }, wires);
            }
            Notice::Skipped {
                conversation_id,
                epoch,
                seq,
            } => {
                self.follow(conversation_id, wires, |follow| {
                    follow.seq = follow.seq.max(seq);
                    follow.epoch = Some(epoch);
                });
                self.deliver(conversation_id, Told::Skipped, wires);
            }
            Notice::State(_)
            | Notice::Welcome(_)
            | Notice::Marker(_)
            | Notice::Typing(_)
            | Notice::Presence(_)
            | Notice::Pong { .. }
            | Notice::Refused(_) => {}
        }
    }

    fn follow(&mut self, id: Uuid, wires: &mut Wires, change: impl FnOnce(&mut Follow)) {
        let user = self.user.uuid();
        let follow = self.follows.entry(id).or_insert_with(|| {
            let subscription = wires.recorder.new_subscription();
            wires.recorder.history.subscriptions.push(Subscription {
                subscription,
                user,
                conversation: id,
                after: None,
                is_complete: false,
            });
            Follow {
                subscription,
                is_member: true,
                seq: 0,
                epoch: None,
                head_no: 0,
            }
        });
        change(follow);
    }

    fn deliver(&self, id: Uuid, told: Told, wires: &mut Wires) {
        if let Some(follow) = self.follows.get(&id) {
            wires.recorder.history.deliveries.push(Delivery {
                subscription: follow.subscription,
                at: time(wires.now_ms),
                told,
            });
        }
    }

    /// In the end: which subscriptions must be complete.
    pub fn complete(&self, unreadable: &BTreeSet<ConversationId>, wires: &mut Wires) {
        let reader = wires.database.reader();
        // Who was removed while away is not told, and stays where they were.
        let is_in = |id: ConversationId| matches!(now(reader.access(id, self.user)), Ok(Some(_)));
        let is_readable = |id: &Uuid| {
            let id = ConversationId::from_uuid(*id);
            !unreadable.contains(&id) && is_in(id)
        };
        let complete: Vec<u64> = self
            .follows
            .iter()
            .filter(|(id, follow)| follow.is_member && is_readable(id))
            .map(|(_, follow)| follow.subscription)
            .collect();
        for subscription in &mut wires.recorder.history.subscriptions {
            if complete.contains(&subscription.subscription) {
                subscription.is_complete = true;
            }
        }
    }
}

/// What a code word means for the one who asked.
fn outcome_of(code: ErrorCode) -> Outcome {
    match code {
        ErrorCode::UnknownOutcome | ErrorCode::Unrecognised => Outcome::Unknown,
        code => Outcome::Refused {
            code: code.as_str().to_owned(),
        },
    }
}

//! Sockets around the product's queues and chains, as `edge/src/session.rs` runs them: hello, seat, frames in, writes out.

use std::collections::BTreeMap;

use hubbub_cluster::SubmitError;
use hubbub_domain::conversation::{Command, Intent};
use hubbub_domain::ids::{CommandId, ConversationId, UserId};
use hubbub_domain::position::{Epoch, MessageNo, Seq};
use hubbub_edge::sim::{Chains, Queue, frame, resync_frame};
use hubbub_wire::bus::{How, MarkRequest, OwnerRequest};
use hubbub_wire::client::object::User;
use hubbub_wire::client::outbound::{Ack, ErrorFrame, Pong, Welcome};
use hubbub_wire::client::{ClientFrame, Cursor, ServerFrame, close};
use hubbub_wire::rest::Limits;
use uuid::Uuid;

use crate::client::ClientInput;
use crate::node::edge::{Edge, Submit};
use crate::node::router::{Routed, Waiter, code_of};
use crate::wires::{Event, NodeInput, Wires};

/// From a send to its definite answer, in milliseconds.
const SEND_DEADLINE_MS: u64 = 4_000;
/// A mark is tried for this long.
const MARK_DEADLINE_MS: u64 = 2_000;
/// How long a mark waits for a later one.
const MARK_WAIT_MS: u64 = 100;
/// How long a mark that could not be stored waits.
const MARK_WAIT_AGAIN_MS: u64 = 500;
/// Writes that the client has not taken yet, at most: what the kernel's buffers stand for.
const WRITES_MAX: usize = 3;

type Marks = BTreeMap<ConversationId, (Option<MessageNo>, Option<MessageNo>)>;

/// One socket.
pub struct Socket {
    client: usize,
    user: Option<UserId>,
    pub(super) queue: Queue,
    pub(super) catch_ups: usize,
    chains: Chains<(Command, bool, u64)>,
    marks: Marks,
    marking: Marks,
    /// A wake for the marks is planned: one for all of them, as the product has it.
    marks_due: bool,
    writes: usize,
    arrives_ms: u64,
}

impl Edge {
    /// A socket is opened.
    pub fn connect(&mut self, client: usize, socket: u64, wires: &mut Wires) {
        if !self.serves {
            // Nobody listens yet: a node serves when it has read the heads.
            let refused = ClientInput::Refused { socket };
            wires.after(2, Event::Client(client, refused));
            return;
        }
        self.sockets.insert(
            socket,
            Socket {
                client,
                user: None,
                queue: Queue::new(resync_frame),
                catch_ups: 0,
                chains: Chains::default(),
                marks: Marks::new(),
                marking: Marks::new(),
                marks_due: false,
                writes: 0,
                arrives_ms: 0,
            },
        );
        self.send(socket, ClientInput::Opened { socket }, wires);
    }

    /// The other side is gone.
    pub fn gone(&mut self, number: u64) {
        if let Some(socket) = self.sockets.remove(&number)
            && let Some(user) = socket.user
            && let Some(seats) = self.seats.get_mut(&user)
        {
            seats.remove(&number);
            if seats.is_empty() {
                self.seats.remove(&user);
            }
        }
    }

    /// This side ends it.
    pub(super) fn close(&mut self, number: u64, code: u16, wires: &mut Wires) {
        wires.counters.one("sockets closed by their edge");
        let closed = ClientInput::Closed {
            socket: number,
            code: Some(code),
        };
        self.send(number, closed, wires);
        self.gone(number);
    }

    /// The client took a write.
    pub fn taken(&mut self, number: u64, wires: &mut Wires) {
        if let Some(socket) = self.sockets.get_mut(&number) {
            socket.writes = socket.writes.saturating_sub(1);
        }
        self.pump(number, wires);
    }

    /// Writes what waits, as far as the socket takes it.
    pub(super) fn pump(&mut self, number: u64, wires: &mut Wires) {
        loop {
            let Some(socket) = self.sockets.get_mut(&number) else {
                return;
            };
            if socket.queue.is_contradicted() {
                wires
                    .counters
                    .one("sockets that were caught up to what is lost");
                return self.close(number, close::DEGRADED, wires);
            }
            if socket.writes >= WRITES_MAX {
                return;
            }
            let Some(write) = socket.queue.pop() else {
                return;
            };
            socket.writes = socket.writes.saturating_add(1);
            if write.resync {
                wires.counters.one("resyncs of sockets that were too slow");
            }
            let text = ClientInput::Text {
                socket: number,
                text: write.text.to_string(),
            };
            self.send(number, text, wires);
        }
    }

    /// In order: TCP does not overtake itself.
    fn send(&mut self, number: u64, input: ClientInput, wires: &mut Wires) {
        let delay = wires.random.between(1, 8);
        let Some(socket) = self.sockets.get_mut(&number) else {
            return;
        };
        let at = wires.now_ms.saturating_add(delay).max(socket.arrives_ms);
        socket.arrives_ms = at;
        wires.schedule.at(at, Event::Client(socket.client, input));
    }

    fn answer(&mut self, number: u64, answer: &ServerFrame, wires: &mut Wires) {
        if let Some(socket) = self.sockets.get_mut(&number) {
            socket.queue.push_answer(frame(answer));
        }
        self.pump(number, wires);
    }

    /// A text from the client.
    pub fn on_text(&mut self, number: u64, text: &str, wires: &mut Wires) {
        let Some(socket) = self.sockets.get(&number) else {
            return;
        };
        let Ok(frame) = ClientFrame::decode(text) else {
            wires.counters.one("client frames that could not be read");
            return;
        };
        match (frame, socket.user) {
            (ClientFrame::Hello(hello), None) => {
                let user = wires.recorder.user_of(socket.client);
                self.seat(number, user, hello.cursors.unwrap_or_default(), wires);
            }
            (ClientFrame::Send(send), Some(user)) => {
                let conversation = ConversationId::from_uuid(send.conversation_id);
                let command = Command {
                    id: CommandId::from_uuid(send.id),
                    conversation,
                    by: user,
                    intent: Intent::SendMessage {
                        body: send.body,
                        reply_to_no: send.reply_to_no.map(MessageNo::new),
                        thread_root_no: send.thread_root_no.map(MessageNo::new),
                    },
                };
                let job = (command, send.retry.unwrap_or(false), wires.now_ms);
                let ready = self
                    .sockets
                    .get_mut(&number)
                    .and_then(|socket| socket.chains.push(conversation, job));
                if let Some(job) = ready {
                    self.submit(number, job, wires);
                }
            }
            (ClientFrame::Mark(mark), Some(_)) => {
                let conversation = ConversationId::from_uuid(mark.conversation_id);
                let wanted = (
                    mark.read_no.map(MessageNo::new),
                    mark.delivered_no.map(MessageNo::new),
                );
                self.wait_mark(number, conversation, wanted, MARK_WAIT_MS, wires);
            }
            (ClientFrame::Ping(ping), Some(_)) => {
                let pong = ServerFrame::Pong(Pong { n: ping.n });
                self.answer(number, &pong, wires);
            }
            _ => {}
        }
    }

    /// Seated first, welcomed then; what this node has given out last itself needs no question to anyone.
    fn seat(&mut self, number: u64, user: UserId, cursors: Vec<Cursor>, wires: &mut Wires) {
        self.seats.entry(user).or_default().insert(number);
        let mut behind: Vec<(ConversationId, (Epoch, Seq), hubbub_edge::sim::Ticket)> = Vec::new();
        for cursor in cursors {
            let conversation = ConversationId::from_uuid(cursor.conversation_id);
            let place = (Epoch::new(cursor.epoch), Seq::new(cursor.seq));
            if self.is_current(conversation, place, wires.partitions) {
                if self.rooms.is_learned(conversation)
                    && let Some(socket) = self.sockets.get_mut(&number)
                {
                    let ticket = socket.queue.hold(conversation);
                    socket.queue.note_held(conversation, place.0);
                    socket.queue.release(conversation, ticket, Some(place.1));
                }
                wires.counters.one("cursors answered without a question");
            } else if behind.iter().all(|(other, ..)| *other != conversation)
                && let Some(socket) = self.sockets.get_mut(&number)
            {
                behind.push((conversation, place, socket.queue.hold(conversation)));
            }
        }
        let Some(socket) = self.sockets.get_mut(&number) else {
            return;
        };
        socket.user = Some(user);
        socket.catch_ups = behind.len();
        let welcome = ServerFrame::Welcome(Box::new(Welcome {
            user: User {
                id: user.uuid(),
                username: String::new(),
                display_name: String::new(),
                avatar_url: None,
                status: None,
                bot: false,
            },
            session_id: Uuid::nil(),
            device_id: Uuid::nil(),
            node: format!("n{}", self.me.node),
            server_time: wires.wall(0).into(),
            heartbeat_s: 30,
            limits: Limits::default(),
        }));
        self.answer(number, &welcome, wires);
        if behind.is_empty() {
            if let Some(socket) = self.sockets.get_mut(&number) {
                socket.queue.push_last(frame(&ServerFrame::Live));
            }
            return self.pump(number, wires);
        }
        for (conversation, place, ticket) in behind {
            self.begin_catch_up(number, user, conversation, place, ticket, wires);
        }
    }

    // === sends ===

    fn submit(&mut self, number: u64, job: (Command, bool, u64), wires: &mut Wires) {
        let (command, retry, received_ms) = job;
        let spent = wires.now_ms.saturating_sub(received_ms);
        let waiter = Waiter::Send {
            socket: number,
            id: command.id.uuid(),
            conversation: command.conversation,
        };
        let left = SEND_DEADLINE_MS.saturating_sub(spent);
        if left == 0 {
            let late = Err(SubmitError::Unavailable {
                retry_after_ms: 1_000,
            });
            return self.routed(waiter, late, wires);
        }
        self.submits.push(Submit {
            waiter,
            request: OwnerRequest::Command(command),
            retry,
            deadline_ms: left,
        });
    }

    /// A route of a socket has ended.
    pub fn routed(&mut self, waiter: Waiter, end: Routed, wires: &mut Wires) {
        match waiter {
            Waiter::Send {
                socket,
                id,
                conversation,
            } => {
                let answer = match end {
                    Ok(Some(accepted)) => ServerFrame::Ack(Ack {
                        id,
                        conversation_id: accepted.conversation.uuid(),
                        epoch: accepted.epoch.get(),
                        seq: accepted.seq.get(),
                        message_no: accepted.message_no.map(MessageNo::get),
                        at: accepted.at.into(),
                        duplicate: accepted.how == How::Duplicate,
                    }),
                    Ok(None) => error_frame(id, &SubmitError::UnknownOutcome),
                    Err(error) => error_frame(id, &error),
                };
                self.answer(socket, &answer, wires);
                let next = self
                    .sockets
                    .get_mut(&socket)
                    .and_then(|socket| socket.chains.done(conversation));
                if let Some(next) = next {
                    self.submit(socket, next, wires);
                }
            }
            Waiter::Mark {
                socket,
                conversation,
            } => self.marked(socket, conversation, &end, wires),
            Waiter::Rest { .. } => {}
        }
    }

    // === marks ===

    fn wait_mark(
        &mut self,
        number: u64,
        conversation: ConversationId,
        (read_no, delivered_no): (Option<MessageNo>, Option<MessageNo>),
        wait_ms: u64,
        wires: &mut Wires,
    ) {
        let Some(socket) = self.sockets.get_mut(&number) else {
            return;
        };
        let waiting = socket.marks.entry(conversation).or_default();
        waiting.0 = waiting.0.max(read_no);
        waiting.1 = waiting.1.max(delivered_no);
        self.plan_marks(number, wait_ms, wires);
    }

    /// The next wake takes every mark that waits, so a second one beside it would only multiply.
    fn plan_marks(&mut self, number: u64, wait_ms: u64, wires: &mut Wires) {
        if let Some(socket) = self.sockets.get_mut(&number)
            && !std::mem::replace(&mut socket.marks_due, true)
        {
            wires.wake(self.me, wait_ms, NodeInput::MarksDue { socket: number });
        }
    }

    /// Marks that wait are sent.
    pub fn send_marks(&mut self, number: u64) {
        let Some(socket) = self.sockets.get_mut(&number) else {
            return;
        };
        socket.marks_due = false;
        let Some(user) = socket.user else { return };
        for (conversation, (read_no, delivered_no)) in std::mem::take(&mut socket.marks) {
            if socket.marking.contains_key(&conversation) {
                socket.marks.insert(conversation, (read_no, delivered_no));
                continue;
            }
            socket.marking.insert(conversation, (read_no, delivered_no));
            self.submits.push(Submit {
                waiter: Waiter::Mark {
                    socket: number,
                    conversation,
                },
                request: OwnerRequest::Mark(MarkRequest {
                    conversation,
                    user,
                    read_no,
                    delivered_no,
                    wait_stored: true,
                }),
                retry: false,
                deadline_ms: MARK_DEADLINE_MS,
            });
        }
    }

    fn marked(
        &mut self,
        number: u64,
        conversation: ConversationId,
        end: &Routed,
        wires: &mut Wires,
    ) {
        let Some(socket) = self.sockets.get_mut(&number) else {
            return;
        };
        let sent = socket.marking.remove(&conversation).unwrap_or_default();
        match end {
            Ok(_) | Err(SubmitError::Rejected(_)) => {
                if socket.marks.contains_key(&conversation) {
                    self.plan_marks(number, MARK_WAIT_MS, wires);
                }
            }
            // The client does not know: it goes back to wait.
            Err(_) => self.wait_mark(number, conversation, sent, MARK_WAIT_AGAIN_MS, wires),
        }
    }
}

fn error_frame(id: Uuid, error: &SubmitError) -> ServerFrame {
    let retry_after_ms = match error {
        SubmitError::Busy { retry_after_ms } | SubmitError::Unavailable { retry_after_ms } => {
            Some(u64::from(*retry_after_ms))
        }
        SubmitError::StorageFull => Some(10_000),
        SubmitError::Rejected(_) | SubmitError::UnknownOutcome => None,
    };
    ServerFrame::Error(ErrorFrame {
        id: Some(id),
        code: code_of(error),
        detail: String::new(),
        retry_after_ms,
        fields: None,
    })
}

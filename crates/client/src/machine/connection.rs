//! The machine itself: socket life cycle, heartbeat, and which room a frame belongs to.

use hubbub_wire::client::inbound::{Hello, Ping, Program};
use hubbub_wire::client::outbound::Welcome;
use hubbub_wire::client::{ClientFrame, Cursor, ServerFrame, close};
use rand::Rng;
use uuid::Uuid;

use crate::machine::backoff;
use crate::machine::effect::Effect;
use crate::machine::input::Input;
use crate::machine::marks::Marks;
use crate::machine::notice::Notice;
use crate::machine::outbox::Outbox;
use crate::machine::state::{Reason, State};
use crate::machine::streams::Streams;

/// From the first byte to `welcome` within this many milliseconds, else the attempt has failed.
pub const CONNECT_TIMEOUT_MS: u64 = 10_000;
/// Cursors in one hello: 800 of about 70 bytes stay below the 64 KiB of a frame.
pub const CURSORS_MAX: usize = 800;
/// A connection that was live this long, in milliseconds, was a good one: the next failure counts as the first.
const GOOD_AFTER_MS: u64 = 10_000;
/// Number of the machine's own pings; applications use others.
pub const OWN_PING: u64 = 0;
/// Heartbeat until `welcome` names it, in seconds.
const HEARTBEAT_S_DEFAULT: u32 = 30;

/// What does not change during the life of a machine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many nodes there are to connect to; at least one is assumed.
    pub nodes: usize,
    /// The program that speaks.
    pub program: Program,
    /// Where the application stands at the start.
    pub cursors: Vec<Cursor>,
}

/// The connection.
#[derive(Debug)]
pub struct Machine {
    settings: Settings,
    state: State,
    /// Number of the present or last socket.
    socket: u64,
    node: usize,
    failures: u32,
    /// The server's hint: not before this time.
    not_before_ms: Option<u64>,
    connecting_since_ms: u64,
    live_since_ms: u64,
    heard_at_ms: u64,
    has_asked: bool,
    heartbeat_ms: u64,
    own_user: Option<Uuid>,
    outbox: Outbox,
    streams: Streams,
    marks: Marks,
}

impl Machine {
    /// A machine that waits for [`Input::Start`].
    pub fn new(settings: Settings) -> Self {
        let mut streams = Streams::default();
        for cursor in &settings.cursors {
            streams.follow(*cursor);
        }
        Self {
            settings,
            state: State::Disconnected {
                reason: Reason::New,
                retry_at_ms: None,
            },
            socket: 0,
            node: 0,
            failures: 0,
            not_before_ms: None,
            connecting_since_ms: 0,
            live_since_ms: 0,
            heard_at_ms: 0,
            has_asked: false,
            heartbeat_ms: u64::from(HEARTBEAT_S_DEFAULT).saturating_mul(1_000),
            own_user: None,
            outbox: Outbox::default(),
            streams,
            marks: Marks::default(),
        }
    }

    /// Where the connection stands.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Commands that wait for an answer.
    pub fn commands_waiting(&self) -> usize {
        self.outbox.len()
    }

    /// Takes one input and says what to do, in order. `now_ms` is any clock that does not go back.
    pub fn handle(&mut self, input: Input, now_ms: u64, rng: &mut dyn Rng) -> Vec<Effect> {
        let mut out = Vec::new();
        self.take(input, now_ms, rng, &mut out);
        if self.is_live() {
            self.streams.start_fetches(self.node, now_ms, &mut out);
        }
        out
    }

    /// When [`Input::Tick`] is due, on the clock of `now_ms`.
    pub fn wake_at(&self) -> Option<u64> {
        match &self.state {
            State::Disconnected { retry_at_ms, .. } => *retry_at_ms,
            State::Connecting { .. } => {
                Some(self.connecting_since_ms.saturating_add(CONNECT_TIMEOUT_MS))
            }
            State::Live { .. } => {
                let heartbeat = if self.has_asked {
                    self.silent_at_ms()
                } else {
                    self.ask_at_ms()
                };
                [
                    Some(heartbeat),
                    self.outbox.due_at_ms(),
                    self.streams.due_at_ms(),
                ]
                .into_iter()
                .flatten()
                .min()
            }
        }
    }

    fn take(&mut self, input: Input, now_ms: u64, rng: &mut dyn Rng, out: &mut Vec<Effect>) {
        if self.state.is_final() {
            self.take_after_the_end(input, now_ms, out);
            return;
        }
        match input {
            Input::Start => {
                if matches!(
                    self.state,
                    State::Disconnected {
                        reason: Reason::New,
                        ..
                    }
                ) {
                    self.connect(self.node, now_ms, out);
                }
            }
            Input::SocketOpened { socket } if socket == self.socket => {
                self.heard(now_ms);
                let hello = self.hello(out);
                out.push(Effect::Transmit(ClientFrame::Hello(hello)));
            }
            Input::SocketFailed {
                socket,
                unauthenticated,
                retry_after_ms,
            } if socket == self.socket => {
                // A refusing server that hints at once must still not be hammered.
                self.hint(
                    retry_after_ms.map(|hint| hint.max(backoff::WAIT_MS_MIN)),
                    now_ms,
                );
                let reason = if unauthenticated {
                    Reason::SessionEnded
                } else {
                    Reason::ConnectFailed
                };
                self.disconnect(reason, now_ms, rng, out);
            }
            Input::SocketClosed { socket, code } if socket == self.socket => {
                let reason = match code {
                    // Before `welcome` it may be a hello that came too late over a line that stood still. A session that has
                    // really ended is refused at the next upgrade.
                    Some(close::SESSION_ENDED) if self.is_live() => Reason::SessionEnded,
                    Some(code) => Reason::ClosedByServer(code),
                    None => Reason::Lost,
                };
                self.disconnect(reason, now_ms, rng, out);
            }
            Input::Frame { socket, frame } if socket == self.socket && !self.is_disconnected() => {
                self.heard(now_ms);
                self.frame(*frame, now_ms, out);
            }
            Input::Heard { socket } if socket == self.socket => self.heard(now_ms),
            Input::SocketOpened { socket } => out.push(Effect::CloseSocket { socket }),
            // Of a socket that was given up.
            Input::SocketFailed { .. }
            | Input::SocketClosed { .. }
            | Input::Frame { .. }
            | Input::Heard { .. } => {}
            Input::Fetched(fetched) => {
                let (id, own) = (fetched.conversation_id, self.own_user);
                self.streams
                    .fetched(fetched.fetch, id, fetched.page, own, now_ms, out);
            }
            Input::Tick => self.tick(now_ms, rng, out),
            Input::Submit(frame) => self.outbox.submit(frame, now_ms, self.is_live(), out),
            Input::Mark(mark) => self.marks.submit(mark, now_ms, self.is_live(), out),
            Input::Typing(typing) => self.transmit_if_live(ClientFrame::Typing(typing), out),
            Input::Ping { n } => self.transmit_if_live(ClientFrame::Ping(Ping { n }), out),
            Input::Follow(cursor) => self.streams.follow(cursor),
            Input::ForceReconnect { node } => {
                self.drop_socket(now_ms, out);
                self.set_state(
                    State::Disconnected {
                        reason: Reason::Forced,
                        retry_at_ms: Some(now_ms),
                    },
                    out,
                );
                self.connect(node, now_ms, out);
            }
            Input::Close => self.end(Reason::Closed, now_ms, out),
        }
    }

    fn take_after_the_end(&mut self, input: Input, now_ms: u64, out: &mut Vec<Effect>) {
        if let Input::SocketOpened { socket } = input {
            out.push(Effect::CloseSocket { socket });
        } else if let Input::Submit(frame) = input {
            self.outbox.submit(frame, now_ms, false, out);
            self.outbox.abandon_all(out);
        }
    }

    fn frame(&mut self, frame: ServerFrame, now_ms: u64, out: &mut Vec<Effect>) {
        match frame {
            ServerFrame::Welcome(welcome) => self.welcome(*welcome, now_ms, out),
            ServerFrame::Event(event) => self.streams.event(event, out),
            ServerFrame::Live => {
                if self.is_live() {
                    self.set_state(
                        State::Live {
                            node: self.node,
                            caught_up: true,
                        },
                        out,
                    );
                }
            }
            ServerFrame::Ack(ack) => self.outbox.acked(ack, out),
            ServerFrame::Error(error) => {
                let is_ours = error
                    .id
                    .is_some_and(|id| self.outbox.refused(id, &error, now_ms, out));
                if !is_ours {
                    out.push(Effect::Notify(Notice::Refused(error)));
                }
            }
            ServerFrame::Marker(marker) => out.push(Effect::Notify(Notice::Marker(marker))),
            ServerFrame::Typing(typing) => out.push(Effect::Notify(Notice::Typing(typing))),
            ServerFrame::Presence(presence) => out.push(Effect::Notify(Notice::Presence(presence))),
            ServerFrame::Added(added) => {
                let head = Cursor {
                    conversation_id: added.conversation.id,
                    epoch: added.conversation.epoch,
                    seq: added.conversation.head_seq,
                };
                self.streams.added(head);
                out.push(Effect::Notify(Notice::Added(Box::new(added.conversation))));
            }
            ServerFrame::Removed(removed) => {
                self.streams.remove(removed.conversation_id);
                out.push(Effect::Notify(Notice::Removed {
                    conversation_id: removed.conversation_id,
                    reason: Some(removed.reason),
                }));
            }
            ServerFrame::Resync(resync) => {
                if resync.all {
                    self.streams.resync_all(out);
                }
                for head in resync.conversations.into_iter().flatten() {
                    self.streams.resync(head, out);
                }
            }
            ServerFrame::Reset(reset) => {
                self.streams
                    .reset(reset.conversation_id, reset.from_seq, out);
                out.push(Effect::Notify(Notice::Reset {
                    conversation_id: reset.conversation_id,
                    from_seq: reset.from_seq,
                }));
            }
            ServerFrame::Drain(drain) => self.hint(Some(drain.reconnect_after_ms), now_ms),
            // The machine's own question; `heard` has noted the answer.
            ServerFrame::Pong(pong) if pong.n == OWN_PING => {}
            ServerFrame::Pong(pong) => out.push(Effect::Notify(Notice::Pong { n: pong.n })),
            // A page answers `history`, which this machine does not send.
            ServerFrame::Page(_) | ServerFrame::Unrecognised => {}
        }
    }

    fn welcome(&mut self, welcome: Welcome, now_ms: u64, out: &mut Vec<Effect>) {
        if self.is_live() {
            return;
        }
        self.heartbeat_ms = u64::from(welcome.heartbeat_s.max(1)).saturating_mul(1_000);
        self.own_user = Some(welcome.user.id);
        self.live_since_ms = now_ms;
        self.set_state(
            State::Live {
                node: self.node,
                caught_up: false,
            },
            out,
        );
        out.push(Effect::Notify(Notice::Welcome(Box::new(welcome))));
        self.outbox.resend_all(now_ms, out);
        self.marks.resend_all(now_ms, out);
    }

    fn tick(&mut self, now_ms: u64, rng: &mut dyn Rng, out: &mut Vec<Effect>) {
        match &self.state {
            State::Disconnected {
                retry_at_ms: Some(retry_at_ms),
                ..
            } if *retry_at_ms <= now_ms => {
                self.connect(self.node, now_ms, out);
            }
            State::Disconnected { .. } => {}
            State::Connecting { .. } => {
                if now_ms.saturating_sub(self.connecting_since_ms) >= CONNECT_TIMEOUT_MS {
                    self.drop_socket(now_ms, out);
                    self.disconnect(Reason::ConnectFailed, now_ms, rng, out);
                }
            }
            State::Live { .. } => {
                if now_ms >= self.silent_at_ms() {
                    self.drop_socket(now_ms, out);
                    self.disconnect(Reason::Silent, now_ms, rng, out);
                    return;
                }
                if now_ms >= self.ask_at_ms() && !self.has_asked {
                    self.has_asked = true;
                    out.push(Effect::Transmit(ClientFrame::Ping(Ping { n: OWN_PING })));
                }
                self.outbox.resend_due(now_ms, out);
            }
        }
    }

    fn hello(&mut self, out: &mut Vec<Effect>) -> Hello {
        let cursors = self.streams.cursors(CURSORS_MAX, out);
        Hello {
            token: None,
            client: Some(self.settings.program.clone()),
            cursors: (!cursors.is_empty()).then_some(cursors),
        }
    }

    fn connect(&mut self, node: usize, now_ms: u64, out: &mut Vec<Effect>) {
        self.node = node.checked_rem(self.settings.nodes).unwrap_or(0);
        self.socket = self.socket.saturating_add(1);
        self.connecting_since_ms = now_ms;
        self.not_before_ms = None;
        self.set_state(State::Connecting { node: self.node }, out);
        out.push(Effect::Connect {
            socket: self.socket,
            node: self.node,
        });
    }

    /// The socket is gone; the next attempt is planned, unless this was the end.
    fn disconnect(
        &mut self,
        reason: Reason,
        now_ms: u64,
        rng: &mut dyn Rng,
        out: &mut Vec<Effect>,
    ) {
        if self.is_disconnected() {
            return;
        }
        if reason.is_final() {
            self.end(reason, now_ms, out);
            return;
        }
        let was_good = self.is_live() && now_ms.saturating_sub(self.live_since_ms) >= GOOD_AFTER_MS;
        if was_good {
            self.failures = 0;
        }
        let own_wait = now_ms.saturating_add(backoff::wait_ms(self.failures, rng));
        let retry_at_ms = self.not_before_ms.take().unwrap_or(own_wait);
        self.failures = self.failures.saturating_add(1);
        // A socket that was only too slow resumes where it was; everything else goes to the next node.
        if reason != Reason::ClosedByServer(close::TOO_SLOW) {
            let next = self.node.saturating_add(1);
            self.node = next.checked_rem(self.settings.nodes).unwrap_or(0);
        }
        self.leave_socket(now_ms);
        self.set_state(
            State::Disconnected {
                reason,
                retry_at_ms: Some(retry_at_ms),
            },
            out,
        );
    }

    fn end(&mut self, reason: Reason, now_ms: u64, out: &mut Vec<Effect>) {
        self.drop_socket(now_ms, out);
        self.outbox.abandon_all(out);
        self.set_state(
            State::Disconnected {
                reason,
                retry_at_ms: None,
            },
            out,
        );
    }

    /// Closes the socket, whatever it is doing.
    fn drop_socket(&mut self, now_ms: u64, out: &mut Vec<Effect>) {
        if !self.is_disconnected() {
            out.push(Effect::CloseSocket {
                socket: self.socket,
            });
        }
        self.leave_socket(now_ms);
    }

    fn leave_socket(&mut self, now_ms: u64) {
        // From here on its reports are of an earlier socket.
        self.socket = self.socket.saturating_add(1);
        self.streams.disconnected();
        self.has_asked = false;
        self.marks.disconnected(now_ms);
    }

    fn heard(&mut self, now_ms: u64) {
        self.heard_at_ms = now_ms;
        self.has_asked = false;
    }

    /// One and a half heartbeats without a sound: ask.
    fn ask_at_ms(&self) -> u64 {
        self.heard_at_ms
            .saturating_add(self.heartbeat_ms.saturating_mul(3) / 2)
    }

    /// Two and a half: the line is dead.
    fn silent_at_ms(&self) -> u64 {
        self.heard_at_ms
            .saturating_add(self.heartbeat_ms.saturating_mul(5) / 2)
    }

    fn hint(&mut self, retry_after_ms: Option<u64>, now_ms: u64) {
        if let Some(retry_after_ms) = retry_after_ms {
            self.not_before_ms = Some(now_ms.saturating_add(retry_after_ms));
        }
    }

    fn transmit_if_live(&self, frame: ClientFrame, out: &mut Vec<Effect>) {
        if self.is_live() {
            out.push(Effect::Transmit(frame));
        }
    }

    fn set_state(&mut self, state: State, out: &mut Vec<Effect>) {
        self.state = state.clone();
        out.push(Effect::Notify(Notice::State(state)));
    }

    const fn is_live(&self) -> bool {
        matches!(self.state, State::Live { .. })
    }

    const fn is_disconnected(&self) -> bool {
        matches!(self.state, State::Disconnected { .. })
    }
}

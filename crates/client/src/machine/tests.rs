//! The machine as a table: what goes in, what comes out. Properties are in the submodules.

mod commands;
mod delivery;
mod lifecycle;

use hubbub_wire::client::inbound::{Program, Send};
use hubbub_wire::client::object::User;
use hubbub_wire::client::outbound::{Ack, ErrorFrame, Welcome};
use hubbub_wire::client::{ClientFrame, Cursor, EventData, RawEvent, ServerFrame};
use hubbub_wire::error::ErrorCode;
use hubbub_wire::rest::Limits;
use hubbub_wire::time::Rfc3339;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use uuid::Uuid;

use crate::machine::connection::{Machine, Settings};
use crate::machine::effect::Effect;
use crate::machine::input::Input;
use crate::machine::notice::Notice;

const HEARTBEAT_S: u32 = 20;
const ME: Uuid = Uuid::from_u128(0xa1);

fn conversation(n: u128) -> Uuid {
    Uuid::from_u128(0xc000 + n)
}

fn command(n: u128) -> Uuid {
    Uuid::from_u128(0xf000 + n)
}

/// A machine under a clock and a seed of its own.
struct Bench {
    machine: Machine,
    now_ms: u64,
    rng: StdRng,
}

impl Bench {
    fn new(cursors: Vec<Cursor>) -> Self {
        let program = Program {
            name: "test".into(),
            version: "0".into(),
            device_id: Uuid::nil(),
        };
        Self {
            machine: Machine::new(Settings {
                nodes: 2,
                program,
                cursors,
            }),
            now_ms: 1_000,
            rng: StdRng::seed_from_u64(1),
        }
    }

    /// One that is live; its socket's number is returned.
    fn live(cursors: Vec<Cursor>) -> (Self, u64) {
        let mut bench = Self::new(cursors);
        let socket = socket_of(&bench.give(Input::Start));
        bench.give(Input::SocketOpened { socket });
        bench.frame(socket, welcome());
        (bench, socket)
    }

    fn give(&mut self, input: Input) -> Vec<Effect> {
        self.machine.handle(input, self.now_ms, &mut self.rng)
    }

    fn frame(&mut self, socket: u64, frame: ServerFrame) -> Vec<Effect> {
        self.give(Input::Frame {
            socket,
            frame: Box::new(frame),
        })
    }

    fn event(&mut self, socket: u64, event: RawEvent) -> Vec<u64> {
        delivered(&self.frame(socket, ServerFrame::Event(event)))
    }

    /// Lets time pass up to the next thing that is due, and does it.
    fn wake(&mut self) -> Vec<Effect> {
        self.now_ms = self
            .now_ms
            .max(self.machine.wake_at().expect("something is due"));
        self.give(Input::Tick)
    }

    /// Loses the socket and comes back; the new socket's number and the cursors of its hello.
    fn reconnect(&mut self, socket: u64) -> (u64, Vec<Cursor>) {
        self.give(Input::SocketClosed { socket, code: None });
        let socket = socket_of(&self.wake());
        let hello = self.give(Input::SocketOpened { socket });
        (socket, cursors_of(&hello))
    }
}

fn socket_of(effects: &[Effect]) -> u64 {
    effects
        .iter()
        .find_map(|effect| {
            if let Effect::Connect { socket, .. } = effect {
                Some(*socket)
            } else {
                None
            }
        })
        .expect("it connects")
}

fn cursors_of(effects: &[Effect]) -> Vec<Cursor> {
    match transmitted(effects).first() {
        Some(ClientFrame::Hello(hello)) => hello.cursors.clone().unwrap_or_default(),
        other => panic!("no hello: {other:?}"),
    }
}

fn transmitted(effects: &[Effect]) -> Vec<ClientFrame> {
    effects
        .iter()
        .filter_map(|effect| {
            if let Effect::Transmit(frame) = effect {
                Some(frame.clone())
            } else {
                None
            }
        })
        .collect()
}

fn delivered(effects: &[Effect]) -> Vec<u64> {
    effects
        .iter()
        .filter_map(|effect| {
            if let Effect::Notify(Notice::Delivered(event)) = effect {
                Some(event.seq)
            } else {
                None
            }
        })
        .collect()
}

/// (fetch, conversation, `from_seq`) of each fetch.
fn fetches(effects: &[Effect]) -> Vec<(u64, Uuid, u64)> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Fetch {
                fetch,
                conversation_id,
                from_seq,
                ..
            } => Some((*fetch, *conversation_id, *from_seq)),
            _other => None,
        })
        .collect()
}

fn welcome() -> ServerFrame {
    ServerFrame::Welcome(Box::new(Welcome {
        user: User {
            id: ME,
            username: "me".into(),
            display_name: "Me".into(),
            avatar_url: None,
            status: None,
            bot: false,
        },
        session_id: Uuid::nil(),
        device_id: Uuid::nil(),
        node: "n1".into(),
        server_time: Rfc3339::from_millis(0),
        heartbeat_s: HEARTBEAT_S,
        limits: Limits::default(),
    }))
}

fn event(conversation_id: Uuid, epoch: u64, seq: u64) -> RawEvent {
    let kind = "test".to_owned();
    RawEvent {
        conversation_id,
        epoch,
        seq,
        at: Rfc3339::from_millis(0),
        by: ME,
        event: EventData::Other {
            kind,
            data: serde_json::Value::Null,
        },
        command_id: command(u128::from(seq)),
        message_no: None,
    }
}

fn cursor(conversation_id: Uuid, epoch: u64, seq: u64) -> Cursor {
    Cursor {
        conversation_id,
        epoch,
        seq,
    }
}

fn send(n: u128) -> ClientFrame {
    ClientFrame::Send(Send {
        id: command(n),
        conversation_id: conversation(1),
        body: format!("message {n}"),
        reply_to_no: None,
        thread_root_no: None,
        attachments: None,
        retry: None,
        trace: None,
    })
}

fn ack(n: u128, seq: u64) -> ServerFrame {
    ServerFrame::Ack(Ack {
        id: command(n),
        conversation_id: conversation(1),
        epoch: 1,
        seq,
        message_no: Some(seq),
        at: Rfc3339::from_millis(0),
        duplicate: false,
    })
}

fn error(n: u128, code: ErrorCode) -> ServerFrame {
    ServerFrame::Error(ErrorFrame {
        id: Some(command(n)),
        code,
        detail: "no".into(),
        retry_after_ms: None,
        fields: None,
    })
}

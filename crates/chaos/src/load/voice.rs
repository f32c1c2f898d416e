//! One connected person: a client of the library, everything it was told, and everything its sockets brought.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hubbub_checker::history::Time;
use hubbub_checker::{Delivery, Event, Frame, FrameSeen, History, Socket, Told};
use hubbub_client::{Client, Events, FrameTap, Notice, Rest};
use hubbub_wire::client::{ClientFrame, ServerFrame};
use uuid::Uuid;

use crate::clock::Clock;

/// Sockets that one client may open in a run before their numbers would meet those of the next client.
const SOCKETS_PER_CLIENT: u64 = 1 << 20;
/// Conversations that one client may follow before numbers would meet.
const CONVERSATIONS_PER_CLIENT: u64 = 1 << 16;

/// What one client has written down.
#[derive(Debug, Default)]
pub struct Notes {
    /// For the checker.
    pub history: History,
    /// Last seq that the application was told, by conversation.
    pub last_seq: HashMap<Uuid, u64>,
    /// Newest message number, by conversation.
    pub last_no: HashMap<Uuid, u64>,
    /// Stretches without a caught-up connection.
    pub breaks: Vec<(Time, Time)>,
    /// Since when there is no caught-up connection.
    pub down_since: Option<Time>,
    /// Connections that ended for any reason.
    pub reconnects: u64,
    /// `resync` frames.
    pub resyncs: u64,
    /// Texts that could not be read.
    pub unreadable: u64,
}

/// One connected person.
#[derive(Debug)]
pub struct Voice {
    /// Index of the person.
    pub n: usize,
    /// Account.
    pub user: Uuid,
    /// Node it prefers.
    pub home: usize,
    /// How many nodes there are.
    pub nodes: usize,
    /// The connection.
    pub client: Client,
    /// REST at every node, in the order of the nodes.
    pub rests: Vec<Rest>,
    notes: Arc<Mutex<Notes>>,
}

impl Voice {
    /// Wraps a client whose tap is of these notes.
    pub fn new(
        n: usize,
        user: Uuid,
        home: usize,
        client: Client,
        rests: Vec<Rest>,
        notes: Arc<Mutex<Notes>>,
    ) -> Self {
        Self {
            n,
            user,
            home,
            nodes: rests.len(),
            client,
            rests,
            notes,
        }
    }

    /// What was written down so far.
    pub fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node that the connection is at, or was last.
    pub fn node(&self) -> u32 {
        let relative = match self.client.state() {
            hubbub_client::State::Connecting { node } | hubbub_client::State::Live { node, .. } => {
                node
            }
            hubbub_client::State::Disconnected { .. } => 0,
        };
        absolute(self.home, relative, self.nodes)
    }

    /// Drops the connection and opens one at that node.
    pub async fn move_to(&self, node: usize) {
        let relative = (node + self.nodes - self.home % self.nodes) % self.nodes;
        self.client.force_reconnect(relative).await;
    }
}

/// The number of a person's subscription to a conversation.
pub fn subscription(person: usize, conversation: usize) -> u64 {
    person as u64 * CONVERSATIONS_PER_CLIENT + conversation as u64
}

fn absolute(home: usize, relative: usize, nodes: usize) -> u32 {
    u32::try_from((home + relative) % nodes.max(1)).unwrap_or(u32::MAX)
}

/// Sees raw frames before the library puts anything in order.
#[derive(Debug)]
pub struct Tap {
    /// Index of the person.
    pub n: usize,
    /// Account.
    pub user: Uuid,
    /// Node it prefers.
    pub home: usize,
    /// How many nodes there are.
    pub nodes: usize,
    /// The clock of the run.
    pub clock: Clock,
    /// Where it is written down.
    pub notes: Arc<Mutex<Notes>>,
}

impl FrameTap for Tap {
    /// The hello opens the socket: what it asks is what the resume must bring (I9).
    fn sent(&self, node: usize, socket: u64, frame: &ClientFrame) {
        let ClientFrame::Hello(hello) = frame else {
            return;
        };
        let cursors = hello.cursors.iter().flatten();
        let opened = Socket {
            socket: self.n as u64 * SOCKETS_PER_CLIENT + socket,
            user: self.user,
            session: None,
            node: absolute(self.home, node, self.nodes),
            hello_at: self.clock.now(),
            cursors: cursors
                .map(|cursor| (cursor.conversation_id, cursor.epoch, cursor.seq))
                .collect(),
        };
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.history.sockets.push(opened);
    }

    fn frame(&self, _node: usize, socket: u64, text: &str) {
        let at = self.clock.now();
        let number = self.n as u64 * SOCKETS_PER_CLIENT + socket;
        let frames = ServerFrame::decode(text);
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(frames) = frames else {
            notes.unreadable += 1;
            return;
        };
        for frame in &frames {
            if matches!(frame, ServerFrame::Resync(_)) {
                notes.resyncs += 1;
            }
            if let Some(frame) = Frame::of(frame) {
                notes.history.frames.push(FrameSeen {
                    socket: number,
                    at,
                    frame,
                });
            }
        }
    }
}

/// Writes down what the application is told, until the client ends.
pub async fn listen(
    person: usize,
    conversations: BTreeMap<Uuid, usize>,
    clock: Clock,
    notes: Arc<Mutex<Notes>>,
    mut events: Events,
) {
    while let Some(notice) = events.next().await {
        let at = clock.now();
        let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
        let told = match &notice {
            Notice::Delivered(event) => {
                notes.last_seq.insert(event.conversation_id, event.seq);
                if let Some(no) = event.message_no {
                    notes.last_no.insert(event.conversation_id, no);
                }
                Some((
                    event.conversation_id,
                    Told::Event(Event::from(event.as_ref())),
                ))
            }
            Notice::Reset {
                conversation_id,
                from_seq,
            } => {
                notes
                    .last_seq
                    .insert(*conversation_id, from_seq.saturating_sub(1));
                Some((
                    *conversation_id,
                    Told::Reset {
                        from_seq: *from_seq,
                    },
                ))
            }
            Notice::Removed {
                conversation_id, ..
            } => Some((*conversation_id, Told::Removed)),
            Notice::State(state) => {
                match (state.is_caught_up(), notes.down_since) {
                    (true, Some(since)) => {
                        notes.breaks.push((since, at));
                        notes.down_since = None;
                    }
                    (false, None) => {
                        notes.down_since = Some(at);
                        notes.reconnects += 1;
                    }
                    (true, None) | (false, Some(_)) => {}
                }
                None
            }
            _other => None,
        };
        if let Some((conversation, told)) = told
            && let Some(index) = conversations.get(&conversation)
        {
            notes.history.deliveries.push(Delivery {
                subscription: subscription(person, *index),
                at,
                told,
            });
        }
    }
}

/// Whose subscription this is.
pub fn person_of_subscription(subscription: u64) -> usize {
    usize::try_from(subscription / CONVERSATIONS_PER_CLIENT).unwrap_or(usize::MAX)
}

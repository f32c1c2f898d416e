//! Who is in a room, and how a message gets from one to all: numbered, stored, then one frame for everybody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::ws::Utf8Bytes;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::store::{Message, Store};

/// Frames waiting for one socket at most; a socket that reads too slowly is left out, and its client's own check fails the run.
pub(super) const FRAMES_MAX: usize = 4_096;

/// Every room of this server.
#[derive(Clone)]
pub(super) struct Rooms {
    rooms: Arc<Mutex<HashMap<Uuid, Arc<Room>>>>,
    store: Store,
}

/// One room.
pub(super) struct Room {
    id: Uuid,
    /// Held from numbering a message to handing it to the store, so that both have one order.
    last_seq: tokio::sync::Mutex<i64>,
    members: Mutex<Vec<mpsc::Sender<Utf8Bytes>>>,
}

impl Rooms {
    pub(super) fn new(store: Store) -> Self {
        Self {
            rooms: Arc::default(),
            store,
        }
    }

    /// The room of this id with one more member, who reads from the receiver.
    pub(super) fn enter(
        &self,
        id: Uuid,
    ) -> (
        Arc<Room>,
        mpsc::Sender<Utf8Bytes>,
        mpsc::Receiver<Utf8Bytes>,
    ) {
        let (sender, frames) = mpsc::channel(FRAMES_MAX);
        let room = Arc::clone(locked(&self.rooms).entry(id).or_insert_with(|| {
            Arc::new(Room {
                id,
                last_seq: tokio::sync::Mutex::default(),
                members: Mutex::default(),
            })
        }));
        locked(&room.members).push(sender.clone());
        (room, sender, frames)
    }

    /// Hands a message to the store, numbered; what follows is its [`Delivery`]. In the order of the calls.
    pub(super) async fn say(
        &self,
        room: &Arc<Room>,
        sender: &mpsc::Sender<Utf8Bytes>,
        command: Uuid,
        body: String,
    ) {
        let mut last_seq = room.last_seq.lock().await;
        *last_seq += 1;
        let seq = *last_seq;
        let delivery = Delivery {
            ack: ack_of(room, seq, command),
            event: event_of(room, seq, command, &body),
            sender: sender.clone(),
            room: Arc::clone(room),
        };
        // Still numbered: what is handed in has the order of the numbers.
        self.store
            .put(Message {
                room: room.id,
                seq,
                command,
                body,
                delivery,
            })
            .await;
    }
}

/// What is done when a message is committed: the frames, encoded once, and who gets them.
pub(super) struct Delivery {
    room: Arc<Room>,
    sender: mpsc::Sender<Utf8Bytes>,
    ack: Utf8Bytes,
    event: Utf8Bytes,
}

impl Delivery {
    pub(super) fn deliver(self) {
        let _too_slow_or_gone = self.sender.try_send(self.ack);
        locked(&self.room.members).retain(|member| member.try_send(self.event.clone()).is_ok());
    }
}

fn event_of(room: &Room, seq: i64, command: Uuid, body: &str) -> Utf8Bytes {
    // Bodies of the load have nothing to escape.
    format!(
        "{{\"t\":\"event\",\"conversation_id\":\"{}\",\"epoch\":1,\"seq\":{seq},\"at\":\"2026-01-01T00:00:00.000Z\",\
         \"by\":\"{}\",\"kind\":\"message_sent\",\"data\":{{\"body\":\"{body}\"}},\"command_id\":\"{command}\",\
         \"message_no\":{seq}}}",
        room.id, room.id
    )
    .into()
}

fn ack_of(room: &Room, seq: i64, command: Uuid) -> Utf8Bytes {
    format!(
        "{{\"t\":\"ack\",\"id\":\"{command}\",\"conversation_id\":\"{}\",\"epoch\":1,\"seq\":{seq},\"message_no\":{seq},\
         \"at\":\"2026-01-01T00:00:00.000Z\"}}",
        room.id
    )
    .into()
}

/// Nothing is left half done by a panic while these locks are held.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

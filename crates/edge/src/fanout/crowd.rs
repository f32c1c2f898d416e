//! The largest rooms: their events are collected for a moment and go out together, whole only to sockets that have the room open.
//!
//! A change of members goes out at once, and everything collected before it: so what waits has one and the same audience.

use std::collections::HashMap;

use hubbub_domain::conversation::Event;
use hubbub_domain::ids::{ConversationId, UserId};

use crate::fanout::hub::Hub;
use crate::fanout::rooms::{Arrival, Members};
use crate::sessions::SocketId;

/// Events of one room that are collected at most; more go out at once.
pub(crate) const CROWD_EVENTS_MAX: usize = 1_024;

/// What is collected.
#[derive(Debug, Default)]
pub(crate) struct Crowds {
    rooms: HashMap<ConversationId, Crowd>,
}

#[derive(Debug)]
struct Crowd {
    arrivals: Vec<Arrival>,
    due_ms: u64,
}

impl Crowds {
    /// When something has waited long enough. Few rooms are that large.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        self.rooms.values().map(|crowd| crowd.due_ms).min()
    }

    /// Takes an arrival; `true` when the room should not wait any longer.
    fn push(&mut self, arrival: Arrival, due_ms: u64) -> bool {
        let crowd = self
            .rooms
            .entry(arrival.recorded.conversation)
            .or_insert(Crowd {
                arrivals: Vec::new(),
                due_ms,
            });
        crowd.arrivals.push(arrival);
        crowd.arrivals.len() >= CROWD_EVENTS_MAX
    }

    fn due(&self, now_ms: Option<u64>) -> Vec<ConversationId> {
        let rooms = self.rooms.iter();
        rooms
            .filter(|(_, crowd)| now_ms.is_none_or(|now| crowd.due_ms <= now))
            .map(|(id, _)| *id)
            .collect()
    }
}

impl Hub {
    /// Gives an arrival out, now or with others of its room, and folds it.
    pub(super) fn give(&mut self, arrival: Arrival) {
        let conversation = arrival.recorded.conversation;
        let crowd = self
            .deps
            .modes
            .is_crowd(self.rooms.audience(&arrival).len());
        let whispers = if crowd && !changes_members(&arrival.recorded.event) {
            let every = u64::try_from(self.deps.modes.crowd_every.as_millis()).unwrap_or(u64::MAX);
            let due_ms = self.now_ms().saturating_add(every);
            let whispers = self.rooms.apply(&arrival);
            if self.crowds.push(arrival, due_ms) {
                self.flush_crowd(conversation);
            }
            whispers
        } else {
            self.flush_crowd(conversation);
            self.hand_out(&arrival, false);
            self.rooms.apply(&arrival)
        };
        for whisper in whispers {
            self.whisper(conversation, whisper);
        }
    }

    /// Gives out what is due, everything when no time is given.
    pub(super) fn flush_crowds(&mut self, now_ms: Option<u64>) {
        for conversation in self.crowds.due(now_ms) {
            self.flush_crowd(conversation);
        }
    }

    pub(super) fn flush_crowd(&mut self, conversation: ConversationId) {
        if let Some(crowd) = self.crowds.rooms.remove(&conversation) {
            for arrival in &crowd.arrivals {
                self.hand_out(arrival, true);
            }
        }
    }

    /// A socket shows a conversation, or does so no longer. Whoever opens one will want to see typing: its members are read.
    pub(super) fn on_screen(
        &mut self,
        user: UserId,
        socket: SocketId,
        conversation: ConversationId,
        (on, read): (bool, bool),
    ) {
        // What was collected goes to those who had it open before.
        self.flush_crowd(conversation);
        if self.sessions.show(user, socket, conversation, on)
            && read
            && self.rooms.members(conversation) == Members::Unknown
            && self.jobs.has_room()
        {
            self.rooms.expect_members(conversation);
            self.jobs.read_members(conversation, None);
        }
    }
}

fn changes_members(event: &Event) -> bool {
    match event {
        Event::ConversationCreated { .. }
        | Event::MemberAdded { .. }
        | Event::MemberRemoved { .. } => true,
        Event::RoleChanged { .. } | Event::MessageSent { .. } => false,
    }
}

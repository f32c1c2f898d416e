//! One event to everyone who receives it on this node.
//!
//! Fault point: `edge.event.given`, before the first socket.

use std::collections::HashMap;
use std::sync::Arc;

use hubbub_domain::conversation::{Event, RemovalReason};
use hubbub_domain::ids::UserId;
use hubbub_telemetry::fault;
use hubbub_wire::client::ServerFrame;
use hubbub_wire::client::outbound::Removed;

use crate::fanout::hub::Hub;
use crate::fanout::rooms::Arrival;
use crate::objects;
use crate::session::outbox::Outbox;
use crate::session::queue::{EventItem, Frame, Ticket};

/// Sockets whose user became a member by this event: they get the summary first.
type Joined = HashMap<UserId, Vec<(Arc<Outbox>, Ticket)>>;

impl Hub {
    /// Queues an arrival to every socket that gets it. In a crowd only those that have the room open get what was written.
    pub(super) fn hand_out(&mut self, arrival: &Arrival, crowd: bool) {
        fault::point("edge.event.given");
        // One turn may give out thousands to thousands: a long one is no pause.
        self.beat();
        let recorded = &arrival.recorded;
        let mut joined = Joined::new();
        let mut encoded: Option<Frame> = None;
        let mut outline: Option<Frame> = None;
        for user in self.rooms.audience(arrival).iter().copied() {
            let seats = self.sessions.of(user);
            if seats.is_empty() {
                continue;
            }
            let frame = encoded.get_or_insert_with(|| {
                objects::frame(&ServerFrame::Event(objects::raw_event(
                    arrival.epoch,
                    recorded,
                )))
            });
            let enters = enters(&recorded.event, user);
            let leaves = leaves(&recorded.event, user);
            for seat in seats {
                let frame = if crowd && !seat.open.contains(&recorded.conversation) {
                    outline.get_or_insert_with(|| {
                        let event = objects::outline(objects::raw_event(arrival.epoch, recorded));
                        objects::frame(&ServerFrame::Event(event))
                    })
                } else {
                    &*frame
                };
                let item = EventItem {
                    conversation: recorded.conversation,
                    epoch: arrival.epoch,
                    seq: recorded.seq,
                    frame: frame.clone(),
                };
                if enters {
                    let ticket = seat.outbox.hold(recorded.conversation);
                    joined
                        .entry(user)
                        .or_default()
                        .push((Arc::clone(&seat.outbox), ticket));
                }
                seat.outbox.event(item);
                if let Some(reason) = leaves {
                    let removed = Removed {
                        conversation_id: recorded.conversation.uuid(),
                        reason: reason.into(),
                    };
                    seat.outbox.control(
                        recorded.conversation,
                        recorded.seq,
                        objects::frame(&ServerFrame::Removed(removed)),
                    );
                }
            }
        }
        if encoded.is_some() {
            let late_ms = self.deps.clock.now().millis_since(recorded.at).max(0);
            self.deps
                .metrics
                .feed
                .delivery_seconds
                .observe(std::time::Duration::from_millis(late_ms.unsigned_abs()).as_secs_f64());
        }
        for (user, sockets) in joined {
            self.jobs
                .announce(recorded.conversation, user, recorded.seq, sockets);
        }
    }
}

/// Whether `user` becomes a member by this event.
fn enters(event: &Event, user: UserId) -> bool {
    match event {
        Event::ConversationCreated { members, .. } => {
            members.iter().any(|(member, _)| *member == user)
        }
        Event::MemberAdded { user: added, .. } => *added == user,
        Event::MemberRemoved { .. } | Event::RoleChanged { .. } | Event::MessageSent { .. } => {
            false
        }
    }
}

/// Why `user` is no longer a member after this event.
fn leaves(event: &Event, user: UserId) -> Option<RemovalReason> {
    match event {
        Event::MemberRemoved {
            user: removed,
            reason,
        } if *removed == user => Some(*reason),
        Event::MemberRemoved { .. }
        | Event::ConversationCreated { .. }
        | Event::MemberAdded { .. }
        | Event::RoleChanged { .. }
        | Event::MessageSent { .. } => None,
    }
}

//! Typing and markers: shown to members now, or not at all.

use bytes::Bytes;
use hubbub_bus::{Delivery, Subject};
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::MessageNo;
use hubbub_wire::bus::Ephemeral;
use hubbub_wire::client::ServerFrame;
use hubbub_wire::client::outbound::{MarkerMoved, MemberTyping};

use crate::fanout::hub::Hub;
use crate::fanout::rooms::{Members, Whisper};
use crate::objects;
use crate::session::queue::LatestKey;

impl Hub {
    /// A socket of this node says that its user types.
    pub(super) fn publish_typing(&mut self, conversation: ConversationId, user: UserId, on: bool) {
        self.whisper(
            conversation,
            Whisper::Publish(Ephemeral::Typing {
                conversation,
                user,
                on,
            }),
        );
    }

    /// Some node says that something moved.
    pub(super) fn on_ephemeral(&mut self, delivery: &Delivery) {
        if self.sessions.is_empty() {
            return;
        }
        match Ephemeral::decode(&delivery.payload) {
            Ok(ephemeral) => {
                let (Ephemeral::Typing { conversation, .. }
                | Ephemeral::Marker { conversation, .. }) = ephemeral;
                self.whisper(conversation, Whisper::Show(ephemeral));
            }
            Err(error) => tracing::debug!(%error, "an ephemeral message could not be read"),
        }
    }

    /// Does with a whisper what is due. Members that are not at hand are never read for it: this class of news costs no store anything.
    pub(super) fn whisper(&mut self, conversation: ConversationId, whisper: Whisper) {
        let modes = self.deps.modes;
        let members = match self.rooms.members(conversation) {
            Members::Known(members) => members,
            Members::Loading => return self.rooms.wait(conversation, whisper),
            Members::Unknown => {
                // One's own devices need no list of members.
                match &whisper {
                    Whisper::Show(Ephemeral::Marker { .. }) => &[],
                    Whisper::Show(Ephemeral::Typing { .. }) | Whisper::Publish(_) => {
                        self.deps.metrics.edge.shed.inc();
                        return;
                    }
                }
            }
        };
        match whisper {
            Whisper::Publish(ephemeral) => {
                let (Ephemeral::Typing { user, .. } | Ephemeral::Marker { user, .. }) = &ephemeral;
                if members.binary_search(user).is_ok() && modes.shows_typing(members.len()) {
                    let payload: Bytes = ephemeral.encode();
                    let subject =
                        Subject::Ephemeral(self.deps.partitions.partition_of(conversation));
                    self.jobs.publish(subject, payload);
                }
            }
            Whisper::Show(Ephemeral::Typing { user, on, .. }) => {
                if members.binary_search(&user).is_err() || !modes.shows_typing(members.len()) {
                    return;
                }
                let typing = MemberTyping {
                    conversation_id: conversation.uuid(),
                    user_id: user.uuid(),
                    on,
                };
                let frame = objects::frame(&ServerFrame::Typing(typing));
                for seat in members
                    .iter()
                    .filter(|member| **member != user)
                    .flat_map(|member| self.sessions.of(*member))
                {
                    seat.outbox
                        .latest(LatestKey::Typing(conversation, user), frame.clone());
                }
            }
            Whisper::Show(Ephemeral::Marker {
                user,
                read_no,
                delivered_no,
                at,
                ..
            }) => {
                let moved = MarkerMoved {
                    conversation_id: conversation.uuid(),
                    user_id: user.uuid(),
                    read_no: read_no.map(MessageNo::get),
                    delivered_no: delivered_no.map(MessageNo::get),
                    at: at.into(),
                };
                let frame = objects::frame(&ServerFrame::Marker(moved));
                // Receipts of each person only where everyone is listed; one's own devices always.
                let everyone =
                    modes.shows_receipts(members.len()) && members.binary_search(&user).is_ok();
                let audience: &[UserId] = if everyone { members } else { &[user] };
                for seat in audience.iter().flat_map(|member| self.sessions.of(*member)) {
                    seat.outbox
                        .latest(LatestKey::Marker(conversation, user), frame.clone());
                }
            }
        }
    }
}

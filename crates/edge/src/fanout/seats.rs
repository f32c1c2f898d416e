//! Who sits here: sockets come with their cursors, and what this node itself has given out last needs no question to anyone.

use std::sync::Arc;

use hubbub_domain::conversation::RemovalReason;
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{Epoch, Seq};
use hubbub_wire::client::ServerFrame;
use hubbub_wire::client::outbound::Removed;

use crate::fanout::hub::Hub;
use crate::fanout::rooms::Skipped;
use crate::fanout::{CatchUp, SeatRequest, Seating};
use crate::feed::PartitionFeed;
use crate::objects;

impl Hub {
    /// Seats a socket and looks at its cursors.
    pub(super) fn seat(&mut self, request: SeatRequest) {
        let SeatRequest {
            user,
            seat,
            account_changes,
            cursors,
            reply,
        } = request;
        if self.is_turned_away() {
            self.deps.metrics.edge.blind_closes.inc();
            // Whoever asked may be gone already.
            drop(reply.send(Seating::TurnedAway));
            return;
        }
        for cursor in &cursors {
            // What is collected for later counts as given out. It is for those who sit here already: the cursor brings it to this one.
            self.flush_crowd(ConversationId::from_uuid(cursor.conversation_id));
        }
        let outbox = Arc::clone(&seat.outbox);
        let socket = seat.socket;
        if !self.sessions.seat(user, seat, self.deps.sockets_per_user) {
            drop(reply.send(Seating::TooMany));
            return;
        }
        self.deps.metrics.edge.sockets.inc();
        if self.revisions.changes() != account_changes {
            self.recheck(user);
        }
        let mut catch_ups: Vec<CatchUp> = Vec::new();
        let mut current: u64 = 0;
        for cursor in cursors {
            let conversation = ConversationId::from_uuid(cursor.conversation_id);
            let (epoch, seq) = (Epoch::new(cursor.epoch), Seq::new(cursor.seq));
            if self.is_current(conversation, epoch, seq) {
                if self.rooms.is_learned(conversation) {
                    let ticket = outbox.hold(conversation);
                    outbox.note_held(conversation, epoch);
                    outbox.release(conversation, ticket, Some(seq));
                }
                current += 1;
            } else if catch_ups
                .iter()
                .all(|other| other.conversation != conversation)
            {
                catch_ups.push(CatchUp {
                    conversation,
                    epoch,
                    seq,
                    ticket: outbox.hold(conversation),
                });
            }
        }
        let metrics = &self.deps.metrics.edge;
        metrics.resumes_without_query.inc_by(current);
        metrics
            .resumes_with_query
            .inc_by(u64::try_from(catch_ups.len()).unwrap_or(0));
        let seated = Seating::Seated {
            catch_ups,
            forgotten: self.rooms.forgotten(),
        };
        if reply.send(seated).is_err() {
            self.sessions.leave(user, socket);
            self.deps.metrics.edge.sockets.dec();
        }
    }

    /// Whether this node knows by itself that nothing comes after this event. A feed that has heard of more than it has given out does not:
    /// what is missing may be of this conversation.
    fn is_current(&self, conversation: ConversationId, epoch: Epoch, seq: Seq) -> bool {
        let partition = self.deps.partitions.partition_of(conversation);
        self.rooms.head(conversation) == Some((epoch, seq))
            && self
                .feeds
                .get(usize::from(partition.get()))
                .is_some_and(PartitionFeed::is_at_head)
    }

    /// Tells whoever was or is in a room that a stretch of its events was skipped.
    pub(super) fn skip(&mut self, conversation: ConversationId, skipped: &Skipped) {
        tracing::warn!(conversation.id = %conversation, "too many events waited for the members of a room: they have to resync");
        self.deps.metrics.edge.rooms_skipped.inc();
        let seq = skipped.seq;
        let resync = objects::resync_frame(Some(&[(conversation, skipped.epoch, seq)]));
        let gone = Removed {
            conversation_id: conversation.uuid(),
            reason: RemovalReason::Removed.into(),
        };
        let gone = objects::frame(&ServerFrame::Removed(gone));
        for user in &skipped.before {
            if skipped.after.binary_search(user).is_err() {
                for seat in self.sessions.of(*user) {
                    seat.outbox.control(conversation, seq, gone.clone());
                }
            }
        }
        let mut joined: Vec<UserId> = Vec::new();
        for user in &skipped.after {
            if self.sessions.has(*user) && skipped.before.binary_search(user).is_err() {
                joined.push(*user);
            }
        }
        for user in joined {
            let seats = self.sessions.of(user).iter();
            let sockets = seats
                .map(|seat| (Arc::clone(&seat.outbox), seat.outbox.hold(conversation)))
                .collect();
            self.jobs.announce(conversation, user, seq, sockets);
        }
        for seat in skipped
            .after
            .iter()
            .flat_map(|user| self.sessions.of(*user))
        {
            seat.outbox.control(conversation, seq, resync.clone());
            self.deps.metrics.edge.resyncs.inc();
        }
    }
}

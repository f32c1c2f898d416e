//! Members' markers in the sequencer: loaded when the first mark comes, moved in memory, written by the partition's lane.
//!
//! Marks wait for the markers in a queue of their own, so that a message never waits for them.

use hubbub_domain::conversation::Rejection;
use hubbub_event_log::Marker;
use hubbub_wire::bus::{MarkRequest, OwnerReply};

use crate::conversation::core::{MarkerPhase, Sequencer, Unread, no_service};
use crate::conversation::registers::Registers;
use crate::conversation::turn::{Effect, Now, Ticket, Turn};

impl Sequencer {
    /// The stored markers; `Err` when they could not be read.
    pub fn markers_loaded(
        &mut self,
        markers: Result<Vec<Marker>, Unread>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Ok(markers) = markers else {
            self.registers = MarkerPhase::Unknown;
            for (ticket, _) in self.marks.drain(..) {
                effects.push(no_service(ticket));
            }
            return;
        };
        self.registers = MarkerPhase::Known(Registers::restore(markers));
        for (ticket, mark) in std::mem::take(&mut self.marks) {
            self.move_marker(ticket, mark, now, effects);
        }
    }

    pub(super) fn mark(
        &mut self,
        ticket: Ticket,
        mark: MarkRequest,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if !self.state.is_member(mark.user) {
            let reply = OwnerReply::Rejected(Rejection::NotFound);
            self.wait_for_durable(Turn::Mark(ticket, mark), reply, effects);
            return;
        }
        match self.registers {
            MarkerPhase::Known(_) => self.move_marker(ticket, mark, now, effects),
            MarkerPhase::Loading => self.marks.push_back((ticket, mark)),
            MarkerPhase::Unknown => {
                self.marks.push_back((ticket, mark));
                self.registers = MarkerPhase::Loading;
                effects.push(Effect::LoadMarkers);
            }
        }
    }

    fn move_marker(
        &mut self,
        ticket: Ticket,
        mark: MarkRequest,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let MarkerPhase::Known(registers) = &mut self.registers else {
            effects.push(no_service(ticket));
            return;
        };
        let moved = registers.advance(self.conversation, &mark, self.durable_no, now.wall);
        // A caller who waits is answered by a write even when nothing moved: an earlier move may not be stored yet.
        if mark.wait_stored || moved.read_moved || moved.delivered_moved {
            effects.push(Effect::Mark {
                ticket,
                moved,
                wait: mark.wait_stored,
            });
        }
        if !mark.wait_stored {
            effects.push(Effect::Reply {
                ticket,
                reply: OwnerReply::Marked,
            });
        }
    }
}

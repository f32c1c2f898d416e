//! Who is told "not stored" without having been judged: whose time is over, or whose state could not be read.
//!
//! Only what is not in the log for certain is denied; of everything else the outcome is open, and the sender asks again.
//!
//! One gap is left on purpose. The id of a command that is not marked as a repetition and is younger than what the window has forgotten
//! counts as new. A client that repeats without the mark, against its contract, and with a clock that runs ahead, may be told that its
//! repetition was not stored, although what it repeats is; to close this, every send that a refused append takes back would have to end
//! open.

use std::time::Instant;

use hubbub_domain::conversation::limits::{COMMAND_ID_AHEAD_MS_MAX, DEDUPE_AGE_MS};
use hubbub_domain::conversation::must_probe;
use hubbub_domain::time::Timestamp;
use hubbub_wire::bus::{How, OwnerReply};

use crate::answer::unavailable;
use crate::conversation::core::{Judged, Sequencer};
use crate::conversation::turn::{Ask, Effect, LookedUp, Now, Turn};

/// What is said to a turn when there is no state to judge it upon.
pub(super) fn without_state(turn: &Turn, now: Now) -> OwnerReply {
    match turn {
        Turn::Command(ask) => open_if(match &ask.looked_up {
            LookedUp::Row(_) => true,
            LookedUp::Nothing => false,
            LookedUp::No => ask.retry || !is_young(ask, now.wall),
        }),
        Turn::Mark(..) => unavailable(),
    }
}

/// Whether the id says that it was made lately: what any window would remember by its age.
fn is_young(ask: &Ask, now: Timestamp) -> bool {
    ask.command.id.made_at().is_some_and(|made_at| {
        now.millis_since(made_at) <= DEDUPE_AGE_MS
            && made_at <= now.plus_millis(COMMAND_ID_AHEAD_MS_MAX)
    })
}

fn open_if(may_be_stored: bool) -> OwnerReply {
    if may_be_stored {
        OwnerReply::Unknown
    } else {
        unavailable()
    }
}

impl Sequencer {
    /// Whoever would not be stored in time is refused, judged or not; the others wait again, in order.
    pub(super) fn expire(&mut self, until: Instant, now: Now, effects: &mut Vec<Effect>) {
        let judged = std::mem::take(&mut self.judged);
        let waiting = std::mem::take(&mut self.waiting);
        let judged = judged.into_iter().map(|judged| {
            let reply = self.not_in_time(&judged, now);
            (judged.turn, reply)
        });
        let waiting = waiting.into_iter().map(|turn| {
            let reply = match &turn {
                Turn::Command(ask) => self.too_late(ask, now),
                Turn::Mark(..) => unavailable(),
            };
            (turn, reply)
        });
        for (turn, reply) in judged.chain(waiting).collect::<Vec<_>>() {
            match &turn {
                Turn::Command(ask) if ask.deadline <= until => {
                    self.expired = self.expired.saturating_add(1);
                    let ticket = ask.ticket;
                    effects.push(Effect::Reply { ticket, reply });
                }
                Turn::Command(_) | Turn::Mark(..) => self.waiting.push_back(turn),
            }
        }
    }

    /// What is said to a command that was judged upon events which were taken back, when there is no time to judge it again.
    fn not_in_time(&self, judged: &Judged, now: Now) -> OwnerReply {
        match (&judged.turn, &judged.reply) {
            (_, reply) if judged.repeats_durable(self.durable) => reply.clone(),
            // Its event was to be stored, so the log held nothing under its id, and does not now (the gap above aside).
            (_, OwnerReply::Accepted(accepted)) if accepted.how == How::Stored => unavailable(),
            (Turn::Command(ask), _) => self.too_late(ask, now),
            (Turn::Mark(..), _) => unavailable(),
        }
    }

    /// What is said to a command whose time is over before it was judged. A repetition that was not looked up may repeat something stored,
    /// and then "not done" would be a lie; so may whatever the log would have been asked for.
    pub(super) fn too_late(&self, ask: &Ask, now: Now) -> OwnerReply {
        let id = ask.command.id;
        open_if(match &ask.looked_up {
            LookedUp::Row(_) => true,
            LookedUp::Nothing => false,
            LookedUp::No => {
                ask.retry
                    || self.state.recent(id).is_some()
                    || must_probe(&self.state, id, ask.retry, now.wall)
            }
        })
    }
}

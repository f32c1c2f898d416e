//! The sequencer of one conversation, without I/O: turns go in, effects come out, in order.
//!
//! ```text
//! waiting ──judge──▶ judged ──durable──▶ replied
//!   ▲                  │
//!   └── taken back ────┘      (nothing of it was stored: judge again on the state that the log holds)
//! ```
//!
//! The state runs ahead of the log: many commands are decided and folded in before the first of them is durable. A reply, also a
//! rejection or the place of a duplicate, waits until the last event that it was judged upon is durable (I15).
//!
//! Never: a clock, a channel, a log. What it needs it asks for with an [`Effect`], and the shell calls back.

mod denials;
mod markers;

use std::collections::VecDeque;

use hubbub_domain::conversation::{
    AuthoredCommand, Decision, Event, State, decide, evolve, judge_repeat, must_probe, recorded,
};
use hubbub_domain::ids::ConversationId;
use hubbub_domain::position::{Epoch, MessageNo, Seq};
use hubbub_event_log::SnapshotRow;
use hubbub_wire::bus::{Accepted, How, MarkRequest, OwnerReply};
use hubbub_wire::snapshot;
use hubbub_wire::stored::EventRow;

use crate::answer::unavailable;
use crate::conversation::origins::Origins;
use crate::conversation::place::{accepted, command_of, recipients};
use crate::conversation::registers::Registers;
use crate::conversation::turn::{
    Ask, Decided, Effect, Loaded, LookedUp, Now, Round, TakeBack, Ticket, Turn,
};
use crate::sabotage;

/// New events that make a snapshot worth its write when the conversation leaves memory (ARCHITECTURE.md §6).
pub const SNAPSHOT_EVENTS_MIN: u64 = 64;
/// New events after which a conversation that never rests is snapshotted, so that a takeover replays no more than about this many.
pub const SNAPSHOT_EVENTS_BUSY: u64 = 1_024;

/// The sequencer.
#[derive(Debug)]
pub struct Sequencer {
    conversation: ConversationId,
    epoch: Epoch,
    round: Round,
    phase: Phase,
    /// Not judged yet, in order of arrival. Bounded by the conversation's permits.
    waiting: VecDeque<Turn>,
    /// Judged; each reply waits for its seq. `after` never falls along the queue. Bounded by the same permits.
    judged: VecDeque<Judged>,
    /// Marks that wait until the markers are there. Bounded by the same permits.
    marks: VecDeque<(Ticket, MarkRequest)>,
    /// The log's state plus everything decided since.
    state: State,
    /// Everything up to here is durable.
    durable: Seq,
    /// Number of the newest durable message.
    durable_no: MessageNo,
    origins: Origins,
    /// Newest snapshot that was stored or handed out.
    snapshot: Seq,
    /// A snapshot that waits until all of it is durable.
    held_snapshot: Option<SnapshotRow>,
    /// Commands refused for their deadline since this was last asked.
    expired: u64,
    registers: MarkerPhase,
}

#[derive(Debug)]
enum Phase {
    /// The state is not there; nobody has asked for it.
    Cold,
    /// The state is on its way.
    Loading,
    /// Judging.
    Ready,
    /// This command's id is being looked up; whatever came later waits behind it (I7).
    Probing(Box<Ask>),
}

#[derive(Debug)]
enum MarkerPhase {
    Unknown,
    Loading,
    Known(Registers),
}

/// A turn whose reply waits.
#[derive(Debug)]
struct Judged {
    turn: Turn,
    after: Seq,
    reply: OwnerReply,
}

impl Judged {
    /// A repetition of what is durable only waits for its turn: a definite no would be a lie about its event.
    fn repeats_durable(&self, durable: Seq) -> bool {
        matches!(&self.reply, OwnerReply::Accepted(accepted)
            if accepted.how == How::Duplicate && accepted.seq <= durable)
    }
}

impl Sequencer {
    pub fn new(conversation: ConversationId, epoch: Epoch, round: Round) -> Self {
        Self {
            conversation,
            epoch,
            round,
            phase: Phase::Cold,
            waiting: VecDeque::new(),
            judged: VecDeque::new(),
            marks: VecDeque::new(),
            state: State::absent(conversation),
            durable: Seq::ZERO,
            durable_no: MessageNo::ZERO,
            origins: Origins::default(),
            snapshot: Seq::ZERO,
            held_snapshot: None,
            expired: 0,
            registers: MarkerPhase::Unknown,
        }
    }

    /// The round in which events are decided now.
    pub fn round(&self) -> Round {
        self.round
    }

    /// The state that the next command is judged upon.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Markers in memory.
    pub fn marker_count(&self) -> usize {
        match &self.registers {
            MarkerPhase::Known(registers) => registers.len(),
            MarkerPhase::Unknown | MarkerPhase::Loading => 0,
        }
    }

    /// Commands refused for their deadline since this was last asked.
    pub fn take_expired(&mut self) -> u64 {
        std::mem::take(&mut self.expired)
    }

    /// Whether nothing waits here and nothing is on its way.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
            && self.judged.is_empty()
            && self.marks.is_empty()
            && matches!(self.phase, Phase::Cold | Phase::Ready)
    }

    /// Takes a turn.
    pub fn receive(&mut self, turn: Turn, now: Now, effects: &mut Vec<Effect>) {
        self.waiting.push_back(turn);
        self.proceed(now, effects);
    }

    /// The state is there.
    pub fn loaded(&mut self, loaded: Loaded, now: Now, effects: &mut Vec<Effect>) {
        if !matches!(self.phase, Phase::Loading) {
            return;
        }
        self.durable = loaded.state.last_seq();
        self.durable_no = loaded.state.last_message_no();
        self.state = loaded.state;
        self.origins = loaded.origins;
        self.snapshot = loaded.snapshot;
        self.phase = Phase::Ready;
        self.proceed(now, effects);
    }

    /// The state could not be had. The next turn tries again.
    pub fn load_failed(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if !matches!(self.phase, Phase::Loading) {
            return;
        }
        self.phase = Phase::Cold;
        for turn in self.waiting.drain(..) {
            let reply = denials::without_state(&turn, now);
            let ticket = turn.ticket();
            effects.push(Effect::Reply { ticket, reply });
        }
    }

    /// What the log holds under the id that was asked for; `Err` when it could not be asked.
    pub fn probed(
        &mut self,
        ticket: Ticket,
        found: Result<Option<EventRow>, Unread>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        match std::mem::replace(&mut self.phase, Phase::Ready) {
            Phase::Probing(mut ask) if ask.ticket == ticket => {
                match found {
                    Ok(row) => {
                        ask.looked_up =
                            row.map_or(LookedUp::Nothing, |row| LookedUp::Row(Box::new(row)));
                        self.waiting.push_front(Turn::Command(ask));
                    }
                    // It was asked for because it may be stored.
                    Err(Unread) => effects.push(Effect::Reply {
                        ticket: ask.ticket,
                        reply: OwnerReply::Unknown,
                    }),
                }
                self.proceed(now, effects);
            }
            // An answer for a round that was taken back.
            other => self.phase = other,
        }
    }

    /// Everything up to `through` is durable.
    pub fn committed(&mut self, through: Seq, effects: &mut Vec<Effect>) {
        self.durable = self.durable.max(through);
        self.release(effects);
        if self
            .held_snapshot
            .as_ref()
            .is_some_and(|held| held.seq <= self.durable)
            && let Some(held) = self.held_snapshot.take()
        {
            effects.push(Effect::SaveSnapshot(held));
        }
    }

    /// Nothing that was not durable has been stored: forget it, and judge again or answer.
    pub fn take_back(&mut self, round: Round, how: &TakeBack, now: Now, effects: &mut Vec<Effect>) {
        self.round = round;
        if self.judged.is_empty() {
            return;
        }
        if self
            .held_snapshot
            .as_ref()
            .is_some_and(|held| held.seq > self.durable)
        {
            self.held_snapshot = None;
        }
        if let Phase::Probing(ask) = std::mem::replace(&mut self.phase, Phase::Cold) {
            self.waiting.push_front(Turn::Command(ask));
        }
        match how {
            TakeBack::Rerun { found } => {
                while let Some(Judged { mut turn, .. }) = self.judged.pop_back() {
                    if let Turn::Command(ask) = &mut turn
                        && let Some(row) = found.iter().find(|row| {
                            row.conversation == self.conversation
                                && row.command_id == ask.command.id
                        })
                    {
                        ask.looked_up = LookedUp::Row(Box::new(row.clone()));
                    }
                    self.waiting.push_front(turn);
                }
            }
            TakeBack::Expired { until } => self.expire(*until, now, effects),
            TakeBack::Answer(reply) => {
                let durable = self.durable;
                for judged in self.judged.drain(..) {
                    effects.push(Effect::Reply {
                        ticket: judged.turn.ticket(),
                        reply: if judged.repeats_durable(durable) {
                            judged.reply
                        } else {
                            reply.clone()
                        },
                    });
                }
            }
        }
        self.proceed(now, effects);
    }

    /// The snapshot worth storing before the conversation leaves memory. Only when idle.
    pub fn last_snapshot(&mut self, now: Now) -> Option<SnapshotRow> {
        let worth = matches!(self.phase, Phase::Ready)
            && self.durable == self.state.last_seq()
            && self.durable.since(self.snapshot) >= SNAPSHOT_EVENTS_MIN;
        if worth { self.draw_snapshot(now) } else { None }
    }

    // === judging ===

    fn proceed(&mut self, now: Now, effects: &mut Vec<Effect>) {
        loop {
            match self.phase {
                Phase::Loading | Phase::Probing(_) => return,
                Phase::Cold => {
                    if !self.waiting.is_empty() {
                        self.phase = Phase::Loading;
                        effects.push(Effect::Load);
                    }
                    return;
                }
                Phase::Ready => {}
            }
            match self.waiting.pop_front() {
                None => return,
                Some(Turn::Command(ask)) => self.judge(ask, now, effects),
                Some(Turn::Mark(ticket, mark)) => self.mark(ticket, mark, now, effects),
            }
        }
    }

    fn judge(&mut self, mut ask: Box<Ask>, now: Now, effects: &mut Vec<Effect>) {
        if sabotage::NO_DEDUPE {
            sabotage::forget_the_id(&mut ask, &self.state);
        }
        if ask.deadline <= now.instant {
            self.expired = self.expired.saturating_add(1);
            effects.push(Effect::Reply {
                ticket: ask.ticket,
                reply: self.too_late(&ask, now),
            });
            return;
        }
        let unasked = match &ask.looked_up {
            LookedUp::Row(row) => {
                let reply = self.repeated(&ask, row);
                self.wait_for_durable(Turn::Command(ask), reply, effects);
                return;
            }
            LookedUp::No => true,
            LookedUp::Nothing => false,
        };
        if unasked && must_probe(&self.state, ask.command.id, ask.retry, now.wall) {
            self.probe(ask, effects);
            return;
        }
        let reply = match decide(&self.state, &ask.command) {
            Err(rejection) => OwnerReply::Rejected(rejection),
            Ok(Decision::Already) => self.already(),
            Ok(Decision::Duplicate(then)) => match self.origins.of(then.seq) {
                Some(epoch) => accepted(self.conversation, epoch, then, How::Duplicate),
                None if unasked => {
                    // The window knows the event but not its epoch; the row does.
                    self.probe(ask, effects);
                    return;
                }
                // The window holds what the log does not: not to be explained, so not to be confirmed.
                None => unavailable(),
            },
            Ok(Decision::Store(event)) => self.store(&ask, event, now, effects),
        };
        self.wait_for_durable(Turn::Command(ask), reply, effects);
    }

    fn probe(&mut self, ask: Box<Ask>, effects: &mut Vec<Effect>) {
        effects.push(Effect::Probe {
            ticket: ask.ticket,
            command: ask.command.id,
        });
        self.phase = Phase::Probing(ask);
    }

    fn store(
        &mut self,
        ask: &Ask,
        event: Event,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> OwnerReply {
        let recorded = recorded(&self.state, &ask.command, event, now.wall);
        evolve(&mut self.state, &recorded);
        self.origins.saw(recorded.seq, self.epoch);
        let place = command_of(&recorded);
        let recipients = recipients(&self.state, &recorded.event);
        effects.push(Effect::Append(Box::new(Decided {
            ticket: ask.ticket,
            recorded,
            recipients,
            deadline: ask.deadline,
        })));
        let new_events = self.state.last_seq().since(self.snapshot);
        if self.held_snapshot.is_none() && new_events >= SNAPSHOT_EVENTS_BUSY {
            self.held_snapshot = self.draw_snapshot(now);
        }
        accepted(self.conversation, self.epoch, place, How::Stored)
    }

    /// The answer to a command whose id the log already holds.
    fn repeated(&self, ask: &Ask, row: &EventRow) -> OwnerReply {
        let recorded = match row.decode() {
            Ok(recorded) => recorded,
            Err(error) => {
                tracing::error!(conversation.id = %self.conversation, seq = %row.seq, %error, "a stored event cannot be read");
                return OwnerReply::Unknown;
            }
        };
        let stored = AuthoredCommand {
            by: recorded.by,
            command: command_of(&recorded),
        };
        match judge_repeat(&self.state, &ask.command, &stored) {
            Ok(Decision::Duplicate(then)) => {
                accepted(self.conversation, row.epoch, then, How::Duplicate)
            }
            // Not an answer that `judge_repeat` has.
            Ok(Decision::Store(_) | Decision::Already) => unavailable(),
            Err(rejection) => OwnerReply::Rejected(rejection),
        }
    }

    fn already(&self) -> OwnerReply {
        OwnerReply::Accepted(Accepted {
            conversation: self.conversation,
            epoch: self.origins.newest().unwrap_or(self.epoch),
            seq: self.state.last_seq(),
            message_no: None,
            at: self.state.last_at(),
            how: How::Already,
        })
    }

    // === durability ===

    fn wait_for_durable(&mut self, turn: Turn, reply: OwnerReply, effects: &mut Vec<Effect>) {
        self.judged.push_back(Judged {
            turn,
            after: self.state.last_seq(),
            reply,
        });
        self.release(effects);
    }

    fn release(&mut self, effects: &mut Vec<Effect>) {
        while self
            .judged
            .front()
            .is_some_and(|judged| judged.after <= self.durable || sabotage::ACK_BEFORE_COMMIT)
        {
            let Some(judged) = self.judged.pop_front() else {
                return;
            };
            if let OwnerReply::Accepted(accepted) = &judged.reply
                && accepted.how == How::Stored
                && let Some(message_no) = accepted.message_no
            {
                self.durable_no = self.durable_no.max(message_no);
            }
            effects.push(Effect::Reply {
                ticket: judged.turn.ticket(),
                reply: judged.reply,
            });
        }
    }

    fn draw_snapshot(&mut self, now: Now) -> Option<SnapshotRow> {
        let seq = self.state.last_seq();
        // Also when there is none to be had: it is not tried again with every event.
        self.snapshot = seq;
        let epoch = self.origins.of(seq)?;
        let data = snapshot::encode(&self.state)?;
        Some(SnapshotRow {
            conversation: self.conversation,
            seq,
            epoch,
            ver: snapshot::SNAPSHOT_VERSION,
            at: now.wall,
            data,
        })
    }
}

/// The log could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unread;

fn no_service(ticket: Ticket) -> Effect {
    Effect::Reply {
        ticket,
        reply: unavailable(),
    }
}

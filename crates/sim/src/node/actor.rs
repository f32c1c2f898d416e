//! A conversation's actor around its sequencer, as `actors/src/conversation/actor.rs` runs it.

use std::collections::BTreeMap;

use hubbub_actors::sim::{
    Ask as Question, Decided, Effect, LoadError, Loaded, LookedUp, MarkerMove, Now, Round,
    Sequencer, TakeBack, Ticket, Turn, Unread,
};
use hubbub_domain::ids::ConversationId;
use hubbub_domain::position::Seq;
use hubbub_event_log::Marker;
use hubbub_wire::bus::{OwnerReply, OwnerRequest};
use hubbub_wire::stored::EventRow;

use crate::wires::{ActorKey, Ask, ReplyTo, To, Wires};

/// A request on its way to its conversation.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where.
    pub conversation: ConversationId,
    /// What.
    pub want: OwnerRequest,
    /// Said before, perhaps.
    pub retry: bool,
    /// Past it nothing is appended, on the simulated clock.
    pub deadline_ms: u64,
    /// Who waits.
    pub from: ReplyTo,
}

/// Everything that reaches a conversation's mailbox.
pub enum ActorMail {
    /// A turn.
    Turn(Request),
    /// The state, or why not.
    Loaded(Result<Box<Loaded>, LoadError>),
    /// What the log holds under an id.
    Probed(Ticket, Result<Option<EventRow>, Unread>),
    /// The members' markers.
    Markers(Result<Vec<Marker>, Unread>),
    /// Durable up to here.
    Committed(Seq),
    /// Nothing that was not durable was stored.
    TakenBack(Round, TakeBack),
    /// Leave memory if nothing waits.
    Leave,
    /// Be gone.
    Die,
}

/// What an actor tells its partition, or a caller.
pub enum Said {
    /// Give this a place.
    Decided(Round, Box<Decided>),
    /// A marker moved.
    Marker(MarkerMove, Option<ReplyTo>),
    /// It has left memory.
    Left,
    /// It stays.
    Stays,
    /// It cannot go on.
    Failed {
        /// Trying again cannot help.
        for_good: bool,
    },
    /// To a caller.
    Reply(ReplyTo, OwnerReply),
    /// A caller is dropped.
    Dropped(ReplyTo),
}

/// The actor.
pub struct Actor {
    me: To,
    key: ActorKey,
    core: Sequencer,
    callers: BTreeMap<Ticket, Caller>,
    tickets: u64,
    failed: bool,
}

struct Caller {
    from: ReplyTo,
    submitted: bool,
}

impl Actor {
    /// One without a state yet.
    pub fn new(me: To, key: ActorKey, round: Round) -> Self {
        Self {
            me,
            key,
            core: Sequencer::new(key.conversation, key.epoch, round),
            callers: BTreeMap::new(),
            tickets: 0,
            failed: false,
        }
    }

    /// Which one.
    pub const fn key(&self) -> ActorKey {
        self.key
    }

    /// Everyone who waits here.
    pub fn callers(&self) -> impl Iterator<Item = ReplyTo> {
        self.callers.values().map(|caller| caller.from)
    }

    /// Handles a mail. `answers` = the partition may still say something definite. `false` = the actor is gone.
    pub fn handle(
        &mut self,
        mail: ActorMail,
        answers: bool,
        now: Now,
        wires: &mut Wires,
        said: &mut Vec<Said>,
    ) -> bool {
        let mut effects = Vec::new();
        match mail {
            ActorMail::Die => {
                for caller in std::mem::take(&mut self.callers).into_values() {
                    said.push(if self.failed && answers {
                        Said::Reply(caller.from, unavailable())
                    } else {
                        Said::Dropped(caller.from)
                    });
                }
                return false;
            }
            ActorMail::Leave => return self.leave(now, wires, said),
            ActorMail::Turn(request) => {
                let turn = self.admit(request, wires);
                if self.failed {
                    return true;
                }
                if wires.random.chance(wires.weather.panics) {
                    wires.counters.one("actors that panicked");
                    self.fail(false, said);
                    return true;
                }
                self.core.receive(turn, now, &mut effects);
            }
            _ if self.failed => return true,
            ActorMail::Loaded(Ok(loaded)) => self.core.loaded(*loaded, now, &mut effects),
            ActorMail::Loaded(Err(LoadError::Unavailable(_))) => {
                self.core.load_failed(now, &mut effects);
            }
            ActorMail::Loaded(Err(error)) => {
                let for_good = !matches!(error, LoadError::Panicked { .. });
                wires.counters.one("conversations that could not be loaded");
                self.fail(for_good, said);
                return true;
            }
            ActorMail::Probed(ticket, found) => self.core.probed(ticket, found, now, &mut effects),
            ActorMail::Markers(markers) => self.core.markers_loaded(markers, now, &mut effects),
            ActorMail::Committed(through) => self.core.committed(through, &mut effects),
            ActorMail::TakenBack(round, how) => {
                self.core.take_back(round, &how, now, &mut effects);
            }
        }
        self.perform(effects, answers, wires, said);
        true
    }

    fn admit(&mut self, request: Request, wires: &Wires) -> Turn {
        self.tickets = self.tickets.saturating_add(1);
        let ticket = Ticket(self.tickets);
        let caller = Caller {
            from: request.from,
            submitted: false,
        };
        self.callers.insert(ticket, caller);
        match request.want {
            OwnerRequest::Command(command) => Turn::Command(Box::new(Question {
                ticket,
                command,
                retry: request.retry,
                deadline: wires.instant(request.deadline_ms),
                looked_up: LookedUp::No,
            })),
            OwnerRequest::Mark(mark) => Turn::Mark(ticket, mark),
        }
    }

    fn perform(
        &mut self,
        effects: Vec<Effect>,
        answers: bool,
        wires: &mut Wires,
        said: &mut Vec<Said>,
    ) {
        for effect in effects {
            match effect {
                Effect::Load => wires.ask(self.me, Ask::Load(self.key)),
                Effect::Probe { ticket, command } => {
                    wires.counters.one("command ids looked up");
                    let ask = Ask::Probe {
                        actor: self.key,
                        ticket,
                        command,
                    };
                    wires.ask(self.me, ask);
                }
                Effect::LoadMarkers => wires.ask(self.me, Ask::Markers(self.key)),
                Effect::Append(decided) => {
                    if let Some(caller) = self.callers.get_mut(&decided.ticket) {
                        caller.submitted = true;
                    }
                    said.push(Said::Decided(self.core.round(), decided));
                }
                Effect::Reply { ticket, reply } => {
                    if let Some(caller) = self.callers.remove(&ticket) {
                        said.push(if answers {
                            Said::Reply(caller.from, reply)
                        } else {
                            Said::Dropped(caller.from)
                        });
                    }
                }
                Effect::Mark {
                    ticket,
                    moved,
                    wait,
                } => {
                    let caller = if wait {
                        self.callers.remove(&ticket)
                    } else {
                        None
                    };
                    said.push(Said::Marker(moved, caller.map(|caller| caller.from)));
                }
                Effect::SaveSnapshot(row) => wires.ask(self.me, Ask::Save(row)),
            }
        }
    }

    fn leave(&mut self, now: Now, wires: &mut Wires, said: &mut Vec<Said>) -> bool {
        if self.failed || !self.core.is_idle() {
            said.push(Said::Stays);
            return true;
        }
        if let Some(row) = self.core.last_snapshot(now) {
            wires.ask(self.me, Ask::Save(row));
        }
        said.push(Said::Left);
        false
    }

    fn fail(&mut self, for_good: bool, said: &mut Vec<Said>) {
        self.failed = true;
        let (begun, untouched): (Vec<_>, Vec<_>) = std::mem::take(&mut self.callers)
            .into_iter()
            .partition(|(_, caller)| caller.submitted);
        self.callers = untouched.into_iter().collect();
        said.extend(
            begun
                .into_iter()
                .map(|(_, caller)| Said::Dropped(caller.from)),
        );
        said.push(Said::Failed { for_good });
    }
}

/// A definite no that depends on nothing.
pub const fn unavailable() -> OwnerReply {
    OwnerReply::Unavailable {
        retry_after_ms: 500,
    }
}

//! The actix shell around a conversation's sequencer: runs its effects, catches its panics, answers its callers.
//!
//! All I/O runs as tasks of the node's runtime and comes back as a message; this thread only computes.
//!
//! Fault points: `snapshot.before`, `snapshot.after`; a message that reads exactly `fault:panic` panics here.

use std::any::Any;
use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, WrapFuture,
};
use hubbub_domain::conversation::{Command, Intent, Rejection, rules};
use hubbub_domain::ids::{CommandId, ConversationId};
use hubbub_domain::position::{Epoch, Seq};
use hubbub_event_log::{Marker, SnapshotRow};
use hubbub_telemetry::{TraceContext, fault, spans};
use hubbub_wire::bus::{MarkRequest, OwnerReply};
use hubbub_wire::stored::EventRow;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::answer::{Answer, UNAVAILABLE_RETRY_AFTER_MS, unavailable};
use crate::conversation::core::{Sequencer, Unread};
use crate::conversation::fold::LoadError;
use crate::conversation::load::load;
use crate::conversation::turn::{Ask, Effect, Loaded, LookedUp, Round, TakeBack, Ticket, Turn};
use crate::partition::actor::{MAILBOX_MESSAGES_MAX, PartitionActor, YIELD_EVERY};
use crate::partition::input::PartitionInput;
use crate::partition::residents::Failure;
use crate::shared::{Lodging, Shared};

/// Snapshots on their way to the log at most, over the node: a second of the owner's connections. More are not stored, which costs a later
/// activation some time.
const SNAPSHOTS_SAVING_MAX: usize = 1_024;

/// What a caller wants of a conversation.
#[derive(Debug)]
pub(crate) enum Want {
    /// Decide and store.
    Command {
        command: Box<Command>,
        retry: bool,
        deadline: Instant,
    },
    /// Move a member's markers.
    Mark(MarkRequest),
}

/// A request on its way to its conversation.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) conversation: ConversationId,
    pub(crate) want: Want,
    pub(crate) answer: Answer,
    pub(crate) trace: Option<TraceContext>,
}

/// Everything that reaches a conversation's mailbox.
pub(crate) enum ConversationInput {
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
    /// Leave memory if nothing waits; say so either way.
    Leave,
    /// Be gone. Pending callers are told nothing definite, except by a failed actor those whose request was not begun.
    Die(NotBegun),
}

/// What callers hear whose request a failed conversation did not begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotBegun {
    /// Come again after this long.
    Later(Duration),
    /// It is read-only.
    ReadOnly,
}

impl NotBegun {
    /// A repetition is never rejected for good: what it repeats may be stored, and only the log could say so.
    pub(crate) fn reply(self, retry: bool) -> OwnerReply {
        match self {
            Self::ReadOnly if !retry => OwnerReply::Rejected(Rejection::Conflict {
                reason: rules::UNREADABLE,
            }),
            Self::ReadOnly => unavailable(),
            Self::Later(pause) => OwnerReply::Unavailable {
                retry_after_ms: u32::try_from(pause.as_millis())
                    .unwrap_or(u32::MAX)
                    .max(UNAVAILABLE_RETRY_AFTER_MS),
            },
        }
    }
}

impl Want {
    /// Whether it may have been stored before.
    pub(crate) fn is_retry(&self) -> bool {
        match self {
            Self::Command { retry, .. } => *retry,
            Self::Mark(_) => false,
        }
    }
}

impl Message for ConversationInput {
    type Result = ();
}

/// What a conversation is born with.
pub(crate) struct Birth {
    pub(crate) shared: Arc<Shared>,
    pub(crate) parent: Addr<PartitionActor>,
    pub(crate) conversation: ConversationId,
    pub(crate) epoch: Epoch,
    pub(crate) round: Round,
    /// Whether the partition still answers; shared on this thread.
    pub(crate) answers: Rc<Cell<bool>>,
    pub(crate) chores: TaskTracker,
}

/// The shell.
pub(crate) struct ConversationActor {
    birth: Birth,
    core: Sequencer,
    callers: HashMap<Ticket, Caller>,
    tickets: u64,
    lodging: Lodging,
    /// Set by a panic or an unreadable event: nothing more is judged here.
    failed: bool,
    handled: u32,
}

struct Caller {
    answer: Answer,
    trace: Option<TraceContext>,
    /// Its event was handed over for the log: only durability may speak now.
    submitted: bool,
    /// What it asks for may be stored already.
    retry: bool,
}

impl Actor for ConversationActor {
    type Context = Context<Self>;
}

impl ConversationActor {
    /// Starts one on this thread, which must be an arbiter's.
    pub(crate) fn spawn(birth: Birth) -> Addr<Self> {
        Self::create(|context| {
            context.set_mailbox_capacity(MAILBOX_MESSAGES_MAX);
            Self {
                core: Sequencer::new(birth.conversation, birth.epoch, birth.round),
                callers: HashMap::new(),
                tickets: 0,
                lodging: Lodging::new(Arc::clone(&birth.shared)),
                failed: false,
                handled: 0,
                birth,
            }
        })
    }

    /// Lets the core work on an input. Everything that may panic for a command's or an event's sake happens in here.
    fn step(&mut self, input: ConversationInput) -> Vec<Effect> {
        let now = self.birth.shared.now();
        let mut effects = Vec::new();
        match input {
            ConversationInput::Turn(request) => {
                let turn = self.admit(request);
                if let Turn::Command(ask) = &turn
                    && let Intent::SendMessage { body, .. } = &ask.command.intent
                {
                    fault::panic_on_body(body);
                }
                #[cfg(test)]
                if let (Turn::Command(ask), Some(before)) =
                    (&turn, &self.birth.shared.before_judging)
                {
                    before(&ask.command);
                }
                self.core.receive(turn, now, &mut effects);
            }
            ConversationInput::Loaded(Ok(loaded)) => {
                self.core.loaded(*loaded, now, &mut effects);
                self.measure();
            }
            ConversationInput::Loaded(Err(_)) => self.core.load_failed(now, &mut effects),
            ConversationInput::Probed(ticket, found) => {
                self.core.probed(ticket, found, now, &mut effects);
            }
            ConversationInput::Markers(markers) => {
                self.core.markers_loaded(markers, now, &mut effects);
                self.measure();
            }
            ConversationInput::Committed(through) => self.core.committed(through, &mut effects),
            ConversationInput::TakenBack(round, how) => {
                self.core.take_back(round, &how, now, &mut effects);
            }
            ConversationInput::Leave | ConversationInput::Die(_) => {}
        }
        self.birth
            .shared
            .stats
            .expired
            .add(self.core.take_expired());
        effects
    }

    fn admit(&mut self, request: Request) -> Turn {
        self.tickets = self.tickets.saturating_add(1);
        let ticket = Ticket(self.tickets);
        self.callers.insert(
            ticket,
            Caller {
                answer: request.answer,
                trace: request.trace,
                submitted: false,
                retry: request.want.is_retry(),
            },
        );
        match request.want {
            Want::Command {
                command,
                retry,
                deadline,
            } => Turn::Command(Box::new(Ask {
                ticket,
                command: *command,
                retry,
                deadline,
                looked_up: LookedUp::No,
            })),
            Want::Mark(mark) => Turn::Mark(ticket, mark),
        }
    }

    fn perform(&mut self, effects: Vec<Effect>, context: &Context<Self>) {
        for effect in effects {
            match effect {
                Effect::Load => self.load(context),
                Effect::Probe { ticket, command } => self.probe(ticket, command, context),
                Effect::LoadMarkers => self.load_markers(context),
                Effect::Append(decided) => {
                    let trace = self.callers.get_mut(&decided.ticket).and_then(|caller| {
                        caller.submitted = true;
                        caller.trace.clone()
                    });
                    self.tell_parent(PartitionInput::Decided {
                        round: self.core.round(),
                        decided,
                        trace,
                    });
                }
                Effect::Reply { ticket, reply } => self.reply(ticket, reply),
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
                    self.tell_parent(PartitionInput::Marker {
                        moved,
                        caller: caller.map(|caller| caller.answer),
                    });
                }
                Effect::SaveSnapshot(row) => self.save(row),
            }
        }
    }

    /// A partition that has left Serving says nothing definite any more: then the caller is dropped, which reads as unknown.
    fn reply(&mut self, ticket: Ticket, reply: OwnerReply) {
        if let Some(caller) = self.callers.remove(&ticket)
            && self.birth.answers.get()
        {
            caller.answer.send(reply);
        }
    }

    fn tell_parent(&self, input: PartitionInput) {
        if self.birth.parent.try_send(input).is_err() {
            // The partition is gone, and with it everyone who waits here: it tells this actor to die, or its address is closed.
            tracing::debug!(conversation.id = %self.birth.conversation, "partition actor unreachable");
            self.birth.answers.set(false);
        }
    }

    // === I/O, on the node's runtime ===

    fn load(&self, context: &Context<Self>) {
        let (shared, me) = (Arc::clone(&self.birth.shared), context.address());
        let conversation = self.birth.conversation;
        let work = async move {
            shared.loading.add(1);
            let Ok(_turn) = shared.activations.acquire().await else {
                shared.loading.subtract(1);
                return;
            };
            shared.stats.activations.one();
            let span = tracing::info_span!(spans::ACTOR_CONVERSATION_LOAD, conversation.id = %conversation);
            let loaded = load(&*shared.log, conversation)
                .instrument(span)
                .await
                .map(Box::new);
            shared.loading.subtract(1);
            deliver(&me, ConversationInput::Loaded(loaded)).await;
        };
        self.birth.chores.spawn_on(work, &self.birth.shared.io);
    }

    fn probe(&self, ticket: Ticket, command: CommandId, context: &Context<Self>) {
        let (shared, me) = (Arc::clone(&self.birth.shared), context.address());
        let conversation = self.birth.conversation;
        shared.stats.probes.one();
        let work = async move {
            let found = shared.log.find_command(conversation, command).await;
            let found = found.map_err(|error| {
                tracing::warn!(conversation.id = %conversation, %error, "command id not looked up");
                Unread
            });
            deliver(&me, ConversationInput::Probed(ticket, found)).await;
        };
        self.birth.chores.spawn_on(work, &self.birth.shared.io);
    }

    fn load_markers(&self, context: &Context<Self>) {
        let (shared, me) = (Arc::clone(&self.birth.shared), context.address());
        let conversation = self.birth.conversation;
        let work = async move {
            let markers = shared.log.markers(conversation).await.map_err(|error| {
                tracing::warn!(conversation.id = %conversation, %error, "markers not read");
                Unread
            });
            deliver(&me, ConversationInput::Markers(markers)).await;
        };
        self.birth.chores.spawn_on(work, &self.birth.shared.io);
    }

    fn save(&self, row: SnapshotRow) {
        let shared = Arc::clone(&self.birth.shared);
        if shared.saving.add(1) > SNAPSHOTS_SAVING_MAX {
            shared.saving.subtract(1);
            shared.stats.snapshots_skipped.one();
            return;
        }
        let work = async move {
            fault::point("snapshot.before");
            let saved = shared.log.save_snapshot(row).await;
            shared.saving.subtract(1);
            fault::point("snapshot.after");
            match saved {
                Ok(()) => shared.stats.snapshots.one(),
                // It costs the next activation some time, nothing else.
                Err(error) => tracing::warn!(%error, "snapshot not stored"),
            }
        };
        self.birth.chores.spawn_on(work, &self.birth.shared.io);
    }

    // === leaving ===

    fn leave(&mut self, context: &mut Context<Self>) {
        let conversation = self.birth.conversation;
        if self.failed || !self.core.is_idle() {
            self.tell_parent(PartitionInput::Stays(conversation));
            return;
        }
        let now = self.birth.shared.now();
        let drawn = catch_unwind(AssertUnwindSafe(|| self.core.last_snapshot(now)));
        match drawn {
            Ok(Some(row)) => self.save(row),
            Ok(None) => {}
            Err(panic) => {
                self.fail(&describe(&*panic), Failure::Crashed);
                return;
            }
        }
        self.tell_parent(PartitionInput::Left(conversation));
        context.stop();
    }

    /// Nothing more is judged here. Callers whose events are on the way to the log hear nothing definite; the others are told that it
    /// was not done as soon as the partition has taken notice, so that a repetition meets the next actor and not this one.
    fn fail(&mut self, why: &str, failure: Failure) {
        self.failed = true;
        tracing::error!(
            conversation.id = %self.birth.conversation,
            partition.epoch = %self.birth.epoch,
            why,
            "conversation actor failed"
        );
        self.callers.retain(|_, caller| !caller.submitted);
        self.tell_parent(PartitionInput::Failed {
            conversation: self.birth.conversation,
            failure,
        });
    }

    fn measure(&mut self) {
        self.lodging
            .set_bytes(estimate_bytes(self.core.state(), self.core.marker_count()));
    }

    /// The mailbox loop of actix has no budget; without this a flooded conversation starves its neighbours on the arbiter.
    fn breathe(&mut self, context: &mut Context<Self>) {
        self.handled = self.handled.wrapping_add(1);
        if self.handled.is_multiple_of(YIELD_EVERY) {
            self.measure();
            context.wait(tokio::task::yield_now().into_actor(self).map(|(), _, _| ()));
        }
    }
}

impl Handler<ConversationInput> for ConversationActor {
    type Result = ();

    fn handle(&mut self, input: ConversationInput, context: &mut Context<Self>) {
        self.breathe(context);
        match input {
            ConversationInput::Die(told) => {
                for (_, caller) in self.callers.drain() {
                    if self.failed && self.birth.answers.get() {
                        caller.answer.send(told.reply(caller.retry));
                    }
                }
                context.stop();
            }
            ConversationInput::Leave => self.leave(context),
            ConversationInput::Turn(request) if self.failed => {
                self.admit(request);
            }
            _ if self.failed => {}
            ConversationInput::Loaded(Err(
                error @ (LoadError::Panicked { .. }
                | LoadError::Undecodable(_)
                | LoadError::Inconsistent(_)),
            )) => {
                let failure = match error {
                    LoadError::Panicked { .. } => Failure::Crashed,
                    _ => Failure::Unreadable,
                };
                self.fail(&error.to_string(), failure);
            }
            input => match catch_unwind(AssertUnwindSafe(|| self.step(input))) {
                Ok(effects) => self.perform(effects, context),
                Err(panic) => {
                    self.birth.shared.stats.panics.one();
                    self.fail(&describe(&*panic), Failure::Crashed);
                }
            },
        }
    }
}

/// Waits for room in the mailbox; an actor that is gone needs no answer.
async fn deliver(to: &Addr<ConversationActor>, input: ConversationInput) {
    if to.send(input).await.is_err() {
        tracing::trace!("the conversation has left memory");
    }
}

/// A panic's message, which our own code wrote: it holds no message text.
pub(crate) fn describe(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a message".to_owned())
}

/// About what a state takes in memory: members and the dedupe window are nearly all of it.
fn estimate_bytes(state: &hubbub_domain::conversation::State, markers: usize) -> usize {
    const ACTOR_BYTES: usize = 2_048;
    const MEMBER_BYTES: usize = 80;
    const COMMAND_BYTES: usize = 160;
    const MARKER_BYTES: usize = 96;
    let members = state.member_count().saturating_mul(MEMBER_BYTES);
    let commands = state.recent_commands().len().saturating_mul(COMMAND_BYTES);
    ACTOR_BYTES
        .saturating_add(members)
        .saturating_add(commands)
        .saturating_add(markers.saturating_mul(MARKER_BYTES))
}

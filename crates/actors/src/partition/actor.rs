//! The actix shell of a partition: routes requests to conversations, rows to the lane, commits to the bus and back to conversations.
//!
//! Fault points: `ack.before` (durable, no caller has been told), `ack.after` (callers are being told, nothing is published yet).

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::dev::SendError;
use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, WrapFuture,
};
use hubbub_cluster::port::PartitionSignal;
use hubbub_domain::ids::ConversationId;
use hubbub_domain::position::{Epoch, Offset, PartitionId};
use hubbub_telemetry::{TraceContext, fault};
use hubbub_wire::bus::OwnerReply;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::answer::Answer;
use crate::conversation::actor::{
    Birth, ConversationActor, ConversationInput, NotBegun, Request, describe,
};
use crate::conversation::turn::{Decided, MarkerMove, Round, TakeBack};
use crate::lane::core::refused;
use crate::lane::{LaneHandle, LaneInput, LaneUnavailable, Report};
use crate::partition::core::{NoPlace, PartitionCore, Phase};
use crate::partition::input::{PartitionBirth, PartitionInput};
use crate::partition::marks::Marks;
use crate::partition::publisher::Publisher;
use crate::partition::residents::{AfterCrash, Failure, Residents, Route};
use crate::permits::BUSY_RETRY_AFTER_MS;
use crate::shared::Shared;
use crate::stats::as_u64;

/// Messages an actor handles before it lets its neighbours on the arbiter run (measured: neighbours' median 0.2 ms, 2 % of throughput).
pub(crate) const YIELD_EVERY: u32 = 32;
/// Capacity of an actor's mailbox. Permits bound what is under way far below it; it exists so that actix never says "full" first.
pub(crate) const MAILBOX_MESSAGES_MAX: usize = 1 << 20;

/// The shell.
pub(crate) struct PartitionActor {
    shared: Arc<Shared>,
    partition: PartitionId,
    epoch: Epoch,
    core: PartitionCore,
    residents: Residents<Addr<ConversationActor>, Request>,
    marks: Marks<Answer>,
    lane: LaneHandle,
    publisher: Option<Publisher>,
    chores: TaskTracker,
    answers: Rc<Cell<bool>>,
    left: Arc<AtomicBool>,
    finishing: Option<oneshot::Sender<()>>,
    /// Conversations of this partition that the host's gauge counts as out of service.
    out_of_service: usize,
    /// Markers of this partition that the host's gauge counts.
    marks_counted: usize,
    handled: u32,
}

impl Actor for PartitionActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let me = context.address();
        let opened = self.lane.send(LaneInput::Open {
            partition: self.partition,
            epoch: self.epoch,
            reporter: Box::new(move |report| me.try_send(PartitionInput::Lane(report)).is_ok()),
        });
        match opened {
            Ok(()) => self.core.serve(),
            Err(LaneUnavailable) => self.leave(Phase::InDoubt, context),
        }
    }
}

impl PartitionActor {
    /// Starts one on the arbiter.
    pub(crate) fn spawn(arbiter: &actix::ArbiterHandle, birth: PartitionBirth) -> Addr<Self> {
        Self::start_in_arbiter(arbiter, move |context| {
            context.set_mailbox_capacity(MAILBOX_MESSAGES_MAX);
            Self {
                core: PartitionCore::new(birth.partition, birth.epoch, birth.head),
                residents: Residents::new(birth.shared.pauses),
                marks: Marks::new(birth.partition),
                lane: birth.lane,
                publisher: Some(birth.publisher),
                chores: birth.chores,
                answers: Rc::new(Cell::new(true)),
                left: birth.left,
                finishing: None,
                out_of_service: 0,
                marks_counted: 0,
                handled: 0,
                shared: birth.shared,
                partition: birth.partition,
                epoch: birth.epoch,
            }
        })
    }

    fn step(&mut self, input: PartitionInput, context: &mut Context<Self>) {
        match input {
            PartitionInput::Request(request) => self.route(request, context),
            PartitionInput::Decided {
                round,
                decided,
                trace,
            } => self.append(round, *decided, trace, context),
            PartitionInput::Marker { moved, caller } => self.mark(moved, caller, context),
            PartitionInput::Left(conversation) => {
                self.shared.stats.passivations.one();
                let parked = self.residents.left(conversation);
                self.restart(conversation, parked, context);
            }
            PartitionInput::Stays(conversation) => {
                if let Some((actor, parked)) = self.residents.stays(conversation) {
                    for request in parked {
                        self.forward(&actor, request, context);
                    }
                }
                if self.finishing.is_some() {
                    self.dismiss_everyone();
                }
            }
            PartitionInput::Failed {
                conversation,
                failure,
            } => self.failed(conversation, failure, context),
            PartitionInput::Lane(report) => self.lane_reports(report, context),
            PartitionInput::Tick => {
                self.write_markers(context);
                self.make_room();
                self.count_out_of_service();
                self.count_marks();
            }
            PartitionInput::Finish(done) => {
                self.core.hand_off();
                self.finishing = Some(done);
                self.write_markers(context);
                self.dismiss_everyone();
            }
            PartitionInput::Stop(done) => {
                self.leave(Phase::Stopped, context);
                if done.send(()).is_err() {
                    tracing::debug!(partition = %self.partition, "nobody waits for the partition to stop");
                }
            }
        }
        self.finish_if_done(context);
    }

    // === requests ===

    fn route(&mut self, request: Request, context: &mut Context<Self>) {
        let conversation = request.conversation;
        let now = self.shared.now().instant;
        match self.residents.route(conversation, request, now) {
            Route::Live(actor, request) => self.forward(&actor, request, context),
            Route::Absent(request) => {
                self.restart(conversation, VecDeque::from([request]), context);
            }
            Route::Parked => {}
            Route::Quarantined(request, pause) => refuse(request, NotBegun::Later(pause)),
            Route::ReadOnly(request) => refuse(request, NotBegun::ReadOnly),
        }
    }

    fn forward(
        &mut self,
        actor: &Addr<ConversationActor>,
        request: Request,
        context: &mut Context<Self>,
    ) {
        let conversation = request.conversation;
        match actor.try_send(ConversationInput::Turn(request)) {
            Err(SendError::Full(ConversationInput::Turn(request))) => {
                request.answer.send(OwnerReply::Busy {
                    retry_after_ms: BUSY_RETRY_AFTER_MS,
                });
            }
            // It died without a word: a panic outside of what its shell catches.
            Err(SendError::Closed(ConversationInput::Turn(request))) => {
                self.failed(conversation, Failure::Crashed, context);
                self.route(request, context);
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Starts an actor for the requests that wait for one, if any do.
    fn restart(
        &mut self,
        conversation: ConversationId,
        requests: VecDeque<Request>,
        context: &mut Context<Self>,
    ) {
        if requests.is_empty() {
            return;
        }
        if self.core.is_in_flight(conversation) {
            self.residents.settle(conversation, requests);
            return;
        }
        if self.shared.residency.surplus(self.residents.live()) > 0
            && let Some(oldest) = self.residents.dismiss_oldest()
        {
            tell(&oldest, ConversationInput::Leave);
        }
        let actor = ConversationActor::spawn(Birth {
            shared: Arc::clone(&self.shared),
            parent: context.address(),
            conversation,
            epoch: self.epoch,
            round: self.core.round(),
            answers: Rc::clone(&self.answers),
            chores: self.chores.clone(),
        });
        self.residents.started(conversation, actor.clone());
        for request in requests {
            self.forward(&actor, request, context);
        }
    }

    fn failed(
        &mut self,
        conversation: ConversationId,
        failure: Failure,
        context: &mut Context<Self>,
    ) {
        let actor = self.residents.handle(conversation).cloned();
        let in_flight = self.core.is_in_flight(conversation);
        let now = self.shared.now().instant;
        let (parked, told) = match self
            .residents
            .crashed(conversation, in_flight, failure, now)
        {
            AfterCrash::Restart(parked) => {
                dismiss(actor, NotBegun::Later(Duration::ZERO));
                self.restart(conversation, parked, context);
                return;
            }
            AfterCrash::Settle => (VecDeque::new(), NotBegun::Later(Duration::ZERO)),
            AfterCrash::Quarantine(parked, pause) => {
                self.shared.stats.quarantines.one();
                tracing::error!(conversation.id = %conversation, partition = %self.partition, ?pause, "conversation in quarantine");
                (parked, NotBegun::Later(pause))
            }
            AfterCrash::ReadOnly(parked) => {
                self.shared.stats.unreadable.one();
                tracing::error!(
                    conversation.id = %conversation, partition = %self.partition,
                    "conversation is read-only, because its events cannot be read"
                );
                (parked, NotBegun::ReadOnly)
            }
        };
        dismiss(actor, told);
        for request in parked {
            refuse(request, told);
        }
        self.count_out_of_service();
    }

    /// Brings this partition's share of the host's gauge up to date.
    fn count_marks(&mut self) {
        let now = self.marks.len();
        let gauge = &self.shared.marks_pending;
        gauge.add(now);
        gauge.subtract(std::mem::replace(&mut self.marks_counted, now));
    }

    /// Brings this partition's share of the host's gauge up to date.
    fn count_out_of_service(&mut self) {
        let now = self.residents.out_of_service();
        let gauge = &self.shared.out_of_service;
        gauge.add(now);
        gauge.subtract(std::mem::replace(&mut self.out_of_service, now));
    }

    fn dismiss_everyone(&mut self) {
        while let Some(actor) = self.residents.dismiss_oldest() {
            tell(&actor, ConversationInput::Leave);
        }
    }

    fn make_room(&mut self) {
        for _ in 0..self.shared.residency.surplus(self.residents.live()) {
            let Some(actor) = self.residents.dismiss_oldest() else {
                return;
            };
            tell(&actor, ConversationInput::Leave);
        }
    }

    // === the log ===

    fn append(
        &mut self,
        round: Round,
        decided: Decided,
        trace: Option<TraceContext>,
        context: &mut Context<Self>,
    ) {
        let conversation = decided.recorded.conversation;
        match self.core.place(round, decided, trace) {
            Ok(row) => {
                let sent = self.lane.send(LaneInput::Row {
                    partition: self.partition,
                    epoch: self.epoch,
                    round,
                    row: Box::new(row),
                });
                if sent == Err(LaneUnavailable) {
                    self.leave(Phase::InDoubt, context);
                }
            }
            Err(NoPlace::Void) => {}
            Err(NoPlace::Unstorable(error)) => {
                tracing::error!(conversation.id = %conversation, %error, "event without a stored form");
                self.failed(conversation, Failure::Crashed, context);
            }
        }
    }

    fn lane_reports(&mut self, report: Report, context: &mut Context<Self>) {
        match report {
            Report::Committed { through, .. } => self.committed(through, context),
            Report::TakenBack { round, how } => self.taken_back(round, &how, context),
            Report::Fenced => self.leave(Phase::Fenced, context),
            Report::InDoubt => self.leave(Phase::InDoubt, context),
            Report::Broken => self.leave(Phase::Broken, context),
            Report::MarkersStored => {
                let (news, callers) = self.marks.stored();
                for ephemeral in news {
                    if let Some(publisher) = &self.publisher {
                        publisher.ephemeral(ephemeral);
                    }
                }
                for caller in callers {
                    caller.send(OwnerReply::Marked);
                }
                self.write_waiting_markers(context);
            }
            Report::MarkersRefused { refusal } => {
                for caller in self.marks.failed() {
                    caller.send(refused(refusal));
                }
            }
            // Dropped callers hear "unknown".
            Report::MarkersUnknown => drop(self.marks.failed()),
        }
    }

    fn committed(&mut self, through: Offset, context: &mut Context<Self>) {
        if !self.core.phase().answers() {
            return;
        }
        let committed = self.core.committed(through);
        tracing::trace!(partition = %self.partition, through = %through, events = as_u64(committed.events), "committed");
        fault::point("ack.before");
        // Replies first: they never wait for the bus.
        for (conversation, seq) in committed.conversations {
            self.residents.succeeded(conversation);
            if let Some(actor) = self.residents.handle(conversation) {
                tell(actor, ConversationInput::Committed(seq));
            }
        }
        if let (Some(publisher), Some(publication)) = (&self.publisher, committed.publication) {
            fault::point("ack.after");
            publisher.events(publication);
        }
        self.restart_settled(context);
    }

    fn taken_back(&mut self, round: Round, how: &TakeBack, context: &mut Context<Self>) {
        if !self.core.phase().answers() {
            return;
        }
        self.core.take_back(round);
        for actor in self.residents.handles() {
            tell(actor, ConversationInput::TakenBack(round, how.clone()));
        }
        self.restart_settled(context);
    }

    fn restart_settled(&mut self, context: &mut Context<Self>) {
        let core = &self.core;
        for (conversation, parked) in self
            .residents
            .settled(|conversation| core.is_in_flight(conversation))
        {
            self.restart(conversation, parked, context);
        }
    }

    // === markers ===

    fn mark(&mut self, moved: MarkerMove, caller: Option<Answer>, context: &mut Context<Self>) {
        let at_once = caller.is_some();
        if let Err(caller) = self.marks.add(moved, caller) {
            if let Some(caller) = caller {
                caller.send(OwnerReply::Busy {
                    retry_after_ms: BUSY_RETRY_AFTER_MS,
                });
            }
            return;
        }
        if at_once {
            self.write_markers(context);
        }
    }

    fn write_markers(&mut self, context: &mut Context<Self>) {
        let markers = self.marks.next_write();
        if markers.is_empty() || !self.core.phase().answers() {
            return;
        }
        let sent = self.lane.send(LaneInput::Markers {
            partition: self.partition,
            epoch: self.epoch,
            markers,
        });
        if sent == Err(LaneUnavailable) {
            self.leave(Phase::InDoubt, context);
        }
    }

    /// After a write: at once again when someone waits or the partition finishes, else with the next tick.
    fn write_waiting_markers(&mut self, context: &mut Context<Self>) {
        if self.marks.has_callers() || self.finishing.is_some() {
            self.write_markers(context);
        }
    }

    // === leaving ===

    fn finish_if_done(&mut self, context: &mut Context<Self>) {
        if self.finishing.is_none() || !self.residents.is_settled() || !self.marks.is_empty() {
            return;
        }
        if let Some(done) = self.finishing.take()
            && done.send(()).is_err()
        {
            tracing::debug!(partition = %self.partition, "nobody waits for the partition to finish");
        }
        self.leave(Phase::Stopped, context);
    }

    /// Leaves Serving for good. From here on nobody here says anything definite: callers are dropped, which reads as unknown.
    fn leave(&mut self, to: Phase, context: &mut Context<Self>) {
        if !self.core.leave(to) {
            return;
        }
        self.answers.set(false);
        self.left.store(true, Ordering::Release);
        for actor in self.residents.handles() {
            tell(
                actor,
                ConversationInput::Die(NotBegun::Later(Duration::ZERO)),
            );
        }
        self.residents.clear();
        self.count_out_of_service();
        self.marks = Marks::new(self.partition);
        self.count_marks();
        self.publisher = None;
        let closed = self.lane.send(LaneInput::Close {
            partition: self.partition,
            epoch: self.epoch,
        });
        if closed == Err(LaneUnavailable) {
            tracing::debug!(partition = %self.partition, "write lane is gone");
        }
        let signal = match to {
            Phase::Fenced => Some(PartitionSignal::Fenced),
            Phase::InDoubt => Some(PartitionSignal::InDoubt),
            Phase::Broken => Some(PartitionSignal::Broken),
            Phase::Recovering | Phase::Serving | Phase::HandingOff | Phase::Stopped => None,
        };
        if let Some(signal) = signal {
            tracing::warn!(partition = %self.partition, epoch = %self.epoch, ?signal, "partition left");
            self.shared.tell_host(self.partition, self.epoch, signal);
        }
        context.stop();
    }
}

impl Handler<PartitionInput> for PartitionActor {
    type Result = ();

    fn handle(&mut self, input: PartitionInput, context: &mut Context<Self>) {
        self.handled = self.handled.wrapping_add(1);
        if self.handled.is_multiple_of(YIELD_EVERY) {
            context.wait(tokio::task::yield_now().into_actor(self).map(|(), _, _| ()));
        }
        let step = catch_unwind(AssertUnwindSafe(|| self.step(input, context)));
        if let Err(panic) = step {
            // What is in flight is no longer known for sure: the log will tell under a new epoch.
            self.shared.stats.panics.one();
            tracing::error!(partition = %self.partition, why = describe(&*panic), "partition actor failed");
            self.leave(Phase::InDoubt, context);
        }
    }
}

/// Ends a failed conversation's actor, if there still is one.
fn dismiss(actor: Option<Addr<ConversationActor>>, told: NotBegun) {
    if let Some(actor) = actor {
        tell(&actor, ConversationInput::Die(told));
    }
}

/// A definite no to a request that nobody began.
fn refuse(request: Request, told: NotBegun) {
    let reply = told.reply(request.want.is_retry());
    request.answer.send(reply);
}

/// Tells a conversation something that is no request; one that is gone needs no telling.
fn tell(actor: &Addr<ConversationActor>, input: ConversationInput) {
    if actor.try_send(input).is_err() {
        tracing::trace!("the conversation has left memory");
    }
}

//! The loop: everything that happens to the fan-out, one thing at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hubbub_bus::{BusStatus, Delivery};
use hubbub_domain::position::{Offset, PartitionId};
use hubbub_telemetry::{TraceContext, spans};
use hubbub_wire::bus::{EvBatch, EvEntry, HeadBroadcast, PartitionHead};
use hubbub_wire::client::close;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::fanout::accounts::Revisions;
use crate::fanout::jobs::{JobDone, Jobs};
use crate::fanout::rooms::{Admission, Arrival, Rooms};
use crate::fanout::{CatchUp, Command, FanOutDeps, SeatRequest, Seating, Subscriptions};
use crate::feed::{Effect, Healed, PartitionFeed};
use crate::sessions::Sessions;

/// How often the node asks itself whether it still hears the others.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// A partition whose head was not heard for this long is looked up in the log: three broadcasts are missing.
const BLIND_AFTER: Duration = Duration::from_secs(3);

/// The fan-out task's state; nobody else touches it.
pub(crate) struct Hub {
    pub(super) deps: Arc<FanOutDeps>,
    feeds: Vec<PartitionFeed>,
    /// Partitions whose feed wants the time.
    waiting: BTreeSet<PartitionId>,
    pub(super) rooms: Rooms,
    pub(super) sessions: Sessions,
    pub(super) revisions: Revisions,
    pub(super) jobs: Jobs,
    started: Instant,
    /// When each partition's head was heard last, from anyone.
    heard: Vec<Instant>,
}

impl Hub {
    pub(super) fn new(
        deps: Arc<FanOutDeps>,
        heads: &[PartitionHead],
        rev: u64,
        account_changes: Arc<AtomicU64>,
    ) -> Self {
        let now = Instant::now();
        let mut hub = Self {
            feeds: deps.partitions.all().map(PartitionFeed::new).collect(),
            waiting: BTreeSet::new(),
            rooms: Rooms::default(),
            sessions: Sessions::default(),
            revisions: Revisions::new(rev, account_changes),
            jobs: Jobs::new(Arc::clone(&deps)),
            started: now,
            heard: vec![now; usize::from(deps.partitions.get())],
            deps,
        };
        hub.boot(heads);
        hub
    }

    /// Runs until `stop`, or until every handle is gone.
    pub(super) async fn run(
        mut self,
        subscriptions: Subscriptions,
        mut commands: mpsc::Receiver<Command>,
        stop: CancellationToken,
    ) {
        let Subscriptions {
            mut events,
            mut heads,
            mut users,
            mut ephemera,
        } = subscriptions;
        let mut check = tokio::time::interval(CHECK_EVERY);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.next_due();
            tokio::select! {
                () = stop.cancelled() => return,
                command = commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => return,
                },
                Some(delivery) = events.next() => self.on_batch(&delivery),
                Some(delivery) = heads.next() => self.on_heads(&delivery),
                Some(delivery) = users.next() => self.on_user_changed(&delivery),
                Some(delivery) = ephemera.next() => self.on_ephemeral(&delivery),
                Some(done) = self.jobs.next() => self.on_job(done),
                () = tokio::time::sleep_until(due.unwrap_or(self.started)), if due.is_some() => self.on_time(),
                _ = check.tick() => self.check(),
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Seat(request) => self.seat(request),
            Command::Leave { user, seat } => {
                self.sessions.leave(user, seat);
                self.deps.metrics.edge.sockets.dec();
            }
            Command::Typing {
                conversation,
                user,
                on,
            } => self.publish_typing(conversation, user, on),
            Command::AccountChanged { user } => self.recheck(user),
        }
    }

    /// Seats a socket and looks at its cursors: what this node itself has given out last needs no question to anyone.
    fn seat(&mut self, request: SeatRequest) {
        let SeatRequest {
            user,
            seat,
            account_changes,
            cursors,
            reply,
        } = request;
        let outbox = Arc::clone(&seat.outbox);
        if !self
            .sessions
            .seat(user, seat.clone(), self.deps.sockets_per_user)
        {
            // Whoever asked may be gone already.
            drop(reply.send(Seating::TooMany));
            return;
        }
        self.deps.metrics.edge.sockets.inc();
        if self.revisions.changes() != account_changes {
            self.recheck(user);
        }
        let mut catch_ups: Vec<CatchUp> = Vec::new();
        for cursor in cursors {
            let conversation =
                hubbub_domain::ids::ConversationId::from_uuid(cursor.conversation_id);
            let (epoch, seq) = (
                hubbub_domain::position::Epoch::new(cursor.epoch),
                hubbub_domain::position::Seq::new(cursor.seq),
            );
            let current = self.rooms.head(conversation) == Some((epoch, seq));
            if !current
                && catch_ups
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
        if reply.send(Seating::Seated(catch_ups)).is_err() {
            self.sessions.leave(user, seat.socket);
            self.deps.metrics.edge.sockets.dec();
        }
    }

    fn on_batch(&mut self, delivery: &Delivery) {
        let batch = match EvBatch::decode_shared(&delivery.payload) {
            Ok(batch) => batch,
            Err(error) => {
                tracing::warn!(%error, "an event batch could not be read; the log will be");
                return;
            }
        };
        let partition = batch.partition;
        let now = self.now_ms();
        let Some(feed) = self.feeds.get_mut(usize::from(partition.get())) else {
            return;
        };
        let effects = feed.on_batch(batch, now);
        self.deps
            .metrics
            .feed
            .duplicates
            .inc_by(feed.take_duplicates());
        self.run_effects(partition, effects, delivery.trace.as_ref());
    }

    fn on_heads(&mut self, delivery: &Delivery) {
        match HeadBroadcast::decode(&delivery.payload) {
            Ok(broadcast) => {
                let now = Instant::now();
                for head in &broadcast.heads {
                    if let Some(heard) = self.heard.get_mut(usize::from(head.partition.get())) {
                        *heard = now;
                    }
                }
                self.advance_to_heads(&broadcast.heads);
                self.on_highest_rev(broadcast.user_rev);
            }
            Err(error) => tracing::warn!(%error, "a head broadcast could not be read"),
        }
    }

    fn advance_to_heads(&mut self, heads: &[PartitionHead]) {
        let now = self.now_ms();
        for head in heads {
            if let Some(feed) = self.feeds.get_mut(usize::from(head.partition.get())) {
                let effects = feed.on_head(*head, now);
                self.run_effects(head.partition, effects, None);
            }
        }
    }

    fn boot(&mut self, heads: &[PartitionHead]) {
        let now = self.now_ms();
        for head in heads {
            let Some(feed) = self.feeds.get_mut(usize::from(head.partition.get())) else {
                continue;
            };
            if !feed.is_booted() {
                let effects = feed.boot(*head, now);
                self.run_effects(head.partition, effects, None);
            }
        }
    }

    fn on_time(&mut self) {
        let now = self.now_ms();
        for partition in std::mem::take(&mut self.waiting) {
            let Some(feed) = self.feeds.get_mut(usize::from(partition.get())) else {
                continue;
            };
            let effects = feed.on_time(now);
            self.run_effects(partition, effects, None);
        }
    }

    fn on_job(&mut self, done: JobDone) {
        match done {
            JobDone::Range {
                partition,
                after,
                rows,
            } => {
                let now = self.now_ms();
                if let Some(feed) = self.feeds.get_mut(usize::from(partition.get())) {
                    let effects = feed.on_range(after, rows, now);
                    match feed.take_healed() {
                        Some(Healed::Gap) => self.deps.metrics.feed.healed_gaps.inc(),
                        Some(Healed::Last) => self.deps.metrics.feed.healed_last.inc(),
                        None => {}
                    }
                    self.run_effects(partition, effects, None);
                }
            }
            JobDone::Heads(heads) => {
                self.boot(&heads);
                self.advance_to_heads(&heads);
            }
            JobDone::Members {
                conversation,
                members: Some((members, as_of)),
            } => {
                let (arrivals, whispers) = self.rooms.loaded(conversation, members, as_of);
                for arrival in arrivals {
                    self.give(&arrival);
                }
                for whisper in whispers {
                    self.whisper(conversation, whisper);
                }
            }
            // Nobody can be told who receives what waits: it is unreadable with the conversation.
            JobDone::Members {
                conversation,
                members: None,
            } => self.rooms.forget(conversation),
            JobDone::LiveSessions { user, up_to, live } => self.close_ended(user, up_to, &live),
            JobDone::Changed(changed) => self.on_changed(&changed),
            JobDone::Nothing => {}
        }
    }

    /// Once a second: of what is not heard of any more, the stores are asked. An owner that has lost the bus goes on committing.
    fn check(&mut self) {
        let held: usize = self.feeds.iter().map(PartitionFeed::held).sum();
        self.deps
            .metrics
            .feed
            .held_events
            .set(i64::try_from(held).unwrap_or(i64::MAX));
        let down = *self.deps.bus.status().borrow() == BusStatus::Down;
        let heard = self.deps.partitions.all().zip(&self.heard).zip(&self.feeds);
        let silent: Vec<PartitionId> = heard
            .filter(|((_, heard), feed)| down || heard.elapsed() > BLIND_AFTER || !feed.is_booted())
            .map(|((partition, _), _)| partition)
            .collect();
        if !silent.is_empty() {
            self.jobs.read_heads(silent);
            self.jobs.read_changed(self.revisions.known());
        }
    }

    fn run_effects(
        &mut self,
        partition: PartitionId,
        effects: Vec<Effect>,
        trace: Option<&TraceContext>,
    ) {
        for effect in effects {
            match effect {
                Effect::Deliver(entries) => {
                    for entry in entries {
                        self.arrive(entry, trace);
                    }
                }
                Effect::Fetch { after } => self.fetch(partition, after),
                Effect::LineageLost => self.lose_lineage(partition),
            }
        }
        let wants_time = self
            .feeds
            .get(usize::from(partition.get()))
            .is_some_and(|feed| feed.deadline_ms().is_some());
        if wants_time {
            self.waiting.insert(partition);
        } else {
            self.waiting.remove(&partition);
        }
    }

    fn fetch(&mut self, partition: PartitionId, after: Offset) {
        self.deps.metrics.feed.gaps.inc();
        self.jobs.read_range(partition, after);
    }

    fn arrive(&mut self, entry: EvEntry, trace: Option<&TraceContext>) {
        self.deps.metrics.feed.events.inc();
        let recorded = match entry.row.decode() {
            Ok(recorded) => recorded,
            Err(error) => {
                // The conversation becomes unreadable from here on (F14); everything else goes on.
                tracing::error!(%error, conversation.id = %entry.row.conversation, seq = entry.row.seq.get(), "an event cannot be read");
                return;
            }
        };
        let conversation = recorded.conversation;
        match self.rooms.admit(Arrival {
            epoch: entry.row.epoch,
            recorded,
            recipients: entry.recipients,
        }) {
            Admission::Ready(arrival) => {
                let span = tracing::debug_span!(spans::EDGE_EVENT_FANOUT, conversation.id = %conversation, seq = arrival.recorded.seq.get());
                if let Some(trace) = trace {
                    trace.link_to(&span);
                }
                let _entered = span.enter();
                self.give(&arrival);
            }
            Admission::Waits => {}
            Admission::Load(before) => self.jobs.read_members(conversation, Some(before)),
            Admission::Overflow => {
                tracing::warn!(conversation.id = %conversation, "too many events wait for the members of a room: sockets have to resume");
                self.rooms.forget(conversation);
                self.close_all(close::DEGRADED, "resume");
            }
        }
    }

    /// What was given out is not in the log any more. Sockets resume, and unsound cursors are answered with `reset` (P9).
    fn lose_lineage(&mut self, partition: PartitionId) {
        tracing::error!(
            partition = partition.get(),
            "the log lost events that were delivered: every socket has to resume"
        );
        self.deps.metrics.edge.resets.inc();
        self.rooms.forget_all();
        self.close_all(close::DEGRADED, "lineage lost");
        self.jobs.read_heads(vec![partition]);
    }

    pub(super) fn close_all(&self, code: u16, reason: &'static str) {
        for seat in self.sessions.all() {
            seat.outbox.close(code, reason);
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let due = self
            .waiting
            .iter()
            .filter_map(|partition| self.feeds.get(usize::from(partition.get()))?.deadline_ms())
            .min()?;
        Some(self.started + Duration::from_millis(due))
    }

    /// Milliseconds since this task began: the feeds' clock.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

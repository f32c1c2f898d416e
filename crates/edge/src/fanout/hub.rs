//! The loop: everything that happens to the fan-out, one thing at a time.
//!
//! Files beside it: `streams` from the bus to arrivals · `give` from an arrival to sockets · `crowd` the largest rooms · `seats` who sits
//! here · `mend` when lineage was lost · `ephemera` typing and markers · `accounts` sessions that end · `sight` what is heard at all ·
//! `pulse` whether this loop stood still.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hubbub_bus::{BusStatus, Delivery};
use hubbub_domain::ids::ConversationId;
use hubbub_domain::position::{Epoch, Offset, PartitionId};
use hubbub_wire::bus::PartitionHead;
use hubbub_wire::client::close;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::fanout::accounts::Revisions;
use crate::fanout::crowd::Crowds;
use crate::fanout::jobs::{JobDone, Jobs};
use crate::fanout::mend::{LateMembers, MembersAt};
use crate::fanout::pulse::Pulse;
use crate::fanout::rooms::Rooms;
use crate::fanout::sight::{Sight, Verdict};
use crate::fanout::{COMMANDS_QUEUE, Command, FanOutDeps, Seen, Subscriptions};
use crate::feed::PartitionFeed;
use crate::sessions::Sessions;

/// How often the node asks itself whether it still hears the others, and the store whether accounts changed: half of what P8 allows.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// A partition whose head was not heard for this long is looked up in the log: three broadcasts are missing.
const SILENT_AFTER: Duration = Duration::from_secs(3);

/// The fan-out task's state; nobody else touches it.
pub(crate) struct Hub {
    pub(super) deps: Arc<FanOutDeps>,
    pub(super) feeds: Vec<PartitionFeed>,
    /// Partitions whose feed wants the time.
    pub(super) waiting: BTreeSet<PartitionId>,
    pub(super) rooms: Rooms,
    pub(super) crowds: Crowds,
    pub(super) sessions: Sessions,
    pub(super) revisions: Revisions,
    pub(super) jobs: Jobs,
    pub(super) sight: Sight,
    pub(super) pulse: Pulse,
    /// Where each partition began to be delivered.
    pub(super) booted_at: HashMap<PartitionId, Offset>,
    pub(super) started: Instant,
    pub(super) late_members: LateMembers,
    /// When each partition's head was heard last, from anyone.
    pub(super) heard: Vec<Instant>,
    seen: Arc<Seen>,
}

/// What ends a turn's waiting.
enum Happened {
    Command(Command),
    Events(Delivery),
    Heads(Delivery),
    User(Delivery),
    Ephemeral(Delivery),
    Job(JobDone),
    /// Something has waited long enough.
    Due,
    Check,
}

impl Hub {
    pub(super) fn new(
        deps: Arc<FanOutDeps>,
        heads: &[PartitionHead],
        rev: u64,
        seen: Arc<Seen>,
    ) -> Self {
        let now = Instant::now();
        let mut hub = Self {
            feeds: deps.partitions.all().map(PartitionFeed::new).collect(),
            waiting: BTreeSet::new(),
            rooms: Rooms::default(),
            crowds: Crowds::default(),
            sessions: Sessions::default(),
            revisions: Revisions::new(rev, Arc::clone(&seen)),
            jobs: Jobs::new(Arc::clone(&deps)),
            sight: Sight::new(0),
            pulse: Pulse::new(0),
            booted_at: HashMap::new(),
            started: seen.started,
            late_members: LateMembers::new(),
            heard: vec![now; usize::from(deps.partitions.get())],
            seen,
            deps,
        };
        hub.boot(heads);
        // Nobody ever owned the others: their first event is to come.
        let unlisted = hub.deps.partitions.all().map(|partition| PartitionHead {
            partition,
            epoch: Epoch::ZERO,
            head: Offset::ZERO,
        });
        hub.boot(&unlisted.collect::<Vec<_>>());
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
            let happened = tokio::select! {
                () = stop.cancelled() => return,
                command = commands.recv() => match command {
                    Some(command) => Happened::Command(command),
                    None => return,
                },
                Some(delivery) = events.next() => Happened::Events(delivery),
                Some(delivery) = heads.next() => Happened::Heads(delivery),
                Some(delivery) = users.next() => Happened::User(delivery),
                Some(delivery) = ephemera.next() => Happened::Ephemeral(delivery),
                Some(done) = self.jobs.next() => Happened::Job(done),
                () = tokio::time::sleep_until(due.unwrap_or(self.started)), if due.is_some() => Happened::Due,
                _ = check.tick() => Happened::Check,
            };
            self.beat();
            match happened {
                Happened::Command(command) => self.on_command(command),
                Happened::Events(delivery) => self.on_batch(&delivery),
                Happened::Heads(delivery) => self.on_heads(&delivery),
                Happened::User(delivery) => self.on_user_changed(&delivery),
                Happened::Ephemeral(delivery) => self.on_ephemeral(&delivery),
                Happened::Job(done) => self.on_job(done),
                Happened::Due => self.on_time(),
                Happened::Check => self.check(commands.len()),
            }
        }
    }

    /// Before a turn, and before each event that is given out in it: whether this is the first after a pause.
    pub(super) fn beat(&mut self) {
        let now_ms = self.now_ms();
        if self.pulse.beat(now_ms, self.jobs.is_surveying()) {
            tracing::warn!("this node stood still: its sockets are sent elsewhere");
            self.deps.metrics.edge.stood_still.inc();
            self.close_all(close::DEGRADED, "stood still");
            self.show_whether_turned_away();
        }
        // Only now: a socket that wakes earlier must not take the loop for alive.
        self.seen.beat_ms.store(now_ms, Ordering::SeqCst);
    }

    /// Whether no socket may be seated now.
    pub(super) fn is_turned_away(&self) -> bool {
        self.sight.is_turned_away() || !self.pulse.is_settled()
    }

    fn show_whether_turned_away(&self) {
        self.seen
            .turned_away
            .store(self.is_turned_away(), Ordering::SeqCst);
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
            Command::Open {
                user,
                seat,
                conversation,
                on,
                read,
            } => self.on_screen(user, seat, conversation, (on, read)),
            Command::Found {
                conversation,
                epoch,
                seq,
                forgotten,
            } => self.rooms.learn(conversation, epoch, seq, forgotten),
        }
    }

    fn on_job(&mut self, done: JobDone) {
        match done {
            JobDone::Range {
                partition,
                after,
                fetched,
            } => self.on_range(partition, after, fetched),
            JobDone::Surveyed {
                changed,
                live,
                up_to,
                heads,
            } => {
                // Who may not hear any more goes before anything is given out by these heads.
                self.on_changed(&changed, &live, up_to);
                self.jobs.survey_ended();
                self.pulse.on_survey(heads.is_some(), self.now_ms());
                if let Some(heads) = heads {
                    self.sight.on_log(self.now_ms());
                    self.advance_to_heads(&heads);
                }
            }
            JobDone::Neighbours(hear) => self.sight.on_others(hear),
            JobDone::Members {
                conversation,
                members,
            } => self.on_members(conversation, members),
            JobDone::Mended { partition, left } => self.mended(partition, left),
            JobDone::Head(head) => self.begin_again(head),
            JobDone::LiveSessions { user, up_to, live } => self.close_ended(user, up_to, &live),
            JobDone::Changed(changed) => self.on_changed(&changed, &[], 0),
            JobDone::Nothing => {}
        }
    }

    /// Twice a second: of what is not heard of any more, the stores are asked. An owner that has lost the bus goes on committing.
    fn check(&mut self, requests: usize) {
        self.show(requests);
        let bus_up = *self.deps.bus.status().borrow() == BusStatus::Up;
        let verdict = self.sight.check(bus_up, self.now_ms());
        if verdict != Verdict::Hears {
            self.jobs.look_around();
        }
        if verdict == Verdict::TurnAway {
            tracing::warn!("this node hears nothing: its sockets are sent elsewhere");
            let closes = self.sessions.all().count();
            let metrics = &self.deps.metrics.edge;
            metrics
                .blind_closes
                .inc_by(u64::try_from(closes).unwrap_or(0));
            self.close_all(close::DEGRADED, "reconnect elsewhere");
        }
        let at_heads = self.feeds.iter().all(PartitionFeed::is_at_head);
        self.pulse.settle(at_heads, self.now_ms());
        self.show_whether_turned_away();
        let blind = verdict != Verdict::Hears || self.pulse.asks();
        let heard = self.deps.partitions.all().zip(&self.heard);
        let silent: Vec<PartitionId> = heard
            .filter(|(_, heard)| blind || heard.elapsed() > SILENT_AFTER)
            .map(|(partition, _)| partition)
            .collect();
        if silent.is_empty() {
            self.jobs.read_changed(self.revisions.known());
        } else {
            let (known, seated) = (self.revisions.known(), self.sessions.seated());
            self.jobs.survey(silent, known, seated);
        }
    }

    fn show(&self, requests: usize) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let metrics = &self.deps.metrics;
        self.deps.gates.show(metrics);
        let held = self.feeds.iter().map(PartitionFeed::held).sum();
        metrics.feed.held_events.set(gauge(held));
        metrics.edge.room_events_held.set(gauge(self.rooms.held()));
        metrics.edge.fanout_jobs.set(gauge(self.jobs.running()));
        metrics
            .edge
            .fanout_requests
            .set(gauge(requests.min(COMMANDS_QUEUE)));
        metrics.edge.blind.set(i64::from(self.sight.is_blind()));
        let queued = self.sessions.all().map(|seat| seat.outbox.bytes()).sum();
        metrics.edge.queued_bytes.set(gauge(queued));
    }

    pub(super) fn close_all(&self, code: u16, reason: &'static str) {
        for seat in self.sessions.all() {
            seat.outbox.close(code, reason);
        }
    }

    /// The members of a room, as a job brought them; `None` when nobody can tell.
    pub(super) fn on_members(&mut self, conversation: ConversationId, members: Option<MembersAt>) {
        let partition = self.deps.partitions.partition_of(conversation);
        if self.jobs.is_mending(partition) {
            return self.keep_late(partition, conversation, members);
        }
        let Some((members, as_of)) = members else {
            // Nobody can be told who receives what waits: it is unreadable with the conversation.
            self.rooms.forget(conversation);
            return self.pass_over(conversation);
        };
        self.members_loaded(conversation, members, as_of);
    }

    fn next_due(&self) -> Option<Instant> {
        let feeds = self
            .waiting
            .iter()
            .filter_map(|partition| self.feeds.get(usize::from(partition.get()))?.deadline_ms())
            .min();
        let due = feeds.into_iter().chain(self.crowds.due_ms()).min()?;
        Some(self.started + Duration::from_millis(due))
    }

    /// Milliseconds since this task began: the feeds' clock.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

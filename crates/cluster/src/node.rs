//! The ownership loop: the thin shell around [`crate::ownership`] and [`crate::partitions`]. Feeds them beats, looks, signals and hints,
//! carries out what they say, and never waits for any of it itself.
//!
//! Never: a decision. A judgement by this machine's wall clock.

mod work;

use std::sync::Arc;
use std::time::Duration;

use hubbub_bus::{Bus, Delivery, Subscription};
use hubbub_domain::position::PartitionCount;
use hubbub_event_log::{NodeRegistration, Ownership, StoreError};
use hubbub_telemetry::metrics::Cluster;
use hubbub_wire::bus::OwnershipHint;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use self::work::{Outcome, Rows, Tools};
use crate::lease::Lease;
use crate::ownership::node::Phase;
use crate::ownership::{Action, Observation, OwnershipCore, OwnershipSettings};
use crate::partitions::{Effect, PartitionTable, Reason};
use crate::port::{HostEvent, LocalConversations, PartitionSignal};
use crate::pulse::{Pulse, Said, beat};
use crate::stuck::Stuck;
use crate::view::OwnersView;

/// Signals of the host that may wait: one per partition and a few more.
pub const HOST_EVENTS_QUEUE: usize = 4_096;
/// How often the age of the bus's last proof and of the lease are looked at, and what is in doubt is tried again.
const TICK: Duration = Duration::from_millis(250);
/// How long an orderly end may take: what is not handed over by then is left to the others, who see this node as stopped.
const HAND_OVER_MAX: Duration = Duration::from_secs(6);
/// How long the host may take to drop what is left at the end: the process goes either way, and the epoch fences what it left open.
const DROP_MAX: Duration = Duration::from_secs(2);
/// How long the last words and the last statement may take.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// Settings of the loop.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// This life, its name, its address.
    pub registration: NodeRegistration,
    /// Time between heartbeats: one second, less in tests.
    pub heartbeat: Duration,
    /// Rules.
    pub ownership: OwnershipSettings,
}

/// Why the loop ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It was asked to; everything owned was handed over or released.
    Stopped,
    /// The database says that this incarnation is dead: another process runs under this name, or it was silent too long.
    DeclaredDead,
    /// The log contradicts this process.
    Broken,
    /// Its heartbeat keeps from everybody what it does not serve: the host does not let go of something.
    Stuck,
}

/// Owns partitions on behalf of one incarnation.
pub struct ClusterNode {
    tools: Tools,
    heartbeat: Duration,
    view: Arc<OwnersView>,
    lease: Arc<Lease>,
    core: OwnershipCore,
    table: PartitionTable,
    metrics: Option<Cluster>,
    said: watch::Sender<Said>,
    phase: watch::Sender<Phase>,
    started: Instant,
    /// The heartbeats as far as they were looked at.
    pulse: Pulse,
    work: JoinSet<Outcome>,
    looking: bool,
    next_look: Option<Instant>,
    hints: Option<Subscription>,
    listening: bool,
    /// A look whose findings the host has not yet followed: the lease counts from it when it has.
    unsettled_look: Option<Instant>,
    /// When an orderly end must be over.
    ends: Option<Instant>,
    stuck: Stuck,
    /// Found by the way; the loop ends with it.
    fate: Option<Fate>,
}

impl ClusterNode {
    /// Registers this incarnation, which declares older ones of the same node id dead.
    ///
    /// # Errors
    /// When the store does not take the registration.
    pub async fn register(
        options: NodeOptions,
        store: Arc<dyn Ownership>,
        host: Arc<dyn LocalConversations>,
        bus: Arc<dyn Bus>,
        view: Arc<OwnersView>,
        lease: Arc<Lease>,
    ) -> Result<Self, StoreError> {
        store.register(&options.registration).await?;
        let partitions: PartitionCount = view.partitions();
        let me = options.registration.incarnation;
        let core = OwnershipCore::new(me, partitions, options.ownership);
        let said = Said {
            state: core.state(),
            bus_ok: core.bus_ok(),
            silent: false,
        };
        Ok(Self {
            tools: Tools {
                me,
                store,
                host,
                bus,
            },
            heartbeat: options.heartbeat,
            view,
            lease,
            said: watch::Sender::new(said),
            phase: watch::Sender::new(core.phase()),
            core,
            table: PartitionTable::new(me),
            metrics: None,
            started: Instant::now(),
            pulse: Pulse::default(),
            work: JoinSet::new(),
            looking: false,
            next_look: None,
            hints: None,
            listening: false,
            unsettled_look: None,
            ends: None,
            stuck: Stuck::default(),
            fate: None,
        })
    }

    /// Counts in the node's metrics from now on.
    #[must_use]
    pub fn reporting_to(mut self, metrics: Cluster) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// What this node is, with every change.
    pub fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Runs until `cancel` (then hands over) or a fatal finding.
    pub async fn run(
        mut self,
        mut events: mpsc::Receiver<HostEvent>,
        cancel: CancellationToken,
    ) -> Fate {
        let (pulse, mut pulses) = watch::channel(Pulse::default());
        let ends = CancellationToken::new();
        let _ended_with_this = ends.clone().drop_guard();
        let heartbeats = beat(
            self.tools.me,
            Arc::clone(&self.tools.store),
            self.heartbeat,
            self.said.subscribe(),
            pulse,
            self.metrics.clone(),
            ends,
        );
        tokio::spawn(heartbeats);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let fate = loop {
            let look_at = self.next_look.filter(|_| !self.looking);
            tokio::select! {
                () = cancel.cancelled(), if self.ends.is_none() => self.begin_draining(),
                event = events.recv() => {
                    let Some(event) = event else { break Fate::Stopped };
                    // A lost lane signals for each of its partitions: all of them are settled together.
                    let mut broken = self.host_event(event);
                    while let Ok(event) = events.try_recv() {
                        broken |= self.host_event(event);
                    }
                    if broken {
                        break Fate::Broken;
                    }
                }
                changed = pulses.changed() => {
                    let pulse = *pulses.borrow_and_update();
                    if pulse.dead || changed.is_err() {
                        break Fate::DeclaredDead;
                    }
                    self.on_pulse(pulse);
                }
                Some(outcome) = self.work.join_next() => match outcome {
                    Ok(outcome) => self.on_outcome(outcome),
                    Err(error) => {
                        tracing::error!(%error, "a piece of ownership work ended with a panic");
                        break Fate::Broken;
                    }
                },
                hint = next_hint(&mut self.hints) => self.on_hint(hint),
                _ = ticks.tick() => self.on_tick(),
                () = sleep_until(look_at.unwrap_or_else(Instant::now)), if look_at.is_some() => self.start_look(),
            }
            self.keep_draining();
            self.say();
            if self.is_handed_over() {
                break Fate::Stopped;
            }
            if let Some(fate) = self.fate {
                break fate;
            }
        };
        self.end().await;
        fate
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match &effect {
                Effect::AnnounceReleased(moves) => {
                    for moved in moves {
                        self.view.learn(moved.partition, moved.epoch, None);
                    }
                    self.count(|metrics| metrics.handovers.inc_by(len(moves.len())));
                }
                Effect::AnnounceTaken(taken) => {
                    for (partition, epoch) in taken {
                        self.view.learn(*partition, *epoch, Some(self.tools.me));
                    }
                }
                Effect::Acquire(..)
                | Effect::Serve(_)
                | Effect::Stop(_)
                | Effect::Drain(_)
                | Effect::Release(_) => {}
            }
            self.work.spawn(self.tools.clone().perform(effect));
        }
    }

    fn count(&self, add: impl FnOnce(&Cluster)) {
        if let Some(metrics) = &self.metrics {
            add(metrics);
        }
    }

    /// What follows from the heartbeats since the last time.
    fn on_pulse(&mut self, pulse: Pulse) {
        let (failed, succeeded) = (
            pulse.failures > self.pulse.failures,
            pulse.beats > self.pulse.beats,
        );
        self.pulse = pulse;
        if failed {
            self.lost_sight();
        }
        if succeeded {
            self.stuck.heard(self.now_ms());
            self.start_look();
        }
    }

    fn lost_sight(&mut self) {
        self.core.heartbeat_failed();
        self.lease.doubt();
    }

    fn start_look(&mut self) {
        if !self.looking {
            self.looking = true;
            self.next_look = None;
            self.work.spawn(self.tools.clone().look());
        }
    }

    fn on_looked(&mut self, began: Instant, rows: Result<Rows, StoreError>) {
        self.looking = false;
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => {
                tracing::warn!(%error, "read ownership");
                self.lost_sight();
                if self.stuck.is_silent() {
                    // There is no heartbeat that would be followed by a look.
                    self.next_look = Some(Instant::now() + self.heartbeat);
                }
                return;
            }
        };
        for row in &rows.partitions {
            self.view.learn(row.partition, row.epoch, row.owner);
        }
        let seen = Observation {
            now_ms: self.now_ms(),
            nodes: rows.nodes,
            partitions: rows.partitions,
            timeline: rows.timeline,
        };
        self.core
            .bus_silent_for(seen.now_ms, self.tools.bus.silent_for());
        for action in self.core.step(&seen, &self.table.serving()) {
            let effects = match action {
                Action::Abandon(partitions) => self.table.abandon(&partitions),
                Action::HandOver(moves) => self.table.hand_over(moves),
                Action::Claim(claims) => self.table.claim(claims, false),
            };
            self.carry_out(effects);
        }
        let taken_back = self.table.reclaim(&seen.partitions);
        self.carry_out(taken_back);
        self.retry_doubts();
        self.unsettled_look = Some(began);
        self.settle_look();
        self.next_look = self
            .core
            .look_again_in()
            .map(|pause| Instant::now() + pause);
    }

    /// When the host has dropped what the rows no longer allow, what is served here is what they said at the look.
    fn settle_look(&mut self) {
        if !self.table.has_fenced()
            && let Some(began) = self.unsettled_look.take()
        {
            self.lease.renew(began);
            if self.stuck.sees() {
                tracing::info!("sees what it owns, says so again");
            }
        }
    }

    fn retry_doubts(&mut self) {
        let effects = self.table.retry_doubts();
        self.carry_out(effects);
    }

    fn on_outcome(&mut self, outcome: Outcome) {
        let effects = match outcome {
            Outcome::Looked(began, rows) => {
                self.on_looked(began, rows);
                return;
            }
            Outcome::Acquired(asked, reason, Ok(granted)) => {
                if !granted.is_empty() {
                    let count = granted.len();
                    tracing::info!(count, reason = reason.word(), "acquired partitions");
                    self.count(|metrics| {
                        metrics.acquires.inc_by(len(count));
                        if reason == Reason::Takeover {
                            metrics.takeovers.inc_by(len(count));
                        }
                    });
                }
                self.table.acquired(&asked, granted)
            }
            Outcome::Acquired(asked, reason, Err(error)) => {
                tracing::warn!(%error, reason = reason.word(), "acquire partitions");
                self.lease.doubt();
                self.table.acquire_failed(&asked)
            }
            Outcome::Served(taken) => self.table.served(&taken),
            Outcome::Stopped(partition) => {
                let effects = self.table.stopped(partition);
                self.settle_look();
                effects
            }
            Outcome::StillThere(partition) => {
                tracing::error!(%partition, "the host does not drop a partition, stopping");
                self.fate = Some(Fate::Stuck);
                return;
            }
            Outcome::Drained(partition, clean) => {
                if !clean {
                    tracing::warn!(%partition, "handed over with work in flight; its next owner settles it");
                }
                self.table.drained(partition)
            }
            Outcome::Released(moves, Ok(())) => {
                tracing::info!(count = moves.len(), "handed partitions over");
                self.table.released(&moves)
            }
            Outcome::Released(moves, Err(error)) => {
                tracing::warn!(%error, "release partitions");
                self.table.release_failed(&moves)
            }
            Outcome::Subscribed(answer) => {
                self.listening = answer.is_ok();
                match answer {
                    Ok(hints) => self.hints = Some(hints),
                    Err(error) => tracing::debug!(%error, "listen to changes of owners"),
                }
                return;
            }
            Outcome::Told => return,
        };
        self.carry_out(effects);
    }

    fn on_hint(&mut self, hint: Option<Delivery>) {
        let Some(hint) = hint else {
            self.hints = None;
            self.listening = false;
            return;
        };
        match OwnershipHint::decode(&hint.payload) {
            Ok(OwnershipHint::Released { by, partitions }) if by != self.tools.me => {
                for released in &partitions {
                    self.view.learn(released.partition, released.epoch, None);
                }
                let claims = self.core.hint_released(&partitions);
                let effects = self.table.claim(claims, true);
                self.carry_out(effects);
            }
            Ok(OwnershipHint::Taken { by, partitions }) if by != self.tools.me => {
                for (partition, epoch) in partitions {
                    self.view.learn(partition, epoch, Some(by));
                }
            }
            Ok(OwnershipHint::Released { .. } | OwnershipHint::Taken { .. }) => {}
            Err(error) => tracing::debug!(%error, "decode ownership hint"),
        }
    }

    fn on_tick(&mut self) {
        if !self.listening {
            self.listening = true;
            self.work.spawn(self.tools.clone().listen());
        }
        let before = self.core.phase();
        let now_ms = self.now_ms();
        self.core
            .bus_silent_for(now_ms, self.tools.bus.silent_for());
        if !self.lease.is_fresh() {
            self.core.lease_lost();
        }
        let phase = self.core.phase();
        if self.stuck.falls_silent(now_ms, phase == Phase::Wedged) {
            tracing::error!("heard by the database and without a lease for too long, falls silent");
            self.start_look();
        }
        if self.stuck.is_silent() {
            // A heartbeat that is not sent has not got through.
            self.lost_sight();
        }
        if phase == Phase::Wedged {
            let effects = self.table.wedge();
            self.carry_out(effects);
        } else if phase != before {
            self.start_look();
        }
        self.retry_doubts();
        let serving = self.table.serving().len();
        self.count(|metrics| metrics.partitions_serving.set(gauge(serving)));
    }

    /// `true` when the finding is fatal.
    fn host_event(&mut self, event: HostEvent) -> bool {
        let (partition, epoch) = (event.partition, event.epoch);
        match event.signal {
            PartitionSignal::Broken => {
                tracing::error!(%partition, %epoch, "log contradicts this process, stopping");
                return true;
            }
            PartitionSignal::Fenced => tracing::info!(%partition, %epoch, "fenced off"),
            PartitionSignal::InDoubt => tracing::info!(%partition, %epoch, "in doubt"),
        }
        let effects = self.table.signal(event);
        self.carry_out(effects);
        false
    }

    /// Puts what this node is into the next heartbeat, which goes out at once when it is news.
    fn say(&mut self) {
        let phase = self.core.phase();
        let changed = self
            .phase
            .send_if_modified(|now| std::mem::replace(now, phase) != phase);
        if changed {
            tracing::info!(incarnation = %self.tools.me, ?phase, "node changes its state");
            self.count(|metrics| metrics.node_phase.set(number(phase)));
        }
        let said = Said {
            state: self.core.state(),
            bus_ok: self.core.bus_ok(),
            silent: self.stuck.is_silent(),
        };
        self.said
            .send_if_modified(|now| std::mem::replace(now, said) != said);
    }

    fn begin_draining(&mut self) {
        self.ends = Some(Instant::now() + HAND_OVER_MAX);
    }

    /// Whatever comes to be served while this node drains goes the same way.
    fn keep_draining(&mut self) {
        if self.ends.is_some() {
            let moves = self.core.begin_draining(&self.table.serving());
            let effects = self.table.hand_over(moves);
            self.carry_out(effects);
        }
    }

    fn is_handed_over(&self) -> bool {
        self.ends
            .is_some_and(|ends| self.table.is_empty() || Instant::now() >= ends)
    }

    /// Drops what is left, and in an orderly end says the last words.
    async fn end(&mut self) {
        let dropping = async {
            for (partition, _) in self.table.serving() {
                self.tools.host.stop(partition).await;
            }
        };
        if timeout(DROP_MAX, dropping).await.is_err() {
            tracing::warn!("the host does not drop everything");
        }
        if self.ends.is_none() {
            return;
        }
        let words = async { while self.work.join_next().await.is_some() {} };
        if timeout(LAST_WORDS_MAX, words).await.is_err() {
            tracing::debug!("not everybody was told");
        }
        let retiring = timeout(LAST_WORDS_MAX, self.tools.store.retire(self.tools.me));
        match retiring.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "retire node"),
            Err(late) => tracing::warn!(%late, "retire node"),
        }
        self.core.stopped();
        self.say();
    }
}

/// The next hint; waits for ever while nobody listens.
async fn next_hint(hints: &mut Option<Subscription>) -> Option<Delivery> {
    match hints {
        Some(hints) => hints.next().await,
        None => std::future::pending().await,
    }
}

fn len(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// As `hubbub_cluster_node_phase` shows it.
fn number(phase: Phase) -> i64 {
    match phase {
        Phase::Starting => 0,
        Phase::Joining => 1,
        Phase::Active => 2,
        Phase::Blind => 3,
        Phase::Wedged => 4,
        Phase::Draining => 5,
        Phase::Stopped => 6,
    }
}

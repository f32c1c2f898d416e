//! The ownership loop: the thin shell around [`crate::ownership`]. Heartbeats, looks, acts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hubbub_bus::{Bus, BusStatus};
use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::{Epoch, PartitionCount, PartitionId};
use hubbub_event_log::{Acquired, Claim, NodeRegistration, NodeState, Ownership, StoreError};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::lease::Lease;
use crate::ownership::{Action, Observation, OwnershipCore, OwnershipSettings};
use crate::port::{HostEvent, LocalConversations, PartitionSignal};
use crate::pulse::{Pulse, beat};
use crate::view::OwnersView;

/// Claims in one acquire transaction at most: keeps the fence rows of a large cluster locked for a moment only.
pub const ACQUIRE_PARTITIONS_MAX: usize = 256;
/// How long a hand-over waits for what is in flight.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);
/// Signals of the host that may wait: one per partition and a few more.
pub const HOST_EVENTS_QUEUE: usize = 4_096;

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
}

/// Owns partitions on behalf of one incarnation.
pub struct ClusterNode {
    options: NodeOptions,
    store: Arc<dyn Ownership>,
    host: Arc<dyn LocalConversations>,
    bus: Arc<dyn Bus>,
    view: Arc<OwnersView>,
    lease: Arc<Lease>,
    core: OwnershipCore,
    state: watch::Sender<NodeState>,
    /// The heartbeats as far as they were looked at.
    pulse: Pulse,
    serving: BTreeMap<PartitionId, Epoch>,
    /// Partitions whose last append is open, with the epoch it was made under: acquired anew before anything else.
    in_doubt: BTreeMap<PartitionId, Epoch>,
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
        let core = OwnershipCore::new(
            options.registration.incarnation,
            partitions,
            options.ownership,
        );
        Ok(Self {
            options,
            store,
            host,
            bus,
            view,
            lease,
            state: watch::Sender::new(core.state()),
            core,
            pulse: Pulse::default(),
            serving: BTreeMap::new(),
            in_doubt: BTreeMap::new(),
        })
    }

    /// Runs until `cancel` (then hands over) or a fatal finding.
    pub async fn run(
        mut self,
        mut events: mpsc::Receiver<HostEvent>,
        cancel: CancellationToken,
    ) -> Fate {
        let started = Instant::now();
        let (pulse, mut pulses) = watch::channel(Pulse::default());
        let ends = CancellationToken::new();
        let _ended_with_this = ends.clone().drop_guard();
        let heartbeats = beat(
            self.me(),
            Arc::clone(&self.store),
            Arc::clone(&self.bus),
            self.options.heartbeat,
            self.state.subscribe(),
            pulse,
            ends,
        );
        tokio::spawn(heartbeats);
        loop {
            tokio::select! {
                () = cancel.cancelled() => {
                    self.hand_over_everything().await;
                    return Fate::Stopped;
                }
                event = events.recv() => {
                    let Some(event) = event else { return Fate::Stopped };
                    // A lost lane signals for each of its partitions: all of them are settled together.
                    let mut broken = self.host_event(event).await;
                    while let Ok(event) = events.try_recv() {
                        broken |= self.host_event(event).await;
                    }
                    if broken {
                        return Fate::Broken;
                    }
                    self.resolve_doubt().await;
                }
                changed = pulses.changed() => {
                    let pulse = *pulses.borrow_and_update();
                    if pulse.dead || changed.is_err() {
                        self.stop_all().await;
                        return Fate::DeclaredDead;
                    }
                    let now_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                    self.on_pulse(pulse, now_ms).await;
                }
            }
        }
    }

    fn me(&self) -> Incarnation {
        self.options.registration.incarnation
    }

    /// What follows from the heartbeats since the last time.
    async fn on_pulse(&mut self, pulse: Pulse, now_ms: u64) {
        let (failed, succeeded) = (
            pulse.failures > self.pulse.failures,
            pulse.beats > self.pulse.beats,
        );
        self.pulse = pulse;
        if failed {
            self.core.heartbeat_failed();
        }
        if !succeeded {
            return;
        }
        let seen_at = Instant::now();
        let seen = match self.look(now_ms).await {
            Ok(seen) => seen,
            Err(error) => {
                tracing::warn!(%error, "read ownership");
                self.core.heartbeat_failed();
                return;
            }
        };
        for row in &seen.partitions {
            self.view.learn(row.partition, row.epoch, row.owner);
        }
        let (abandon, others): (Vec<Action>, Vec<Action>) = self
            .core
            .step(&seen, &self.serving)
            .into_iter()
            .partition(|action| matches!(action, Action::Abandon(_)));
        for action in abandon {
            self.act(action).await;
        }
        // What is served here now is what the rows said at `seen_at`.
        self.lease.renew(seen_at);
        self.reclaim(&seen);
        self.resolve_doubt().await;
        for action in others {
            self.act(action).await;
        }
    }

    /// Rows that name this node although it does not serve them: an acquire whose answer was lost, a release that failed. Nobody else may
    /// take them from a live node, so they are taken again under a newer epoch.
    fn reclaim(&mut self, seen: &Observation) {
        let me = self.me();
        let mine = seen.partitions.iter().filter(|row| row.owner == Some(me));
        for row in mine.filter(|row| !self.serving.contains_key(&row.partition)) {
            self.in_doubt.insert(row.partition, row.epoch);
        }
    }

    async fn look(&self, now_ms: u64) -> Result<Observation, StoreError> {
        let nodes = self.store.nodes().await?;
        let partitions = self.store.partitions().await?;
        Ok(Observation {
            now_ms,
            nodes,
            partitions,
        })
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::BecomeActive => {
                self.state.send_replace(NodeState::Active);
                tracing::info!(incarnation = %self.me(), "node is active");
            }
            Action::Abandon(partitions) => {
                for partition in partitions {
                    self.serving.remove(&partition);
                    self.host.stop(partition).await;
                }
            }
            Action::HandOver(partitions) => self.hand_over(partitions).await,
            Action::Claim(claims) => {
                for part in claims.chunks(ACQUIRE_PARTITIONS_MAX) {
                    let reason = if part.iter().any(|claim| claim.expected_owner.is_some()) {
                        "takeover"
                    } else {
                        "claim"
                    };
                    self.acquire(part, reason).await;
                }
            }
        }
    }

    async fn acquire(&mut self, claims: &[Claim], reason: &str) {
        match self.store.acquire(self.me(), claims, reason).await {
            Ok(acquired) => {
                if !acquired.is_empty() {
                    tracing::info!(count = acquired.len(), reason, "acquired partitions");
                }
                for taken in acquired {
                    self.begin_serving(taken).await;
                }
            }
            // Claims are judged anew at the next beat; an in-doubt partition stays in doubt until then.
            Err(error) => tracing::warn!(%error, reason, "acquire partitions"),
        }
    }

    async fn begin_serving(&mut self, taken: Acquired) {
        self.in_doubt.remove(&taken.partition);
        self.serving.insert(taken.partition, taken.epoch);
        self.host
            .serve(taken.partition, taken.epoch, taken.head)
            .await;
        self.view
            .learn(taken.partition, taken.epoch, Some(self.me()));
    }

    async fn hand_over(&mut self, partitions: Vec<(PartitionId, Epoch)>) {
        let count = partitions.len();
        let drained = futures_util::future::join_all(
            partitions
                .iter()
                .map(|(partition, _)| self.host.drain(*partition, DRAIN_PATIENCE)),
        )
        .await;
        for ((partition, _), clean) in partitions.iter().zip(drained) {
            self.serving.remove(partition);
            if !clean {
                // The next owner's acquire settles what is open.
                self.host.stop(*partition).await;
            }
        }
        match self.store.release(self.me(), &partitions).await {
            Ok(()) => {
                for (partition, epoch) in &partitions {
                    self.view.learn(*partition, *epoch, None);
                }
                tracing::info!(count, "handed partitions over");
            }
            // The rows still name this node: take the partitions back rather than leave them without service.
            Err(error) => {
                tracing::warn!(%error, "release partitions");
                self.in_doubt.extend(partitions);
            }
        }
    }

    /// `true` when the finding is fatal.
    async fn host_event(&mut self, event: HostEvent) -> bool {
        // A signal of an epoch that this node has already left behind is history.
        if self
            .serving
            .get(&event.partition)
            .is_some_and(|epoch| *epoch != event.epoch)
        {
            return false;
        }
        match event.signal {
            PartitionSignal::Fenced => {
                tracing::info!(partition = %event.partition, epoch = %event.epoch, "fenced off");
                self.serving.remove(&event.partition);
                false
            }
            PartitionSignal::InDoubt => {
                self.serving.remove(&event.partition);
                self.in_doubt.insert(event.partition, event.epoch);
                false
            }
            PartitionSignal::Broken => {
                tracing::error!(partition = %event.partition, epoch = %event.epoch, "log contradicts this process, stopping");
                self.stop_all().await;
                true
            }
        }
    }

    async fn resolve_doubt(&mut self) {
        if self.in_doubt.is_empty() {
            return;
        }
        let me = self.me();
        let claims: Vec<Claim> = self
            .in_doubt
            .iter()
            .map(|(partition, epoch)| Claim {
                partition: *partition,
                expected_owner: Some(me),
                expected_epoch: *epoch,
            })
            .collect();
        for part in claims.chunks(ACQUIRE_PARTITIONS_MAX) {
            match self.store.acquire(me, part, "in_doubt").await {
                Ok(acquired) => {
                    for claim in part {
                        // What was not granted belongs to someone else by now, or to this node under an epoch that the next look
                        // at the rows shows.
                        self.in_doubt.remove(&claim.partition);
                    }
                    tracing::info!(count = acquired.len(), "resolved partitions in doubt");
                    for taken in acquired {
                        self.begin_serving(taken).await;
                    }
                }
                Err(error) => tracing::warn!(%error, "acquire partitions in doubt"),
            }
        }
    }

    async fn stop_all(&mut self) {
        for partition in std::mem::take(&mut self.serving).into_keys() {
            self.host.stop(partition).await;
        }
    }

    async fn hand_over_everything(&mut self) {
        self.core.begin_draining();
        self.state.send_replace(NodeState::Draining);
        let nats_ok = *self.bus.status().borrow() == BusStatus::Up;
        if let Err(error) = self
            .store
            .heartbeat(self.me(), NodeState::Draining, nats_ok)
            .await
        {
            tracing::warn!(%error, "announce draining");
        }
        let owned: Vec<(PartitionId, Epoch)> = self
            .serving
            .iter()
            .map(|(partition, epoch)| (*partition, *epoch))
            .collect();
        if !owned.is_empty() {
            self.hand_over(owned).await;
        }
        if let Err(error) = self.store.retire(self.me()).await {
            tracing::warn!(%error, "retire node");
        }
    }
}

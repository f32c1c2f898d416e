//! The ownership loop: the thin shell around [`crate::ownership`]. Heartbeats, looks, acts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hubbub_bus::{Bus, BusStatus};
use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::{Epoch, PartitionCount, PartitionId};
use hubbub_event_log::{Acquired, Claim, NodeRegistration, NodeState, Ownership, StoreError};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::ownership::{Action, Observation, OwnershipCore, OwnershipSettings};
use crate::port::{HostEvent, LocalConversations, PartitionSignal};
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
    core: OwnershipCore,
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
            core,
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
        let mut ticks = interval(self.options.heartbeat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let started = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => {
                    self.hand_over_everything().await;
                    return Fate::Stopped;
                }
                event = events.recv() => match event {
                    Some(event) => {
                        if self.host_event(event).await {
                            return Fate::Broken;
                        }
                    }
                    None => return Fate::Stopped,
                },
                _ = ticks.tick() => {
                    let now_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                    if !self.beat(now_ms).await {
                        self.stop_all().await;
                        return Fate::DeclaredDead;
                    }
                }
            }
        }
    }

    fn me(&self) -> Incarnation {
        self.options.registration.incarnation
    }

    /// One heartbeat and what follows from it; `false` when declared dead.
    async fn beat(&mut self, now_ms: u64) -> bool {
        let nats_ok = *self.bus.status().borrow() == BusStatus::Up;
        let state = match (self.core.state(), nats_ok) {
            (NodeState::Active, false) => NodeState::Blind,
            (state, _) => state,
        };
        match self.store.heartbeat(self.me(), state, nats_ok).await {
            Ok(true) => {}
            Ok(false) => return false,
            Err(error) => {
                tracing::warn!(%error, "write heartbeat");
                self.core.heartbeat_failed();
                return true;
            }
        }
        self.resolve_doubt().await;
        let seen = match self.look(now_ms).await {
            Ok(seen) => seen,
            Err(error) => {
                tracing::warn!(%error, "read ownership");
                self.core.heartbeat_failed();
                return true;
            }
        };
        for row in &seen.partitions {
            self.view.learn(row.partition, row.epoch, row.owner);
        }
        for action in self.core.step(&seen, &self.serving) {
            self.act(action).await;
        }
        true
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
                let nats_ok = *self.bus.status().borrow() == BusStatus::Up;
                // The next beat says it again if this one is lost.
                if let Err(error) = self
                    .store
                    .heartbeat(self.me(), NodeState::Active, nats_ok)
                    .await
                {
                    tracing::warn!(%error, "announce active state");
                }
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
                self.resolve_doubt().await;
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
                        // What was not granted belongs to someone else by now.
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

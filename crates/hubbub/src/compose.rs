//! All wiring, top to bottom, no cleverness: stores, bus, actors, ownership, projectors, edge.

mod descriptors;
mod gauges;
mod neighbours;
mod pools;
mod stores;
mod wake;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::Context;
use hubbub_actors::{ActorHost, HostDeps, HostOptions};
use hubbub_cluster::node::HOST_EVENTS_QUEUE;
use hubbub_cluster::ownership::OwnershipSettings;
use hubbub_cluster::server::{CommandServer, serve_commands};
use hubbub_cluster::{
    ClusterNode, CommandRouter, Fate, HostEvent, Lease, LocalConversations, NodeOptions,
    OwnersView, Router,
};
use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::PartitionCount;
use hubbub_edge::{Edge, EdgeDeps, EdgeLimits, EdgeOptions, StartError};
use hubbub_event_log::{NodeRegistration, Ownership};
use hubbub_projections::{OwnedPartitions, Projection};
use hubbub_telemetry::Metrics;
use hubbub_telemetry::{Clock, SystemClock};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::stores::Stores;
use crate::advice::{self, advised};
use crate::settings::Settings;
use crate::shutdown::Signals;

/// Stored versions that this release can write.
const LEVEL: u32 = 1;
/// Bytes of a MiB.
const MIB: u64 = 1 << 20;
/// How long what is in flight may take to find its end at shutdown, besides the drain window.
const STOP_PATIENCE: Duration = Duration::from_secs(8);

/// How long requests and sockets may take to end once they have been told to.
const EDGE_PATIENCE: Duration = Duration::from_secs(4);

/// A fresh name for this life of this process.
#[expect(
    clippy::disallowed_methods,
    reason = "the composition root is where the name of this life is made"
)]
pub(crate) fn new_incarnation() -> Incarnation {
    Incarnation::from_uuid(uuid::Uuid::now_v7())
}

/// A running node.
pub(crate) struct Node {
    edge: Edge,
    host: Arc<ActorHost>,
    /// What the demo fills a new instance through.
    pub(crate) router: Arc<dyn CommandRouter>,
    /// Likewise.
    pub(crate) stores: Stores,
    address: String,
    fate: watch::Receiver<Option<Fate>>,
    ownership_ends: CancellationToken,
    rest_ends: CancellationToken,
    tasks: TaskTracker,
    drain: Duration,
}

impl Node {
    /// Starts everything; returns when the edge serves and, in embedded mode, every partition is owned.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(crate) async fn start(settings: &Settings) -> anyhow::Result<Self> {
        let base = Base::prepare(settings).await?;
        let (host, host_events) = base.start_host(settings).await?;
        let router = base.start_routing(settings, &host).await?;
        // The edge follows the streams before anything can be appended here.
        let edge = base.start_edge(settings, &router).await?;
        let fate = base
            .start_ownership(settings, &host, &edge, host_events)
            .await?;
        base.start_followers(&host).await?;
        if !settings.is_cluster() {
            wait_until_owned(&base.view, base.me, base.partitions, &mut fate.clone()).await?;
        }
        let address = settings
            .public_url
            .clone()
            .unwrap_or_else(|| format!("http://{}", edge.addr()));
        Ok(Self {
            edge,
            host,
            router,
            stores: base.stores,
            address,
            fate,
            ownership_ends: base.ownership_ends,
            rest_ends: base.rest_ends,
            tasks: base.tasks,
            drain: Duration::from_millis(settings.drain_ms),
        })
    }

    /// Where people reach it.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Set when the ownership loop ends by itself.
    pub(crate) fn fate(&mut self) -> &mut watch::Receiver<Option<Fate>> {
        &mut self.fate
    }

    /// Ends in order: sockets go elsewhere, partitions are handed over, actors end, the rest. A further signal ends it at once.
    /// `true` when everything found its end in time.
    pub(crate) async fn stop(self, signals: &mut Signals) -> bool {
        let patience = self.drain + STOP_PATIENCE;
        tokio::select! {
            () = self.stop_softly() => true,
            () = tokio::time::sleep(patience) => {
                tracing::warn!("not everything ended in time");
                false
            }
            () = signals.next() => {
                tracing::warn!("asked again, stopping at once");
                false
            }
        }
    }

    async fn stop_softly(self) {
        let begun = Instant::now();
        let passed = |what: &str| {
            tracing::info!(after_ms = millis(begun.elapsed()), "stopping: {what}");
        };
        if !self.edge.shutdown(self.drain + EDGE_PATIENCE).await {
            tracing::warn!("some connections did not end in time");
        }
        passed("sockets went elsewhere");
        self.ownership_ends.cancel();
        let mut fate = self.fate;
        // Handed over, or the loop was gone before.
        drop(fate.wait_for(Option::is_some).await);
        passed("partitions are handed over");
        self.host.shutdown(Duration::from_secs(2)).await;
        passed("actors ended");
        self.rest_ends.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.stores.close().await;
        passed("everything ended");
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What everything is built on.
struct Base {
    me: Incarnation,
    stores: Stores,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    partitions: PartitionCount,
    user_rev: Arc<AtomicU64>,
    view: Arc<OwnersView>,
    lease: Arc<Lease>,
    tasks: TaskTracker,
    ownership_ends: CancellationToken,
    rest_ends: CancellationToken,
}

impl Base {
    async fn prepare(settings: &Settings) -> anyhow::Result<Self> {
        let stores = Stores::open(settings).await?;
        let wanted = if settings.is_cluster() {
            settings.partitions
        } else {
            PartitionCount::EMBEDDED.get()
        };
        let wanted = PartitionCount::new(wanted).context("partitions must be a power of two")?;
        let cluster = stores.log.init_cluster(wanted).await;
        let partitions = cluster.context("read the cluster's settings")?.partitions;
        let highest = stores.identity.highest_rev().await;
        Ok(Self {
            me: new_incarnation(),
            clock: Arc::new(SystemClock),
            metrics: Arc::new(Metrics::new().context("declare metrics")?),
            partitions,
            user_rev: Arc::new(AtomicU64::new(highest.context("read account revisions")?)),
            view: Arc::new(OwnersView::new(partitions)),
            lease: Arc::new(Lease::default()),
            tasks: TaskTracker::new(),
            ownership_ends: CancellationToken::new(),
            rest_ends: CancellationToken::new(),
            stores,
        })
    }

    async fn start_host(
        &self,
        settings: &Settings,
    ) -> anyhow::Result<(Arc<ActorHost>, mpsc::Receiver<HostEvent>)> {
        let (host_events, events) = mpsc::channel(HOST_EVENTS_QUEUE);
        let clock = Arc::clone(&self.clock);
        let options = HostOptions {
            arbiters: usize::from(settings.arbiters),
            resident_bytes_max: usize::try_from(settings.conversations_mib.saturating_mul(MIB))
                .unwrap_or(usize::MAX),
            ..HostOptions::default()
        };
        let deps = HostDeps {
            log: Arc::clone(&self.stores.owner_log),
            bus: Arc::clone(&self.stores.bus),
            clock: Arc::new(move || clock.now()),
            incarnation: self.me,
            partitions: self.partitions,
            user_rev: Arc::clone(&self.user_rev),
            host_events,
        };
        let host = ActorHost::start(options, deps)
            .await
            .context("start the actor host")?;
        host.report_to(&self.metrics);
        Ok((host, events))
    }

    async fn start_routing(
        &self,
        settings: &Settings,
        host: &Arc<ActorHost>,
    ) -> anyhow::Result<Arc<dyn CommandRouter>> {
        let local: Arc<dyn LocalConversations> = host.clone();
        if settings.is_cluster() {
            let server = CommandServer {
                me: self.me,
                bus: Arc::clone(&self.stores.bus),
                local: Arc::clone(&local),
                lease: Arc::clone(&self.lease),
                view: Arc::clone(&self.view),
                metrics: Some(self.metrics.cluster.clone()),
            };
            serve_commands(server, &self.tasks, self.rest_ends.clone())
                .await
                .context("listen for commands of other nodes")?;
            hubbub_cluster::ranges::serve_ranges(
                self.me,
                Arc::clone(&self.stores.bus),
                Arc::clone(&local),
                &self.tasks,
                self.rest_ends.clone(),
            )
            .await
            .context("listen for edges that missed events")?;
        }
        hubbub_cluster::server::follow_heads(
            Arc::clone(&self.stores.bus),
            Arc::clone(&self.view),
            &self.tasks,
            self.rest_ends.clone(),
        )
        .await
        .context("listen for heads")?;
        let router = Router::new(
            self.me,
            Arc::clone(&self.view),
            local,
            Arc::clone(&self.stores.bus),
            Arc::clone(&self.lease),
        );
        Ok(Arc::new(router.reporting_to(self.metrics.cluster.clone())))
    }

    async fn start_edge(
        &self,
        settings: &Settings,
        router: &Arc<dyn CommandRouter>,
    ) -> anyhow::Result<Edge> {
        let mut limits = limits(settings);
        limits.connections =
            descriptors::connections(settings.connections, pools::connections_max(settings))?;
        let process = &self.metrics.process;
        process
            .connections_max
            .set(i64::try_from(limits.connections).unwrap_or(i64::MAX));
        process
            .fault_points
            .set(i64::from(hubbub_telemetry::fault::is_compiled_in()));
        let options = EdgeOptions {
            listen: settings.listen,
            public_url: settings.public_url.clone(),
            node_id: node_id(settings),
            limits,
            drain_window: Duration::from_millis(settings.drain_ms),
            metrics_listen: settings.metrics_listen,
        };
        let deps = EdgeDeps {
            router: Arc::clone(router),
            bus: Arc::clone(&self.stores.bus),
            log: Arc::clone(&self.stores.edge_log),
            read_models: self.stores.reader.clone(),
            identity: Arc::clone(&self.stores.identity),
            partitions: self.partitions,
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
        };
        let started = if settings.is_cluster() {
            let neighbours = Arc::new(neighbours::Others::new(
                self.me,
                Arc::clone(&self.stores.log),
            ));
            Edge::start_among(neighbours, options, deps).await
        } else {
            Edge::start(options, deps).await
        };
        started.map_err(|error| match error {
            StartError::Listen { .. } => advised("start the edge", &error, advice::ADDRESS),
            error => anyhow::Error::new(error).context("start the edge"),
        })
    }

    /// The ownership loop; what it returns is set when the loop has ended.
    async fn start_ownership(
        &self,
        settings: &Settings,
        host: &Arc<ActorHost>,
        edge: &Edge,
        host_events: mpsc::Receiver<HostEvent>,
    ) -> anyhow::Result<watch::Receiver<Option<Fate>>> {
        let options = NodeOptions {
            registration: NodeRegistration {
                incarnation: self.me,
                node_id: node_id(settings),
                addr: edge.addr().to_string(),
                max_level: LEVEL,
            },
            heartbeat: Duration::from_millis(settings.heartbeat_ms),
            ownership: OwnershipSettings {
                join_delay_ms: settings.join_delay_ms,
                rebalance_percent: settings.rebalance_percent,
                hold_off_ms: settings.hold_off_ms,
            },
        };
        let rows: Arc<dyn Ownership> = self.stores.log.clone();
        let local: Arc<dyn LocalConversations> = host.clone();
        let node = ClusterNode::register(
            options,
            rows,
            local,
            Arc::clone(&self.stores.bus),
            Arc::clone(&self.view),
            Arc::clone(&self.lease),
        )
        .await
        .context("register this node")?
        .reporting_to(self.metrics.cluster.clone());
        let (found, fate) = watch::channel(None);
        let ends = self.ownership_ends.clone();
        self.tasks.spawn(async move {
            found.send_replace(Some(node.run(host_events, ends).await));
        });
        Ok(fate)
    }

    /// Whatever follows the log and the bus: projectors, account revisions, metrics.
    async fn start_followers(&self, host: &Arc<ActorHost>) -> anyhow::Result<()> {
        let here = Arc::clone(host);
        let owned: OwnedPartitions =
            Arc::new(move || here.heads().iter().map(|head| head.partition).collect());
        let mut wakers = Vec::new();
        let mut stats = Vec::new();
        for projection in [Projection::Inbox, Projection::History] {
            let (waker, wake) = mpsc::channel(wake::WAKE_QUEUE);
            let projector = self
                .stores
                .projections
                .projector(projection, Arc::clone(&owned))
                .timed_by(self.metrics.projections.batch_seconds.clone());
            wakers.push(waker);
            stats.push(projector.stats());
            self.tasks
                .spawn(projector.run(wake, self.rest_ends.clone()));
        }
        let bus = || Arc::clone(&self.stores.bus);
        wake::follow_events(bus(), wakers, &self.tasks, self.rest_ends.clone())
            .await
            .context("listen for events")?;
        wake::follow_revisions(
            bus(),
            Arc::clone(&self.stores.identity),
            Arc::clone(&self.user_rev),
            &self.tasks,
            self.rest_ends.clone(),
        )
        .await
        .context("listen for account changes")?;
        self.tasks.spawn(gauges::keep_up(
            Arc::clone(&self.metrics),
            Arc::clone(host),
            stats,
            self.stores.clone(),
            self.rest_ends.clone(),
        ));
        Ok(())
    }
}

fn node_id(settings: &Settings) -> String {
    settings
        .node_id
        .clone()
        .unwrap_or_else(|| "embedded".to_owned())
}

/// What the edge allows, with the settings that operators turn.
fn limits(settings: &Settings) -> EdgeLimits {
    let mut limits = EdgeLimits {
        sockets_per_user: settings.sockets_per_user,
        ..EdgeLimits::default()
    };
    limits.budgets.sends.count = settings.sends_per_second;
    limits.budgets.sends.per_s = 1;
    limits.budgets.sends.burst = Some(settings.sends_burst);
    limits
}

async fn wait_until_owned(
    view: &OwnersView,
    me: Incarnation,
    partitions: PartitionCount,
    fate: &mut watch::Receiver<Option<Fate>>,
) -> anyhow::Result<()> {
    let mut changes = view.changes();
    while view.count_owned_by(me) < usize::from(partitions.get()) {
        tokio::select! {
            changed = changes.changed() => changed.context("the owners' view is gone")?,
            ended = fate.wait_for(Option::is_some) => {
                drop(ended);
                anyhow::bail!("the ownership loop ended before it owned anything");
            }
        }
    }
    Ok(())
}

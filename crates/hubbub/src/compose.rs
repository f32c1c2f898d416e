//! All wiring, top to bottom, no cleverness: stores, bus, actors, ownership, projectors, edge.

mod gauges;
mod stores;
mod wake;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Context;
use hubbub_actors::{ActorHost, HostDeps, HostOptions};
use hubbub_cluster::node::HOST_EVENTS_QUEUE;
use hubbub_cluster::ownership::OwnershipSettings;
use hubbub_cluster::{
    ClusterNode, CommandRouter, Fate, Lease, LocalConversations, NodeOptions, OwnersView, Router,
};
use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::PartitionCount;
use hubbub_edge::{Edge, EdgeDeps, EdgeLimits, EdgeOptions};
use hubbub_event_log::{LogReader, NodeRegistration, Ownership};
use hubbub_projections::{OwnedPartitions, Projection};
use hubbub_telemetry::Metrics;
use hubbub_telemetry::{Clock, SystemClock};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::stores::Stores;
use crate::settings::Settings;
use crate::shutdown::Signals;

/// Stored versions that this release can write.
const LEVEL: u32 = 1;
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
        let me = new_incarnation();
        let stores = Stores::open(settings).await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::new().context("declare metrics")?);
        let wanted = if settings.is_cluster() {
            settings.partitions
        } else {
            PartitionCount::EMBEDDED.get()
        };
        let wanted = PartitionCount::new(wanted).context("partitions must be a power of two")?;
        let partitions = stores
            .log
            .init_cluster(wanted)
            .await
            .context("read the cluster's settings")?
            .partitions;

        let user_rev = Arc::new(AtomicU64::new(
            stores
                .identity
                .highest_rev()
                .await
                .context("read account revisions")?,
        ));
        let (host_events, host_events_in) = mpsc::channel(HOST_EVENTS_QUEUE);
        let host_clock = Arc::clone(&clock);
        let host = ActorHost::start(
            HostOptions {
                arbiters: usize::from(settings.arbiters),
                ..HostOptions::default()
            },
            HostDeps {
                log: Arc::clone(&stores.log),
                bus: Arc::clone(&stores.bus),
                clock: Arc::new(move || host_clock.now()),
                incarnation: me,
                partitions,
                user_rev: Arc::clone(&user_rev),
                host_events,
            },
        )
        .await
        .context("start the actor host")?;
        host.report_to(&metrics);

        let tasks = TaskTracker::new();
        let (ownership_ends, rest_ends) = (CancellationToken::new(), CancellationToken::new());
        let view = Arc::new(OwnersView::new(partitions));
        let lease = Arc::new(Lease::default());
        let local: Arc<dyn LocalConversations> = host.clone();
        let router: Arc<dyn CommandRouter> = Arc::new(Router::new(
            me,
            Arc::clone(&view),
            Arc::clone(&local),
            Arc::clone(&stores.bus),
            Arc::clone(&lease),
        ));
        if settings.is_cluster() {
            hubbub_cluster::server::serve_commands(
                me,
                Arc::clone(&stores.bus),
                Arc::clone(&local),
                Arc::clone(&lease),
                &tasks,
                rest_ends.clone(),
            )
            .await
            .context("listen for commands of other nodes")?;
        }
        hubbub_cluster::server::follow_heads(
            Arc::clone(&stores.bus),
            Arc::clone(&view),
            &tasks,
            rest_ends.clone(),
        )
        .await
        .context("listen for heads")?;

        // The edge follows the streams before anything can be appended here.
        let reader: Arc<dyn LogReader> = stores.log.clone();
        let edge = Edge::start(
            EdgeOptions {
                listen: settings.listen,
                public_url: settings.public_url.clone(),
                node_id: settings
                    .node_id
                    .clone()
                    .unwrap_or_else(|| "embedded".to_owned()),
                limits: limits(settings),
                drain_window: Duration::from_millis(settings.drain_ms),
                metrics_listen: settings.metrics_listen,
            },
            EdgeDeps {
                router: Arc::clone(&router),
                bus: Arc::clone(&stores.bus),
                log: reader,
                read_models: Arc::new(stores.projections.reader()),
                identity: Arc::clone(&stores.identity),
                partitions,
                clock: Arc::clone(&clock),
                metrics: Arc::clone(&metrics),
            },
        )
        .await
        .context("start the edge")?;

        let ownership: Arc<dyn Ownership> = stores.log.clone();
        let cluster_node = ClusterNode::register(
            NodeOptions {
                registration: NodeRegistration {
                    incarnation: me,
                    node_id: settings
                        .node_id
                        .clone()
                        .unwrap_or_else(|| "embedded".to_owned()),
                    addr: edge.addr().to_string(),
                    max_level: LEVEL,
                },
                heartbeat: Duration::from_millis(settings.heartbeat_ms),
                ownership: OwnershipSettings {
                    join_delay_ms: settings.join_delay_ms,
                    rebalance_percent: settings.rebalance_percent,
                },
            },
            ownership,
            local,
            Arc::clone(&stores.bus),
            Arc::clone(&view),
            lease,
        )
        .await
        .context("register this node")?;
        let (fate_out, fate) = watch::channel(None);
        let ends = ownership_ends.clone();
        tasks.spawn(async move {
            let found = cluster_node.run(host_events_in, ends).await;
            fate_out.send_replace(Some(found));
        });

        let owned_here = Arc::clone(&host);
        let owned: OwnedPartitions = Arc::new(move || {
            owned_here
                .heads()
                .iter()
                .map(|head| head.partition)
                .collect()
        });
        let mut wakers = Vec::new();
        let mut projector_stats = Vec::new();
        for projection in [Projection::Inbox, Projection::History] {
            let (waker, wake) = mpsc::channel(wake::WAKE_QUEUE);
            wakers.push(waker);
            let projector = stores.projections.projector(projection, Arc::clone(&owned));
            projector_stats.push(projector.stats());
            let ends = rest_ends.clone();
            tasks.spawn(projector.run(wake, ends));
        }
        wake::follow_events(Arc::clone(&stores.bus), wakers, &tasks, rest_ends.clone())
            .await
            .context("listen for events")?;

        wake::follow_revisions(
            Arc::clone(&stores.bus),
            Arc::clone(&stores.identity),
            user_rev,
            &tasks,
            rest_ends.clone(),
        )
        .await
        .context("listen for account changes")?;

        tasks.spawn(gauges::keep_up(
            metrics,
            Arc::clone(&host),
            Arc::clone(&stores.bus),
            projector_stats,
            rest_ends.clone(),
        ));
        if !settings.is_cluster() {
            wait_until_owned(&view, me, partitions, &mut fate.clone()).await?;
        }
        let address = settings
            .public_url
            .clone()
            .unwrap_or_else(|| format!("http://{}", edge.addr()));
        Ok(Self {
            edge,
            host,
            router,
            stores,
            address,
            fate,
            ownership_ends,
            rest_ends,
            tasks,
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
        if !self.edge.shutdown(self.drain + EDGE_PATIENCE).await {
            tracing::warn!("some connections did not end in time");
        }
        self.ownership_ends.cancel();
        let mut fate = self.fate;
        // Handed over, or the loop was gone before.
        drop(fate.wait_for(Option::is_some).await);
        self.host.shutdown(Duration::from_secs(2)).await;
        self.rest_ends.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.stores.close().await;
    }
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

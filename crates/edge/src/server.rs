//! Starting and stopping an edge.
//!
//! Start: listen (nobody is accepted yet), subscribe and read heads, then accept. Stop: new sockets are refused with a time to
//! come back, requests finish, sockets are told when to come back and closed with 1012 over the drain window, then the fan-out ends.
//!
//! - [`accept`] the loop · [`stream`] a connection's bytes · [`framing`] ambiguous requests · [`bare`] unreadable ones · [`metrics`] the other listener.

pub(crate) mod accept;
pub(crate) mod bare;
pub(crate) mod framing;
pub(crate) mod metrics;
pub(crate) mod stream;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hubbub_accounts::{AccountsError, Identity};
use hubbub_bus::{Bus, SubscribeError};
use hubbub_cluster::CommandRouter;
use hubbub_domain::position::PartitionCount;
use hubbub_event_log::{LogReader, ReadError};
use hubbub_projections::ReadModels;
use hubbub_telemetry::{Clock, Metrics, OnError, spawn_named};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::origin::{BadPublicUrl, Origins};
use crate::budget::Budgets;
use crate::fanout::{self, FanOutDeps};
use crate::gates::Gates;
use crate::http;
use crate::http::keys::Keys;
use crate::options::{EdgeOptions, Neighbours, NoNeighbours};
use crate::people::People;
use crate::state::Shared;

/// What an edge works with.
#[derive(Clone)]
pub struct EdgeDeps {
    /// Brings commands to their owners.
    pub router: Arc<dyn CommandRouter>,
    /// Events, heads, account changes, typing.
    pub bus: Arc<dyn Bus>,
    /// For gaps, resumes and raw events.
    pub log: Arc<dyn LogReader>,
    /// Inbox, history, members.
    pub read_models: Arc<dyn ReadModels>,
    /// Who people are.
    pub identity: Arc<dyn Identity>,
    /// How many partitions the cluster has.
    pub partitions: PartitionCount,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
}

impl std::fmt::Debug for EdgeDeps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EdgeDeps")
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

/// An edge did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("listen on {addr}")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The public URL is no URL.
    #[error(transparent)]
    PublicUrl(#[from] BadPublicUrl),
    /// The bus is not there; trying again later may work.
    #[error("listen to the bus")]
    Bus(#[source] SubscribeError),
    /// The log is not there; trying again later may work.
    #[error("read the heads of the log")]
    Log(#[source] ReadError),
    /// Accounts are not there; trying again later may work.
    #[error("read the account revision")]
    Accounts(#[source] AccountsError),
}

impl From<fanout::StartError> for StartError {
    fn from(error: fanout::StartError) -> Self {
        match error {
            fanout::StartError::Bus(error) => Self::Bus(error),
            fanout::StartError::Log(error) => Self::Log(error),
            fanout::StartError::Accounts(error) => Self::Accounts(error),
        }
    }
}

/// A running edge. Dropping it lets it run on; [`Edge::shutdown`] ends it in order.
#[derive(Debug)]
pub struct Edge {
    addr: SocketAddr,
    metrics_addr: Option<SocketAddr>,
    draining: CancellationToken,
    closed: CancellationToken,
    stop: CancellationToken,
    connections: TaskTracker,
    sockets: TaskTracker,
    fanout: JoinHandle<()>,
}

impl Edge {
    /// Starts to serve. When this returns, everything that commits from now on reaches the sockets of this edge.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start(options: EdgeOptions, deps: EdgeDeps) -> Result<Self, StartError> {
        Self::start_among(Arc::new(NoNeighbours), options, deps).await
    }

    /// The same, for a node that has others beside it: when it hears nothing and they do, its clients are sent to them.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start_among(
        neighbours: Arc<dyn Neighbours>,
        options: EdgeOptions,
        deps: EdgeDeps,
    ) -> Result<Self, StartError> {
        let (listener, addr) = listen(options.listen)?;
        let origins = match &options.public_url {
            Some(url) => Origins::of_public_url(url)?,
            None => Origins::of_listener(addr),
        };
        let metrics_listener = match options.metrics_listen {
            Some(wanted) => Some(listen(wanted)?),
            None => None,
        };
        let (draining, stop) = (CancellationToken::new(), CancellationToken::new());
        let people = People::new(Arc::clone(&deps.identity));
        let gates = Arc::new(Gates::new(options.limits.doors));
        let fanout_deps = FanOutDeps {
            bus: Arc::clone(&deps.bus),
            log: Arc::clone(&deps.log),
            read_models: Arc::clone(&deps.read_models),
            identity: Arc::clone(&deps.identity),
            people: people.clone(),
            clock: Arc::clone(&deps.clock),
            metrics: Arc::clone(&deps.metrics),
            partitions: deps.partitions,
            sockets_per_user: usize::try_from(options.limits.sockets_per_user)
                .unwrap_or(usize::MAX),
            modes: options.limits.rooms,
            neighbours,
            gates: Arc::clone(&gates),
        };
        let (handle, fanout) = fanout::start(fanout_deps, stop.clone()).await?;
        let (connections, sockets) = (TaskTracker::new(), TaskTracker::new());
        let closed = CancellationToken::new();
        let door = |listener, places: usize| accept::Door {
            listener,
            places: Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS))),
            connections: connections.clone(),
            draining: draining.clone(),
            closed: closed.clone(),
            metrics: Arc::clone(&deps.metrics),
        };
        let metrics_addr = metrics_listener.as_ref().map(|(_, addr)| *addr);
        if let Some((listener, _)) = metrics_listener {
            let router = metrics::router(Arc::clone(&deps.metrics));
            let door = accept::Door {
                // It is watched to the end.
                draining: closed.clone(),
                ..door(listener, metrics::CONNECTIONS_MAX)
            };
            let serve = connections.track_future(accept::run(door, router));
            spawn_named("edge metrics listener", OnError::Log, serve);
        }
        let door = door(listener, options.limits.connections);
        let shared = Arc::new(Shared {
            router: deps.router,
            bus: deps.bus,
            log: deps.log,
            read_models: deps.read_models,
            identity: deps.identity,
            people,
            fanout: handle,
            clock: deps.clock,
            metrics: deps.metrics,
            node_id: options.node_id,
            budgets: Budgets::new(&options.limits.budgets),
            keys: Keys::new(),
            gates,
            limits: options.limits,
            origins,
            draining: draining.clone(),
            drain_window_ms: u64::try_from(options.drain_window.as_millis()).unwrap_or(u64::MAX),
            sockets: sockets.clone(),
            next_socket: AtomicU64::new(1),
        });
        // A shutdown that has ended has let go of its address.
        let serve = connections.track_future(accept::run(door, http::router(shared)));
        spawn_named("edge listener", OnError::Cancel(stop.clone()), serve);
        Ok(Self {
            addr,
            metrics_addr,
            draining,
            closed,
            stop,
            connections,
            sockets,
            fanout,
        })
    }

    /// Where people connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where `/metrics` is served.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics_addr
    }

    /// Completes when a part of the edge has failed that it cannot do without: the node has to end.
    pub async fn failed(&self) {
        self.stop.cancelled().await;
    }

    /// Ends in order: new sockets are refused, requests finish, sockets are sent away over the drain window; then nobody is accepted any
    /// more. `true` when all of them ended
    /// within `deadline`; what is left then dies with the runtime.
    pub async fn shutdown(self, deadline: Duration) -> bool {
        self.draining.cancel();
        self.connections.close();
        self.sockets.close();
        let drained = async {
            self.sockets.wait().await;
            // Until now whoever knocked was told when to come back.
            self.closed.cancel();
            self.connections.wait().await;
        };
        let in_time = tokio::time::timeout(deadline, drained).await.is_ok();
        self.closed.cancel();
        self.stop.cancel();
        if let Err(error) = self.fanout.await {
            tracing::error!(%error, "the fan-out did not end well");
        }
        in_time
    }
}

fn listen(wanted: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen {
        addr: wanted,
        source,
    };
    let socket = match wanted {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.map_err(failed)?;
    socket.set_reuseaddr(true).map_err(failed)?;
    socket.bind(wanted).map_err(failed)?;
    let listener = socket.listen(accept::BACKLOG).map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok((listener, addr))
}

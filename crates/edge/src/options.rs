//! How an edge is set up: by whom it is found, what it allows, how it goes down.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use hubbub_wire::rest::{Budgets, Limits, limits};

pub use crate::fanout::modes::RoomModes;
use crate::gates::Doors;

/// Settings of an edge.
#[derive(Clone, Debug)]
pub struct EdgeOptions {
    /// Where people connect; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What people type, scheme included, when it is not the listen address: decides origins and cookies. `https://…` means that
    /// something in front speaks TLS.
    pub public_url: Option<String>,
    /// The node's name, shown in `welcome`.
    pub node_id: String,
    /// What is allowed.
    pub limits: EdgeLimits,
    /// Over how long sockets are sent away on shutdown, so that they do not all come back elsewhere at once.
    pub drain_window: Duration,
    /// Where `/metrics` is served; nowhere when absent.
    pub metrics_listen: Option<SocketAddr>,
}

/// What an edge allows.
#[derive(Clone, Debug)]
pub struct EdgeLimits {
    /// Sockets of one user on this node.
    pub sockets_per_user: u32,
    /// Connections of all kinds on this node; more are answered 503 at once.
    pub connections: usize,
    /// How often things may be done; also published in `GET /api/v1/limits`.
    pub budgets: Budgets,
    /// Seconds between pings; two missed close the socket.
    pub heartbeat_s: u32,
    /// Sizes at which rooms change their manners.
    pub rooms: RoomModes,
    /// How much of each class of work goes on at once.
    pub doors: Doors,
}

/// What this node's cluster knows of its other nodes, apart from the bus: asked when nothing is heard over it.
#[async_trait]
pub trait Neighbours: Send + Sync + 'static {
    /// Whether another node is alive and has the bus, as the database sees it; `None` when that cannot be told now.
    async fn anyone_hears(&self) -> Option<bool>;
}

/// A node that is alone: nobody else could serve its clients.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNeighbours;

#[async_trait]
impl Neighbours for NoNeighbours {
    async fn anyone_hears(&self) -> Option<bool> {
        Some(false)
    }
}

impl Default for EdgeLimits {
    fn default() -> Self {
        Self {
            sockets_per_user: limits::SOCKETS_PER_USER_DEFAULT,
            connections: 60_000,
            budgets: Budgets::default(),
            // Two missed pongs are noticed within three of these, and a minute is allowed (F22).
            heartbeat_s: 15,
            rooms: RoomModes::default(),
            doors: Doors::default(),
        }
    }
}

impl EdgeLimits {
    /// What `GET /api/v1/limits` and `welcome` say.
    pub(crate) fn published(&self) -> Limits {
        limits::limits(self.budgets.clone(), self.sockets_per_user)
    }
}

//! How an edge is set up: by whom it is found, what it allows, how it goes down.

use std::net::SocketAddr;
use std::time::Duration;

use hubbub_wire::rest::{Budgets, Limits, limits};

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
    /// Connections of all kinds on this node; more are not accepted until some close.
    pub connections: usize,
    /// How often things may be done; also published in `GET /api/v1/limits`.
    pub budgets: Budgets,
    /// Seconds between pings; two missed close the socket.
    pub heartbeat_s: u32,
}

impl Default for EdgeLimits {
    fn default() -> Self {
        Self {
            sockets_per_user: limits::SOCKETS_PER_USER_DEFAULT,
            connections: 60_000,
            budgets: Budgets::default(),
            heartbeat_s: 30,
        }
    }
}

impl EdgeLimits {
    /// What `GET /api/v1/limits` and `welcome` say.
    pub(crate) fn published(&self) -> Limits {
        limits::limits(self.budgets.clone(), self.sockets_per_user)
    }
}

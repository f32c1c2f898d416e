//! What sockets and requests work with on this node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hubbub_accounts::Identity;
use hubbub_bus::Bus;
use hubbub_cluster::CommandRouter;
use hubbub_event_log::LogReader;
use hubbub_projections::ReadModels;
use hubbub_telemetry::{Clock, Metrics};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::origin::Origins;
use crate::budget::Budgets;
use crate::fanout::FanOut;
use crate::gates::Gates;
use crate::http::keys::Keys;
use crate::options::EdgeLimits;
use crate::people::People;
use crate::sessions::SocketId;

/// One node's edge, shared by its tasks.
pub(crate) struct Shared {
    pub(crate) router: Arc<dyn CommandRouter>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) log: Arc<dyn LogReader>,
    pub(crate) read_models: Arc<dyn ReadModels>,
    pub(crate) identity: Arc<dyn Identity>,
    pub(crate) people: People,
    pub(crate) fanout: FanOut,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) node_id: String,
    pub(crate) limits: EdgeLimits,
    pub(crate) origins: Origins,
    pub(crate) budgets: Budgets,
    pub(crate) gates: Arc<Gates>,
    pub(crate) keys: Keys,
    /// The node is going down: nobody new, everybody is asked to go.
    pub(crate) draining: CancellationToken,
    /// The longest time over which sockets are sent away, in milliseconds.
    pub(crate) drain_window_ms: u64,
    /// Sockets under way.
    pub(crate) sockets: TaskTracker,
    pub(crate) next_socket: AtomicU64,
}

impl Shared {
    pub(crate) fn new_socket_id(&self) -> SocketId {
        SocketId(self.next_socket.fetch_add(1, Ordering::Relaxed))
    }
}

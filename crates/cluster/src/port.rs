//! The ports of the cluster room: what the edge calls, and what the actor host offers.

use std::time::Duration;

use async_trait::async_trait;
use hubbub_domain::conversation::{Command, Rejection};
use hubbub_domain::position::{Epoch, Offset, PartitionId};
use hubbub_telemetry::TraceContext;
use hubbub_wire::bus::{Accepted, CommandRequest, EvBatch, MarkRequest, OwnerReply, RangeRequest};

/// Brings commands to their owner, wherever that is.
#[async_trait]
pub trait CommandRouter: Send + Sync + 'static {
    /// Submits a command and waits for its definite answer until the deadline. Retries with the same id while the owner moves.
    async fn submit(
        &self,
        command: Command,
        retry: bool,
        deadline: Duration,
        trace: Option<TraceContext>,
    ) -> Result<Accepted, SubmitError>;

    /// Moves a member's markers.
    async fn mark(&self, mark: MarkRequest, deadline: Duration) -> Result<(), SubmitError>;
}

/// Why a command has no place to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// A definite no by the rules.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// A definite no: too much at once.
    #[error("busy")]
    Busy {
        /// When to try again, in milliseconds.
        retry_after_ms: u32,
    },
    /// A definite no: nobody can serve it now.
    #[error("unavailable")]
    Unavailable {
        /// When to try again, in milliseconds.
        retry_after_ms: u32,
    },
    /// A definite no: no room on disk.
    #[error("storage full")]
    StorageFull,
    /// Open: it may or may not be stored; ask again with the same id.
    #[error("outcome unknown")]
    UnknownOutcome,
}

/// The conversations of this node, behind the actor host.
#[async_trait]
pub trait LocalConversations: Send + Sync + 'static {
    /// Handles a request for a partition of this node. Answers `WrongOwner` when it does not serve that partition (under that epoch).
    /// Every other answer than `Unknown`, `WrongOwner`, `Busy` and `Unavailable` depends only on what is durable.
    async fn handle(&self, request: CommandRequest, trace: Option<TraceContext>) -> OwnerReply;

    /// Begins to serve a partition under a fresh epoch, from `head` on.
    async fn serve(&self, partition: PartitionId, epoch: Epoch, head: Offset);

    /// Ends serving a partition at once: its actors are dropped, pending replies are answered `Unknown`.
    async fn stop(&self, partition: PartitionId);

    /// Ends serving in order: stops accepting, waits for what is in flight (at most `patience`), publishes, snapshots.
    /// `true` when everything in flight found its definite end.
    async fn drain(&self, partition: PartitionId, patience: Duration) -> bool;

    /// An unbroken piece of what was published, from `after + 1` on, out of the owner's ring: maybe shorter than asked, at most what one
    /// bus message carries. `None` when the ring does not hold `after + 1`, or this node does not serve the partition; whoever asks reads
    /// the log then.
    fn range(&self, _request: RangeRequest) -> Option<EvBatch> {
        None
    }
}

/// What the host tells the ownership loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostEvent {
    /// The partition.
    pub partition: PartitionId,
    /// Under which epoch it was served.
    pub epoch: Epoch,
    /// What happened.
    pub signal: PartitionSignal,
}

/// Why the host stopped serving a partition by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartitionSignal {
    /// An append found the epoch moved on: someone else owns it.
    Fenced,
    /// An append has no definite answer: acquire anew before anything else.
    InDoubt,
    /// The log contradicts this process: it must end.
    Broken,
}

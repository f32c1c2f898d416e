//! What reaches a partition actor, and what it is born with.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use actix::Message;
use hubbub_domain::ids::ConversationId;
use hubbub_domain::position::{Epoch, Offset, PartitionId};
use hubbub_telemetry::TraceContext;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::answer::Answer;
use crate::conversation::actor::Request;
use crate::conversation::turn::{Decided, MarkerMove, Round};
use crate::lane::{LaneHandle, Report};
use crate::partition::publisher::Publisher;
use crate::partition::residents::Failure;
use crate::shared::Shared;

/// Everything that reaches a partition's mailbox.
pub(crate) enum PartitionInput {
    /// From the host: for one of its conversations.
    Request(Request),
    /// From a conversation: give this a place.
    Decided {
        round: Round,
        decided: Box<Decided>,
        trace: Option<TraceContext>,
    },
    /// From a conversation: a member's marker moved.
    Marker {
        moved: MarkerMove,
        caller: Option<Answer>,
    },
    /// From a conversation: it has left memory.
    Left(ConversationId),
    /// From a conversation: it has work and stays.
    Stays(ConversationId),
    /// From a conversation: it cannot go on.
    Failed {
        conversation: ConversationId,
        failure: Failure,
    },
    /// From its lane.
    Lane(Report),
    /// From the host, about once a second.
    Tick,
    /// From the host: write markers and snapshots, let every conversation leave, then say so. No request is under way any more.
    Finish(oneshot::Sender<()>),
    /// From the host: end at once.
    Stop(oneshot::Sender<()>),
}

impl Message for PartitionInput {
    type Result = ();
}

/// What a partition is born with.
pub(crate) struct PartitionBirth {
    pub(crate) shared: Arc<Shared>,
    pub(crate) partition: PartitionId,
    pub(crate) epoch: Epoch,
    pub(crate) head: Offset,
    pub(crate) lane: LaneHandle,
    pub(crate) publisher: Publisher,
    /// Everything this partition has under way on the node's runtime.
    pub(crate) chores: TaskTracker,
    /// Set when it leaves Serving.
    pub(crate) left: Arc<AtomicBool>,
}

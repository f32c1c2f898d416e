//! A write lane: one task, one connection, at most one statement in flight.
//!
//! No linger: an idle lane sends what arrives at once; while a statement is in flight the next batch gathers. So batches grow with
//! the load by themselves. A statement is never cancelled and never repeated on a guess:
//!
//! | the log says | partitions of the batch | their rows behind it |
//! |---|---|---|
//! | stored | told, publish and reply | go on |
//! | fenced | leave Serving | dropped |
//! | this command id exists | the ids are looked up; partitions with a duplicate are taken back, the others' rows go again | dropped if taken back |
//! | refused, nothing stored | taken back, answered so | dropped |
//! | no definite answer | leave Serving as in doubt; the connection is given up | dropped |
//! | it would leave a hole: the log has lost rows | leave Serving as in doubt | dropped |
//! | offset or seq taken, half stored | leave Serving as broken | dropped |
//!
//! Never: a pool checkout, a time limit around a statement (the log's own lane has one, and says `Unknown`), a reply to a caller.

pub(crate) mod core;
pub(crate) mod queue;
mod settle;
pub(crate) mod task;

#[cfg(test)]
mod core_tests;
#[cfg(test)]
mod queue_tests;

use hubbub_domain::position::{Epoch, Offset, PartitionId};
use hubbub_event_log::{MarkerUpdate, Refusal};
use tokio::sync::mpsc;

use crate::conversation::turn::{Round, TakeBack};
use crate::lane::queue::LaneRow;

/// Takes a report to its partition; `false` when the partition is gone.
pub(crate) type Reporter = Box<dyn Fn(Report) -> bool + Send>;

/// What a partition sends to its lane.
pub(crate) enum LaneInput {
    /// Begin to take its rows.
    Open {
        partition: PartitionId,
        epoch: Epoch,
        reporter: Reporter,
    },
    /// Append these.
    Row {
        partition: PartitionId,
        epoch: Epoch,
        round: Round,
        row: Box<LaneRow>,
    },
    /// Write these markers; at most one such write per partition is under way.
    Markers {
        partition: PartitionId,
        epoch: Epoch,
        markers: Vec<MarkerUpdate>,
    },
    /// Forget it.
    Close {
        partition: PartitionId,
        epoch: Epoch,
    },
}

/// What a lane tells a partition.
#[derive(Debug)]
pub enum Report {
    /// Everything up to here is durable.
    Committed {
        /// Offset of the last of them.
        through: Offset,
        /// How many events this statement brought.
        rows: usize,
    },
    /// Nothing that is in flight was stored. What was decided before `round` is void.
    TakenBack {
        /// The round that begins.
        round: Round,
        /// What becomes of the commands.
        how: TakeBack,
    },
    /// The epoch has moved on.
    Fenced,
    /// An append has no definite answer.
    InDoubt,
    /// The log contradicts this process.
    Broken,
    /// The marker write under way is stored.
    MarkersStored,
    /// The marker write under way is not stored.
    MarkersRefused {
        /// What the store said.
        refusal: Refusal,
    },
    /// Nobody knows whether the marker write is stored; writing it again is harmless.
    MarkersUnknown,
}

/// The way to a lane.
#[derive(Clone, Debug)]
pub(crate) struct LaneHandle {
    inputs: mpsc::Sender<LaneInput>,
}

/// The lane's queue is full or the lane is gone. The queue is larger than all permits together, so this means trouble, not load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LaneUnavailable;

impl LaneHandle {
    pub(crate) fn new(inputs: mpsc::Sender<LaneInput>) -> Self {
        Self { inputs }
    }

    pub(crate) fn send(&self, input: LaneInput) -> Result<(), LaneUnavailable> {
        self.inputs
            .try_send(input)
            .map_err(|_full_or_closed| LaneUnavailable)
    }
}

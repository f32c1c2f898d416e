//! What a feed and its shell say to each other.

use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::Offset;
use hubbub_event_log::ReadError;
use hubbub_wire::bus::{EvBatch, EvEntry};
use hubbub_wire::stored::EventRow;

#[cfg(doc)]
use crate::feed::PartitionFeed;

/// What the shell has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Give these events out: the next ones, ascending and dense. Rows that came from the log have no recipients.
    Deliver(Vec<EvEntry>),
    /// Read events with offset > `after` and bring them to [`PartitionFeed::on_range`]. One at a time.
    Fetch {
        /// After this offset: the one before the last delivered, so that the lineage is checked by the way.
        after: Offset,
        /// What comes after it is not missing yet; more does no harm.
        to: Offset,
        /// Whom to ask.
        from: Source,
    },
    /// What was delivered is no longer in the log (P9): tell everyone, then [`PartitionFeed::boot`] again.
    LineageLost,
}

/// Where a range is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The ring of this owner.
    Ring(Incarnation),
    /// The log.
    Log,
}

/// What a read brought.
#[derive(Debug)]
pub enum Fetched {
    /// From the ring; `None` when it does not hold the beginning or nobody answered in time.
    Ring(Option<EvBatch>),
    /// From the log.
    Log(Result<Vec<EventRow>, ReadError>),
}

/// What a read made good, and where from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Healed {
    /// What was missing.
    pub loss: Loss,
    /// Whether the owner's ring had it.
    pub by_ring: bool,
}

/// What was missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Later events had come before it.
    Gap,
    /// Only a head told of it.
    Last,
}

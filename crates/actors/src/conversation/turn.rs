//! What goes into a conversation's sequencer and what comes out of it, as data.

use std::time::Instant;

use hubbub_domain::conversation::{Command, Recorded};
use hubbub_domain::ids::{CommandId, UserId};
use hubbub_domain::position::Seq;
use hubbub_domain::time::Timestamp;
use hubbub_event_log::{Marker, SnapshotRow};
use hubbub_wire::bus::{MarkRequest, OwnerReply};
use hubbub_wire::stored::EventRow;

/// Names one waiting caller within one actor's life.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Ticket(pub u64);

/// Rises with every take-back of a partition: what was decided in an older round is void.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Round(u64);

impl Round {
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The two clocks, read once per input.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The owner's wall clock, for events.
    pub wall: Timestamp,
    /// A monotonic clock, for deadlines.
    pub instant: Instant,
}

/// A command that waits to be judged.
#[derive(Clone, Debug)]
pub struct Ask {
    pub ticket: Ticket,
    pub command: Command,
    /// Look the id up when the window does not know it.
    pub retry: bool,
    /// Past it the command is dropped before the append.
    pub deadline: Instant,
    /// What the log was found to hold under this id.
    pub looked_up: LookedUp,
}

/// What is known of a command id from the log itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LookedUp {
    /// Not asked.
    No,
    /// Asked: nothing.
    Nothing,
    /// Asked: this row.
    Row(Box<EventRow>),
}

/// Something that waits for its turn.
#[derive(Clone, Debug)]
pub enum Turn {
    /// Decide and store.
    Command(Box<Ask>),
    /// Move a member's markers.
    Mark(Ticket, MarkRequest),
}

impl Turn {
    pub fn ticket(&self) -> Ticket {
        match self {
            Self::Command(ask) => ask.ticket,
            Self::Mark(ticket, _) => *ticket,
        }
    }
}

/// An event that was decided and waits for its place in the log.
#[derive(Clone, Debug)]
pub struct Decided {
    pub ticket: Ticket,
    pub recorded: Recorded,
    /// Who receives it, when the conversation is small.
    pub recipients: Option<Vec<UserId>>,
    /// The command's deadline.
    pub deadline: Instant,
}

/// A marker as it now is, and what of it moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MarkerMove {
    pub marker: Marker,
    pub read_moved: bool,
    pub delivered_moved: bool,
}

/// What the shell shall do, in this order.
#[derive(Debug)]
pub enum Effect {
    /// Bring the state from the log, then call `loaded` or `load_failed`.
    Load,
    /// Ask the log for this id, then call `probed`.
    Probe { ticket: Ticket, command: CommandId },
    /// Bring the members' markers, then call `markers_loaded`.
    LoadMarkers,
    /// Give the event its offset and send it to the lane.
    Append(Box<Decided>),
    /// Say this to the caller.
    Reply { ticket: Ticket, reply: OwnerReply },
    /// Have the marker written; `wait` = the caller is answered when it is stored, by whoever stores it.
    Mark {
        ticket: Ticket,
        moved: MarkerMove,
        wait: bool,
    },
    /// Store a snapshot; everything in it is durable.
    SaveSnapshot(SnapshotRow),
}

/// Why speculative events were taken back.
#[derive(Clone, Debug)]
pub enum TakeBack {
    /// Judge the commands again, in order; these ids were found in the log.
    Rerun { found: Vec<EventRow> },
    /// Judge those again that have longer than until then; the others are refused, because they would not be stored in time.
    Expired {
        /// Until when.
        until: Instant,
    },
    /// Answer every command that was judged so: nothing of it was stored.
    Answer(OwnerReply),
}

/// A state that came from the log.
#[derive(Debug)]
pub struct Loaded {
    pub state: hubbub_domain::conversation::State,
    pub origins: crate::conversation::origins::Origins,
    /// Seq of the newest sound snapshot; zero when there is none.
    pub snapshot: Seq,
}

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
pub(crate) struct Ticket(pub(crate) u64);

/// Rises with every take-back of a partition: what was decided in an older round is void.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Round(u64);

impl Round {
    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The two clocks, read once per input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// The owner's wall clock, for events.
    pub(crate) wall: Timestamp,
    /// A monotonic clock, for deadlines.
    pub(crate) instant: Instant,
}

/// A command that waits to be judged.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) ticket: Ticket,
    pub(crate) command: Command,
    /// Look the id up when the window does not know it.
    pub(crate) retry: bool,
    /// Past it the command is dropped before the append.
    pub(crate) deadline: Instant,
    /// What the log was found to hold under this id.
    pub(crate) looked_up: LookedUp,
}

/// What is known of a command id from the log itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum LookedUp {
    /// Not asked.
    No,
    /// Asked: nothing.
    Nothing,
    /// Asked: this row.
    Row(Box<EventRow>),
}

/// Something that waits for its turn.
#[derive(Clone, Debug)]
pub(crate) enum Turn {
    /// Decide and store.
    Command(Box<Ask>),
    /// Move a member's markers.
    Mark(Ticket, MarkRequest),
}

impl Turn {
    pub(crate) fn ticket(&self) -> Ticket {
        match self {
            Self::Command(ask) => ask.ticket,
            Self::Mark(ticket, _) => *ticket,
        }
    }
}

/// An event that was decided and waits for its place in the log.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    pub(crate) ticket: Ticket,
    pub(crate) recorded: Recorded,
    /// Who receives it, when the conversation is small.
    pub(crate) recipients: Option<Vec<UserId>>,
    /// The command's deadline.
    pub(crate) deadline: Instant,
}

/// A marker as it now is, and what of it moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MarkerMove {
    pub(crate) marker: Marker,
    pub(crate) read_moved: bool,
    pub(crate) delivered_moved: bool,
}

/// What the shell shall do, in this order.
#[derive(Debug)]
pub(crate) enum Effect {
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
pub(crate) enum TakeBack {
    /// Judge the commands again, in order; these ids were found in the log.
    Rerun { found: Vec<EventRow> },
    /// Answer every command that was judged so: nothing of it was stored.
    Answer(OwnerReply),
}

/// A state that came from the log.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) state: hubbub_domain::conversation::State,
    pub(crate) origins: crate::conversation::origins::Origins,
    /// Seq of the newest sound snapshot; zero when there is none.
    pub(crate) snapshot: Seq,
}

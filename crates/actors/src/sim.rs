//! The cores of this room as the simulator runs them: no actix, no tokio, no clock of their own. Not for anyone else.

pub use crate::conversation::core::{SNAPSHOT_EVENTS_BUSY, SNAPSHOT_EVENTS_MIN, Sequencer, Unread};
pub use crate::conversation::fold::{Fold, LoadError};
pub use crate::conversation::origins::Origins;
pub use crate::conversation::turn::{
    Ask, Decided, Effect, Loaded, LookedUp, MarkerMove, Now, Round, TakeBack, Ticket, Turn,
};
pub use crate::lane::Report;
pub use crate::lane::core::{LaneCore, Settled, Told};
pub use crate::lane::queue::{Drawn, LaneQueue, LaneRow, Part};
pub use crate::partition::core::{Committed, NoPlace, PartitionCore, Phase, Publication};
pub use crate::partition::marks::{MARKS_PENDING_MAX, MARKS_WRITE_MAX, Marks};
pub use crate::partition::recovery::{REPUBLISH_EVENTS_MAX, told_again, unpublished};
pub use crate::partition::residents::{
    AfterCrash, FAILURES_MAX, Failure, QUARANTINE_MAX, QUARANTINE_MIN, READ_ONLY_FOR, Residents,
    Route,
};
pub use crate::partition::ring::{RING_BYTES_MAX, RING_EVENTS_MAX, Ring};

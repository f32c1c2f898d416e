//! The cores of this room as the simulator runs them: no tokio, no axum, no clock of their own. Not for anyone else.

pub use crate::fanout::rooms::{
    Admission, Arrival, Loaded, Members, ROOM_HELD_MAX, ROOMS_HELD_MAX, ROOMS_MAX, Rooms, Skipped,
    WHISPERS_MAX, Whisper, fold, unfold,
};
pub use crate::fanout::sight::{BLIND_AFTER_MS, Sight, TURN_AWAY_AFTER_MS, Verdict};
pub use crate::feed::{
    Effect, FETCH_PATIENCE_MS, Fetched, HELD_EVENTS_MAX, Healed, Loss, PartitionFeed, RANGE_ROWS,
    REORDER_WAIT_MS, RETRY_WAIT_MS, Source,
};
pub use crate::objects::{conversation, frame, message, raw_event, resync_frame};
pub use crate::resume::{Plan, plan};
pub use crate::session::chain::{Chains, SENDS_MAX};
pub use crate::session::queue::{
    ANSWER_BYTES_MAX, CATCH_UP_BYTES_MAX, COALESCE_BYTES_MAX, CONTROLS_MAX, EVENT_BYTES_MAX,
    EncodeResync, EventItem, Frame, LATEST_MAX, LatestKey, Queue, RESYNC_CONVERSATIONS_MAX, Ticket,
    Write,
};

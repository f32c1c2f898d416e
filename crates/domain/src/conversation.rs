//! One conversation: what may be asked, what has happened, what follows.
//!
//! `decide(&State, &Command) → event, nothing, or rejection`; [`recorded`] gives the event its place; `evolve(&mut State,
//! &Recorded)` folds it in. The state before the first event is [`State::absent`]. Before appending for a command id that the state
//! does not remember, ask [`must_probe`] and judge what the log had with [`judge_repeat`].

pub mod authorize;
pub mod command;
pub mod decide;
pub mod event;
pub mod evolve;
pub mod fingerprint;
pub mod limits;
pub mod rejection;
pub mod rules;
pub mod state;
pub mod window;

pub use authorize::{Denied, Operation, Situation, Standing, authorize};
pub use command::{Command, Intent, NewConversation};
pub use decide::{Decision, decide, judge_repeat, recorded};
pub use event::{
    Event, JoinHistory, Kind, Posting, Recorded, RemovalReason, Role, Settings, Visibility,
};
pub use evolve::evolve;
pub use fingerprint::{Fingerprint, RequestKey, RequestMac};
pub use rejection::Rejection;
pub use state::{Member, RecentCommand, State, StateParts};
pub use window::{AuthoredCommand, must_probe};

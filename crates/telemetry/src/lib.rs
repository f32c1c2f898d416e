//! Names, initialisation and propagation of logs, traces and metrics.
//!
//! Owns: the one `init`, span and field names, every metric's declaration, trace context as it travels in headers and frames.
//!
//! Never: message text, tokens or e-mail addresses in any of them; business decisions.
//!
//! Start reading at [`propagate`].

pub mod clock;
pub mod propagate;
pub mod task;

pub use clock::{Clock, ManualClock, SystemClock};
pub use propagate::TraceContext;
pub use task::{OnError, spawn_named};

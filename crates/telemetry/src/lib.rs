//! Names, initialisation and propagation of logs, traces and metrics.
//!
//! Owns: the one `init`, span and field names, every metric's declaration, trace context as it travels in headers and frames.
//!
//! Never: message text, tokens or e-mail addresses in any of them; business decisions.
//!
//! Start reading at [`mod@init`], then [`propagate`]; [`fields`], [`spans`] and [`metrics`] are the names.

pub mod clock;
pub mod fault;
pub mod fields;
pub mod init;
pub mod metrics;
pub mod propagate;
pub mod spans;
pub mod task;

pub use clock::{Clock, ManualClock, SystemClock};
pub use init::{Guard, InitError, LogFormat, TelemetryOptions, init};
pub use metrics::Metrics;
pub use propagate::{TraceContext, current_trace_id};
pub use task::{OnError, run_to_end, spawn_named};

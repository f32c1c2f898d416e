//! Subjects and envelopes between nodes: at most once, repaired by numbers elsewhere.
//!
//! Owns: async-nats; the subject map; trace context in headers; reconnect policy. Two implementations of one port: in process and NATS,
//! one contract suite (feature `contract`).
//!
//! Never: SQL, actix, axum; promises about delivery. A message that was published may be lost; offsets (not this room) notice.
//!
//! Start reading at [`port`], then [`subject`]; [`memory`] is the simpler implementation.

#[cfg(any(test, feature = "contract"))]
pub mod contract;
pub mod memory;
pub mod nats;
pub mod port;
pub mod subject;

pub use memory::{Fault, MemoryBus};
pub use nats::{ConnectError, NatsBus, NatsOptions};
pub use port::{
    Bus, BusStatus, BusUse, Delivery, PAYLOAD_BYTES_MAX, PublishError, ReplyTo, RequestError,
    SubscribeError, Subscription,
};
pub use subject::{Subject, SubjectPattern, UnknownSubject};

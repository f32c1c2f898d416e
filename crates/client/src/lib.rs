//! The Rust client: one connection to any of several nodes, that loses nothing and doubles nothing.
//!
//! Owns: the client's side of PROTOCOL.md. The [`machine`] decides (pure, no sockets, no clock, no randomness of its own);
//! the [`shell`] does what it says over WebSocket and HTTP. [`rest::Rest`] is the plain HTTP side for everything that is
//! not a stream.
//!
//! What an application may rely on: every event of a followed conversation is delivered exactly once and in seq order,
//! over any number of reconnects; a sent command ends in exactly one outcome, and "not known" is never told as "failed".
//!
//! Never: server crates, a decision in the shell, an unbounded queue, a message text in a log line.
//!
//! Start reading at [`machine::Machine`], then [`shell::Client`].

pub mod machine;
pub mod rest;
pub mod shell;

pub use machine::notice::Notice;
pub use machine::outbox::{Outcome, Refusal};
pub use machine::state::{Reason, State};
pub use rest::{Rest, RestError};
pub use shell::{Client, ClientOptions, Events, FrameTap, SendError, SendReceipt};

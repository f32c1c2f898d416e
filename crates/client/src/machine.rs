//! The connection as a pure machine: (input, time, randomness) → effects.
//!
//! ```text
//!             Start, retry_at                SocketOpened, welcome
//! Disconnected ─────────────▶ Connecting ──────────────────────────▶ Live
//!      ▲                          │                                   │
//!      └──────────────────────────┴── closed, failed, silent ─────────┘
//!      └── ended (4401, 401, close): final
//! ```
//!
//! Inside, each with its own rules: [`outbox`] (commands, in order, until answered), [`marks`] (the latest, once more),
//! [`streams`] (per conversation: no duplicate, no gap), [`backoff`] (when to try again).
//!
//! Never: I/O, a clock, randomness of its own, a panic.
//!
//! Start reading at [`Machine::handle`].

pub mod backoff;
mod connection;
pub mod effect;
pub mod input;
pub mod marks;
pub mod notice;
pub mod outbox;
pub mod state;
pub mod streams;

#[cfg(test)]
mod tests;

pub use connection::{CONNECT_TIMEOUT_MS, CURSORS_MAX, Machine, OWN_PING, Settings};
pub use effect::Effect;
pub use input::{FetchFailure, Fetched, Input};

//! Every byte that leaves a process, and the promise that comes with it.
//!
//! Owns three formats and their versions:
//! - [`stored`] and [`snapshot`]: what the log keeps. Columns (kind, ver, fmt) plus frozen postcard structs; released structs are never
//!   edited, golden bytes are added once and never regenerated.
//! - [`bus`]: what nodes say to each other. A protocol byte; adjacent releases understand each other.
//! - [`client`] and [`rest`]: what clients see. JSON; additions only (PROTOCOL.md).
//!
//! Never: I/O, clocks, rules (those are in `domain`).
//!
//! Start reading at [`stored`].
#![deny(
    clippy::wildcard_enum_match_arm,
    clippy::iter_over_hash_type,
    clippy::indexing_slicing,
    clippy::as_conversions
)]

pub mod bus;
pub mod client;
pub mod error;
pub mod rest;
pub mod snapshot;
pub mod stored;
pub mod time;

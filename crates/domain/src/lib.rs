//! The rules of a conversation.
//!
//! Owns: what may be asked of a conversation ([`conversation::command`]), what can have happened in it
//! ([`conversation::event`]), the folded state, and the two functions that connect them: `decide` (state and command give
//! an event or a rejection) and `evolve` (state and event give the next state). Ids, positions, time and every limit are
//! here as data.
//!
//! Never: async, serde, clocks, randomness, logging, I/O. Time, ids and keys come in as arguments.
//!
//! Start reading at [`conversation`], then `conversation/decide.rs`.
#![deny(
    clippy::wildcard_enum_match_arm,
    clippy::iter_over_hash_type,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects
)]

pub mod conversation;
pub mod ids;
pub mod inbox;
pub mod position;
pub mod time;

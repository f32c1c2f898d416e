//! One conversation: its order, its memory, its replies.
//!
//! [`core`] is the sequencer without I/O; [`actor`] the thin actix shell around it; [`fold`] makes a state of rows, [`load`] reads them; [`registers`]
//! keeps members' markers; `place` says where an event stands; [`origins`] knows which epoch wrote which event; [`turn`] is what goes in and out.

pub(crate) mod actor;
pub(crate) mod core;
pub(crate) mod fold;
pub(crate) mod load;
pub(crate) mod origins;
mod place;
pub(crate) mod registers;
pub(crate) mod turn;

#[cfg(test)]
mod core_tests;

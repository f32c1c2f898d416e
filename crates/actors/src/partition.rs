//! One partition that this node owns: its offsets, its conversations, what of it is published.
//!
//! [`core`] gives offsets and takes them back, without I/O; [`residents`] knows which conversations are in memory; [`marks`] coalesces
//! marker writes; [`publisher`] brings commits to the bus in order; [`actor`] is the actix shell that holds them together.

pub(crate) mod actor;
pub(crate) mod core;
pub(crate) mod input;
pub(crate) mod marks;
pub(crate) mod publisher;
pub(crate) mod residents;

#[cfg(test)]
mod core_tests;

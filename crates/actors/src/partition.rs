//! One partition that this node owns: its offsets, its conversations, what of it is published.
//!
//! [`core`] gives offsets and takes them back, without I/O; [`residents`] knows which conversations are in memory; [`marks`] coalesces
//! marker writes; [`publisher`] brings commits to the bus in order; [`recovery`] decides what a new owner tells it again;
//! [`ring`] keeps the newest events for edges that missed some; [`actor`] is the actix shell that holds them together.

pub(crate) mod actor;
pub(crate) mod core;
pub(crate) mod input;
pub(crate) mod marks;
pub(crate) mod publisher;
pub(crate) mod recovery;
pub(crate) mod residents;
pub(crate) mod ring;

#[cfg(test)]
mod core_tests;

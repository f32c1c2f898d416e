//! Clients that make the load: sockets at the least cost, the same ones for a node and for the floor.
//!
//! Never: a lost, doubled or misplaced event that goes unnoticed; a retry that hides a failure.

mod frame;
mod ids;
mod order;
mod people;
mod socket;

pub(crate) use frame::{Heard, heard, seqs};
pub(crate) use ids::Ids;
pub(crate) use order::Order;
pub(crate) use people::{People, Person};
pub(crate) use socket::{Seat, Socket};

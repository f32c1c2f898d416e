//! The edge over its real listener: requests, sockets, resumes, faults of the bus.
//!
//! Log, bus and accounts are real (in memory and SQLite); the owner of the conversations and the read models are a small stand-in over
//! the domain, so that what fails here fails in the edge.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop at the first surprise; helpers outside of test functions are not recognised as tests"
)]

mod blind;
mod clock;
mod crowds;
mod cut;
mod doors;
mod errors;
mod faults;
mod gate;
mod goodbye;
mod http;
mod lineage;
mod owner;
mod reads;
mod resume;
mod rig;
mod sockets;
mod strict;

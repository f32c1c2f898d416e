//! The simulator: the product's pure cores under one seed, over a simulated log, bus, clock and randomness.
//!
//! Owns: the world that a run lives in; the adversary that makes it hard; the workload; the recording that the checker judges; the
//! exhaustive exploration of append, takeover and hand-over at small bounds.
//!
//! Real here: the rules (`domain`), every byte format (`wire`), sequencers, lanes and partitions (`actors`), the ownership core and the view
//! of owners (`cluster`), feeds, rooms and queues (`edge`), projectors and queries (`projections`), the client's machine (`client`). The
//! loops around them (actix, tokio, sockets, SQL) are replaced by the small shells in [`node`] and [`client`], which do what those do.
//!
//! Never: tokio, a clock or randomness of its own, a decision that the product makes. The same seed gives the same run, to the byte.
//!
//! Start reading at [`world`], then [`weather`] (what goes wrong), [`node`] and [`client`] (who it happens to), `judge.rs`.

pub mod client;
pub mod counters;
pub mod database;
pub mod explore;
mod judge;
pub mod node;
pub mod random;
pub mod recorder;
pub mod schedule;
pub mod store;
pub mod tables;
pub mod trace;
pub mod weather;
pub mod wires;
pub mod world;

pub use counters::Counters;
pub use world::{Run, run};

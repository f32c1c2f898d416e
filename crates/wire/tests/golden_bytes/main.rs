//! Bytes that outlive a release: what is stored and what goes over the bus, against golden files and by property.
//!
//! A golden file is added once and never changed; `guard.rs` pins each by checksum.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

mod arbitrary;
mod bus;
mod bus_laws;
mod guard;
mod snapshot;
mod stored;
mod stored_laws;
mod support;

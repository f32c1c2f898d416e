//! Real parts for tests: scratch databases, `PostgreSQL` and NATS as child processes, server processes, a fault proxy.
//!
//! A test takes a part as a value and the part is gone when the value is dropped: every child is ended by its own
//! process id, every port is free and on loopback, every directory is unique.
//!
//! Never: a dependency on a server crate (every room uses this one), SQL (a database is created with `psql`'s
//! own commands), a fixed port, a sleep in place of a condition, a process ended by its name.
//!
//! Start reading at [`pg::PgScratch`] for a database, [`nats::NatsServer`] for a bus, [`process::ServerProcess`] for a
//! node, [`proxy::TcpProxy`] for a broken line, [`tmpfs::Tmpfs`] for a full disk, [`wait`] for everything that takes a while. [`settings`] tells which
//! environment variables decide whether the real parts are there; `cargo xtask test` sets them all.

#![expect(
    clippy::panic,
    clippy::print_stderr,
    reason = "a test kit speaks to whoever reads the test's output, and stops the test when a part is missing"
)]

mod child;
mod fresh;
pub mod haproxy;
pub mod nats;
pub mod pg;
#[cfg(feature = "tokio")]
pub mod process;
#[cfg(feature = "tokio")]
pub mod proxy;
pub mod settings;
pub mod tmpfs;
pub mod wait;

pub use fresh::{free_port, fresh_uuid};

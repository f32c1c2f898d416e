//! `PostgreSQL` for tests: a database of one's own in a running instance, or a whole instance to be abused.
//!
//! Most tests want [`PgScratch`]. [`PgServer`] is for what needs a server that can be stopped and killed, and for
//! `cargo xtask test`, which starts the one that all scratch databases live in.
//!
//! Never: a connection of our own (statements go through `psql`), a system cluster, a server that root runs.

mod binaries;
mod scratch;
mod server;
mod standby;

pub use binaries::{Binaries, VERSION_MIN};
pub use scratch::PgScratch;
pub use server::PgServer;

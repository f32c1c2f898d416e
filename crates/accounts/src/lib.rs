//! Identity: who someone is, and what proves it.
//!
//! Owns: users, password hashes (argon2id), sessions (opaque 256-bit tokens, stored hashed), account revisions; their tables in SQLite and
//! Postgres behind one port and one contract suite.
//!
//! Never: NATS, actix, axum; a password or token in a log, an error or a database column as it is.
//!
//! Start reading at [`port`], then [`service`].

#[cfg(test)]
mod contract;
mod password;
pub mod port;
pub mod rules;
mod secret;
pub mod service;
mod store;

pub use port::{
    AccountsError, Identity, LoginError, NewUser, Origin, RegisterError, Session, SessionId,
    SessionToken, User, UserPage,
};
pub use service::{Accounts, AccountsOptions, AccountsUse};
pub use store::OpenError;
pub use store::postgres::CONNECTIONS_MAX;

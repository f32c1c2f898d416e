//! The edge: what people and programs connect to.
//!
//! Owns: axum and hyper; the accept loop; REST, WebSocket sessions, the web bundle; authentication at the door; the feed (order and gaps)
//! and the fan-out to this node's sockets; resume by cursors; the one table from failures to client codes.
//!
//! Never: SQL, async-nats, actix; rules of a conversation (the owner decides, `domain` authorises); text of messages, tokens or passwords
//! in logs; a wait without a bound.
//!
//! Start reading at [`server`], then `http.rs` for requests, `session.rs` for one socket, `fanout.rs` for how an event reaches it, and
//! `feed.rs` for how it is known that none is missing.

mod auth;
mod budget;
mod error;
mod fanout;
mod feed;
mod gates;
mod http;
mod ids;
mod objects;
mod options;
mod people;
mod resume;
pub mod server;
mod session;
mod sessions;
#[doc(hidden)]
pub mod sim;
mod state;
mod web;

pub use auth::origin::BadPublicUrl;
pub use gates::Doors;
pub use options::{EdgeLimits, EdgeOptions, Neighbours, NoNeighbours, RoomModes};
pub use server::{Edge, EdgeDeps, StartError};

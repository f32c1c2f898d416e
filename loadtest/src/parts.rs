//! What a benchmark runs on: children of this process on loopback, ended with it, and what they cost.
//!
//! Never: a part that somebody else started, a process ended by its name.

mod cost;
mod files;
mod node;
mod program;

pub(crate) use cost::{Charged, Cost, child_named, resident_bytes};
pub(crate) use files::raise_open_files;
pub(crate) use node::{FloorServer, Node, NodeSettings};
pub(crate) use program::{hubbub, is_release, nats_server, revision, target_directory};

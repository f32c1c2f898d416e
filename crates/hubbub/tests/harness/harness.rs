//! What every end-to-end test needs: a running Hubbub, people, connections, requests.
//!
//! Never: a look into the server's memory. Everything is asked for as a stranger would ask, over HTTP and WebSocket;
//! the one exception is [`deployment::Deployment::sql`], which looks behind the back of a cluster.
//!
//! Start reading at [`deployment::Deployment`], then [`person::Person`].

pub(crate) mod deployment;
pub(crate) mod http;
pub(crate) mod listener;
pub(crate) mod node;
pub(crate) mod person;
pub(crate) mod raw_socket;

use std::time::Duration;

/// How long anything that must happen may take on a loaded machine: it bounds a failing test, it never times a passing one.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

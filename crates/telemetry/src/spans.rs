//! Names of spans: the path of one message (ARCHITECTURE.md §3), then what surrounds it.
//!
//! Use them as `tracing::info_span!(spans::LOG_APPEND)`. A span that serves many (a batch, a fan-out) *links* to the spans it serves
//! ([`TraceContext::link_to`](crate::TraceContext::link_to)); a span that serves one is its child.

/// 2: a frame of a client is decoded, authorised and made a command.
pub const EDGE_FRAME_RECEIVE: &str = "edge.frame.receive";
/// 3: a command finds its owner, here or over the bus.
pub const CLUSTER_COMMAND_ROUTE: &str = "cluster.command.route";
/// 4: a command is decided by its conversation.
pub const ACTOR_COMMAND_HANDLE: &str = "actor.command.handle";
/// 7: one statement appends a batch; links to its commands.
pub const LOG_APPEND: &str = "log.append";
/// 9: one message per partition and commit leaves.
pub const BUS_EVENT_PUBLISH: &str = "bus.event.publish";
/// 10: an event is encoded once and queued to its members' sockets; links to the publish.
pub const EDGE_EVENT_FANOUT: &str = "edge.event.fanout";
/// 11: queued frames are written to a socket.
pub const EDGE_FRAME_SEND: &str = "edge.frame.send";
/// R1: a projector reads the log.
pub const LOG_TAIL: &str = "log.tail";
/// R2: rows and checkpoint in one transaction.
pub const PROJECTION_BATCH: &str = "projection.batch";

/// One HTTP request.
pub const EDGE_HTTP_REQUEST: &str = "edge.http.request";
/// A gap is healed, or a page of events read, from ring or log.
pub const LOG_READ: &str = "log.read";
/// Partitions are acquired.
pub const LOG_ACQUIRE: &str = "log.acquire";
/// A conversation is loaded from snapshot and log.
pub const ACTOR_CONVERSATION_LOAD: &str = "actor.conversation.load";
/// A read of the history model.
pub const DB_HISTORY_READ: &str = "db.history.read";
/// A read of the inbox model.
pub const DB_INBOX_READ: &str = "db.inbox.read";
/// A read of accounts.
pub const DB_ACCOUNTS_READ: &str = "db.accounts.read";
/// A change of accounts.
pub const DB_ACCOUNTS_WRITE: &str = "db.accounts.write";

//! Names of span and event fields: one spelling each, so that logs and traces can be searched.
//!
//! Use them as `tracing::info_span!(spans::LOG_APPEND, { fields::PARTITION } = 7)`. Ids are fields, never metric labels.
//!
//! Never: a field for message text, a token, a password, an e-mail address.

/// A conversation's id.
pub const CONVERSATION: &str = "conversation.id";
/// A user's id.
pub const USER: &str = "user.id";
/// The client's id of a command.
pub const COMMAND: &str = "command.id";
/// What kind of command or frame it is: a fixed word.
pub const KIND: &str = "kind";
/// A partition's number.
pub const PARTITION: &str = "partition";
/// An ownership epoch.
pub const EPOCH: &str = "epoch";
/// An offset in a partition.
pub const OFFSET: &str = "offset";
/// A place in a conversation.
pub const SEQ: &str = "seq";
/// A write lane's number.
pub const LANE: &str = "lane";
/// Rows of a batch.
pub const ROWS: &str = "rows";
/// Bytes of a batch or frame.
pub const BYTES: &str = "bytes";
/// A node's name.
pub const NODE: &str = "node.id";
/// One life of a node.
pub const INCARNATION: &str = "node.incarnation";
/// A session's id (not its token).
pub const SESSION: &str = "session.id";
/// A read model's name.
pub const PROJECTION: &str = "projection";
/// How it ended: a fixed word such as `committed`, `fenced`, `unknown`.
pub const OUTCOME: &str = "outcome";
/// A request's route template, never its path or query.
pub const ROUTE: &str = "http.route";
/// A request's method.
pub const METHOD: &str = "http.request.method";
/// An answer's status code.
pub const STATUS: &str = "http.response.status_code";

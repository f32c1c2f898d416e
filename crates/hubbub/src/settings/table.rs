//! Every setting as `hubbub config show` prints it: one row each.

/// A row of the table: key, unit or form, since which version, meaning.
pub(crate) struct Setting {
    /// Key in the file; `HUBBUB_` and capitals in the environment.
    pub(crate) key: &'static str,
    /// Unit or form.
    pub(crate) form: &'static str,
    /// First version that knows it.
    pub(crate) since: &'static str,
    /// What it does.
    pub(crate) meaning: &'static str,
}

const fn setting(key: &'static str, form: &'static str, meaning: &'static str) -> Setting {
    Setting {
        key,
        form,
        since: "0.1",
        meaning,
    }
}

/// Every setting, in the order of [`Settings`].
pub(crate) const TABLE: &[Setting] = &[
    setting(
        "listen",
        "address:port",
        "where the edge serves web, REST and WebSocket",
    ),
    setting(
        "data_dir",
        "folder",
        "what embedded mode keeps: log, accounts, read models",
    ),
    setting(
        "database_url",
        "postgres://…",
        "PostgreSQL 15+ of the cluster; goes with nats_url",
    ),
    setting(
        "nats_url",
        "nats://…[,…]",
        "NATS 2.10+ of the cluster, one or more servers; goes with database_url",
    ),
    setting(
        "nats_user",
        "name",
        "name at NATS, when nats_url has none; goes with nats_password",
    ),
    setting("nats_password", "text", "goes with nats_user"),
    setting(
        "nats_nkey_file",
        "file",
        "seed of an nkey (SU…), instead of name and password",
    ),
    setting(
        "node_id",
        "name",
        "lasting name of this node; required in a cluster",
    ),
    setting(
        "public_url",
        "https://…",
        "address that people use, when it is not the listen address",
    ),
    setting(
        "migrate",
        "true|false",
        "bring the database's tables up to date at start",
    ),
    setting("log_format", "human|json", "form of the log"),
    setting(
        "log_filter",
        "filter",
        "which log lines, for example info,hubbub_edge=debug",
    ),
    setting(
        "otlp_endpoint",
        "http://…",
        "where traces go (OTLP over HTTP); nothing is exported without it",
    ),
    setting(
        "trace_sample_ratio",
        "0.0–1.0",
        "share of traces that are exported",
    ),
    setting(
        "metrics_listen",
        "address:port",
        "where /metrics is served; off without it",
    ),
    setting(
        "partitions",
        "power of two",
        "partitions of a new cluster; fixed once it exists",
    ),
    setting("lanes", "connections", "write lanes to PostgreSQL per node"),
    setting(
        "owner_connections",
        "connections",
        "to PostgreSQL: loads, look-ups and snapshots of the conversations owned here",
    ),
    setting(
        "edge_connections",
        "connections",
        "to PostgreSQL: what edges read of the log (gaps, resumes, tails)",
    ),
    setting(
        "query_connections",
        "connections",
        "to PostgreSQL: history, members, inbox",
    ),
    setting(
        "projector_connections",
        "connections",
        "to PostgreSQL: projectors' writes, and as many for what they read of the log",
    ),
    setting(
        "account_connections",
        "connections",
        "to PostgreSQL: accounts and sessions",
    ),
    setting(
        "durability",
        "local|replicated",
        "what a commit must have survived: the crash of the database server, or its loss (needs a synchronous standby)",
    ),
    setting(
        "arbiters",
        "threads",
        "threads of the conversation actors; 0 = one per core",
    ),
    setting(
        "heartbeat_ms",
        "milliseconds",
        "time between heartbeats; a lease is four seconds",
    ),
    setting(
        "join_delay_ms",
        "milliseconds",
        "steady heartbeats before a node takes part beside active ones",
    ),
    setting(
        "rebalance_percent",
        "percent of all",
        "partitions an owner hands over in ten seconds",
    ),
    setting(
        "hold_off_ms",
        "milliseconds",
        "how long no partition is moved after a node was lost, left or came back to sight",
    ),
    setting(
        "conversations_mib",
        "MiB",
        "conversations in memory, about; the quietest leave first",
    ),
    setting(
        "connections",
        "connections",
        "open connections of clients; 0 = what the descriptor limit allows, up to 60,000",
    ),
    setting(
        "drain_ms",
        "milliseconds",
        "how long clients have to go elsewhere at shutdown",
    ),
    setting(
        "sends_per_second",
        "messages/s",
        "what one person may send over time",
    ),
    setting(
        "sends_burst",
        "messages",
        "what one person may send at once",
    ),
    setting(
        "sockets_per_user",
        "sockets",
        "open sockets of one person on one node",
    ),
];

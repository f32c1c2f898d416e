-- The log (ARCHITECTURE.md §4). Times are milliseconds since 1970 except node.last_seen, which only the database's clock reads and writes.

create table cluster_meta (
    id smallint primary key check (id = 1),
    partitions integer not null,
    level integer not null,
    generation bigint not null default 1
);

-- The fence rows. Appends lock them, acquires update them: room on the page keeps the updates there.
create table log_partition (
    partition smallint primary key,
    epoch bigint not null,
    owner uuid,
    start_offset bigint not null,
    segment smallint not null,
    acquired_at bigint not null
) with (fillfactor = 50);

-- Lineage, never deleted.
create table log_epoch (
    partition smallint not null,
    epoch bigint not null,
    start_offset bigint not null,
    owner uuid,
    reason text not null,
    at bigint not null,
    primary key (partition, epoch)
);

-- One child per week of segment, made by the program a week ahead; the unique indexes are on the children.
create table event_log (
    "offset" bigint not null,
    seq bigint not null,
    at bigint not null,
    epoch bigint not null,
    crc integer not null,
    body_crc integer,
    segment smallint not null,
    partition smallint not null,
    kind smallint not null,
    ver smallint not null,
    fmt smallint not null,
    conversation_id uuid not null,
    command_id uuid not null,
    meta bytea not null,
    body bytea
) partition by list (segment);

create table read_marker (
    conversation_id uuid not null,
    user_id uuid not null,
    generation bigint not null,
    read_no bigint not null,
    own_after bigint not null,
    delivered_no bigint not null,
    at bigint not null,
    primary key (conversation_id, user_id)
) with (fillfactor = 80);

create table snapshot (
    conversation_id uuid not null,
    epoch bigint not null,
    seq bigint not null,
    ver smallint not null,
    at bigint not null,
    data bytea not null,
    primary key (conversation_id, epoch, seq, ver)
);

create table node (
    incarnation uuid primary key,
    node_id text not null,
    addr text not null,
    state text not null check (state in ('joining', 'active', 'blind', 'draining', 'stopped')),
    nats_ok boolean not null,
    started_at timestamptz not null,
    last_seen timestamptz not null,
    max_level integer not null
) with (fillfactor = 50);

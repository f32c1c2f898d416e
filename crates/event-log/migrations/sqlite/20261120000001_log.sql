-- The log of an embedded node (ARCHITECTURE.md §4, §11): one plain table with a segment column, where Postgres has one child per week.

create table cluster_meta (
    id integer primary key check (id = 1),
    partitions integer not null,
    level integer not null
) strict;

-- The fence rows.
create table log_partition (
    partition integer primary key,
    epoch integer not null,
    owner blob,
    start_offset integer not null,
    acquired_at integer not null
) strict;

-- Lineage, never deleted.
create table log_epoch (
    partition integer not null,
    epoch integer not null,
    start_offset integer not null,
    owner blob,
    reason text not null,
    at integer not null,
    primary key (partition, epoch)
) strict, without rowid;

create table event_log (
    "offset" integer not null,
    seq integer not null,
    at integer not null,
    epoch integer not null,
    segment integer not null,
    partition integer not null,
    kind integer not null,
    ver integer not null,
    fmt integer not null,
    conversation_id blob not null,
    command_id blob not null,
    meta blob not null,
    body blob,
    crc integer not null,
    body_crc integer,
    primary key (partition, "offset")
) strict, without rowid;
create unique index event_log_seq on event_log (conversation_id, seq);
create unique index event_log_command on event_log (conversation_id, command_id);

create table read_marker (
    conversation_id blob not null,
    user_id blob not null,
    generation integer not null,
    read_no integer not null,
    own_after integer not null,
    delivered_no integer not null,
    at integer not null,
    primary key (conversation_id, user_id)
) strict, without rowid;

create table snapshot (
    conversation_id blob not null,
    epoch integer not null,
    seq integer not null,
    ver integer not null,
    at integer not null,
    data blob not null,
    primary key (conversation_id, epoch, seq, ver)
) strict, without rowid;

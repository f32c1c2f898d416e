-- Read models, first version. Droppable and rebuildable from the log; never a source of truth.
create table projection_checkpoint (
    projection text not null,
    partition integer not null,
    version integer not null,
    "offset" integer not null,
    primary key (projection, partition)
) strict, without rowid;

create table projection_dead_letter (
    projection text not null,
    conversation_id blob not null,
    seq integer not null,
    partition integer not null,
    "offset" integer not null,
    reason text not null,
    primary key (projection, conversation_id, seq)
) strict, without rowid;

create table inbox_conversation (
    conversation_id blob primary key not null,
    partition integer not null,
    kind integer not null,
    title text,
    topic text,
    visibility integer not null,
    join_history integer not null,
    posting integer not null,
    receipts integer not null,
    retention_days integer,
    pair_low blob,
    pair_high blob,
    member_count integer not null,
    head_seq integer not null,
    head_epoch integer not null,
    head_no integer not null,
    active_at integer not null
) strict, without rowid;
create index inbox_conversation_public on inbox_conversation (member_count desc, conversation_id) where kind = 2 and visibility = 1;

create table inbox_member (
    conversation_id blob not null,
    user_id blob not null,
    role integer not null,
    joined_seq integer not null,
    joined_no integer not null,
    joined_at integer not null,
    own_no integer not null,
    left_seq integer,
    seq integer not null,
    primary key (conversation_id, user_id)
) strict, without rowid;
create index inbox_member_of on inbox_member (user_id, conversation_id) where left_seq is null;

create table history_conversation (
    conversation_id blob primary key not null,
    seq integer not null
) strict, without rowid;

create table history_message (
    conversation_id blob not null,
    message_no integer not null,
    seq integer not null,
    epoch integer not null,
    by_user blob not null,
    at integer not null,
    command_id blob not null,
    body text,
    reply_to_no integer,
    thread_root_no integer,
    primary key (conversation_id, message_no)
) strict, without rowid;

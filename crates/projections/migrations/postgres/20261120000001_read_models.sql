-- Read models, first version. Droppable and rebuildable from the log; never a source of truth.
create table projection_checkpoint (
    projection text not null,
    partition smallint not null,
    version integer not null,
    "offset" bigint not null,
    primary key (projection, partition)
);

create table projection_dead_letter (
    projection text not null,
    conversation_id uuid not null,
    seq bigint not null,
    partition smallint not null,
    "offset" bigint not null,
    reason text not null,
    primary key (projection, conversation_id, seq)
);

create table inbox_conversation (
    conversation_id uuid primary key not null,
    partition smallint not null,
    kind smallint not null,
    title text,
    topic text,
    visibility smallint not null,
    join_history smallint not null,
    posting smallint not null,
    receipts boolean not null,
    retention_days integer,
    pair_low uuid,
    pair_high uuid,
    member_count bigint not null,
    head_seq bigint not null,
    head_epoch bigint not null,
    head_no bigint not null,
    active_at bigint not null
);
create index inbox_conversation_public on inbox_conversation (member_count desc, conversation_id) where kind = 2 and visibility = 1;

create table inbox_member (
    conversation_id uuid not null,
    user_id uuid not null,
    role smallint not null,
    joined_seq bigint not null,
    joined_no bigint not null,
    joined_at bigint not null,
    own_no bigint not null,
    left_seq bigint,
    seq bigint not null,
    primary key (conversation_id, user_id)
);
create index inbox_member_of on inbox_member (user_id, conversation_id) where left_seq is null;

create table history_conversation (
    conversation_id uuid primary key not null,
    seq bigint not null
);

create table history_message (
    conversation_id uuid not null,
    message_no bigint not null,
    seq bigint not null,
    epoch bigint not null,
    by_user uuid not null,
    at bigint not null,
    command_id uuid not null,
    body text,
    reply_to_no bigint,
    thread_root_no bigint,
    primary key (conversation_id, message_no)
);

-- Who someone is, and what proves it. Times are milliseconds since the Unix epoch.

create table account (
    id            uuid    not null primary key,
    username      text    collate "C" not null unique,  -- lower case already; "C" so that pages follow the bytes everywhere
    display_name  text    not null,
    status        text,
    email         text,
    bot           boolean not null default false,
    search        text    not null,         -- what the directory is searched in: username and display name, lower case
    password_hash text    not null,         -- PHC string
    created_at    bigint  not null
);

create table session (
    id           uuid   not null primary key,
    user_id      uuid   not null references account (id),
    token_hash   bytea  not null unique,    -- sha256 of the token; the token itself is nowhere
    device       text   not null,
    address      text   not null,
    created_at   bigint not null,
    last_used_at bigint not null
);

create index session_of_user on session (user_id, last_used_at);

-- Attempts that have not turned out right; the name is hashed because it may be anybody's password typed into the wrong field.
create table login_attempt (
    id        uuid   not null primary key,
    name_hash bytea  not null,
    at        bigint not null
);

create index login_attempt_of_name on login_attempt (name_hash, at);
create index login_attempt_by_age on login_attempt (at);

-- Account revisions: one counter, and for each user the last revision that changed the account. The counter's row is locked from the
-- allocation to the commit, so revisions become visible in their order and a reader that has seen one has seen all below it.
create table account_rev (
    one boolean not null primary key check (one),
    rev bigint  not null
);

insert into account_rev (one, rev) values (true, 0);

create table user_rev (
    user_id uuid   not null primary key,
    rev     bigint not null unique
);

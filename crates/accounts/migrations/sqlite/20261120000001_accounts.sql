-- Who someone is, and what proves it. Times are milliseconds since the Unix epoch; ids are the 16 bytes of a UUID.

create table account (
    id            blob    not null primary key,
    username      text    not null unique,  -- lower case already
    display_name  text    not null,
    status        text,
    email         text,
    bot           integer not null default 0,
    search        text    not null,         -- what the directory is searched in: username and display name, lower case
    password_hash text    not null,         -- PHC string
    created_at    integer not null
) strict, without rowid;

create table session (
    id           blob    not null primary key,
    user_id      blob    not null references account (id),
    token_hash   blob    not null unique,   -- sha256 of the token; the token itself is nowhere
    device       text    not null,
    address      text    not null,
    created_at   integer not null,
    last_used_at integer not null
) strict, without rowid;

create index session_of_user on session (user_id, last_used_at);

-- Attempts that have not turned out right; the name is hashed because it may be anybody's password typed into the wrong field.
create table login_attempt (
    id        blob    not null primary key,
    name_hash blob    not null,
    at        integer not null
) strict, without rowid;

create index login_attempt_of_name on login_attempt (name_hash, at);
create index login_attempt_by_age on login_attempt (at);

-- Account revisions: one counter, and for each user the last revision that changed the account.
create table account_rev (
    one integer not null primary key check (one = 1),
    rev integer not null
) strict;

insert into account_rev (one, rev) values (1, 0);

create table user_rev (
    user_id blob    not null primary key,
    rev     integer not null unique
) strict, without rowid;

//! The statements, as both databases understand them. Parameters are numbered, so each is bound once.

pub(super) const INSERT_ACCOUNT: &str = "insert into account \
    (id, username, display_name, status, email, bot, search, password_hash, created_at) \
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (username) do nothing";

pub(super) const INSERT_SESSION: &str = "insert into session \
    (id, user_id, token_hash, device, address, created_at, last_used_at) values ($1, $2, $3, $4, $5, $6, $7)";

pub(super) const CREDENTIALS: &str = "select id, username, display_name, status, bot, created_at, password_hash \
    from account where username = $1";

pub(super) const FORGET_OLD_ATTEMPTS_SQLITE: &str = "delete from login_attempt where at <= $1";

/// Leaves what another transaction is forgetting already: waiting for each other in different orders would be a deadlock.
pub(super) const FORGET_OLD_ATTEMPTS_POSTGRES: &str = "delete from login_attempt where id in \
    (select id from login_attempt where at <= $1 limit 100 for update skip locked)";

/// The attempt that has to leave the window before another may come: the `$3`-th youngest.
pub(super) const ATTEMPT_IN_THE_WAY: &str = "select at from login_attempt where name_hash = $1 and at > $2 \
    order by at desc limit 1 offset $3";

pub(super) const INSERT_ATTEMPT: &str =
    "insert into login_attempt (id, name_hash, at) values ($1, $2, $3)";

pub(super) const FORGET_ATTEMPT: &str = "delete from login_attempt where id = $1";

pub(super) const END_STALE_SESSIONS: &str = "delete from session where user_id = $1 and (last_used_at < $2 \
    or created_at < $3 or id not in \
    (select id from session where user_id = $1 order by last_used_at desc, id desc limit $4))";

pub(super) const SESSION_BY_TOKEN: &str = "select id, user_id, device, address, created_at, last_used_at \
    from session where token_hash = $1";

pub(super) const TOUCH: &str =
    "update session set last_used_at = $2 where id = $1 and last_used_at < $2";

pub(super) const END_SESSION: &str = "delete from session where id = $1 and user_id = $2";

pub(super) const SESSIONS_OF_USER: &str = "select id, user_id, device, address, created_at, last_used_at \
    from session where user_id = $1 order by created_at desc, id desc";

/// Completed by a list of ids.
pub(super) const USERS: &str =
    "select id, username, display_name, status, bot, created_at from account where id in (";

pub(super) const USER: &str =
    "select id, username, display_name, status, bot, created_at from account where id = $1";

pub(super) const SEARCH: &str = "select id, username, display_name, status, bot, created_at from account \
    where search like $1 escape '\\' and username > $2 order by username limit $3";

pub(super) const UPDATE_PROFILE: &str =
    "update account set display_name = $2, status = $3, search = $4 where id = $1";

/// Takes the counter's row until the transaction ends, so that revisions are committed in the order of their numbers.
pub(super) const NEXT_REV: &str = "update account_rev set rev = rev + 1 returning rev";

pub(super) const SET_USER_REV: &str = "insert into user_rev (user_id, rev) values ($1, $2) \
    on conflict (user_id) do update set rev = excluded.rev";

pub(super) const HIGHEST_REV: &str = "select rev from account_rev";

pub(super) const CHANGED_SINCE: &str =
    "select user_id, rev from user_rev where rev > $1 order by rev limit $2";

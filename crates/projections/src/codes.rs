//! Enumerations as small numbers in columns; frozen with the tables.

use hubbub_domain::conversation::{JoinHistory, Kind, Posting, Role, Visibility};

use crate::port::QueryError;

pub(crate) fn kind_code(kind: Kind) -> i16 {
    match kind {
        Kind::Direct => 0,
        Kind::Group => 1,
        Kind::Room => 2,
    }
}

pub(crate) fn kind(code: i16) -> Result<Kind, QueryError> {
    match code {
        0 => Ok(Kind::Direct),
        1 => Ok(Kind::Group),
        2 => Ok(Kind::Room),
        _ => Err(unknown("kind", code)),
    }
}

pub(crate) fn visibility_code(visibility: Visibility) -> i16 {
    match visibility {
        Visibility::Private => 0,
        Visibility::Public => 1,
    }
}

pub(crate) fn visibility(code: i16) -> Result<Visibility, QueryError> {
    match code {
        0 => Ok(Visibility::Private),
        1 => Ok(Visibility::Public),
        _ => Err(unknown("visibility", code)),
    }
}

pub(crate) fn role_code(role: Role) -> i16 {
    match role {
        Role::Guest => 0,
        Role::Member => 1,
        Role::Admin => 2,
        Role::Owner => 3,
    }
}

pub(crate) fn role(code: i16) -> Result<Role, QueryError> {
    match code {
        0 => Ok(Role::Guest),
        1 => Ok(Role::Member),
        2 => Ok(Role::Admin),
        3 => Ok(Role::Owner),
        _ => Err(unknown("role", code)),
    }
}

pub(crate) fn join_history_code(join_history: JoinHistory) -> i16 {
    match join_history {
        JoinHistory::FromStart => 0,
        JoinHistory::FromJoin => 1,
    }
}

pub(crate) fn join_history(code: i16) -> Result<JoinHistory, QueryError> {
    match code {
        0 => Ok(JoinHistory::FromStart),
        1 => Ok(JoinHistory::FromJoin),
        _ => Err(unknown("join history", code)),
    }
}

pub(crate) fn posting_code(posting: Posting) -> i16 {
    match posting {
        Posting::Everyone => 0,
        Posting::Admins => 1,
    }
}

pub(crate) fn posting(code: i16) -> Result<Posting, QueryError> {
    match code {
        0 => Ok(Posting::Everyone),
        1 => Ok(Posting::Admins),
        _ => Err(unknown("posting", code)),
    }
}

fn unknown(what: &str, code: i16) -> QueryError {
    QueryError::Inconsistent(format!("unknown {what} code {code}"))
}

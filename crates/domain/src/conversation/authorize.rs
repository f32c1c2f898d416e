//! Who may do what: one pure function, default deny.
//!
//! Every command asks it, and every read of a room above can: [`Situation`] needs no folded state, only where someone stands.
//! Roles: owner and admin manage members and roles below their own; a member posts; a guest reads (PROTOCOL.md, Roles).
//!
//! Never: looks at the content of a request. Authorisation comes before validation.

use crate::conversation::event::{Kind, Posting, Role, Visibility};
use crate::conversation::rejection::Rejection;
use crate::conversation::rules;
use crate::conversation::state::State;
use crate::ids::UserId;

/// How someone stands towards a conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Standing {
    /// May not know that it exists.
    Stranger,
    /// Not a member of it, but may find it: a public room.
    Visitor,
    /// A visitor who is kept out.
    Banned,
    /// A member with this role.
    Member(Role),
}

/// What an answer depends on besides the operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Situation {
    /// Direct, group or room.
    pub kind: Kind,
    /// Who may send messages there.
    pub posting: Posting,
    /// How the asker stands towards it.
    pub standing: Standing,
}

/// What someone wants to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Know that it exists and what it is called.
    See,
    /// Read messages, events, members, receipts.
    Read,
    /// Become a member by oneself.
    Join,
    /// Stop being a member.
    Leave,
    /// Make someone a member.
    AddMember {
        /// As what.
        role: Role,
    },
    /// Take someone else out.
    RemoveMember {
        /// Their role; `None` when they are no member.
        target: Option<Role>,
    },
    /// Give someone else another role.
    ChangeRole {
        /// Their role now; `None` when they are no member.
        from: Option<Role>,
        /// The role to give.
        to: Role,
    },
    /// Give oneself another role: only downwards.
    ChangeOwnRole {
        /// The role to take.
        to: Role,
    },
    /// Say something.
    SendMessage,
}

/// Why not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denied {
    /// The asker may not learn that it exists.
    NotVisible,
    /// The asker may see it, but this rule stands against the operation.
    Rule(&'static str),
}

impl From<Denied> for Rejection {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::NotVisible => Self::NotFound,
            Denied::Rule(rule) => Self::Forbidden { rule },
        }
    }
}

impl Situation {
    /// Where `user` stands towards an existing conversation; `None` when it does not exist.
    pub fn of(state: &State, user: UserId) -> Option<Self> {
        let kind = state.kind()?;
        let standing = match state.member(user) {
            Some(member) => Standing::Member(member.role),
            None if state.visibility() == Visibility::Private => Standing::Stranger,
            None if state.is_banned(user) => Standing::Banned,
            None => Standing::Visitor,
        };
        Some(Self {
            kind,
            posting: state.settings().posting,
            standing,
        })
    }
}

/// May it be done?
///
/// # Errors
/// [`Denied`]: invisible, or visible with the rule that stands against it.
pub fn authorize(situation: Situation, operation: Operation) -> Result<(), Denied> {
    let role = match situation.standing {
        Standing::Stranger => return Err(Denied::NotVisible),
        Standing::Visitor | Standing::Banned => {
            return authorize_outsider(situation.standing, operation);
        }
        Standing::Member(role) => role,
    };
    let direct = situation.kind == Kind::Direct;
    match operation {
        // A member who joins has joined already; that is no error.
        Operation::See | Operation::Read | Operation::Join => Ok(()),
        Operation::Leave => unless(direct, rules::DIRECT_CANNOT_BE_LEFT),
        Operation::AddMember { role: given } => {
            unless(direct, rules::DIRECT_STAYS_TWO)?;
            manages_members(role)?;
            may_give(role, given)
        }
        Operation::RemoveMember { target } => {
            unless(direct, rules::DIRECT_CANNOT_BE_LEFT)?;
            manages_members(role)?;
            unless(
                target.is_some_and(|target| target >= role),
                rules::PERSON_NOT_BELOW_OWN,
            )
        }
        Operation::ChangeRole { from, to } => {
            unless(direct, rules::DIRECT_HAS_NO_ROLES)?;
            manages_members(role)?;
            unless(
                from.is_some_and(|from| from >= role),
                rules::ROLE_NOT_BELOW_OWN,
            )?;
            may_give(role, to)
        }
        Operation::ChangeOwnRole { to } => {
            unless(direct, rules::DIRECT_HAS_NO_ROLES)?;
            unless(to > role, rules::ROLE_NOT_BELOW_OWN)
        }
        Operation::SendMessage => {
            unless(role < Role::Member, rules::GUESTS_READ_ONLY)?;
            let admins_only = situation.posting == Posting::Admins;
            unless(
                admins_only && role < Role::Admin,
                rules::POSTING_ADMINS_ONLY,
            )
        }
    }
}

/// Someone outside a public room sees it and may join it, nothing else.
fn authorize_outsider(standing: Standing, operation: Operation) -> Result<(), Denied> {
    match operation {
        // Who is outside has left already; that is no error.
        Operation::See | Operation::Leave => Ok(()),
        Operation::Join => unless(standing == Standing::Banned, rules::BANNED),
        Operation::Read
        | Operation::AddMember { .. }
        | Operation::RemoveMember { .. }
        | Operation::ChangeRole { .. }
        | Operation::ChangeOwnRole { .. }
        | Operation::SendMessage => Err(Denied::Rule(rules::MEMBERS_ONLY)),
    }
}

fn manages_members(role: Role) -> Result<(), Denied> {
    unless(role < Role::Admin, rules::MANAGING_NEEDS_ADMIN)
}

/// Roles below the own one can be given; an owner can also make another owner.
fn may_give(own: Role, given: Role) -> Result<(), Denied> {
    unless(
        given >= own && own != Role::Owner,
        rules::ROLE_NOT_BELOW_OWN,
    )
}

fn unless(broken: bool, rule: &'static str) -> Result<(), Denied> {
    if broken {
        Err(Denied::Rule(rule))
    } else {
        Ok(())
    }
}

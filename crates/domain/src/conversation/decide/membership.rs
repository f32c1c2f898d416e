//! Coming, going, and roles. Outside direct conversations at least one owner is always in: the last one neither leaves nor steps
//! down (PROTOCOL.md, Roles), also not when alone.

use crate::conversation::authorize::{Denied, Operation, Situation, Standing, authorize};
use crate::conversation::decide::Decision;
use crate::conversation::event::{Event, RemovalReason, Role};
use crate::conversation::limits::MEMBERS_MAX;
use crate::conversation::rejection::Rejection;
use crate::conversation::rules;
use crate::conversation::state::State;
use crate::ids::UserId;

pub(super) fn add(
    state: &State,
    situation: Situation,
    user: UserId,
    role: Role,
) -> Result<Decision, Rejection> {
    authorize(situation, Operation::AddMember { role })?;
    if state.is_member(user) {
        return Ok(Decision::Already);
    }
    if state.is_banned(user) {
        return Err(Rejection::Forbidden {
            rule: rules::BANNED,
        });
    }
    has_room(state)?;
    Ok(Decision::Store(Event::MemberAdded { user, role }))
}

pub(super) fn join(state: &State, situation: Situation, by: UserId) -> Result<Decision, Rejection> {
    authorize(situation, Operation::Join)?;
    if state.is_member(by) {
        return Ok(Decision::Already);
    }
    has_room(state)?;
    Ok(Decision::Store(Event::MemberAdded {
        user: by,
        role: Role::Member,
    }))
}

/// Leaving twice is no error. Who has left a private conversation may no longer see it, so it says `NotFound`, except to someone
/// whose own commands the window still remembers: they were in lately and learn nothing by the answer.
pub(super) fn leave(
    state: &State,
    situation: Situation,
    by: UserId,
) -> Result<Decision, Rejection> {
    match authorize(situation, Operation::Leave) {
        Ok(()) => {}
        Err(Denied::NotVisible) if state.acted_lately(by) => return Ok(Decision::Already),
        Err(denied) => return Err(denied.into()),
    }
    match situation.standing {
        Standing::Member(role) => {
            if role == Role::Owner && state.owner_count() == 1 {
                return Err(Rejection::Conflict {
                    reason: rules::LAST_OWNER_STAYS,
                });
            }
            Ok(Decision::Store(Event::MemberRemoved {
                user: by,
                reason: RemovalReason::Left,
            }))
        }
        Standing::Stranger | Standing::Visitor | Standing::Banned => Ok(Decision::Already),
    }
}

/// Takes someone else out. Only roles below one's own can be, so the last owner never is.
pub(super) fn remove(
    state: &State,
    situation: Situation,
    user: UserId,
) -> Result<Decision, Rejection> {
    let target = state.member(user).map(|member| member.role);
    authorize(situation, Operation::RemoveMember { target })?;
    match target {
        None => Ok(Decision::Already),
        Some(_) => Ok(Decision::Store(Event::MemberRemoved {
            user,
            reason: RemovalReason::Removed,
        })),
    }
}

pub(super) fn change_role(
    state: &State,
    situation: Situation,
    by: UserId,
    user: UserId,
    role: Role,
) -> Result<Decision, Rejection> {
    let from = state.member(user).map(|member| member.role);
    let operation = if user == by {
        Operation::ChangeOwnRole { to: role }
    } else {
        Operation::ChangeRole { from, to: role }
    };
    authorize(situation, operation)?;
    let Some(from) = from else {
        return Err(Rejection::NoSuchMember);
    };
    if from == role {
        return Ok(Decision::Already);
    }
    if from == Role::Owner && state.owner_count() == 1 {
        return Err(Rejection::Conflict {
            reason: rules::LAST_OWNER_KEEPS_ROLE,
        });
    }
    Ok(Decision::Store(Event::RoleChanged { user, role }))
}

fn has_room(state: &State) -> Result<(), Rejection> {
    if state.member_count() >= MEMBERS_MAX {
        return Err(Rejection::Conflict {
            reason: rules::FULL,
        });
    }
    Ok(())
}

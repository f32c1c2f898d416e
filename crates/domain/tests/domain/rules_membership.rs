//! Coming, going, and roles.

use hubbub_domain::conversation::{
    Decision, Event, Intent, Kind, Recorded, Rejection, RemovalReason, Role, State, evolve, rules,
};
use hubbub_domain::position::{MessageNo, Seq};

use crate::support::{
    ANN, BOB, CAT, DAN, START, Story, check, command_id, conflict, forbidden, message, new,
    public_room, stores, user,
};

fn add(whom: u8, role: Role) -> Intent {
    Intent::AddMember {
        user: user(whom),
        role,
    }
}

fn remove(whom: u8) -> Intent {
    Intent::RemoveMember { user: user(whom) }
}

fn change(whom: u8, role: Role) -> Intent {
    Intent::ChangeRole {
        user: user(whom),
        role,
    }
}

fn removed(whom: u8, reason: RemovalReason) -> Result<Decision, Rejection> {
    stores(Event::MemberRemoved {
        user: user(whom),
        reason,
    })
}

/// Ann owns, Bob administers, Cat is a member, Dan is outside.
fn group() -> Story {
    Story::begun(ANN, new(Kind::Group, &[BOB, CAT])).with_role(ANN, BOB, Role::Admin)
}

fn room() -> Story {
    Story::begun(ANN, public_room(&[BOB, CAT])).with_role(ANN, BOB, Role::Admin)
}

/// What a later command will do: Ann bans `whom`.
fn ban(story: &mut Story, whom: u8) {
    let banned = Recorded {
        conversation: story.state.id(),
        seq: story.state.last_seq().next(),
        at: START,
        by: user(ANN),
        command_id: command_id(999),
        request_mac: None,
        event: Event::MemberRemoved {
            user: user(whom),
            reason: RemovalReason::Banned,
        },
    };
    evolve(&mut story.state, &banned);
}

#[test]
fn owners_and_admins_add_people_with_roles_below_their_own() {
    let group = group();
    let added = |role| {
        stores(Event::MemberAdded {
            user: user(DAN),
            role,
        })
    };
    for role in [Role::Guest, Role::Member] {
        check(&group, BOB, add(DAN, role), added(role));
    }
    for role in [Role::Admin, Role::Owner] {
        check(
            &group,
            BOB,
            add(DAN, role),
            forbidden(rules::ROLE_NOT_BELOW_OWN),
        );
        check(&group, ANN, add(DAN, role), added(role));
    }
    check(
        &group,
        CAT,
        add(DAN, Role::Guest),
        forbidden(rules::MANAGING_NEEDS_ADMIN),
    );
    check(&group, DAN, add(DAN, Role::Guest), Err(Rejection::NotFound));
    check(&group, ANN, add(CAT, Role::Guest), Ok(Decision::Already));
    check(
        &room(),
        DAN,
        add(DAN, Role::Member),
        forbidden(rules::MEMBERS_ONLY),
    );
}

#[test]
fn a_new_member_starts_at_the_head_of_that_moment() {
    let story = group()
        .and(ANN, message("one"))
        .and(ANN, message("two"))
        .and(ANN, add(DAN, Role::Guest));
    let dan = *story.state.member(user(DAN)).unwrap();
    assert_eq!(dan.role, Role::Guest);
    assert_eq!(dan.joined_no, MessageNo::new(2));
    assert_eq!(dan.joined_seq, story.state.last_seq());
    assert_eq!(dan.joined_at, story.now);
    assert_eq!(story.state.last_seq(), Seq::new(5));
}

#[test]
fn anyone_joins_a_public_room_and_nobody_a_private_one() {
    let joined = stores(Event::MemberAdded {
        user: user(DAN),
        role: Role::Member,
    });
    check(&room(), DAN, Intent::Join, joined);
    check(&room(), CAT, Intent::Join, Ok(Decision::Already));
    check(&group(), DAN, Intent::Join, Err(Rejection::NotFound));
    check(&group(), CAT, Intent::Join, Ok(Decision::Already));
}

#[test]
fn a_ban_defeats_joining_and_being_added() {
    let mut room = room();
    ban(&mut room, CAT);
    check(&room, CAT, Intent::Join, forbidden(rules::BANNED));
    check(&room, ANN, add(CAT, Role::Member), forbidden(rules::BANNED));
    check(&room, CAT, Intent::Leave, Ok(Decision::Already));
    let mut group = group();
    ban(&mut group, CAT);
    check(&group, CAT, Intent::Join, Err(Rejection::NotFound));
}

#[test]
fn leaving_twice_is_no_error_for_who_was_just_in() {
    let left = || removed(CAT, RemovalReason::Left);
    check(&group(), CAT, Intent::Leave, left());
    check(&group(), CAT, remove(CAT), left());

    let gone = group().and(CAT, Intent::Leave);
    check(&gone, CAT, Intent::Leave, Ok(Decision::Already));
    check(&gone, CAT, remove(CAT), Ok(Decision::Already));
    check(&gone, CAT, message("still here?"), Err(Rejection::NotFound));
    check(&gone, DAN, Intent::Leave, Err(Rejection::NotFound));
    check(&room(), DAN, Intent::Leave, Ok(Decision::Already));
}

#[test]
fn the_last_owner_neither_leaves_nor_steps_down() {
    check(
        &group(),
        ANN,
        Intent::Leave,
        conflict(rules::LAST_OWNER_STAYS),
    );
    check(
        &group(),
        ANN,
        remove(ANN),
        conflict(rules::LAST_OWNER_STAYS),
    );
    check(
        &group(),
        ANN,
        change(ANN, Role::Admin),
        conflict(rules::LAST_OWNER_KEEPS_ROLE),
    );
    let alone = Story::begun(ANN, new(Kind::Group, &[]));
    check(
        &alone,
        ANN,
        Intent::Leave,
        conflict(rules::LAST_OWNER_STAYS),
    );

    let two = group().with_role(ANN, CAT, Role::Owner);
    check(&two, ANN, Intent::Leave, removed(ANN, RemovalReason::Left));
    let stepped = stores(Event::RoleChanged {
        user: user(ANN),
        role: Role::Member,
    });
    check(&two, ANN, change(ANN, Role::Member), stepped);
}

#[test]
fn people_are_removed_only_from_above() {
    let two_owners = group().with_role(ANN, CAT, Role::Owner);
    check(
        &two_owners,
        ANN,
        remove(BOB),
        removed(BOB, RemovalReason::Removed),
    );
    check(
        &two_owners,
        BOB,
        remove(CAT),
        forbidden(rules::PERSON_NOT_BELOW_OWN),
    );
    check(
        &two_owners,
        ANN,
        remove(CAT),
        forbidden(rules::PERSON_NOT_BELOW_OWN),
    );
    check(
        &two_owners,
        BOB,
        remove(ANN),
        forbidden(rules::PERSON_NOT_BELOW_OWN),
    );
    check(&two_owners, ANN, remove(DAN), Ok(Decision::Already));
    check(
        &group(),
        BOB,
        remove(CAT),
        removed(CAT, RemovalReason::Removed),
    );
    check(
        &group(),
        CAT,
        remove(BOB),
        forbidden(rules::MANAGING_NEEDS_ADMIN),
    );
    check(&group(), DAN, remove(BOB), Err(Rejection::NotFound));
}

#[test]
fn roles_change_only_below_the_own() {
    let group = group();
    let changed = |whom, role| {
        stores(Event::RoleChanged {
            user: user(whom),
            role,
        })
    };
    check(
        &group,
        BOB,
        change(CAT, Role::Guest),
        changed(CAT, Role::Guest),
    );
    check(
        &group,
        BOB,
        change(CAT, Role::Admin),
        forbidden(rules::ROLE_NOT_BELOW_OWN),
    );
    check(
        &group,
        BOB,
        change(ANN, Role::Member),
        forbidden(rules::ROLE_NOT_BELOW_OWN),
    );
    check(
        &group,
        BOB,
        change(BOB, Role::Owner),
        forbidden(rules::ROLE_NOT_BELOW_OWN),
    );
    check(
        &group,
        BOB,
        change(BOB, Role::Member),
        changed(BOB, Role::Member),
    );
    check(
        &group,
        BOB,
        change(CAT, Role::Member),
        Ok(Decision::Already),
    );
    check(
        &group,
        ANN,
        change(CAT, Role::Owner),
        changed(CAT, Role::Owner),
    );
    check(
        &group,
        ANN,
        change(DAN, Role::Member),
        Err(Rejection::NoSuchMember),
    );
    check(
        &group,
        CAT,
        change(BOB, Role::Guest),
        forbidden(rules::MANAGING_NEEDS_ADMIN),
    );
    check(
        &group,
        CAT,
        change(DAN, Role::Guest),
        forbidden(rules::MANAGING_NEEDS_ADMIN),
    );
    check(
        &group,
        DAN,
        change(CAT, Role::Guest),
        Err(Rejection::NotFound),
    );
    let second = group.with_role(ANN, CAT, Role::Owner);
    check(
        &second,
        ANN,
        change(CAT, Role::Member),
        forbidden(rules::ROLE_NOT_BELOW_OWN),
    );
}

#[test]
fn a_removed_member_is_gone_from_the_state_and_can_be_added_again() {
    let story = group().and(ANN, remove(CAT));
    assert!(!story.state.is_member(user(CAT)));
    assert_eq!(story.state.member_count(), 2);
    check(&story, CAT, message("hello"), Err(Rejection::NotFound));
    let back = story.and(ANN, add(CAT, Role::Member));
    assert_eq!(
        back.state.member(user(CAT)).unwrap().joined_seq,
        back.state.last_seq()
    );
}

#[test]
fn a_full_room_takes_nobody_in() {
    let mut parts = room().state.into_parts();
    let someone = parts.members[&user(CAT)];
    for number in 0..hubbub_domain::conversation::limits::MEMBERS_MAX {
        let id = uuid::Uuid::from_u128(0xFFFF_0000 + u128::try_from(number).unwrap());
        parts
            .members
            .insert(hubbub_domain::ids::UserId::from_uuid(id), someone);
    }
    let mut story = room();
    story.state = State::from_parts(parts);
    check(&story, DAN, Intent::Join, conflict(rules::FULL));
    check(&story, ANN, add(DAN, Role::Member), conflict(rules::FULL));
    check(&story, ANN, add(CAT, Role::Member), Ok(Decision::Already));
}

//! The whole permission matrix at a glance: standings × operations.

use hubbub_domain::conversation::{
    Denied, Kind, Operation, Posting, Role, Situation, Standing, authorize,
};

/// One column per standing: stranger, visitor, banned, guest, member, admin, owner. `+` allowed, `-` a rule, `.` invisible.
fn row(kind: Kind, posting: Posting, operation: Operation) -> String {
    let standings = [
        Standing::Stranger,
        Standing::Visitor,
        Standing::Banned,
        Standing::Member(Role::Guest),
        Standing::Member(Role::Member),
        Standing::Member(Role::Admin),
        Standing::Member(Role::Owner),
    ];
    let letter = |standing| match authorize(
        Situation {
            kind,
            posting,
            standing,
        },
        operation,
    ) {
        Ok(()) => '+',
        Err(Denied::Rule(_)) => '-',
        Err(Denied::NotVisible) => '.',
    };
    standings.into_iter().map(letter).collect()
}

#[test]
fn who_may_do_what_in_a_group_or_room() {
    let matrix = [
        (Operation::See, ".++++++"),
        (Operation::Read, ".--++++"),
        (Operation::Join, ".+-++++"),
        (Operation::Leave, ".++++++"),
        (Operation::SendMessage, ".---+++"),
        (Operation::AddMember { role: Role::Guest }, ".----++"),
        (Operation::AddMember { role: Role::Member }, ".----++"),
        (Operation::AddMember { role: Role::Admin }, ".-----+"),
        (Operation::AddMember { role: Role::Owner }, ".-----+"),
        (Operation::RemoveMember { target: None }, ".----++"),
        (
            Operation::RemoveMember {
                target: Some(Role::Guest),
            },
            ".----++",
        ),
        (
            Operation::RemoveMember {
                target: Some(Role::Member),
            },
            ".----++",
        ),
        (
            Operation::RemoveMember {
                target: Some(Role::Admin),
            },
            ".-----+",
        ),
        (
            Operation::RemoveMember {
                target: Some(Role::Owner),
            },
            ".------",
        ),
        (
            Operation::ChangeRole {
                from: None,
                to: Role::Member,
            },
            ".----++",
        ),
        (
            Operation::ChangeRole {
                from: Some(Role::Guest),
                to: Role::Member,
            },
            ".----++",
        ),
        (
            Operation::ChangeRole {
                from: Some(Role::Member),
                to: Role::Admin,
            },
            ".-----+",
        ),
        (
            Operation::ChangeRole {
                from: Some(Role::Admin),
                to: Role::Guest,
            },
            ".-----+",
        ),
        (
            Operation::ChangeRole {
                from: Some(Role::Owner),
                to: Role::Guest,
            },
            ".------",
        ),
        (
            Operation::ChangeRole {
                from: Some(Role::Member),
                to: Role::Owner,
            },
            ".-----+",
        ),
        (Operation::ChangeOwnRole { to: Role::Guest }, ".--++++"),
        (Operation::ChangeOwnRole { to: Role::Member }, ".---+++"),
        (Operation::ChangeOwnRole { to: Role::Owner }, ".-----+"),
    ];
    for kind in [Kind::Group, Kind::Room] {
        for (operation, expected) in matrix {
            assert_eq!(
                row(kind, Posting::Everyone, operation),
                expected,
                "{kind:?} {operation:?}"
            );
        }
        assert_eq!(
            row(kind, Posting::Admins, Operation::SendMessage),
            ".----++"
        );
    }
}

#[test]
fn who_may_do_what_in_a_direct_conversation() {
    let matrix = [
        (Operation::See, "+"),
        (Operation::Read, "+"),
        (Operation::Join, "+"),
        (Operation::SendMessage, "+"),
        (Operation::Leave, "-"),
        (Operation::AddMember { role: Role::Guest }, "-"),
        (
            Operation::RemoveMember {
                target: Some(Role::Member),
            },
            "-",
        ),
        (
            Operation::ChangeRole {
                from: Some(Role::Member),
                to: Role::Guest,
            },
            "-",
        ),
        (Operation::ChangeOwnRole { to: Role::Guest }, "-"),
    ];
    for (operation, expected) in matrix {
        let row = row(Kind::Direct, Posting::Everyone, operation);
        assert_eq!(row.get(4..5), Some(expected), "{operation:?}");
        assert!(row.starts_with('.'), "{operation:?}");
    }
}

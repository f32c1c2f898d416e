//! Beginning a conversation.

use hubbub_domain::conversation::limits::{CREATE_MEMBERS_MAX, TITLE_CHARS_MAX, TOPIC_CHARS_MAX};
use hubbub_domain::conversation::{
    Command, Decision, Event, Intent, Kind, NewConversation, Posting, Rejection, Role, State,
    Visibility, decide, rules,
};
use hubbub_domain::ids::ConversationId;

use crate::support::{
    ANN, BOB, CAT, Story, check, command_id, conflict, forbidden, invalid, key, message, new,
    public_room, user,
};

/// When Ann asks for `new` under the id that follows from it.
fn create(new: NewConversation) -> Result<Decision, Rejection> {
    let id = match new.kind {
        Kind::Direct => ConversationId::direct(user(ANN), user(BOB)),
        Kind::Group | Kind::Room => ConversationId::created(user(ANN), command_id(0)),
    };
    let command = Command {
        id: command_id(0),
        conversation: id,
        by: user(ANN),
        intent: Intent::Create(new),
    };
    decide(&State::absent(id), &command)
}

#[test]
fn a_direct_conversation_begins_with_both_as_equals() {
    let decision = create(new(Kind::Direct, &[BOB]));
    let Ok(Decision::Store(Event::ConversationCreated {
        members,
        request_key,
        title,
        ..
    })) = decision
    else {
        panic!("{decision:?}");
    };
    assert_eq!(
        members,
        [(user(ANN), Role::Member), (user(BOB), Role::Member)]
    );
    assert_eq!(request_key, key());
    assert_eq!(title, None);
}

#[test]
fn whoever_creates_a_group_owns_it_and_duplicates_and_oneself_are_ignored() {
    let decision = create(new(Kind::Group, &[CAT, BOB, ANN, CAT]));
    let Ok(Decision::Store(Event::ConversationCreated { members, .. })) = decision else {
        panic!("{decision:?}");
    };
    let expected = [
        (user(ANN), Role::Owner),
        (user(BOB), Role::Member),
        (user(CAT), Role::Member),
    ];
    assert_eq!(members, expected);
}

#[test]
fn a_direct_conversation_needs_exactly_one_other_person() {
    let no = invalid(rules::FIELD_MEMBERS, rules::EXACTLY_ONE_OTHER);
    for members in [&[][..], &[ANN], &[BOB, CAT]] {
        assert_eq!(create(new(Kind::Direct, members)), no, "{members:?}");
    }
    assert!(create(new(Kind::Direct, &[ANN, BOB, BOB])).is_ok());
}

#[test]
fn an_id_that_does_not_follow_from_its_creation_is_invalid() {
    let no = invalid(rules::FIELD_CONVERSATION_ID, rules::ID_NOT_DERIVED);
    assert_eq!(create(new(Kind::Direct, &[CAT])), no);
    let id = ConversationId::created(user(ANN), command_id(1));
    let intent = Intent::Create(new(Kind::Group, &[]));
    let command = Command {
        id: command_id(0),
        conversation: id,
        by: user(ANN),
        intent,
    };
    assert_eq!(decide(&State::absent(id), &command), no);
}

fn edited(kind: Kind, edit: impl Fn(&mut NewConversation)) -> NewConversation {
    let mut new = match kind {
        Kind::Direct | Kind::Group => new(kind, &[BOB]),
        Kind::Room => new(kind, &[]),
    };
    edit(&mut new);
    new
}

#[expect(clippy::unnecessary_wraps, reason = "every use is an optional field")]
fn text(chars: usize) -> Option<String> {
    Some("ä".repeat(chars))
}

#[test]
fn titles_settings_and_visibility_are_free_within_their_bounds() {
    let fine = [
        edited(Kind::Group, |new| new.title = None),
        edited(Kind::Group, |new| new.title = text(TITLE_CHARS_MAX)),
        edited(Kind::Group, |new| new.settings.retention_days = Some(1)),
        edited(Kind::Group, |new| new.settings.posting = Posting::Admins),
        edited(Kind::Room, |new| new.topic = text(TOPIC_CHARS_MAX)),
        edited(Kind::Room, |new| new.visibility = Visibility::Public),
    ];
    for new in fine {
        assert!(
            matches!(create(new.clone()), Ok(Decision::Store(_))),
            "{new:?}"
        );
    }
}

#[test]
fn a_title_or_topic_out_of_bounds_is_named() {
    let direct_title = edited(Kind::Direct, |new| new.title = text(1));
    let direct_topic = edited(Kind::Direct, |new| new.topic = text(1));
    let nameless = edited(Kind::Room, |new| new.title = None);
    let blank = edited(Kind::Group, |new| new.title = Some(" \t ".to_owned()));
    let broken = edited(Kind::Group, |new| new.title = Some("a\nb".to_owned()));
    let long = edited(Kind::Group, |new| new.title = text(TITLE_CHARS_MAX + 1));
    let long_topic = edited(Kind::Room, |new| new.topic = text(TOPIC_CHARS_MAX + 1));
    let refused = [
        (direct_title, rules::FIELD_TITLE, rules::NONE_FOR_DIRECT),
        (direct_topic, rules::FIELD_TOPIC, rules::NONE_FOR_DIRECT),
        (nameless, rules::FIELD_TITLE, rules::ROOM_NEEDS_TITLE),
        (blank, rules::FIELD_TITLE, rules::BLANK),
        (broken, rules::FIELD_TITLE, rules::NOT_ONE_LINE),
        (long, rules::FIELD_TITLE, rules::TOO_LONG),
        (long_topic, rules::FIELD_TOPIC, rules::TOO_LONG),
    ];
    for (new, field, reason) in refused {
        assert_eq!(create(new.clone()), invalid(field, reason), "{new:?}");
    }
}

#[test]
fn a_setting_out_of_bounds_is_named() {
    let muted = edited(Kind::Direct, |new| new.settings.posting = Posting::Admins);
    let open_direct = edited(Kind::Direct, |new| new.visibility = Visibility::Public);
    let open_group = edited(Kind::Group, |new| new.visibility = Visibility::Public);
    let keep_none = edited(Kind::Group, |new| new.settings.retention_days = Some(0));
    let keep_ages = edited(Kind::Group, |new| {
        new.settings.retention_days = Some(36_501);
    });
    let crowd = edited(Kind::Group, |new| {
        new.members = vec![user(BOB); CREATE_MEMBERS_MAX + 1];
    });
    let refused = [
        (muted, rules::FIELD_POSTING, rules::DIRECT_POSTING),
        (
            open_direct,
            rules::FIELD_VISIBILITY,
            rules::ONLY_ROOMS_PUBLIC,
        ),
        (
            open_group,
            rules::FIELD_VISIBILITY,
            rules::ONLY_ROOMS_PUBLIC,
        ),
        (
            keep_none,
            rules::FIELD_RETENTION_DAYS,
            rules::RETENTION_RANGE,
        ),
        (
            keep_ages,
            rules::FIELD_RETENTION_DAYS,
            rules::RETENTION_RANGE,
        ),
        (crowd, rules::FIELD_MEMBERS, rules::TOO_MANY),
    ];
    for (new, field, reason) in refused {
        assert_eq!(create(new.clone()), invalid(field, reason), "{new:?}");
    }
}

#[test]
fn nothing_but_creating_reaches_an_absent_conversation() {
    let id = ConversationId::direct(user(ANN), user(BOB));
    let everything_else = [
        Intent::AddMember {
            user: user(CAT),
            role: Role::Member,
        },
        Intent::Join,
        Intent::Leave,
        Intent::RemoveMember { user: user(BOB) },
        Intent::ChangeRole {
            user: user(BOB),
            role: Role::Owner,
        },
        message("hi"),
        message(""),
    ];
    for intent in everything_else {
        let command = Command {
            id: command_id(9),
            conversation: id,
            by: user(ANN),
            intent,
        };
        assert_eq!(
            decide(&State::absent(id), &command),
            Err(Rejection::NotFound)
        );
    }
}

#[test]
fn a_direct_conversation_is_found_by_creating_it_again_from_either_side() {
    let story = Story::begun(ANN, new(Kind::Direct, &[BOB]));
    check(
        &story,
        ANN,
        Intent::Create(new(Kind::Direct, &[BOB])),
        Ok(Decision::Already),
    );
    check(
        &story,
        BOB,
        Intent::Create(new(Kind::Direct, &[ANN])),
        Ok(Decision::Already),
    );
    check(
        &story,
        CAT,
        Intent::Create(new(Kind::Direct, &[ANN])),
        Err(Rejection::NotFound),
    );
    let other = invalid(rules::FIELD_CONVERSATION_ID, rules::ID_NOT_DERIVED);
    check(
        &story,
        ANN,
        Intent::Create(new(Kind::Direct, &[CAT])),
        other,
    );
}

#[test]
fn a_group_or_room_is_created_once() {
    let room = Story::begun(ANN, public_room(&[BOB]));
    let again = || Intent::Create(public_room(&[]));
    check(&room, ANN, again(), conflict(rules::EXISTS));
    check(&room, CAT, again(), conflict(rules::EXISTS));
    let group = Story::begun(ANN, new(Kind::Group, &[BOB]));
    check(
        &group,
        CAT,
        Intent::Create(new(Kind::Group, &[])),
        Err(Rejection::NotFound),
    );
}

#[test]
fn a_direct_conversation_stays_as_it_is() {
    let story = Story::begun(ANN, new(Kind::Direct, &[BOB]));
    let third = forbidden(rules::DIRECT_STAYS_TWO);
    check(
        &story,
        ANN,
        Intent::AddMember {
            user: user(CAT),
            role: Role::Member,
        },
        third.clone(),
    );
    check(
        &story,
        ANN,
        Intent::AddMember {
            user: user(BOB),
            role: Role::Member,
        },
        third,
    );
    check(&story, CAT, Intent::Join, Err(Rejection::NotFound));
    check(
        &story,
        ANN,
        Intent::Leave,
        forbidden(rules::DIRECT_CANNOT_BE_LEFT),
    );
    for whom in [ANN, BOB] {
        let intent = Intent::RemoveMember { user: user(whom) };
        check(&story, ANN, intent, forbidden(rules::DIRECT_CANNOT_BE_LEFT));
        let intent = Intent::ChangeRole {
            user: user(whom),
            role: Role::Guest,
        };
        check(&story, ANN, intent, forbidden(rules::DIRECT_HAS_NO_ROLES));
    }
}

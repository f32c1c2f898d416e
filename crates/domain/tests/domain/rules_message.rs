//! Saying something.

use hubbub_domain::conversation::limits::MESSAGE_BODY_BYTES_MAX;
use hubbub_domain::conversation::{
    Event, Intent, Kind, NewConversation, Posting, Rejection, Role, Settings, rules,
};
use hubbub_domain::position::MessageNo;

use crate::support::{
    ANN, BOB, CAT, DAN, Story, check, forbidden, invalid, message, new, public_room, said, stores,
};

#[test]
fn messages_are_numbered_one_after_the_other() {
    let story = Story::begun(ANN, new(Kind::Direct, &[BOB]));
    check(&story, ANN, message("hi"), stores(said(1, "hi")));
    let story = story.and(ANN, message("hi")).and(BOB, message("ho"));
    check(&story, BOB, message("hum"), stores(said(3, "hum")));
    assert_eq!(story.state.last_message_no(), MessageNo::new(2));
}

#[test]
fn guests_read_and_outsiders_learn_nothing() {
    let group = Story::begun(ANN, new(Kind::Group, &[BOB])).with_role(ANN, BOB, Role::Guest);
    check(
        &group,
        BOB,
        message("may I?"),
        forbidden(rules::GUESTS_READ_ONLY),
    );
    check(&group, CAT, message("may I?"), Err(Rejection::NotFound));
    let room = Story::begun(ANN, public_room(&[]));
    check(
        &room,
        CAT,
        message("may I?"),
        forbidden(rules::MEMBERS_ONLY),
    );
}

#[test]
fn where_admins_post_members_do_not() {
    let settings = Settings {
        posting: Posting::Admins,
        ..Settings::default()
    };
    let new = NewConversation {
        settings,
        ..public_room(&[BOB, CAT, DAN])
    };
    let room = Story::begun(ANN, new)
        .with_role(ANN, BOB, Role::Admin)
        .with_role(ANN, DAN, Role::Guest);
    check(&room, ANN, message("news"), stores(said(1, "news")));
    check(&room, BOB, message("news"), stores(said(1, "news")));
    check(
        &room,
        CAT,
        message("news"),
        forbidden(rules::POSTING_ADMINS_ONLY),
    );
    check(
        &room,
        DAN,
        message("news"),
        forbidden(rules::GUESTS_READ_ONLY),
    );
}

#[test]
fn a_body_has_something_in_it_and_an_end() {
    let story = Story::begun(ANN, new(Kind::Direct, &[BOB]));
    for blank in [
        "",
        " ",
        "\n\t\u{3000}",
        "\u{200b}\u{feff}",
        "\u{3164} \u{ad}",
    ] {
        check(
            &story,
            ANN,
            message(blank),
            invalid(rules::FIELD_BODY, rules::BLANK),
        );
    }
    let longest = "x".repeat(MESSAGE_BODY_BYTES_MAX);
    check(&story, ANN, message(&longest), stores(said(1, &longest)));
    let longer = format!("{longest}x");
    check(
        &story,
        ANN,
        message(&longer),
        invalid(rules::FIELD_BODY, rules::TOO_LONG),
    );
}

#[test]
fn a_body_has_no_control_characters_but_tabs_and_line_breaks() {
    let story = Story::begun(ANN, new(Kind::Direct, &[BOB]));
    for broken in [
        "a\0b",
        "\0",
        "ring\u{7}",
        "\u{1b}[31mred",
        "a\u{85}b",
        "\u{7f}",
    ] {
        check(
            &story,
            ANN,
            message(broken),
            invalid(rules::FIELD_BODY, rules::CONTROL_CHARACTERS),
        );
    }
    let written = "one\r\n\ttwo\n\u{1f468}\u{200d}\u{1f4bb}";
    check(&story, ANN, message(written), stores(said(1, written)));
}

#[test]
fn authorisation_comes_before_the_content() {
    let group = Story::begun(ANN, new(Kind::Group, &[BOB])).with_role(ANN, BOB, Role::Guest);
    check(&group, BOB, message(""), forbidden(rules::GUESTS_READ_ONLY));
    check(&group, CAT, message(""), Err(Rejection::NotFound));
}

#[test]
fn a_reply_answers_a_message_that_exists() {
    let story = Story::begun(ANN, new(Kind::Direct, &[BOB])).and(ANN, message("one"));
    let reply = |reply_to_no: Option<u64>, thread_root_no: Option<u64>| Intent::SendMessage {
        body: "re".to_owned(),
        reply_to_no: reply_to_no.map(MessageNo::new),
        thread_root_no: thread_root_no.map(MessageNo::new),
    };
    for (reply_to_no, thread_root_no) in [
        (Some(0), None),
        (Some(2), None),
        (None, Some(0)),
        (Some(1), Some(2)),
    ] {
        check(
            &story,
            BOB,
            reply(reply_to_no, thread_root_no),
            Err(Rejection::NoSuchMessage),
        );
    }
    let stored = Event::MessageSent {
        message_no: MessageNo::new(2),
        body: Some("re".to_owned()),
        reply_to_no: Some(MessageNo::new(1)),
        thread_root_no: Some(MessageNo::new(1)),
    };
    check(&story, BOB, reply(Some(1), Some(1)), stores(stored));
}

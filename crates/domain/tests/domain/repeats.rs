//! Sending the same command id again (P3), and what stays hidden while doing so.

use hubbub_domain::conversation::limits::{
    COMMAND_ID_AHEAD_MS_MAX, DEDUPE_AGE_MS, DEDUPE_COMMANDS_MAX, DEDUPE_COMMANDS_MIN,
};
use hubbub_domain::conversation::{
    AuthoredCommand, Command, Decision, Event, Fingerprint, Intent, Kind, Rejection, State, decide,
    evolve, judge_repeat, must_probe,
};
use hubbub_domain::ids::CommandId;
use hubbub_domain::position::MessageNo;
use hubbub_domain::time::Timestamp;

use crate::support::{
    ANN, BOB, CAT, START, Story, command_id, command_id_at, key, message, new, public_room, user,
};

fn decided(story: &Story, id: CommandId, by: u8, intent: Intent) -> Result<Decision, Rejection> {
    decide(&story.state, &story.command(id, by, intent))
}

#[test]
fn the_same_request_again_gets_the_answer_of_the_first() {
    let story = Story::begun(ANN, new(Kind::Direct, &[BOB])).and(ANN, message("hi"));
    let first = story.events[1].clone();
    let again = decided(&story, first.command_id, ANN, message("hi"));
    let Ok(Decision::Duplicate(stored)) = again else {
        panic!("{again:?}")
    };
    assert_eq!((stored.seq, stored.at), (first.seq, first.at));
    assert_eq!(stored.message_no, Some(story.state.last_message_no()));
}

#[test]
fn the_same_id_for_another_request_or_by_another_member_is_a_mismatch() {
    let story = Story::begun(ANN, new(Kind::Direct, &[BOB])).and(ANN, message("hi"));
    let id = story.events[1].command_id;
    let mismatch = Err(Rejection::IdempotencyMismatch);
    assert_eq!(decided(&story, id, ANN, message("ho")), mismatch);
    assert_eq!(decided(&story, id, ANN, Intent::Leave), mismatch);
    assert_eq!(decided(&story, id, BOB, message("hi")), mismatch);
}

#[test]
fn probing_with_somebody_elses_id_tells_an_outsider_nothing() {
    let story = Story::begun(ANN, new(Kind::Group, &[BOB])).and(ANN, message("hi"));
    let id = story.events[1].command_id;
    assert_eq!(
        decided(&story, id, CAT, message("hi")),
        Err(Rejection::NotFound)
    );
    let room = Story::begun(ANN, public_room(&[])).and(ANN, message("hi"));
    let id = room.events[1].command_id;
    assert_eq!(
        decided(&room, id, CAT, message("hi")),
        Err(Rejection::IdempotencyMismatch)
    );
}

#[test]
fn who_has_left_still_gets_the_answer_to_the_own_command() {
    let story = Story::begun(ANN, new(Kind::Group, &[BOB]))
        .and(BOB, message("bye"))
        .and(BOB, Intent::Leave);
    let (said, left) = (story.events[1].command_id, story.events[2].command_id);
    assert!(matches!(
        decided(&story, said, BOB, message("bye")),
        Ok(Decision::Duplicate(_))
    ));
    assert!(matches!(
        decided(&story, left, BOB, Intent::Leave),
        Ok(Decision::Duplicate(_))
    ));
    assert_eq!(
        decided(&story, said, BOB, message("hello")),
        Err(Rejection::IdempotencyMismatch)
    );
}

#[test]
fn a_refused_command_is_judged_anew() {
    let story = Story::begun(ANN, new(Kind::Group, &[]));
    let id = command_id(77);
    assert_eq!(
        decided(&story, id, BOB, message("hi")),
        Err(Rejection::NotFound)
    );
    let add = Intent::AddMember {
        user: user(BOB),
        role: hubbub_domain::conversation::Role::Member,
    };
    let story = story.and(ANN, add);
    assert!(matches!(
        decided(&story, id, BOB, message("hi")),
        Ok(Decision::Store(_))
    ));
}

#[test]
fn a_creation_is_remembered_for_ever() {
    let mut story = Story::begun(ANN, new(Kind::Group, &[BOB]));
    let created = story.command(command_id(0), ANN, Intent::Create(new(Kind::Group, &[BOB])));
    say_many(&mut story, DEDUPE_COMMANDS_MAX + 10);
    assert!(matches!(
        decide(&story.state, &created),
        Ok(Decision::Duplicate(_))
    ));
    let other = Command {
        intent: Intent::Create(new(Kind::Group, &[])),
        ..created
    };
    assert_eq!(
        decide(&story.state, &other),
        Err(Rejection::IdempotencyMismatch)
    );
    assert!(!must_probe(&story.state, command_id(0), true, story.now));
}

#[test]
fn what_the_log_remembers_is_judged_like_what_the_window_remembers() {
    let story = Story::begun(ANN, new(Kind::Group, &[BOB])).and(ANN, message("hi"));
    let stored = AuthoredCommand {
        by: user(ANN),
        command: *story.state.recent(story.events[1].command_id).unwrap(),
    };
    let command = |by, body| story.command(stored.command.id, by, message(body));
    let judged = |command: Command| judge_repeat(&story.state, &command, &stored);
    assert_eq!(
        judged(command(ANN, "hi")),
        Ok(Decision::Duplicate(stored.command))
    );
    assert_eq!(
        judged(command(ANN, "ho")),
        Err(Rejection::IdempotencyMismatch)
    );
    assert_eq!(
        judged(command(BOB, "hi")),
        Err(Rejection::IdempotencyMismatch)
    );
    assert_eq!(judged(command(CAT, "hi")), Err(Rejection::NotFound));

    let mut erased = stored;
    erased.command.mac = None;
    let judged = |command: Command| judge_repeat(&story.state, &command, &erased);
    assert_eq!(
        judged(command(ANN, "hi")),
        Ok(Decision::Duplicate(erased.command))
    );
    assert_eq!(
        judged(command(BOB, "hi")),
        Err(Rejection::IdempotencyMismatch)
    );
    let absent = State::absent(story.state.id());
    assert_eq!(
        judge_repeat(&absent, &command(BOB, "hi"), &stored),
        Err(Rejection::NotFound)
    );
}

fn say_many(story: &mut Story, count: usize) {
    for _ in 0..count {
        let command = story.fresh(ANN, message("…"));
        story.run(&command).unwrap();
    }
}

#[test]
fn the_window_keeps_ten_minutes_within_its_bounds() {
    let mut story = Story::begun(ANN, new(Kind::Group, &[]));
    let held = |story: &Story| story.state.recent_commands().len();

    say_many(&mut story, DEDUPE_COMMANDS_MIN + 99);
    assert_eq!(held(&story), DEDUPE_COMMANDS_MIN + 100, "young ones stay");
    assert_eq!(story.state.forgotten_until(), None);

    story.now = START.plus_millis(DEDUPE_AGE_MS);
    say_many(&mut story, 1);
    assert_eq!(
        held(&story),
        DEDUPE_COMMANDS_MIN + 101,
        "ten minutes old is not yet too old"
    );

    story.now = START.plus_millis(DEDUPE_AGE_MS + 1);
    say_many(&mut story, 1);
    assert_eq!(
        held(&story),
        DEDUPE_COMMANDS_MIN,
        "old ones go, but never below the least"
    );
    assert_eq!(story.state.forgotten_until(), Some(START));

    say_many(&mut story, DEDUPE_COMMANDS_MAX);
    assert_eq!(
        held(&story),
        DEDUPE_COMMANDS_MAX,
        "and the most is the most"
    );
    let seqs: Vec<u64> = story
        .state
        .recent_commands()
        .map(|entry| entry.command.seq.get())
        .collect();
    assert!(seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    for entry in story.state.recent_commands() {
        assert_eq!(story.state.recent(entry.command.id), Some(&entry.command));
    }
}

#[test]
fn the_log_is_asked_only_when_the_window_cannot_know() {
    let mut story = Story::begun(ANN, new(Kind::Group, &[]));
    let later = |millis| START.plus_millis(millis);
    let random = CommandId::from_uuid(uuid::Uuid::from_u128(0x4444));
    assert!(
        !must_probe(&story.state, random, true, START),
        "the window is the whole past"
    );
    assert!(!must_probe(
        &State::absent(story.state.id()),
        random,
        true,
        START
    ));

    say_many(&mut story, DEDUPE_COMMANDS_MIN);
    story.now = later(DEDUPE_AGE_MS + 1);
    say_many(&mut story, 1);
    let now = story.now;
    assert_eq!(story.state.forgotten_until(), Some(START));

    let table: [(&str, CommandId, bool, Timestamp, bool); 7] = [
        (
            "in the window",
            story.events.last().unwrap().command_id,
            true,
            now,
            false,
        ),
        ("fresh", command_id_at(now, 9_999), false, now, false),
        (
            "fresh but marked",
            command_id_at(now, 9_999),
            true,
            now,
            true,
        ),
        ("not a time-ordered id", random, false, now, true),
        (
            "as old as what was forgotten",
            command_id_at(START, 9_999),
            false,
            now,
            true,
        ),
        (
            "younger than that",
            command_id_at(later(1), 9_999),
            false,
            now,
            false,
        ),
        (
            "from the future",
            command_id_at(now.plus_millis(COMMAND_ID_AHEAD_MS_MAX + 1), 1),
            false,
            now,
            true,
        ),
    ];
    for (case, id, retry, now, expected) in table {
        assert_eq!(must_probe(&story.state, id, retry, now), expected, "{case}");
    }
}

#[test]
fn an_erased_message_is_folded_like_any_other() {
    let story = Story::begun(ANN, new(Kind::Group, &[])).and(ANN, message("secret"));
    let mut folded = State::absent(story.state.id());
    for mut event in story.events.clone() {
        if let Event::MessageSent { body, .. } = &mut event.event {
            *body = None;
        }
        evolve(&mut folded, &event);
    }
    assert_eq!(folded, story.state);
}

/// The log keeps MACs for ever, so their computation may never change. The bytes were computed outside of this code, by the
/// description in `fingerprint.rs`.
#[test]
fn the_mac_of_a_request_is_what_it_always_was() {
    let story = Story::begun(ANN, new(Kind::Direct, &[BOB]));
    let intent = Intent::SendMessage {
        body: "hi".to_owned(),
        reply_to_no: None,
        thread_root_no: Some(MessageNo::new(3)),
    };
    let command = story.command(command_id(1), ANN, intent);
    let mac = Fingerprint::of(&command).mac(&key());
    let expected: [u8; 16] = [
        0x7e, 0x1a, 0xe2, 0x80, 0x0a, 0x58, 0x04, 0xef, 0xa7, 0x01, 0x36, 0x86, 0x08, 0x48, 0x87,
        0x00,
    ];
    assert_eq!(mac.bytes(), &expected);
}

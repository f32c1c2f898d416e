//! What holds for every conversation, whatever people ask for.

use hubbub_domain::conversation::{
    Decision, Event, Intent, Kind, NewConversation, Posting, Role, Settings, State, Visibility,
    decide, evolve,
};
use hubbub_domain::position::MessageNo;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::test_runner::Config;

use crate::support::{ANN, BOB, Story, command_id_at, new, user};

/// People 1 to 5; the first creates, some begin as members.
const PEOPLE: std::ops::RangeInclusive<u8> = 1..=5;

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Direct), Just(Kind::Group), Just(Kind::Room)]
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![
        Just(Role::Guest),
        Just(Role::Member),
        Just(Role::Admin),
        Just(Role::Owner)
    ]
}

fn beginning() -> impl Strategy<Value = NewConversation> {
    (kind(), vec(PEOPLE, 0..4), any::<bool>(), any::<bool>()).prop_map(
        |(kind, members, public, admins_post)| {
            let direct = kind == Kind::Direct;
            let members = if direct { vec![BOB] } else { members };
            let posting = if admins_post && !direct {
                Posting::Admins
            } else {
                Posting::Everyone
            };
            let visibility = if public && kind == Kind::Room {
                Visibility::Public
            } else {
                Visibility::Private
            };
            let settings = Settings {
                posting,
                ..Settings::default()
            };
            NewConversation {
                visibility,
                settings,
                ..new(kind, &members)
            }
        },
    )
}

fn intent() -> impl Strategy<Value = Intent> {
    let someone = || PEOPLE.prop_map(user);
    let number = || option::of((0_u64..6).prop_map(MessageNo::new));
    prop_oneof![
        1 => beginning().prop_map(Intent::Create),
        3 => (someone(), role()).prop_map(|(user, role)| Intent::AddMember { user, role }),
        2 => Just(Intent::Join),
        2 => Just(Intent::Leave),
        2 => someone().prop_map(|user| Intent::RemoveMember { user }),
        3 => (someone(), role()).prop_map(|(user, role)| Intent::ChangeRole { user, role }),
        6 => ("[a-c ]{0,3}", number(), number()).prop_map(|(body, reply_to_no, thread_root_no)| {
            Intent::SendMessage { body, reply_to_no, thread_root_no }
        }),
    ]
}

/// Someone asks for something; `pick` chooses the command id: a few are used again on purpose. The clock jumps, also back.
#[derive(Clone, Debug)]
struct Step {
    by: u8,
    intent: Intent,
    pick: u8,
    clock_millis: i64,
}

fn step() -> impl Strategy<Value = Step> {
    (PEOPLE, intent(), any::<u8>(), -1_000_i64..400_000).prop_map(
        |(by, intent, pick, clock_millis)| Step {
            by,
            intent,
            pick,
            clock_millis,
        },
    )
}

/// Plays all steps; after each one the laws of the state are checked.
fn play(beginning: NewConversation, steps: Vec<Step>) -> Story {
    let mut story = Story::begun(ANN, beginning);
    for (number, step) in (1_u64..).zip(steps) {
        story.now = story.now.plus_millis(step.clock_millis);
        let reused = (step.pick < 40)
            .then(|| usize::from(step.pick) % story.events.len())
            .map(|index| story.events[index].command_id);
        let id = reused.unwrap_or_else(|| command_id_at(story.now, number));
        let command = story.command(id, step.by, step.intent);
        let before = story.state.clone();
        match story.run(&command) {
            Ok(Decision::Store(_)) => {
                assert_ne!(story.state, before);
                let repeated = decide(&story.state, &command);
                let Ok(Decision::Duplicate(stored)) = repeated else {
                    panic!("{repeated:?}")
                };
                assert_eq!(stored.seq, story.state.last_seq());
            }
            Ok(Decision::Already | Decision::Duplicate(_)) | Err(_) => {
                assert_eq!(story.state, before);
            }
        }
        check_state(&story.state);
    }
    story
}

fn check_state(state: &State) {
    if state.kind() == Some(Kind::Direct) {
        assert_eq!(state.member_count(), 2);
        assert_eq!(state.owner_count(), 0);
    } else {
        assert!(state.owner_count() >= 1, "an owner is always in");
    }
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::with_cases(256) })]

    #[test]
    fn whatever_is_asked_the_past_stays_sound(
        beginning in beginning(),
        steps in vec(step(), 0..60),
    ) {
        let story = play(beginning, steps);

        // Seqs and message numbers are 1, 2, 3 … and time never falls.
        let mut message_no = 0;
        for (index, event) in (1_u64..).zip(&story.events) {
            assert_eq!(event.seq.get(), index);
            if let Event::MessageSent { message_no: no, .. } = &event.event {
                message_no += 1;
                assert_eq!(no.get(), message_no);
            }
        }
        assert!(story.events.windows(2).all(|pair| pair[0].at <= pair[1].at));
        assert_eq!(story.state.last_message_no().get(), message_no);

        // One command id, at most one event.
        let mut ids: Vec<_> = story.events.iter().map(|event| event.command_id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), story.events.len());

        // Replaying gives the same state, also through a snapshot in the middle.
        let mut replayed = State::absent(story.state.id());
        let middle = story.events.len() / 2;
        for (index, event) in story.events.iter().enumerate() {
            if index == middle {
                replayed = State::from_parts(replayed.into_parts());
            }
            evolve(&mut replayed, event);
        }
        assert_eq!(replayed, story.state);
    }
}

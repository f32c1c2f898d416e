use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn conversation(n: u128) -> ConversationId {
    ConversationId::from_uuid(Uuid::from_u128(n))
}

fn event(n: u128, seq: u64) -> EventItem {
    sized_event(n, seq, 0)
}

fn sized_event(n: u128, seq: u64, padding: usize) -> EventItem {
    let frame = format!("\"e{n}:{seq}{}\"", ".".repeat(padding));
    EventItem {
        conversation: conversation(n),
        epoch: Epoch::new(1),
        seq: Seq::new(seq),
        frame: frame.into(),
    }
}

fn encode(conversations: Option<&[(ConversationId, Epoch, Seq)]>) -> Frame {
    match conversations {
        None => "\"resync all\"".into(),
        Some(named) => {
            let named: Vec<String> = named
                .iter()
                .map(|(id, _, seq)| format!("{}:{seq}", id.uuid().as_u128()))
                .collect();
            format!("\"resync {}\"", named.join(" ")).into()
        }
    }
}

fn queue() -> Queue {
    Queue::new(encode)
}

/// Every frame that would be written, in order, without padding.
fn written(queue: &mut Queue) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(write) = queue.pop() {
        let frames: Vec<String> = if write.text.starts_with('[') {
            serde_json::from_str(&write.text).unwrap()
        } else {
            vec![serde_json::from_str(&write.text).unwrap()]
        };
        assert_eq!(frames.len(), write.frames);
        all.extend(
            frames
                .into_iter()
                .map(|frame| frame.trim_end_matches('.').to_owned()),
        );
    }
    all
}

#[test]
fn answers_go_before_events_and_events_before_what_is_only_latest() {
    let mut queue = queue();
    let user = UserId::from_uuid(Uuid::from_u128(9));
    queue.push_latest(
        LatestKey::Typing(conversation(1), user),
        "\"typing on\"".into(),
    );
    queue.push_event(event(1, 1));
    queue.push_answer("\"ack\"".into());
    queue.push_latest(
        LatestKey::Typing(conversation(1), user),
        "\"typing off\"".into(),
    );
    assert_eq!(written(&mut queue), ["ack", "e1:1", "typing off"]);
}

#[test]
fn one_frame_is_written_as_an_object_and_several_as_an_array() {
    let mut queue = queue();
    queue.push_answer("\"a\"".into());
    assert_eq!(
        queue.pop(),
        Some(Write {
            text: "\"a\"".into(),
            frames: 1,
            resync: false
        })
    );
    queue.push_answer("\"a\"".into());
    queue.push_answer("\"b\"".into());
    assert_eq!(
        queue.pop(),
        Some(Write {
            text: "[\"a\",\"b\"]".into(),
            frames: 2,
            resync: false
        })
    );
    assert_eq!(queue.pop(), None);
}

#[test]
fn a_write_stays_within_its_size() {
    let mut queue = queue();
    for seq in 1..=20 {
        queue.push_event(sized_event(1, seq, 10_000));
    }
    while let Some(write) = queue.pop() {
        assert!(
            write.text.len() <= COALESCE_BYTES_MAX + 2,
            "{}",
            write.text.len()
        );
    }
}

#[test]
fn what_is_held_waits_and_other_conversations_do_not() {
    let mut queue = queue();
    let ticket = queue.hold(conversation(1));
    queue.push_event(event(1, 7));
    queue.push_event(event(2, 1));
    queue.feed_event(ticket, event(1, 5));
    assert_eq!(written(&mut queue), ["e2:1", "e1:5"]);
    queue.feed_event(ticket, event(1, 6));
    queue.feed_event(ticket, event(1, 7));
    queue.release(conversation(1), ticket, Some(Seq::new(7)));
    queue.push_event(event(1, 8));
    assert_eq!(written(&mut queue), ["e1:6", "e1:7", "e1:8"]);
}

#[test]
fn an_event_of_the_catch_up_that_comes_live_later_is_dropped() {
    let mut queue = queue();
    let ticket = queue.hold(conversation(1));
    queue.release(conversation(1), ticket, Some(Seq::new(4)));
    queue.push_event(event(1, 3));
    queue.push_event(event(1, 4));
    queue.push_event(event(1, 5));
    assert_eq!(written(&mut queue), ["e1:5"]);
}

#[test]
fn an_event_in_the_place_of_one_that_was_fed_is_noticed() {
    for held in [false, true] {
        let mut queue = queue();
        let ticket = queue.hold(conversation(1));
        queue.feed_event(ticket, event(1, 4));
        let other = EventItem {
            epoch: Epoch::new(2),
            ..event(1, 4)
        };
        if held {
            queue.push_event(other.clone());
        }
        queue.release(conversation(1), ticket, Some(Seq::new(4)));
        assert_eq!(queue.is_contradicted(), held);
        queue.push_event(event(1, 4));
        assert_eq!(queue.is_contradicted(), held, "the same one");
        queue.push_event(other);
        assert!(queue.is_contradicted());
    }
}

#[test]
fn a_hole_between_a_catch_up_and_what_came_live_is_noticed() {
    for (unread, held, seq, noticed) in [
        (false, true, 7, false),
        (false, true, 21, true),
        (false, false, 7, false),
        (false, false, 21, true),
        (true, true, 21, false),
        (true, false, 21, false),
    ] {
        let mut queue = queue();
        let ticket = queue.hold(conversation(1));
        if held {
            queue.push_event(event(1, seq));
        }
        queue.feed_event(ticket, event(1, 6));
        let floor = Some(Seq::new(6));
        if unread {
            queue.release_unread(conversation(1), ticket, floor);
        } else {
            queue.release(conversation(1), ticket, floor);
        }
        if !held {
            queue.push_event(event(1, seq));
        }
        let case = format!("unread {unread}, held {held}, {seq}");
        assert_eq!(queue.is_contradicted(), noticed, "{case}");
        let mut expected = vec!["e1:6".to_owned()];
        expected.extend((!noticed).then(|| format!("e1:{seq}")));
        assert_eq!(written(&mut queue), expected, "{case}");
    }
}

#[test]
fn what_waits_behind_a_noticed_hole_is_not_set_free_by_whatever_ends_next() {
    let mut queue = queue();
    let resume = queue.hold(conversation(1));
    queue.push_event(event(1, 9));
    let added = queue.hold(conversation(1));
    queue.push_event(event(1, 10));
    queue.release(conversation(1), resume, Some(Seq::new(4)));
    queue.fulfil(conversation(1), added, Seq::new(10), "\"added\"".into());
    queue.push_event(event(1, 11));
    assert!(queue.is_contradicted());
    assert_eq!(written(&mut queue), Vec::<String>::new());
}

#[test]
fn a_hole_that_is_known_is_no_sign_of_a_loss() {
    for held in [false, true] {
        let mut queue = queue();
        let ticket = queue.hold(conversation(1));
        if !held {
            queue.release(conversation(1), ticket, Some(Seq::new(6)));
        }
        queue.expect_hole(conversation(1));
        queue.expect_hole(conversation(2));
        queue.push_event(event(1, 8));
        if held {
            queue.release(conversation(1), ticket, Some(Seq::new(6)));
        }
        assert!(!queue.is_contradicted(), "held {held}");
        assert_eq!(written(&mut queue), ["e1:8"], "held {held}");
        let ticket = queue.hold(conversation(1));
        queue.release(conversation(1), ticket, Some(Seq::new(8)));
        queue.push_event(event(1, 10));
        assert!(
            queue.is_contradicted(),
            "the next catch-up has read behind it"
        );
    }
}

#[test]
fn a_jump_that_the_client_is_told_of_is_no_hole() {
    for held in [false, true] {
        let mut queue = queue();
        let resume = queue.hold(conversation(1));
        if !held {
            queue.release(conversation(1), resume, Some(Seq::new(4)));
        }
        queue.push_control(conversation(1), Seq::new(9), "\"resync\"".into());
        queue.push_event(event(1, 10));
        if held {
            queue.release(conversation(1), resume, Some(Seq::new(4)));
        }
        assert!(!queue.is_contradicted());
        assert_eq!(written(&mut queue), ["resync", "e1:10"]);
    }
}

#[test]
fn whoever_joins_anew_goes_on_behind_a_hole() {
    for held in [false, true] {
        let mut queue = queue();
        let resume = queue.hold(conversation(1));
        if !held {
            queue.release(conversation(1), resume, Some(Seq::new(4)));
        }
        let added = queue.hold(conversation(1));
        queue.push_event(event(1, 9));
        if held {
            queue.release(conversation(1), resume, Some(Seq::new(4)));
        }
        queue.fulfil(conversation(1), added, Seq::new(9), "\"added\"".into());
        assert!(!queue.is_contradicted());
        assert_eq!(written(&mut queue), ["added", "e1:9"]);
    }
}

#[test]
fn what_begins_anew_is_not_judged_by_the_catch_up_before_it() {
    let other = |seq| EventItem {
        epoch: Epoch::new(2),
        ..event(1, seq)
    };
    let mut queue = queue();
    let resume = queue.hold(conversation(1));
    queue.push_event(event(1, 5));
    // The log loses 4 and 5, which were read and heard before.
    queue.begin_anew(conversation(1));
    let reset = queue.hold(conversation(1));
    queue.push_event(other(4));
    queue.feed_event(resume, event(1, 3));
    queue.feed_event(resume, event(1, 4));
    queue.release(conversation(1), resume, Some(Seq::new(4)));
    assert_eq!(written(&mut queue), ["e1:3", "e1:4", "e1:5"]);
    assert!(queue.is_first(conversation(1), reset));
    queue.feed_control(conversation(1), reset, "\"reset\"".into());
    queue.release(conversation(1), reset, Some(Seq::new(3)));
    queue.push_event(other(5));
    assert_eq!(written(&mut queue), ["reset", "e1:4", "e1:5"]);
    assert!(!queue.is_contradicted());
}

#[test]
fn what_begins_anew_is_not_held_against_an_earlier_catch_up() {
    let mut queue = queue();
    let resume = queue.hold(conversation(1));
    queue.feed_event(resume, event(1, 4));
    queue.release(conversation(1), resume, Some(Seq::new(4)));
    queue.begin_anew(conversation(1));
    queue.push_event(EventItem {
        epoch: Epoch::new(2),
        ..event(1, 4)
    });
    assert!(!queue.is_contradicted());
    assert_eq!(written(&mut queue), ["e1:4", "e1:4"]);
}

#[test]
fn a_resync_after_a_loss_of_lineage_names_the_newer_epoch() {
    let mut queue = queue();
    queue.push_event(sized_event(1, 9, 200_000));
    queue.push_event(sized_event(1, 10, 200_000));
    queue.begin_anew(conversation(1));
    queue.push_event(EventItem {
        epoch: Epoch::new(2),
        ..event(1, 4)
    });
    assert_eq!(written(&mut queue), ["resync 1:4"]);
}

#[test]
fn an_event_in_the_place_of_one_that_the_client_holds_is_noticed_although_nothing_was_fed() {
    for (held, noticed) in [(Epoch::ZERO, false), (Epoch::new(1), true)] {
        let mut queue = queue();
        let ticket = queue.hold(conversation(1));
        queue.note_held(conversation(1), held);
        queue.release(conversation(1), ticket, Some(Seq::new(4)));
        queue.push_event(event(1, 3));
        assert!(!queue.is_contradicted(), "the same one");
        queue.push_event(EventItem {
            epoch: Epoch::new(2),
            ..event(1, 4)
        });
        assert_eq!(queue.is_contradicted(), noticed);
    }
}

#[test]
fn live_events_that_wait_for_a_catch_up_do_not_keep_it_waiting() {
    let mut queue = queue();
    let ticket = queue.hold(conversation(1));
    for seq in 2..=8 {
        queue.push_event(sized_event(1, seq, 10_000));
    }
    while queue.pop().is_some() {}
    assert!(queue.has_room());
    queue.feed_event(ticket, event(1, 1));
    queue.release(conversation(1), ticket, Some(Seq::new(1)));
    assert!(!queue.has_room(), "now they are queued");
    assert_eq!(written(&mut queue).len(), 8);
    assert_eq!((queue.queued_bytes, queue.held_bytes), (0, 0));
}

#[test]
fn a_second_hold_keeps_its_place() {
    let mut queue = queue();
    let catch_up = queue.hold(conversation(1));
    queue.push_event(event(1, 2));
    queue.push_control(conversation(1), Seq::new(2), "\"removed\"".into());
    let added = queue.hold(conversation(1));
    queue.push_event(event(1, 3));
    queue.release(conversation(1), catch_up, Some(Seq::new(1)));
    assert_eq!(written(&mut queue), ["e1:2", "removed"]);
    queue.fulfil(conversation(1), added, Seq::new(3), "\"added\"".into());
    assert_eq!(written(&mut queue), ["added", "e1:3"]);
}

#[test]
fn a_summary_that_is_ready_before_the_catch_up_keeps_its_place() {
    let mut queue = queue();
    let catch_up = queue.hold(conversation(1));
    let added = queue.hold(conversation(1));
    queue.push_event(event(1, 3));
    queue.fulfil(conversation(1), added, Seq::new(3), "\"added\"".into());
    assert_eq!(written(&mut queue), Vec::<String>::new());
    queue.release(conversation(1), catch_up, Some(Seq::new(2)));
    assert_eq!(written(&mut queue), ["added", "e1:3"]);
}

#[test]
fn a_client_that_does_not_read_loses_events_but_no_answers_and_hears_it_once() {
    let mut queue = queue();
    queue.push_answer("\"ack\"".into());
    queue.push_control(conversation(2), Seq::new(1), "\"added\"".into());
    for seq in 1..=40 {
        queue.push_event(sized_event(1, seq, 10_000));
    }
    queue.push_event(event(2, 1));
    assert!(queue.event_bytes() <= EVENT_BYTES_MAX);
    assert_eq!(written(&mut queue), ["ack", "added", "resync 1:40 2:1"]);
    queue.push_event(event(1, 41));
    assert_eq!(written(&mut queue), ["e1:41"]);
}

#[test]
fn markers_that_wait_are_bounded() {
    let mut queue = queue();
    for n in 0..1_000_u128 {
        queue.push_latest(
            LatestKey::Marker(conversation(n), UserId::from_uuid(Uuid::from_u128(1))),
            format!("\"m{n}\"").into(),
        );
    }
    assert_eq!(written(&mut queue).len(), LATEST_MAX);
}

#[derive(Clone, Debug)]
enum Step {
    Live(u128, usize),
    Hold(u128),
    CatchUp(u128),
    Pop,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_u128, prop_oneof![Just(0_usize), Just(30_000)]).prop_map(|(n, bytes)| Step::Live(n, bytes)),
        1 => (0..3_u128).prop_map(Step::Hold),
        3 => (0..3_u128).prop_map(Step::CatchUp),
        2 => Just(Step::Pop),
    ]
}

proptest! {
    /// I6 with a socket of any speed: a conversation's frames rise by exactly one, or jump exactly where a resync says.
    #[test]
    fn streams_have_no_unannounced_hole_and_no_repetition(steps in proptest::collection::vec(step(), 1..200)) {
        let mut queue = queue();
        // What the log holds, and up to where a catch-up has read it.
        let mut heads = [0_u64; 3];
        let mut reading: [Option<(Ticket, u64)>; 3] = [None; 3];
        let mut sent = [0_u64; 3];
        let mut out = Vec::new();
        for step in steps {
            match step {
                Step::Live(n, bytes) => {
                    let i = usize::try_from(n).unwrap();
                    heads[i] += 1;
                    sent[i] = heads[i];
                    queue.push_event(sized_event(n, heads[i], bytes));
                }
                Step::Hold(n) => {
                    let i = usize::try_from(n).unwrap();
                    // As on hello: nothing of the conversation was sent before.
                    if sent[i] == 0 && reading[i].is_none() {
                        heads[i] = 5;
                        reading[i] = Some((queue.hold(conversation(n)), 0));
                    }
                }
                Step::CatchUp(n) => {
                    let i = usize::try_from(n).unwrap();
                    if let Some((ticket, read)) = reading[i] {
                        if read < heads[i] {
                            queue.feed_event(ticket, event(n, read + 1));
                            reading[i] = Some((ticket, read + 1));
                        } else {
                            queue.release(conversation(n), ticket, Some(Seq::new(read)));
                            reading[i] = None;
                            sent[i] = heads[i];
                        }
                    }
                }
                Step::Pop => {
                    if let Some(write) = queue.pop() {
                        let frames: Vec<String> = if write.text.starts_with('[') {
                            serde_json::from_str(&write.text).unwrap()
                        } else {
                            vec![serde_json::from_str(&write.text).unwrap()]
                        };
                        out.extend(frames);
                    }
                }
            }
            prop_assert!(queue.event_bytes() <= EVENT_BYTES_MAX);
        }
        for n in 0..3_usize {
            if let Some((ticket, read)) = reading[n] {
                let id = u128::try_from(n).unwrap();
                for seq in read + 1..=heads[n] {
                    queue.feed_event(ticket, event(id, seq));
                }
                queue.release(conversation(id), ticket, Some(Seq::new(heads[n])));
            }
        }
        out.extend(written(&mut queue));
        let mut at = [0_u64; 3];
        for frame in out {
            if let Some(named) = frame.strip_prefix("resync ") {
                for pair in named.split(' ') {
                    let (n, seq) = pair.split_once(':').unwrap();
                    let (n, seq): (usize, u64) = (n.parse().unwrap(), seq.parse().unwrap());
                    prop_assert!(seq >= at[n]);
                    at[n] = seq;
                }
            } else {
                let (n, seq) = frame.strip_prefix('e').unwrap().trim_end_matches('.').split_once(':').unwrap();
                let (n, seq): (usize, u64) = (n.parse().unwrap(), seq.parse().unwrap());
                prop_assert_eq!(seq, at[n] + 1);
                at[n] = seq;
            }
        }
        prop_assert_eq!(at, heads);
        prop_assert_eq!((queue.queued_bytes, queue.held_bytes), (0, 0));
    }
}

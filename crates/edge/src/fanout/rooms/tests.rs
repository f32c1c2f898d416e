use hubbub_domain::conversation::{Kind, RemovalReason, RequestKey, Role, Settings, Visibility};
use hubbub_domain::ids::CommandId;
use hubbub_domain::position::MessageNo;
use hubbub_domain::time::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn user(n: u128) -> UserId {
    UserId::from_uuid(Uuid::from_u128(n))
}

fn room() -> ConversationId {
    ConversationId::from_uuid(Uuid::from_u128(77))
}

fn arrival(seq: u64, event: Event, recipients: Option<Vec<UserId>>) -> Arrival {
    let recorded = Recorded {
        conversation: room(),
        seq: Seq::new(seq),
        at: Timestamp::from_millis(0),
        by: user(1),
        command_id: CommandId::from_uuid(Uuid::from_u128(u128::from(seq))),
        request_mac: None,
        event,
    };
    Arrival {
        offset: Offset::new(100 + seq),
        epoch: Epoch::new(1),
        recorded,
        recipients,
    }
}

fn message(seq: u64) -> Arrival {
    let event = Event::MessageSent {
        message_no: MessageNo::new(seq),
        body: Some("x".into()),
        reply_to_no: None,
        thread_root_no: None,
    };
    arrival(seq, event, None)
}

fn added(seq: u64, n: u128) -> Arrival {
    arrival(
        seq,
        Event::MemberAdded {
            user: user(n),
            role: Role::Member,
        },
        None,
    )
}

fn removed(seq: u64, n: u128) -> Arrival {
    arrival(
        seq,
        Event::MemberRemoved {
            user: user(n),
            reason: RemovalReason::Left,
        },
        None,
    )
}

/// Gives out whatever is ready; returns who got each event.
fn give(rooms: &mut Rooms, arrivals: Vec<Arrival>) -> Vec<(u64, Vec<UserId>)> {
    let mut given = Vec::new();
    for arrival in arrivals {
        let mut audience = rooms.audience(&arrival).into_owned();
        audience.sort_unstable();
        given.push((arrival.recorded.seq.get(), audience));
        rooms.apply(&arrival);
    }
    given
}

fn released(rooms: &mut Rooms, members: Vec<UserId>, as_of: Seq) -> (Vec<Arrival>, Vec<Whisper>) {
    match rooms.loaded(room(), members, as_of) {
        Loaded::Released(arrivals, whispers) => (arrivals, whispers),
        Loaded::Nothing => (Vec::new(), Vec::new()),
        other @ (Loaded::Again(_) | Loaded::Skipped(_)) => panic!("{other:?}"),
    }
}

#[test]
fn listed_recipients_are_taken_as_they_are() {
    let mut rooms = Rooms::default();
    let mut event = message(9);
    event.recipients = Some(vec![user(2), user(1)]);
    let Admission::Ready(event) = rooms.admit(event) else {
        panic!("ready")
    };
    assert_eq!(give(&mut rooms, vec![event]), [(9, vec![user(1), user(2)])]);
    assert_eq!(rooms.head(room()), Some((Epoch::new(1), Seq::new(9))));
    assert_eq!(rooms.members(room()), Members::Known(&[user(1), user(2)]));
}

#[test]
fn the_first_event_of_a_large_room_waits_for_its_members_and_the_next_ones_wait_behind_it() {
    let mut rooms = Rooms::default();
    assert!(matches!(rooms.admit(message(5)), Admission::Load(seq) if seq == Seq::new(5)));
    assert!(matches!(rooms.admit(removed(6, 2)), Admission::Waits));
    assert!(matches!(rooms.admit(message(7)), Admission::Waits));
    let (arrivals, _) = released(&mut rooms, vec![user(1), user(2)], Seq::new(4));
    let both = vec![user(1), user(2)];
    assert_eq!(
        give(&mut rooms, arrivals),
        [(5, both.clone()), (6, both), (7, vec![user(1)])]
    );
    assert!(matches!(rooms.admit(message(8)), Admission::Ready(_)));
}

#[test]
fn someone_who_is_added_receives_that_event() {
    let mut rooms = Rooms::default();
    let _load = rooms.admit(added(5, 3));
    let (arrivals, _) = released(&mut rooms, vec![user(1)], Seq::new(4));
    assert_eq!(give(&mut rooms, arrivals), [(5, vec![user(1), user(3)])]);
}

#[test]
fn everyone_who_is_in_from_the_start_receives_the_creation() {
    let created = Event::ConversationCreated {
        kind: Kind::Group,
        title: None,
        topic: None,
        visibility: Visibility::Private,
        settings: Settings::default(),
        members: vec![(user(1), Role::Owner), (user(2), Role::Member)],
        request_key: RequestKey::from_bytes([0; 32]),
    };
    let mut rooms = Rooms::default();
    let _load = rooms.admit(arrival(1, created, None));
    let _waits = rooms.admit(message(2));
    let (arrivals, _) = released(&mut rooms, vec![], Seq::ZERO);
    let both = vec![user(1), user(2)];
    assert_eq!(give(&mut rooms, arrivals), [(1, both.clone()), (2, both)]);
}

#[test]
fn a_fold_that_stands_elsewhere_is_not_used() {
    let mut rooms = Rooms::default();
    rooms.wait(room(), Whisper::Show(typing()));
    let (_, whispers) = released(&mut rooms, vec![user(1)], Seq::new(12));
    assert_eq!(whispers.len(), 1);
    assert!(
        matches!(rooms.admit(message(10)), Admission::Load(_)),
        "the fold is ahead of the event"
    );
}

#[test]
fn a_read_for_typing_does_not_release_an_event_that_needs_another() {
    let mut rooms = Rooms::default();
    rooms.wait(room(), Whisper::Show(typing()));
    assert!(matches!(rooms.admit(message(10)), Admission::Load(_)));
    let (arrivals, whispers) = released(&mut rooms, vec![user(1)], Seq::new(12));
    assert!(arrivals.is_empty() && whispers.is_empty());
    let (arrivals, whispers) = released(&mut rooms, vec![user(1), user(2)], Seq::new(9));
    assert_eq!((arrivals.len(), whispers.len()), (1, 1));
}

#[test]
fn rooms_that_are_remembered_are_bounded() {
    let mut rooms = Rooms::default();
    for n in 0..(u128::try_from(ROOMS_MAX).unwrap() + 10) {
        rooms.members(ConversationId::from_uuid(Uuid::from_u128(n)));
    }
    assert!(rooms.known.len() <= ROOMS_MAX);
}

fn typing() -> Ephemeral {
    Ephemeral::Typing {
        conversation: room(),
        user: user(1),
        on: true,
    }
}

proptest! {
    /// Whatever happened since, unfolding gives back the members of before.
    #[test]
    fn unfolding_takes_back_what_folding_did(changes in proptest::collection::vec((any::<bool>(), 1..6_u128), 0..40)) {
        let first = vec![user(1), user(2)];
        let mut members = first.clone();
        let mut events = Vec::new();
        for (add, n) in changes {
            // Only real changes are ever stored.
            if add == members.contains(&user(n)) {
                continue;
            }
            let event = if add { added(0, n) } else { removed(0, n) }.recorded.event;
            fold(&mut members, &event);
            events.push(event);
        }
        for event in events.iter().rev() {
            unfold(&mut members, event);
        }
        prop_assert_eq!(members, first);
    }
}

#[test]
fn a_room_whose_members_are_read_too_slowly_becomes_a_resync_and_goes_on_behind_it() {
    let mut rooms = Rooms::default();
    assert!(matches!(rooms.admit(message(5)), Admission::Load(seq) if seq == Seq::new(5)));
    let beyond = 5 + u64::try_from(ROOM_HELD_MAX).unwrap() + 10;
    for seq in 6..=beyond {
        let event = if seq == 100 {
            added(seq, 3)
        } else {
            message(seq)
        };
        assert!(matches!(rooms.admit(event), Admission::Waits));
        assert!(rooms.held() <= ROOM_HELD_MAX);
    }
    assert_eq!(rooms.held(), 0, "what nobody gets is not kept");
    let again = rooms.loaded(room(), vec![user(1)], Seq::new(4));
    assert!(matches!(again, Loaded::Again(before) if before == Seq::new(beyond + 1)));
    assert!(matches!(rooms.admit(message(beyond + 1)), Admission::Waits));
    let Loaded::Skipped(skipped) = rooms.loaded(room(), vec![user(1), user(3)], Seq::new(beyond))
    else {
        panic!("the members behind the stretch are known");
    };
    assert_eq!(
        (skipped.before, skipped.after),
        (vec![user(1)], vec![user(1), user(3)])
    );
    assert_eq!(skipped.seq, Seq::new(beyond));
    assert_eq!(
        give(&mut rooms, skipped.arrivals),
        [(beyond + 1, vec![user(1), user(3)])]
    );
    assert_eq!(rooms.held(), 0);
    assert!(matches!(
        rooms.admit(message(beyond + 2)),
        Admission::Ready(_)
    ));
}

#[test]
fn many_rooms_together_hold_no_more_than_their_bound() {
    let mut rooms = Rooms::default();
    let mut arrivals = 0;
    for room in 0..40_u128 {
        for seq in 5..3_000 {
            let mut event = message(seq);
            event.recorded.conversation = ConversationId::from_uuid(Uuid::from_u128(room));
            rooms.admit(event);
            arrivals += 1;
            assert!(rooms.held() <= ROOMS_HELD_MAX + 40);
        }
    }
    assert!(arrivals > ROOMS_HELD_MAX);
}

#[test]
fn a_head_found_in_the_log_counts_unless_something_was_forgotten_meanwhile() {
    let mut rooms = Rooms::default();
    let asked = rooms.forgotten();
    rooms.learn(room(), Epoch::new(1), Seq::new(7), asked);
    assert_eq!(rooms.head(room()), Some((Epoch::new(1), Seq::new(7))));
    rooms.learn(room(), Epoch::new(1), Seq::new(9), asked);
    assert_eq!(
        rooms.head(room()),
        Some((Epoch::new(1), Seq::new(7))),
        "what was given out wins"
    );
    rooms.forget(room());
    rooms.learn(room(), Epoch::new(1), Seq::new(7), asked);
    assert_eq!(rooms.head(room()), None);
}

#[test]
fn a_head_found_in_the_log_is_told_from_one_that_was_given_out() {
    let mut rooms = Rooms::default();
    let asked = rooms.forgotten();
    rooms.learn(room(), Epoch::new(1), Seq::new(7), asked);
    assert!(rooms.is_learned(room()));
    // This node was behind: what leads up to the head comes now.
    let late = arrival(6, message(6).recorded.event, Some(vec![user(1)]));
    let Admission::Ready(late) = rooms.admit(late) else {
        panic!("recipients are listed")
    };
    rooms.apply(&late);
    assert!(!rooms.is_learned(room()));
    assert_eq!(rooms.head(room()).map(|(_, seq)| seq), Some(Seq::new(6)));
}

#[test]
fn a_head_found_in_the_log_does_not_outlive_an_event_that_is_passed_over() {
    let mut rooms = Rooms::default();
    let asked = rooms.forgotten();
    rooms.learn(room(), Epoch::new(1), Seq::new(7), asked);
    rooms.pass_over(room());
    assert_eq!(rooms.head(room()), None);
    rooms.learn(room(), Epoch::new(1), Seq::new(7), asked);
    assert_eq!(rooms.head(room()), None, "read before");
    let given = arrival(9, message(9).recorded.event, Some(vec![user(1)]));
    rooms.apply(&given);
    rooms.pass_over(room());
    assert_eq!(rooms.head(room()).map(|(_, seq)| seq), Some(Seq::new(9)));
}

#[test]
fn what_the_log_has_lost_is_not_given_out_when_the_members_come() {
    let mut rooms = Rooms::default();
    let _load = rooms.admit(message(5));
    let _waits = rooms.admit(message(6));
    let _waits = rooms.admit(removed(7, 2));
    let skipped = rooms.cut(|id| id == room(), Offset::new(106));
    assert!(skipped.is_empty());
    assert_eq!(rooms.held(), 2);
    let both = vec![user(1), user(2)];
    let (arrivals, _) = released(&mut rooms, both.clone(), Seq::new(4));
    assert_eq!(
        give(&mut rooms, arrivals),
        [(5, both.clone()), (6, both.clone())]
    );
    assert_eq!(rooms.members(room()), Members::Known(&both));
    assert_eq!(rooms.held(), 0);
}

#[test]
fn a_room_that_held_only_what_is_lost_goes_on_with_what_comes_instead() {
    let mut rooms = Rooms::default();
    let _load = rooms.admit(removed(5, 2));
    assert!(rooms.cut(|_| true, Offset::new(104)).is_empty());
    assert_eq!(rooms.held(), 0);
    let both = vec![user(1), user(2)];
    let (arrivals, _) = released(&mut rooms, both.clone(), Seq::new(4));
    assert!(arrivals.is_empty());
    let Admission::Ready(instead) = rooms.admit(message(5)) else {
        panic!("the members are at hand")
    };
    assert_eq!(give(&mut rooms, vec![instead]), [(5, both)]);
}

#[test]
fn a_loss_within_skipped_events_is_told() {
    let mut rooms = Rooms::default();
    let _load = rooms.admit(message(1));
    for seq in 2..=u64::try_from(ROOM_HELD_MAX).unwrap() + 1 {
        let _waits = rooms.admit(message(seq));
    }
    assert_eq!(rooms.held(), 0);
    assert!(rooms.cut(|_| false, Offset::ZERO).is_empty());
    assert_eq!(rooms.cut(|_| true, Offset::new(150)), [room()]);
    assert!(rooms.cut(|_| true, Offset::new(100_000)).is_empty());
}

//! What may be denied: "not stored" is said only of what is not in the log for certain.

use super::*;

/// An id that does not say when it was made.
fn ageless() -> CommandId {
    CommandId::from_uuid(Uuid::from_u128(7_000))
}

fn is_denied(reply: Option<&OwnerReply>) -> bool {
    matches!(reply, Some(OwnerReply::Unavailable { .. }))
}

#[test]
fn an_id_that_cannot_be_looked_up_is_not_denied_and_the_next_goes_on() {
    let mut desk = Desk::with_history();
    let repeated = desk.ask(says(id(3, 3), "history"), true);
    desk.deliver();
    let next = desk.ask(says(id(900, 301), "next"), false);
    let Some(Effect::Probe { ticket, .. }) = desk.asked.pop_front() else {
        panic!("no probe")
    };
    desk.input(|core, now, effects| core.probed(ticket, Err(Unread), now, effects));
    desk.settle();
    assert_eq!(desk.reply(repeated), Some(&OwnerReply::Unknown));
    assert_eq!(desk.place(next), (How::Stored, 302));
}

#[test]
fn an_expired_partition_does_not_deny_a_repetition() {
    let mut desk = Desk::with_history();
    let soon = Duration::from_millis(200);
    let head = desk.log.len() as u64;
    desk.ask(says(id(900, 301), "on its way"), false);
    desk.deliver();
    let durable = desk.ask_until(says(id(300, 300), "history"), false, soon);
    let own = desk.ask_until(says(id(901, 301), "never stored"), false, soon);
    let same = desk.ask_until(says(id(901, 301), "never stored"), false, soon);
    let forgotten = desk.ask_until(says(id(3, 3), "history"), true, soon);
    let behind = desk.ask_until(says(id(4, 4), "history"), true, soon);
    let unmarked = desk.ask_until(says(id(5, 5), "history"), false, soon);
    let ageless = desk.ask_until(says(ageless(), "no time in it"), false, soon);
    let until = desk.instant + Duration::from_millis(250);
    desk.take_back(&TakeBack::Expired { until });
    assert_eq!(desk.place(durable), (How::Duplicate, head));
    assert!(matches!(
        desk.reply(own),
        Some(OwnerReply::Unavailable { .. })
    ));
    for open in [same, forgotten, behind, unmarked, ageless] {
        assert_eq!(desk.reply(open), Some(&OwnerReply::Unknown));
    }
}

#[test]
fn a_repetition_past_its_deadline_is_not_denied_before_it_was_looked_up() {
    let mut desk = Desk::with_history();
    let second = Duration::from_secs(1);
    let remembered = desk.ask_until(says(id(300, 300), "history"), false, second);
    let forgotten = desk.ask_until(says(id(3, 3), "history"), true, second);
    let unmarked = desk.ask_until(says(id(4, 4), "history"), false, second);
    let ageless = desk.ask_until(says(ageless(), "no time in it"), false, second);
    let ahead = desk.ask_until(says(id(901, 305), "from the future"), false, second);
    let fresh = desk.ask_until(says(id(900, 301), "fresh"), false, second);
    desk.instant += Duration::from_secs(2);
    desk.settle();
    for open in [remembered, forgotten, unmarked, ageless, ahead] {
        assert_eq!(desk.reply(open), Some(&OwnerReply::Unknown));
    }
    assert!(matches!(
        desk.reply(fresh),
        Some(OwnerReply::Unavailable { .. })
    ));
}

#[test]
fn without_a_state_a_new_command_is_unavailable_and_the_next_turn_tries_again() {
    let mut desk = Desk::new(Desk::created().log, 0);
    let ticket = desk.ask(says(id(1, 0), "hello"), false);
    assert!(matches!(desk.asked.pop_front(), Some(Effect::Load)));
    desk.input(Sequencer::load_failed);
    assert!(matches!(
        desk.reply(ticket),
        Some(OwnerReply::Unavailable { .. })
    ));
    let again = desk.ask(says(id(1, 0), "hello"), true);
    desk.settle();
    assert_eq!(desk.place(again), (How::Stored, 2));
}

#[test]
fn without_a_state_nothing_is_denied_that_may_repeat_something_stored() {
    let mut desk = Desk::with_history();
    let marked = desk.ask(says(id(300, 300), "history"), true);
    let old = desk.ask(says(id(3, 3), "history"), false);
    let ageless = desk.ask(says(ageless(), "no time in it"), false);
    let ahead = desk.ask(says(id(901, 305), "from the future"), false);
    let fresh = desk.ask(says(id(900, 301), "fresh"), false);
    desk.input(Sequencer::load_failed);
    for open in [marked, old, ageless, ahead] {
        assert_eq!(desk.reply(open), Some(&OwnerReply::Unknown));
    }
    assert!(is_denied(desk.reply(fresh)));
}

#[test]
fn what_was_looked_up_before_the_state_was_lost_is_answered_by_what_was_found() {
    let mut desk = Desk::with_history();
    let head = desk.log.len() as u64;
    // Both look young and are judged; the log holds one of them.
    let ahead = desk.ask(says(id(900, 301), "ahead"), false);
    desk.deliver();
    let forgotten = desk.ask(says(id(45, 45), "history"), false);
    desk.commit(usize::MAX);
    assert_eq!((desk.conflicts, desk.log.len() as u64), (1, head));
    desk.input(Sequencer::load_failed);
    assert_eq!(desk.reply(forgotten), Some(&OwnerReply::Unknown));
    assert!(is_denied(desk.reply(ahead)));
}

#[test]
fn a_row_that_cannot_be_read_is_not_denied() {
    let mut desk = Desk::with_history();
    let repeated = desk.ask(says(id(3, 3), "history"), true);
    desk.deliver();
    let Some(Effect::Probe { ticket, .. }) = desk.asked.pop_front() else {
        panic!("no probe")
    };
    let mut row = Desk::row(&desk.log[3]);
    row.crc = !row.crc;
    desk.input(|core, now, effects| core.probed(ticket, Ok(Some(row)), now, effects));
    assert_eq!(desk.reply(repeated), Some(&OwnerReply::Unknown));
}

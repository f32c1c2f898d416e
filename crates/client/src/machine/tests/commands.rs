//! Commands: in order, again after a loss, one outcome each.

use std::collections::BTreeMap;

use hubbub_wire::client::ClientFrame;
use hubbub_wire::error::ErrorCode;
use proptest::prelude::*;
use uuid::Uuid;

use super::{Bench, ack, command, error, send, transmitted, welcome};
use crate::machine::effect::Effect;
use crate::machine::input::Input;
use crate::machine::outbox::{ANSWER_TIMEOUT_MS, COMMANDS_MAX, Outcome};

/// (id, retry) of each send.
fn sends(effects: &[Effect]) -> Vec<(Uuid, bool)> {
    transmitted(effects)
        .iter()
        .filter_map(|frame| match frame {
            ClientFrame::Send(send) => Some((send.id, send.retry == Some(true))),
            _other => None,
        })
        .collect()
}

fn outcomes(effects: Vec<Effect>) -> Vec<(Uuid, Outcome)> {
    effects
        .into_iter()
        .filter_map(|effect| {
            if let Effect::Settle { id, outcome } = effect {
                Some((id, outcome))
            } else {
                None
            }
        })
        .collect()
}

#[test]
fn what_was_not_answered_is_sent_again_in_order_with_retry() {
    let (mut bench, socket) = Bench::live(vec![]);
    for n in 1..=3 {
        assert_eq!(
            sends(&bench.give(Input::Submit(send(n)))),
            vec![(command(n), false)]
        );
    }
    assert_eq!(outcomes(bench.frame(socket, ack(2, 9))).len(), 1);
    let (socket, _cursors) = bench.reconnect(socket);
    // One more while nothing is connected: it is new, so no retry.
    assert!(sends(&bench.give(Input::Submit(send(4)))).is_empty());
    let again = sends(&bench.frame(socket, welcome()));
    assert_eq!(
        again,
        vec![(command(1), true), (command(3), true), (command(4), false)]
    );
}

#[test]
fn an_answer_that_never_comes_is_asked_for_again() {
    let (mut bench, socket) = Bench::live(vec![]);
    bench.give(Input::Submit(send(1)));
    bench.now_ms += ANSWER_TIMEOUT_MS;
    bench.give(Input::Heard { socket });
    assert_eq!(sends(&bench.give(Input::Tick)), vec![(command(1), true)]);
}

#[test]
fn an_unknown_outcome_stays_open_until_the_same_id_is_answered() {
    let (mut bench, socket) = Bench::live(vec![]);
    bench.give(Input::Submit(send(1)));
    assert!(outcomes(bench.frame(socket, error(1, ErrorCode::UnknownOutcome))).is_empty());
    assert_eq!(sends(&bench.wake()), vec![(command(1), true)]);
    // This attempt was not stored, but the first may have been.
    assert!(outcomes(bench.frame(socket, error(1, ErrorCode::Unavailable))).is_empty());
    assert_eq!(sends(&bench.wake()), vec![(command(1), true)]);
    let settled = outcomes(bench.frame(socket, ack(1, 4)));
    assert!(matches!(settled[..], [(_, Outcome::Acked(_))]));
}

#[test]
fn a_definite_no_is_told_at_once() {
    let (mut bench, socket) = Bench::live(vec![]);
    for (n, code) in [
        (1, ErrorCode::Busy),
        (2, ErrorCode::Forbidden),
        (3, ErrorCode::Invalid),
    ] {
        bench.give(Input::Submit(send(n)));
        let settled = outcomes(bench.frame(socket, error(n, code)));
        let [(_, Outcome::Refused(refusal))] = &settled[..] else {
            panic!("{settled:?}")
        };
        assert_eq!((refusal.code, refusal.maybe_stored), (code, false));
    }
}

#[test]
fn a_no_to_a_repetition_says_that_the_first_attempt_may_have_been_stored() {
    let (mut bench, socket) = Bench::live(vec![]);
    bench.give(Input::Submit(send(1)));
    let (socket, _cursors) = bench.reconnect(socket);
    bench.frame(socket, welcome());
    let settled = outcomes(bench.frame(socket, error(1, ErrorCode::NotFound)));
    let [(_, Outcome::Refused(refusal))] = &settled[..] else {
        panic!("{settled:?}")
    };
    assert!(refusal.maybe_stored);
}

#[test]
fn the_same_id_twice_is_one_command_and_another_request_with_it_is_turned_away() {
    let (mut bench, socket) = Bench::live(vec![]);
    bench.give(Input::Submit(send(1)));
    assert_eq!(
        sends(&bench.give(Input::Submit(send(1)))),
        vec![(command(1), true)]
    );
    let mut other = send(1);
    if let ClientFrame::Send(other) = &mut other {
        other.body = "something else".into();
    }
    assert_eq!(
        outcomes(bench.give(Input::Submit(other))),
        vec![(command(1), Outcome::IdInUse)]
    );
    assert_eq!(outcomes(bench.frame(socket, ack(1, 1))).len(), 1);
    assert!(outcomes(bench.frame(socket, ack(1, 1))).is_empty());
}

#[test]
fn a_full_outbox_gives_the_command_back() {
    let mut bench = Bench::new(vec![]);
    for n in 0..COMMANDS_MAX {
        assert!(outcomes(bench.give(Input::Submit(send(n as u128)))).is_empty());
    }
    let one_more = COMMANDS_MAX as u128;
    assert_eq!(
        outcomes(bench.give(Input::Submit(send(one_more)))),
        vec![(command(one_more), Outcome::Full)]
    );
}

#[derive(Clone, Debug)]
enum Step {
    Submit,
    /// The server judges the oldest frame on the wire: stores or not, and its answer arrives or is lost.
    Judge {
        store: bool,
        answer: Answer,
    },
    Reconnect,
    Wait,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Definite,
    Unknown,
    Lost,
}

fn step() -> impl Strategy<Value = Step> {
    let answer = prop_oneof![3 => Just(Answer::Definite), 1 => Just(Answer::Unknown), 1 => Just(Answer::Lost)];
    prop_oneof![
        3 => Just(Step::Submit),
        4 => (any::<bool>(), answer).prop_map(|(store, answer)| Step::Judge { store, answer }),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Wait),
    ]
}

/// A server that stores by id, and the client before it.
#[derive(Default)]
struct World {
    stored: BTreeMap<Uuid, u64>,
    wire: Vec<Uuid>,
    settled: BTreeMap<Uuid, Outcome>,
}

impl World {
    fn take(&mut self, effects: Vec<Effect>) {
        self.wire
            .extend(sends(&effects).into_iter().map(|(id, _retry)| id));
        for (id, outcome) in outcomes(effects) {
            assert!(
                self.settled.insert(id, outcome).is_none(),
                "two outcomes of {id}"
            );
        }
    }

    fn judge(&mut self, bench: &mut Bench, socket: u64, store: bool, answer: Answer) {
        if self.wire.is_empty() {
            return;
        }
        let id = self.wire.remove(0);
        let n = id.as_u128() - command(0).as_u128();
        let next_seq = self.stored.len() as u64 + 1;
        if store {
            self.stored.entry(id).or_insert(next_seq);
        }
        let effects = match (answer, self.stored.get(&id)) {
            (Answer::Definite, Some(seq)) => bench.frame(socket, ack(n, *seq)),
            (Answer::Definite, None) => bench.frame(socket, error(n, ErrorCode::RateLimited)),
            (Answer::Unknown, _) => bench.frame(socket, error(n, ErrorCode::UnknownOutcome)),
            (Answer::Lost, _) => vec![],
        };
        self.take(effects);
    }
}

proptest! {
    #[test]
    fn every_command_ends_once_and_truthfully(steps in prop::collection::vec(step(), 1..120)) {
        let (mut bench, mut socket) = Bench::live(vec![]);
        let mut world = World::default();
        let mut submitted = 0_u128;
        for step in steps {
            match step {
                Step::Submit => {
                    submitted += 1;
                    let effects = bench.give(Input::Submit(send(submitted)));
                    world.take(effects);
                }
                Step::Judge { store, answer } => world.judge(&mut bench, socket, store, answer),
                Step::Reconnect => {
                    // What was on the wire is lost with it.
                    world.wire.clear();
                    (socket, _) = bench.reconnect(socket);
                    let effects = bench.frame(socket, welcome());
                    let ids: Vec<Uuid> = sends(&effects).into_iter().map(|(id, _retry)| id).collect();
                    prop_assert!(ids.is_sorted(), "sent again in another order");
                    world.take(effects);
                }
                Step::Wait => {
                    bench.now_ms += ANSWER_TIMEOUT_MS;
                    bench.give(Input::Heard { socket });
                    let effects = bench.give(Input::Tick);
                    world.take(effects);
                }
            }
        }
        // From here on the server is well.
        let mut rounds = 0;
        while bench.machine.commands_waiting() > 0 {
            rounds += 1;
            prop_assert!(rounds < 10_000, "a command is never answered");
            if world.wire.is_empty() {
                bench.now_ms += ANSWER_TIMEOUT_MS;
                bench.give(Input::Heard { socket });
                let effects = bench.give(Input::Tick);
                world.take(effects);
            }
            world.judge(&mut bench, socket, true, Answer::Definite);
        }
        prop_assert_eq!(world.settled.len() as u128, submitted);
        for (id, outcome) in &world.settled {
            match outcome {
                Outcome::Acked(ack) => prop_assert_eq!(Some(&ack.seq), world.stored.get(id)),
                Outcome::Refused(refusal) => prop_assert!(refusal.maybe_stored || !world.stored.contains_key(id)),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}

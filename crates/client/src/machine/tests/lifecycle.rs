//! Connecting, ending, waiting, listening.

use hubbub_wire::client::inbound::Mark;
use hubbub_wire::client::outbound::Drain;
use hubbub_wire::client::{ClientFrame, ServerFrame, close};

use super::{Bench, HEARTBEAT_S, conversation, cursor, send, socket_of, transmitted, welcome};
use crate::machine::connection::CONNECT_TIMEOUT_MS;
use crate::machine::effect::Effect;
use crate::machine::input::Input;
use crate::machine::outbox::Outcome;
use crate::machine::state::{Reason, State};

fn reason_of(bench: &Bench) -> Reason {
    match bench.machine.state() {
        State::Disconnected { reason, .. } => reason.clone(),
        other => panic!("not disconnected: {other:?}"),
    }
}

#[test]
fn hello_is_the_first_frame_and_names_the_cursors() {
    let mut bench = Bench::new(vec![cursor(conversation(1), 7, 3)]);
    let socket = socket_of(&bench.give(Input::Start));
    let hello = transmitted(&bench.give(Input::SocketOpened { socket }));
    assert_eq!(hello.len(), 1);
    let [ClientFrame::Hello(hello)] = &hello[..] else {
        panic!("not a hello")
    };
    assert_eq!(hello.cursors, Some(vec![cursor(conversation(1), 7, 3)]));
    assert!(matches!(
        bench.machine.state(),
        State::Connecting { node: 0 }
    ));
    bench.frame(socket, welcome());
    assert_eq!(
        bench.machine.state(),
        &State::Live {
            node: 0,
            caught_up: false
        }
    );
    bench.frame(socket, ServerFrame::Live);
    assert!(bench.machine.state().is_caught_up());
}

#[test]
fn a_failed_attempt_waits_and_tries_the_next_node() {
    let mut bench = Bench::new(vec![]);
    let mut socket = socket_of(&bench.give(Input::Start));
    for expected_node in [1, 0, 1] {
        bench.give(Input::SocketFailed {
            socket,
            unauthenticated: false,
            retry_after_ms: None,
        });
        assert_eq!(reason_of(&bench), Reason::ConnectFailed);
        let before = bench.now_ms;
        let effects = bench.wake();
        assert!(
            bench.now_ms - before >= 500,
            "full jitter starts at half a second"
        );
        socket = socket_of(&effects);
        assert_eq!(
            bench.machine.state(),
            &State::Connecting {
                node: expected_node
            }
        );
    }
}

#[test]
fn a_hint_of_the_server_wins_over_the_own_waiting_time() {
    let (mut bench, socket) = Bench::live(vec![]);
    bench.frame(
        socket,
        ServerFrame::Drain(Drain {
            reconnect_after_ms: 77_000,
        }),
    );
    bench.give(Input::SocketClosed {
        socket,
        code: Some(close::RESTART),
    });
    assert_eq!(bench.machine.wake_at(), Some(bench.now_ms + 77_000));

    let mut bench = Bench::new(vec![]);
    let socket = socket_of(&bench.give(Input::Start));
    bench.give(Input::SocketFailed {
        socket,
        unauthenticated: false,
        retry_after_ms: Some(60_000),
    });
    assert_eq!(bench.machine.wake_at(), Some(bench.now_ms + 60_000));
}

#[test]
fn a_session_that_ended_is_not_tried_again() {
    let (mut bench, socket) = Bench::live(vec![]);
    bench.give(Input::SocketClosed {
        socket,
        code: Some(close::SESSION_ENDED),
    });
    assert!(bench.machine.state().is_final());
    assert_eq!(bench.machine.wake_at(), None);

    let mut bench = Bench::new(vec![]);
    let socket = socket_of(&bench.give(Input::Start));
    bench.give(Input::SocketFailed {
        socket,
        unauthenticated: true,
        retry_after_ms: None,
    });
    assert_eq!(reason_of(&bench), Reason::SessionEnded);
    assert!(bench.machine.state().is_final());
    assert!(bench.give(Input::ForceReconnect { node: 0 }).is_empty());
}

#[test]
fn a_hello_that_came_too_late_does_not_end_the_session() {
    let mut bench = Bench::new(vec![]);
    let socket = socket_of(&bench.give(Input::Start));
    bench.give(Input::SocketOpened { socket });
    bench.give(Input::SocketClosed {
        socket,
        code: Some(close::SESSION_ENDED),
    });
    assert!(!bench.machine.state().is_final());
    assert_eq!(
        reason_of(&bench),
        Reason::ClosedByServer(close::SESSION_ENDED)
    );
    assert!(bench.machine.wake_at().is_some(), "it is tried again");
}

#[test]
fn a_socket_that_was_too_slow_resumes_where_it_was() {
    let (mut bench, socket) = Bench::live(vec![]);
    bench.give(Input::SocketClosed {
        socket,
        code: Some(close::TOO_SLOW),
    });
    bench.wake();
    assert_eq!(bench.machine.state(), &State::Connecting { node: 0 });
}

#[test]
fn a_welcome_that_does_not_come_ends_the_attempt() {
    let mut bench = Bench::new(vec![]);
    let socket = socket_of(&bench.give(Input::Start));
    bench.give(Input::SocketOpened { socket });
    let before = bench.now_ms;
    let effects = bench.wake();
    assert_eq!(bench.now_ms, before + CONNECT_TIMEOUT_MS);
    assert!(effects.contains(&Effect::CloseSocket { socket }));
    assert_eq!(reason_of(&bench), Reason::ConnectFailed);
}

#[test]
fn silence_is_asked_about_and_then_taken_for_a_dead_line() {
    let (mut bench, socket) = Bench::live(vec![]);
    let start = bench.now_ms;
    let asked = transmitted(&bench.wake());
    assert!(matches!(asked[..], [ClientFrame::Ping(_)]));
    assert_eq!(bench.now_ms, start + u64::from(HEARTBEAT_S) * 1_500);
    let effects = bench.wake();
    assert_eq!(bench.now_ms, start + u64::from(HEARTBEAT_S) * 2_500);
    assert!(effects.contains(&Effect::CloseSocket { socket }));
    assert_eq!(reason_of(&bench), Reason::Silent);
}

#[test]
fn any_sound_keeps_the_line_alive() {
    let (mut bench, socket) = Bench::live(vec![]);
    for _ping in 0..10 {
        bench.now_ms += u64::from(HEARTBEAT_S) * 1_000;
        bench.give(Input::Heard { socket });
        assert!(bench.give(Input::Tick).is_empty());
    }
}

#[test]
fn what_an_earlier_socket_still_says_is_ignored() {
    let (mut bench, first) = Bench::live(vec![]);
    let second = socket_of(&bench.give(Input::ForceReconnect { node: 1 }));
    assert_ne!(first, second);
    assert!(
        bench
            .give(Input::SocketClosed {
                socket: first,
                code: None
            })
            .is_empty()
    );
    assert!(bench.frame(first, ServerFrame::Live).is_empty());
    assert_eq!(bench.machine.state(), &State::Connecting { node: 1 });
    // An upgrade that succeeds too late is closed again.
    assert_eq!(
        bench.give(Input::SocketOpened { socket: first }),
        vec![Effect::CloseSocket { socket: first }]
    );
}

#[test]
fn the_latest_mark_is_sent_once_more_until_it_is_settled() {
    let (mut bench, socket) = Bench::live(vec![]);
    let mark = |read_no| Mark {
        conversation_id: conversation(1),
        read_no: Some(read_no),
        delivered_no: None,
    };
    for read_no in [3, 5, 4] {
        assert_eq!(
            transmitted(&bench.give(Input::Mark(mark(read_no)))),
            vec![ClientFrame::Mark(mark(read_no))]
        );
    }
    let (socket, _cursors) = bench.reconnect(socket);
    assert_eq!(
        transmitted(&bench.frame(socket, welcome())),
        vec![ClientFrame::Mark(mark(5))]
    );

    // Ten seconds on a good socket: stored long since. Sending it again could undo a later mark-unread.
    bench.now_ms += 10_000;
    bench.give(Input::Mark(Mark {
        conversation_id: conversation(2),
        read_no: Some(1),
        delivered_no: None,
    }));
    let (socket, _cursors) = bench.reconnect(socket);
    let resent = transmitted(&bench.frame(socket, welcome()));
    assert!(
        matches!(&resent[..], [ClientFrame::Mark(mark)] if mark.conversation_id == conversation(2)),
        "{resent:?}"
    );
}

#[test]
fn closing_tells_every_command_what_is_known_of_it() {
    let (mut bench, socket) = Bench::live(vec![]);
    bench.give(Input::Submit(send(1)));
    bench.give(Input::SocketClosed { socket, code: None });
    bench.give(Input::Submit(send(2)));
    let effects = bench.give(Input::Close);
    let outcomes: Vec<Outcome> = effects
        .into_iter()
        .filter_map(|effect| {
            if let Effect::Settle { outcome, .. } = effect {
                Some(outcome)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(
        outcomes,
        vec![
            Outcome::Abandoned { maybe_stored: true },
            Outcome::Abandoned {
                maybe_stored: false
            }
        ]
    );
    assert!(bench.machine.state().is_final());
}

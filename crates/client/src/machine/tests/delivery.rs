//! Delivery: each event exactly once, in order, whatever the line does.

use hubbub_wire::client::event::UserAndRole;
use hubbub_wire::client::object::Conversation;
use hubbub_wire::client::outbound::{Added, Removed, Reset, Resync};
use hubbub_wire::client::words::{ConversationKind, RemovalReason, Role, Visibility};
use hubbub_wire::client::{Cursor, EventData, RawEvent, ServerFrame};
use proptest::prelude::*;
use uuid::Uuid;

use super::{Bench, ME, conversation, cursor, delivered, event, fetches, welcome};
use crate::machine::connection::CURSORS_MAX;
use crate::machine::effect::Effect;
use crate::machine::input::{FetchFailure, Fetched, FetchedPage, Input};
use crate::machine::notice::Notice;
use crate::machine::streams::{FETCHES_MAX, HELD_EVENTS_MAX};

fn page(
    fetch: u64,
    conversation_id: Uuid,
    seqs: impl IntoIterator<Item = u64>,
    is_last: bool,
) -> Input {
    let events = seqs
        .into_iter()
        .map(|seq| event(conversation_id, 1, seq))
        .collect();
    Input::Fetched(Fetched {
        fetch,
        conversation_id,
        page: Ok(FetchedPage { events, is_last }),
    })
}

fn failed(fetch: u64, conversation_id: Uuid, failure: FetchFailure) -> Input {
    Input::Fetched(Fetched {
        fetch,
        conversation_id,
        page: Err(failure),
    })
}

fn summary(id: Uuid, epoch: u64, head_seq: u64) -> ServerFrame {
    ServerFrame::Added(Box::new(Added {
        conversation: Conversation {
            id,
            kind: ConversationKind::Group,
            title: None,
            topic: None,
            visibility: Visibility::Private,
            my_role: Some(Role::Member),
            member_count: 2,
            epoch,
            head_seq,
            head_no: 0,
            read_no: 0,
            joined_no: 0,
            unread: 0,
            mentions: 0,
            muted_until: None,
            pinned: false,
            archived: false,
            last_message: None,
            draft: None,
            peer: None,
        },
    }))
}

fn resync(heads: Vec<Cursor>) -> ServerFrame {
    ServerFrame::Resync(Resync {
        conversations: Some(heads),
        all: false,
    })
}

#[test]
fn a_conversation_without_a_cursor_starts_with_the_first_event_sent() {
    let (mut bench, socket) = Bench::live(vec![]);
    let c = conversation(1);
    assert_eq!(bench.event(socket, event(c, 1, 41)), [41]);
    assert_eq!(bench.event(socket, event(c, 1, 42)), [42]);
    let (_socket, cursors) = bench.reconnect(socket);
    assert_eq!(cursors, [cursor(c, 1, 42)]);
}

#[test]
fn what_was_delivered_is_dropped() {
    let c = conversation(1);
    let (mut bench, socket) = Bench::live(vec![cursor(c, 1, 5)]);
    for old in [1, 5, 4] {
        assert!(bench.event(socket, event(c, 1, old)).is_empty());
    }
    assert_eq!(bench.event(socket, event(c, 1, 6)), [6]);
    assert!(bench.event(socket, event(c, 1, 6)).is_empty());
}

#[test]
fn a_gap_is_fetched_and_later_events_wait_for_it() {
    let c = conversation(1);
    let (mut bench, socket) = Bench::live(vec![cursor(c, 1, 5)]);
    let effects = bench.frame(socket, ServerFrame::Event(event(c, 1, 8)));
    assert!(delivered(&effects).is_empty());
    let asked = fetches(&effects);
    assert_eq!(asked, [(asked[0].0, c, 6)]);
    assert!(bench.event(socket, event(c, 1, 9)).is_empty());
    let effects = bench.give(page(asked[0].0, c, 6..=7, false));
    assert_eq!(delivered(&effects), [6, 7, 8, 9]);
    assert!(fetches(&effects).is_empty(), "nothing is missing any more");
}

#[test]
fn a_gap_that_fills_itself_is_delivered_once() {
    let c = conversation(1);
    let (mut bench, socket) = Bench::live(vec![cursor(c, 1, 5)]);
    let asked = fetches(&bench.frame(socket, ServerFrame::Event(event(c, 1, 7))));
    assert_eq!(bench.event(socket, event(c, 1, 6)), [6, 7]);
    assert!(delivered(&bench.give(page(asked[0].0, c, 6..=7, true))).is_empty());
}

#[test]
fn resync_fetches_what_lies_between_in_pages() {
    let c = conversation(1);
    let (mut bench, socket) = Bench::live(vec![cursor(c, 1, 5)]);
    let effects = bench.frame(socket, resync(vec![cursor(c, 1, 9)]));
    assert_eq!(bench.event(socket, event(c, 1, 10)), Vec::<u64>::new());
    let effects = bench.give(page(fetches(&effects)[0].0, c, 6..=7, false));
    assert_eq!(delivered(&effects), [6, 7]);
    let again = fetches(&effects);
    assert_eq!(again[0].2, 8);
    let effects = bench.give(page(again[0].0, c, 8..=9, true));
    assert_eq!(delivered(&effects), [8, 9, 10]);
    assert!(fetches(&effects).is_empty());
}

#[test]
fn resync_of_everything_asks_everywhere_but_not_at_once() {
    let all: Vec<Cursor> = (0..20).map(|n| cursor(conversation(n), 1, 3)).collect();
    let (mut bench, socket) = Bench::live(all);
    let mut open = fetches(&bench.frame(
        socket,
        ServerFrame::Resync(Resync {
            conversations: None,
            all: true,
        }),
    ));
    let mut asked = 0;
    while let Some((fetch, c, from_seq)) = open.pop() {
        assert!(open.len() < FETCHES_MAX);
        assert_eq!(from_seq, 4);
        asked += 1;
        open.extend(fetches(&bench.give(page(fetch, c, [], true))));
    }
    assert_eq!(asked, 20);
}

#[test]
fn a_fetch_that_fails_is_tried_again_later() {
    let c = conversation(1);
    let (mut bench, socket) = Bench::live(vec![cursor(c, 1, 5)]);
    let asked = fetches(&bench.frame(socket, ServerFrame::Event(event(c, 1, 7))));
    let effects = bench.give(failed(
        asked[0].0,
        c,
        FetchFailure::Later {
            retry_after_ms: Some(900),
        },
    ));
    assert!(effects.is_empty());
    let before = bench.now_ms;
    let again = fetches(&bench.wake());
    assert_eq!((bench.now_ms - before, again[0].2), (900, 6));
}

#[test]
fn a_page_from_a_node_that_is_behind_is_asked_for_again() {
    let c = conversation(1);
    let (mut bench, socket) = Bench::live(vec![cursor(c, 1, 5)]);
    let asked = fetches(&bench.frame(socket, ServerFrame::Event(event(c, 1, 7))));
    assert!(bench.give(page(asked[0].0, c, [], true)).is_empty());
    assert_eq!(fetches(&bench.wake())[0].2, 6);
}

#[test]
fn a_conversation_that_is_gone_is_let_go() {
    let c = conversation(1);
    let (mut bench, socket) = Bench::live(vec![cursor(c, 1, 5)]);
    let asked = fetches(&bench.frame(socket, ServerFrame::Event(event(c, 1, 7))));
    let effects = bench.give(failed(asked[0].0, c, FetchFailure::Gone));
    assert_eq!(
        effects,
        [Effect::Notify(Notice::Removed {
            conversation_id: c,
            reason: None
        })]
    );
    assert!(bench.reconnect(socket).1.is_empty());
}

#[test]
fn a_reset_is_told_and_the_stream_goes_on_below() {
    let c = conversation(1);
    let (mut bench, socket) = Bench::live(vec![cursor(c, 1, 5)]);
    bench.event(socket, event(c, 1, 6));
    bench.event(socket, event(c, 2, 7));
    bench.event(socket, event(c, 2, 8));
    let asked = fetches(&bench.frame(socket, ServerFrame::Event(event(c, 2, 10))));
    let effects = bench.frame(
        socket,
        ServerFrame::Reset(Reset {
            conversation_id: c,
            from_seq: 7,
        }),
    );
    assert_eq!(
        effects,
        [Effect::Notify(Notice::Reset {
            conversation_id: c,
            from_seq: 7
        })]
    );
    // The answer of before the reset may hold what is void.
    assert!(delivered(&bench.give(page(asked[0].0, c, 9..=9, true))).is_empty());
    let (socket, cursors) = bench.reconnect(socket);
    assert_eq!(
        cursors,
        [cursor(c, 1, 6)],
        "with the epoch of the event that stands there"
    );
    bench.frame(socket, welcome());
    assert_eq!(bench.event(socket, event(c, 3, 7)), [7]);
}

#[test]
fn a_new_member_starts_with_the_own_joining() {
    let c = conversation(1);
    let (mut bench, socket) = Bench::live(vec![]);
    bench.frame(socket, summary(c, 1, 30));
    // The summary may have been read a little later than the joining.
    assert_eq!(bench.event(socket, event(c, 1, 28)), [28]);
    assert_eq!(bench.event(socket, event(c, 1, 29)), [29]);
}

#[test]
fn a_new_member_whose_line_breaks_goes_on_after_the_summary() {
    let c = conversation(1);
    let (mut bench, socket) = Bench::live(vec![]);
    bench.frame(socket, summary(c, 1, 30));
    let (socket, cursors) = bench.reconnect(socket);
    assert_eq!(cursors, [cursor(c, 1, 30)]);
    bench.frame(socket, welcome());
    assert!(bench.event(socket, event(c, 1, 30)).is_empty());
    let asked = fetches(&bench.frame(socket, ServerFrame::Event(event(c, 1, 32))));
    assert_eq!(asked[0].2, 31, "the first event is not taken on trust");
}

#[test]
fn a_new_member_whose_stream_is_skipped_is_told_from_where_it_goes_on() {
    let c = conversation(1);
    let told = |effects: &[Effect]| -> Vec<(u64, u64)> {
        let skipped = |effect: &Effect| match effect {
            Effect::Notify(Notice::Skipped { epoch, seq, .. }) => Some((*epoch, *seq)),
            _not_skipped => None,
        };
        effects.iter().filter_map(skipped).collect()
    };
    let (mut bench, socket) = Bench::live(vec![]);
    bench.frame(socket, summary(c, 1, 30));
    // The own joining, 30, was dropped from the socket's queue: it comes no more.
    let effects = bench.frame(socket, resync(vec![cursor(c, 1, 30)]));
    assert_eq!(told(&effects), [(1, 30)]);
    assert!(fetches(&effects).is_empty(), "the summary tells it all");
    assert_eq!(bench.event(socket, event(c, 1, 31)), [31]);

    // What the server skipped behind the summary is fetched.
    bench.frame(socket, summary(conversation(2), 1, 30));
    let effects = bench.frame(socket, resync(vec![cursor(conversation(2), 1, 34)]));
    assert_eq!(told(&effects), [(1, 30)]);
    assert_eq!(fetches(&effects)[0].2, 31);

    // Who was there before is told nothing: it goes on from the old place.
    let (mut bench, socket) = Bench::live(vec![cursor(c, 1, 5)]);
    bench.frame(socket, summary(c, 1, 30));
    let effects = bench.frame(socket, resync(vec![cursor(c, 1, 30)]));
    assert!(told(&effects).is_empty());
}

#[test]
fn a_missed_removal_and_a_resync_together_go_on_from_the_old_place() {
    let c = conversation(1);
    let (mut bench, socket) = Bench::live(vec![cursor(c, 1, 5)]);
    bench.frame(socket, summary(c, 1, 2_000));
    let asked = fetches(&bench.frame(socket, resync(vec![cursor(c, 1, 2_000)])));
    assert_eq!(asked[0].2, 6, "the server cuts what is hidden");
    assert_eq!(bench.reconnect(socket).1, [cursor(c, 1, 5)]);
}

#[test]
fn removed_and_added_again_skips_what_was_hidden() {
    let c = conversation(1);
    let (mut bench, socket) = Bench::live(vec![cursor(c, 1, 5)]);
    let removed = Removed {
        conversation_id: c,
        reason: RemovalReason::Removed,
    };
    bench.frame(socket, ServerFrame::Removed(removed));
    bench.frame(socket, summary(c, 1, 9));
    assert_eq!(bench.event(socket, event(c, 1, 9)), [9]);

    // The same while away: nothing said so but the page itself.
    let (mut bench, socket) = Bench::live(vec![cursor(c, 1, 5)]);
    let joining = RawEvent {
        event: EventData::MemberAdded(UserAndRole {
            user_id: ME,
            role: Role::Member,
        }),
        ..event(c, 1, 9)
    };
    let asked = fetches(&bench.frame(socket, ServerFrame::Event(joining.clone())));
    let page = FetchedPage {
        events: vec![joining, event(c, 1, 10)],
        is_last: true,
    };
    let answer = Fetched {
        fetch: asked[0].0,
        conversation_id: c,
        page: Ok(page),
    };
    assert_eq!(delivered(&bench.give(Input::Fetched(answer))), [9, 10]);
}

#[test]
fn a_page_with_a_hole_is_not_believed() {
    let c = conversation(1);
    let (mut bench, socket) = Bench::live(vec![cursor(c, 1, 5)]);
    let asked = fetches(&bench.frame(socket, resync(vec![cursor(c, 1, 9)])));
    assert!(delivered(&bench.give(page(asked[0].0, c, 7..=9, true))).is_empty());
    let again = fetches(&bench.wake());
    assert_eq!(
        delivered(&bench.give(page(again[0].0, c, 6..=9, true))),
        [6, 7, 8, 9]
    );
}

#[test]
fn what_does_not_fit_while_waiting_is_fetched_instead() {
    let c = conversation(1);
    let (mut bench, socket) = Bench::live(vec![cursor(c, 1, 0)]);
    let head = HELD_EVENTS_MAX as u64 + 100;
    let mut open = Vec::new();
    for seq in 2..=head {
        open.extend(fetches(
            &bench.frame(socket, ServerFrame::Event(event(c, 1, seq))),
        ));
    }
    let mut got = Vec::new();
    while let Some((fetch, c, from_seq)) = open.pop() {
        let effects = bench.give(page(
            fetch,
            c,
            from_seq..=head.min(from_seq + 9),
            from_seq + 9 >= head,
        ));
        got.extend(delivered(&effects));
        open.extend(fetches(&effects));
    }
    assert_eq!(got, (1..=head).collect::<Vec<u64>>());
}

#[test]
fn conversations_beyond_the_room_of_a_hello_are_asked_for() {
    let count = CURSORS_MAX as u128 + 2;
    let mut bench = Bench::new((0..count).map(|n| cursor(conversation(n), 1, 3)).collect());
    let socket = super::socket_of(&bench.give(Input::Start));
    let hello = super::cursors_of(&bench.give(Input::SocketOpened { socket }));
    assert_eq!(hello.len(), CURSORS_MAX);
    let asked = fetches(&bench.frame(socket, welcome()));
    assert_eq!(asked.len(), 2);
    assert!(
        asked.iter().all(|(_fetch, id, from_seq)| *from_seq == 4
            && !hello.iter().any(|c| c.conversation_id == *id))
    );
}

/// What the line and the server do to one conversation.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// More happens.
    Append(u64),
    /// The server sends the next one.
    Next,
    /// One that was sent comes again.
    Again(u64),
    /// The next ones are lost on the way.
    Lose(u64),
    /// A later one overtakes the next.
    Overtake(u64),
    /// The server skips to its head and says so.
    Resync,
    /// The oldest fetch is answered with at most so many events, as the log stood so many events ago.
    Answer { most: u64, behind: u64 },
    /// The oldest fetch fails.
    Fail,
    /// The line breaks; fetches under way go on.
    Reconnect,
    /// Time passes.
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..6_u64).prop_map(Step::Append),
        8 => Just(Step::Next),
        2 => (0..20_u64).prop_map(Step::Again),
        2 => (1..5_u64).prop_map(Step::Lose),
        2 => (1..5_u64).prop_map(Step::Overtake),
        1 => Just(Step::Resync),
        4 => (0..8_u64, 0..4_u64).prop_map(|(most, behind)| Step::Answer { most, behind }),
        1 => Just(Step::Fail),
        2 => Just(Step::Reconnect),
        2 => Just(Step::Wait),
    ]
}

struct World {
    bench: Bench,
    socket: u64,
    head: u64,
    /// Seq that the server sends next on the present socket.
    next: u64,
    open: Vec<(u64, u64)>,
    got: Vec<u64>,
}

impl World {
    fn new() -> Self {
        let (bench, socket) = Bench::live(vec![cursor(conversation(1), 0, 0)]);
        Self {
            bench,
            socket,
            head: 0,
            next: 1,
            open: vec![],
            got: vec![],
        }
    }

    fn take(&mut self, effects: &[Effect]) {
        self.got.extend(delivered(effects));
        self.open.extend(
            fetches(effects)
                .into_iter()
                .map(|(fetch, _id, from_seq)| (fetch, from_seq)),
        );
    }

    fn send(&mut self, seq: u64) {
        if (1..=self.head).contains(&seq) {
            let frame = ServerFrame::Event(event(conversation(1), 1, seq));
            let effects = self.bench.frame(self.socket, frame);
            self.take(&effects);
        }
    }

    fn answer(&mut self, most: u64, behind: u64) {
        if self.open.is_empty() {
            return;
        }
        let (fetch, from_seq) = self.open.remove(0);
        let known = self.head.saturating_sub(behind);
        let last = known.min((from_seq + most).saturating_sub(1));
        let effects = self
            .bench
            .give(page(fetch, conversation(1), from_seq..=last, last >= known));
        self.take(&effects);
    }

    fn wait(&mut self) {
        self.bench.now_ms += 1_000;
        let heard = self.bench.give(Input::Heard {
            socket: self.socket,
        });
        self.take(&heard);
        let effects = self.bench.give(Input::Tick);
        self.take(&effects);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append(n) => self.head += n,
            Step::Next => {
                self.send(self.next);
                self.next = (self.next + 1).min(self.head + 1);
            }
            Step::Again(back) => self.send(self.next.saturating_sub(1 + back)),
            Step::Lose(n) => self.next = (self.next + n).min(self.head + 1),
            Step::Overtake(n) => self.send(self.next + n),
            Step::Resync => {
                let head = cursor(conversation(1), 1, self.head);
                let effects = self.bench.frame(self.socket, resync(vec![head]));
                self.take(&effects);
                self.next = self.head + 1;
            }
            Step::Answer { most, behind } => self.answer(most, behind),
            Step::Fail => {
                if !self.open.is_empty() {
                    let (fetch, _from_seq) = self.open.remove(0);
                    let later = FetchFailure::Later {
                        retry_after_ms: None,
                    };
                    let effects = self.bench.give(failed(fetch, conversation(1), later));
                    self.take(&effects);
                }
            }
            Step::Reconnect => {
                let (socket, cursors) = self.bench.reconnect(self.socket);
                self.socket = socket;
                self.next = cursors[0].seq + 1;
                let effects = self.bench.frame(socket, welcome());
                self.take(&effects);
            }
            Step::Wait => self.wait(),
        }
    }
}

proptest! {
    #[test]
    fn each_event_is_delivered_exactly_once_and_in_order(steps in prop::collection::vec(step(), 1..200)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            prop_assert!(world.got.iter().copied().eq(1..=world.got.len() as u64), "{:?}", world.got);
        }
        // From here on the line is well: one more event, and answers that are complete.
        world.head += 1;
        while world.next <= world.head {
            world.step(Step::Next);
        }
        for _round in 0..10_000 {
            if world.got.len() as u64 == world.head {
                break;
            }
            world.wait();
            world.answer(200, 0);
        }
        prop_assert!(world.got.iter().copied().eq(1..=world.head), "{:?} of {}", world.got, world.head);
    }
}

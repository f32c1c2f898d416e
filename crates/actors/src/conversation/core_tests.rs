//! The sequencer against a model: a log that commits prefixes, refuses, conflicts and answers late, in any order.

mod denials;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use hubbub_domain::conversation::{
    Command, Intent, Kind, NewConversation, Recorded, RequestKey, Settings, State, Visibility,
    evolve,
};
use hubbub_domain::ids::{CommandId, ConversationId, UserId};
use hubbub_domain::position::{Epoch, MessageNo, Offset, PartitionId, Seq};
use hubbub_domain::time::Timestamp;
use hubbub_wire::bus::{How, MarkRequest, OwnerReply};
use hubbub_wire::stored::EventRow;
use proptest::prelude::*;
use uuid::Uuid;

use crate::conversation::core::{Sequencer, Unread};
use crate::conversation::origins::Origins;
use crate::conversation::turn::{
    Ask, Effect, Loaded, LookedUp, Now, Round, TakeBack, Ticket, Turn,
};

const EPOCH: Epoch = Epoch::new(7);
/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000;
const MINUTE: i64 = 60_000;

fn anna() -> UserId {
    UserId::from_uuid(Uuid::from_u128(1))
}

fn bert() -> UserId {
    UserId::from_uuid(Uuid::from_u128(2))
}

fn conversation() -> ConversationId {
    ConversationId::direct(anna(), bert())
}

/// An id made at this minute, and claiming to be 59 s younger than that.
fn id(n: u64, minute: i64) -> CommandId {
    let mut random = [0_u8; 10];
    random[2..].copy_from_slice(&n.to_be_bytes());
    let millis = u64::try_from(START + minute * MINUTE + 59_000).unwrap();
    CommandId::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
}

fn says(id: CommandId, body: &str) -> Command {
    Command {
        id,
        conversation: conversation(),
        by: anna(),
        intent: Intent::SendMessage {
            body: body.to_owned(),
            reply_to_no: None,
            thread_root_no: None,
        },
    }
}

fn creates(id: CommandId) -> Command {
    Command {
        intent: Intent::Create(NewConversation {
            kind: Kind::Direct,
            members: vec![bert()],
            title: None,
            topic: None,
            visibility: Visibility::Private,
            settings: Settings::default(),
            request_key: RequestKey::from_bytes([7; 32]),
        }),
        ..says(id, "")
    }
}

/// A log of one conversation, the core in front of it, and everyone who waits.
struct Desk {
    core: Sequencer,
    log: Vec<Recorded>,
    /// Handed over for the log in this round.
    speculative: VecDeque<Recorded>,
    round: Round,
    /// What the core has asked for and not got.
    asked: VecDeque<Effect>,
    tickets: u64,
    waiting: BTreeMap<Ticket, Command>,
    replies: Vec<(Ticket, Command, OwnerReply)>,
    instant: Instant,
    minute: i64,
    probes: usize,
    conflicts: usize,
}

impl Desk {
    fn new(log: Vec<Recorded>, minute: i64) -> Self {
        Self {
            core: Sequencer::new(conversation(), EPOCH, Round::default()),
            log,
            speculative: VecDeque::new(),
            round: Round::default(),
            asked: VecDeque::new(),
            tickets: 0,
            waiting: BTreeMap::new(),
            replies: Vec::new(),
            instant: Instant::now(),
            minute,
            probes: 0,
            conflicts: 0,
        }
    }

    fn created() -> Self {
        let mut desk = Self::new(Vec::new(), 0);
        desk.ask(creates(id(0, 0)), false);
        desk.settle();
        desk.replies.clear();
        desk
    }

    /// A log whose first 45 messages the dedupe window has forgotten.
    fn with_history() -> Self {
        let mut desk = Self::created();
        for n in 1..=300 {
            desk.minute = i64::try_from(n).unwrap();
            desk.ask(says(id(n, desk.minute), "history"), false);
            desk.settle();
        }
        Self::new(desk.log, 301)
    }

    fn now(&self) -> Now {
        Now {
            wall: Timestamp::from_millis(START + self.minute * MINUTE),
            instant: self.instant,
        }
    }

    fn ask(&mut self, command: Command, retry: bool) -> Ticket {
        self.ask_until(command, retry, Duration::from_hours(1_000))
    }

    fn ask_until(&mut self, command: Command, retry: bool, patience: Duration) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.waiting.insert(ticket, command.clone());
        let turn = Turn::Command(Box::new(Ask {
            ticket,
            command,
            retry,
            deadline: self.instant + patience,
            looked_up: LookedUp::No,
        }));
        self.input(|core, now, effects| core.receive(turn, now, effects));
        ticket
    }

    fn input(&mut self, act: impl FnOnce(&mut Sequencer, Now, &mut Vec<Effect>)) {
        let mut effects = Vec::new();
        let now = self.now();
        act(&mut self.core, now, &mut effects);
        for effect in effects {
            match effect {
                Effect::Append(decided) => {
                    assert_eq!(
                        self.core.round(),
                        self.round,
                        "nothing is decided in an old round"
                    );
                    let next = self.log.len() + self.speculative.len() + 1;
                    assert_eq!(decided.recorded.seq, Seq::new(next as u64), "dense");
                    self.speculative.push_back(decided.recorded);
                }
                Effect::Reply { ticket, reply } => {
                    let command = self
                        .waiting
                        .remove(&ticket)
                        .expect("each caller is answered once");
                    self.check(&command, &reply);
                    self.replies.push((ticket, command, reply));
                }
                Effect::Probe { .. } => {
                    self.probes += 1;
                    self.asked.push_back(effect);
                }
                Effect::Load | Effect::LoadMarkers => self.asked.push_back(effect),
                Effect::Mark { .. } => {}
                Effect::SaveSnapshot(row) => assert!(
                    row.seq.get() <= self.log.len() as u64,
                    "only what is durable"
                ),
            }
        }
    }

    /// I15: no reply depends on an event that is not in the log.
    fn check(&self, command: &Command, reply: &OwnerReply) {
        if let OwnerReply::Accepted(accepted) = reply {
            let place = usize::try_from(accepted.seq.get()).unwrap() - 1;
            let stored = self
                .log
                .get(place)
                .expect("an acknowledged event is durable");
            match accepted.how {
                How::Stored | How::Duplicate => {
                    assert_eq!(stored.command_id, command.id);
                    assert_eq!(accepted.epoch, EPOCH);
                }
                How::Already => {}
            }
        }
    }

    fn fold(&self) -> State {
        let mut state = State::absent(conversation());
        for recorded in &self.log {
            evolve(&mut state, recorded);
        }
        state
    }

    fn row(recorded: &Recorded) -> EventRow {
        EventRow::encode(
            PartitionId::new(0),
            Offset::new(recorded.seq.get()),
            EPOCH,
            recorded,
        )
        .unwrap()
    }

    /// Gives the core the next thing it has asked for.
    fn deliver(&mut self) {
        match self.asked.pop_front() {
            Some(Effect::Load) => {
                let mut origins = Origins::default();
                for recorded in &self.log {
                    origins.saw(recorded.seq, EPOCH);
                }
                let loaded = Loaded {
                    state: self.fold(),
                    origins,
                    snapshot: Seq::ZERO,
                };
                self.input(|core, now, effects| core.loaded(loaded, now, effects));
            }
            Some(Effect::Probe { ticket, command }) => {
                let found = self
                    .log
                    .iter()
                    .find(|recorded| recorded.command_id == command)
                    .map(Self::row);
                self.input(|core, now, effects| core.probed(ticket, Ok(found), now, effects));
            }
            Some(Effect::LoadMarkers) => {
                self.input(|core, now, effects| core.markers_loaded(Ok(Vec::new()), now, effects));
            }
            Some(_) | None => {}
        }
    }

    /// The log takes a batch of at most `rows`, or says what stands against it.
    fn commit(&mut self, rows: usize) {
        let batch: Vec<Recorded> = self.speculative.iter().take(rows).cloned().collect();
        let Some(last) = batch.last().map(|recorded| recorded.seq) else {
            return;
        };
        let taken = |recorded: &&Recorded| {
            batch
                .iter()
                .any(|new| new.command_id == recorded.command_id)
        };
        let found: Vec<EventRow> = self.log.iter().filter(taken).map(Self::row).collect();
        if found.is_empty() {
            self.speculative.drain(..batch.len());
            self.log.extend(batch);
            self.input(|core, _, effects| core.committed(last, effects));
        } else {
            self.conflicts += 1;
            self.take_back(&TakeBack::Rerun { found });
        }
    }

    fn take_back(&mut self, how: &TakeBack) {
        self.speculative.clear();
        self.round = self.round.next();
        let round = self.round;
        self.input(|core, now, effects| core.take_back(round, how, now, effects));
    }

    /// Until nobody waits for anything.
    fn settle(&mut self) {
        while !self.asked.is_empty() || !self.speculative.is_empty() {
            self.deliver();
            self.commit(usize::MAX);
        }
    }

    fn reply(&self, ticket: Ticket) -> Option<&OwnerReply> {
        self.replies
            .iter()
            .find(|(other, _, _)| *other == ticket)
            .map(|(_, _, reply)| reply)
    }

    fn place(&self, ticket: Ticket) -> (How, u64) {
        match self.reply(ticket) {
            Some(OwnerReply::Accepted(accepted)) => (accepted.how, accepted.seq.get()),
            other => panic!("not accepted: {other:?}"),
        }
    }
}

#[test]
fn many_commands_are_decided_before_the_first_is_durable_and_answered_in_order() {
    let mut desk = Desk::created();
    let tickets: Vec<Ticket> = (1..=5)
        .map(|n| desk.ask(says(id(n, 0), "hello"), false))
        .collect();
    assert_eq!((desk.speculative.len(), desk.replies.len()), (5, 0));
    desk.commit(2);
    assert_eq!(desk.replies.len(), 2);
    desk.commit(3);
    let order: Vec<Ticket> = desk.replies.iter().map(|(ticket, _, _)| *ticket).collect();
    assert_eq!(order, tickets);
}

#[test]
fn a_rejection_waits_for_the_event_before_it_and_not_for_the_one_after() {
    let mut desk = Desk::created();
    let rejected_at_once = desk.ask(says(id(1, 0), ""), false);
    assert!(desk.reply(rejected_at_once).is_some());
    desk.ask(says(id(2, 0), "in flight"), false);
    let rejected = desk.ask(says(id(3, 0), ""), false);
    desk.ask(says(id(4, 0), "later"), false);
    assert!(desk.reply(rejected).is_none());
    desk.commit(1);
    assert!(matches!(
        desk.reply(rejected),
        Some(OwnerReply::Rejected(_))
    ));
}

#[test]
fn sends_behind_one_that_is_looked_up_wait_for_it() {
    let mut desk = Desk::with_history();
    let repeated = desk.ask(says(id(3, 3), "history"), true);
    desk.deliver();
    let next = desk.ask(says(id(900, 301), "next"), false);
    assert!(
        desk.speculative.is_empty(),
        "it waits although it could be decided"
    );
    desk.settle();
    assert_eq!(desk.place(repeated), (How::Duplicate, 4));
    assert_eq!(desk.place(next), (How::Stored, 302));
}

#[test]
fn a_forgotten_id_that_looks_young_is_stopped_by_the_log_and_answered_from_it() {
    let mut desk = Desk::with_history();
    let ahead = desk.ask(says(id(900, 301), "ahead"), false);
    desk.deliver();
    // With the event ahead of it, the window forgets one more: this one.
    let repeated = desk.ask(says(id(45, 45), "history"), false);
    let behind = desk.ask(says(id(901, 301), "behind"), false);
    assert_eq!((desk.probes, desk.speculative.len()), (0, 3));
    desk.settle();
    assert_eq!(desk.conflicts, 1);
    assert_eq!(desk.place(ahead), (How::Stored, 302));
    assert_eq!(desk.place(repeated), (How::Duplicate, 46));
    assert_eq!(desk.place(behind), (How::Stored, 303));
}

#[test]
fn a_refused_append_answers_everything_that_was_judged_upon_it_and_what_waits_starts_afresh() {
    let mut desk = Desk::created();
    let first = desk.ask(says(id(1, 0), "first"), false);
    let rejected = desk.ask(says(id(2, 0), ""), false);
    desk.take_back(&TakeBack::Answer(OwnerReply::StorageFull));
    assert_eq!(desk.reply(first), Some(&OwnerReply::StorageFull));
    assert_eq!(desk.reply(rejected), Some(&OwnerReply::StorageFull));
    let again = desk.ask(says(id(1, 0), "first"), true);
    desk.settle();
    assert_eq!(desk.place(again), (How::Stored, 2));
}

#[test]
fn a_command_past_its_deadline_is_not_judged_again_after_a_take_back() {
    let mut desk = Desk::created();
    let impatient = desk.ask_until(says(id(1, 0), "impatient"), false, Duration::from_secs(1));
    let patient = desk.ask(says(id(2, 0), "patient"), false);
    desk.instant += Duration::from_secs(2);
    desk.take_back(&TakeBack::Rerun { found: Vec::new() });
    desk.settle();
    assert!(matches!(
        desk.reply(impatient),
        Some(OwnerReply::Unavailable { .. })
    ));
    assert_eq!(desk.place(patient), (How::Stored, 2));
}

#[test]
fn a_refused_append_does_not_deny_a_repetition_of_what_is_durable() {
    let mut desk = Desk::created();
    let stored = desk.ask(says(id(1, 0), "stored"), false);
    desk.settle();
    assert_eq!(desk.place(stored), (How::Stored, 2));
    let behind = desk.ask(says(id(2, 0), "on its way"), false);
    let repeated = desk.ask(says(id(1, 0), "stored"), false);
    let repeats_the_other = desk.ask(says(id(2, 0), "on its way"), false);
    assert_eq!(desk.reply(repeated), None, "it waits for its turn");
    desk.take_back(&TakeBack::Answer(OwnerReply::StorageFull));
    assert_eq!(desk.place(repeated), (How::Duplicate, 2));
    for refused in [behind, repeats_the_other] {
        assert_eq!(desk.reply(refused), Some(&OwnerReply::StorageFull));
    }
}

#[test]
fn an_expired_partition_refuses_who_would_be_next_and_keeps_the_others_in_order() {
    let mut desk = Desk::created();
    let (soon, later) = (Duration::from_millis(200), Duration::from_secs(9));
    let first = desk.ask_until(says(id(1, 0), "expired"), false, Duration::ZERO);
    let next = desk.ask_until(says(id(2, 0), "next"), false, soon);
    let stays = desk.ask_until(says(id(3, 0), "stays"), false, later);
    let doomed = desk.ask_until(says(id(4, 0), "doomed"), false, soon);
    let last = desk.ask_until(says(id(5, 0), "last"), false, later);
    let until = desk.instant + Duration::from_millis(250);
    desk.take_back(&TakeBack::Expired { until });
    desk.settle();
    for refused in [first, next, doomed] {
        assert!(matches!(
            desk.reply(refused),
            Some(OwnerReply::Unavailable { .. })
        ));
    }
    assert_eq!(desk.place(stays), (How::Stored, 2));
    assert_eq!(desk.place(last), (How::Stored, 3));
    assert_eq!(desk.core.take_expired(), 3);
}

#[test]
fn a_command_whose_event_is_durable_is_answered_however_late() {
    let mut desk = Desk::created();
    let late = desk.ask_until(says(id(1, 0), "late"), false, Duration::from_secs(1));
    desk.instant += Duration::from_mins(1);
    desk.commit(1);
    assert_eq!(desk.place(late), (How::Stored, 2));
}

#[test]
fn a_mark_reaches_no_further_than_what_is_durable() {
    let mut desk = Desk::created();
    desk.ask(says(id(1, 0), "durable"), false);
    desk.settle();
    desk.ask(says(id(2, 0), "in flight"), false);
    let mark = MarkRequest {
        conversation: conversation(),
        user: bert(),
        read_no: Some(MessageNo::new(2)),
        delivered_no: None,
        wait_stored: true,
    };
    let mut effects = Vec::new();
    let now = desk.now();
    desk.core
        .receive(Turn::Mark(Ticket(99), mark), now, &mut effects);
    assert!(matches!(effects.pop(), Some(Effect::LoadMarkers)));
    desk.core.markers_loaded(Ok(Vec::new()), now, &mut effects);
    let Some(Effect::Mark { moved, .. }) = effects.pop() else {
        panic!("no move")
    };
    assert_eq!(moved.marker.read_no, MessageNo::new(1));
}

/// What may happen next.
#[derive(Clone, Debug)]
enum Step {
    /// A new message; `false` = one that the rules reject.
    Say(bool),
    /// The same command as an earlier one of this run, with or without the mark of a repetition.
    Repeat(prop::sample::Index, bool),
    /// The command of an event of the history, window or not.
    RepeatHistory(u64, bool),
    /// The newest id that the window has forgotten, unmarked: it looks young, so only the log's uniqueness stops it.
    RepeatNewestForgotten,
    /// An old id with another text.
    Reuse(u64),
    Commit(usize),
    TakeBack,
    Refuse,
    Deliver,
    /// Minutes pass.
    Wait(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Say(true)),
        1 => Just(Step::Say(false)),
        2 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(which, retry)| Step::Repeat(which, retry)),
        2 => (1_u64..=300, any::<bool>()).prop_map(|(n, retry)| Step::RepeatHistory(n, retry)),
        2 => Just(Step::RepeatNewestForgotten),
        1 => (1_u64..=300).prop_map(Step::Reuse),
        4 => (1_usize..8).prop_map(Step::Commit),
        1 => Just(Step::TakeBack),
        1 => Just(Step::Refuse),
        4 => Just(Step::Deliver),
        1 => (1_i64..30).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_the_log_does_every_caller_is_answered_once_and_truly(steps in prop::collection::vec(step(), 1..80)) {
        let mut desk = Desk::with_history();
        let mut sent: Vec<Command> = Vec::new();
        let mut refused: Vec<CommandId> = Vec::new();
        let mut n = 1_000;
        for step in steps {
            match step {
                Step::Say(valid) => {
                    n += 1;
                    let command = says(id(n, desk.minute), if valid { "something new" } else { "" });
                    sent.push(command.clone());
                    desk.ask(command, false);
                }
                Step::Repeat(which, retry) if !sent.is_empty() => {
                    let command = sent[which.index(sent.len())].clone();
                    desk.ask(command, retry);
                }
                Step::RepeatHistory(n, retry) => {
                    desk.ask(says(id(n, i64::try_from(n).unwrap()), "history"), retry);
                }
                Step::RepeatNewestForgotten => {
                    let forgotten = desk.core.state().forgotten_until().and_then(|at| {
                        desk.log.iter().rev().find(|recorded| recorded.at == at).map(|recorded| recorded.command_id)
                    });
                    if let Some(id) = forgotten {
                        let history = desk.log.iter().find(|recorded| recorded.command_id == id).unwrap();
                        let text = if history.seq.get() <= 301 { "history" } else { "something new" };
                        desk.ask(says(id, text), false);
                    }
                }
                Step::Reuse(n) => {
                    desk.ask(says(id(n, i64::try_from(n).unwrap()), "another text"), true);
                }
                Step::Commit(rows) => desk.commit(rows),
                Step::TakeBack => desk.take_back(&TakeBack::Rerun { found: Vec::new() }),
                Step::Refuse => {
                    refused.extend(desk.speculative.iter().map(|recorded| recorded.command_id));
                    desk.take_back(&TakeBack::Answer(OwnerReply::StorageFull));
                }
                Step::Deliver => desk.deliver(),
                Step::Wait(minutes) => desk.minute += minutes,
                Step::Repeat(..) => {}
            }
        }
        desk.settle();
        // One more, so that the state is there also when the last thing that happened was a refusal.
        desk.ask(says(id(999, desk.minute), "the end"), false);
        desk.settle();

        prop_assert!(desk.waiting.is_empty(), "nobody waits for ever: {:?}", desk.waiting);
        prop_assert!(desk.core.is_idle());
        prop_assert!(*desk.core.state() == desk.fold(), "the state is the fold of the log (I13)");
        let mut ids: Vec<CommandId> = desk.log.iter().map(|recorded| recorded.command_id).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), all, "one command id, one event (I3)");
        for (_, command, reply) in &desk.replies {
            let stored = desk.log.iter().find(|recorded| recorded.command_id == command.id);
            match reply {
                OwnerReply::Accepted(accepted) => prop_assert_eq!(stored.map(|recorded| recorded.seq), Some(accepted.seq)),
                OwnerReply::Rejected(rejection) => {
                    let reused = *rejection == hubbub_domain::conversation::Rejection::IdempotencyMismatch;
                    prop_assert_eq!(stored.is_some(), reused, "a rejected request is not stored");
                }
                OwnerReply::StorageFull => prop_assert!(!refused.is_empty()),
                other => prop_assert!(false, "unexpected {:?}", other),
            }
        }
        // I7: what was sent first and stored at its first attempt comes first.
        let first_attempts = |id: CommandId| !refused.contains(&id);
        let order: Vec<Seq> = sent
            .iter()
            .filter(|command| first_attempts(command.id))
            .filter_map(|command| desk.log.iter().find(|recorded| recorded.command_id == command.id))
            .map(|recorded| recorded.seq)
            .collect();
        prop_assert!(order.is_sorted(), "two sends, one order");
    }
}

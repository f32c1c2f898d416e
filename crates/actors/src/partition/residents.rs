//! Which conversations of a partition are in memory, which are leaving it, and who waits for one that may not start yet.
//!
//! A conversation never has two actors: while one is leaving, or rows of a crashed one may still become durable, turns are parked
//! here. Generic over the actor's handle and the turn, so that it is tested without actix.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use hubbub_domain::ids::ConversationId;

/// Failures in a row after which a conversation is put into quarantine (ARCHITECTURE.md §6).
pub const FAILURES_MAX: u8 = 3;
/// The first quarantine. Whoever sends again within an edge's patience of four seconds does not find the conversation back yet.
pub const QUARANTINE_MIN: Duration = Duration::from_secs(10);
/// The longest: each quarantine that ends with another failure makes the next one twice as long, up to this. A conversation that panics
/// with every command costs six activations an hour then.
pub const QUARANTINE_MAX: Duration = Duration::from_mins(10);
/// How long an unreadable conversation stays read-only before its events are read again: someone may have mended them.
pub const READ_ONLY_FOR: Duration = Duration::from_mins(1);

/// How long a conversation that failed is left alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pauses {
    /// The first quarantine.
    pub quarantine_min: Duration,
    /// The longest.
    pub quarantine_max: Duration,
    /// Between two attempts to read what could not be read.
    pub read_only: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self {
            quarantine_min: QUARANTINE_MIN,
            quarantine_max: QUARANTINE_MAX,
            read_only: READ_ONLY_FOR,
        }
    }
}

impl Pauses {
    /// The pause after so many quarantines before.
    fn quarantine(self, before: u32) -> Duration {
        let factor = 1_u32.checked_shl(before).unwrap_or(u32::MAX);
        let doubled = self.quarantine_min.saturating_mul(factor);
        doubled.min(self.quarantine_max)
    }
}

/// What happened to a conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// It panicked, or died without a word.
    Crashed,
    /// Its events cannot be read (F14).
    Unreadable,
}

/// The conversations of a partition.
#[derive(Debug)]
pub struct Residents<H, T> {
    pauses: Pauses,
    slots: HashMap<ConversationId, Slot<H, T>>,
    /// Least recently used first.
    order: BTreeMap<u64, ConversationId>,
    uses: u64,
    /// Only of those that failed since their last success.
    failures: HashMap<ConversationId, Failures>,
}

/// Failures without a success in between.
#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    /// Since the last quarantine.
    in_a_row: u8,
    /// Quarantines so far.
    quarantines: u32,
}

#[derive(Debug)]
enum Slot<H, T> {
    Live {
        handle: H,
        used: u64,
    },
    /// Asked to leave; its answer is on the way. Turns wait, bounded by their permits.
    Leaving {
        handle: H,
        parked: VecDeque<T>,
    },
    /// Crashed with rows in flight: the next actor must see what became of them.
    Settling {
        parked: VecDeque<T>,
    },
    /// Failed too often: out of service for a while.
    Quarantined {
        until: Instant,
    },
    /// Its events cannot be read.
    ReadOnly {
        until: Instant,
    },
}

/// Where a turn goes.
#[derive(Debug, PartialEq, Eq)]
pub enum Route<H, T> {
    /// To this actor.
    Live(H, T),
    /// To a new actor.
    Absent(T),
    /// It waits here.
    Parked,
    /// Nowhere: out of service for this long.
    Quarantined(T, Duration),
    /// Nowhere: nothing can be judged while its events cannot be read.
    ReadOnly(T),
}

/// What follows from a crash.
#[derive(Debug, PartialEq, Eq)]
pub enum AfterCrash<T> {
    /// A new actor may start at once, and has these turns waiting.
    Restart(VecDeque<T>),
    /// Only when the rows in flight have found their end.
    Settle,
    /// Out of service for this long; these turns are to be refused.
    Quarantine(VecDeque<T>, Duration),
    /// Read-only for a while; these turns are to be rejected.
    ReadOnly(VecDeque<T>),
}

impl<H: Clone, T> Default for Residents<H, T> {
    fn default() -> Self {
        Self::new(Pauses::default())
    }
}

impl<H: Clone, T> Residents<H, T> {
    /// Nobody is in memory.
    pub fn new(pauses: Pauses) -> Self {
        Self {
            pauses,
            slots: HashMap::new(),
            order: BTreeMap::new(),
            uses: 0,
            failures: HashMap::new(),
        }
    }

    /// Where a turn for `conversation` goes; counts as a use.
    pub fn route(&mut self, conversation: ConversationId, turn: T, now: Instant) -> Route<H, T> {
        match self.slots.get_mut(&conversation) {
            None => Route::Absent(turn),
            Some(Slot::Quarantined { until } | Slot::ReadOnly { until }) if *until <= now => {
                // One more try; if it fails, the next pause begins at once.
                self.slots.remove(&conversation);
                Route::Absent(turn)
            }
            Some(Slot::Quarantined { until }) => {
                Route::Quarantined(turn, until.saturating_duration_since(now))
            }
            Some(Slot::ReadOnly { .. }) => Route::ReadOnly(turn),
            Some(Slot::Leaving { parked, .. } | Slot::Settling { parked }) => {
                parked.push_back(turn);
                Route::Parked
            }
            Some(Slot::Live { handle, used }) => {
                let handle = handle.clone();
                self.uses = self.uses.saturating_add(1);
                self.order.remove(used);
                *used = self.uses;
                self.order.insert(self.uses, conversation);
                Route::Live(handle, turn)
            }
        }
    }

    /// A new actor lives.
    pub fn started(&mut self, conversation: ConversationId, handle: H) {
        self.uses = self.uses.saturating_add(1);
        self.order.insert(self.uses, conversation);
        self.slots.insert(
            conversation,
            Slot::Live {
                handle,
                used: self.uses,
            },
        );
    }

    /// The actor for a notice that is no turn; also one that is leaving.
    pub fn handle(&self, conversation: ConversationId) -> Option<&H> {
        match self.slots.get(&conversation)? {
            Slot::Live { handle, .. } | Slot::Leaving { handle, .. } => Some(handle),
            Slot::Settling { .. } | Slot::Quarantined { .. } | Slot::ReadOnly { .. } => None,
        }
    }

    /// Every actor.
    pub fn handles(&self) -> impl Iterator<Item = &H> {
        self.slots.values().filter_map(|slot| match slot {
            Slot::Live { handle, .. } | Slot::Leaving { handle, .. } => Some(handle),
            Slot::Settling { .. } | Slot::Quarantined { .. } | Slot::ReadOnly { .. } => None,
        })
    }

    /// How many could be asked to leave.
    pub fn live(&self) -> usize {
        self.order.len()
    }

    /// Whether no actor is left, and none is to come.
    pub fn is_settled(&self) -> bool {
        self.slots
            .values()
            .all(|slot| matches!(slot, Slot::Quarantined { .. } | Slot::ReadOnly { .. }))
    }

    /// Chooses the least recently used to leave; the caller asks it.
    pub fn dismiss_oldest(&mut self) -> Option<H> {
        let (_, conversation) = self.order.pop_first()?;
        match self.slots.remove(&conversation)? {
            Slot::Live { handle, .. } => {
                let slot = Slot::Leaving {
                    handle: handle.clone(),
                    parked: VecDeque::new(),
                };
                self.slots.insert(conversation, slot);
                Some(handle)
            }
            other => {
                self.slots.insert(conversation, other);
                None
            }
        }
    }

    /// It has left. Its parked turns, if any, want a new actor.
    pub fn left(&mut self, conversation: ConversationId) -> VecDeque<T> {
        self.failures.remove(&conversation);
        self.forget(conversation)
    }

    /// It stays, because it has work. Its parked turns go to it.
    pub fn stays(&mut self, conversation: ConversationId) -> Option<(H, VecDeque<T>)> {
        match self.slots.remove(&conversation)? {
            Slot::Leaving { handle, parked } => {
                self.started(conversation, handle.clone());
                Some((handle, parked))
            }
            other => {
                self.slots.insert(conversation, other);
                None
            }
        }
    }

    /// How many are out of service or read-only.
    pub fn out_of_service(&self) -> usize {
        let out =
            |slot: &&Slot<H, T>| matches!(slot, Slot::Quarantined { .. } | Slot::ReadOnly { .. });
        self.slots.values().filter(out).count()
    }

    /// No actor may start yet, because rows of a former one are in flight: these turns wait for their end.
    pub fn settle(&mut self, conversation: ConversationId, turns: VecDeque<T>) {
        match self.slots.get_mut(&conversation) {
            Some(Slot::Leaving { parked, .. } | Slot::Settling { parked }) => parked.extend(turns),
            Some(Slot::Live { .. } | Slot::Quarantined { .. } | Slot::ReadOnly { .. }) | None => {
                self.slots
                    .insert(conversation, Slot::Settling { parked: turns });
            }
        }
    }

    /// It failed.
    pub fn crashed(
        &mut self,
        conversation: ConversationId,
        in_flight: bool,
        failure: Failure,
        now: Instant,
    ) -> AfterCrash<T> {
        let parked = self.forget(conversation);
        if failure == Failure::Unreadable {
            let until = now + self.pauses.read_only;
            self.slots.insert(conversation, Slot::ReadOnly { until });
            return AfterCrash::ReadOnly(parked);
        }
        let failures = self.failures.entry(conversation).or_default();
        failures.in_a_row = failures.in_a_row.saturating_add(1);
        if failures.in_a_row >= FAILURES_MAX {
            let pause = self.pauses.quarantine(failures.quarantines);
            failures.quarantines = failures.quarantines.saturating_add(1);
            // After it, one failure is enough for the next.
            failures.in_a_row = FAILURES_MAX.saturating_sub(1);
            let until = now + pause;
            self.slots.insert(conversation, Slot::Quarantined { until });
            return AfterCrash::Quarantine(parked, pause);
        }
        if in_flight {
            self.slots.insert(conversation, Slot::Settling { parked });
            return AfterCrash::Settle;
        }
        AfterCrash::Restart(parked)
    }

    /// Its rows in flight have found their end, or it has stored something: a success.
    pub fn succeeded(&mut self, conversation: ConversationId) {
        self.failures.remove(&conversation);
    }

    /// Crashed conversations that `is_in_flight` no longer holds back, with the turns that wait for a new actor.
    pub fn settled(
        &mut self,
        is_in_flight: impl Fn(ConversationId) -> bool,
    ) -> Vec<(ConversationId, VecDeque<T>)> {
        let done: Vec<ConversationId> = self
            .slots
            .iter()
            .filter(|(conversation, slot)| {
                matches!(slot, Slot::Settling { .. }) && !is_in_flight(**conversation)
            })
            .map(|(conversation, _)| *conversation)
            .collect();
        done.into_iter()
            .map(|conversation| (conversation, self.forget(conversation)))
            .collect()
    }

    /// Forgets everyone; what was parked is dropped.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.order.clear();
        self.failures.clear();
    }

    fn forget(&mut self, conversation: ConversationId) -> VecDeque<T> {
        match self.slots.remove(&conversation) {
            Some(Slot::Live { used, .. }) => {
                self.order.remove(&used);
                VecDeque::new()
            }
            Some(Slot::Leaving { parked, .. } | Slot::Settling { parked }) => parked,
            Some(Slot::Quarantined { .. } | Slot::ReadOnly { .. }) | None => VecDeque::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Subject = Residents<&'static str, u32>;

    fn now() -> Instant {
        Instant::now()
    }

    fn id(n: u128) -> ConversationId {
        ConversationId::from_uuid(uuid::Uuid::from_u128(n))
    }

    fn with(conversations: &[(u128, &'static str)]) -> Subject {
        let mut residents = Subject::default();
        for (n, handle) in conversations {
            residents.started(id(*n), handle);
        }
        residents
    }

    #[test]
    fn the_least_recently_used_is_asked_to_leave_first() {
        let mut residents = with(&[(1, "one"), (2, "two"), (3, "three")]);
        assert_eq!(residents.route(id(1), 7, now()), Route::Live("one", 7));
        assert_eq!(residents.dismiss_oldest(), Some("two"));
        assert_eq!(residents.dismiss_oldest(), Some("three"));
        assert_eq!(residents.dismiss_oldest(), Some("one"));
        assert_eq!(residents.dismiss_oldest(), None);
    }

    #[test]
    fn turns_for_one_that_is_leaving_wait_for_the_next_actor_in_order() {
        let mut residents = with(&[(1, "one")]);
        residents.dismiss_oldest();
        assert_eq!(residents.route(id(1), 7, now()), Route::Parked);
        assert_eq!(residents.route(id(1), 8, now()), Route::Parked);
        assert_eq!(residents.left(id(1)), [7, 8]);
        assert_eq!(residents.route(id(1), 9, now()), Route::Absent(9));
    }

    #[test]
    fn one_that_stays_gets_what_was_parked() {
        let mut residents = with(&[(1, "one")]);
        residents.dismiss_oldest();
        residents.route(id(1), 7, now());
        assert_eq!(residents.stays(id(1)), Some(("one", VecDeque::from([7]))));
        assert_eq!(residents.route(id(1), 8, now()), Route::Live("one", 8));
    }

    #[test]
    fn after_a_crash_with_rows_in_flight_the_next_actor_waits_for_their_end() {
        let mut residents = with(&[(1, "one")]);
        assert_eq!(
            residents.crashed(id(1), true, Failure::Crashed, now()),
            AfterCrash::Settle
        );
        assert_eq!(residents.route(id(1), 7, now()), Route::Parked);
        assert_eq!(residents.settled(|_| true), []);
        assert_eq!(residents.settled(|_| false), [(id(1), VecDeque::from([7]))]);
        assert_eq!(residents.route(id(1), 8, now()), Route::Absent(8));
    }

    fn crash_until_quarantine(residents: &mut Subject, now: Instant) -> Duration {
        for _ in 0..=FAILURES_MAX {
            match residents.crashed(id(1), false, Failure::Crashed, now) {
                AfterCrash::Quarantine(_, pause) => return pause,
                other => assert_eq!(other, AfterCrash::Restart(VecDeque::new())),
            }
            residents.started(id(1), "again");
        }
        panic!("never put into quarantine");
    }

    #[test]
    fn the_third_failure_in_a_row_puts_it_out_of_service_for_a_while() {
        let (mut residents, now) = (with(&[(1, "one")]), now());
        for _ in 1..FAILURES_MAX {
            assert_eq!(
                residents.crashed(id(1), false, Failure::Crashed, now),
                AfterCrash::Restart(VecDeque::new())
            );
            residents.started(id(1), "again");
        }
        assert_eq!(
            residents.crashed(id(1), false, Failure::Crashed, now),
            AfterCrash::Quarantine(VecDeque::new(), QUARANTINE_MIN)
        );
        let half = QUARANTINE_MIN / 2;
        assert_eq!(
            residents.route(id(1), 7, now + half),
            Route::Quarantined(7, half)
        );
        assert!(residents.is_settled());
        assert_eq!(residents.out_of_service(), 1);
        assert_eq!(
            residents.route(id(1), 8, now + QUARANTINE_MIN),
            Route::Absent(8)
        );
        assert_eq!(residents.out_of_service(), 0);
    }

    #[test]
    fn whoever_comes_back_and_fails_again_stays_away_twice_as_long_up_to_a_bound() {
        let (mut residents, mut now) = (with(&[(1, "one")]), now());
        let mut pauses = vec![crash_until_quarantine(&mut residents, now)];
        for _ in 0..8 {
            now += pauses[pauses.len() - 1];
            assert_eq!(residents.route(id(1), 7, now), Route::Absent(7));
            residents.started(id(1), "again");
            match residents.crashed(id(1), false, Failure::Crashed, now) {
                AfterCrash::Quarantine(_, pause) => pauses.push(pause),
                other => panic!("one failure is enough then: {other:?}"),
            }
        }
        let seconds: Vec<u64> = pauses.iter().map(Duration::as_secs).collect();
        assert_eq!(seconds, [10, 20, 40, 80, 160, 320, 600, 600, 600]);
        now += QUARANTINE_MAX;
        residents.route(id(1), 7, now);
        residents.started(id(1), "again");
        residents.succeeded(id(1));
        assert_eq!(crash_until_quarantine(&mut residents, now), QUARANTINE_MIN);
    }

    #[test]
    fn a_success_in_between_forgives() {
        let mut residents = with(&[(1, "one")]);
        for _ in 0..10 {
            assert_eq!(
                residents.crashed(id(1), false, Failure::Crashed, now()),
                AfterCrash::Restart(VecDeque::new())
            );
            residents.started(id(1), "again");
            residents.succeeded(id(1));
        }
    }

    #[test]
    fn what_cannot_be_read_is_read_only_at_once_and_its_neighbour_is_not() {
        let (mut residents, now) = (with(&[(1, "one"), (2, "two")]), now());
        assert_eq!(
            residents.crashed(id(1), false, Failure::Unreadable, now),
            AfterCrash::ReadOnly(VecDeque::new())
        );
        assert_eq!(residents.route(id(1), 6, now), Route::ReadOnly(6));
        assert_eq!(residents.route(id(2), 7, now), Route::Live("two", 7));
        assert_eq!(
            residents.route(id(1), 8, now + READ_ONLY_FOR),
            Route::Absent(8),
            "someone may have mended it"
        );
    }
}

//! Which conversations of a partition are in memory, which are leaving it, and who waits for one that may not start yet.
//!
//! A conversation never has two actors: while one is leaving, or rows of a crashed one may still become durable, turns are parked
//! here. Generic over the actor's handle and the turn, so that it is tested without actix.

use std::collections::{BTreeMap, HashMap, VecDeque};

use hubbub_domain::ids::ConversationId;

/// Failures in a row after which a conversation is out of service until the partition is served anew (ARCHITECTURE.md §6).
pub const FAILURES_MAX: u8 = 3;

/// The conversations of a partition.
#[derive(Debug)]
pub struct Residents<H, T> {
    slots: HashMap<ConversationId, Slot<H, T>>,
    /// Least recently used first.
    order: BTreeMap<u64, ConversationId>,
    uses: u64,
    /// Failures in a row; an entry only for those that failed since their last success.
    failures: HashMap<ConversationId, u8>,
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
    /// Failed too often.
    Quarantined,
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
    /// Nowhere.
    Quarantined(T),
}

/// What follows from a crash.
#[derive(Debug, PartialEq, Eq)]
pub enum AfterCrash<T> {
    /// A new actor may start at once, and has these turns waiting.
    Restart(VecDeque<T>),
    /// Only when the rows in flight have found their end.
    Settle,
    /// Never again here; these turns are to be refused.
    Quarantine(VecDeque<T>),
}

impl<H: Clone, T> Default for Residents<H, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: Clone, T> Residents<H, T> {
    pub fn new() -> Self {
        Self {
            slots: HashMap::new(),
            order: BTreeMap::new(),
            uses: 0,
            failures: HashMap::new(),
        }
    }

    /// Where a turn for `conversation` goes; counts as a use.
    pub fn route(&mut self, conversation: ConversationId, turn: T) -> Route<H, T> {
        match self.slots.get_mut(&conversation) {
            None => Route::Absent(turn),
            Some(Slot::Quarantined) => Route::Quarantined(turn),
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
            Slot::Settling { .. } | Slot::Quarantined => None,
        }
    }

    /// Every actor.
    pub fn handles(&self) -> impl Iterator<Item = &H> {
        self.slots.values().filter_map(|slot| match slot {
            Slot::Live { handle, .. } | Slot::Leaving { handle, .. } => Some(handle),
            Slot::Settling { .. } | Slot::Quarantined => None,
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
            .all(|slot| matches!(slot, Slot::Quarantined))
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

    /// It failed. `for_good` = trying again cannot help.
    pub fn crashed(
        &mut self,
        conversation: ConversationId,
        in_flight: bool,
        for_good: bool,
    ) -> AfterCrash<T> {
        let parked = self.forget(conversation);
        let failures = self.failures.entry(conversation).or_default();
        *failures = failures.saturating_add(1);
        if for_good || *failures >= FAILURES_MAX {
            self.slots.insert(conversation, Slot::Quarantined);
            return AfterCrash::Quarantine(parked);
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
            Some(Slot::Quarantined) | None => VecDeque::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Subject = Residents<&'static str, u32>;

    fn id(n: u128) -> ConversationId {
        ConversationId::from_uuid(uuid::Uuid::from_u128(n))
    }

    fn with(conversations: &[(u128, &'static str)]) -> Subject {
        let mut residents = Subject::new();
        for (n, handle) in conversations {
            residents.started(id(*n), handle);
        }
        residents
    }

    #[test]
    fn the_least_recently_used_is_asked_to_leave_first() {
        let mut residents = with(&[(1, "one"), (2, "two"), (3, "three")]);
        assert_eq!(residents.route(id(1), 7), Route::Live("one", 7));
        assert_eq!(residents.dismiss_oldest(), Some("two"));
        assert_eq!(residents.dismiss_oldest(), Some("three"));
        assert_eq!(residents.dismiss_oldest(), Some("one"));
        assert_eq!(residents.dismiss_oldest(), None);
    }

    #[test]
    fn turns_for_one_that_is_leaving_wait_for_the_next_actor_in_order() {
        let mut residents = with(&[(1, "one")]);
        residents.dismiss_oldest();
        assert_eq!(residents.route(id(1), 7), Route::Parked);
        assert_eq!(residents.route(id(1), 8), Route::Parked);
        assert_eq!(residents.left(id(1)), [7, 8]);
        assert_eq!(residents.route(id(1), 9), Route::Absent(9));
    }

    #[test]
    fn one_that_stays_gets_what_was_parked() {
        let mut residents = with(&[(1, "one")]);
        residents.dismiss_oldest();
        residents.route(id(1), 7);
        assert_eq!(residents.stays(id(1)), Some(("one", VecDeque::from([7]))));
        assert_eq!(residents.route(id(1), 8), Route::Live("one", 8));
    }

    #[test]
    fn after_a_crash_with_rows_in_flight_the_next_actor_waits_for_their_end() {
        let mut residents = with(&[(1, "one")]);
        assert_eq!(residents.crashed(id(1), true, false), AfterCrash::Settle);
        assert_eq!(residents.route(id(1), 7), Route::Parked);
        assert_eq!(residents.settled(|_| true), []);
        assert_eq!(residents.settled(|_| false), [(id(1), VecDeque::from([7]))]);
        assert_eq!(residents.route(id(1), 8), Route::Absent(8));
    }

    #[test]
    fn the_third_failure_in_a_row_is_the_last() {
        let mut residents = with(&[(1, "one")]);
        for _ in 1..FAILURES_MAX {
            assert_eq!(
                residents.crashed(id(1), false, false),
                AfterCrash::Restart(VecDeque::new())
            );
            residents.started(id(1), "again");
        }
        assert_eq!(
            residents.crashed(id(1), false, false),
            AfterCrash::Quarantine(VecDeque::new())
        );
        assert_eq!(residents.route(id(1), 7), Route::Quarantined(7));
        assert!(residents.is_settled());
    }

    #[test]
    fn a_success_in_between_forgives() {
        let mut residents = with(&[(1, "one")]);
        for _ in 0..10 {
            assert_eq!(
                residents.crashed(id(1), false, false),
                AfterCrash::Restart(VecDeque::new())
            );
            residents.started(id(1), "again");
            residents.succeeded(id(1));
        }
    }

    #[test]
    fn what_cannot_be_read_is_out_of_service_at_once_and_its_neighbour_is_not() {
        let mut residents = with(&[(1, "one"), (2, "two")]);
        assert_eq!(
            residents.crashed(id(1), false, true),
            AfterCrash::Quarantine(VecDeque::new())
        );
        assert_eq!(residents.route(id(2), 7), Route::Live("two", 7));
    }
}

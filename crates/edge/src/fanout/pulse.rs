//! Whether this node stood still, and what follows (RELIABILITY F2, I11). Pure.
//!
//! ```text
//! goes ──a beat of the loop comes 5 s late──▶ asks: every socket closed with 4503, nobody seated, nothing given out to anyone
//!  ▲                                            │ the stores have told account changes and heads
//!  └──── feeds are at these heads, or 5 s ◀── catches up
//! ```
//!
//! A process that was stopped knows nothing of what has happened since: who was removed, whose session has ended, what others have said.
//! Its sockets would go on as if nothing had been. So they are told to go, and come back with their cursors. A machine that was suspended
//! is not noticed here, because this clock stands still with it: what it missed is healed by number, as after any other gap.

/// A beat that comes this late was not late but absent: the loop turns at least twice a second, and beats as well before each event that it
/// gives out in a turn. Longer than a lease, so that a busy machine does not look like one that stands.
pub(crate) const STOOD_STILL_MS: u64 = 5_000;
/// For how long feeds may take to reach what the stores told; then sockets are seated and served as after any other gap.
pub(crate) const CATCH_UP_MS: u64 = 5_000;

/// The loop's sense of time.
#[derive(Debug)]
pub(crate) struct Pulse {
    beat_ms: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Goes,
    /// `stale`: an answer is on its way that was asked for before.
    Asks {
        stale: bool,
    },
    CatchesUp {
        since_ms: u64,
    },
}

impl Pulse {
    /// Goes, as of now.
    pub(crate) fn new(now_ms: u64) -> Self {
        Self {
            beat_ms: now_ms,
            state: State::Goes,
        }
    }

    /// Said at every turn and before each event that is given out in it, before anything is done; `true` when the node stood still: every socket has to go. `surveying`: the
    /// stores are being asked already.
    pub(crate) fn beat(&mut self, now_ms: u64, surveying: bool) -> bool {
        let stood = now_ms.saturating_sub(self.beat_ms) > STOOD_STILL_MS;
        self.beat_ms = now_ms;
        if stood {
            self.state = State::Asks { stale: surveying };
        }
        stood
    }

    /// The stores have answered, with heads or without.
    pub(crate) fn on_survey(&mut self, heads: bool, now_ms: u64) {
        match self.state {
            State::Asks { stale: true } => self.state = State::Asks { stale: false },
            State::Asks { stale: false } if heads => {
                self.state = State::CatchesUp { since_ms: now_ms };
            }
            State::Asks { .. } | State::Goes | State::CatchesUp { .. } => {}
        }
    }

    /// Asked a few times a second. `at_heads`: everything that was heard of has been given out.
    pub(crate) fn settle(&mut self, at_heads: bool, now_ms: u64) {
        if let State::CatchesUp { since_ms } = self.state
            && (at_heads || now_ms.saturating_sub(since_ms) >= CATCH_UP_MS)
        {
            self.state = State::Goes;
        }
    }

    /// Whether the stores have to be asked about everything.
    pub(crate) fn asks(&self) -> bool {
        matches!(self.state, State::Asks { .. })
    }

    /// Whether sockets may be seated.
    pub(crate) fn is_settled(&self) -> bool {
        self.state == State::Goes
    }
}

/// Whether a loop whose last turn was then stands still now: for sockets, which may wake before it does.
pub(crate) fn stands_still(beat_ms: u64, now_ms: u64) -> bool {
    now_ms.saturating_sub(beat_ms) > STOOD_STILL_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_loop_that_turns_when_it_is_busy_then_nothing_happens() {
        let mut pulse = Pulse::new(0);
        for now in (0..60_000).step_by(4_000) {
            assert!(!pulse.beat(now, false));
            assert!(pulse.is_settled());
        }
    }

    #[test]
    fn given_a_pause_when_it_ends_then_sockets_go_once_and_nobody_is_seated() {
        let mut pulse = Pulse::new(0);
        assert!(!pulse.beat(500, false));
        assert!(stands_still(500, 12_500));
        assert!(pulse.beat(12_500, false));
        assert!(!pulse.beat(12_501, false));
        assert!(pulse.asks() && !pulse.is_settled());
        pulse.settle(true, 12_600);
        assert!(!pulse.is_settled(), "these heads are from before the pause");
    }

    #[test]
    fn given_a_pause_when_the_stores_have_told_and_feeds_are_there_then_sockets_are_seated_again() {
        let mut pulse = Pulse::new(0);
        pulse.beat(12_000, false);
        pulse.on_survey(false, 12_100);
        assert!(pulse.asks(), "heads could not be read");
        pulse.on_survey(true, 12_200);
        assert!(!pulse.asks());
        pulse.settle(false, 12_300);
        assert!(!pulse.is_settled());
        pulse.settle(true, 12_400);
        assert!(pulse.is_settled());
    }

    #[test]
    fn given_a_question_from_before_the_pause_when_it_is_answered_then_it_is_asked_again() {
        let mut pulse = Pulse::new(0);
        pulse.beat(12_000, true);
        pulse.on_survey(true, 12_100);
        assert!(pulse.asks());
        pulse.on_survey(true, 12_200);
        assert!(!pulse.asks());
    }

    #[test]
    fn given_a_feed_that_cannot_be_healed_then_the_others_do_not_wait_for_it_for_ever() {
        let mut pulse = Pulse::new(0);
        pulse.beat(12_000, false);
        pulse.on_survey(true, 12_000);
        pulse.settle(false, 12_000 + CATCH_UP_MS - 1);
        assert!(!pulse.is_settled());
        pulse.settle(false, 12_000 + CATCH_UP_MS);
        assert!(pulse.is_settled());
    }

    #[test]
    fn given_a_second_pause_while_it_catches_up_then_all_begins_again() {
        let mut pulse = Pulse::new(0);
        pulse.beat(12_000, false);
        pulse.on_survey(true, 12_000);
        assert!(pulse.beat(20_000, false));
        assert!(pulse.asks());
    }
}

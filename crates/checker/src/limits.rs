//! The figures of RELIABILITY.md that an invariant is held against.

use crate::history::{SECOND, Time};
use crate::report::Counter;

/// What a run is held against.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// How long after a removal or a revocation something may still be delivered (I11, P8).
    pub after_removal: Time,
    /// How long an edge may go on without hearing of an event (F5): what was acked longer than this before a hello has come before `live`
    /// (I9). An edge that follows heads answers "nothing missed" without a question to anyone: zero where no bus message is lost.
    pub unheard: Time,
    /// How long after healing, and after every node can have heard of a loss, until those who saw what is lost are told (I5).
    pub told_of_loss: Time,
    /// How long after healing until every partition has an owner (I16).
    pub owned: Time,
    /// How long after healing until commands succeed (I16).
    pub commands: Time,
    /// How long after healing until every client is at the head (I16).
    pub heads: Time,
    /// Counters without which the run is void.
    pub required: Vec<Counter>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            after_removal: SECOND,
            unheard: 0,
            told_of_loss: 10 * SECOND,
            owned: 10 * SECOND,
            commands: 15 * SECOND,
            heads: 10 * SECOND,
            required: Vec::new(),
        }
    }
}

impl Limits {
    /// Multiplies every time: for machines whose speed nobody knows.
    pub fn stretch(&mut self, by: u64) {
        for time in [
            &mut self.after_removal,
            &mut self.unheard,
            &mut self.told_of_loss,
            &mut self.owned,
            &mut self.commands,
            &mut self.heads,
        ] {
            *time = time.saturating_mul(by);
        }
    }
}

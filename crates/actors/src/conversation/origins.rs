//! Which epoch wrote which event, as far as this actor has seen: a repeated command is answered with the epoch of then.

use hubbub_domain::position::{Epoch, Seq};

/// Runs of one epoch remembered at most. Each is one ownership in which the conversation was written to; older ones are looked up.
const RUNS_MAX: usize = 32;

/// Runs of events by epoch, ascending.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Origins {
    /// First seq of a run and its epoch. Nothing is known below the first.
    runs: Vec<(Seq, Epoch)>,
    /// Last seq that was seen.
    last: Seq,
}

impl Origins {
    /// The event `seq` was written under `epoch`; seqs ascend.
    pub fn saw(&mut self, seq: Seq, epoch: Epoch) {
        self.last = seq;
        if self.runs.last().is_some_and(|(_, last)| *last == epoch) {
            return;
        }
        if self.runs.len() == RUNS_MAX {
            self.runs.remove(0);
        }
        self.runs.push((seq, epoch));
    }

    /// The epoch of an event; `None` when it lies before what was seen.
    pub fn of(&self, seq: Seq) -> Option<Epoch> {
        if seq > self.last {
            return None;
        }
        let after = self.runs.partition_point(|(from, _)| *from <= seq);
        after
            .checked_sub(1)
            .and_then(|index| self.runs.get(index))
            .map(|(_, epoch)| *epoch)
    }

    /// The epoch of the newest event seen.
    pub fn newest(&self) -> Option<Epoch> {
        self.runs.last().map(|(_, epoch)| *epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(runs: &[(u64, u64)]) -> Origins {
        let mut origins = Origins::default();
        for (seq, epoch) in runs {
            origins.saw(Seq::new(*seq), Epoch::new(*epoch));
        }
        origins
    }

    #[test]
    fn an_event_has_the_epoch_of_its_run_and_what_lies_before_or_after_is_unknown() {
        let origins = of(&[(5, 1), (6, 1), (7, 3), (8, 3)]);
        let epochs: Vec<Option<u64>> = (4..=9)
            .map(|seq| origins.of(Seq::new(seq)).map(Epoch::get))
            .collect();
        assert_eq!(epochs, [None, Some(1), Some(1), Some(3), Some(3), None]);
        assert_eq!(origins.newest(), Some(Epoch::new(3)));
    }

    #[test]
    fn only_so_many_runs_are_remembered_and_the_oldest_go_first() {
        let all: Vec<(u64, u64)> = (1..=40).map(|n| (n, n)).collect();
        let origins = of(&all);
        assert_eq!(origins.runs.len(), RUNS_MAX);
        assert_eq!(origins.of(Seq::new(8)), None);
        assert_eq!(origins.of(Seq::new(9)), Some(Epoch::new(9)));
        assert_eq!(origins.of(Seq::new(40)), Some(Epoch::new(40)));
    }
}

//! What is served here although the fence rows do not say so, pure.
//!
//! A row under a newer epoch says so at once: somebody else has the partition. A row under an *older* one is either the end of an acquire
//! that the look was too early for, or the work of an unclean failover that forgot the acquire (F8): only the second look in a row can tell,
//! because it begins after the first has ended. Whoever served on under an epoch that the database does not know would be fenced off at its
//! next append; an idle partition would never notice, and has nobody else, since its row may still name this very node.
//!
//! A database that writes another line of history than before may have forgotten events of an owner whose epoch it remembers. Nothing that this
//! process keeps in memory is believed then, whatever the rows say.
//!
//! Never: a judgement about who is alive.

use std::collections::BTreeMap;

use hubbub_domain::position::{Epoch, PartitionId};
use hubbub_event_log::PartitionRow;

/// Memory of the last look.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// Served under an epoch that its row had not reached.
    ahead: BTreeMap<PartitionId, Epoch>,
    /// The line of history that was seen last.
    timeline: Option<u64>,
}

impl Lost {
    /// Of what is served or taken up, the partitions whose rows contradict it, ascending as the rows are; all that there are when the line of
    /// history is another one.
    pub(super) fn look(
        &mut self,
        timeline: u64,
        rows: &[PartitionRow],
        serving: &BTreeMap<PartitionId, Epoch>,
    ) -> Vec<PartitionId> {
        let before = self.timeline.replace(timeline);
        if before.is_some_and(|before| before != timeline) {
            self.ahead.clear();
            return rows.iter().map(|row| row.partition).collect();
        }
        let mut lost = Vec::new();
        let mut ahead = BTreeMap::new();
        for row in rows {
            let Some(epoch) = serving.get(&row.partition) else {
                continue;
            };
            if row.epoch < *epoch {
                ahead.insert(row.partition, *epoch);
            }
            let forgotten = row.epoch < *epoch && self.ahead.get(&row.partition) == Some(epoch);
            if row.epoch > *epoch || forgotten {
                lost.push(row.partition);
            }
        }
        self.ahead = ahead;
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: PartitionId = PartitionId::new(1);
    const TWO: PartitionId = PartitionId::new(2);

    /// Looks at rows under epoch 7 while partition one is served under `epoch` and two under 7.
    fn look(lost: &mut Lost, epoch: u64) -> Vec<PartitionId> {
        let rows = [ONE, TWO].map(|partition| PartitionRow {
            partition,
            epoch: Epoch::new(7),
            owner: None,
        });
        let serving = BTreeMap::from([(ONE, Epoch::new(epoch)), (TWO, Epoch::new(7))]);
        lost.look(1, &rows, &serving)
    }

    #[test]
    fn a_row_that_has_moved_on_is_lost_at_once() {
        assert_eq!(look(&mut Lost::default(), 6), [ONE]);
    }

    #[test]
    fn a_row_that_lags_is_lost_at_the_second_look_under_the_same_epoch() {
        let mut lost = Lost::default();
        assert_eq!(
            look(&mut lost, 8),
            [],
            "it may have begun before the acquire"
        );
        assert_eq!(
            look(&mut lost, 9),
            [],
            "and this one before a later acquire"
        );
        assert_eq!(look(&mut lost, 9), [ONE]);
        assert_eq!(look(&mut lost, 7), [], "the rows know this one");
        assert_eq!(
            look(&mut lost, 9),
            [],
            "nothing older than one look is remembered"
        );
    }

    #[test]
    fn another_line_of_history_contradicts_everything_once() {
        let rows = [ONE, TWO].map(|partition| PartitionRow {
            partition,
            epoch: Epoch::new(7),
            owner: None,
        });
        let serving = BTreeMap::from([(ONE, Epoch::new(7))]);
        let mut lost = Lost::default();
        assert_eq!(
            lost.look(5, &rows, &serving),
            [],
            "there is no before at the first look"
        );
        assert_eq!(lost.look(5, &rows, &serving), []);
        // Also what is only being taken up.
        assert_eq!(lost.look(6, &rows, &serving), [ONE, TWO]);
        assert_eq!(lost.look(6, &rows, &serving), []);
        // A restore may also lead back.
        assert_eq!(lost.look(5, &rows, &serving), [ONE, TWO]);
    }
}

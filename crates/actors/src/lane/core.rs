//! What follows from the end of a statement: the table in `lane.rs`, row by row, without I/O.
//!
//! The shell sends what [`LaneCore::draw`] gives, brings the outcome to [`LaneCore::settle`] and delivers what comes back. It looks an id
//! up when asked to ([`Settled::LookUp`]) and brings what it found to [`LaneCore::explained`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use hubbub_domain::position::{Epoch, PartitionId};
use hubbub_event_log::{AppendOutcome, Conflict, MarkerUpdate, Refusal};
use hubbub_wire::bus::OwnerReply;
use hubbub_wire::stored::EventRow;

use crate::answer::unavailable;
use crate::conversation::core::Unread;
use crate::conversation::turn::{Round, TakeBack};
use crate::lane::Report;
use crate::lane::queue::{Drawn, LaneQueue, LaneRow};
use crate::sabotage;

/// Conflicts in a row on a command id that no look-up finds: then the log contradicts itself, and repeating would never end.
const UNEXPLAINED_MAX: u8 = 3;

/// How much longer than now a command must have to stay, when its partition is judged again because another one has expired. Judging
/// again costs every command its place in the queue, so it must not happen with every statement of an overloaded lane.
pub(crate) const EXPIRE_AHEAD: Duration = Duration::from_millis(250);

/// The queue of a lane and every decision about what was drawn from it.
#[derive(Debug, Default)]
pub struct LaneCore {
    queue: LaneQueue,
    /// Conflicts in a row that no look-up explained.
    unexplained: u8,
}

/// Something for the partition that is open here under that epoch.
#[derive(Debug)]
pub struct Told {
    /// Which.
    pub partition: PartitionId,
    /// Under which epoch; a partition that has another by now is not meant.
    pub epoch: Epoch,
    /// What.
    pub report: Report,
}

/// What follows from an outcome.
#[derive(Debug)]
pub enum Settled {
    /// Tell these.
    Told(Vec<Told>),
    /// Nothing of it is stored, because one of its command ids is in the log already: which? The answer goes to
    /// [`LaneCore::explained`], together with this.
    LookUp(Drawn),
}

impl LaneCore {
    /// Begins to take rows of a partition; what waits of an older ownership is dropped. `false` when it is open under a later epoch already:
    /// who comes so late, over a lane that was away perhaps, owns nothing any more, and the later one goes on undisturbed.
    pub fn open(&mut self, partition: PartitionId, epoch: Epoch) -> bool {
        if self.queue.epoch(partition) > Some(epoch) {
            return false;
        }
        self.queue.open(partition, epoch);
        true
    }

    /// Drops what waits of a partition, unless it has been opened under another epoch since.
    pub fn close(&mut self, partition: PartitionId, epoch: Epoch) {
        self.queue.close(partition, epoch);
    }

    /// Adds a row, unless its ownership or its round is over.
    pub fn push(&mut self, partition: PartitionId, epoch: Epoch, round: Round, row: LaneRow) {
        self.queue.push(partition, epoch, round, row);
    }

    /// Adds a marker write.
    pub fn push_markers(
        &mut self,
        partition: PartitionId,
        epoch: Epoch,
        markers: Vec<MarkerUpdate>,
    ) {
        self.queue.push_markers(partition, epoch, markers);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Rows that wait.
    pub fn rows(&self) -> usize {
        self.queue.rows()
    }

    /// Bytes of the rows that wait.
    pub fn bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// The next batch of rows.
    pub fn draw(&mut self) -> Drawn {
        self.queue.draw()
    }

    /// The next marker write, over partitions: fence and updates, ascending by partition.
    pub fn draw_markers(&mut self) -> (Vec<(PartitionId, Epoch)>, Vec<MarkerUpdate>) {
        self.queue.draw_markers()
    }

    /// How a batch ended. Whatever is not certainly stored and not certainly absent leaves Serving: only a new epoch may look.
    pub fn settle(&mut self, drawn: Drawn, outcome: &AppendOutcome) -> Settled {
        if *outcome == AppendOutcome::Conflict(Conflict::Command) {
            return Settled::LookUp(drawn);
        }
        self.unexplained = 0;
        Settled::Told(match outcome {
            AppendOutcome::Done { committed, fenced } => self.done(&drawn, committed, fenced),
            AppendOutcome::Refused(refusal) => {
                let how = TakeBack::Answer(refused(*refusal));
                self.take_back_all(&drawn, &how)
            }
            AppendOutcome::Unknown if sabotage::RETRY_SAME_EPOCH => {
                self.take_back_all(&drawn, &TakeBack::Rerun { found: Vec::new() })
            }
            AppendOutcome::Unknown | AppendOutcome::Conflict(Conflict::Hole) => {
                self.leave(&drawn, || Report::InDoubt)
            }
            AppendOutcome::Conflict(Conflict::Command | Conflict::Position)
            | AppendOutcome::Broken => self.leave(&drawn, || Report::Broken),
        })
    }

    fn done(
        &mut self,
        drawn: &Drawn,
        committed: &[PartitionId],
        fenced: &[PartitionId],
    ) -> Vec<Told> {
        let committed: BTreeSet<PartitionId> = committed.iter().copied().collect();
        let fenced: BTreeSet<PartitionId> = fenced.iter().copied().collect();
        let mut told = Vec::with_capacity(drawn.parts.len());
        for (partition, part) in &drawn.parts {
            let (partition, epoch) = (*partition, part.epoch);
            let report = match (committed.contains(&partition), fenced.contains(&partition)) {
                (true, false) => {
                    let Some(last) = part.rows.last() else {
                        continue;
                    };
                    Report::Committed {
                        through: last.row.offset,
                        rows: part.rows.len(),
                    }
                }
                (false, true) => Report::Fenced,
                // Both or neither: the answer makes no sense.
                (true, true) | (false, false) => Report::Broken,
            };
            if !matches!(report, Report::Committed { .. }) {
                self.queue.close(partition, epoch);
            }
            told.push(Told {
                partition,
                epoch,
                report,
            });
        }
        told
    }

    /// What the look-up of a refused batch's ids found, or that it could not be made.
    pub fn explained(&mut self, drawn: Drawn, found: Result<Vec<EventRow>, Unread>) -> Vec<Told> {
        let found = match found {
            Ok(found) => found,
            // Certainly nothing of this batch is stored. But one of its commands repeats something that is, and nobody can say which.
            Err(Unread) => {
                return self.take_back_all(&drawn, &TakeBack::Answer(OwnerReply::Unknown));
            }
        };
        if found.is_empty() {
            self.unexplained = self.unexplained.saturating_add(1);
            if self.unexplained >= UNEXPLAINED_MAX {
                return self.leave(&drawn, || Report::Broken);
            }
        } else {
            self.unexplained = 0;
        }
        let mut found_in: BTreeMap<PartitionId, Vec<EventRow>> = BTreeMap::new();
        for row in found {
            found_in.entry(row.partition).or_default().push(row);
        }
        let mut told = Vec::new();
        for (partition, part) in drawn.parts {
            match found_in.remove(&partition) {
                Some(found) => {
                    let how = TakeBack::Rerun { found };
                    told.extend(self.take_back(partition, part.epoch, how));
                }
                // Still right as it is: nothing of its partition has moved.
                None => self.queue.put_back(partition, part),
            }
        }
        told
    }

    /// How a marker write ended. It has no uniqueness to violate and only raises values, so whatever is open is simply written again.
    pub fn settle_markers(
        &mut self,
        fence: &[(PartitionId, Epoch)],
        outcome: &AppendOutcome,
    ) -> Vec<Told> {
        let mut told = Vec::with_capacity(fence.len());
        for (partition, epoch) in fence {
            let report = match outcome {
                AppendOutcome::Done { committed, .. } if committed.contains(partition) => {
                    Report::MarkersStored
                }
                AppendOutcome::Done { fenced, .. } if fenced.contains(partition) => {
                    self.queue.close(*partition, *epoch);
                    Report::Fenced
                }
                AppendOutcome::Refused(refusal) => Report::MarkersRefused { refusal: *refusal },
                AppendOutcome::Done { .. }
                | AppendOutcome::Unknown
                | AppendOutcome::Broken
                | AppendOutcome::Conflict(_) => Report::MarkersUnknown,
            };
            told.push(Told {
                partition: *partition,
                epoch: *epoch,
                report,
            });
        }
        told
    }

    /// Commands past their deadline are dropped before the append: their partitions judge again without them, and without those that
    /// would be next.
    pub fn expire(&mut self, now: Instant) -> Vec<Told> {
        let expired = self.queue.expired(now);
        let mut told = Vec::with_capacity(expired.len());
        for partition in expired {
            if let Some(epoch) = self.queue.epoch(partition) {
                let until = now + EXPIRE_AHEAD;
                told.extend(self.take_back(partition, epoch, TakeBack::Expired { until }));
            }
        }
        told
    }

    fn leave(&mut self, drawn: &Drawn, report: impl Fn() -> Report) -> Vec<Told> {
        let mut told = Vec::with_capacity(drawn.parts.len());
        for (partition, part) in &drawn.parts {
            self.queue.close(*partition, part.epoch);
            told.push(Told {
                partition: *partition,
                epoch: part.epoch,
                report: report(),
            });
        }
        told
    }

    fn take_back_all(&mut self, drawn: &Drawn, how: &TakeBack) -> Vec<Told> {
        drawn
            .parts
            .iter()
            .filter_map(|(partition, part)| self.take_back(*partition, part.epoch, how.clone()))
            .collect()
    }

    /// Takes back what waits of a partition and was not sent, or was sent and certainly not stored.
    fn take_back(&mut self, partition: PartitionId, epoch: Epoch, how: TakeBack) -> Option<Told> {
        if self.queue.epoch(partition) != Some(epoch) {
            return None;
        }
        let round = self.queue.take_back(partition)?;
        Some(Told {
            partition,
            epoch,
            report: Report::TakenBack { round, how },
        })
    }
}

/// What a caller hears of a refusal.
pub(crate) fn refused(refusal: Refusal) -> OwnerReply {
    match refusal {
        Refusal::StorageFull => OwnerReply::StorageFull,
        Refusal::Unfit | Refusal::Unavailable => unavailable(),
    }
}

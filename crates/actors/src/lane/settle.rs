//! What follows from the end of a statement: the table in `lane.rs`, row by row.

use std::collections::{BTreeMap, HashSet};

use futures_util::StreamExt;
use hubbub_domain::position::{Epoch, PartitionId};
use hubbub_event_log::{AppendOutcome, Conflict, ReadError, Refusal};
use hubbub_wire::bus::OwnerReply;
use hubbub_wire::stored::EventRow;

use crate::answer::unavailable;
use crate::conversation::turn::TakeBack;
use crate::lane::Report;
use crate::lane::queue::Drawn;
use crate::lane::task::LaneTask;
use crate::shared::Shared;
use crate::stats::as_u64;

/// Look-ups at once after a conflict: a batch of 512 ids is through in a few dozen round trips, and the reading pool is not emptied.
const PROBES_AT_ONCE: usize = 8;
/// Conflicts in a row on a command id that no look-up finds: then the log contradicts itself, and repeating would never end.
const UNEXPLAINED_MAX: u8 = 3;

impl LaneTask {
    pub(super) async fn settle(&mut self, drawn: Drawn, outcome: AppendOutcome) {
        if !matches!(outcome, AppendOutcome::Conflict(Conflict::Command)) {
            self.unexplained = 0;
        }
        match outcome {
            AppendOutcome::Done { committed, fenced } => self.done(&drawn, &committed, &fenced),
            AppendOutcome::Conflict(Conflict::Command) => self.explain_conflict(drawn).await,
            AppendOutcome::Conflict(Conflict::Position) | AppendOutcome::Broken => {
                tracing::error!(
                    rows = drawn.rows(),
                    "the log contradicts what this node believes to own"
                );
                self.leave(&drawn, || Report::Broken);
            }
            AppendOutcome::Refused(refusal) => {
                self.shared.stats.append_refusals.one();
                tracing::warn!(?refusal, rows = drawn.rows(), "append refused");
                for (partition, part) in drawn.parts {
                    let how = TakeBack::Answer(refused(refusal));
                    self.take_back(partition, part.epoch, how);
                }
            }
            AppendOutcome::Unknown => {
                self.shared.stats.append_unknowns.one();
                tracing::warn!(
                    rows = drawn.rows(),
                    "append without an answer: its partitions are in doubt"
                );
                self.leave(&drawn, || Report::InDoubt);
            }
        }
    }

    fn done(&mut self, drawn: &Drawn, committed: &[PartitionId], fenced: &[PartitionId]) {
        let committed: HashSet<PartitionId> = committed.iter().copied().collect();
        let fenced: HashSet<PartitionId> = fenced.iter().copied().collect();
        for (partition, part) in &drawn.parts {
            let (partition, epoch) = (*partition, part.epoch);
            match (committed.contains(&partition), fenced.contains(&partition)) {
                (true, false) => {
                    self.shared
                        .stats
                        .events_committed
                        .add(as_u64(part.rows.len()));
                    if let Some(last) = part.rows.last() {
                        let through = last.row.offset;
                        self.report(partition, epoch, Report::Committed { through });
                    }
                }
                (false, true) => {
                    self.shared.stats.fenced.one();
                    self.report(partition, epoch, Report::Fenced);
                    self.close(partition, epoch);
                }
                (true, true) | (false, false) => {
                    tracing::error!(%partition, "an append says neither or both of stored and fenced");
                    self.report(partition, epoch, Report::Broken);
                    self.close(partition, epoch);
                }
            }
        }
    }

    /// Nothing of the batch is stored, because an id of it is already in the log: which?
    async fn explain_conflict(&mut self, drawn: Drawn) {
        self.shared.stats.append_conflicts.one();
        let found = match look_up(&self.shared, &drawn).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "command ids of a refused append not looked up");
                for (partition, part) in drawn.parts {
                    self.take_back(partition, part.epoch, TakeBack::Answer(unavailable()));
                }
                return;
            }
        };
        if found.is_empty() {
            self.unexplained = self.unexplained.saturating_add(1);
            if self.unexplained >= UNEXPLAINED_MAX {
                tracing::error!(
                    rows = drawn.rows(),
                    "the log refuses command ids that it does not hold"
                );
                self.leave(&drawn, || Report::Broken);
                return;
            }
        } else {
            self.unexplained = 0;
        }
        let mut found_in: BTreeMap<PartitionId, Vec<EventRow>> = BTreeMap::new();
        for row in found {
            found_in.entry(row.partition).or_default().push(row);
        }
        for (partition, part) in drawn.parts {
            match found_in.remove(&partition) {
                Some(found) => self.take_back(partition, part.epoch, TakeBack::Rerun { found }),
                // Still right as it is: nothing of its partition has moved.
                None => self.queue.put_back(partition, part),
            }
        }
    }

    fn leave(&mut self, drawn: &Drawn, report: impl Fn() -> Report) {
        for (partition, part) in &drawn.parts {
            self.report(*partition, part.epoch, report());
            self.close(*partition, part.epoch);
        }
    }

    pub(super) fn settle_markers(
        &mut self,
        fence: &[(PartitionId, Epoch)],
        count: usize,
        outcome: AppendOutcome,
    ) {
        match outcome {
            AppendOutcome::Done { committed, fenced } => {
                self.shared.stats.markers_stored.add(as_u64(count));
                for (partition, epoch) in fence {
                    if committed.contains(partition) {
                        self.report(*partition, *epoch, Report::MarkersStored);
                    } else if fenced.contains(partition) {
                        self.shared.stats.fenced.one();
                        self.report(*partition, *epoch, Report::Fenced);
                        self.close(*partition, *epoch);
                    } else {
                        self.report(*partition, *epoch, Report::MarkersUnknown);
                    }
                }
            }
            AppendOutcome::Refused(refusal) => {
                for (partition, epoch) in fence {
                    self.report(*partition, *epoch, Report::MarkersRefused { refusal });
                }
            }
            // A marker write has no uniqueness to violate; whatever that was, it may be tried again.
            AppendOutcome::Unknown | AppendOutcome::Broken | AppendOutcome::Conflict(_) => {
                for (partition, epoch) in fence {
                    self.report(*partition, *epoch, Report::MarkersUnknown);
                }
            }
        }
    }
}

/// The rows that the log holds under the ids of a batch.
async fn look_up(shared: &Shared, drawn: &Drawn) -> Result<Vec<EventRow>, ReadError> {
    let ids: Vec<_> = drawn
        .parts
        .values()
        .flat_map(|part| part.rows.iter())
        .map(|lane_row| (lane_row.row.conversation, lane_row.row.command_id))
        .collect();
    shared.stats.probes.add(as_u64(ids.len()));
    let log = &shared.log;
    let mut probes = futures_util::stream::iter(ids)
        .map(|(conversation, command)| log.find_command(conversation, command))
        .buffer_unordered(PROBES_AT_ONCE);
    let mut found = Vec::new();
    while let Some(row) = probes.next().await {
        found.extend(row?);
    }
    Ok(found)
}

/// What a caller hears of a refusal.
pub(crate) fn refused(refusal: Refusal) -> OwnerReply {
    match refusal {
        Refusal::StorageFull => OwnerReply::StorageFull,
        Refusal::Unavailable => unavailable(),
    }
}

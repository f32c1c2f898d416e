//! The end of a statement, as the shell lives it: counts, look-ups, telling partitions. The decisions are [`crate::lane::core`]'s.

use futures_util::StreamExt;
use hubbub_event_log::{AppendOutcome, Conflict};
use hubbub_wire::stored::EventRow;

use crate::conversation::core::Unread;
use crate::lane::Report;
use crate::lane::core::{Settled, Told};
use crate::lane::queue::Drawn;
use crate::lane::task::LaneTask;
use crate::shared::Shared;
use crate::stats::as_u64;

/// Look-ups at once after a conflict: a batch of 512 ids is through in a few dozen round trips, and the reading pool is not emptied.
const PROBES_AT_ONCE: usize = 8;

impl LaneTask {
    pub(super) async fn settle(&mut self, drawn: Drawn, outcome: AppendOutcome) {
        let rows = drawn.rows();
        let stats = &self.shared.stats;
        match &outcome {
            AppendOutcome::Done { .. } => {}
            AppendOutcome::Conflict(Conflict::Command) => stats.append_conflicts.one(),
            AppendOutcome::Conflict(Conflict::Hole) => {
                stats.append_conflicts.one();
                tracing::error!(
                    rows,
                    "the log has lost what this node knows to be stored: the partitions of the append are in doubt"
                );
            }
            AppendOutcome::Conflict(Conflict::Position) | AppendOutcome::Broken => {
                tracing::error!(rows, "the log contradicts what this node believes to own");
            }
            AppendOutcome::Refused(refusal) => {
                stats.append_refusals.one();
                tracing::warn!(?refusal, rows, "append refused");
            }
            AppendOutcome::Unknown => {
                stats.append_unknowns.one();
                tracing::warn!(
                    rows,
                    "append without an answer: its partitions are in doubt"
                );
            }
        }
        let told = match self.core.settle(drawn, &outcome) {
            Settled::Told(told) => told,
            Settled::LookUp(drawn) => {
                let found = look_up(&self.shared, &drawn).await;
                self.core.explained(drawn, found)
            }
        };
        self.tell(told);
    }

    /// Brings the core's words to its partitions.
    pub(super) fn tell(&mut self, told: Vec<Told>) {
        for Told {
            partition,
            epoch,
            report,
        } in told
        {
            let stats = &self.shared.stats;
            let mut ends = false;
            match &report {
                Report::Committed { rows, .. } => stats.events_committed.add(as_u64(*rows)),
                Report::TakenBack { .. } => stats.takebacks.one(),
                Report::Fenced => {
                    stats.fenced.one();
                    ends = true;
                }
                Report::InDoubt => ends = true,
                Report::Broken => {
                    tracing::error!(%partition, "the end of an append cannot be explained");
                    ends = true;
                }
                Report::MarkersStored | Report::MarkersRefused { .. } | Report::MarkersUnknown => {}
            }
            self.report(partition, epoch, report);
            if ends {
                self.close(partition, epoch);
            }
        }
    }
}

/// The rows that the log holds under the ids of a batch.
async fn look_up(shared: &Shared, drawn: &Drawn) -> Result<Vec<EventRow>, Unread> {
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
        match row {
            Ok(row) => found.extend(row),
            Err(error) => {
                tracing::warn!(%error, "command ids of a refused append not looked up");
                return Err(Unread);
            }
        }
    }
    Ok(found)
}

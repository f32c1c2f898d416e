//! What an append promises and what its answer means, without any store.
//!
//! Owns: the shape check before a batch is sent, the meaning of "which partitions came back", the rule of a marker, the dense check of a
//! read. Every implementation uses these, so that they cannot disagree.
//!
//! Never: I/O.

use std::collections::BTreeMap;

use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{Epoch, Offset, PartitionId, Seq};
use hubbub_wire::stored::EventRow;

use crate::port::{
    APPEND_BYTES_MAX, APPEND_ROWS_MAX, AppendBatch, AppendOutcome, Marker, MarkerUpdate,
    READ_ROWS_MAX, ReadError, Refusal,
};

/// A batch that breaks the promise of [`AppendBatch`]: the writer is wrong, and nothing may be sent.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Misuse {
    #[error("{0} rows or markers in one batch, at most {APPEND_ROWS_MAX}")]
    TooManyRows(usize),
    #[error("{0} bytes in one batch, at most {APPEND_BYTES_MAX}")]
    TooManyBytes(usize),
    #[error("the partitions of the fence are not strictly ascending")]
    FenceNotAscending,
    #[error("a row or marker of partition {0} has no matching epoch in the fence")]
    NotInFence(PartitionId),
    #[error("the rows are not ascending and dense at partition {0} offset {1}")]
    NotDense(PartitionId, Offset),
}

impl Misuse {
    /// Says it once, and gives the definite no that the caller sees: nothing was sent.
    pub(crate) fn refuse(&self) -> AppendOutcome {
        tracing::error!(misuse = %self, "an append was refused before it was sent: the writer breaks its promise");
        AppendOutcome::Refused(Refusal::Unavailable)
    }
}

/// How many rows each partition of a sound batch has; zero for a partition that only stands in the fence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected(BTreeMap<PartitionId, u64>);

impl Expected {
    /// Checks the batch against the promise and counts.
    pub(crate) fn of_batch(batch: &AppendBatch) -> Result<Self, Misuse> {
        if batch.rows.len() > APPEND_ROWS_MAX {
            return Err(Misuse::TooManyRows(batch.rows.len()));
        }
        let bytes = batch
            .rows
            .iter()
            .map(EventRow::size_bytes)
            .fold(0, usize::saturating_add);
        if bytes > APPEND_BYTES_MAX {
            return Err(Misuse::TooManyBytes(bytes));
        }
        let epochs = fence_map(&batch.fence)?;
        let mut counts: BTreeMap<PartitionId, u64> =
            epochs.keys().map(|&partition| (partition, 0)).collect();
        let mut last: Option<&EventRow> = None;
        for row in &batch.rows {
            let dense = match last {
                Some(before) if before.partition == row.partition => {
                    row.offset == before.offset.next()
                }
                Some(before) => row.partition > before.partition,
                None => true,
            };
            if !dense || row.offset == Offset::ZERO || row.seq == Seq::ZERO {
                return Err(Misuse::NotDense(row.partition, row.offset));
            }
            match counts.get_mut(&row.partition) {
                Some(count) if epochs.get(&row.partition) == Some(&row.epoch) => {
                    *count = count.saturating_add(1);
                }
                _ => return Err(Misuse::NotInFence(row.partition)),
            }
            last = Some(row);
        }
        Ok(Self(counts))
    }

    /// Checks markers against their fence; what comes back counts as present or absent only.
    pub(crate) fn of_markers(
        fence: &[(PartitionId, Epoch)],
        markers: &[MarkerUpdate],
    ) -> Result<Self, Misuse> {
        if markers.len() > APPEND_ROWS_MAX {
            return Err(Misuse::TooManyRows(markers.len()));
        }
        let epochs = fence_map(fence)?;
        match markers
            .iter()
            .find(|update| !epochs.contains_key(&update.partition))
        {
            Some(stray) => Err(Misuse::NotInFence(stray.partition)),
            None => Ok(Self(
                epochs.into_keys().map(|partition| (partition, 0)).collect(),
            )),
        }
    }

    /// The meaning of a reply: partitions that passed the fence with their stored rows.
    ///
    /// All rows present = committed, partition absent = fenced off, anything else cannot be.
    pub(crate) fn outcome(
        &self,
        stored: impl IntoIterator<Item = (PartitionId, u64)>,
    ) -> AppendOutcome {
        let mut committed = Vec::with_capacity(self.0.len());
        for (partition, rows) in stored {
            if self.0.get(&partition) != Some(&rows) || committed.contains(&partition) {
                tracing::error!(%partition, rows, "the store answered with rows that were not asked for, or only a part");
                return AppendOutcome::Broken;
            }
            committed.push(partition);
        }
        committed.sort_unstable();
        let fenced = self
            .0
            .keys()
            .copied()
            .filter(|partition| committed.binary_search(partition).is_err())
            .collect();
        AppendOutcome::Done { committed, fenced }
    }
}

fn fence_map(fence: &[(PartitionId, Epoch)]) -> Result<BTreeMap<PartitionId, Epoch>, Misuse> {
    if fence.is_sorted_by(|(one, _), (next, _)| one < next) {
        Ok(fence.iter().copied().collect())
    } else {
        Err(Misuse::FenceNotAscending)
    }
}

/// What a stored marker becomes when `wanted` is written over it; `None` when it stays.
///
/// A max-register within a generation; a higher generation replaces everything, a lower one is late and changes nothing.
pub(crate) fn advance(stored: &Marker, wanted: &Marker) -> Option<Marker> {
    if wanted.generation != stored.generation {
        return (wanted.generation > stored.generation).then_some(*wanted);
    }
    let reads_on = wanted.read_no > stored.read_no;
    let next = Marker {
        read_no: stored.read_no.max(wanted.read_no),
        own_after: if reads_on {
            wanted.own_after
        } else {
            stored.own_after
        },
        delivered_no: stored.delivered_no.max(wanted.delivered_no),
        ..*stored
    };
    (next != *stored).then(|| Marker {
        at: stored.at.max(wanted.at),
        ..next
    })
}

/// One update per member and conversation, ascending by both: a statement may touch a row once.
pub(crate) fn coalesce(markers: Vec<MarkerUpdate>) -> Vec<MarkerUpdate> {
    let mut merged: BTreeMap<(ConversationId, UserId), MarkerUpdate> = BTreeMap::new();
    for update in markers {
        merged
            .entry((update.marker.conversation, update.marker.user))
            .and_modify(|earlier| {
                if let Some(next) = advance(&earlier.marker, &update.marker) {
                    earlier.marker = next;
                }
            })
            .or_insert(update);
    }
    merged.into_values().collect()
}

/// A limit that a read may use: at least one row, at most [`READ_ROWS_MAX`].
pub(crate) fn read_limit(limit: usize) -> usize {
    limit.clamp(1, READ_ROWS_MAX)
}

/// Rows of a tail must follow `after` without a hole; a hole is an alarm, never skipped.
pub(crate) fn dense_tail(
    partition: PartitionId,
    after: Offset,
    rows: Vec<EventRow>,
) -> Result<Vec<EventRow>, ReadError> {
    let mut expected = after.next();
    for row in &rows {
        if row.offset != expected {
            return Err(ReadError::Inconsistent(format!(
                "partition {partition} has offset {} where {expected} belongs",
                row.offset
            )));
        }
        expected = expected.next();
    }
    Ok(rows)
}

/// Rows of a conversation must begin at `from` and go on without a hole.
pub(crate) fn dense_conversation(
    conversation: ConversationId,
    from: Seq,
    rows: Vec<EventRow>,
) -> Result<Vec<EventRow>, ReadError> {
    let mut expected = from.max(Seq::new(1));
    for row in &rows {
        if row.seq != expected {
            return Err(ReadError::Inconsistent(format!(
                "conversation {conversation} has seq {} where {expected} belongs",
                row.seq
            )));
        }
        expected = expected.next();
    }
    Ok(rows)
}

#[cfg(test)]
mod tests;

//! The log's tail over projected rows: what has been committed but not yet projected.

use std::sync::Arc;

use hubbub_domain::ids::ConversationId;
use hubbub_domain::position::{PartitionId, Seq};
use hubbub_event_log::{LogReader, ReadError};
use hubbub_wire::stored::EventRow;

use crate::model::Entry;
use crate::port::QueryError;

/// Events of one conversation that a query folds at most; further behind, the read models are called unavailable (ARCHITECTURE.md §8).
pub const TAIL_EVENTS_MAX: usize = 10_000;
/// Events read at once.
pub(crate) const TAIL_PAGE: usize = 1_000;

/// Reads the tail of conversations and partitions.
#[derive(Clone)]
pub(crate) struct Tail {
    log: Arc<dyn LogReader>,
}

impl Tail {
    pub(crate) fn new(log: Arc<dyn LogReader>) -> Self {
        Self { log }
    }

    pub(crate) fn log(&self) -> &dyn LogReader {
        &*self.log
    }

    /// Every event of a conversation after `after`, ascending.
    pub(crate) async fn of_conversation(
        &self,
        conversation: ConversationId,
        after: Seq,
    ) -> Result<Vec<Entry>, QueryError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut from = after.next();
        loop {
            let rows = self
                .log
                .read_conversation(conversation, from, TAIL_PAGE)
                .await?;
            let full = rows.len() >= TAIL_PAGE;
            for row in &rows {
                let entry = decode(row)?;
                from = entry.recorded.seq.next();
                entries.push(entry);
            }
            if !full {
                return Ok(entries);
            }
            if entries.len() >= TAIL_EVENTS_MAX {
                return Err(too_far_behind());
            }
        }
    }

    /// Events of partitions after their checkpoints up to what is durable now. `None` when there are more than [`TAIL_EVENTS_MAX`].
    pub(crate) async fn of_partitions(
        &self,
        checkpoints: &[(PartitionId, hubbub_domain::position::Offset)],
    ) -> Result<Option<Vec<(PartitionId, Entry)>>, QueryError> {
        let projected: std::collections::HashMap<_, _> = checkpoints.iter().copied().collect();
        let mut entries = Vec::new();
        for head in self.log.heads(&[]).await? {
            let mut after = projected.get(&head.partition).copied().unwrap_or_default();
            while after < head.head {
                let rows = match self.log.tail(head.partition, after, TAIL_PAGE).await {
                    Ok(rows) => rows,
                    // A hole is reported where it is found; it must not take everyone's inbox with it.
                    Err(ReadError::Inconsistent(what)) => {
                        tracing::error!(partition = %head.partition, %what, "leave out an inconsistent partition");
                        break;
                    }
                    Err(error) => return Err(error.into()),
                };
                let Some(last) = rows.last() else { break };
                after = last.offset;
                for row in &rows {
                    // A row that cannot be read parks its own conversation; it must not hide everyone else's inbox.
                    if let Ok(entry) = decode(row) {
                        entries.push((head.partition, entry));
                    }
                }
                if entries.len() > TAIL_EVENTS_MAX {
                    return Ok(None);
                }
            }
        }
        Ok(Some(entries))
    }
}

pub(crate) fn decode(row: &EventRow) -> Result<Entry, QueryError> {
    let recorded = row
        .decode()
        .map_err(|error| QueryError::Inconsistent(error.to_string()))?;
    Ok(Entry {
        epoch: row.epoch,
        offset: row.offset,
        recorded,
    })
}

pub(crate) fn too_far_behind() -> QueryError {
    QueryError::Unavailable("read models are too far behind the log".into())
}

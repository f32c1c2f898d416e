//! The log's tail over projected rows: what has been committed but not yet projected.

mod kept;

use std::collections::HashMap;
use std::sync::Arc;

use hubbub_domain::ids::ConversationId;
use hubbub_domain::position::{Offset, PartitionId, Seq};
use hubbub_event_log::{LogReader, ReadError};
use hubbub_wire::stored::EventRow;

use crate::model::Entry;
use crate::port::QueryError;
use crate::tail::kept::Kept;

/// Events of one conversation that a query folds at most; further behind, the read models are called unavailable (ARCHITECTURE.md §8).
pub const TAIL_EVENTS_MAX: usize = 10_000;
/// Events of all partitions that a reader keeps in memory while projectors are behind: a minute of 3,000 messages a second. Further behind,
/// the inbox asks conversation by conversation.
pub const KEPT_EVENTS_MAX: usize = 200_000;
/// Bytes of the events that a reader keeps, about.
pub const KEPT_BYTES_MAX: usize = 64 << 20;
/// Events read at once.
pub(crate) const TAIL_PAGE: usize = 1_000;

/// Reads the tail of conversations and partitions.
#[derive(Clone)]
pub(crate) struct Tail {
    log: Arc<dyn LogReader>,
    kept: Arc<Kept>,
}

impl Tail {
    pub(crate) fn new(log: Arc<dyn LogReader>) -> Self {
        Self::keeping(log, KEPT_EVENTS_MAX)
    }

    pub(crate) fn keeping(log: Arc<dyn LogReader>, events_max: usize) -> Self {
        Self {
            log,
            kept: Arc::new(Kept::new(events_max, KEPT_BYTES_MAX)),
        }
    }

    /// The log itself.
    pub(crate) fn log_shared(&self) -> Arc<dyn LogReader> {
        Arc::clone(&self.log)
    }

    /// Events and bytes kept now.
    pub(crate) fn kept(&self) -> (usize, usize) {
        self.kept.size()
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

    /// Events of partitions after their checkpoints up to what is durable now. `None` when there are more than may be kept.
    ///
    /// What was read before is not read again: a projector that stands still for a minute would otherwise cost every inbox a minute's events.
    pub(crate) async fn of_partitions(
        &self,
        checkpoints: &[(PartitionId, Offset)],
    ) -> Result<Option<Vec<(PartitionId, Arc<Entry>)>>, QueryError> {
        let projected: HashMap<_, _> = checkpoints.iter().copied().collect();
        let mut entries = Vec::new();
        for head in self.log.heads(&[]).await? {
            let from = projected.get(&head.partition).copied().unwrap_or_default();
            let (mut after, known) = self.kept.after(head.partition, head.epoch, from);
            let begin = after;
            let mut fresh = Vec::new();
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
                // A row that cannot be read parks its own conversation; it must not hide everyone else's inbox.
                fresh.extend(rows.iter().filter_map(|row| decode(row).ok()).map(Arc::new));
                if entries.len() + known.len() + fresh.len() > self.kept.events_max() {
                    self.kept.forget();
                    return Ok(None);
                }
            }
            self.kept
                .keep(head.partition, head.epoch, (begin, after), &fresh);
            let all = known.into_iter().chain(fresh);
            entries.extend(all.map(|entry| (head.partition, entry)));
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

//! Bringing a conversation's state from the log: newest sound snapshot plus what came after, else everything from the first event.

use hubbub_domain::ids::ConversationId;
use hubbub_event_log::{EventLog, ReadError};
use hubbub_wire::snapshot::SNAPSHOT_VERSION;

use crate::conversation::fold::{Fold, LoadError};
use crate::conversation::turn::Loaded;

/// Rows read at a time: at most 8 MiB of the largest messages, about a millisecond of folding.
const PAGE_ROWS: usize = 512;

/// Brings the state of `conversation`; [`State::absent`] when it has no events.
pub(crate) async fn load(
    log: &dyn EventLog,
    conversation: ConversationId,
) -> Result<Loaded, LoadError> {
    let mut fold = Fold::from_start(conversation);
    if let Some(row) = log
        .load_snapshot(conversation, SNAPSHOT_VERSION)
        .await
        .map_err(read_error)?
    {
        // The event that the snapshot ends with is read again: the pair (epoch, seq) must be in the log.
        let page = log
            .read_conversation(conversation, row.seq, PAGE_ROWS)
            .await
            .map_err(read_error)?;
        match Fold::from_snapshot(&row, &page) {
            Some(resumed) => {
                fold = resumed;
                let rest = page.get(1..).unwrap_or_default();
                fold.rows(rest)?;
                if page.len() < PAGE_ROWS {
                    return Ok(fold.finish());
                }
            }
            None => {
                tracing::warn!(conversation.id = %conversation, seq = %row.seq, "snapshot unsound, folding from the start");
            }
        }
    }
    loop {
        let page = log
            .read_conversation(conversation, fold.next(), PAGE_ROWS)
            .await
            .map_err(read_error)?;
        fold.rows(&page)?;
        if page.len() < PAGE_ROWS {
            return Ok(fold.finish());
        }
    }
}

fn read_error(error: ReadError) -> LoadError {
    match error {
        ReadError::Inconsistent(what) => LoadError::Inconsistent(what),
        ReadError::Unavailable(_) => LoadError::Unavailable(error),
    }
}

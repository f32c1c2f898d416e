//! Bringing a conversation's state from the log: newest sound snapshot plus what came after, else everything from the first event.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hubbub_domain::conversation::{State, evolve};
use hubbub_domain::ids::ConversationId;
use hubbub_domain::position::Seq;
use hubbub_event_log::{EventLog, ReadError, SnapshotRow};
use hubbub_wire::snapshot::{self, SNAPSHOT_VERSION};
use hubbub_wire::stored::{DecodeError, EventRow};

use crate::conversation::origins::Origins;
use crate::conversation::turn::Loaded;

/// Rows read at a time: at most 8 MiB of the largest messages, about a millisecond of folding.
const PAGE_ROWS: usize = 512;

/// Why a state could not be brought.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The next turn tries again.
    #[error("log unavailable: {0}")]
    Unavailable(#[source] ReadError),
    /// Trying again may meet the same: counts against the conversation.
    #[error("folding panicked at seq {at}")]
    Panicked {
        /// The last event that was folded.
        at: Seq,
    },
    /// Trying again will not help: this conversation is out of service until someone looks (F14).
    #[error("read event: {0}")]
    Undecodable(#[from] DecodeError),
    /// As bad: the log has a hole or another conversation's row.
    #[error("log inconsistent: {0}")]
    Inconsistent(String),
}

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
            .read_conversation(conversation, fold.state.last_seq().next(), PAGE_ROWS)
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

/// A state on its way.
struct Fold {
    state: State,
    origins: Origins,
    snapshot: Seq,
}

impl Fold {
    fn from_start(conversation: ConversationId) -> Self {
        Self {
            state: State::absent(conversation),
            origins: Origins::default(),
            snapshot: Seq::ZERO,
        }
    }

    /// `None` when the snapshot does not match what the log holds at its end.
    fn from_snapshot(row: &SnapshotRow, page: &[EventRow]) -> Option<Self> {
        let last = page.first()?;
        if (last.seq, last.epoch) != (row.seq, row.epoch) {
            return None;
        }
        let state = snapshot::decode(row.ver, &row.data)?;
        if (state.id(), state.last_seq()) != (row.conversation, row.seq) {
            return None;
        }
        let mut origins = Origins::default();
        origins.saw(row.seq, row.epoch);
        Some(Self {
            state,
            origins,
            snapshot: row.seq,
        })
    }

    fn rows(&mut self, rows: &[EventRow]) -> Result<(), LoadError> {
        for row in rows {
            let recorded = row.decode()?;
            let next = self.state.last_seq().next();
            if recorded.seq != next || recorded.conversation != self.state.id() {
                return Err(LoadError::Inconsistent(format!(
                    "expected seq {next} of {}, read seq {} of {}",
                    self.state.id(),
                    recorded.seq,
                    recorded.conversation
                )));
            }
            let state = &mut self.state;
            catch_unwind(AssertUnwindSafe(|| evolve(state, &recorded)))
                .map_err(|_panic| LoadError::Panicked { at: next.prev() })?;
            self.origins.saw(row.seq, row.epoch);
        }
        Ok(())
    }

    fn finish(self) -> Loaded {
        Loaded {
            state: self.state,
            origins: self.origins,
            snapshot: self.snapshot,
        }
    }
}

//! A conversation's state from its rows: newest sound snapshot plus what came after, else everything from the first event. Without I/O.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hubbub_domain::conversation::{State, evolve};
use hubbub_domain::ids::ConversationId;
use hubbub_domain::position::Seq;
use hubbub_event_log::{ReadError, SnapshotRow};
use hubbub_wire::snapshot;
use hubbub_wire::stored::{DecodeError, EventRow};

use crate::conversation::origins::Origins;
use crate::conversation::turn::Loaded;

/// Why a state could not be brought.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
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

/// A state on its way.
#[derive(Debug)]
pub struct Fold {
    state: State,
    origins: Origins,
    snapshot: Seq,
}

impl Fold {
    /// Nothing folded yet.
    pub fn from_start(conversation: ConversationId) -> Self {
        Self {
            state: State::absent(conversation),
            origins: Origins::default(),
            snapshot: Seq::ZERO,
        }
    }

    /// `None` when the snapshot does not match what the log holds at its end.
    pub fn from_snapshot(row: &SnapshotRow, page: &[EventRow]) -> Option<Self> {
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

    /// Folds in the rows that follow, which must be the next ones without a hole.
    pub fn rows(&mut self, rows: &[EventRow]) -> Result<(), LoadError> {
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

    /// The seq that is to be read next.
    pub fn next(&self) -> Seq {
        self.state.last_seq().next()
    }

    /// The state as of the last row.
    pub fn finish(self) -> Loaded {
        Loaded {
            state: self.state,
            origins: self.origins,
            snapshot: self.snapshot,
        }
    }
}

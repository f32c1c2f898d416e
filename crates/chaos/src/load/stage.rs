//! What all acts of one run share: the clock, the counters, how long writes waited.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use hubbub_checker::history::Time;
use tokio::sync::watch;
use uuid::Uuid;

use crate::clock::Clock;

/// How long a write waited, from the first time it was asked for to its first ack.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// Where.
    pub conversation: Uuid,
    /// The command.
    pub command: Uuid,
    /// When it was asked for.
    pub asked_at: Time,
    /// When it was acked; `None`: never.
    pub acked_at: Option<Time>,
    /// The node that the sender's connection was at when it asked.
    pub node: u32,
    /// The sender's own connection broke meanwhile, so that the wait is partly that of its way back.
    pub own_line_broke: bool,
}

/// Counters of what was done.
#[derive(Debug, Default)]
pub struct Done {
    /// Messages asked for.
    pub sent: AtomicU64,
    /// Messages acked.
    pub acked: AtomicU64,
    /// Messages definitely refused.
    pub failed: AtomicU64,
    /// Messages whose end nobody knows.
    pub open: AtomicU64,
    /// Attempts that ended without a definite answer.
    pub unknown_attempts: AtomicU64,
    /// Attempts refused for now.
    pub later: AtomicU64,
    /// Deliberate repetitions.
    pub repeated: AtomicU64,
    /// Keys used again with another body.
    pub keys_reused: AtomicU64,
    /// … of these, refused as they must be.
    pub keys_refused: AtomicU64,
    /// History and inbox reads that were answered.
    pub reads: AtomicU64,
    /// Reads that were not.
    pub reads_failed: AtomicU64,
    /// Forced reconnects.
    pub moves: AtomicU64,
    /// People removed, and people added again.
    pub comings_and_goings: AtomicU64,
    /// Marks.
    pub marks: AtomicU64,
    /// Ticks at which too much was under way already.
    pub skipped: AtomicU64,
}

/// Adds one.
pub fn one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Its value.
pub fn value(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Shared by all acts.
#[derive(Debug)]
pub struct Stage {
    /// The clock of the run.
    pub clock: Clock,
    /// What was done.
    pub done: Done,
    waits: Mutex<Vec<Wait>>,
    over: watch::Sender<bool>,
}

impl Stage {
    /// Nothing has happened.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            done: Done::default(),
            waits: Mutex::default(),
            over: watch::Sender::new(false),
        }
    }

    /// Notes how long a write waited.
    pub fn waited(&self, wait: Wait) {
        self.waits
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(wait);
    }

    /// All waits so far.
    pub fn waits(&self) -> Vec<Wait> {
        self.waits
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Nobody tries anything again.
    pub fn give_up(&self) {
        self.over.send_replace(true);
    }

    /// Returns when everybody is to give up.
    pub async fn given_up(&self) {
        let mut over = self.over.subscribe();
        // An error means that the stage is gone, which is the end as well.
        let _is_over = over.wait_for(|over| *over).await;
    }
}

//! What can go wrong on order: lost answers, late statements, refusals, waiting, absence.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::Statement;
use crate::port::Refusal;

/// How an append ends although nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Stored, and the answer is lost.
    UnknownApplied,
    /// Lost on the way, and so is the answer.
    UnknownNotApplied,
    /// The answer is lost and the statement still travels: it reaches the store with [`super::MemoryLog::release_late`].
    UnknownLate,
    /// A definite no.
    Refused(Refusal),
}

/// The store is away, as ordered.
#[derive(Debug, thiserror::Error)]
#[error("the memory log was told to be unavailable")]
pub(super) struct Away;

#[derive(Debug)]
pub(super) struct Faults {
    ordered: Mutex<VecDeque<Fault>>,
    late: Mutex<Vec<Statement>>,
    /// How many [`Held`] values live.
    holds: Arc<watch::Sender<usize>>,
    waiting: AtomicUsize,
    away: AtomicBool,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            ordered: Mutex::default(),
            late: Mutex::default(),
            holds: Arc::new(watch::Sender::new(0)),
            waiting: AtomicUsize::new(0),
            away: AtomicBool::new(false),
        }
    }
}

impl Faults {
    pub(super) fn queue(&self, fault: Fault) {
        self.ordered.lock().push_back(fault);
    }

    pub(super) fn next(&self) -> Option<Fault> {
        self.ordered.lock().pop_front()
    }

    pub(super) fn keep_late(&self, statement: Statement) {
        self.late.lock().push(statement);
    }

    pub(super) fn take_late(&self) -> Vec<Statement> {
        std::mem::take(&mut self.late.lock())
    }

    pub(super) fn hold(&self) -> Held {
        self.holds.send_modify(|holds| *holds += 1);
        Held {
            holds: Arc::clone(&self.holds),
        }
    }

    pub(super) fn is_holding(&self) -> bool {
        *self.holds.borrow() > 0
    }

    pub(super) fn held(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) async fn wait_while_held(&self) {
        if !self.is_holding() {
            return;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // The sender lives in `self`, so the channel cannot be closed while this waits.
        let mut holds = self.holds.subscribe();
        let _open = holds.wait_for(|holds| *holds == 0).await.is_ok();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    pub(super) fn check(&self) -> Result<(), Away> {
        if self.away.load(Ordering::Relaxed) {
            Err(Away)
        } else {
            Ok(())
        }
    }
}

/// Appends wait while this lives; see [`super::MemoryLog::hold_appends`].
#[derive(Debug)]
pub struct Held {
    holds: Arc<watch::Sender<usize>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.holds.send_modify(|holds| *holds -= 1);
    }
}

//! The judge of every run: invariants I1 to I18 as functions over what a run has recorded.
//!
//! Owns: the words in which a run is told ([`History`]: attempts and their ends, frames before anybody put them in order,
//! what applications were told, what was read, what the log holds) and what must be true of it ([`check`]). The simulator,
//! the runs with real processes and the end-to-end tests write the same history and are judged by the same code.
//!
//! A part of a history that a run cannot know stays empty, and the invariants that need it look at nothing:
//! [`Report::examined`] says how much each one has seen, so that silence is not taken for proof.
//!
//! Never: I/O, a clock, randomness, a panic on a broken history (to tell what broke is the point), more than about
//! n log n work.
//!
//! Start reading at [`History`], then [`check`] and [`Invariant`].

pub mod history;
pub mod limits;
pub mod report;

mod index;
mod invariants;

pub use history::{
    Access, AccessChange, Delivery, Digest, Event, Fact, Fold, FoldKind, Frame, FrameSeen, Golden,
    Happened, Healing, Heals, History, InboxEntry, Level, LineageRow, LogRow, Loss, Message, Meta,
    Operation, OperationKind, Outcome, OwnerSeen, Place, Read, Reading, Record, Socket,
    Subscription, Time, Told,
};
pub use limits::Limits;
pub use report::{Counter, Invariant, Report, Violation};

use index::Index;

/// Judges a run.
pub fn check(history: &History, limits: &Limits) -> Report {
    let index = Index::of(history);
    invariants::all(&index, limits)
}

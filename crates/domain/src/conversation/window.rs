//! The commands that stored an event lately: how a repetition is recognised without asking the log (P3).
//!
//! Every event has one command, so the window is an unbroken run of seqs that ends at the head. What has left it is known only to
//! the log; [`must_probe`] says when the log has to be asked.

use std::collections::{HashMap, VecDeque};

use crate::conversation::limits::{
    COMMAND_ID_AHEAD_MS_MAX, DEDUPE_AGE_MS, DEDUPE_COMMANDS_MAX, DEDUPE_COMMANDS_MIN,
};
use crate::conversation::state::{RecentCommand, State};
use crate::ids::{CommandId, UserId};
use crate::position::Seq;
use crate::time::Timestamp;

/// A command that stored an event, and who gave it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AuthoredCommand {
    /// Who gave it.
    pub by: UserId,
    /// What it stored.
    pub command: RecentCommand,
}

/// The commands of the last ten minutes, at least [`DEDUPE_COMMANDS_MIN`] and at most [`DEDUPE_COMMANDS_MAX`] of them.
///
/// Time is that of the events, never a clock: a replay gives the same window.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DedupeWindow {
    /// Ascending and dense by seq.
    order: VecDeque<AuthoredCommand>,
    /// Where an id is in `order`, by seq, so that trimming the front moves nothing.
    by_id: HashMap<CommandId, Seq>,
    /// Time of the newest command that has left.
    forgotten_until: Option<Timestamp>,
}

impl DedupeWindow {
    /// A window with exactly these commands, ascending by seq, for restoring a snapshot.
    pub(crate) fn restore(
        commands: Vec<AuthoredCommand>,
        forgotten_until: Option<Timestamp>,
    ) -> Self {
        let by_id = commands
            .iter()
            .map(|entry| (entry.command.id, entry.command.seq))
            .collect();
        Self {
            order: commands.into(),
            by_id,
            forgotten_until,
        }
    }

    pub(crate) fn get(&self, id: CommandId) -> Option<&AuthoredCommand> {
        let seq = *self.by_id.get(&id)?;
        let first = self.order.front()?.command.seq;
        let index = usize::try_from(seq.since(first)).ok()?;
        self.order.get(index).filter(|entry| entry.command.id == id)
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &AuthoredCommand> {
        self.order.iter()
    }

    pub(crate) fn forgotten_until(&self) -> Option<Timestamp> {
        self.forgotten_until
    }

    /// Remembers the command of the newest event and forgets what the limits no longer hold.
    pub(crate) fn push(&mut self, by: UserId, command: RecentCommand) {
        self.order.push_back(AuthoredCommand { by, command });
        self.by_id.insert(command.id, command.seq);
        while self.order.len() > DEDUPE_COMMANDS_MIN {
            let Some(oldest) = self.order.front().map(|entry| entry.command) else {
                break;
            };
            let too_many = self.order.len() > DEDUPE_COMMANDS_MAX;
            let too_old = command.at.millis_since(oldest.at) > DEDUPE_AGE_MS;
            if !(too_many || too_old) {
                break;
            }
            self.order.pop_front();
            self.forgotten_until = Some(oldest.at);
            // Only if it still points there: a log with one id twice must not make the newer one disappear.
            if self.by_id.get(&oldest.id) == Some(&oldest.seq) {
                self.by_id.remove(&oldest.id);
            }
        }
    }
}

/// Whether the log must be asked for `id` before an event is appended for it (PROTOCOL.md, Idempotency).
///
/// - An id in the window: no; the answer is known.
/// - Nothing has ever left the window: no; it is the whole conversation.
/// - `retry` (marked by the client, or comes by REST): yes.
/// - Otherwise the id must prove that it is younger than what was forgotten: a `UUIDv7` made after
///   [`State::forgotten_until`]. One from the future proves nothing.
///
/// A client's clock may err, so a "no" is not a proof; the log's unique index is.
pub fn must_probe(state: &State, id: CommandId, retry: bool, now: Timestamp) -> bool {
    let Some(forgotten_until) = state.forgotten_until() else {
        return false;
    };
    if state.recent(id).is_some() {
        return false;
    }
    let Some(made_at) = id.made_at() else {
        return true;
    };
    retry || made_at <= forgotten_until || made_at > now.plus_millis(COMMAND_ID_AHEAD_MS_MAX)
}

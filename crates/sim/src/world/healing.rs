//! After healing: when everything has an owner again, when everyone is at the head, and when it is time to judge.
//!
//! Never: a judgement.

use hubbub_domain::ids::ConversationId;
use hubbub_event_log::{LogReader, Ownership};
use hubbub_projections::ReadModels;

use super::{JUDGED_AT_LAST_MS, QUIET_MS, World};
use crate::client::Client;
use crate::database::now;
use crate::weather::Act;
use crate::wires::{Event, To};

/// How long after everyone is at the head the last reads are made.
const SETTLED_MS: u64 = 2_000;
/// How long those reads have.
const LAST_READS_MS: u64 = 4_000;

impl World {
    pub(super) fn watch_healing(&mut self) {
        if self.owned_ms.is_none() && self.is_owned() {
            self.owned_ms = Some(self.wires.now_ms);
        }
        if self.heads_ms.is_none() && self.owned_ms.is_some() && self.is_at_heads() {
            self.heads_ms = Some(self.wires.now_ms);
            self.settled_ms = self.heads_ms;
        }
        let now = self.wires.now_ms;
        let is_settled = self
            .settled_ms
            .is_some_and(|since| now >= since.saturating_add(SETTLED_MS));
        let is_late = self
            .healed_ms
            .is_some_and(|healed| now >= healed.saturating_add(QUIET_MS - LAST_READS_MS));
        if self.finished_ms.is_none() && (is_late || (is_settled && self.is_at_heads())) {
            self.finished_ms = Some(now);
            for client in &mut self.clients {
                client.last_reads(&mut self.wires);
            }
            self.wires.after(LAST_READS_MS, Event::Act(Act::Judge));
        }
    }

    /// Whether it is time to judge. Where a conversation cannot be read its commands are said again without end, and those behind them are
    /// stored when nobody expects it any more: then the last looks are taken once more.
    pub(super) fn is_over(&mut self, now: u64) -> bool {
        let healed = self.healed_ms.unwrap_or(0);
        if now >= healed.saturating_add(JUDGED_AT_LAST_MS) {
            return true;
        }
        let Some(finished) = self.finished_ms else {
            return false;
        };
        if now < finished.saturating_add(LAST_READS_MS) {
            return false;
        }
        if self.wires.recorder.last_commit_ms() <= finished {
            return true;
        }
        self.wires.recorder.reads_were_early();
        self.finished_ms = None;
        self.settled_ms = Some(now);
        false
    }

    fn is_owned(&self) -> bool {
        let Ok(rows) = now(self.wires.database.log.partitions()) else {
            return false;
        };
        rows.iter().all(|row| {
            row.owner.map(To::of).is_some_and(|owner| {
                self.living(owner).is_some_and(|process| {
                    process.owner().table().serving().get(&row.partition) == Some(&row.epoch)
                })
            })
        })
    }

    fn is_at_heads(&self) -> bool {
        let unreadable = self.wires.database.unreadable();
        // Where a conversation cannot be read, whoever waits for it goes on waiting (F14).
        if unreadable.is_empty() && !self.clients.iter().all(Client::is_settled) {
            return false;
        }
        self.clients.iter().all(|client| {
            self.wires
                .recorder
                .conversations
                .iter()
                .filter(|id| !unreadable.contains(id))
                .all(|id| self.is_at_head(client, *id))
        })
    }

    fn is_at_head(&self, client: &Client, id: ConversationId) -> bool {
        let Some((seq, epoch)) = client.stands_at(id.uuid()) else {
            return true;
        };
        // Who was removed while away is not told, and stays where they were.
        let access = now(self.wires.database.reader().access(id, client.user()));
        if !matches!(access, Ok(Some(_))) {
            return true;
        }
        let head = now(self.wires.database.conversation_head(id));
        let is_unnoticed = self.wires.recorder.is_unnoticed(id);
        head.ok().flatten().is_none_or(|head| {
            let is_lost = epoch.is_some_and(|epoch| epoch != head.epoch.get());
            seq >= head.seq.get() && (is_unnoticed || (seq == head.seq.get() && !is_lost))
        })
    }

    /// For whoever has to find out: who is not where they should be.
    pub(super) fn stragglers(&self) -> Vec<String> {
        let mut found = Vec::new();
        for client in &self.clients {
            if !client.is_settled() {
                found.push(client.describe());
            }
            for id in &self.wires.recorder.conversations {
                if !self.is_at_head(client, *id) {
                    found.push(format!(
                        "{} stands at {:?} of {id}",
                        client.describe(),
                        client.stands_at(id.uuid())
                    ));
                }
            }
        }
        found
    }
}

//! What is compared with something else: I13, I14 and I16 to I18.

use std::collections::HashMap;

use uuid::Uuid;

use crate::history::{Digest, Event, Fact, FoldKind, Heals, Message, Reading};
use crate::index::Index;
use crate::limits::Limits;
use crate::report::Findings;

/// I13: after an acquire the owner's state is the fold of the log, and so is a snapshot with its tail.
pub(super) fn states_equal_the_fold(index: &Index<'_>, findings: &mut Findings) {
    folds(index, &[FoldKind::Owner, FoldKind::Snapshot], findings);
}

/// I14: every read model is the fold of the log, a rebuilt one too; and what is read when all is quiet shows just that.
pub(super) fn read_models_equal_the_fold(index: &Index<'_>, findings: &mut Findings) {
    folds(index, &[FoldKind::ReadModel, FoldKind::Rebuild], findings);
    let mut timelines: HashMap<Uuid, Timeline> = HashMap::new();
    for read in index.history.reads.iter().filter(|read| read.is_quiet) {
        match &read.reading {
            Reading::Page {
                conversation,
                newest,
                items,
            } => {
                let Some(log) = index.logs.get(conversation) else {
                    continue;
                };
                if log.events.is_empty() {
                    continue;
                }
                let timeline = timelines
                    .entry(*conversation)
                    .or_insert_with(|| Timeline::of(&log.events));
                findings.looked();
                if let Some(words) = timeline.differs(items, *newest) {
                    findings.found(|| {
                        format!("a page of {conversation} on node {}: {words}", read.node)
                    });
                }
            }
            Reading::Inbox { entries, .. } => {
                for entry in entries {
                    let head = index.head(entry.conversation);
                    findings.must(entry.head_seq == head || head == 0, || {
                        format!(
                            "node {} told {} {entry:?}, but the head is {head}",
                            read.node, read.user
                        )
                    });
                }
            }
            Reading::Search {
                conversation,
                no,
                found,
            } => findings.must(*found, || {
                format!(
                    "node {} does not find message {no} of {conversation}",
                    read.node
                )
            }),
        }
    }
}

fn folds(index: &Index<'_>, kinds: &[FoldKind], findings: &mut Findings) {
    for fold in index
        .history
        .folds
        .iter()
        .filter(|fold| kinds.contains(&fold.kind))
    {
        findings.must(fold.expected == fold.found, || {
            format!(
                "{:?} {} up to {} is not the fold of the log ({:016x}, not {:016x})",
                fold.kind, fold.what, fold.through, fold.found.0, fold.expected.0
            )
        });
    }
}

/// The messages of a conversation as history must show them.
struct Timeline(Vec<Message>);

impl Timeline {
    fn of(events: &[&Event]) -> Self {
        let mut messages: Vec<Message> = Vec::new();
        let mut places: HashMap<u64, usize> = HashMap::new();
        for event in events {
            match &event.fact {
                Fact::Sent { no, body, .. } => {
                    places.insert(*no, messages.len());
                    messages.push(Message {
                        no: *no,
                        seq: event.seq,
                        epoch: event.epoch,
                        by: event.by,
                        body: *body,
                    });
                }
                Fact::Edited { no, body } => {
                    set_body(&mut messages, &places, *no, *body);
                }
                Fact::Deleted { no } => set_body(&mut messages, &places, *no, None),
                _no_message => {}
            }
        }
        Self(messages)
    }

    fn differs(&self, items: &[Message], newest: bool) -> Option<String> {
        let first = items.first().map_or(0, |item| item.no);
        let from = self.0.partition_point(|message| message.no < first);
        let expected = self.0.get(from..).unwrap_or(&[]);
        let expected = if newest || items.is_empty() {
            expected
        } else {
            expected
                .get(..items.len().min(expected.len()))
                .unwrap_or(&[])
        };
        if items == expected {
            return None;
        }
        let at = items
            .iter()
            .zip(expected)
            .position(|(shown, stored)| shown != stored)
            .unwrap_or_else(|| items.len().min(expected.len()));
        Some(format!(
            "{} messages for {}; the first difference is {:?} for {:?}",
            items.len(),
            expected.len(),
            items.get(at),
            expected.get(at)
        ))
    }
}

fn set_body(messages: &mut [Message], places: &HashMap<u64, usize>, no: u64, body: Option<Digest>) {
    if let Some(message) = places.get(&no).and_then(|place| messages.get_mut(*place)) {
        message.body = body;
    }
}

/// I16: after a fault is healed, partitions have owners, commands succeed and clients are at the head in time.
pub(super) fn healing_is_quick(index: &Index<'_>, limits: &Limits, findings: &mut Findings) {
    for healing in &index.history.healings {
        let limit = match healing.heals {
            Heals::Owned => limits.owned,
            Heals::Commands => limits.commands,
            Heals::Heads => limits.heads,
        };
        let took = healing
            .reached_at
            .map(|at| at.saturating_sub(healing.healed_at));
        findings.must(took.is_some_and(|took| took <= limit), || match took {
            Some(took) => format!(
                "after {} {:?} took {} ms, the limit is {} ms",
                healing.fault,
                healing.heals,
                took / 1_000,
                limit / 1_000
            ),
            None => format!(
                "after {} {:?} was not so again at all",
                healing.fault, healing.heals
            ),
        });
    }
}

/// I17: every queue is within its bound, and memory within its budget.
pub(super) fn levels_stay_within_bounds(index: &Index<'_>, findings: &mut Findings) {
    for level in &index.history.levels {
        findings.must(level.value <= level.bound, || {
            format!(
                "{} of node {} was at {} at {}, its bound is {}",
                level.what, level.node, level.value, level.at, level.bound
            )
        });
    }
}

/// I18: every golden byte vector decodes and upcasts.
pub(super) fn golden_vectors_decode(index: &Index<'_>, findings: &mut Findings) {
    for golden in &index.history.golden {
        findings.must(golden.broken.is_none(), || {
            format!(
                "{}: {}",
                golden.vector,
                golden.broken.as_deref().unwrap_or("")
            )
        });
    }
}

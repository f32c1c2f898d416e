//! What is read: I8.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use crate::history::{InboxEntry, Message, OperationKind, Outcome, Read, Reading, Time};
use crate::index::Index;
use crate::report::Findings;

/// A user and a conversation.
type Reader = (Uuid, Uuid);

/// What a reader must be shown from now on.
#[derive(Default)]
struct Known {
    /// The head, by seq and by message number, and what it is known from.
    head_seq: (u64, &'static str),
    head_no: (u64, &'static str),
    /// The reader's own messages that were acked, ascending by the time of the ack.
    own: Vec<u64>,
}

impl Known {
    fn learn(&mut self, seq: u64, no: u64, from: &'static str) {
        if seq > self.head_seq.0 {
            self.head_seq = (seq, from);
        }
        if no > self.head_no.0 {
            self.head_no = (no, from);
        }
    }
}

/// Something that is certain from a time on, or a read that begins then.
enum Step<'a> {
    Acked { seq: u64, no: Option<u64> },
    Shown { seq: u64, no: u64 },
    Reads(&'a Read, Look<'a>),
}

/// What a read shows of one conversation.
enum Look<'a> {
    Page { items: &'a [Message], newest: bool },
    Entry(&'a InboxEntry),
    NoEntry,
    Search { no: u64, found: bool },
}

/// I8: what a user reads contains their own acked writes, and never less than they were shown before, on any node.
pub(super) fn reads_see_own_writes(index: &Index<'_>, findings: &mut Findings) {
    for ((user, conversation), mut steps) in steps(index) {
        if index.has_losses(conversation) || !index.is_steady_member(user, conversation) {
            continue;
        }
        // What ends at the instant at which a read begins is not held against the read.
        steps.sort_by_key(|(at, step)| (*at, !matches!(step, Step::Reads(..))));
        let mut known = Known::default();
        for (_at, step) in steps {
            match step {
                Step::Acked { seq, no } => {
                    known.learn(seq, no.unwrap_or(0), "an own ack");
                    known.own.extend(no);
                }
                Step::Shown { seq, no } => known.learn(seq, no, "an earlier read"),
                Step::Reads(read, look) => {
                    findings.looked();
                    if let Some(words) = behind(&known, &look) {
                        findings.found(|| {
                            format!(
                                "{user} read {conversation} at {} on node {}: {words}",
                                read.invoked_at, read.node
                            )
                        });
                    }
                }
            }
        }
    }
}

/// In which way the reader was shown too little.
fn behind(known: &Known, look: &Look<'_>) -> Option<String> {
    let (seq, no) = (&known.head_seq, &known.head_no);
    match look {
        Look::Entry(entry) if entry.head_seq < seq.0 || entry.head_no < no.0 => Some(format!(
            "the inbox ends at (seq {}, message {}), {} told of seq {}, {} of message {}",
            entry.head_seq, entry.head_no, seq.1, seq.0, no.1, no.0
        )),
        Look::NoEntry if seq.0 > 0 => Some(format!(
            "the inbox does not show it, though {} told of seq {}",
            seq.1, seq.0
        )),
        Look::Page { items, newest } => {
            let first = items.first().map_or(0, |item| item.no);
            let last = items.last().map_or(0, |item| item.no);
            if *newest && last < no.0 {
                return Some(format!(
                    "the newest page ends at message {last}, {} told of {}",
                    no.1, no.0
                ));
            }
            // Only the newest of them, so that many pages of a long history do not cost their product.
            let own = known.own.iter().rev().take(OWN_LOOKED_FOR);
            let mut within = own.filter(|own| (first..=last).contains(*own));
            within
                .find(|own| items.binary_search_by_key(*own, |item| item.no).is_err())
                .map(|own| {
                    format!("the page from {first} to {last} leaves out the own message {own}")
                })
        }
        Look::Search { no, found } if !found && known.own.contains(no) => {
            Some(format!("the search does not find the own message {no}"))
        }
        Look::Entry(_) | Look::NoEntry | Look::Search { .. } => None,
    }
}

/// Own acked messages that are looked for in each page, from the newest.
const OWN_LOOKED_FOR: usize = 200;

fn steps<'a>(index: &Index<'a>) -> HashMap<Reader, Vec<(Time, Step<'a>)>> {
    let mut steps: HashMap<Reader, Vec<(Time, Step<'a>)>> = HashMap::new();
    for operation in &index.history.operations {
        if let Outcome::Acked(place) = operation.outcome {
            let is_send = operation.kind == OperationKind::Send;
            let acked = Step::Acked {
                seq: place.seq,
                no: place.message_no.filter(|_| is_send),
            };
            let reader = (operation.user, operation.conversation);
            steps
                .entry(reader)
                .or_default()
                .push((operation.ended_at, acked));
        }
    }
    let homes = homes(index);
    for read in &index.history.reads {
        let mut add = |conversation: Uuid, look: Look<'a>, shown: Option<(u64, u64)>| {
            let steps = steps.entry((read.user, conversation)).or_default();
            steps.push((read.invoked_at, Step::Reads(read, look)));
            if let Some((seq, no)) = shown {
                steps.push((read.ended_at, Step::Shown { seq, no }));
            }
        };
        match &read.reading {
            Reading::Page {
                conversation,
                newest,
                items,
            } => {
                let shown = items.last().map(|last| (last.seq, last.no));
                let look = Look::Page {
                    items,
                    newest: *newest,
                };
                add(*conversation, look, shown);
            }
            Reading::Inbox { entries, complete } => {
                for entry in entries {
                    let shown = Some((entry.head_seq, entry.head_no));
                    add(entry.conversation, Look::Entry(entry), shown);
                }
                if !complete {
                    continue;
                }
                let shown: HashSet<Uuid> = entries.iter().map(|entry| entry.conversation).collect();
                for conversation in homes.get(&read.user).into_iter().flatten() {
                    if !shown.contains(conversation) {
                        add(*conversation, Look::NoEntry, None);
                    }
                }
            }
            Reading::Search {
                conversation,
                no,
                found,
            } => {
                let look = Look::Search {
                    no: *no,
                    found: *found,
                };
                add(*conversation, look, None);
            }
        }
    }
    steps
}

/// The conversations of each user: those in which they have done or read something.
fn homes(index: &Index<'_>) -> HashMap<Uuid, HashSet<Uuid>> {
    let mut homes: HashMap<Uuid, HashSet<Uuid>> = HashMap::new();
    for operation in &index.history.operations {
        let of_user = homes.entry(operation.user).or_default();
        of_user.insert(operation.conversation);
    }
    for read in &index.history.reads {
        let of_user = homes.entry(read.user).or_default();
        match &read.reading {
            Reading::Page { conversation, .. } | Reading::Search { conversation, .. } => {
                of_user.insert(*conversation);
            }
            Reading::Inbox { entries, .. } => {
                of_user.extend(entries.iter().map(|entry| entry.conversation));
            }
        }
    }
    homes
}

//! What the log holds: I1 to I4 and I12.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use crate::history::{Event, Fact, LineageRow, LogRow, Operation, Outcome, Place, Time};
use crate::index::Index;
use crate::report::Findings;

/// I1: what was acked is in the log exactly once, at the place that the ack named, with the text that was sent.
pub(super) fn acked_is_stored_once(index: &Index<'_>, findings: &mut Findings) {
    let contents = contents(index);
    for operation in &index.history.operations {
        let Outcome::Acked(place) = operation.outcome else {
            continue;
        };
        let (id, conversation) = (operation.command, operation.conversation);
        if index.was_lost((conversation, place.seq), place.epoch, operation.ended_at) {
            continue;
        }
        findings.looked();
        let places = index
            .places
            .get(&(conversation, id))
            .map_or(&[][..], Vec::as_slice);
        match places {
            [] => findings.found(|| {
                format!(
                    "{id} was acked at {} of {conversation} and is not in the log",
                    place.seq
                )
            }),
            [stored] if (stored.seq, stored.epoch) != (place.seq, place.epoch) => {
                findings.found(|| {
                    format!(
                        "{id} was acked at (epoch {}, seq {}) of {conversation} and stands at (epoch {}, seq {})",
                        place.epoch, place.seq, stored.epoch, stored.seq
                    )
                });
            }
            [_stored] => {
                if let Some(event) = contents.get(&(conversation, place.seq))
                    && !says_what_was_asked(event, operation, &place)
                {
                    findings.found(|| format!("{operation:?} stands in the log as {event:?}"));
                }
            }
            several => {
                let seqs: Vec<u64> = several.iter().map(|stored| stored.seq).collect();
                findings.found(|| {
                    format!("{id} was acked and is in the log of {conversation} at {seqs:?}")
                });
            }
        }
    }
}

fn says_what_was_asked(event: &Event, operation: &Operation, place: &Place) -> bool {
    let body = match &event.fact {
        Fact::Sent { body, .. } | Fact::Edited { body, .. } => *body,
        _no_text => None,
    };
    // An erased text is gone from the log; what cannot be compared is not held against it.
    let same_body = body.is_none() || operation.body.is_none() || body == operation.body;
    let same_no = place.message_no.is_none() || place.message_no == event.fact.message_no();
    event.by == operation.user && same_body && same_no
}

/// I2: what is in the log was asked for, with that text, by an attempt that was not definitely refused.
pub(super) fn stored_was_sent(index: &Index<'_>, findings: &mut Findings) {
    let contents = contents(index);
    for ((conversation, command), places) in &index.places {
        let Some(first) = places.first() else {
            continue;
        };
        findings.looked();
        let event = contents.get(&(*conversation, first.seq));
        let is_message = event.is_none_or(|event| {
            matches!(
                event.fact,
                Fact::Sent { .. } | Fact::Edited { .. } | Fact::Deleted { .. }
            )
        });
        let Some(attempts) = index.attempts.get(&(*conversation, *command)) else {
            // What sets the stage of a run is not recorded as operations; what people say is.
            if is_message {
                findings.found(|| {
                    format!(
                        "nobody sent {command}, which is at {} of {conversation}",
                        first.seq
                    )
                });
            }
            continue;
        };
        let body = event.and_then(|event| match &event.fact {
            Fact::Sent { body, .. } | Fact::Edited { body, .. } => *body,
            _no_text => None,
        });
        let may_be_stored = |attempt: &&Operation| {
            let refused = matches!(attempt.outcome, Outcome::Refused { .. });
            !refused && (body.is_none() || attempt.body.is_none() || attempt.body == body)
        };
        if !attempts.iter().any(may_be_stored) {
            findings.found(|| {
                let ends: Vec<_> = attempts.iter().map(|attempt| &attempt.outcome).collect();
                format!(
                    "{command} is at {} of {conversation}, though its attempts (of this text) ended as {ends:?}",
                    first.seq
                )
            });
        }
    }
}

/// I3: a command id stands for at most one event, and all its acks name the same place.
pub(super) fn one_command_one_event(index: &Index<'_>, findings: &mut Findings) {
    for ((conversation, command), places) in &index.places {
        findings.must(places.len() == 1, || {
            let seqs: Vec<u64> = places.iter().map(|stored| stored.seq).collect();
            format!("{command} is stored in {conversation} at {seqs:?}")
        });
    }
    for ((conversation, command), attempts) in &index.attempts {
        let mut named: Vec<(u64, u64, Option<u64>)> = attempts
            .iter()
            .filter_map(|attempt| match &attempt.outcome {
                Outcome::Acked(place)
                    if !index.was_lost(
                        (*conversation, place.seq),
                        place.epoch,
                        attempt.ended_at,
                    ) =>
                {
                    Some((place.epoch, place.seq, place.message_no))
                }
                _no_place => None,
            })
            .collect();
        named.dedup();
        findings.must(named.len() <= 1, || {
            format!(
                "the acks of {command} in {conversation} name (epoch, seq, message_no) {named:?}"
            )
        });
    }
}

/// I4: offsets of a partition and seqs of a conversation are 1..n without a hole and rise together; so do the numbers of
/// messages; every checksum is right.
pub(super) fn the_log_is_dense(index: &Index<'_>, findings: &mut Findings) {
    let mut seqs: HashMap<Uuid, (u64, u32)> = HashMap::new();
    for (partition, rows) in partitions(&index.history.log) {
        let mut offset = 0;
        for row in rows {
            findings.must(row.offset == offset + 1, || {
                format!(
                    "partition {partition} goes from offset {offset} to {}",
                    row.offset
                )
            });
            offset = row.offset;
            let (seq, home) = seqs.entry(row.conversation).or_insert((0, partition));
            if row.seq != *seq + 1 {
                findings.found(|| {
                    format!(
                        "{} goes from seq {seq} to {} at offset {offset} of partition {partition}",
                        row.conversation, row.seq
                    )
                });
            }
            if *home != partition {
                findings.found(|| {
                    format!(
                        "{} is in the partitions {home} and {partition}",
                        row.conversation
                    )
                });
            }
            if !row.crc_ok {
                findings.found(|| {
                    format!("the checksum of offset {offset} of partition {partition} is wrong")
                });
            }
            *seq = row.seq;
        }
    }
    for (conversation, log) in &index.logs {
        let (mut seq, mut no) = (0, 0);
        for event in &log.events {
            findings.must(event.seq == seq + 1, || {
                format!("{conversation} is shown from seq {seq} to {}", event.seq)
            });
            seq = event.seq;
            let Some(message_no) = event.fact.message_no() else {
                continue;
            };
            if message_no != no + 1 {
                findings.found(|| format!("{conversation} goes from message {no} to {message_no}"));
            }
            no = message_no;
        }
    }
}

/// I12: epochs never fall along offsets, never repeat, and no row of an older epoch stands behind the beginning of a
/// newer one.
pub(super) fn epochs_never_fall(index: &Index<'_>, findings: &mut Findings) {
    let mut lineages: BTreeMap<u32, Vec<&LineageRow>> = BTreeMap::new();
    for row in &index.history.lineage {
        lineages.entry(row.partition).or_default().push(row);
    }
    for (partition, lineage) in &mut lineages {
        lineage.sort_by_key(|row| row.epoch);
        for pair in lineage.windows(2) {
            let [one, next] = pair else { continue };
            findings.must(one.epoch != next.epoch, || {
                format!(
                    "epoch {} of partition {partition} was acquired twice",
                    one.epoch
                )
            });
            let backwards = matches!((one.at, next.at), (Some(one), Some(next)) if next < one);
            if next.start_after < one.start_after || backwards {
                findings.found(|| format!("partition {partition}: {next:?} comes after {one:?}"));
            }
        }
    }
    for (partition, rows) in partitions(&index.history.log) {
        let lineage = lineages.get(&partition).map_or(&[][..], Vec::as_slice);
        let mut epoch = 0;
        for row in rows {
            findings.must(row.epoch >= epoch, || {
                format!(
                    "partition {partition} falls from epoch {epoch} to {} at offset {}",
                    row.epoch, row.offset
                )
            });
            epoch = epoch.max(row.epoch);
            if !lineage.is_empty() {
                belongs_to_its_epoch(row, lineage, findings);
            }
        }
    }
    let mut owners: HashMap<(u32, u64), Uuid> = index
        .history
        .lineage
        .iter()
        .filter_map(|row| Some(((row.partition, row.epoch), row.owner?)))
        .collect();
    for seen in &index.history.owners {
        let owner = *owners
            .entry((seen.partition, seen.epoch))
            .or_insert(seen.owner);
        findings.must(owner == seen.owner, || {
            format!(
                "{owner} and {} both serve partition {} under epoch {}",
                seen.owner, seen.partition, seen.epoch
            )
        });
    }
}

fn belongs_to_its_epoch(row: &LogRow, lineage: &[&LineageRow], findings: &mut Findings) {
    let at = lineage.partition_point(|epoch| epoch.epoch < row.epoch);
    let Some(own) = lineage.get(at).filter(|epoch| epoch.epoch == row.epoch) else {
        findings.found(|| {
            format!(
                "offset {} of partition {} was written under epoch {}, which nobody acquired",
                row.offset, row.partition, row.epoch
            )
        });
        return;
    };
    let next = lineage
        .iter()
        .skip(at)
        .find(|epoch| epoch.epoch > row.epoch);
    let too_late: fn(Option<Time>, Option<Time>) -> bool = |committed, began| matches!((committed, began), (Some(committed), Some(began)) if committed > began);
    let stands_behind = next
        .is_some_and(|next| row.offset > next.start_after || too_late(row.committed_at, next.at));
    if row.offset <= own.start_after || stands_behind {
        findings.found(|| format!("{row:?} is not within its epoch: {own:?}, then {next:?}"));
    }
}

/// Rows by partition, ascending by offset.
fn partitions(log: &[LogRow]) -> BTreeMap<u32, Vec<&LogRow>> {
    let mut partitions: BTreeMap<u32, Vec<&LogRow>> = BTreeMap::new();
    for row in log {
        partitions.entry(row.partition).or_default().push(row);
    }
    for rows in partitions.values_mut() {
        rows.sort_by_key(|row| row.offset);
    }
    partitions
}

/// The contents of the log by place.
fn contents<'a>(index: &Index<'a>) -> HashMap<(Uuid, u64), &'a Event> {
    let mut seen = HashSet::new();
    index
        .history
        .events
        .iter()
        .filter(|event| seen.insert((event.conversation, event.seq)))
        .map(|event| ((event.conversation, event.seq), event))
        .collect()
}

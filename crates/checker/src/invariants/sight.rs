//! What anybody saw: I5 and I15.

use std::collections::HashMap;

use uuid::Uuid;

use crate::history::{Digest, Event, Fact, Frame, Outcome, Reading, Time};
use crate::index::{At, By, Index};
use crate::report::Findings;

/// What is known of an event; what a viewer is not told stays open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Identity {
    epoch: u64,
    command: Option<Uuid>,
    by: Option<Uuid>,
    no: Option<u64>,
    body: Option<Digest>,
}

impl Identity {
    fn of(event: &Event) -> Self {
        Self {
            epoch: event.epoch,
            command: event.command,
            by: Some(event.by),
            no: event.fact.message_no(),
            body: match &event.fact {
                Fact::Sent { body, .. } | Fact::Edited { body, .. } => *body,
                _no_text => None,
            },
        }
    }

    /// Takes in what another viewer knows; false if they have not seen the same.
    fn agrees(&mut self, other: &Self) -> bool {
        let same = self.epoch == other.epoch
            && meet(&mut self.command, other.command)
            && meet(&mut self.by, other.by)
            && meet(&mut self.no, other.no);
        same && meet(&mut self.body, other.body)
    }
}

fn meet<T: PartialEq + Copy>(known: &mut Option<T>, told: Option<T>) -> bool {
    match (*known, told) {
        (Some(known), Some(told)) => known == told,
        (None, told) => {
            *known = told;
            true
        }
        (Some(_), None) => true,
    }
}

/// I5: every (conversation, seq) seen by anyone is the same event, and the one that the log holds.
pub(super) fn everybody_sees_the_same(index: &Index<'_>, findings: &mut Findings) {
    let mut known: HashMap<At, Identity> = HashMap::new();
    for event in &index.history.events {
        known.insert((event.conversation, event.seq), Identity::of(event));
    }
    for (conversation, log) in &index.logs {
        for stored in log.stored.values() {
            let row = Identity {
                epoch: stored.epoch,
                command: stored.command,
                by: None,
                no: None,
                body: None,
            };
            compare(
                &mut known,
                (*conversation, stored.seq),
                &row,
                findings,
                || "the log".to_owned(),
            );
        }
    }
    for sighting in index.sightings() {
        let at = (sighting.event.conversation, sighting.event.seq);
        if !index.was_lost(at, sighting.event.epoch, sighting.at) {
            compare(
                &mut known,
                at,
                &Identity::of(sighting.event),
                findings,
                || named(sighting.by),
            );
        }
    }
    let ack = |command: Uuid, place: &crate::history::Place| Identity {
        epoch: place.epoch,
        command: Some(command),
        by: None,
        no: place.message_no,
        body: None,
    };
    for operation in &index.history.operations {
        let Outcome::Acked(place) = &operation.outcome else {
            continue;
        };
        let at = (operation.conversation, place.seq);
        if !index.was_lost(at, place.epoch, operation.ended_at) {
            let seen = ack(operation.command, place);
            compare(&mut known, at, &seen, findings, || "an ack".to_owned());
        }
    }
    for seen in &index.history.frames {
        if let Frame::Ack {
            id,
            conversation,
            place,
        } = &seen.frame
            && !index.was_lost((*conversation, place.seq), place.epoch, seen.at)
        {
            compare(
                &mut known,
                (*conversation, place.seq),
                &ack(*id, place),
                findings,
                || named(By::Socket(seen.socket)),
            );
        }
    }
    for read in &index.history.reads {
        let Reading::Page {
            conversation,
            items,
            ..
        } = &read.reading
        else {
            continue;
        };
        for item in items {
            let at = (*conversation, item.seq);
            let shown = Identity {
                epoch: item.epoch,
                command: None,
                by: Some(item.by),
                no: Some(item.no),
                body: None, // a page shows the latest text
            };
            if !index.was_lost(at, item.epoch, read.ended_at) {
                compare(&mut known, at, &shown, findings, || {
                    format!("a page of node {}", read.node)
                });
            }
        }
    }
}

fn compare(
    known: &mut HashMap<At, Identity>,
    at: At,
    seen: &Identity,
    findings: &mut Findings,
    who: impl FnOnce() -> String,
) {
    let before = known.entry(at).or_insert(*seen);
    let was = *before;
    findings.must(before.agrees(seen), || {
        format!(
            "seq {} of {} is {was:?}, but {} saw {seen:?}",
            at.1,
            at.0,
            who()
        )
    });
}

fn named(by: By) -> String {
    match by {
        By::Socket(socket) => format!("socket {socket}"),
        By::Subscription(subscription) => format!("subscription {subscription}"),
    }
}

/// I15: what anybody was told is in the log, and was committed before they were told.
pub(super) fn nothing_depends_on_what_is_not_stored(index: &Index<'_>, findings: &mut Findings) {
    for sighting in index.sightings() {
        let at = (sighting.event.conversation, sighting.event.seq);
        let epoch = Some(sighting.event.epoch);
        rests_on_the_log(index, at, epoch, sighting.at, findings, || {
            named(sighting.by)
        });
    }
    for operation in &index.history.operations {
        let (place, ended_at) = (operation.conversation, operation.ended_at);
        if let Outcome::Acked(acked) = &operation.outcome {
            let what = || format!("the ack of {}", operation.command);
            let (at, epoch) = ((place, acked.seq), Some(acked.epoch));
            rests_on_the_log(index, at, epoch, ended_at, findings, what);
        }
        let is_answer = !matches!(operation.outcome, Outcome::Unknown | Outcome::Open);
        if let Some(seq) = operation.depends_on.filter(|seq| is_answer && *seq > 0) {
            let what = || {
                format!(
                    "the answer {:?} to {}",
                    operation.outcome, operation.command
                )
            };
            rests_on_the_log(index, (place, seq), None, ended_at, findings, what);
        }
    }
    for read in &index.history.reads {
        let (node, ended_at) = (read.node, read.ended_at);
        match &read.reading {
            Reading::Page {
                conversation,
                items,
                ..
            } => {
                for item in items {
                    let what = || format!("a page of node {node}");
                    let (at, epoch) = ((*conversation, item.seq), Some(item.epoch));
                    rests_on_the_log(index, at, epoch, ended_at, findings, what);
                }
            }
            Reading::Inbox { entries, .. } => {
                for entry in entries.iter().filter(|entry| entry.head_seq > 0) {
                    let what = || format!("an inbox of node {node}");
                    let at = (entry.conversation, entry.head_seq);
                    rests_on_the_log(index, at, Some(entry.epoch), ended_at, findings, what);
                }
            }
            Reading::Search { .. } => {}
        }
    }
}

fn rests_on_the_log(
    index: &Index<'_>,
    at: At,
    epoch: Option<u64>,
    told_at: Time,
    findings: &mut Findings,
    who: impl FnOnce() -> String,
) {
    let was_lost = epoch.is_some_and(|epoch| index.was_lost(at, epoch, told_at));
    if was_lost || index.is_lost(at, told_at) {
        return;
    }
    findings.looked();
    let (conversation, seq) = at;
    match index.stored(at) {
        None => findings.found(|| {
            format!(
                "{} names seq {seq} of {conversation}, which the log does not hold",
                who()
            )
        }),
        Some(stored) => {
            if let Some(committed_at) = stored.committed_at
                && told_at < committed_at
            {
                findings.found(|| {
                    format!(
                        "{} named seq {seq} of {conversation} at {told_at}, before its commit at {committed_at}",
                        who()
                    )
                });
            }
        }
    }
}

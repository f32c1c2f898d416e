//! What a loss below the server owes to those who saw what is lost: the other half of I5.
//!
//! I5 excuses everyone who was shown an event that a failover has lost since. In return they are told: a `reset` that reaches down to it, a
//! `removed`, or the end of the socket. And who is told nothing more does not go on holding it.
//!
//! Never: a loss that nobody can have heard of when the run ended.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::history::{Event, Frame, FrameSeen, Subscription, Time, Told};
use crate::index::Index;
use crate::limits::Limits;
use crate::report::Findings;

/// I5: whoever was shown what the log has lost since is told so in time, and holds nothing of it in the end.
pub(super) fn who_saw_what_is_lost_is_told(
    index: &Index<'_>,
    limits: &Limits,
    findings: &mut Findings,
) {
    if index.history.losses.is_empty() {
        return;
    }
    let ends_at = last_moment(index);
    let healings = index.history.healings.iter();
    let healed_at = healings.map(|healing| healing.healed_at).max().unwrap_or(0);
    for (socket, frames) in &index.frames {
        let mut watch = Watch {
            index,
            socket: *socket,
            earliest_due: healed_at.saturating_add(limits.told_of_loss),
            limit: limits.told_of_loss,
            owed: HashMap::new(),
        };
        for seen in frames {
            watch.see(seen, findings);
        }
        watch.end(ends_at, findings);
    }
    for subscription in &index.history.subscriptions {
        if subscription.is_complete && index.has_losses(subscription.conversation) {
            holds_nothing_lost(index, subscription, ends_at, findings);
        }
    }
}

/// The last thing that the history knows of.
fn last_moment(index: &Index<'_>) -> Time {
    let history = index.history;
    let frames = history.frames.iter().map(|seen| seen.at);
    let deliveries = history.deliveries.iter().map(|told| told.at);
    let reads = history.reads.iter().map(|read| read.ended_at);
    let levels = history.levels.iter().map(|level| level.at);
    let all = frames.chain(deliveries).chain(reads).chain(levels);
    all.max().unwrap_or(0)
}

/// What one socket has been shown and has to be told of.
struct Watch<'a> {
    index: &'a Index<'a>,
    socket: u64,
    earliest_due: Time,
    limit: Time,
    owed: HashMap<Uuid, Owed>,
}

/// The lowest lost seq that was shown, and until when that has to be told.
struct Owed {
    seq: u64,
    due: Time,
}

impl Watch<'_> {
    fn see(&mut self, seen: &FrameSeen, findings: &mut Findings) {
        match &seen.frame {
            Frame::Event(event) => self.shown(event, seen.at),
            Frame::Reset {
                conversation,
                from_seq,
            } => {
                let reaches = |owed: &Owed| *from_seq <= owed.seq;
                if self.owed.get(conversation).is_some_and(reaches) {
                    self.told(*conversation, seen.at, findings);
                }
            }
            Frame::Removed { conversation } => self.told(*conversation, seen.at, findings),
            Frame::Closed { .. } => {
                for conversation in self.owed.keys().copied().collect::<Vec<_>>() {
                    self.told(conversation, seen.at, findings);
                }
            }
            Frame::Added { .. } | Frame::Resync { .. } | Frame::Ack { .. } | Frame::Live => {}
        }
    }

    fn shown(&mut self, event: &Event, at: Time) {
        let Some(loss) = self.index.loss_of(event) else {
            return;
        };
        let due = loss.heard_by.max(at).saturating_add(self.limit);
        let due = due.max(self.earliest_due);
        let owed = self.owed.entry(event.conversation).or_insert(Owed {
            seq: event.seq,
            due,
        });
        owed.seq = owed.seq.min(event.seq);
    }

    fn told(&mut self, conversation: Uuid, at: Time, findings: &mut Findings) {
        let Some(owed) = self.owed.remove(&conversation) else {
            return;
        };
        let socket = self.socket;
        findings.must(at <= owed.due, || {
            format!(
                "socket {socket} was shown seq {} of {conversation}, which is lost, and heard of that at {at}, not by {}",
                owed.seq, owed.due
            )
        });
    }

    fn end(self, ends_at: Time, findings: &mut Findings) {
        let late = self.owed.into_iter().filter(|(_, owed)| owed.due < ends_at);
        for (conversation, owed) in late {
            findings.looked();
            let socket = self.socket;
            findings.found(|| {
                format!(
                    "socket {socket} was shown seq {} of {conversation}, which is lost, and never heard of that",
                    owed.seq
                )
            });
        }
    }
}

/// What an application holds in the end was not lost: what was, it has been told to drop.
fn holds_nothing_lost(
    index: &Index<'_>,
    subscription: &Subscription,
    ends_at: Time,
    findings: &mut Findings,
) {
    let mut held: BTreeMap<u64, &Event> = BTreeMap::new();
    let told = index.told.get(&subscription.subscription);
    for delivery in told.map_or(&[][..], Vec::as_slice) {
        match &delivery.told {
            Told::Event(event) => {
                held.insert(event.seq, event);
            }
            Told::Reset { from_seq } => drop(held.split_off(from_seq)),
            // Who lost their place has to look at what came before again: nobody tells a former member what was lost meanwhile.
            Told::Removed | Told::Skipped => held.clear(),
        }
    }
    let lost = held.values().find(|event| {
        index
            .loss_of(event)
            .is_some_and(|loss| loss.heard_by < ends_at)
    });
    findings.must(lost.is_none(), || {
        format!(
            "subscription {} to {} ends with seq {} of epoch {}, which is lost",
            subscription.subscription,
            subscription.conversation,
            lost.map_or(0, |event| event.seq),
            lost.map_or(0, |event| event.epoch)
        )
    });
}

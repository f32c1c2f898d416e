//! Faults of what is shown: the wrong event, the wrong page, the wrong person.

use hubbub_checker::{
    Delivery, Digest, Event, Fact, FoldKind, Frame, FrameSeen, Heals, History, InboxEntry, LogRow,
    Operation, Outcome, Read, Reading, Told,
};

use super::choose::{acked, event_frames, pick, pick_where};
use crate::world::{Dice, PEOPLE, person, usize_of};

pub(super) fn a_socket_sees_another_text(history: &mut History, dice: &mut Dice) -> bool {
    let is_text = |seen: &FrameSeen| matches!(&seen.frame, Frame::Event(event) if matches!(event.fact, Fact::Sent { .. }));
    pick_where(&history.frames, dice, is_text).is_some_and(|at| {
        if let Frame::Event(event) = &mut history.frames[at].frame
            && let Fact::Sent { body, .. } = &mut event.fact
        {
            *body = Some(Digest(1));
        }
        true
    })
}

pub(super) fn a_page_sees_another_author(history: &mut History, dice: &mut Dice) -> bool {
    let pages: Vec<usize> = full_pages(history);
    pick(&pages, dice).is_some_and(|at| {
        if let Reading::Page { items, .. } = &mut history.reads[pages[at]].reading {
            items[0].by = person(PEOPLE + 1);
        }
        true
    })
}

pub(super) fn full_pages(history: &History) -> Vec<usize> {
    let is_full = |at: &usize| matches!(&history.reads[*at].reading, Reading::Page { items, .. } if !items.is_empty());
    (0..history.reads.len()).filter(is_full).collect()
}

pub(super) fn a_frame_of_another_epoch(history: &mut History, dice: &mut Dice) -> bool {
    let frames = event_frames(history);
    pick(&frames, dice).is_some_and(|at| {
        if let Frame::Event(event) = &mut history.frames[frames[at]].frame {
            event.epoch += 1;
        }
        true
    })
}

pub(super) fn an_ack_before_the_commit(history: &mut History, dice: &mut Dice) -> bool {
    acked(history, dice).is_some_and(|(at, row)| {
        history.log[row].committed_at = Some(history.operations[at].ended_at + 1);
        true
    })
}

pub(super) fn a_frame_before_the_commit(history: &mut History, dice: &mut Dice) -> bool {
    let frames = event_frames(history);
    pick(&frames, dice).is_some_and(|at| {
        let seen = history.frames[frames[at]].clone();
        let Frame::Event(event) = &seen.frame else {
            return false;
        };
        let same = |row: &&mut LogRow| Some(row.command) == event.command;
        history.log.iter_mut().find(same).unwrap().committed_at = Some(seen.at + 1);
        true
    })
}

pub(super) fn a_frame_of_what_is_not_stored(history: &mut History, dice: &mut Dice) -> bool {
    let frames = event_frames(history);
    pick(&frames, dice).is_some_and(|at| {
        let mut seen = history.frames[frames[at]].clone();
        if let Frame::Event(event) = &mut seen.frame {
            event.seq += 10_000;
        }
        history.push(seen);
        true
    })
}

pub(super) fn a_refusal_rests_on_nothing(history: &mut History, dice: &mut Dice) -> bool {
    let is_refused = |operation: &Operation| matches!(operation.outcome, Outcome::Refused { .. });
    pick_where(&history.operations, dice, is_refused).is_some_and(|at| {
        history.operations[at].depends_on = Some(10_000);
        true
    })
}

pub(super) fn a_page_without_the_own_message(history: &mut History, dice: &mut Dice) -> bool {
    let read = |at: &usize| &history.reads[*at];
    let own_last = |at: &usize| match &read(at).reading {
        Reading::Page {
            items,
            newest: true,
            ..
        } => items.last().is_some_and(|last| last.by == read(at).user),
        _no_page => false,
    };
    let pages: Vec<usize> = (0..history.reads.len()).filter(own_last).collect();
    pick(&pages, dice).is_some_and(|at| {
        if let Reading::Page { items, .. } = &mut history.reads[pages[at]].reading {
            items.pop();
        }
        true
    })
}

/// An inbox that somebody read after another one.
pub(super) fn a_second_inbox(history: &History, dice: &mut Dice) -> Option<usize> {
    let is_inbox = |at: &usize| matches!(history.reads[*at].reading, Reading::Inbox { .. });
    let inboxes: Vec<usize> = (0..history.reads.len()).filter(is_inbox).collect();
    let has_earlier = |at: &&usize| {
        let user = history.reads[**at].user;
        inboxes
            .iter()
            .any(|other| other < *at && history.reads[*other].user == user)
    };
    let seconds: Vec<usize> = inboxes.iter().filter(has_earlier).copied().collect();
    pick(&seconds, dice).map(|at| seconds[at])
}

pub(super) fn an_inbox_goes_back_in_time(history: &mut History, dice: &mut Dice) -> bool {
    let Some(at) = a_second_inbox(history, dice) else {
        return false;
    };
    let Reading::Inbox { entries, .. } = &mut history.reads[at].reading else {
        return false;
    };
    let Some(chosen) = pick(entries, dice) else {
        return false;
    };
    entries[chosen].head_seq = 0;
    true
}

pub(super) fn an_inbox_leaves_a_conversation_out(history: &mut History, dice: &mut Dice) -> bool {
    let Some(at) = a_second_inbox(history, dice) else {
        return false;
    };
    if let Reading::Inbox { entries, .. } = &mut history.reads[at].reading {
        let Some(chosen) = pick(entries, dice) else {
            return false;
        };
        entries.remove(chosen);
    }
    true
}

pub(super) fn any_entry(
    history: &mut History,
    dice: &mut Dice,
    change: impl Fn(&mut InboxEntry) -> bool,
) -> bool {
    let is_inbox = |read: &Read| matches!(read.reading, Reading::Inbox { .. });
    let Some(at) = pick_where(&history.reads, dice, is_inbox) else {
        return false;
    };
    let Reading::Inbox { entries, .. } = &mut history.reads[at].reading else {
        return false;
    };
    pick(entries, dice).is_some_and(|chosen| change(&mut entries[chosen]))
}

pub(super) fn a_count_is_one_too_high(history: &mut History, dice: &mut Dice) -> bool {
    any_entry(history, dice, |entry| {
        entry.unread += 1;
        true
    })
}

pub(super) fn a_count_is_negative(history: &mut History, dice: &mut Dice) -> bool {
    any_entry(history, dice, |entry| {
        entry.unread = -1;
        true
    })
}

pub(super) fn a_mention_is_forgotten(history: &mut History, dice: &mut Dice) -> bool {
    any_entry(history, dice, |entry| match entry.mentions {
        Some(mentions) if mentions > 0 => {
            entry.mentions = Some(mentions - 1);
            true
        }
        _nobody_mentioned => false,
    })
}

pub(super) fn a_quiet_page_lacks_an_edit(history: &mut History, dice: &mut Dice) -> bool {
    let quiet: Vec<usize> = full_pages(history)
        .into_iter()
        .filter(|at| history.reads[*at].is_quiet)
        .collect();
    pick(&quiet, dice).is_some_and(|at| {
        if let Reading::Page { items, .. } = &mut history.reads[quiet[at]].reading {
            let chosen = usize_of(dice.below(items.len() as u64));
            items[chosen].body = Some(Digest(1));
        }
        true
    })
}

pub(super) fn fold(history: &mut History, dice: &mut Dice, kind: FoldKind) -> bool {
    pick_where(&history.folds, dice, |fold| fold.kind == kind).is_some_and(|at| {
        history.folds[at].found = Digest(1);
        true
    })
}

pub(super) fn an_owner_differs_from_the_fold(history: &mut History, dice: &mut Dice) -> bool {
    fold(history, dice, FoldKind::Owner)
}

pub(super) fn a_snapshot_differs_from_the_fold(history: &mut History, dice: &mut Dice) -> bool {
    fold(history, dice, FoldKind::Snapshot)
}

pub(super) fn a_read_model_differs_from_the_fold(history: &mut History, dice: &mut Dice) -> bool {
    fold(history, dice, FoldKind::ReadModel)
}

pub(super) fn a_rebuild_differs_from_the_fold(history: &mut History, dice: &mut Dice) -> bool {
    fold(history, dice, FoldKind::Rebuild)
}

/// An event that a member who was removed must not see, and the socket that they have open then.
pub(super) fn after_the_removal(history: &History) -> Option<(u64, FrameSeen)> {
    let gone = person(PEOPLE - 1);
    let removal = history.access.last()?.at;
    let socket = history
        .sockets
        .iter()
        .rfind(|socket| socket.user == gone)?
        .socket;
    // A resume of somebody else may still bring the removal itself, or what stood before it: no harm to see that.
    let is_later =
        |seen: &&FrameSeen| seen.at > removal && !stands_at_the_removal_or_before(history, seen);
    let later = history.frames.iter().find(is_later)?;
    Some((socket, later.clone()))
}

/// True for what is no event, too.
fn stands_at_the_removal_or_before(history: &History, seen: &FrameSeen) -> bool {
    let Frame::Event(event) = &seen.frame else {
        return true;
    };
    let mut removals = history.events.iter().filter(|other| is_the_removal(other));
    removals.any(|end| end.conversation == event.conversation && event.seq <= end.seq)
}

fn is_the_removal(event: &Event) -> bool {
    matches!(event.fact, Fact::Removed { user } if user == person(PEOPLE - 1))
}

pub(super) fn a_removed_member_sees_the_next(history: &mut History, _dice: &mut Dice) -> bool {
    after_the_removal(history).is_some_and(|(socket, seen)| {
        history.push(FrameSeen { socket, ..seen });
        true
    })
}

pub(super) fn a_removed_member_still_hears(history: &mut History, _dice: &mut Dice) -> bool {
    // An event from before the removal, which comes late.
    let (gone, end) = (
        person(PEOPLE - 1),
        history.access.last().map_or(0, |change| change.at),
    );
    let socket = history
        .sockets
        .iter()
        .rfind(|socket| socket.user == gone)
        .unwrap()
        .socket;
    // That one is out may be told late.
    let own = |seen: &&FrameSeen| {
        seen.socket == socket
            && matches!(&seen.frame, Frame::Event(event) if !is_the_removal(event))
    };
    let seen = history.frames.iter().find(own).cloned();
    seen.is_some_and(|seen| {
        history.push(FrameSeen {
            at: end + 1_000_001,
            ..seen
        });
        true
    })
}

pub(super) fn a_stranger_hears(history: &mut History, dice: &mut Dice) -> bool {
    let mut socket = history.sockets[0].clone();
    socket.socket = 9_999;
    socket.user = person(PEOPLE + 5);
    socket.cursors.clear();
    history.push(socket);
    let frames = event_frames(history);
    pick(&frames, dice).is_some_and(|at| {
        let seen = FrameSeen {
            socket: 9_999,
            ..history.frames[frames[at]].clone()
        };
        history.push(seen);
        true
    })
}

pub(super) fn healing_takes_too_long(history: &mut History, dice: &mut Dice) -> bool {
    pick(&history.healings, dice).is_some_and(|at| {
        let healing = &mut history.healings[at];
        let limit = if healing.heals == Heals::Commands {
            15
        } else {
            10
        };
        healing.reached_at = Some(healing.healed_at + limit * 1_000_000 + 1);
        true
    })
}

pub(super) fn healing_never_ends(history: &mut History, dice: &mut Dice) -> bool {
    pick(&history.healings, dice).is_some_and(|at| {
        history.healings[at].reached_at = None;
        true
    })
}

pub(super) fn a_queue_above_its_bound(history: &mut History, dice: &mut Dice) -> bool {
    pick(&history.levels, dice).is_some_and(|at| {
        history.levels[at].value = history.levels[at].bound + 1;
        true
    })
}

pub(super) fn a_golden_vector_does_not_decode(history: &mut History, dice: &mut Dice) -> bool {
    pick(&history.golden, dice).is_some_and(|at| {
        history.golden[at].broken = Some("unknown version 9".to_owned());
        true
    })
}

/// No fault: every application is told to drop all, and then everything once more.
pub(crate) fn reset_everybody_to_the_start(history: &mut History) {
    let mut again = Vec::new();
    for subscription in &history.subscriptions {
        let of_it = history
            .deliveries
            .iter()
            .filter(|told| told.subscription == subscription.subscription);
        let of_it: Vec<_> = of_it.cloned().collect();
        let Some(first) = of_it.first() else { continue };
        let from_seq = subscription.after.unwrap_or(0) + 1;
        again.push(Delivery {
            told: Told::Reset { from_seq },
            ..first.clone()
        });
        again.extend(of_it);
    }
    history.deliveries.extend(again);
}

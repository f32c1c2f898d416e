//! What a resume brings: I9.

use std::collections::HashMap;

use uuid::Uuid;

use crate::history::{Frame, FrameSeen, Outcome, Socket, Time};
use crate::index::Index;
use crate::limits::Limits;
use crate::report::Findings;

/// I9: after a hello, every named conversation continues right behind its cursor, and everything that was acked before
/// the hello has come before `live`.
pub(super) fn resume_is_exact(index: &Index<'_>, limits: &Limits, findings: &mut Findings) {
    let heads = Heads::of(index);
    for socket in &index.history.sockets {
        let frames = index
            .frames
            .get(&socket.socket)
            .map_or(&[][..], Vec::as_slice);
        let mut cursors: HashMap<Uuid, Cursor> = HashMap::new();
        for (conversation, epoch, seq) in &socket.cursors {
            if is_sound(index, socket, *conversation, *epoch, *seq) {
                cursors.insert(
                    *conversation,
                    Cursor {
                        start: *seq,
                        next: seq + 1,
                        is_broken: false,
                    },
                );
            }
        }
        let heard_by = socket.hello_at.saturating_sub(limits.unheard);
        judge(
            index,
            (socket, heard_by),
            &mut cursors,
            frames,
            &heads,
            findings,
        );
    }
}

/// Where a resumed conversation is on a socket.
struct Cursor {
    start: u64,
    next: u64,
    /// The server has said that the order is interrupted, or a fault was told already.
    is_broken: bool,
}

fn judge(
    index: &Index<'_>,
    (socket, heard_by): (&Socket, Time),
    cursors: &mut HashMap<Uuid, Cursor>,
    frames: &[&FrameSeen],
    heads: &Heads,
    findings: &mut Findings,
) {
    let mut is_live = false;
    for seen in frames {
        let mut break_off = |conversation: &Uuid| {
            if let Some(cursor) = cursors.get_mut(conversation) {
                cursor.is_broken = true;
            }
        };
        match &seen.frame {
            Frame::Event(event) => {
                let Some(cursor) = cursors.get_mut(&event.conversation) else {
                    continue;
                };
                if cursor.is_broken {
                    continue;
                }
                findings.must(event.seq == cursor.next, || {
                    let when = if is_live { "after" } else { "before" };
                    format!(
                        "socket {} resumed {} after {} and got {} where {} was to come, {when} live",
                        socket.socket, event.conversation, cursor.start, event.seq, cursor.next
                    )
                });
                cursor.is_broken = event.seq != cursor.next;
                cursor.next = event.seq + 1;
            }
            Frame::Resync { conversations } if conversations.is_empty() => {
                for cursor in cursors.values_mut() {
                    cursor.is_broken = true;
                }
            }
            Frame::Resync { conversations } => {
                for (conversation, ..) in conversations {
                    break_off(conversation);
                }
            }
            Frame::Reset { conversation, .. }
            | Frame::Added { conversation }
            | Frame::Removed { conversation } => break_off(conversation),
            Frame::Live if !is_live => {
                is_live = true;
                for (conversation, cursor) in cursors.iter().filter(|(_, cursor)| !cursor.is_broken)
                {
                    let head = heads.before(*conversation, heard_by);
                    let steady = index.is_steady_member(socket.user, *conversation);
                    findings.must(cursor.next > head || !steady, || {
                        format!(
                            "socket {} is live in {conversation} up to {}, but {head} was acked before its hello",
                            socket.socket,
                            cursor.next - 1
                        )
                    });
                }
            }
            Frame::Live | Frame::Ack { .. } | Frame::Closed { .. } => {}
        }
    }
}

/// The server must know this cursor: the log holds the pair, the user was in all the time and nothing was lost.
fn is_sound(index: &Index<'_>, socket: &Socket, conversation: Uuid, epoch: u64, seq: u64) -> bool {
    if index.has_losses(conversation) || !index.is_steady_member(socket.user, conversation) {
        return false;
    }
    let came = index
        .logs
        .get(&conversation)
        .and_then(|log| log.members.get(&socket.user)?.first().copied())
        .map_or(0, |(came, _went)| came);
    let is_member_there = came <= 1 || seq >= came;
    let is_known = if seq == 0 {
        came <= 1 && index.head(conversation) > 0
    } else {
        index
            .stored((conversation, seq))
            .is_some_and(|stored| stored.epoch == epoch)
    };
    is_member_there && is_known
}

/// The highest acked seq of each conversation over time.
struct Heads(HashMap<Uuid, Vec<(Time, u64)>>);

impl Heads {
    fn of(index: &Index<'_>) -> Self {
        let mut heads: HashMap<Uuid, Vec<(Time, u64)>> = HashMap::new();
        for operation in &index.history.operations {
            if let Outcome::Acked(place) = operation.outcome {
                let acks = heads.entry(operation.conversation).or_default();
                acks.push((operation.ended_at, place.seq));
            }
        }
        for acks in heads.values_mut() {
            acks.sort_unstable();
            let mut highest = 0;
            for (_at, seq) in acks.iter_mut() {
                highest = highest.max(*seq);
                *seq = highest;
            }
        }
        Self(heads)
    }

    /// The highest seq that was acked before this time.
    fn before(&self, conversation: Uuid, time: Time) -> u64 {
        let acks = self.0.get(&conversation).map_or(&[][..], Vec::as_slice);
        let until = acks.partition_point(|(at, _seq)| *at < time);
        until
            .checked_sub(1)
            .and_then(|last| acks.get(last))
            .map_or(0, |(_at, seq)| *seq)
    }
}

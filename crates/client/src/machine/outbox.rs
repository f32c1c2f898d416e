//! Commands on their way: kept in order until the server has answered each one definitely.
//!
//! A command that was handed to a socket and not answered may have been stored, so it is sent again with the same id and
//! `retry: true`. Once an attempt is open like that, a later "not this time" does not settle it: only an ack or a refusal
//! that looked the id up does.

use std::collections::VecDeque;

use hubbub_wire::client::ClientFrame;
use hubbub_wire::client::outbound::{Ack, ErrorFrame};
use hubbub_wire::error::{ErrorClass, ErrorCode};
use uuid::Uuid;

use crate::machine::effect::Effect;

/// Commands waiting at most: more means the application sends faster than anyone can store for minutes.
pub const COMMANDS_MAX: usize = 4_096;
/// Bytes of message text waiting at most.
pub const BYTES_MAX: usize = 8 * 1_048_576;
/// An unanswered command is sent again on the same socket after this many milliseconds: twice the client's deadline of
/// RELIABILITY.md, so that the server's own answer comes first.
pub const ANSWER_TIMEOUT_MS: u64 = 10_000;
/// Wait before a command whose outcome is open is sent again, in milliseconds, when the server gives no hint.
pub const OPEN_RETRY_MS: u64 = 500;

/// How a command ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is in the log.
    Acked(Ack),
    /// It is not in the log, unless `Refusal::maybe_stored`.
    Refused(Refusal),
    /// The outbox is full: it was not sent.
    Full,
    /// Another command with this id is on its way and goes on; this one was not sent.
    IdInUse,
    /// The connection ended for good before an answer.
    Abandoned {
        /// It was handed to a socket, so it may have been stored.
        maybe_stored: bool,
    },
}

/// A definite no to an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The server's word.
    pub code: ErrorCode,
    /// In words.
    pub detail: String,
    /// When trying again makes sense, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// An earlier attempt with the same id had an open outcome: this refusal says nothing about that one.
    pub maybe_stored: bool,
}

#[derive(Debug)]
struct Pending {
    id: Uuid,
    frame: ClientFrame,
    bytes: usize,
    /// Handed to some socket before.
    was_sent: bool,
    /// An attempt ended without a definite answer.
    is_open: bool,
    /// When it is due to be sent (again) on the present socket.
    due_at_ms: u64,
}

/// Commands on their way.
#[derive(Debug, Default)]
pub struct Outbox {
    pending: VecDeque<Pending>,
    bytes: usize,
}

impl Outbox {
    /// Takes a command in. It is sent at once when `is_connected`, else after the next welcome.
    pub fn submit(
        &mut self,
        frame: ClientFrame,
        now_ms: u64,
        is_connected: bool,
        out: &mut Vec<Effect>,
    ) {
        let Some(id) = frame.id() else { return };
        if let Some(known) = self.pending.iter_mut().find(|known| known.id == id) {
            if without_retry(&known.frame) == without_retry(&frame) {
                // A deliberate repetition while the first is on its way: one more attempt, one outcome.
                if is_connected {
                    known.is_open |= known.was_sent;
                    known.transmit(now_ms, out);
                }
            } else {
                out.push(settle(id, Outcome::IdInUse));
            }
            return;
        }
        let bytes = frame_bytes(&frame);
        if self.pending.len() >= COMMANDS_MAX || self.bytes.saturating_add(bytes) > BYTES_MAX {
            out.push(settle(id, Outcome::Full));
            return;
        }
        let mut pending = Pending {
            id,
            frame,
            bytes,
            was_sent: false,
            is_open: false,
            due_at_ms: 0,
        };
        if is_connected {
            pending.transmit(now_ms, out);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.pending.push_back(pending);
    }

    /// A welcome came on a new socket: everything again, in order (PROTOCOL.md rule 5).
    pub fn resend_all(&mut self, now_ms: u64, out: &mut Vec<Effect>) {
        for pending in &mut self.pending {
            pending.is_open |= pending.was_sent;
            pending.transmit(now_ms, out);
        }
    }

    /// Sends again, in order, what is due.
    pub fn resend_due(&mut self, now_ms: u64, out: &mut Vec<Effect>) {
        for pending in &mut self.pending {
            if pending.due_at_ms <= now_ms {
                pending.is_open |= pending.was_sent;
                pending.transmit(now_ms, out);
            }
        }
    }

    /// When [`Outbox::resend_due`] has something to do.
    pub fn due_at_ms(&self) -> Option<u64> {
        self.pending.iter().map(|pending| pending.due_at_ms).min()
    }

    /// The server stored it.
    pub fn acked(&mut self, ack: Ack, out: &mut Vec<Effect>) {
        if self.take(ack.id).is_some() {
            out.push(settle(ack.id, Outcome::Acked(ack)));
        }
    }

    /// The server refused the frame `id`. `false` when that is none of ours.
    pub fn refused(
        &mut self,
        id: Uuid,
        error: &ErrorFrame,
        now_ms: u64,
        out: &mut Vec<Effect>,
    ) -> bool {
        let Some(pending) = self.pending.iter_mut().find(|pending| pending.id == id) else {
            return false;
        };
        let again_later = match error.code.class() {
            ErrorClass::Open => {
                pending.is_open = true;
                true
            }
            // This attempt was not stored; an open one before it may have been.
            ErrorClass::Later => pending.is_open,
            ErrorClass::FixIt | ErrorClass::NotYours | ErrorClass::Clash => false,
        };
        if again_later {
            pending.due_at_ms =
                now_ms.saturating_add(error.retry_after_ms.unwrap_or(OPEN_RETRY_MS));
            return true;
        }
        let maybe_stored = pending.is_open;
        self.take(id);
        out.push(settle(
            id,
            Outcome::Refused(Refusal {
                code: error.code,
                detail: error.detail.clone(),
                retry_after_ms: error.retry_after_ms,
                maybe_stored,
            }),
        ));
        true
    }

    /// The connection ended for good.
    pub fn abandon_all(&mut self, out: &mut Vec<Effect>) {
        for pending in self.pending.drain(..) {
            out.push(settle(
                pending.id,
                Outcome::Abandoned {
                    maybe_stored: pending.was_sent,
                },
            ));
        }
        self.bytes = 0;
    }

    /// Commands waiting.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    fn take(&mut self, id: Uuid) -> Option<Pending> {
        // Answers come nearly in order, so the search ends near the front.
        let index = self.pending.iter().position(|pending| pending.id == id)?;
        let taken = self.pending.remove(index)?;
        self.bytes = self.bytes.saturating_sub(taken.bytes);
        Some(taken)
    }
}

impl Pending {
    fn transmit(&mut self, now_ms: u64, out: &mut Vec<Effect>) {
        let mut frame = self.frame.clone();
        if self.was_sent {
            set_retry(&mut frame);
        }
        self.was_sent = true;
        self.due_at_ms = now_ms.saturating_add(ANSWER_TIMEOUT_MS);
        out.push(Effect::Transmit(frame));
    }
}

fn settle(id: Uuid, outcome: Outcome) -> Effect {
    Effect::Settle { id, outcome }
}

fn retry_of(frame: &mut ClientFrame) -> Option<&mut Option<bool>> {
    match frame {
        ClientFrame::Send(frame) => Some(&mut frame.retry),
        ClientFrame::Edit(frame) => Some(&mut frame.retry),
        ClientFrame::Delete(frame) => Some(&mut frame.retry),
        ClientFrame::React(frame) => Some(&mut frame.retry),
        ClientFrame::Pin(frame) => Some(&mut frame.retry),
        ClientFrame::Hello(_)
        | ClientFrame::Mark(_)
        | ClientFrame::Typing(_)
        | ClientFrame::Watch(_)
        | ClientFrame::Unwatch(_)
        | ClientFrame::Open(_)
        | ClientFrame::Close(_)
        | ClientFrame::History(_)
        | ClientFrame::Ping(_) => None,
    }
}

fn set_retry(frame: &mut ClientFrame) {
    if let Some(retry) = retry_of(frame) {
        *retry = Some(true);
    }
}

fn without_retry(frame: &ClientFrame) -> ClientFrame {
    let mut plain = frame.clone();
    if let Some(retry) = retry_of(&mut plain) {
        *retry = None;
    }
    plain
}

fn frame_bytes(frame: &ClientFrame) -> usize {
    match frame {
        ClientFrame::Send(frame) => frame.body.len(),
        ClientFrame::Edit(frame) => frame.body.len(),
        ClientFrame::React(frame) => frame.emoji.len(),
        ClientFrame::Delete(_)
        | ClientFrame::Pin(_)
        | ClientFrame::Hello(_)
        | ClientFrame::Mark(_)
        | ClientFrame::Typing(_)
        | ClientFrame::Watch(_)
        | ClientFrame::Unwatch(_)
        | ClientFrame::Open(_)
        | ClientFrame::Close(_)
        | ClientFrame::History(_)
        | ClientFrame::Ping(_) => 0,
    }
}

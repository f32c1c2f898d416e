//! Marks on their way: nobody answers them, so the latest of each conversation is sent once more after a reconnect.

use std::collections::BTreeMap;

use hubbub_wire::client::ClientFrame;
use hubbub_wire::client::inbound::Mark;
use uuid::Uuid;

use crate::machine::effect::Effect;

/// Marks are stored within 2 s (PROTOCOL.md); after five times that on an open socket a mark is settled. Sending it again
/// later would undo what another device has marked unread since.
pub const SETTLED_MS: u64 = 10_000;
/// Unsettled marks remembered at most, one per conversation: more than a person moves within the time above.
pub const MARKS_MAX: usize = 1_000;

/// Marks on their way.
#[derive(Debug, Default)]
pub struct Marks {
    by_conversation: BTreeMap<Uuid, Unsettled>,
}

#[derive(Debug)]
struct Unsettled {
    mark: Mark,
    /// When it was handed to the socket that is open now.
    sent_at_ms: Option<u64>,
}

impl Marks {
    /// Takes a mark in and sends it when `is_live`.
    pub fn submit(&mut self, mark: Mark, now_ms: u64, is_live: bool, out: &mut Vec<Effect>) {
        if is_live {
            out.push(Effect::Transmit(ClientFrame::Mark(mark.clone())));
        }
        self.drop_settled(now_ms);
        let id = mark.conversation_id;
        let mark = match self.by_conversation.get(&id) {
            Some(earlier) => Mark {
                conversation_id: id,
                read_no: mark.read_no.max(earlier.mark.read_no),
                delivered_no: mark.delivered_no.max(earlier.mark.delivered_no),
            },
            None if self.by_conversation.len() >= MARKS_MAX => return,
            None => mark,
        };
        let sent_at_ms = is_live.then_some(now_ms);
        self.by_conversation
            .insert(id, Unsettled { mark, sent_at_ms });
    }

    /// A welcome came on a new socket.
    pub fn resend_all(&mut self, now_ms: u64, out: &mut Vec<Effect>) {
        for unsettled in self.by_conversation.values_mut() {
            unsettled.sent_at_ms = Some(now_ms);
            out.push(Effect::Transmit(ClientFrame::Mark(unsettled.mark.clone())));
        }
    }

    /// The socket is gone, and with it perhaps what was sent on it lately.
    pub fn disconnected(&mut self, now_ms: u64) {
        self.drop_settled(now_ms);
        for unsettled in self.by_conversation.values_mut() {
            unsettled.sent_at_ms = None;
        }
    }

    fn drop_settled(&mut self, now_ms: u64) {
        self.by_conversation.retain(|_id, unsettled| {
            unsettled
                .sent_at_ms
                .is_none_or(|sent_at_ms| now_ms.saturating_sub(sent_at_ms) < SETTLED_MS)
        });
    }
}

//! Markers of one socket on their way to their owners: of each conversation only the latest values, one request at a time.
//!
//! A mark that was not stored goes back to wait: values only rise, so asking again is harmless, and the client does not know.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::MessageNo;
use hubbub_wire::bus::MarkRequest;
use tokio::time::Instant;

/// How long a mark waits for a later one. Stored within 2 s is promised; the owner coalesces as well.
const WAIT: Duration = Duration::from_millis(100);
/// How long a mark that could not be stored waits.
const WAIT_AGAIN: Duration = Duration::from_millis(500);
/// Conversations whose marks may wait; beyond it a mark is forgotten, which the client's next one makes good.
const MARKS_MAX: usize = 1_000;

/// Marks that wait, and whose are under way.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    waiting: HashMap<ConversationId, (Option<MessageNo>, Option<MessageNo>)>,
    under_way: HashSet<ConversationId>,
    due: Option<Instant>,
}

impl Marks {
    /// Takes a mark: each value only rises.
    pub(crate) fn push(
        &mut self,
        conversation: ConversationId,
        read_no: Option<MessageNo>,
        delivered_no: Option<MessageNo>,
        now: Instant,
    ) {
        self.wait(conversation, read_no, delivered_no);
        self.due.get_or_insert(now + WAIT);
    }

    /// When to send what waits.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// What waits and has none of its conversation under way, as requests of `user`. Each comes back by [`Marks::stored`] or
    /// [`Marks::failed`].
    pub(crate) fn take(&mut self, user: UserId) -> Vec<MarkRequest> {
        self.due = None;
        let waiting = std::mem::take(&mut self.waiting);
        let mut requests = Vec::new();
        for (conversation, (read_no, delivered_no)) in waiting {
            if self.under_way.insert(conversation) {
                requests.push(MarkRequest {
                    conversation,
                    user,
                    read_no,
                    delivered_no,
                    wait_stored: true,
                });
            } else {
                self.waiting.insert(conversation, (read_no, delivered_no));
            }
        }
        requests
    }

    /// A request has its definite answer.
    pub(crate) fn stored(&mut self, conversation: ConversationId, now: Instant) {
        self.under_way.remove(&conversation);
        if self.waiting.contains_key(&conversation) {
            self.due.get_or_insert(now + WAIT);
        }
    }

    /// A request may not have been stored.
    pub(crate) fn failed(&mut self, request: &MarkRequest, now: Instant) {
        self.under_way.remove(&request.conversation);
        self.wait(request.conversation, request.read_no, request.delivered_no);
        self.due.get_or_insert(now + WAIT_AGAIN);
    }

    fn wait(
        &mut self,
        conversation: ConversationId,
        read_no: Option<MessageNo>,
        delivered_no: Option<MessageNo>,
    ) {
        if self.waiting.len() >= MARKS_MAX && !self.waiting.contains_key(&conversation) {
            return;
        }
        let waiting = self.waiting.entry(conversation).or_default();
        waiting.0 = waiting.0.max(read_no);
        waiting.1 = waiting.1.max(delivered_no);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const USER: UserId = UserId::from_uuid(Uuid::from_u128(2));
    const ROOM: ConversationId = ConversationId::from_uuid(Uuid::from_u128(1));

    fn request(read_no: u64, delivered_no: Option<u64>) -> MarkRequest {
        MarkRequest {
            conversation: ROOM,
            user: USER,
            read_no: Some(MessageNo::new(read_no)),
            delivered_no: delivered_no.map(MessageNo::new),
            wait_stored: true,
        }
    }

    #[test]
    fn of_each_conversation_the_highest_values_go_once() {
        let mut marks = Marks::default();
        let now = Instant::now();
        marks.push(ROOM, Some(MessageNo::new(3)), None, now);
        marks.push(ROOM, Some(MessageNo::new(2)), Some(MessageNo::new(9)), now);
        assert_eq!(marks.due(), Some(now + WAIT));
        assert_eq!(marks.take(USER), [request(3, Some(9))]);
        assert_eq!((marks.due(), marks.take(USER)), (None, vec![]));
    }

    #[test]
    fn the_next_mark_waits_until_the_one_before_is_stored() {
        let mut marks = Marks::default();
        let now = Instant::now();
        marks.push(ROOM, Some(MessageNo::new(3)), None, now);
        marks.take(USER);
        marks.push(ROOM, Some(MessageNo::new(4)), None, now);
        assert_eq!(marks.take(USER), []);
        marks.stored(ROOM, now);
        assert_eq!(marks.due(), Some(now + WAIT));
        assert_eq!(marks.take(USER), [request(4, None)]);
    }

    #[test]
    fn a_mark_that_was_not_stored_is_sent_again_with_what_came_since() {
        let mut marks = Marks::default();
        let now = Instant::now();
        marks.push(ROOM, Some(MessageNo::new(3)), None, now);
        let sent = marks.take(USER);
        marks.failed(&sent[0], now);
        assert_eq!(marks.due(), Some(now + WAIT_AGAIN));
        marks.push(ROOM, None, Some(MessageNo::new(5)), now);
        assert_eq!(marks.take(USER), [request(3, Some(5))]);
    }
}

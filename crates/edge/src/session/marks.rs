//! Markers of one socket on their way to their owners: of each conversation only the latest values, a few times a second.

use std::collections::HashMap;
use std::time::Duration;

use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::MessageNo;
use hubbub_wire::bus::MarkRequest;
use tokio::time::Instant;

/// How long a mark waits for a later one. Stored within 2 s is promised; the owner coalesces as well.
const WAIT: Duration = Duration::from_millis(100);
/// Conversations whose marks may wait; beyond it a mark is forgotten, which the client's next one makes good.
const MARKS_MAX: usize = 1_000;

/// Marks that wait.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    waiting: HashMap<ConversationId, (Option<MessageNo>, Option<MessageNo>)>,
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
        if self.waiting.len() >= MARKS_MAX && !self.waiting.contains_key(&conversation) {
            return;
        }
        let waiting = self.waiting.entry(conversation).or_default();
        waiting.0 = waiting.0.max(read_no);
        waiting.1 = waiting.1.max(delivered_no);
        self.due.get_or_insert(now + WAIT);
    }

    /// When to send what waits.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Everything that waits, as requests of `user`.
    pub(crate) fn take(&mut self, user: UserId) -> Vec<MarkRequest> {
        self.due = None;
        let waiting = std::mem::take(&mut self.waiting);
        let request = |(conversation, (read_no, delivered_no))| MarkRequest {
            conversation,
            user,
            read_no,
            delivered_no,
            wait_stored: false,
        };
        waiting.into_iter().map(request).collect()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn of_each_conversation_the_highest_values_go_once() {
        let (room, user) = (
            ConversationId::from_uuid(Uuid::from_u128(1)),
            UserId::from_uuid(Uuid::from_u128(2)),
        );
        let mut marks = Marks::default();
        let now = Instant::now();
        marks.push(room, Some(MessageNo::new(3)), None, now);
        marks.push(room, Some(MessageNo::new(2)), Some(MessageNo::new(9)), now);
        assert_eq!(marks.due(), Some(now + WAIT));
        let expected = MarkRequest {
            conversation: room,
            user,
            read_no: Some(MessageNo::new(3)),
            delivered_no: Some(MessageNo::new(9)),
            wait_stored: false,
        };
        assert_eq!(marks.take(user), [expected]);
        assert_eq!((marks.due(), marks.take(user)), (None, vec![]));
    }
}

//! Sends of one socket: to one conversation one after the other, to different ones at once.
//!
//! The next send of a conversation is submitted when the one before has its answer. So their order holds even when an owner moves
//! and the router tries again (I7).
//!
//! Pure: the caller submits what [`Chains::push`] and [`Chains::done`] return.

use std::collections::{HashMap, VecDeque};

use hubbub_domain::ids::ConversationId;

/// Commands of one socket that wait or run; at this many the socket is not read, so that the client's own sending slows down.
pub const SENDS_MAX: usize = 64;

/// The sends of one socket.
#[derive(Debug)]
pub struct Chains<T> {
    /// Present while one of the conversation runs; what waits behind it.
    behind: HashMap<ConversationId, VecDeque<T>>,
    count: usize,
}

impl<T> Default for Chains<T> {
    fn default() -> Self {
        Self {
            behind: HashMap::new(),
            count: 0,
        }
    }
}

impl<T> Chains<T> {
    /// Takes a send; returned when it can be submitted at once.
    pub fn push(&mut self, conversation: ConversationId, send: T) -> Option<T> {
        self.count += 1;
        if let Some(waiting) = self.behind.get_mut(&conversation) {
            waiting.push_back(send);
            return None;
        }
        self.behind.insert(conversation, VecDeque::new());
        Some(send)
    }

    /// The running send of a conversation has its answer; the next one to submit.
    pub fn done(&mut self, conversation: ConversationId) -> Option<T> {
        let waiting = self.behind.get_mut(&conversation)?;
        self.count = self.count.saturating_sub(1);
        let next = waiting.pop_front();
        if next.is_none() {
            self.behind.remove(&conversation);
        }
        next
    }

    /// Whether another one may come.
    pub fn has_room(&self) -> bool {
        self.count < SENDS_MAX
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn conversation(n: u128) -> ConversationId {
        ConversationId::from_uuid(Uuid::from_u128(n))
    }

    #[test]
    fn one_conversation_goes_step_by_step_and_others_do_not_wait_for_it() {
        let mut chains = Chains::default();
        assert_eq!(chains.push(conversation(1), "a"), Some("a"));
        assert_eq!(chains.push(conversation(1), "b"), None);
        assert_eq!(chains.push(conversation(1), "c"), None);
        assert_eq!(chains.push(conversation(2), "x"), Some("x"));
        assert_eq!(chains.done(conversation(1)), Some("b"));
        assert_eq!(chains.done(conversation(1)), Some("c"));
        assert_eq!(chains.done(conversation(1)), None);
        assert_eq!(chains.push(conversation(1), "d"), Some("d"));
        assert_eq!(chains.done(conversation(2)), None);
    }

    #[test]
    fn what_waits_is_bounded_by_not_reading_on() {
        let mut chains = Chains::default();
        for n in 0..SENDS_MAX {
            assert!(chains.has_room());
            chains.push(conversation(1), n);
        }
        assert!(!chains.has_room());
        chains.done(conversation(1));
        assert!(chains.has_room());
    }
}

//! Typing states of one socket: only news go on.

use std::collections::HashMap;
use std::time::Duration;

use hubbub_domain::ids::ConversationId;
use tokio::time::Instant;

/// The same typing state is published again after this long.
const TYPING_AGAIN: Duration = Duration::from_secs(2);
/// Typing states of one conversation are at least so far apart, whatever they say.
const TYPING_GAP: Duration = Duration::from_millis(100);
/// Conversations whose typing state is remembered per socket.
const TYPING_MAX: usize = 32;

/// Typing states published lately.
#[derive(Debug, Default)]
pub(crate) struct TypingThrottle {
    latest: HashMap<ConversationId, (bool, Instant)>,
}

impl TypingThrottle {
    /// Whether this state is news.
    pub(crate) fn passes(&mut self, conversation: ConversationId, on: bool, now: Instant) -> bool {
        if let Some((was_on, at)) = self.latest.get(&conversation) {
            let since = now.duration_since(*at);
            if since < TYPING_GAP || (*was_on == on && since < TYPING_AGAIN) {
                return false;
            }
        }
        if self.latest.len() >= TYPING_MAX {
            self.latest
                .retain(|_, (_, at)| now.duration_since(*at) < TYPING_AGAIN);
            if self.latest.len() >= TYPING_MAX {
                return false;
            }
        }
        self.latest.insert(conversation, (on, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn typing_passes_when_it_changes_or_after_a_while() {
        let room = ConversationId::from_uuid(Uuid::from_u128(1));
        let mut throttle = TypingThrottle::default();
        let now = Instant::now();
        assert!(throttle.passes(room, true, now));
        assert!(!throttle.passes(room, true, now + TYPING_GAP));
        assert!(!throttle.passes(room, false, now));
        assert!(throttle.passes(room, false, now + TYPING_GAP));
        assert!(throttle.passes(room, true, now + TYPING_GAP * 2));
        assert!(throttle.passes(room, true, now + TYPING_GAP * 2 + TYPING_AGAIN));
    }

    #[test]
    fn a_client_that_types_everywhere_is_not_remembered_without_end() {
        let mut throttle = TypingThrottle::default();
        let now = Instant::now();
        let passed = (0..200)
            .filter(|n| throttle.passes(ConversationId::from_uuid(Uuid::from_u128(*n)), true, now))
            .count();
        assert_eq!(passed, TYPING_MAX);
    }
}

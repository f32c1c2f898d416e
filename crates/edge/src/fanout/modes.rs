//! What a room still gets as it grows (ARCHITECTURE.md §7): thresholds as settings, so that a test uses small ones. Pure.

use std::time::Duration;

use hubbub_wire::bus::INLINE_RECIPIENTS_MAX;

/// Sizes at which rooms change their manners.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoomModes {
    /// Members up to which everyone sees everyone's receipts: those whom the owner lists anyway.
    pub receipts_members_max: usize,
    /// Members up to which typing is shown; one's presence is one of a thousand above it.
    pub typing_members_max: usize,
    /// Members up to which every event goes out at once and whole.
    pub whole_members_max: usize,
    /// Above that: events go out together this often, bodies only to sockets that have the room open.
    pub crowd_every: Duration,
}

impl Default for RoomModes {
    fn default() -> Self {
        Self {
            receipts_members_max: INLINE_RECIPIENTS_MAX,
            typing_members_max: 1_000,
            whole_members_max: 50_000,
            crowd_every: Duration::from_millis(250),
        }
    }
}

impl RoomModes {
    /// Whether every member sees the receipts of every other.
    pub fn shows_receipts(&self, members: usize) -> bool {
        members <= self.receipts_members_max
    }

    /// Whether typing is shown.
    pub fn shows_typing(&self, members: usize) -> bool {
        members <= self.typing_members_max
    }

    /// Whether events are collected.
    pub fn is_crowd(&self, members: usize) -> bool {
        members > self.whole_members_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_loses_receipts_then_typing_then_whole_frames() {
        let modes = RoomModes::default();
        let manners = |members| {
            (
                modes.shows_receipts(members),
                modes.shows_typing(members),
                modes.is_crowd(members),
            )
        };
        assert_eq!(manners(32), (true, true, false));
        assert_eq!(manners(33), (false, true, false));
        assert_eq!(manners(1_001), (false, false, false));
        assert_eq!(manners(50_000), (false, false, false));
        assert_eq!(manners(50_001), (false, false, true));
    }
}

//! Unread arithmetic as a pure function, used by read models, their recount and tests.

use crate::position::MessageNo;

/// What one member's unread count depends on (ARCHITECTURE.md §8).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UnreadInputs {
    /// Number of the newest message of the conversation.
    pub head_no: MessageNo,
    /// The member's stored read marker.
    pub read_no: MessageNo,
    /// Number of the newest message that the member wrote: sending moves the own marker there.
    pub own_no: MessageNo,
    /// `head_no` at the moment the member joined: what was said before does not count.
    pub joined_no: MessageNo,
    /// Messages of others deleted for everyone with a number above the effective marker.
    pub deleted_between: u64,
    /// Own messages above the effective marker; non-zero only after mark-unread.
    pub own_between: u64,
}

impl UnreadInputs {
    /// The effective marker: messages up to this number count as read.
    pub fn effective_read_no(&self) -> MessageNo {
        self.read_no
            .max(self.own_no)
            .max(self.joined_no)
            .min(self.head_no)
    }

    /// Messages of others after the effective marker that still exist. Never negative (I10).
    pub fn unread(&self) -> u64 {
        self.head_no
            .since(self.effective_read_no())
            .saturating_sub(self.deleted_between)
            .saturating_sub(self.own_between)
    }
}

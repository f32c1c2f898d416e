//! What a request is about, and how much of everybody's permits it takes.

use std::time::{Duration, Instant};

use hubbub_domain::conversation::{Command, Intent};
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{PartitionCount, PartitionId};
use hubbub_wire::bus::{CommandRequest, OwnerRequest};

use crate::conversation::actor::Want;

/// What the conversation is asked for.
pub(super) fn want(request: CommandRequest, patience: Duration) -> Want {
    match request.request {
        OwnerRequest::Command(command) => Want::Command {
            command: Box::new(command),
            retry: request.retry,
            deadline: Instant::now() + patience,
        },
        OwnerRequest::Mark(mark) => Want::Mark(mark),
    }
}

/// Whose permit a request takes.
pub(super) struct Subject {
    pub(super) conversation: ConversationId,
    pub(super) user: UserId,
    pub(super) bytes: usize,
    /// Shed first: receipts, which come again by themselves.
    light: bool,
}

impl Subject {
    pub(super) fn of(request: &OwnerRequest) -> Self {
        const REQUEST_BYTES: usize = 256;
        match request {
            OwnerRequest::Command(command) => Self {
                conversation: command.conversation,
                user: command.by,
                bytes: REQUEST_BYTES.saturating_add(content_bytes(command)),
                light: false,
            },
            OwnerRequest::Mark(mark) => Self {
                conversation: mark.conversation,
                user: mark.user,
                bytes: REQUEST_BYTES,
                light: !mark.wait_stored,
            },
        }
    }

    /// How long it may wait, as far as letting it in goes: a light one half of what it has.
    pub(super) fn patience(&self, patience: Duration) -> Duration {
        if self.light { patience / 2 } else { patience }
    }

    pub(super) fn partition_of(&self, partitions: PartitionCount) -> PartitionId {
        partitions.partition_of(self.conversation)
    }
}

/// What a command carries besides its fixed part. Twice, because its event carries it too.
fn content_bytes(command: &Command) -> usize {
    const MEMBER_BYTES: usize = 40;
    let once = match &command.intent {
        Intent::SendMessage { body, .. } => body.len(),
        Intent::Create(new) => {
            let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
            new.members
                .len()
                .saturating_mul(MEMBER_BYTES)
                .saturating_add(text(&new.title))
                .saturating_add(text(&new.topic))
        }
        Intent::AddMember { .. }
        | Intent::Join
        | Intent::Leave
        | Intent::RemoveMember { .. }
        | Intent::ChangeRole { .. } => 0,
    };
    once.saturating_mul(2)
}

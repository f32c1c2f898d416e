//! What becomes of a command, as a future.

use std::pin::Pin;
use std::task::{Context, Poll};

use hubbub_wire::client::outbound::Ack;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::machine::outbox::{Outcome, Refusal};

/// Resolves when the command has ended: acked, or definitely not. Stays pending while the outcome is not known.
///
/// Dropping it does not take the command back.
#[derive(Debug)]
pub struct SendReceipt {
    id: Uuid,
    outcome: oneshot::Receiver<Outcome>,
}

/// Why a command was not acknowledged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError {
    /// The server says no.
    #[error("refused: {}: {}", .0.code, .0.detail)]
    Refused(Refusal),
    /// Too many commands wait already: send again later.
    #[error("too many commands are waiting")]
    Full,
    /// Another command with this id is on its way: choose a fresh id.
    #[error("another command with this id is on its way")]
    IdInUse,
    /// The client has ended.
    #[error("the client has ended")]
    Closed {
        /// The command was handed to a socket before, so it may have been stored.
        maybe_stored: bool,
    },
    /// The frame is not a command.
    #[error("only commands are answered")]
    NoCommand,
}

impl SendError {
    /// Whether the command may be in the log in spite of this.
    pub const fn maybe_stored(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.maybe_stored,
            Self::Closed { maybe_stored } => *maybe_stored,
            Self::Full | Self::IdInUse | Self::NoCommand => false,
        }
    }
}

impl SendReceipt {
    pub(super) const fn new(id: Uuid, outcome: oneshot::Receiver<Outcome>) -> Self {
        Self { id, outcome }
    }

    /// The command's id.
    pub const fn id(&self) -> Uuid {
        self.id
    }
}

impl Future for SendReceipt {
    type Output = Result<Ack, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.outcome)
            .poll(cx)
            .map(|outcome| match outcome {
                Ok(Outcome::Acked(ack)) => Ok(ack),
                Ok(Outcome::Refused(refusal)) => Err(SendError::Refused(refusal)),
                Ok(Outcome::Full) => Err(SendError::Full),
                Ok(Outcome::IdInUse) => Err(SendError::IdInUse),
                Ok(Outcome::Abandoned { maybe_stored }) => Err(SendError::Closed { maybe_stored }),
                // The driver was stopped from outside, with its runtime.
                Err(_dropped) => Err(SendError::Closed { maybe_stored: true }),
            })
    }
}

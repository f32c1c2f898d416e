//! What was asked for, and how it ended.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Digest, Time, serde_default};

/// One attempt to have something stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Operation {
    /// The command id; repetitions share it.
    #[serde(rename = "id")]
    pub command: Uuid,
    /// Where.
    #[serde(rename = "c")]
    pub conversation: Uuid,
    /// Who asked.
    #[serde(rename = "u")]
    pub user: Uuid,
    /// What for.
    #[serde(rename = "k")]
    pub kind: OperationKind,
    /// What it says; `None` when there is no text.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Digest>,
    /// Number of the node that was asked.
    #[serde(rename = "n")]
    pub node: u32,
    /// The socket that it was sent on; `None` over REST. The times of sending must tell the order on one socket.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<u64>,
    /// When it was sent.
    #[serde(rename = "at")]
    pub invoked_at: Time,
    /// When its end was known; the end of the run for [`Outcome::Open`].
    #[serde(rename = "end")]
    pub ended_at: Time,
    /// How it ended.
    #[serde(rename = "o")]
    pub outcome: Outcome,
    /// The highest seq on which the answer was decided, when the recorder can know it (the simulator does); also for
    /// refusals.
    #[serde(rename = "on", default, skip_serializing_if = "Option::is_none")]
    pub depends_on: Option<u64>,
}

/// What was asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// A new conversation.
    Create,
    /// A new message.
    Send,
    /// Another text for a message.
    Edit {
        /// Which message.
        no: u64,
    },
    /// A message away for everyone.
    Delete {
        /// Which message.
        no: u64,
    },
    /// A reaction given or taken back.
    React {
        /// Which message.
        no: u64,
    },
    /// Someone comes in: by joining or by being added.
    Add {
        /// Who.
        user: Uuid,
    },
    /// Someone goes: by leaving, by being removed or banned.
    Remove {
        /// Who.
        user: Uuid,
    },
    /// A read marker; stores no event.
    Mark {
        /// Up to which message.
        read_no: u64,
    },
    /// Anything else that may store an event.
    Other,
}

/// How an attempt ended for the one who asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A definite yes: it is stored there.
    Acked(Place),
    /// A definite yes to something that stores no event.
    Done,
    /// A definite no: this attempt is not and will not be stored.
    Refused {
        /// The code word of the contract.
        code: String,
    },
    /// Nobody said: a time-out, a lost socket, `unknown_outcome`.
    Unknown,
    /// The run ended before it did.
    Open,
}

/// Where an ack says that something stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Place {
    /// Epoch under which it was written.
    #[serde(rename = "e")]
    pub epoch: u64,
    /// Place in the conversation.
    #[serde(rename = "s")]
    pub seq: u64,
    /// Number of the message, when it is one.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub message_no: Option<u64>,
    /// The server said that it had been stored before.
    #[serde(
        rename = "dup",
        default,
        skip_serializing_if = "serde_default::is_false"
    )]
    pub is_duplicate: bool,
}

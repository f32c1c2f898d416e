//! What nodes say to each other on the bus. postcard behind one protocol byte; adjacent releases understand each other.
//!
//! Subjects are in the `bus` room; the meaning is in ARCHITECTURE.md §5 and §7.
//!
//! Every type here has `encode` and `decode`; the structs that are really on the wire are private to `bus/`.

mod codec;
mod commands;
mod events;
mod ownership;
mod rejection;
mod signals;

use hubbub_domain::conversation::{Command, Rejection};
use hubbub_domain::ids::{ConversationId, Incarnation, UserId};
use hubbub_domain::position::{Epoch, MessageNo, Offset, PartitionId, Seq};
use hubbub_domain::time::Timestamp;

use crate::stored::EventRow;

/// Largest message in bytes: NATS carries 1 MiB by default (`max_payload`, headers included); 16 KiB are left for headers.
pub const BUS_MESSAGE_BYTES_MAX: usize = 1_048_576 - 16_384;
/// Bytes at which an owner cuts an [`EvBatch`] (ARCHITECTURE.md §7): half of what a message may have, so that one large batch does not hold up
/// a subscriber's connection for long.
pub const EV_BATCH_BYTES_MAX: usize = 512 * 1_024;

/// Why a bus message cannot be read. It is dropped and counted: what it carried is repaired by numbers or asked for again.
#[derive(Debug, thiserror::Error)]
pub enum BusDecodeError {
    /// Longer than [`BUS_MESSAGE_BYTES_MAX`]; nothing of it was read.
    #[error("{message} of {bytes} bytes is too large")]
    TooLarge {
        /// What it should have been.
        message: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// From a release that is too far away, or not from us at all.
    #[error("{message} in unknown protocol {found:?}")]
    Protocol {
        /// What it should have been.
        message: &'static str,
        /// Its protocol byte; `None` when it is empty.
        found: Option<u8>,
    },
    /// The struct does not parse.
    #[error("malformed {message}: {source}")]
    Malformed {
        /// What it should have been.
        message: &'static str,
        /// What postcard said.
        #[source]
        source: postcard::Error,
    },
}

/// Events of one partition as committed: dense from `base_offset`. Sent on `hub.ev.<partition>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EvBatch {
    /// The partition.
    pub partition: PartitionId,
    /// The epoch under which these were written.
    pub epoch: Epoch,
    /// Offset of the first event.
    pub base_offset: Offset,
    /// The events, one offset apart.
    pub events: Vec<EvEntry>,
}

/// One event of an [`EvBatch`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EvEntry {
    /// The event as stored.
    pub row: EventRow,
    /// Who receives it, when the conversation has at most [`INLINE_RECIPIENTS_MAX`] members: authoritative at that seq, and includes
    /// a member whom this very event removes. `None` for larger ones: the edge folds membership itself.
    pub recipients: Option<Vec<UserId>>,
}

/// Members up to which the owner lists recipients in the message (ARCHITECTURE.md §7).
pub const INLINE_RECIPIENTS_MAX: usize = 32;

/// Where every partition of one owner stands; broadcast once a second on `hub.head`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeadBroadcast {
    /// The owner.
    pub incarnation: Incarnation,
    /// Highest account revision this node knows; an edge that is behind reads them before it delivers.
    pub user_rev: u64,
    /// Its partitions.
    pub heads: Vec<PartitionHead>,
}

/// How far a partition's log reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartitionHead {
    /// The partition.
    pub partition: PartitionId,
    /// Current epoch.
    pub epoch: Epoch,
    /// Offset of the last event; zero when empty.
    pub head: Offset,
}

/// A command on its way to its owner, on `hub.cmd.<incarnation>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommandRequest {
    /// The partition of the command's conversation.
    pub partition: PartitionId,
    /// The epoch under which the sender believes the receiver to own it.
    pub epoch: Epoch,
    /// Time left, in milliseconds; past it the owner drops the command before the append, never after.
    pub remaining_ms: u32,
    /// The sender has sent this id before, or it comes by REST: look it up when it is not in the window.
    pub retry: bool,
    /// What is wanted.
    pub request: OwnerRequest,
}

/// What an owner can be asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OwnerRequest {
    /// Decide and store.
    Command(Command),
    /// Move a member's markers; best effort, coalesced, stored within 2 s.
    Mark(MarkRequest),
}

/// A member's wish to move the own markers. Each only rises within a generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MarkRequest {
    /// Where.
    pub conversation: ConversationId,
    /// Whose.
    pub user: UserId,
    /// Read up to and including; a value above the head counts as the head.
    pub read_no: Option<MessageNo>,
    /// Delivered up to and including.
    pub delivered_no: Option<MessageNo>,
    /// Answer only when it is stored (REST); otherwise at once (WebSocket `mark`).
    pub wait_stored: bool,
}

/// A stored command's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// Where.
    pub conversation: ConversationId,
    /// Epoch under which the event was written (of a duplicate: then).
    pub epoch: Epoch,
    /// Seq of the event; of an `already` answer: the head it was judged at.
    pub seq: Seq,
    /// Number of the message, when one was sent.
    pub message_no: Option<MessageNo>,
    /// Time of the event.
    pub at: Timestamp,
    /// How it came to be accepted.
    pub how: How,
}

/// How a command came to be accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// Its event was stored now.
    Stored,
    /// Its event had been stored before by the same command.
    Duplicate,
    /// It was already so; nothing was stored.
    Already,
}

/// What the owner answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OwnerReply {
    /// Stored, and durable before this was sent.
    Accepted(Accepted),
    /// The mark is taken (stored, when that was asked for).
    Marked,
    /// A definite no.
    Rejected(Rejection),
    /// Not the owner; nothing was done. The hint is who might be.
    WrongOwner {
        /// Who might be, and under which epoch.
        hint: Option<(Incarnation, Epoch)>,
    },
    /// Too much at once; nothing was done.
    Busy {
        /// When to try again.
        retry_after_ms: u32,
    },
    /// This conversation or node cannot serve now; nothing was done.
    Unavailable {
        /// When to try again.
        retry_after_ms: u32,
    },
    /// The store has no room; nothing was done.
    StorageFull,
    /// Whether it was stored is open: ask again with the same id.
    Unknown,
}

/// Asks an owner's ring buffer for a range, on `hub.range.<incarnation>`. Answered by [`RangeReply`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RangeRequest {
    /// The partition.
    pub partition: PartitionId,
    /// After this offset.
    pub after: Offset,
    /// Up to and including this one.
    pub to: Offset,
}

/// The owner's answer: an unbroken piece from `after + 1` on, maybe shorter than asked, empty when the ring no longer holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeReply {
    /// Events, one offset apart.
    pub events: Vec<EvEntry>,
}

/// Things that are shown and forgotten, on `hub.eph.<partition>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ephemeral {
    /// Someone types, or stopped.
    Typing {
        /// Where.
        conversation: ConversationId,
        /// Who.
        user: UserId,
        /// Typing or not.
        on: bool,
    },
    /// A member's markers moved (sent by the owner after they are stored).
    Marker {
        /// Where.
        conversation: ConversationId,
        /// Whose.
        user: UserId,
        /// Read up to here, if that moved.
        read_no: Option<MessageNo>,
        /// Delivered up to here, if that moved.
        delivered_no: Option<MessageNo>,
        /// When.
        at: Timestamp,
    },
}

/// An account changed (logout, password, deactivation): on `hub.user`. Edges re-check that user's sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UserChanged {
    /// Whose.
    pub user: UserId,
    /// The account revision that says so.
    pub rev: u64,
}

/// News of owners, on `hub.own`. A hint: whoever acts on it asks the database, and whoever misses it learns the same from the fence rows
/// within seconds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OwnershipHint {
    /// These were handed over in order and have no owner now.
    Released {
        /// Who served them.
        by: Incarnation,
        /// Which.
        partitions: Vec<ReleasedPartition>,
    },
    /// These are served from now on.
    Taken {
        /// By whom.
        by: Incarnation,
        /// Which, and under which epoch.
        partitions: Vec<(PartitionId, Epoch)>,
    },
}

/// A partition that waits for its next owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReleasedPartition {
    /// The partition.
    pub partition: PartitionId,
    /// The epoch under which it was served last; the fence row still has it.
    pub epoch: Epoch,
    /// Who should acquire it at once, as its last owner sees the cluster.
    pub next: Option<Incarnation>,
}

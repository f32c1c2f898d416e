//! What is known of a run besides what was asked and shown: access, comparisons, levels, and what really happened.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Digest, Time};

/// Access that ended or began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccessChange {
    /// When it took effect: the time of the definite yes to whoever asked for it.
    pub at: Time,
    /// Whose.
    pub user: Uuid,
    /// To what.
    pub access: Access,
    /// It ended; otherwise it began again.
    pub ended: bool,
}

/// What a user may have access by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Being a member.
    Conversation(Uuid),
    /// A session: nothing on its sockets any more.
    Session(Uuid),
    /// The account: nothing on any socket of the user.
    Account,
}

/// A state that was compared with the fold of the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fold {
    /// What was compared.
    pub kind: FoldKind,
    /// Which one, in words: the table and partition, or the conversation.
    pub what: String,
    /// Up to which seq or offset.
    pub through: u64,
    /// What the fold of the log gives.
    pub expected: Digest,
    /// What was there.
    pub found: Digest,
}

/// What may be compared with a fold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FoldKind {
    /// The owner's state after an acquire (I13).
    Owner,
    /// A snapshot with the tail behind it (I13).
    Snapshot,
    /// A read model (I14).
    ReadModel,
    /// A read model that was built again, beside the live one (I14).
    Rebuild,
}

/// How long something took after a fault was healed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Healing {
    /// Which fault.
    pub fault: String,
    /// When it was healed.
    pub healed_at: Time,
    /// What was waited for.
    pub heals: Heals,
    /// When that was so; `None`: not while the run lasted.
    pub reached_at: Option<Time>,
}

/// What must be so again after a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Heals {
    /// Every partition has an owner.
    Owned,
    /// Commands succeed.
    Commands,
    /// Every client is at the head.
    Heads,
}

/// A level beside its bound, in any unit that both share.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Level {
    /// When.
    pub at: Time,
    /// Number of the node.
    pub node: u32,
    /// What: a queue by its name in `docs/queues.md`, or `rss_bytes_per_socket`.
    pub what: String,
    /// How full.
    pub value: u64,
    /// How full it may be.
    pub bound: u64,
}

/// A golden byte vector.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Golden {
    /// Its name.
    pub vector: String,
    /// What went wrong; `None`: it decodes, upcasts to the expected value and encodes to the same bytes.
    pub broken: Option<String>,
}

/// Commits that were lost below the server: an unclean failover.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Loss {
    /// When.
    pub at: Time,
    /// Where.
    #[serde(rename = "c")]
    pub conversation: Uuid,
    /// The first seq that was lost. What was seen of it or later before `at` is no longer in the log.
    pub from_seq: u64,
    /// The newest epoch of what was lost: what is written later stands under newer ones.
    #[serde(rename = "e")]
    pub epoch: u64,
    /// Until then a node may not have heard of it, and still show what was lost.
    pub heard_by: Time,
}

/// Proof that a run has tested something; a run whose required counters are zero is void.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happened {
    /// A partition was taken over while an append of its old owner was on its way.
    TakeoverInFlight(u64),
    /// An append was refused because of its epoch.
    FencedAppend(u64),
    /// The outcome of a commit was not known to the lane.
    UnknownOutcome(u64),
    /// An edge missed a message in the middle and got it from the ring or the log.
    HealedGap(u64),
    /// An edge missed a last message and noticed by a head.
    HealedLastMessage(u64),
}

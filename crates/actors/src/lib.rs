//! The actor host: every conversation of this node as an actor, its order, its memory, and the way into the log.
//!
//! Owns: actix; one actor per partition and per conversation; permits; the write lanes with their group commit; replies that wait
//! until what they depend on is durable; publishing what was committed; members' markers.
//!
//! Never: SQL, NATS, HTTP; chat rules (those are `domain`'s); who owns which partition (that is `cluster`'s); a guess about an append
//! whose outcome is unknown; an actix type in a public signature; a queue without a bound.
//!
//! ```text
//! handle() ── permit ──▶ PartitionActor ──▶ ConversationActor          one arbiter thread per partition: order without locks
//!                            ▲   │ offsets        │ decide, evolve
//!            commit, fenced, │   ▼                ▼ Decided
//!            taken back …   Lane (a task): one statement at a time, rows of many partitions together
//! ```
//!
//! What a crash loses: nothing acknowledged. What a panic costs: one conversation's actor, which comes back from the log.
//!
//! Start reading at [`host`], then `conversation/core.rs` (how a command becomes an event and a reply), `partition/core.rs` (offsets),
//! `lane.rs` (how batches form and end). Those cores know neither actix nor tokio tasks.

mod answer;
#[doc(hidden)]
mod conversation;
mod export;
pub mod host;
#[doc(hidden)]
mod lane;
mod pace;
#[doc(hidden)]
mod partition;
pub mod permits;
mod sabotage;
mod shared;
#[doc(hidden)]
pub mod sim;
pub mod stats;

pub use host::{ActorHost, Clock, HostDeps, HostOptions, StartError};
pub use partition::residents::Pauses;
pub use permits::PermitLimits;
pub use stats::StatsView;

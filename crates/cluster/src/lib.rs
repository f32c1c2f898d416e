//! Who owns which partition, and how a command gets there.
//!
//! Owns: placement (pure), the ownership loop (heartbeats, claims, hand-over, in-doubt), the command router and its server side.
//!
//! Glossary: *partition* one of P logs · *owner* the incarnation whose epoch stands in the fence row · *epoch* number of an ownership ·
//! *claim* wish to own, on condition · *takeover* claim of a dead owner's partition · *incarnation* one life of one node.
//!
//! Placement and this room's view of owners are hints: they make commands fast. Safety is the epoch that every append checks.
//!
//! Never: actix, axum, SQL text; a decision by this machine's clock about who is alive.
//!
//! Start reading at [`port`], then [`ownership`] and [`partitions`] (the pure cores), then [`router`].
#![deny(
    clippy::wildcard_enum_match_arm,
    clippy::iter_over_hash_type,
    clippy::indexing_slicing,
    clippy::as_conversions
)]

pub mod lease;
pub mod node;
pub mod ownership;
pub mod partitions;
pub mod placement;
pub mod port;
mod pulse;
pub mod ranges;
pub mod router;
pub mod server;
mod stuck;
pub mod view;

pub use lease::Lease;
pub use node::{ClusterNode, Fate, NodeOptions};
pub use port::{CommandRouter, HostEvent, LocalConversations, PartitionSignal, SubmitError};
pub use router::Router;
pub use view::OwnersView;

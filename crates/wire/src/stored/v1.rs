//! Frozen structs of version 1. Released: never edited, not even the order of two fields. What changes becomes version 2.
//!
//! Ids are their 16 bytes, enums are the numbers of `codes.rs`, positions and counts are plain integers (varints in postcard),
//! times are milliseconds since the Unix epoch. `meta` holds structure, `body` what a person wrote.

use serde::{Deserialize, Serialize};

/// First in every `meta`: where the event comes from.
#[derive(Serialize, Deserialize)]
pub(super) struct Origin {
    pub(super) by: [u8; 16],
    pub(super) request_mac: Option<[u8; 16]>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct CreatedMeta {
    pub(super) origin: Origin,
    pub(super) kind: u8,
    pub(super) visibility: u8,
    pub(super) join_history: u8,
    pub(super) posting: u8,
    pub(super) receipts: bool,
    pub(super) retention_days: Option<u32>,
    pub(super) members: Vec<([u8; 16], u8)>,
    pub(super) request_key: [u8; 32],
}

#[derive(Serialize, Deserialize)]
pub(super) struct CreatedBody<'a> {
    #[serde(borrow)]
    pub(super) title: Option<&'a str>,
    #[serde(borrow)]
    pub(super) topic: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct MemberAddedMeta {
    pub(super) origin: Origin,
    pub(super) user: [u8; 16],
    pub(super) role: u8,
}

#[derive(Serialize, Deserialize)]
pub(super) struct MemberRemovedMeta {
    pub(super) origin: Origin,
    pub(super) user: [u8; 16],
    pub(super) reason: u8,
}

#[derive(Serialize, Deserialize)]
pub(super) struct RoleChangedMeta {
    pub(super) origin: Origin,
    pub(super) user: [u8; 16],
    pub(super) role: u8,
}

#[derive(Serialize, Deserialize)]
pub(super) struct MessageSentMeta {
    pub(super) origin: Origin,
    pub(super) message_no: u64,
    pub(super) reply_to_no: Option<u64>,
    pub(super) thread_root_no: Option<u64>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct MessageSentBody<'a> {
    pub(super) text: &'a str,
}

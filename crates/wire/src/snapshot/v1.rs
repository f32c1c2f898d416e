//! Frozen structs of snapshot version 1. Another shape is another version; old snapshots are then simply not used.

use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub(super) struct Snapshot<'a> {
    pub(super) id: [u8; 16],
    /// `None` while absent.
    pub(super) kind: Option<u8>,
    #[serde(borrow)]
    pub(super) title: Option<&'a str>,
    #[serde(borrow)]
    pub(super) topic: Option<&'a str>,
    pub(super) visibility: u8,
    pub(super) join_history: u8,
    pub(super) posting: u8,
    pub(super) receipts: bool,
    pub(super) retention_days: Option<u32>,
    pub(super) members: Vec<Member>,
    pub(super) banned: Vec<([u8; 16], i64)>,
    pub(super) last_seq: u64,
    pub(super) last_at: i64,
    pub(super) last_message_no: u64,
    pub(super) request_key: [u8; 32],
    pub(super) created: Option<Command>,
    pub(super) recent: Vec<Command>,
    pub(super) forgotten_until: Option<i64>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) user: [u8; 16],
    pub(super) role: u8,
    pub(super) joined_seq: u64,
    pub(super) joined_no: u64,
    pub(super) joined_at: i64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Command {
    pub(super) by: [u8; 16],
    pub(super) id: [u8; 16],
    pub(super) seq: u64,
    pub(super) at: i64,
    pub(super) message_no: Option<u64>,
    pub(super) mac: Option<[u8; 16]>,
}

//! The cases, by what they are about. Each is one promise of PROTOCOL.md, shown on a real server from outside.

pub(crate) mod accounts;
pub(crate) mod bad_frames;
pub(crate) mod bad_requests;
pub(crate) mod budgets;
pub(crate) mod bus_loss;
pub(crate) mod crowd;
pub(crate) mod delivery;
pub(crate) mod direct;
pub(crate) mod durability;
pub(crate) mod idempotency;
pub(crate) mod markers;
pub(crate) mod membership;
pub(crate) mod privacy;
pub(crate) mod reading;
pub(crate) mod resume;
pub(crate) mod rooms;
pub(crate) mod store_loss;
pub(crate) mod zombie;

//! The one place that takes ids and randomness from the system: here a person's key press or a bot's decision becomes a
//! command, so this is the rim.

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use uuid::Uuid;

/// A new time-ordered id for a command or a device.
#[expect(
    clippy::disallowed_methods,
    reason = "command ids are made where the command is made: here"
)]
pub(super) fn fresh_id() -> Uuid {
    Uuid::now_v7()
}

/// The random numbers behind waiting times: of this seed, or of the system.
#[expect(
    clippy::disallowed_methods,
    reason = "the composition root of the client's randomness"
)]
pub(super) fn rng(seed: Option<u64>) -> StdRng {
    StdRng::seed_from_u64(seed.unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0))
}

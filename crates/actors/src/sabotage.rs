//! Guarantees of this room that a build may be made without, one cargo feature each: the proof that the checker would notice.
//!
//! Never: true in a default build (a test of the repository reads the manifests).

use hubbub_domain::conversation::{Decision, State, decide};
use hubbub_domain::ids::CommandId;
use hubbub_wire::bus::EvEntry;

use crate::conversation::turn::{Ask, LookedUp};

/// Replies do not wait for the commit.
pub(crate) const ACK_BEFORE_COMMIT: bool = cfg!(feature = "sabotage-ack-before-commit");
/// What is still in flight is published along with what was committed.
pub(crate) const PUBLISH_BEFORE_COMMIT: bool = cfg!(feature = "sabotage-publish-before-commit");
/// Repetitions are not recognised.
pub(crate) const NO_DEDUPE: bool = cfg!(feature = "sabotage-no-dedupe");
/// Two events of a commit are published in each other's place.
pub(crate) const SWAPPED_PUBLISHES: bool = cfg!(feature = "sabotage-swapped-publishes");
/// A batch of which nobody knows the outcome is judged and sent again under the same epoch.
pub(crate) const RETRY_SAME_EPOCH: bool = cfg!(feature = "sabotage-retry-same-epoch");

/// A repetition becomes a command that nobody has seen.
pub(crate) fn forget_the_id(ask: &mut Ask, state: &State) {
    let is_known = ask.retry
        || matches!(ask.looked_up, LookedUp::Row(_))
        || matches!(decide(state, &ask.command), Ok(Decision::Duplicate(_)));
    if is_known {
        let known = ask.command.id.uuid();
        let other = known.as_u128() ^ u128::from(state.last_seq().get());
        ask.command.id = CommandId::from_uuid(format!("{other:032x}").parse().unwrap_or(known));
        ask.looked_up = LookedUp::Nothing;
    }
}

/// Each pair of neighbours of one conversation, the other way round at the same offsets.
pub(crate) fn swap_neighbours(events: &mut [EvEntry]) {
    for pair in events.chunks_exact_mut(2) {
        if let [one, other] = pair
            && one.row.conversation == other.row.conversation
        {
            std::mem::swap(one, other);
            std::mem::swap(&mut one.row.offset, &mut other.row.offset);
        }
    }
}

//! What the application is told.

use hubbub_wire::client::RawEvent;
use hubbub_wire::client::object::Conversation;
use hubbub_wire::client::outbound::{ErrorFrame, MarkerMoved, MemberTyping, Presence, Welcome};
use hubbub_wire::client::words::RemovalReason;
use uuid::Uuid;

use crate::machine::state::State;

/// One thing the application is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// The connection stands elsewhere now.
    State(State),
    /// The server introduced itself.
    Welcome(Box<Welcome>),
    /// The next event of its conversation: each exactly once, in seq order, rising by one (but for [`Notice::Reset`],
    /// [`Notice::Added`], [`Notice::Skipped`] and a member who was removed and added again while away).
    Delivered(Box<RawEvent>),
    /// One is now a member; the conversation's events follow.
    Added(Box<Conversation>),
    /// One is no longer a member.
    Removed {
        /// Where.
        conversation_id: Uuid,
        /// Why; `None` when it was found out by not being let in any more.
        reason: Option<RemovalReason>,
    },
    /// What was delivered of this conversation from that seq on is void; it follows anew.
    Reset {
        /// Where.
        conversation_id: Uuid,
        /// First void seq.
        from_seq: u64,
    },
    /// Events of a conversation that one was just added to come no more, because the server skipped them or the socket was lost before
    /// they came: what the summary told up to there, the own joining with it. What was said is in its pages; events follow from the
    /// next seq on.
    Skipped {
        /// Where.
        conversation_id: Uuid,
        /// Epoch of the last one skipped.
        epoch: u64,
        /// Its seq.
        seq: u64,
    },
    /// A member's markers moved.
    Marker(MarkerMoved),
    /// A member started or stopped typing.
    Typing(MemberTyping),
    /// A watched person came or went.
    Presence(Presence),
    /// The answer to a ping.
    Pong {
        /// Its number.
        n: u64,
    },
    /// The server refused something that was no command.
    Refused(ErrorFrame),
}

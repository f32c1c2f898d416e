//! What the machine wants done, in order.

use hubbub_wire::client::ClientFrame;
use uuid::Uuid;

use crate::machine::notice::Notice;
use crate::machine::outbox::Outcome;

/// One thing to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Open a socket and report [`crate::machine::Input::SocketOpened`] or `SocketFailed` with this number.
    Connect {
        /// Number of the socket.
        socket: u64,
        /// Which node.
        node: usize,
    },
    /// Close the socket, or stop opening it; nothing of it needs to be reported any more.
    CloseSocket {
        /// Number of the socket.
        socket: u64,
    },
    /// Write a frame to the open socket.
    Transmit(ClientFrame),
    /// `GET …/events` and report [`crate::machine::Input::Fetched`] with this number.
    Fetch {
        /// Number of the fetch.
        fetch: u64,
        /// Which node.
        node: usize,
        /// The conversation.
        conversation_id: Uuid,
        /// First seq wanted, inclusive.
        from_seq: u64,
        /// Events wanted at most.
        limit: u32,
    },
    /// Tell whoever waits for the command.
    Settle {
        /// The command.
        id: Uuid,
        /// How it ended.
        outcome: Outcome,
    },
    /// Tell the application.
    Notify(Notice),
}

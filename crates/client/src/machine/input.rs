//! What can happen to the machine.

use hubbub_wire::client::inbound::{Mark, Typing};
use hubbub_wire::client::{ClientFrame, Cursor, RawEvent, ServerFrame};
use uuid::Uuid;

/// One thing that happened. Inputs of a socket carry its number; those of an earlier socket are ignored.
#[derive(Clone, Debug)]
pub enum Input {
    /// Begin.
    Start,
    /// The upgrade succeeded.
    SocketOpened {
        /// Number of the socket.
        socket: u64,
    },
    /// The upgrade failed.
    SocketFailed {
        /// Number of the socket.
        socket: u64,
        /// The server answered 401.
        unauthenticated: bool,
        /// The server's hint when to try again, in milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// The socket is gone.
    SocketClosed {
        /// Number of the socket.
        socket: u64,
        /// The close code, when one came.
        code: Option<u16>,
    },
    /// A frame came.
    Frame {
        /// Number of the socket.
        socket: u64,
        /// The frame.
        frame: Box<ServerFrame>,
    },
    /// Something came that is no frame: a WebSocket ping, or a text that could not be read.
    Heard {
        /// Number of the socket.
        socket: u64,
    },
    /// A fetch ended.
    Fetched(Fetched),
    /// Time has passed: [`crate::machine::Machine::wake_at`] was reached.
    Tick,
    /// The application sends a command: send, edit, delete, react or pin.
    Submit(ClientFrame),
    /// The application moves its markers.
    Mark(Mark),
    /// The application's person types.
    Typing(Typing),
    /// The application asks whether the server is there.
    Ping {
        /// Comes back in [`crate::Notice::Pong`]; not [`crate::machine::OWN_PING`].
        n: u64,
    },
    /// The application has read up to here by other means (inbox, page, a file of an earlier run) and wants what follows.
    /// Ignored for conversations that already have a position.
    Follow(Cursor),
    /// Drop the socket and connect to that node at once.
    ForceReconnect {
        /// Which node; taken modulo their number.
        node: usize,
    },
    /// The application wants no connection any more. Final.
    Close,
}

/// How a fetch ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetched {
    /// Number of the fetch.
    pub fetch: u64,
    /// The conversation.
    pub conversation_id: Uuid,
    /// The page.
    pub page: Result<FetchedPage, FetchFailure>,
}

/// What a fetch brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchedPage {
    /// Events ascending by seq, from the asked one on.
    pub events: Vec<RawEvent>,
    /// There were no more when it was read.
    pub is_last: bool,
}

/// Why a fetch brought nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FetchFailure {
    /// The conversation is not visible (any more): stop asking.
    Gone,
    /// Ask again, after the hint if there is one.
    Later {
        /// In milliseconds.
        retry_after_ms: Option<u64>,
    },
}

//! Where the connection stands, and why.

/// Where the connection stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// No socket.
    Disconnected {
        /// Why.
        reason: Reason,
        /// When the next attempt starts, in milliseconds of the machine's clock; `None`: never again.
        retry_at_ms: Option<u64>,
    },
    /// A socket is opening, or `welcome` has not come yet.
    Connecting {
        /// Which node.
        node: usize,
    },
    /// `welcome` has come.
    Live {
        /// Which node.
        node: usize,
        /// Everything missed has been delivered: the `live` frame has come.
        caught_up: bool,
    },
}

/// Why there is no socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Not started yet.
    New,
    /// The application closed it. Final.
    Closed,
    /// The session ended: logout, revocation, password change. Final.
    SessionEnded,
    /// The upgrade failed, or `welcome` did not come in time.
    ConnectFailed,
    /// The server closed it with this code.
    ClosedByServer(u16),
    /// The line broke without a close code.
    Lost,
    /// Nothing was heard for more than two heartbeats.
    Silent,
    /// The application asked for another connection.
    Forced,
}

impl Reason {
    /// Never to be tried again.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Closed | Self::SessionEnded)
    }
}

impl State {
    /// `welcome` and `live` have come.
    pub const fn is_caught_up(&self) -> bool {
        matches!(
            self,
            Self::Live {
                caught_up: true,
                ..
            }
        )
    }

    /// There will be no further attempt.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Disconnected { retry_at_ms: None, reason } if reason.is_final())
    }
}

//! Close codes and what a client does about each (PROTOCOL.md rule 6).

/// Normal end.
pub const NORMAL: u16 = 1000;
/// One side is going away.
pub const GOING_AWAY: u16 = 1001;
/// The client broke the rules of the protocol.
pub const POLICY: u16 = 1008;
/// A frame was larger than allowed.
pub const TOO_LARGE: u16 = 1009;
/// The node restarts: reconnect after the drained delay.
pub const RESTART: u16 = 1012;
/// The session ended: logout, revocation, reset, password change, deactivation. Do not reconnect.
pub const SESSION_ENDED: u16 = 4401;
/// The client read too slowly: reconnect and resume.
pub const TOO_SLOW: u16 = 4408;
/// Too many sockets of this user: back off.
pub const TOO_MANY_SOCKETS: u16 = 4429;
/// The node is degraded: reconnect elsewhere.
pub const DEGRADED: u16 = 4503;

//! What travels over `GET /api/v1/ws` (PROTOCOL.md, WebSocket): one JSON object per text frame, told apart by `t`.
//!
//! - [`inbound`]: client → server. Strict: unknown or doubled fields and wrong types are refused, with the id where one
//!   could be read.
//! - [`outbound`]: server → client. Lenient to read: unknown fields, frame types and event kinds are kept out of the way,
//!   since a newer server may send them.
//! - [`event`], [`object`], [`words`]: what frames and REST answers are made of.
//! - [`strict`]: how "strict" is done.
//!
//! Never: rules about content (an empty message is readable; the domain refuses it), size checks (the socket knows the
//! size before it has the text; the bounds are here).
//!
//! Start reading at [`ClientFrame`].

pub mod close;
pub mod event;
pub mod inbound;
pub mod object;
pub mod outbound;
pub mod strict;
pub mod words;

pub use event::{EventData, RawEvent};
pub use inbound::{BadFrame, ClientFrame};
pub use object::Cursor;
pub use outbound::ServerFrame;

/// The WebSocket subprotocol that both sides name in the handshake.
pub const SUBPROTOCOL: &str = "hubbub.v1";
/// Bytes of one client frame: the largest message (16 KiB) escaped six-fold would not fit, but no text is all control
/// characters. Above it the socket closes with [`close::TOO_LARGE`].
pub const FRAME_BYTES_MAX: usize = 65_536;
/// Bytes of one server frame that is an object.
pub const SERVER_FRAME_BYTES_MAX: usize = 1_048_576;
/// Bytes of one server frame that is an array of objects: what one coalesced write may hold.
pub const SERVER_ARRAY_BYTES_MAX: usize = 262_144;
/// Seconds in which `hello` must come.
pub const HELLO_TIMEOUT_S: u64 = 5;
/// Unreadable frames in one minute at which the socket closes with [`close::POLICY`].
pub const BAD_FRAMES_PER_MINUTE_MAX: u32 = 10;
/// Events a cursor may be behind and still be caught up on the socket; further behind gets `resync`.
pub const CURSOR_CATCH_UP_EVENTS: u64 = 1_000;
/// Members above which `conversation_created` gives only their number.
pub const CREATED_MEMBERS_LISTED_MAX: usize = 100;

//! Every limit by name: `GET /limits` and `welcome.limits`.

use hubbub_domain::conversation::limits as domain;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::client::{CURSOR_CATCH_UP_EVENTS, FRAME_BYTES_MAX};
use crate::rest::list::PAGE_ITEMS_MAX;

/// Characters of a password at least.
pub const PASSWORD_CHARS_MIN: u32 = 12;
/// Characters of a password at most: hashing cost must not grow with the input.
pub const PASSWORD_CHARS_MAX: u32 = 128;
/// Kinds of reactions on one message.
pub const REACTION_KINDS_MAX: u32 = 50;
/// Bytes of one uploaded file.
pub const UPLOAD_BYTES_MAX: u64 = 100 * 1_048_576;
/// Sockets of one user by default.
pub const SOCKETS_PER_USER_DEFAULT: u32 = 20;

/// Every limit by name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct Limits {
    /// Bytes of UTF-8 in one message.
    pub message_body_bytes: u64,
    /// Bytes of one client frame.
    pub frame_bytes: u64,
    /// Most items of a page.
    pub page_items: u32,
    /// Events a cursor may be behind and still be caught up on the socket.
    pub cursor_catch_up_events: u64,
    /// Members of a group or room.
    pub group_members: u64,
    /// Characters of a title.
    pub title_chars: u64,
    /// Characters of a topic.
    pub topic_chars: u64,
    /// Sockets of one user.
    pub sockets_per_user: u32,
    /// Kinds of reactions on one message.
    pub reaction_kinds: u32,
    /// Characters of a password at least.
    pub password_min: u32,
    /// Characters of a password at most.
    pub password_max: u32,
    /// Bytes of one uploaded file.
    pub upload_bytes: u64,
    /// How often things may be done.
    pub budgets: Budgets,
    /// Whether the server fetches previews of links.
    pub link_previews: bool,
}

/// How often things may be done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct Budgets {
    /// Wrong passwords per account.
    pub wrong_passwords: Budget,
    /// Logins per address.
    pub logins: Budget,
    /// Registrations per address.
    pub registrations: Budget,
    /// Messages sent per user.
    pub sends: Budget,
    /// Rows of the directory per user.
    pub directory_rows: Budget,
    /// Searches per user.
    pub searches: Budget,
    /// Uploads per user.
    pub uploads: Budget,
}

/// So many in so many seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[ts(optional_fields)]
pub struct Budget {
    /// How many.
    pub count: u32,
    /// In how many seconds.
    pub per_s: u32,
    /// How many at once, where that is more than `count`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

impl Budget {
    const fn new(count: u32, per_s: u32) -> Self {
        Self {
            count,
            per_s,
            burst: None,
        }
    }
}

impl Default for Budgets {
    /// The defaults of PROTOCOL.md.
    fn default() -> Self {
        Self {
            wrong_passwords: Budget::new(10, 600),
            logins: Budget::new(60, 60),
            registrations: Budget::new(30, 3_600),
            sends: Budget {
                count: 20,
                per_s: 1,
                burst: Some(100),
            },
            directory_rows: Budget::new(600, 3_600),
            searches: Budget::new(60, 60),
            uploads: Budget::new(60, 60),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        limits(Budgets::default(), SOCKETS_PER_USER_DEFAULT)
    }
}

/// The limits of a server with these settings; everything else is the domain's or this crate's.
pub fn limits(budgets: Budgets, sockets_per_user: u32) -> Limits {
    Limits {
        message_body_bytes: wide(domain::MESSAGE_BODY_BYTES_MAX),
        frame_bytes: wide(FRAME_BYTES_MAX),
        page_items: PAGE_ITEMS_MAX,
        cursor_catch_up_events: CURSOR_CATCH_UP_EVENTS,
        group_members: wide(domain::MEMBERS_MAX),
        title_chars: wide(domain::TITLE_CHARS_MAX),
        topic_chars: wide(domain::TOPIC_CHARS_MAX),
        sockets_per_user,
        reaction_kinds: REACTION_KINDS_MAX,
        password_min: PASSWORD_CHARS_MIN,
        password_max: PASSWORD_CHARS_MAX,
        upload_bytes: UPLOAD_BYTES_MAX,
        budgets,
        link_previews: false,
    }
}

/// A bound in memory as a number on the wire.
fn wide(bound: usize) -> u64 {
    u64::try_from(bound).unwrap_or(u64::MAX)
}

//! Numbers that stand for the variants of domain enums in stored structs and bus messages. A number is given once and for ever.

use hubbub_domain::conversation::{JoinHistory, Kind, Posting, RemovalReason, Role, Visibility};

/// A pair of functions per enum: to its number, and back; an unknown number is a bad enum to postcard.
macro_rules! codes {
    ($to:ident, $from:ident, $type:ident { $($variant:ident = $code:literal),+ $(,)? }) => {
        pub(crate) const fn $to(value: $type) -> u8 {
            match value {
                $($type::$variant => $code,)+
            }
        }

        pub(crate) const fn $from(code: u8) -> Result<$type, postcard::Error> {
            match code {
                $($code => Ok($type::$variant),)+
                _ => Err(postcard::Error::DeserializeBadEnum),
            }
        }
    };
}

codes!(of_kind, to_kind, Kind { Direct = 0, Group = 1, Room = 2 });
codes!(of_visibility, to_visibility, Visibility { Private = 0, Public = 1 });
codes!(of_role, to_role, Role { Guest = 0, Member = 1, Admin = 2, Owner = 3 });
codes!(of_reason, to_reason, RemovalReason { Left = 0, Removed = 1, Banned = 2 });
codes!(of_join_history, to_join_history, JoinHistory { FromStart = 0, FromJoin = 1 });
codes!(of_posting, to_posting, Posting { Everyone = 0, Admins = 1 });

//! Small closed vocabularies of the client contract, and their counterparts in the domain.

use hubbub_domain::conversation::event as domain;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// A word type: `snake_case` on the wire, one to one with a domain type.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident = $domain:path { $($(#[$variant_doc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, TS)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl From<$domain> for $name {
            fn from(word: $domain) -> Self {
                use $domain as Domain;
                match word {
                    $(Domain::$variant => Self::$variant,)+
                }
            }
        }

        impl From<$name> for $domain {
            fn from(word: $name) -> Self {
                match word {
                    $($name::$variant => Self::$variant,)+
                }
            }
        }
    };
}

words! {
    /// What sort of conversation it is.
    ConversationKind = domain::Kind {
        /// Two people, for ever these two.
        Direct,
        /// By invitation.
        Group,
        /// Can be public.
        Room,
    }
}
words! {
    /// Who may find and join a room.
    Visibility = domain::Visibility {
        /// Members only.
        Private,
        /// Listed; anyone may join.
        Public,
    }
}
words! {
    /// What a member may do.
    Role = domain::Role {
        /// Reads only.
        Guest,
        /// Posts.
        Member,
        /// Manages members below.
        Admin,
        /// Manages everyone.
        Owner,
    }
}
words! {
    /// Why a member is no longer one.
    RemovalReason = domain::RemovalReason {
        /// Went by themselves.
        Left,
        /// Removed by someone above.
        Removed,
        /// Removed and kept out.
        Banned,
    }
}
words! {
    /// How much of the past a new member sees.
    JoinHistory = domain::JoinHistory {
        /// Everything.
        FromStart,
        /// From the own joining on.
        FromJoin,
    }
}
words! {
    /// Who may send messages.
    Posting = domain::Posting {
        /// Every member; guests never.
        Everyone,
        /// Admins and owners.
        Admins,
    }
}

/// For whom a message is deleted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum DeleteFor {
    /// Hidden from oneself.
    Me,
    /// Gone for all.
    Everyone,
}

/// Whether a person is there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum PresenceState {
    /// Active on some device.
    Online,
    /// Connected, not active.
    Away,
    /// Not connected.
    Offline,
}

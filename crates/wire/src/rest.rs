//! Bodies, queries and answers of the REST resources (PROTOCOL.md, REST resources).
//!
//! Requests are read with [`from_slice`], which refuses unknown and doubled fields and arrays in place of objects.
//!
//! Never: paths and status codes (the edge's route table), rules about content.
//!
//! Start reading at [`list::List`], then [`conversations`].

pub mod accounts;
pub mod conversations;
pub mod limits;
pub mod list;

pub use crate::client::strict::{Unreadable, from_slice};
pub use accounts::{Health, HealthStatus, Login, Me, Register, SessionStarted};
pub use conversations::{
    AddMember, ChangeRole, ChooseSettings, CreateConversation, EventsQuery, MarkUnread, Marker,
    MessagesQuery, SendMessage, Stored,
};
pub use limits::{Budget, Budgets, Limits};
pub use list::{InboxFilter, InboxQuery, List, ListQuery, SearchQuery};

//! What came over sockets, from a client library and from reads.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::asked::Place;
use super::{Digest, Event, Time, serde_default};

/// A socket that was opened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Socket {
    /// Its number, unique in the run.
    pub socket: u64,
    /// Whose it is.
    pub user: Uuid,
    /// The session (token) it was opened with, so that a revocation can name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Uuid>,
    /// Number of the node at its other end.
    pub node: u32,
    /// When its hello was sent.
    pub hello_at: Time,
    /// The cursors of its hello: conversation, epoch, seq.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cursors: Vec<(Uuid, u64, u64)>,
}

/// A frame at the time at which it came.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FrameSeen {
    /// On which socket.
    #[serde(rename = "k")]
    pub socket: u64,
    /// When.
    pub at: Time,
    /// What it said.
    #[serde(rename = "t")]
    pub frame: Frame,
}

/// A frame that says something about order, as it stood on the socket.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// An event.
    Event(Event),
    /// An ack.
    Ack {
        /// Of which command.
        id: Uuid,
        /// Where.
        conversation: Uuid,
        /// At which place.
        place: Place,
    },
    /// Too far behind: the next event of each conversation is its head seq + 1.
    Resync {
        /// Conversation, epoch, head seq; none means all.
        conversations: Vec<(Uuid, u64, u64)>,
    },
    /// What is held from there on is void.
    Reset {
        /// Where.
        conversation: Uuid,
        /// From which seq on.
        from_seq: u64,
    },
    /// The user is in.
    Added {
        /// Where.
        conversation: Uuid,
    },
    /// The user is out.
    Removed {
        /// Of what.
        conversation: Uuid,
    },
    /// Everything missed has been delivered.
    Live,
    /// The socket is closed.
    Closed {
        /// With which code; `None` when it just broke.
        code: Option<u16>,
    },
}

/// An application that follows one conversation, over any number of sockets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Subscription {
    /// Its number, unique in the run.
    pub subscription: u64,
    /// Whose application.
    pub user: Uuid,
    /// What it follows.
    pub conversation: Uuid,
    /// It must be told everything after this seq; `None`: from the first one that it is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// The run waited for it to come to the head: in the end it must have been told everything.
    pub is_complete: bool,
}

/// Something that an application was told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// To which subscription.
    #[serde(rename = "k")]
    pub subscription: u64,
    /// When.
    pub at: Time,
    /// What.
    #[serde(rename = "t")]
    pub told: Told,
}

/// What an application may be told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// An event.
    Event(Event),
    /// What it holds from this seq on is void.
    Reset {
        /// From which seq on.
        from_seq: u64,
    },
    /// It is out of the conversation.
    Removed,
    /// The library has lost its place and says so: the next event may be any later one.
    Skipped,
}

/// Something that was read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Read {
    /// Who read.
    #[serde(rename = "u")]
    pub user: Uuid,
    /// Number of the node that answered.
    #[serde(rename = "n")]
    pub node: u32,
    /// When it was asked for.
    #[serde(rename = "at")]
    pub invoked_at: Time,
    /// When the answer was here.
    #[serde(rename = "end")]
    pub ended_at: Time,
    /// Nothing was on its way any more: the answer must be the fold of the whole log.
    #[serde(rename = "q", default, skip_serializing_if = "serde_default::is_false")]
    pub is_quiet: bool,
    /// What came.
    #[serde(rename = "r")]
    pub reading: Reading,
}

/// What a read has brought.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// A page of history.
    Page {
        /// Of which conversation.
        #[serde(rename = "c")]
        conversation: Uuid,
        /// It is the newest page: its last message is the head.
        newest: bool,
        /// Its messages, ascending.
        items: Vec<Message>,
    },
    /// An inbox.
    Inbox {
        /// One for each conversation.
        entries: Vec<InboxEntry>,
        /// All of it was read, not a page.
        complete: bool,
    },
    /// A search for something that only this message says.
    Search {
        /// In which conversation.
        #[serde(rename = "c")]
        conversation: Uuid,
        /// Number of the message that was looked for.
        no: u64,
        /// It was found.
        found: bool,
    },
}

/// A message as a page shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Message {
    /// Its number.
    pub no: u64,
    /// Place of the event that sent it.
    #[serde(rename = "s")]
    pub seq: u64,
    /// Epoch of that event.
    #[serde(rename = "e")]
    pub epoch: u64,
    /// Who said it.
    #[serde(rename = "u")]
    pub by: Uuid,
    /// What it says now; `None` when deleted.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Digest>,
}

/// A conversation as an inbox shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InboxEntry {
    /// Which conversation.
    #[serde(rename = "c")]
    pub conversation: Uuid,
    /// Epoch of its head.
    #[serde(rename = "e")]
    pub epoch: u64,
    /// Its head: the counts are those of the log up to here.
    pub head_seq: u64,
    /// Number of the newest message.
    pub head_no: u64,
    /// Read up to which message.
    pub read_no: u64,
    /// Messages up to this one were there before the reader.
    pub joined_no: u64,
    /// Unread messages, as told; negative would be told as such.
    pub unread: i64,
    /// Unread mentions; `None` where the run did not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mentions: Option<i64>,
    /// The reader has used mark-unread here: the marker may stand before the reader's own last message.
    #[serde(default, skip_serializing_if = "serde_default::is_false")]
    pub marked_unread: bool,
}

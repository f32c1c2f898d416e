//! What a conversation is now: the fold of its events.

use std::collections::BTreeMap;

use crate::conversation::event::{Kind, Role, Settings, Visibility};
use crate::conversation::fingerprint::{RequestKey, RequestMac};
use crate::ids::{CommandId, ConversationId, UserId};
use crate::position::{MessageNo, Seq};
use crate::time::Timestamp;

pub use crate::conversation::window::{AuthoredCommand, DedupeWindow};

/// One member as the rules see them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// What they may do.
    pub role: Role,
    /// Seq of the event that made them a member.
    pub joined_seq: Seq,
    /// Newest message number when they became one: unread starts after it.
    pub joined_no: MessageNo,
    /// When they became one.
    pub joined_at: Timestamp,
}

/// A command that stored an event lately.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecentCommand {
    /// Its id.
    pub id: CommandId,
    /// The event it stored.
    pub seq: Seq,
    /// When.
    pub at: Timestamp,
    /// Number of the message it sent, if it sent one.
    pub message_no: Option<MessageNo>,
    /// Keyed hash of its request.
    pub mac: Option<RequestMac>,
}

/// The folded state of one conversation. `kind` is `None` before its first event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    pub(crate) id: ConversationId,
    pub(crate) kind: Option<Kind>,
    pub(crate) title: Option<String>,
    pub(crate) topic: Option<String>,
    pub(crate) visibility: Visibility,
    pub(crate) settings: Settings,
    pub(crate) members: BTreeMap<UserId, Member>,
    pub(crate) banned: BTreeMap<UserId, Timestamp>,
    pub(crate) last_seq: Seq,
    pub(crate) last_at: Timestamp,
    pub(crate) last_message_no: MessageNo,
    pub(crate) request_key: RequestKey,
    /// The command of the first event: kept for ever, so that repeating a creation needs no look into the log.
    pub(crate) created: Option<AuthoredCommand>,
    pub(crate) recent: DedupeWindow,
}

impl State {
    /// A conversation in which nothing has happened yet.
    pub fn absent(id: ConversationId) -> Self {
        Self {
            id,
            kind: None,
            title: None,
            topic: None,
            visibility: Visibility::Private,
            settings: Settings::default(),
            members: BTreeMap::new(),
            banned: BTreeMap::new(),
            last_seq: Seq::ZERO,
            last_at: Timestamp::default(),
            last_message_no: MessageNo::ZERO,
            request_key: RequestKey::from_bytes([0; 32]),
            created: None,
            recent: DedupeWindow::default(),
        }
    }

    /// Whether its first event has happened.
    pub fn exists(&self) -> bool {
        self.kind.is_some()
    }

    /// Which conversation.
    pub fn id(&self) -> ConversationId {
        self.id
    }

    /// Direct, group or room; `None` while absent.
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// Title that people see.
    pub fn title(&self) -> Option<&str> {
        self.title.as_deref()
    }

    /// One line about the purpose.
    pub fn topic(&self) -> Option<&str> {
        self.topic.as_deref()
    }

    /// Listed or not; private while absent.
    pub fn visibility(&self) -> Visibility {
        self.visibility
    }

    /// What its admins chose.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Everyone who is in, ascending by id.
    pub fn members(&self) -> &BTreeMap<UserId, Member> {
        &self.members
    }

    /// One member; `None` when `user` is not one.
    pub fn member(&self, user: UserId) -> Option<&Member> {
        self.members.get(&user)
    }

    /// How many are in.
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Whether `user` is in.
    pub fn is_member(&self, user: UserId) -> bool {
        self.members.contains_key(&user)
    }

    /// Whether `user` is kept out.
    pub fn is_banned(&self, user: UserId) -> bool {
        self.banned.contains_key(&user)
    }

    /// Everyone who is kept out, with the time of the ban, ascending by id.
    pub fn banned(&self) -> &BTreeMap<UserId, Timestamp> {
        &self.banned
    }

    /// How many owners are in.
    pub fn owner_count(&self) -> usize {
        self.members
            .values()
            .filter(|member| member.role == Role::Owner)
            .count()
    }

    /// Seq of the newest event; zero while absent.
    pub fn last_seq(&self) -> Seq {
        self.last_seq
    }

    /// Time of the newest event; the next one is never earlier.
    pub fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// Number of the newest message; zero while there is none.
    pub fn last_message_no(&self) -> MessageNo {
        self.last_message_no
    }

    /// Key of the request fingerprints.
    pub fn request_key(&self) -> &RequestKey {
        &self.request_key
    }

    /// The command of the first event; `None` while absent.
    pub fn created(&self) -> Option<&AuthoredCommand> {
        self.created.as_ref()
    }

    /// What this command id stored, as far as the window (or the creation) remembers.
    pub fn recent(&self, id: CommandId) -> Option<&RecentCommand> {
        self.remembered(id).map(|entry| &entry.command)
    }

    /// Every command in the window, ascending by seq.
    pub fn recent_commands(&self) -> impl ExactSizeIterator<Item = &AuthoredCommand> {
        self.recent.iter()
    }

    /// Time of the newest command that has left the window; `None` while the window is the whole conversation.
    pub fn forgotten_until(&self) -> Option<Timestamp> {
        self.recent.forgotten_until()
    }

    pub(crate) fn remembered(&self, id: CommandId) -> Option<&AuthoredCommand> {
        self.recent
            .get(id)
            .or_else(|| self.created.as_ref().filter(|entry| entry.command.id == id))
    }

    /// Whether `user` stored any event that the window remembers: they were in lately. Reads the whole window.
    pub(crate) fn acted_lately(&self, user: UserId) -> bool {
        self.recent.iter().any(|entry| entry.by == user)
    }

    /// Taken apart, for storing.
    pub fn into_parts(self) -> StateParts {
        StateParts {
            id: self.id,
            kind: self.kind,
            title: self.title,
            topic: self.topic,
            visibility: self.visibility,
            settings: self.settings,
            forgotten_until: self.recent.forgotten_until(),
            recent: self.recent.iter().copied().collect(),
            members: self.members,
            banned: self.banned,
            last_seq: self.last_seq,
            last_at: self.last_at,
            last_message_no: self.last_message_no,
            request_key: self.request_key,
            created: self.created,
        }
    }

    /// Put together again. The parts must come from [`State::into_parts`]; nothing is checked.
    pub fn from_parts(parts: StateParts) -> Self {
        Self {
            id: parts.id,
            kind: parts.kind,
            title: parts.title,
            topic: parts.topic,
            visibility: parts.visibility,
            settings: parts.settings,
            members: parts.members,
            banned: parts.banned,
            last_seq: parts.last_seq,
            last_at: parts.last_at,
            last_message_no: parts.last_message_no,
            request_key: parts.request_key,
            created: parts.created,
            recent: DedupeWindow::restore(parts.recent, parts.forgotten_until),
        }
    }
}

/// A [`State`] taken apart: plain data for a snapshot. The fields mean what the accessors of the same name say.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(
    missing_docs,
    reason = "each field is documented at the accessor of its name"
)]
pub struct StateParts {
    pub id: ConversationId,
    pub kind: Option<Kind>,
    pub title: Option<String>,
    pub topic: Option<String>,
    pub visibility: Visibility,
    pub settings: Settings,
    pub members: BTreeMap<UserId, Member>,
    pub banned: BTreeMap<UserId, Timestamp>,
    pub last_seq: Seq,
    pub last_at: Timestamp,
    pub last_message_no: MessageNo,
    pub request_key: RequestKey,
    pub created: Option<AuthoredCommand>,
    /// The window, ascending and dense by seq.
    pub recent: Vec<AuthoredCommand>,
    pub forgotten_until: Option<Timestamp>,
}

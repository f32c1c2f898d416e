//! Projected rows as values, and how one event changes them. Pure; used by the projector over stored rows and by queries over the tail.

use std::collections::BTreeMap;

use hubbub_domain::conversation::{Event, JoinHistory, Kind, Recorded, Role, Settings, Visibility};
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{Epoch, MessageNo, Offset, PartitionId, Seq};
use hubbub_domain::time::Timestamp;

use crate::port::MessageRow;

/// An event with the epoch it was written under: what projections consume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its place in the partition.
    pub offset: Offset,
    /// What happened.
    pub recorded: Recorded,
}

/// A conversation as projected for the inbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConversationRow {
    /// Which.
    pub id: ConversationId,
    /// Its log.
    pub partition: PartitionId,
    /// Direct, group or room.
    pub kind: Kind,
    /// Title.
    pub title: Option<String>,
    /// Topic.
    pub topic: Option<String>,
    /// Listed or not.
    pub visibility: Visibility,
    /// Settings.
    pub settings: Settings,
    /// Both people of a direct conversation, ascending.
    pub pair: Option<(UserId, UserId)>,
    /// How many members.
    pub member_count: u64,
    /// Last event folded in …
    pub head_seq: Seq,
    /// … and its epoch.
    pub head_epoch: Epoch,
    /// Last message.
    pub head_no: MessageNo,
    /// Time of the last message, of the creation before that.
    pub active_at: Timestamp,
}

/// A membership as projected: kept after it ends, so that a later event of an earlier time cannot bring it back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberState {
    /// Who.
    pub user: UserId,
    /// As what; the last role once it ended.
    pub role: Role,
    /// Event that made them a member.
    pub joined_seq: Seq,
    /// Head then.
    pub joined_no: MessageNo,
    /// When.
    pub joined_at: Timestamp,
    /// Number of their newest message.
    pub own_no: MessageNo,
    /// Event that ended it.
    pub left_seq: Option<Seq>,
    /// Last event that touched this row.
    pub seq: Seq,
}

impl MemberState {
    /// Whether the membership lasts.
    pub fn is_current(&self) -> bool {
        self.left_seq.is_none()
    }
}

/// A conversation with the members that matter to whoever folds: all that were touched, or only the reader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fold {
    /// `None` before its first event.
    pub conversation: Option<ConversationRow>,
    /// Known members by id.
    pub members: BTreeMap<UserId, MemberState>,
    /// Only this user's row is kept, when set.
    pub only: Option<UserId>,
}

impl Fold {
    /// Nothing known yet.
    pub fn new(
        conversation: Option<ConversationRow>,
        members: impl IntoIterator<Item = MemberState>,
        only: Option<UserId>,
    ) -> Self {
        Self {
            conversation,
            members: members
                .into_iter()
                .map(|member| (member.user, member))
                .collect(),
            only,
        }
    }

    /// Last event folded in.
    pub fn head_seq(&self) -> Seq {
        self.conversation
            .as_ref()
            .map_or(Seq::ZERO, |row| row.head_seq)
    }

    /// Folds one event in; one that is already in changes nothing.
    pub fn apply(&mut self, partition: PartitionId, entry: &Entry) {
        let recorded = &entry.recorded;
        let counts_again = cfg!(feature = "sabotage-unread-counts-redelivery");
        if recorded.seq <= self.head_seq() && !counts_again {
            return;
        }
        match &recorded.event {
            Event::ConversationCreated {
                kind,
                title,
                topic,
                visibility,
                settings,
                members,
                request_key: _,
            } => {
                let pair = match (kind, members.as_slice()) {
                    (Kind::Direct, [(one, _), (other, _)]) => {
                        Some((*one.min(other), *one.max(other)))
                    }
                    _ => None,
                };
                self.conversation = Some(ConversationRow {
                    id: recorded.conversation,
                    partition,
                    kind: *kind,
                    title: title.clone(),
                    topic: topic.clone(),
                    visibility: *visibility,
                    settings: *settings,
                    pair,
                    member_count: u64::try_from(members.len()).unwrap_or(u64::MAX),
                    head_seq: recorded.seq,
                    head_epoch: entry.epoch,
                    head_no: MessageNo::ZERO,
                    active_at: recorded.at,
                });
                for (user, role) in members {
                    self.join(*user, *role, recorded);
                }
            }
            Event::MemberAdded { user, role } => {
                self.join(*user, *role, recorded);
                if let Some(row) = &mut self.conversation {
                    row.member_count = row.member_count.saturating_add(1);
                }
            }
            Event::MemberRemoved { user, reason: _ } => {
                if let Some(member) = self.members.get_mut(user) {
                    member.left_seq = Some(recorded.seq);
                    member.seq = recorded.seq;
                }
                if let Some(row) = &mut self.conversation {
                    row.member_count = row.member_count.saturating_sub(1);
                }
            }
            Event::RoleChanged { user, role } => {
                if let Some(member) = self.members.get_mut(user) {
                    member.role = *role;
                    member.seq = recorded.seq;
                }
            }
            Event::MessageSent { message_no, .. } => {
                if let Some(member) = self.members.get_mut(&recorded.by) {
                    member.own_no = *message_no;
                    member.seq = recorded.seq;
                }
                if let Some(row) = &mut self.conversation {
                    row.head_no = if counts_again {
                        row.head_no.next()
                    } else {
                        *message_no
                    };
                    row.active_at = recorded.at;
                }
            }
        }
        if let Some(row) = &mut self.conversation {
            row.head_seq = recorded.seq;
            row.head_epoch = entry.epoch;
        }
    }

    fn join(&mut self, user: UserId, role: Role, recorded: &Recorded) {
        if self.only.is_some_and(|only| only != user) {
            return;
        }
        let joined_no = self
            .conversation
            .as_ref()
            .map_or(MessageNo::ZERO, |row| row.head_no);
        // Coming back keeps nothing of the earlier stay but the own messages' number, which never falls.
        let own_no = self
            .members
            .get(&user)
            .map_or(MessageNo::ZERO, |earlier| earlier.own_no);
        let member = MemberState {
            user,
            role,
            joined_seq: recorded.seq,
            joined_no,
            joined_at: recorded.at,
            own_no,
            left_seq: None,
            seq: recorded.seq,
        };
        self.members.insert(user, member);
    }
}

impl ConversationRow {
    /// First seq and message number that a member who joined there may see.
    pub fn visible_from(&self, member: Option<&MemberState>) -> (Seq, MessageNo) {
        match (self.settings.join_history, member) {
            (JoinHistory::FromJoin, Some(member)) => (member.joined_seq, member.joined_no.next()),
            (JoinHistory::FromStart | JoinHistory::FromJoin, _) => (Seq::new(1), MessageNo::new(1)),
        }
    }
}

/// The message that an event brought, if it did.
pub fn message_of(entry: &Entry) -> Option<MessageRow> {
    let recorded = &entry.recorded;
    match &recorded.event {
        Event::MessageSent {
            message_no,
            body,
            reply_to_no,
            thread_root_no,
        } => Some(MessageRow {
            conversation: recorded.conversation,
            message_no: *message_no,
            seq: recorded.seq,
            epoch: entry.epoch,
            by: recorded.by,
            at: recorded.at,
            body: body.clone(),
            reply_to_no: *reply_to_no,
            thread_root_no: *thread_root_no,
            command_id: recorded.command_id,
        }),
        Event::ConversationCreated { .. }
        | Event::MemberAdded { .. }
        | Event::MemberRemoved { .. }
        | Event::RoleChanged { .. } => None,
    }
}

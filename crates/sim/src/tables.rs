//! The tables of the read models in memory: the same port as SQLite's and PostgreSQL's, one transaction at a time.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use hubbub_domain::conversation::{Kind, Visibility};
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{MessageNo, Offset, PartitionId, Seq};
use hubbub_event_log::{LogReader, MemoryLog};
use hubbub_projections::model::{ConversationRow, MemberState};
use hubbub_projections::store::{
    Applied, Changes, InboxPlace, Move, Projection, RoomPlace, Store, StoredMarker,
};
use hubbub_projections::{MessageRow, QueryError};
use parking_lot::Mutex;

/// Tables, a lock, and the log beside them for its markers.
pub struct Tables {
    log: MemoryLog,
    state: Mutex<State>,
}

#[derive(Clone, Default)]
struct State {
    away: bool,
    /// Transactions that end so: applied or not, and nobody is told.
    unknown: Option<bool>,
    checkpoints: BTreeMap<(&'static str, PartitionId), Offset>,
    conversations: BTreeMap<ConversationId, ConversationRow>,
    members: BTreeMap<(ConversationId, UserId), MemberState>,
    messages: BTreeMap<(ConversationId, MessageNo), MessageRow>,
    projected: BTreeMap<ConversationId, Seq>,
    dead: BTreeSet<(&'static str, ConversationId)>,
}

/// The tables as they once were.
pub struct Image(State);

/// The tables are away.
#[derive(Debug)]
struct Away;

impl std::fmt::Display for Away {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the tables were told to be unavailable")
    }
}

impl std::error::Error for Away {}

impl Tables {
    /// Empty ones.
    pub fn new(log: MemoryLog) -> Self {
        Self {
            log,
            state: Mutex::default(),
        }
    }

    pub(crate) fn set_away(&self, away: bool) {
        self.state.lock().away = away;
    }

    /// The next transaction is applied (or not), and its answer is lost.
    pub(crate) fn lose_next_answer(&self, applied: bool) {
        self.state.lock().unknown = Some(applied);
    }

    pub(crate) fn image(&self) -> Image {
        Image(self.state.lock().clone())
    }

    pub(crate) fn fail_over_to(&self, image: Image) {
        let away = self.state.lock().away;
        *self.state.lock() = State { away, ..image.0 };
    }

    /// Everything of one conversation, as text to compare; parked ones are left out.
    pub(crate) fn describe(&self, conversation: ConversationId) -> String {
        let state = self.state.lock();
        let first = (conversation, UserId::from_uuid(uuid::Uuid::nil()));
        let members: Vec<_> = state
            .members
            .range(first..)
            .take_while(|((id, _), _)| *id == conversation)
            .collect();
        let messages: Vec<_> = state
            .messages
            .range((conversation, MessageNo::ZERO)..)
            .take_while(|((id, _), _)| *id == conversation)
            .map(|(_, message)| message)
            .collect();
        format!(
            "{:?}\n{members:?}\n{messages:?}\n{:?}",
            state.conversations.get(&conversation),
            state.projected.get(&conversation)
        )
    }

    /// Whether a conversation is parked in any projection.
    pub(crate) fn is_parked(&self, conversation: ConversationId) -> bool {
        let state = self.state.lock();
        [Projection::Inbox, Projection::History]
            .iter()
            .any(|projection| state.dead.contains(&(projection.name(), conversation)))
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> Result<T, QueryError> {
        let state = self.state.lock();
        if state.away {
            return Err(QueryError::Unavailable(Box::new(Away)));
        }
        Ok(look(&state))
    }
}

impl State {
    fn apply(&mut self, projection: Projection, moves: &[Move], changes: &Changes) -> Applied {
        let stands = |step: &Move| {
            self.checkpoints
                .get(&(projection.name(), step.partition))
                .copied()
                .unwrap_or_default()
                == step.from
        };
        if !moves.iter().all(stands) {
            return Applied::Lost;
        }
        for step in moves {
            self.checkpoints
                .insert((projection.name(), step.partition), step.to);
        }
        for row in &changes.conversations {
            let newer = self
                .conversations
                .get(&row.id)
                .is_none_or(|stored| row.head_seq > stored.head_seq);
            if newer {
                self.conversations.insert(row.id, row.clone());
            }
        }
        for (conversation, member) in &changes.members {
            let key = (*conversation, member.user);
            let newer = self
                .members
                .get(&key)
                .is_none_or(|stored| member.seq > stored.seq);
            if newer {
                self.members.insert(key, *member);
            }
        }
        for message in &changes.messages {
            let key = (message.conversation, message.message_no);
            let newer = self
                .messages
                .get(&key)
                .is_none_or(|stored| message.seq > stored.seq);
            if newer {
                self.messages.insert(key, message.clone());
            }
        }
        for (conversation, seq) in &changes.projected {
            let stored = self.projected.entry(*conversation).or_default();
            *stored = (*stored).max(*seq);
        }
        for letter in &changes.dead {
            self.dead.insert((projection.name(), letter.conversation));
        }
        Applied::Done
    }
}

fn away() -> QueryError {
    QueryError::Unavailable(Box::new(Away))
}

#[async_trait]
impl Store for Tables {
    async fn checkpoints(
        &self,
        projection: Projection,
    ) -> Result<Vec<(PartitionId, Offset)>, QueryError> {
        self.read(|state| {
            state
                .checkpoints
                .iter()
                .filter(|((name, _), _)| *name == projection.name())
                .map(|((_, partition), offset)| (*partition, *offset))
                .collect()
        })
    }

    async fn apply(
        &self,
        projection: Projection,
        moves: &[Move],
        changes: &Changes,
    ) -> Result<Applied, QueryError> {
        let mut state = self.state.lock();
        if state.away {
            return Err(away());
        }
        match state.unknown.take() {
            None => Ok(state.apply(projection, moves, changes)),
            Some(applied) => {
                if applied {
                    state.apply(projection, moves, changes);
                }
                Err(away())
            }
        }
    }

    async fn parked(
        &self,
        projection: Projection,
        ids: &[ConversationId],
    ) -> Result<Vec<ConversationId>, QueryError> {
        self.read(|state| {
            ids.iter()
                .filter(|id| state.dead.contains(&(projection.name(), **id)))
                .copied()
                .collect()
        })
    }

    async fn conversations(
        &self,
        ids: &[ConversationId],
    ) -> Result<Vec<ConversationRow>, QueryError> {
        self.read(|state| {
            ids.iter()
                .filter_map(|id| state.conversations.get(id).cloned())
                .collect()
        })
    }

    async fn members(
        &self,
        keys: &[(ConversationId, UserId)],
    ) -> Result<Vec<(ConversationId, MemberState)>, QueryError> {
        self.read(|state| {
            keys.iter()
                .filter_map(|key| state.members.get(key).map(|member| (key.0, *member)))
                .collect()
        })
    }

    async fn inbox_page(
        &self,
        user: UserId,
        after: Option<InboxPlace>,
        limit: usize,
    ) -> Result<Vec<(ConversationRow, MemberState)>, QueryError> {
        self.read(|state| {
            let mut rows: Vec<(ConversationRow, MemberState)> = state
                .members
                .iter()
                .filter(|((_, member), row)| *member == user && row.is_current())
                .filter_map(|((id, _), row)| {
                    state
                        .conversations
                        .get(id)
                        .map(|found| (found.clone(), *row))
                })
                .filter(|(row, _)| {
                    let place = InboxPlace {
                        active_at: row.active_at,
                        conversation: row.id,
                    };
                    after.is_none_or(|after| place < after)
                })
                .collect();
            rows.sort_by_key(|(row, _)| std::cmp::Reverse((row.active_at, row.id)));
            rows.truncate(limit);
            rows
        })
    }

    async fn markers(
        &self,
        user: UserId,
        ids: &[ConversationId],
    ) -> Result<Vec<StoredMarker>, QueryError> {
        let mut found = Vec::new();
        for id in ids {
            for marker in self.log.markers(*id).await? {
                if marker.user == user {
                    found.push(StoredMarker {
                        conversation: *id,
                        read_no: marker.read_no,
                    });
                }
            }
        }
        Ok(found)
    }

    async fn members_page(
        &self,
        conversation: ConversationId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<MemberState>, QueryError> {
        self.read(|state| {
            state
                .members
                .iter()
                .filter(|((id, user), member)| {
                    *id == conversation
                        && member.is_current()
                        && after.is_none_or(|after| *user > after)
                })
                .map(|(_, member)| *member)
                .take(limit)
                .collect()
        })
    }

    async fn rooms_page(
        &self,
        query: &str,
        after: Option<RoomPlace>,
        limit: usize,
    ) -> Result<Vec<ConversationRow>, QueryError> {
        self.read(|state| {
            let mut rows: Vec<ConversationRow> = state
                .conversations
                .values()
                .filter(|row| row.kind == Kind::Room && row.visibility == Visibility::Public)
                .filter(|row| {
                    row.title
                        .as_ref()
                        .is_some_and(|title| title.contains(query))
                })
                .cloned()
                .collect();
            rows.sort_by_key(|row| (std::cmp::Reverse(row.member_count), row.id));
            if let Some(after) = after {
                rows.retain(|row| {
                    (std::cmp::Reverse(row.member_count), row.id)
                        > (std::cmp::Reverse(after.member_count), after.conversation)
                });
            }
            rows.truncate(limit);
            rows
        })
    }

    async fn history_seq(&self, conversation: ConversationId) -> Result<Seq, QueryError> {
        self.read(|state| {
            state
                .projected
                .get(&conversation)
                .copied()
                .unwrap_or_default()
        })
    }

    async fn messages(
        &self,
        conversation: ConversationId,
        from: MessageNo,
        to: MessageNo,
        newest: bool,
        limit: usize,
    ) -> Result<Vec<MessageRow>, QueryError> {
        self.read(|state| {
            let range = state
                .messages
                .range((conversation, from)..=(conversation, to))
                .map(|(_, message)| message.clone());
            if newest {
                let mut last: Vec<MessageRow> = range.rev().take(limit).collect();
                last.reverse();
                last
            } else {
                range.take(limit).collect()
            }
        })
    }

    async fn messages_at(
        &self,
        keys: &[(ConversationId, MessageNo)],
    ) -> Result<Vec<MessageRow>, QueryError> {
        self.read(|state| {
            keys.iter()
                .filter_map(|key| state.messages.get(key).cloned())
                .collect()
        })
    }

    async fn share(&self, one: UserId, other: UserId) -> Result<bool, QueryError> {
        self.read(|state| {
            state.members.iter().any(|((id, user), member)| {
                *user == one
                    && member.is_current()
                    && state
                        .members
                        .get(&(*id, other))
                        .is_some_and(MemberState::is_current)
            })
        })
    }
}

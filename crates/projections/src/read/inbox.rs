//! The inbox: the stored page of a reader's conversations with the unprojected tail folded over it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use hubbub_domain::conversation::Event;
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::PartitionId;

use crate::cursor;
use crate::model::{ConversationRow, Entry, Fold, MemberState, message_of};
use crate::port::{MessageRow, Page, QueryError, Summary};
use crate::read::{Reader, capped};
use crate::store::InboxPlace;
use crate::tail::Place;

impl Reader {
    /// A page of `user`'s conversations, newest activity first.
    pub(super) async fn inbox_page(
        &self,
        user: UserId,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Summary>, QueryError> {
        let limit = capped(limit);
        let after = cursor.map(cursor::inbox).transpose()?;
        let (unprojected, place) = self.unprojected().await?;
        let touched = self.touched_for(user, &unprojected).await?;
        // Enough stored rows to fill the page even if every touched one among them falls out of it, and one to know whether more follow.
        let stored = self
            .store
            .inbox_page(user, after, limit + touched.len() + 1)
            .await?;
        let mut rows: Vec<(ConversationRow, Option<MemberState>)> = stored
            .into_iter()
            .filter(|(row, _)| !touched.contains_key(&row.id))
            .map(|(row, member)| (row, Some(member)))
            .collect();
        let mut fresh = HashMap::new();
        for (id, fold) in touched {
            let member = fold
                .members
                .get(&user)
                .copied()
                .filter(MemberState::is_current);
            if let (Some(row), Some(member)) = (fold.conversation, member) {
                let place = InboxPlace {
                    active_at: row.active_at,
                    conversation: id,
                };
                if after.is_none_or(|after| place < after) {
                    rows.push((row, Some(member)));
                }
                let last = unprojected
                    .get(&id)
                    .into_iter()
                    .flatten()
                    .filter_map(|(_, entry)| message_of(entry))
                    .next_back();
                fresh.extend(last.map(|message| (id, message)));
            }
        }
        drop((unprojected, place));
        newest_first(&mut rows);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = match rows.last() {
            Some((row, _)) if more => Some(cursor::of_inbox(InboxPlace {
                active_at: row.active_at,
                conversation: row.id,
            })),
            _ => None,
        };
        Ok(Page {
            items: self.summaries(user, rows, &fresh).await?,
            next_cursor,
        })
    }

    /// Events that the inbox projection has not seen, grouped by conversation.
    ///
    /// The place is to be given back with the events, and before the next question about a tail.
    pub(super) async fn unprojected(&self) -> Result<(Unprojected, Place), QueryError> {
        let (entries, place) = self.tail.of_partitions(&*self.store).await?;
        let mut grouped = Unprojected::new();
        for (partition, entry) in entries {
            grouped
                .entry(entry.recorded.conversation)
                .or_default()
                .push((partition, entry));
        }
        Ok((grouped, place))
    }

    /// Folds unprojected events over stored rows for one reader: the conversations touched, as they are now.
    async fn touched_for(
        &self,
        user: UserId,
        unprojected: &Unprojected,
    ) -> Result<BTreeMap<ConversationId, Fold>, QueryError> {
        let ids: Vec<ConversationId> = unprojected.keys().copied().collect();
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        // Of the conversations of everybody, those that this reader is, was or becomes a member of.
        let keys: Vec<(ConversationId, UserId)> = ids.iter().map(|id| (*id, user)).collect();
        let known: BTreeSet<ConversationId> = self
            .store
            .members(&keys)
            .await?
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        let relevant: Vec<ConversationId> = ids
            .into_iter()
            .filter(|id| {
                known.contains(id)
                    || unprojected
                        .get(id)
                        .is_some_and(|events| brings_in(user, events))
            })
            .collect();
        // Conversations before members, as in `fold`: what a projector commits in between is then applied twice, not left out.
        let mut stored: HashMap<ConversationId, ConversationRow> = self
            .store
            .conversations(&relevant)
            .await?
            .into_iter()
            .map(|row| (row.id, row))
            .collect();
        let keys: Vec<(ConversationId, UserId)> = relevant.iter().map(|id| (*id, user)).collect();
        let members: HashMap<ConversationId, MemberState> =
            self.store.members(&keys).await?.into_iter().collect();
        let mut folds: BTreeMap<ConversationId, Fold> = BTreeMap::new();
        for id in relevant {
            let mut fold = Fold::new(stored.remove(&id), members.get(&id).copied(), Some(user));
            for (partition, entry) in unprojected.get(&id).into_iter().flatten() {
                fold.apply(*partition, entry);
            }
            folds.insert(id, fold);
        }
        Ok(folds)
    }
}

/// Events that the inbox projection has not seen, by conversation.
pub(super) type Unprojected = BTreeMap<ConversationId, Vec<(PartitionId, Arc<Entry>)>>;

/// The newest message of a conversation, if it is among these: something newer may have been projected since they were read.
pub(super) fn newest_in<'a>(
    messages: &'a HashMap<ConversationId, MessageRow>,
    row: &ConversationRow,
) -> Option<&'a MessageRow> {
    messages
        .get(&row.id)
        .filter(|message| message.message_no == row.head_no)
}

/// The order of the inbox.
fn newest_first(rows: &mut [(ConversationRow, Option<MemberState>)]) {
    rows.sort_by_key(|(row, _)| std::cmp::Reverse((row.active_at, row.id)));
}

/// Whether these events make `user` a member.
fn brings_in(user: UserId, events: &[(PartitionId, Arc<Entry>)]) -> bool {
    events.iter().any(|(_, entry)| match &entry.recorded.event {
        Event::ConversationCreated { members, .. } => {
            members.iter().any(|(member, _)| *member == user)
        }
        Event::MemberAdded { user: added, .. } => *added == user,
        Event::MemberRemoved { .. } | Event::RoleChanged { .. } | Event::MessageSent { .. } => {
            false
        }
    })
}

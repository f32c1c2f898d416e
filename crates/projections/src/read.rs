//! The queries: projected rows, the log's tail folded over them, cut to what the reader may see.

mod history;
mod inbox;
mod members;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use hubbub_domain::conversation::{Kind, Visibility};
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::inbox::UnreadInputs;
use hubbub_domain::position::{MessageNo, Offset, PartitionId, Seq};
use hubbub_event_log::{LogReader, ReadError};

use crate::cursor;
use crate::model::{ConversationRow, Entry, Fold, MemberState, message_of};
use crate::port::{
    Access, Anchor, HistoryPage, MemberRow, MembershipFold, MessageRow, PAGE_ITEMS_MAX, Page,
    QueryError, ReadModels, Summary,
};
use crate::read::inbox::newest_in;
use crate::store::{Projection, RoomPlace, Store};
use crate::tail::{Tail, TailLimits};

/// Answers [`ReadModels`] from tables and log.
pub struct Reader {
    store: Arc<dyn Store>,
    tail: Tail,
}

impl Reader {
    /// A reader over these tables and this log.
    pub fn new(store: Arc<dyn Store>, log: Arc<dyn LogReader>) -> Self {
        Self {
            store,
            tail: Tail::new(log, TailLimits::default()),
        }
    }

    /// The same with other limits.
    #[must_use]
    pub fn limited_to(self, limits: TailLimits) -> Self {
        let log = self.tail.log_shared();
        Self {
            tail: Tail::new(log, limits),
            ..self
        }
    }

    /// Unprojected events and their bytes that are kept in memory now.
    pub fn kept(&self) -> (usize, usize) {
        self.tail.kept()
    }

    /// Questions that wait for a place, or for what another one reads.
    pub fn waiting(&self) -> usize {
        self.tail.waiting()
    }

    /// A conversation and, when `user` is given, that user's membership, both as of now.
    async fn fold(
        &self,
        conversation: ConversationId,
        user: Option<UserId>,
    ) -> Result<Option<(ConversationRow, Fold)>, QueryError> {
        // The conversation before its members: a projector that commits between the two reads leaves the member row newer than the
        // conversation row, and the tail re-applies what it already has; the other way round something would be missing.
        let stored = self
            .store
            .conversations(&[conversation])
            .await?
            .into_iter()
            .next();
        let members = match user {
            Some(user) => self.store.members(&[(conversation, user)]).await?,
            None => Vec::new(),
        };
        let after = stored.as_ref().map_or(Seq::ZERO, |row| row.head_seq);
        let mut fold = Fold::new(stored, members.into_iter().map(|(_, member)| member), user);
        let tail = self
            .tail
            .of_conversation(&*self.store, Projection::Inbox, conversation, after)
            .await?;
        for entry in &tail.entries {
            fold.apply(PartitionId::new(0), entry);
        }
        Ok(fold.conversation.clone().map(|row| (row, fold)))
    }

    async fn access_fold(
        &self,
        conversation: ConversationId,
        user: UserId,
    ) -> Result<Option<(ConversationRow, Option<MemberState>)>, QueryError> {
        let Some((row, fold)) = self.fold(conversation, Some(user)).await? else {
            return Ok(None);
        };
        let member = fold
            .members
            .get(&user)
            .copied()
            .filter(MemberState::is_current);
        let open = row.kind == Kind::Room && row.visibility == Visibility::Public;
        Ok((member.is_some() || open).then_some((row, member)))
    }

    /// Summaries of conversations whose rows are known and fresh; order kept.
    async fn summaries(
        &self,
        user: UserId,
        rows: Vec<(ConversationRow, Option<MemberState>)>,
        fresh: &HashMap<ConversationId, MessageRow>,
    ) -> Result<Vec<Summary>, QueryError> {
        let ids: Vec<ConversationId> = rows.iter().map(|(row, _)| row.id).collect();
        let markers: HashMap<ConversationId, MessageNo> = self
            .store
            .markers(user, &ids)
            .await?
            .into_iter()
            .map(|marker| (marker.conversation, marker.read_no))
            .collect();
        let wanted: Vec<(ConversationId, MessageNo)> = rows
            .iter()
            .filter(|(row, _)| row.head_no > MessageNo::ZERO && newest_in(fresh, row).is_none())
            .map(|(row, _)| (row.id, row.head_no))
            .collect();
        let mut newest: HashMap<ConversationId, MessageRow> = self
            .store
            .messages_at(&wanted)
            .await?
            .into_iter()
            .map(|message| (message.conversation, message))
            .collect();
        for (conversation, number) in wanted {
            if newest.contains_key(&conversation) {
                continue;
            }
            // History is projected on its own and may be behind the inbox: the message is then in its tail.
            let message = match self.message_from_tail(conversation, number).await {
                // Behind an event that is lost or cannot be read: that conversation is reported where it is opened, the others stay in the
                // list.
                Err(
                    QueryError::Inconsistent(what) | QueryError::Log(ReadError::Inconsistent(what)),
                ) => {
                    tracing::warn!(%conversation, %what, "no last message of a damaged conversation");
                    None
                }
                found => found?,
            };
            newest.extend(message.map(|message| (conversation, message)));
        }
        let mut summaries = Vec::with_capacity(rows.len());
        for (row, member) in rows {
            let last = newest_in(fresh, &row)
                .cloned()
                .or_else(|| newest.remove(&row.id));
            let marker = markers.get(&row.id).copied();
            summaries.push(summary_of(user, row, member, marker, last));
        }
        Ok(summaries)
    }
}

fn summary_of(
    user: UserId,
    row: ConversationRow,
    member: Option<MemberState>,
    marker: Option<MessageNo>,
    last: Option<MessageRow>,
) -> Summary {
    let (_, visible_from_no) = row.visible_from(member.as_ref());
    let inputs = UnreadInputs {
        head_no: row.head_no,
        read_no: marker.unwrap_or_default(),
        own_no: member.map_or(MessageNo::ZERO, |member| member.own_no),
        joined_no: member.map_or(MessageNo::ZERO, |member| member.joined_no),
        deleted_between: 0,
        own_between: 0,
    };
    let peer = row
        .pair
        .map(|(low, high)| if low == user { high } else { low });
    Summary {
        id: row.id,
        kind: row.kind,
        visibility: row.visibility,
        my_role: member.map(|member| member.role),
        member_count: row.member_count,
        epoch: row.head_epoch,
        head_seq: row.head_seq,
        head_no: row.head_no,
        read_no: inputs.effective_read_no(),
        joined_no: inputs.joined_no,
        // A visitor has nothing to read up on.
        unread: if member.is_some() { inputs.unread() } else { 0 },
        mentions: 0,
        // A visitor of a public room sees that it is there, not what is said in it.
        last_message: last
            .filter(|message| member.is_some() && message.message_no >= visible_from_no),
        peer,
        active_at: row.active_at,
        title: row.title,
        topic: row.topic,
    }
}

fn capped(limit: usize) -> usize {
    limit.clamp(1, PAGE_ITEMS_MAX)
}

#[async_trait]
impl ReadModels for Reader {
    async fn access(
        &self,
        conversation: ConversationId,
        user: UserId,
    ) -> Result<Option<Access>, QueryError> {
        let Some((row, member)) = self.access_fold(conversation, user).await? else {
            return Ok(None);
        };
        let (visible_from_seq, visible_from_no) = row.visible_from(member.as_ref());
        Ok(Some(Access {
            kind: row.kind,
            visibility: row.visibility,
            settings: row.settings,
            role: member.map(|member| member.role),
            joined_seq: member.map_or(Seq::ZERO, |member| member.joined_seq),
            visible_from_seq,
            visible_from_no,
            epoch: row.head_epoch,
            head_seq: row.head_seq,
            head_no: row.head_no,
        }))
    }

    async fn summary(
        &self,
        conversation: ConversationId,
        user: UserId,
    ) -> Result<Option<Summary>, QueryError> {
        let Some((row, member)) = self.access_fold(conversation, user).await? else {
            return Ok(None);
        };
        Ok(self
            .summaries(user, vec![(row, member)], &HashMap::new())
            .await?
            .into_iter()
            .next())
    }

    #[tracing::instrument(name = "db.inbox.page", level = "debug", skip_all)]
    async fn inbox(
        &self,
        user: UserId,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Summary>, QueryError> {
        self.inbox_page(user, cursor, limit).await
    }

    #[tracing::instrument(name = "db.history.page", level = "debug", skip_all)]
    async fn history(
        &self,
        conversation: ConversationId,
        user: UserId,
        anchor: Anchor,
        limit: usize,
    ) -> Result<Option<HistoryPage>, QueryError> {
        let Some(access) = self.access(conversation, user).await? else {
            return Ok(None);
        };
        let limit = capped(limit);
        let (first, head) = (access.visible_from_no, access.head_no);
        let page = match anchor {
            Anchor::Newest => self.older(conversation, first, head, limit).await?,
            Anchor::Before(number) => {
                self.older(conversation, first, head.min(number.prev()), limit)
                    .await?
            }
            Anchor::After(number) => {
                let mut items = self
                    .messages_between(
                        conversation,
                        first.max(number.next()),
                        head,
                        false,
                        limit + 1,
                    )
                    .await?;
                let has_more = items.len() > limit;
                items.truncate(limit);
                HistoryPage { items, has_more }
            }
            Anchor::Around(number) => {
                let half = limit / 2;
                let older = self
                    .older(conversation, first, head.min(number.prev()), half)
                    .await?;
                let rest = limit.saturating_sub(older.items.len());
                let mut newer = self
                    .messages_between(conversation, first.max(number), head, false, rest + 1)
                    .await?;
                let has_newer = newer.len() > rest;
                newer.truncate(rest);
                let mut items = older.items;
                items.append(&mut newer);
                HistoryPage {
                    items,
                    has_more: older.has_more || has_newer,
                }
            }
        };
        Ok(Some(page))
    }

    async fn members(
        &self,
        conversation: ConversationId,
        user: UserId,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Option<Page<MemberRow>>, QueryError> {
        if self.access_fold(conversation, user).await?.is_none() {
            return Ok(None);
        }
        let after = cursor.map(cursor::member).transpose()?;
        let limit = capped(limit);
        let Some(all) = self.members_now(conversation, after, limit + 1).await? else {
            return Ok(None);
        };
        let more = all.1.len() > limit;
        let items: Vec<MemberRow> = all
            .1
            .into_iter()
            .take(limit)
            .map(|member| MemberRow {
                user: member.user,
                role: member.role,
                joined_at: member.joined_at,
                joined_no: member.joined_no,
            })
            .collect();
        let next_cursor = items
            .last()
            .filter(|_| more)
            .map(|member| cursor::of_member(member.user));
        Ok(Some(Page { items, next_cursor }))
    }

    async fn rooms(
        &self,
        user: UserId,
        query: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Summary>, QueryError> {
        let limit = capped(limit);
        let after = cursor.map(cursor::room).transpose()?;
        let (unprojected, place) = self.unprojected().await?;
        let mut rows = self.store.rooms_page(query, after, limit + 1).await?;
        let known: BTreeSet<ConversationId> = rows.iter().map(|row| row.id).collect();
        if after.is_none() {
            // Rooms made a moment ago are shown on the first page; deeper pages follow the projection.
            let needle = query.to_lowercase();
            for (id, events) in &unprojected {
                let fold = folded(Fold::new(None, [], None), events);
                let listed = fold
                    .conversation
                    .filter(|row| listed(row, &needle) && !known.contains(id));
                rows.extend(listed);
            }
            rows.sort_by(|one, other| {
                other
                    .member_count
                    .cmp(&one.member_count)
                    .then(one.id.cmp(&other.id))
            });
        }
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(|row| {
            cursor::of_room(RoomPlace {
                member_count: row.member_count,
                conversation: row.id,
            })
        });
        let keys: Vec<(ConversationId, UserId)> = rows.iter().map(|row| (row.id, user)).collect();
        let mut members: HashMap<ConversationId, MemberState> =
            self.store.members(&keys).await?.into_iter().collect();
        let mut fresh = HashMap::new();
        let mut seen = Vec::with_capacity(rows.len());
        for row in rows {
            let id = row.id;
            let events = unprojected.get(&id).map(Vec::as_slice).unwrap_or_default();
            // A room made a moment ago is folded from its first event, or the reader's part in it would be left out.
            let stored = known.contains(&id).then_some(row);
            let fold = folded(Fold::new(stored, members.remove(&id), Some(user)), events);
            let member = fold
                .members
                .get(&user)
                .copied()
                .filter(MemberState::is_current);
            let last = events
                .iter()
                .filter_map(|(_, entry)| message_of(entry))
                .next_back();
            fresh.extend(last.map(|message| (id, message)));
            seen.extend(fold.conversation.map(|row| (row, member)));
        }
        drop((unprojected, place));
        Ok(Page {
            items: self.summaries(user, seen, &fresh).await?,
            next_cursor,
        })
    }

    async fn membership(
        &self,
        conversation: ConversationId,
    ) -> Result<Option<MembershipFold>, QueryError> {
        let Some((as_of, members)) = self.members_now(conversation, None, usize::MAX).await? else {
            return Ok(None);
        };
        Ok(Some(MembershipFold {
            as_of,
            members: members.into_iter().map(|member| member.user).collect(),
        }))
    }

    async fn share_conversation(&self, one: UserId, other: UserId) -> Result<bool, QueryError> {
        self.store.share(one, other).await
    }

    async fn lag(&self, partition: PartitionId) -> Result<u64, QueryError> {
        let head = self
            .tail
            .log()
            .heads(&[partition])
            .await?
            .first()
            .map_or(Offset::ZERO, |head| head.head);
        let mut lag = 0;
        for projection in [Projection::Inbox, Projection::History] {
            let at = self
                .store
                .checkpoints(projection)
                .await?
                .into_iter()
                .find(|(known, _)| *known == partition)
                .map_or(Offset::ZERO, |(_, offset)| offset);
            lag = lag.max(head.since(at));
        }
        Ok(lag)
    }
}

/// `fold` after these events.
fn folded(mut fold: Fold, events: &[(PartitionId, Arc<Entry>)]) -> Fold {
    for (partition, entry) in events {
        fold.apply(*partition, entry);
    }
    fold
}

fn listed(row: &ConversationRow, needle: &str) -> bool {
    let contains = |text: &Option<String>| {
        text.as_ref()
            .is_some_and(|text| text.to_lowercase().contains(needle))
    };
    row.kind == Kind::Room
        && row.visibility == Visibility::Public
        && (needle.is_empty() || contains(&row.title) || contains(&row.topic))
}

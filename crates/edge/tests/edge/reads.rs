//! The read models of the stand-in: answers straight from the folded states.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use hubbub_cluster::CommandRouter;
use hubbub_domain::conversation::{JoinHistory, Kind, Member, Visibility};
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{MessageNo, PartitionId, Seq};
use hubbub_projections::{
    Access, Anchor, HistoryPage, MemberRow, MembershipFold, MessageRow, Page, QueryError,
    ReadModels, Summary,
};

use crate::owner::{Conversation, Owner};
use crate::rig::PATIENCE;

impl Conversation {
    fn access(&self, user: UserId) -> Option<Access> {
        let kind = self.state.kind()?;
        let member = self.state.member(user);
        if member.is_none() && self.state.visibility() == Visibility::Private {
            return None;
        }
        let joined_seq = member.map_or(Seq::ZERO, |member| member.joined_seq);
        let from_join = self.state.settings().join_history == JoinHistory::FromJoin;
        Some(Access {
            kind,
            visibility: self.state.visibility(),
            settings: *self.state.settings(),
            role: member.map(|member| member.role),
            joined_seq,
            visible_from_seq: if from_join { joined_seq } else { Seq::new(1) },
            visible_from_no: match member {
                Some(member) if from_join => member.joined_no.next(),
                Some(_) | None => MessageNo::new(1),
            },
            epoch: self.epoch,
            head_seq: self.state.last_seq(),
            head_no: self.state.last_message_no(),
        })
    }

    fn summary(&self, user: UserId) -> Option<Summary> {
        let access = self.access(user)?;
        let joined_no = self
            .state
            .member(user)
            .map_or(MessageNo::ZERO, |member| member.joined_no);
        let read_no = self
            .read
            .get(&user)
            .copied()
            .unwrap_or_default()
            .max(joined_no);
        let unread = self
            .messages
            .iter()
            .filter(|row| row.message_no > read_no && row.by != user)
            .count();
        let others = || {
            self.state
                .members()
                .keys()
                .copied()
                .find(|member| *member != user)
        };
        Some(Summary {
            id: self.state.id(),
            kind: access.kind,
            title: self.state.title().map(str::to_owned),
            topic: self.state.topic().map(str::to_owned),
            visibility: access.visibility,
            my_role: access.role,
            member_count: u64::try_from(self.state.member_count()).unwrap(),
            epoch: access.epoch,
            head_seq: access.head_seq,
            head_no: access.head_no,
            read_no,
            joined_no,
            unread: u64::try_from(unread).unwrap(),
            mentions: 0,
            last_message: self.messages.last().cloned(),
            peer: (access.kind == Kind::Direct).then(others).flatten(),
            active_at: self.state.last_at(),
        })
    }
}

fn page<T>(items: Vec<T>) -> Page<T> {
    Page {
        items,
        next_cursor: None,
    }
}

impl Owner {
    fn readable(&self, id: ConversationId) -> Result<(), QueryError> {
        if *self.faults.unreadable.lock() == Some(id) {
            return Err(QueryError::Inconsistent("a test says so".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl ReadModels for Owner {
    async fn access(&self, id: ConversationId, user: UserId) -> Result<Option<Access>, QueryError> {
        self.faults.asked.fetch_add(1, Ordering::SeqCst);
        self.readable(id)?;
        if *self.faults.judged_late.lock() == Some(user) {
            let _turn = self.faults.access.read().await;
        }
        let access = self
            .inner
            .lock()
            .await
            .conversations
            .get(&id)
            .and_then(|found| found.access(user));
        let meanwhile = std::mem::take(&mut *self.faults.meanwhile.lock());
        for command in meanwhile {
            self.submit(command, false, PATIENCE, None).await.unwrap();
        }
        Ok(access)
    }

    async fn summary(
        &self,
        id: ConversationId,
        user: UserId,
    ) -> Result<Option<Summary>, QueryError> {
        Ok(self
            .inner
            .lock()
            .await
            .conversations
            .get(&id)
            .and_then(|found| found.summary(user)))
    }

    async fn inbox(
        &self,
        user: UserId,
        _cursor: Option<&str>,
        _limit: usize,
    ) -> Result<Page<Summary>, QueryError> {
        let inner = self.inner.lock().await;
        let mine = inner
            .conversations
            .values()
            .filter(|found| found.state.is_member(user));
        Ok(page(mine.filter_map(|found| found.summary(user)).collect()))
    }

    async fn history(
        &self,
        id: ConversationId,
        user: UserId,
        anchor: Anchor,
        limit: usize,
    ) -> Result<Option<HistoryPage>, QueryError> {
        let inner = self.inner.lock().await;
        let Some(found) = inner.conversations.get(&id) else {
            return Ok(None);
        };
        let Some(access) = found.access(user) else {
            return Ok(None);
        };
        let visible = found
            .messages
            .iter()
            .filter(|row| row.message_no >= access.visible_from_no);
        let chosen: Vec<MessageRow> = visible
            .filter(|row| match anchor {
                Anchor::Newest => true,
                Anchor::Before(no) => row.message_no < no,
                Anchor::After(no) => row.message_no > no,
                Anchor::Around(no) => row.message_no == no,
            })
            .cloned()
            .collect();
        let has_more = chosen.len() > limit;
        let items = match anchor {
            Anchor::After(_) => chosen.into_iter().take(limit).collect(),
            Anchor::Newest | Anchor::Before(_) | Anchor::Around(_) => {
                chosen[chosen.len().saturating_sub(limit)..].to_vec()
            }
        };
        Ok(Some(HistoryPage { items, has_more }))
    }

    async fn members(
        &self,
        id: ConversationId,
        user: UserId,
        _cursor: Option<&str>,
        _limit: usize,
    ) -> Result<Option<Page<MemberRow>>, QueryError> {
        let inner = self.inner.lock().await;
        let Some(found) = inner
            .conversations
            .get(&id)
            .filter(|found| found.access(user).is_some())
        else {
            return Ok(None);
        };
        let row = |(user, member): (&UserId, &Member)| MemberRow {
            user: *user,
            role: member.role,
            joined_at: member.joined_at,
            joined_no: member.joined_no,
        };
        Ok(Some(page(found.state.members().iter().map(row).collect())))
    }

    async fn rooms(
        &self,
        user: UserId,
        query: &str,
        _cursor: Option<&str>,
        _limit: usize,
    ) -> Result<Page<Summary>, QueryError> {
        let inner = self.inner.lock().await;
        let public = inner
            .conversations
            .values()
            .filter(|found| found.state.visibility() == Visibility::Public);
        let matching = public.filter(|found| {
            found
                .state
                .title()
                .is_some_and(|title| title.contains(query))
        });
        Ok(page(
            matching.filter_map(|found| found.summary(user)).collect(),
        ))
    }

    async fn membership(&self, id: ConversationId) -> Result<Option<MembershipFold>, QueryError> {
        self.faults.members_asked.fetch_add(1, Ordering::SeqCst);
        self.readable(id)?;
        let _turn = self.faults.members.read().await;
        let inner = self.inner.lock().await;
        Ok(inner
            .conversations
            .get(&id)
            .filter(|found| found.state.exists())
            .map(|found| MembershipFold {
                as_of: found.state.last_seq(),
                members: found.state.members().keys().copied().collect(),
            }))
    }

    async fn share_conversation(&self, _one: UserId, _other: UserId) -> Result<bool, QueryError> {
        Ok(true)
    }

    async fn lag(&self, _partition: PartitionId) -> Result<u64, QueryError> {
        Ok(0)
    }
}

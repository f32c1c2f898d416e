//! Who is in, as of now.

use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{PartitionId, Seq};

use crate::model::{Fold, MemberState};
use crate::port::QueryError;
use crate::read::Reader;
use crate::store::Projection;

/// Members read at once.
const MEMBERS_PAGE: usize = 1_000;

impl Reader {
    /// Current members after `after`, ascending, and the seq they are current at: all of them, or at least `limit` if there are as many.
    pub(super) async fn members_now(
        &self,
        conversation: ConversationId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Option<(Seq, Vec<MemberState>)>, QueryError> {
        let stored = self
            .store
            .conversations(&[conversation])
            .await?
            .into_iter()
            .next();
        let from = stored.as_ref().map_or(Seq::ZERO, |row| row.head_seq);
        let mut members = Vec::new();
        let mut place = after;
        let mut exhausted = stored.is_none();
        while !exhausted && members.len() < limit {
            let page = self
                .store
                .members_page(conversation, place, MEMBERS_PAGE)
                .await?;
            exhausted = page.len() < MEMBERS_PAGE;
            place = page.last().map(|member| member.user).or(place);
            members.extend(page);
        }
        // The tail after the members: what a projector committed in between is then applied twice, not left out.
        let tail = self
            .tail
            .of_conversation(&*self.store, Projection::Inbox, conversation, from)
            .await?;
        let mut fold = Fold::new(stored, members, None);
        for entry in &tail.entries {
            fold.apply(PartitionId::new(0), entry);
        }
        let Some(row) = &fold.conversation else {
            return Ok(None);
        };
        let as_of = row.head_seq;
        // Whom the tail brought in behind the last page belongs to a later page.
        let within = |user: UserId| exhausted || place.is_some_and(|place| user <= place);
        let current = fold.members.into_values().filter(|member| {
            member.is_current()
                && after.is_none_or(|after| member.user > after)
                && within(member.user)
        });
        Ok(Some((as_of, current.collect())))
    }
}

//! Messages by number: projected rows and the tail that is not projected yet.

use std::collections::BTreeMap;

use hubbub_domain::ids::ConversationId;
use hubbub_domain::position::MessageNo;

use crate::model::message_of;
use crate::port::{HistoryPage, MessageRow, QueryError};
use crate::read::Reader;
use crate::store::Projection;

impl Reader {
    pub(super) async fn message_from_tail(
        &self,
        conversation: ConversationId,
        number: MessageNo,
    ) -> Result<Option<MessageRow>, QueryError> {
        let after = self.store.history_seq(conversation).await?;
        let tail = self
            .tail
            .of_conversation(&*self.store, Projection::History, conversation, after)
            .await?;
        if let Some(message) = tail
            .entries
            .iter()
            .filter_map(|entry| message_of(entry))
            .find(|message| message.message_no == number)
        {
            return Ok(Some(message));
        }
        // Projected between the two reads.
        Ok(self
            .store
            .messages_at(&[(conversation, number)])
            .await?
            .into_iter()
            .next())
    }

    /// Messages of the unprojected tail, and the first number that is not projected for sure.
    pub(super) async fn history_tail(
        &self,
        conversation: ConversationId,
    ) -> Result<BTreeMap<MessageNo, MessageRow>, QueryError> {
        let after = self.store.history_seq(conversation).await?;
        let tail = self
            .tail
            .of_conversation(&*self.store, Projection::History, conversation, after)
            .await?;
        Ok(tail
            .entries
            .iter()
            .filter_map(|entry| message_of(entry))
            .map(|message| (message.message_no, message))
            .collect())
    }

    /// Messages numbered `from..=to`, at most `limit`, from the end when `newest`.
    pub(super) async fn messages_between(
        &self,
        conversation: ConversationId,
        from: MessageNo,
        to: MessageNo,
        newest: bool,
        limit: usize,
    ) -> Result<Vec<MessageRow>, QueryError> {
        if from > to || limit == 0 {
            return Ok(Vec::new());
        }
        // Tail first: what is projected in between is then in both, and numbers make them one.
        let mut messages = self.history_tail(conversation).await?;
        messages.retain(|number, _| *number >= from && *number <= to);
        for message in self
            .store
            .messages(conversation, from, to, newest, limit)
            .await?
        {
            messages.insert(message.message_no, message);
        }
        let all = messages.into_values();
        Ok(if newest {
            let mut last: Vec<MessageRow> = all.rev().take(limit).collect();
            last.reverse();
            last
        } else {
            all.take(limit).collect()
        })
    }

    pub(super) async fn older(
        &self,
        conversation: ConversationId,
        first: MessageNo,
        to: MessageNo,
        limit: usize,
    ) -> Result<HistoryPage, QueryError> {
        let mut items = self
            .messages_between(conversation, first, to, true, limit + 1)
            .await?;
        let has_more = items.len() > limit;
        if has_more {
            items.remove(0);
        }
        Ok(HistoryPage { items, has_more })
    }
}

//! What people read: newest pages and inboxes, at any node, while everything goes on and again in the end.

use std::sync::Arc;

use hubbub_checker::history::Message;
use hubbub_checker::{InboxEntry, Read, Reading};
use hubbub_wire::rest::{InboxQuery, MessagesQuery};
use uuid::Uuid;

use crate::load::stage::{Stage, one};
use crate::load::voice::Voice;

/// Messages of one page.
const PAGE: u32 = 50;
/// Conversations of one inbox page: everything that anybody has.
const INBOX_PAGE: u32 = 200;

/// Reads the newest page of a conversation at that node.
pub async fn history(
    stage: &Stage,
    voice: &Arc<Voice>,
    node: usize,
    conversation: Uuid,
    is_quiet: bool,
) {
    let Some(rest) = voice.rests.get(node) else {
        return;
    };
    let invoked_at = stage.clock.now();
    let query = MessagesQuery {
        limit: Some(PAGE),
        ..MessagesQuery::default()
    };
    match rest.messages(conversation, &query).await {
        Ok(page) => {
            one(&stage.done.reads);
            let reading = Reading::Page {
                conversation,
                newest: true,
                items: page.items.iter().map(Message::from).collect(),
            };
            record(stage, voice, node, invoked_at, is_quiet, reading);
        }
        Err(_error) => one(&stage.done.reads_failed),
    }
}

/// Reads the whole inbox at that node.
pub async fn inbox(stage: &Stage, voice: &Arc<Voice>, node: usize, is_quiet: bool) {
    let Some(rest) = voice.rests.get(node) else {
        return;
    };
    let invoked_at = stage.clock.now();
    let query = InboxQuery {
        limit: Some(INBOX_PAGE),
        ..InboxQuery::default()
    };
    match rest.inbox(&query).await {
        Ok(page) => {
            one(&stage.done.reads);
            let reading = Reading::Inbox {
                entries: page.items.iter().map(InboxEntry::from).collect(),
                complete: page.next_cursor.is_none(),
            };
            record(stage, voice, node, invoked_at, is_quiet, reading);
        }
        Err(_error) => one(&stage.done.reads_failed),
    }
}

fn record(
    stage: &Stage,
    voice: &Arc<Voice>,
    node: usize,
    invoked_at: u64,
    is_quiet: bool,
    reading: Reading,
) {
    let read = Read {
        user: voice.user,
        node: u32::try_from(node).unwrap_or(u32::MAX),
        invoked_at,
        ended_at: stage.clock.now(),
        is_quiet,
        reading,
    };
    voice.notes().history.reads.push(read);
}

//! Inbox, rooms, conversations: finding, creating, coming and going.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hubbub_domain::conversation::{
    Command, Intent, JoinHistory, Kind, NewConversation, Operation, Posting, RequestKey, Settings,
    Visibility,
};
use hubbub_domain::ids::{CommandId, ConversationId, UserId};
use hubbub_wire::bus::How;
use hubbub_wire::client::object as wire;
use hubbub_wire::rest::{ChooseSettings, CreateConversation, InboxFilter, InboxQuery, SearchQuery};

use crate::error::Refusal;
use crate::http::call::{Call, Class, created, list, ok, page_limit};
use crate::http::users::searched;
use crate::ids;
use crate::session::inbound::SEND_DEADLINE;

pub(crate) async fn inbox(call: Call) -> Result<Response, Refusal> {
    let session = call.session().await?;
    let _pass = call.may(Class::History).await?;
    let query: InboxQuery = call.query()?;
    let limit = page_limit(query.limit)?;
    match query.filter {
        None | Some(InboxFilter::All | InboxFilter::Unread) => {}
        // Nothing can be put away yet.
        Some(InboxFilter::Archived) => return Ok(list::<wire::Conversation>(Vec::new(), None)),
    }
    let page = call
        .shared
        .read_models
        .inbox(session.user, query.cursor.as_deref(), limit)
        .await?;
    let mut items = call
        .shared
        .people
        .conversations(&page.items, session.user)
        .await?;
    if query.filter == Some(InboxFilter::Unread) {
        items.retain(|conversation| conversation.unread > 0);
    }
    Ok(list(items, page.next_cursor))
}

pub(crate) async fn rooms(call: Call) -> Result<Response, Refusal> {
    let session = call.session().await?;
    let _pass = call.may(Class::Search).await?;
    let query: SearchQuery = call.query()?;
    let limit = page_limit(query.limit)?;
    let text = searched(query.query.as_deref())?;
    let spent = call
        .shared
        .budgets
        .searches
        .spend(session.user, call.shared.clock.now());
    spent.map_err(Refusal::rate_limited)?;
    let page = call
        .shared
        .read_models
        .rooms(session.user, text, query.cursor.as_deref(), limit)
        .await?;
    let items = call
        .shared
        .people
        .conversations(&page.items, session.user)
        .await?;
    Ok(list(items, page.next_cursor))
}

pub(crate) async fn create(mut call: Call) -> Result<Response, Refusal> {
    let session = call.session().await?;
    let (key, retry) = call.command_id()?;
    let body: CreateConversation = call.json().await?;
    let others: BTreeSet<UserId> = body
        .members
        .unwrap_or_default()
        .into_iter()
        .map(UserId::from_uuid)
        .collect();
    let others: Vec<UserId> = others
        .into_iter()
        .filter(|user| *user != session.user)
        .collect();
    let kind = Kind::from(body.kind);
    let conversation = match (kind, others.first()) {
        (Kind::Direct, Some(other)) => ConversationId::direct(session.user, *other),
        (Kind::Direct, None) => {
            return Err(Refusal::unprocessable(
                "members",
                "must name exactly one other person",
            ));
        }
        (Kind::Group | Kind::Room, _) => ConversationId::created(session.user, key),
    };
    let known = call.shared.people.named(others.clone()).await?;
    if known.len() < others.len() {
        return Err(Refusal::unprocessable("members", "must all exist"));
    }
    let new = NewConversation {
        kind,
        members: others,
        title: body.title,
        topic: body.topic,
        visibility: body.visibility.map_or(Visibility::Private, Into::into),
        settings: settings(body.settings),
        request_key: request_key(),
    };
    let command = Command {
        id: key,
        conversation,
        by: session.user,
        intent: Intent::Create(new),
    };
    // The derived id of a group or room tells a reused key by itself; that of a direct conversation does not depend on it.
    let request = (kind, conversation);
    if retry {
        call.shared
            .keys
            .check(Some(session.user), key, &request)
            .await?;
    }
    let accepted = call
        .shared
        .router
        .submit(command, retry, SEND_DEADLINE, Call::trace())
        .await?;
    if retry {
        call.shared
            .keys
            .keep(Some(session.user), key, &request)
            .await;
    }
    let summary = summary(&call, conversation, session.user).await?;
    Ok(match accepted.how {
        How::Stored | How::Duplicate => created(&summary),
        How::Already => ok(&summary),
    })
}

pub(crate) async fn show(call: Call) -> Result<Response, Refusal> {
    let session = call.session().await?;
    let (id, _access) = call.conversation(session.user, Operation::See).await?;
    Ok(ok(&summary(&call, id, session.user).await?))
}

pub(crate) async fn join(mut call: Call) -> Result<Response, Refusal> {
    let session = call.session().await?;
    let (id, _access) = call.conversation(session.user, Operation::Join).await?;
    let (key, retry) = call.command_id()?;
    call.no_body().await?;
    let command = Command {
        id: key,
        conversation: id,
        by: session.user,
        intent: Intent::Join,
    };
    call.shared
        .router
        .submit(command, retry, SEND_DEADLINE, Call::trace())
        .await?;
    Ok(ok(&summary(&call, id, session.user).await?))
}

/// The owner decides alone: who has just left a private conversation no longer sees it, and may still say so twice.
pub(crate) async fn leave(mut call: Call) -> Result<Response, Refusal> {
    let session = call.session().await?;
    let id = ConversationId::from_uuid(call.id("id")?);
    let access = call.shared.read_models.access(id, session.user).await?;
    let (key, retry) = match call.command_id() {
        // Nothing is said about a request to what cannot be seen.
        Err(_bad_key) if access.is_none() => (CommandId::from_uuid(ids::fresh()), false),
        key => key?,
    };
    if access.is_some() {
        call.no_body().await?;
    }
    let command = Command {
        id: key,
        conversation: id,
        by: session.user,
        intent: Intent::Leave,
    };
    call.shared
        .router
        .submit(command, retry, SEND_DEADLINE, Call::trace())
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A conversation as it stands now, names included.
pub(crate) async fn summary(
    call: &Call,
    id: ConversationId,
    user: UserId,
) -> Result<wire::Conversation, Refusal> {
    let summary = call
        .shared
        .read_models
        .summary(id, user)
        .await?
        .ok_or_else(Refusal::not_found)?;
    Ok(call.shared.people.conversation(&summary, user).await?)
}

fn settings(given: Option<ChooseSettings>) -> Settings {
    let (given, usual) = (given.unwrap_or_default(), Settings::default());
    Settings {
        join_history: given
            .join_history
            .map_or(usual.join_history, JoinHistory::from),
        posting: given.posting.map_or(usual.posting, Posting::from),
        receipts: given.receipts.unwrap_or(usual.receipts),
        retention_days: given.retention_days.or(usual.retention_days),
    }
}

/// 32 fresh random bytes: 244 of their bits are random, the rest says "UUID, version 4".
fn request_key() -> RequestKey {
    let mut bytes = [0_u8; 32];
    let (first, second) = bytes.split_at_mut(16);
    first.copy_from_slice(ids::random().as_bytes());
    second.copy_from_slice(ids::random().as_bytes());
    RequestKey::from_bytes(bytes)
}

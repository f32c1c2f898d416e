//! Messages, markers, raw events.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hubbub_domain::conversation::{Command, Intent, Operation};
use hubbub_domain::position::{MessageNo, Seq};
use hubbub_projections::Anchor;
use hubbub_wire::bus::MarkRequest;
use hubbub_wire::client::RawEvent;
use hubbub_wire::rest::{EventsQuery, Marker, MessagesQuery, SendMessage, Stored};

use crate::error::Refusal;
use crate::http::call::{Call, Class, created, list as page_of, ok, page_limit};
use crate::objects;
use crate::session::inbound::SEND_DEADLINE;

pub(crate) async fn list(call: Call) -> Result<Response, Refusal> {
    let session = call.session().await?;
    let _pass = call.may(Class::History).await?;
    let (id, _access) = call.conversation(session.user, Operation::Read).await?;
    let query: MessagesQuery = call.query()?;
    let limit = page_limit(query.limit)?;
    if query.at.is_some() {
        return Err(Refusal::not_yet("reading by time"));
    }
    let cursor = query.cursor.as_deref().map(read_cursor).transpose()?;
    let anchor = match (cursor, query.before_no, query.after_no, query.around_no) {
        (None, None, None, None) => Anchor::Newest,
        (Some(anchor), None, None, None) => anchor,
        (None, Some(no), None, None) => Anchor::Before(MessageNo::new(no)),
        (None, None, Some(no), None) => Anchor::After(MessageNo::new(no)),
        (None, None, None, Some(no)) => Anchor::Around(MessageNo::new(no)),
        _ => {
            return Err(Refusal::unreadable(
                "give at most one of before_no, after_no, around_no, cursor",
            ));
        }
    };
    let page = call
        .shared
        .read_models
        .history(id, session.user, anchor, limit)
        .await?
        .ok_or_else(Refusal::not_found)?;
    // The next page goes on in the direction that was asked.
    let next = match anchor {
        _ if !page.has_more => None,
        Anchor::Newest | Anchor::Before(_) => {
            page.items.first().map(|row| format!("b{}", row.message_no))
        }
        Anchor::After(_) => page.items.last().map(|row| format!("a{}", row.message_no)),
        Anchor::Around(_) => None,
    };
    Ok(page_of(
        page.items
            .iter()
            .map(|row| objects::message(row, session.user))
            .collect(),
        next,
    ))
}

/// A cursor is a direction and a message number.
fn read_cursor(cursor: &str) -> Result<Anchor, Refusal> {
    let unknown = || Refusal::unreadable("cursor is not one of ours");
    let (before, number) = match (cursor.strip_prefix('b'), cursor.strip_prefix('a')) {
        (Some(number), _) => (true, number),
        (_, Some(number)) => (false, number),
        _ => return Err(unknown()),
    };
    let number: u64 = number.parse().map_err(|_not_a_number| unknown())?;
    let no = MessageNo::new(number);
    Ok(if before {
        Anchor::Before(no)
    } else {
        Anchor::After(no)
    })
}

pub(crate) async fn show(call: Call) -> Result<Response, Refusal> {
    let session = call.session().await?;
    let _pass = call.may(Class::History).await?;
    let (id, _access) = call.conversation(session.user, Operation::Read).await?;
    let no = MessageNo::new(call.number("no")?);
    let page = call
        .shared
        .read_models
        .history(id, session.user, Anchor::Around(no), 1)
        .await?;
    let found = page.and_then(|page| page.items.into_iter().find(|row| row.message_no == no));
    Ok(ok(&objects::message(
        &found.ok_or_else(Refusal::not_found)?,
        session.user,
    )))
}

pub(crate) async fn send(mut call: Call) -> Result<Response, Refusal> {
    let session = call.session().await?;
    let (conversation, _access) = call
        .conversation(session.user, Operation::SendMessage)
        .await?;
    let (id, retry) = call.command_id()?;
    let body: SendMessage = call.json().await?;
    if body.scheduled_for.is_some() {
        return Err(Refusal::not_yet("sending later"));
    }
    if body.attachments.is_some_and(|files| !files.is_empty()) {
        return Err(Refusal::not_yet("sending files"));
    }
    let spent = call
        .shared
        .budgets
        .sends
        .spend(session.user, call.shared.clock.now());
    spent.map_err(Refusal::rate_limited)?;
    let intent = Intent::SendMessage {
        body: body.body,
        reply_to_no: body.reply_to_no.map(MessageNo::new),
        thread_root_no: body.thread_root_no.map(MessageNo::new),
    };
    let command = Command {
        id,
        conversation,
        by: session.user,
        intent,
    };
    let accepted = call
        .shared
        .router
        .submit(command, retry, SEND_DEADLINE, Call::trace())
        .await?;
    Ok(created(&Stored {
        seq: accepted.seq.get(),
        epoch: accepted.epoch.get(),
        message_no: accepted.message_no.map_or(0, MessageNo::get),
        at: accepted.at.into(),
    }))
}

pub(crate) async fn mark(mut call: Call) -> Result<Response, Refusal> {
    let session = call.session().await?;
    let (conversation, _access) = call.conversation(session.user, Operation::Read).await?;
    let body: Marker = call.json().await?;
    let mark = MarkRequest {
        conversation,
        user: session.user,
        read_no: Some(MessageNo::new(body.read_no)),
        delivered_no: None,
        wait_stored: true,
    };
    call.shared.router.mark(mark, SEND_DEADLINE).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn events(call: Call) -> Result<Response, Refusal> {
    let session = call.session().await?;
    let _pass = call.may(Class::History).await?;
    let (id, access) = call.conversation(session.user, Operation::Read).await?;
    let query: EventsQuery = call.query()?;
    let limit = page_limit(query.limit)?;
    let from = match (&query.cursor, query.from_seq) {
        (Some(_), Some(_)) => {
            return Err(Refusal::unreadable("give at most one of from_seq, cursor"));
        }
        (Some(cursor), None) => cursor
            .parse()
            .map_err(|_not_a_number| Refusal::unreadable("cursor is not one of ours"))?,
        (None, from) => from.unwrap_or(1),
    };
    let from = Seq::new(from).max(access.visible_from_seq).max(Seq::new(1));
    let mut rows = call
        .shared
        .log
        .read_conversation(id, from, limit.saturating_add(1))
        .await?;
    // What came after access was judged may not be theirs to see.
    rows.retain(|row| row.seq <= access.head_seq);
    let next = rows.get(limit).map(|row| row.seq.to_string());
    let mut items: Vec<RawEvent> = Vec::with_capacity(limit);
    for row in rows.iter().take(limit) {
        let recorded = row.decode().map_err(|error| {
            tracing::error!(%error, conversation.id = %id, seq = row.seq.get(), "an event cannot be read");
            Refusal::unavailable(60_000)
        })?;
        items.push(objects::raw_event(row.epoch, &recorded));
    }
    Ok(page_of(items, next))
}

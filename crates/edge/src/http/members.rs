//! Members of a conversation.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hubbub_domain::conversation::{Command, Intent, Operation, Role};
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_wire::rest::{AddMember, ChangeRole, ListQuery};

use crate::error::Refusal;
use crate::http::call::{Call, Class, list as page_of, may, page_limit};
use crate::objects;
use crate::session::inbound::SEND_DEADLINE;

pub(crate) async fn list(call: Call) -> Result<Response, Refusal> {
    let session = call.session().await?;
    let _pass = call.may(Class::History).await?;
    let (id, _access) = call.conversation(session.user, Operation::Read).await?;
    let query: ListQuery = call.query()?;
    let limit = page_limit(query.limit)?;
    let page = call
        .shared
        .read_models
        .members(id, session.user, query.cursor.as_deref(), limit)
        .await?;
    let page = page.ok_or_else(Refusal::not_found)?;
    let people = call
        .shared
        .people
        .named(page.items.iter().map(|row| row.user).collect())
        .await?;
    Ok(page_of(
        page.items
            .iter()
            .map(|row| objects::member(row, &people))
            .collect(),
        page.next_cursor,
    ))
}

pub(crate) async fn add(mut call: Call) -> Result<Response, Refusal> {
    let session = call.session().await?;
    // The least that could be asked; the owner judges the role that is.
    let (id, _access) = call
        .conversation(session.user, Operation::AddMember { role: Role::Guest })
        .await?;
    let body: AddMember = call.json().await?;
    let user = UserId::from_uuid(body.user_id);
    if call.shared.identity.user(user).await?.is_none() {
        return Err(Refusal::unprocessable(
            "user_id",
            "must name someone who exists",
        ));
    }
    let role = body.role.map_or(Role::Member, Role::from);
    submit(&call, id, session.user, Intent::AddMember { user, role }).await
}

pub(crate) async fn change_role(mut call: Call) -> Result<Response, Refusal> {
    let session = call.session().await?;
    let (id, access) = call.conversation(session.user, Operation::Read).await?;
    let user = UserId::from_uuid(call.id("user")?);
    if user != session.user {
        // The least that could be asked; the owner judges what is.
        may(
            &access,
            Operation::ChangeRole {
                from: Some(Role::Guest),
                to: Role::Guest,
            },
        )?;
    }
    let body: ChangeRole = call.json().await?;
    submit(
        &call,
        id,
        session.user,
        Intent::ChangeRole {
            user,
            role: body.role.into(),
        },
    )
    .await
}

pub(crate) async fn remove(mut call: Call) -> Result<Response, Refusal> {
    let session = call.session().await?;
    let (id, access) = call.conversation(session.user, Operation::Read).await?;
    let user = UserId::from_uuid(call.id("user")?);
    if user != session.user {
        may(
            &access,
            Operation::RemoveMember {
                target: Some(Role::Guest),
            },
        )?;
    }
    call.no_body().await?;
    // Taking oneself out is leaving.
    let intent = if user == session.user {
        Intent::Leave
    } else {
        Intent::RemoveMember { user }
    };
    submit(&call, id, session.user, intent).await
}

async fn submit(
    call: &Call,
    conversation: ConversationId,
    by: UserId,
    intent: Intent,
) -> Result<Response, Refusal> {
    let (id, retry) = call.command_id()?;
    let command = Command {
        id,
        conversation,
        by,
        intent,
    };
    call.shared
        .router
        .submit(command, retry, SEND_DEADLINE, Call::trace())
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

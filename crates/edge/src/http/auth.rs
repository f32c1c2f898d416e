//! Register, log in, log out, sessions.

use std::sync::Arc;

use axum::http::header::SET_COOKIE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use hubbub_accounts::{NewUser, SessionId, SessionToken, User};
use hubbub_bus::Subject;
use hubbub_domain::ids::UserId;
use hubbub_wire::bus::UserChanged;
use hubbub_wire::rest::accounts::SessionShown;
use hubbub_wire::rest::{ListQuery, Login, Register, SessionStarted};
use uuid::Uuid;

use crate::auth::origin::Verdict;
use crate::error::Refusal;
use crate::fanout::Command;
use crate::http::call::{Call, created, list, ok, page_limit};
use crate::objects;
use crate::state::Shared;

pub(crate) async fn register(mut call: Call) -> Result<Response, Refusal> {
    not_from_elsewhere(&call)?;
    let (key, repeated) = call.command_id()?;
    let body: Register = call.json().await?;
    if let Some(address) = call.budgeted_address() {
        spend(
            call.shared
                .budgets
                .registrations
                .spend(address, call.shared.clock.now()),
        )?;
    }
    if body.invite.is_some() {
        return Err(Refusal::not_yet("registering with an invite"));
    }
    let new = NewUser {
        username: body.username,
        display_name: body.display_name,
        password: body.password,
        email: body.email,
    };
    let request = (&new.username, &new.display_name, &new.password, &new.email);
    if repeated && call.shared.keys.check(None, key, &request).await? {
        // The answer was lost: the account is there, and whoever knows the password gets a session to it.
        let again = call
            .shared
            .identity
            .login(&new.username, &new.password, call.origin());
        let (user, _session, token) = again.await?;
        return Ok(started(&call, &user, &token, true));
    }
    let registered = call.shared.identity.register(new.clone(), call.origin());
    let (user, _session, token) = registered.await?;
    if repeated {
        call.shared.keys.keep(None, key, &request).await;
    }
    Ok(started(&call, &user, &token, true))
}

pub(crate) async fn login(mut call: Call) -> Result<Response, Refusal> {
    not_from_elsewhere(&call)?;
    let body: Login = call.json().await?;
    if let Some(address) = call.budgeted_address() {
        spend(
            call.shared
                .budgets
                .logins
                .spend(address, call.shared.clock.now()),
        )?;
    }
    let (user, _session, token) = call
        .shared
        .identity
        .login(&body.username, &body.password, call.origin())
        .await?;
    Ok(started(&call, &user, &token, false))
}

pub(crate) async fn logout(mut call: Call) -> Result<Response, Refusal> {
    let session = call.session().await?;
    call.no_body().await?;
    end(&call.shared, session.user, session.id).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    set_cookie(&mut response, &call.shared.origins.no_cookie());
    Ok(response)
}

pub(crate) async fn sessions(call: Call) -> Result<Response, Refusal> {
    let current = call.session().await?;
    let query: ListQuery = call.query()?;
    let limit = page_limit(query.limit)?;
    let mut sessions = call.shared.identity.sessions(current.user).await?;
    if let Some(cursor) = query.cursor {
        // The last session of the page before.
        let last = Uuid::parse_str(&cursor).ok().map(SessionId);
        let place = sessions
            .iter()
            .position(|session| Some(session.id) == last)
            .ok_or_else(|| Refusal::unreadable("cursor is not one of ours"))?;
        sessions.drain(..=place);
    }
    let more = sessions.len() > limit;
    sessions.truncate(limit);
    let next = sessions
        .last()
        .filter(|_| more)
        .map(|last| last.id.0.to_string());
    let items = sessions.into_iter().map(|session| SessionShown {
        id: session.id.0,
        device: session.origin.device,
        address: session.origin.address,
        created_at: session.created_at.into(),
        last_used_at: session.last_used_at.into(),
        current: session.id == current.id,
    });
    Ok(list(items.collect(), next))
}

pub(crate) async fn end_session(call: Call) -> Result<Response, Refusal> {
    let current = call.session().await?;
    let id = SessionId(call.id("session")?);
    let sessions = call.shared.identity.sessions(current.user).await?;
    if !sessions.iter().any(|session| session.id == id) {
        return Err(Refusal::not_found());
    }
    end(&call.shared, current.user, id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn end_other_sessions(call: Call) -> Result<Response, Refusal> {
    let current = call.session().await?;
    for session in call.shared.identity.sessions(current.user).await? {
        if session.id != current.id {
            end(&call.shared, current.user, session.id).await?;
        }
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Ends a session and says so everywhere: sockets that live by it are closed within a second.
async fn end(shared: &Arc<Shared>, user: UserId, session: SessionId) -> Result<(), Refusal> {
    let rev = shared.identity.end_session(user, session).await?;
    // This node need not wait for the bus; the others hear it there, or by the next head broadcast.
    if shared
        .fanout
        .send(Command::AccountChanged { user })
        .await
        .is_err()
    {
        tracing::debug!("the fan-out has ended: its sockets are closing anyway");
    }
    let changed = UserChanged { user, rev };
    if let Err(error) = shared
        .bus
        .publish(Subject::User, changed.encode(), Call::trace())
        .await
    {
        tracing::warn!(%error, "an account change was not published; head broadcasts will tell");
    }
    Ok(())
}

/// A browser page from elsewhere may neither log in nor register.
fn not_from_elsewhere(call: &Call) -> Result<(), Refusal> {
    if call.verdict() == Verdict::Foreign {
        return Err(Refusal::forbidden("this origin may not log in here"));
    }
    Ok(())
}

fn spend(result: Result<(), u64>) -> Result<(), Refusal> {
    result.map_err(Refusal::rate_limited)
}

fn started(call: &Call, user: &User, token: &SessionToken, new: bool) -> Response {
    let body = SessionStarted {
        user: objects::user(user),
        token: token.0.clone(),
    };
    let mut response = if new { created(&body) } else { ok(&body) };
    if call.verdict() == Verdict::Same {
        set_cookie(&mut response, &call.shared.origins.cookie(&token.0));
    }
    response
}

fn set_cookie(response: &mut Response, cookie: &str) {
    match HeaderValue::from_str(cookie) {
        Ok(value) => {
            response.headers_mut().insert(SET_COOKIE, value);
        }
        Err(_not_a_header) => tracing::error!("a session token does not fit a header"),
    }
}

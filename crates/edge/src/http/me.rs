//! Oneself.

use axum::response::Response;
use hubbub_wire::rest::Me;
use hubbub_wire::rest::accounts::ChangeProfile;

use crate::error::Refusal;
use crate::http::call::{Call, ok};
use crate::objects;

pub(crate) async fn show(call: Call) -> Result<Response, Refusal> {
    let session = call.session().await?;
    let user = call
        .shared
        .identity
        .user(session.user)
        .await?
        .ok_or_else(Refusal::unauthenticated)?;
    Ok(ok(&Me {
        user: objects::user(&user),
        email: None,
    }))
}

pub(crate) async fn change(mut call: Call) -> Result<Response, Refusal> {
    let session = call.session().await?;
    let change: ChangeProfile = call.json().await?;
    let (name, status) = (change.display_name.as_deref(), change.status.as_deref());
    let user = call
        .shared
        .identity
        .update_profile(session.user, name, status)
        .await?;
    call.shared.people.forget(session.user).await;
    Ok(ok(&Me {
        user: objects::user(&user),
        email: None,
    }))
}

//! People.

use axum::response::Response;
use hubbub_domain::ids::UserId;
use hubbub_wire::rest::SearchQuery;

use crate::error::Refusal;
use crate::http::call::{Call, Class, list, ok, page_limit};
use crate::objects;

/// Characters of a search.
const QUERY_CHARS_MAX: usize = 128;

pub(crate) async fn search(call: Call) -> Result<Response, Refusal> {
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
    let rows = &call.shared.budgets.directory_rows;
    rows.look(&session.user, call.shared.clock.now())
        .map_err(Refusal::rate_limited)?;
    let page = call
        .shared
        .identity
        .search(text, query.cursor.as_deref(), limit)
        .await?;
    rows.charge(session.user, page.items.len(), call.shared.clock.now());
    Ok(list(
        page.items.iter().map(objects::user).collect(),
        page.next_cursor,
    ))
}

pub(crate) async fn show(call: Call) -> Result<Response, Refusal> {
    let _session = call.session().await?;
    let id = UserId::from_uuid(call.id("user")?);
    let user = call
        .shared
        .identity
        .user(id)
        .await?
        .ok_or_else(Refusal::not_found)?;
    Ok(ok(&objects::user(&user)))
}

/// The text of a search, in a length that is worth searching for.
pub(crate) fn searched(query: Option<&str>) -> Result<&str, Refusal> {
    let text = query.unwrap_or_default().trim();
    if text.chars().nth(QUERY_CHARS_MAX).is_some() {
        return Err(Refusal::unreadable("query is too long"));
    }
    if text.contains(char::is_control) {
        return Err(Refusal::unreadable("query must be one line of text"));
    }
    Ok(text)
}

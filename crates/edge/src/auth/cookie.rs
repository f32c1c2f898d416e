//! The session cookie.

use axum::http::HeaderMap;
use axum::http::header::COOKIE;

/// Seconds a browser keeps it: as long as a session can live at most, 90 days.
const MAX_AGE_S: u32 = 90 * 24 * 3_600;

/// Its value in a request.
pub(crate) fn read(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(found, value)| *found == name && !value.is_empty())
        .map(|(_, value)| value.to_owned())
}

/// `Set-Cookie` that begins a session.
pub(crate) fn set(name: &str, token: &str, secure: bool) -> String {
    format!("{name}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={MAX_AGE_S}{}", secure_attribute(secure))
}

/// `Set-Cookie` that ends it.
pub(crate) fn clear(name: &str, secure: bool) -> String {
    format!("{name}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0{}", secure_attribute(secure))
}

fn secure_attribute(secure: bool) -> &'static str {
    if secure { "; Secure" } else { "" }
}

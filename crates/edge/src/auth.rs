//! Who asks: the session behind a Bearer token or a cookie, and whether a browser may send that cookie from where it does.
//!
//! - [`origin`]: the allow-list of origins, cookie names.
//! - [`Proof`]: what a request carries.
//!
//! Never: trust in any other header; a token in a log or a URL.

pub(crate) mod origin;

use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::{HeaderMap, Uri};

use crate::auth::origin::Origins;
use crate::error::Refusal;

/// Query fields by which people try to pass tokens.
const TOKEN_FIELDS: [&str; 6] = [
    "token",
    "access_token",
    "auth_token",
    "authorization",
    "session",
    "bearer",
];
/// Longer tokens are none of ours.
const TOKEN_BYTES_MAX: usize = 256;

/// What a request shows for itself.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Proof {
    /// `Authorization: Bearer …`: only programs send it, so no page can.
    Bearer(String),
    /// A cookie: a browser may have been talked into sending it.
    Cookie(String),
}

impl Proof {
    /// The proof of a request; an `Authorization` that is no Bearer token counts as a wrong one.
    pub(crate) fn of(headers: &HeaderMap, origins: &Origins) -> Option<Self> {
        if let Some(value) = headers.get(AUTHORIZATION) {
            let token = value.to_str().ok().and_then(bearer).unwrap_or_default();
            return Some(Self::Bearer(token.to_owned()));
        }
        cookie(headers, origins.cookie_name()).map(Self::Cookie)
    }

    /// The token itself.
    pub(crate) fn token(&self) -> &str {
        let (Self::Bearer(token) | Self::Cookie(token)) = self;
        if token.len() > TOKEN_BYTES_MAX {
            ""
        } else {
            token
        }
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let pairs = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'));
    for pair in pairs {
        if let Some((found, value)) = pair.split_once('=')
            && found.trim() == name
        {
            return Some(value.trim().to_owned());
        }
    }
    None
}

/// Refuses a token in a URL: URLs end in logs and histories.
pub(crate) fn refuse_token_in_url(uri: &Uri) -> Result<(), Refusal> {
    let fields = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split('=').next());
    for field in fields {
        if TOKEN_FIELDS
            .iter()
            .any(|name| field.eq_ignore_ascii_case(name))
        {
            return Err(Refusal::unreadable(
                "a token does not belong into a URL: send Authorization: Bearer",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn origins() -> Origins {
        Origins::of_listener("127.0.0.1:80".parse().unwrap())
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_bearer_token_wins_over_a_cookie_and_a_wrong_scheme_is_a_wrong_token() {
        let token =
            |pairs| Proof::of(&headers(pairs), &origins()).map(|proof| proof.token().to_owned());
        assert_eq!(
            token(&[("authorization", "Bearer abc"), ("cookie", "hubbub=xyz")]).as_deref(),
            Some("abc")
        );
        assert_eq!(
            token(&[("authorization", "bearer  abc")]).as_deref(),
            Some("abc")
        );
        assert_eq!(
            token(&[("authorization", "Basic abc"), ("cookie", "hubbub=xyz")]).as_deref(),
            Some("")
        );
        assert_eq!(
            token(&[("cookie", "a=b; hubbub=xyz; c=d")]).as_deref(),
            Some("xyz")
        );
        assert_eq!(token(&[("cookie", "hubbub2=xyz")]), None);
    }

    #[test]
    fn a_token_in_a_url_is_refused_under_any_usual_name() {
        assert!(refuse_token_in_url(&Uri::from_static("/api/v1/ws?token=abc")).is_err());
        assert!(refuse_token_in_url(&Uri::from_static("/api/v1/me?x=1&Access_Token=abc")).is_err());
        assert!(refuse_token_in_url(&Uri::from_static("/api/v1/users?query=token")).is_ok());
    }
}

//! Where browsers may come from.

use std::net::SocketAddr;

use axum::http::header::ORIGIN;
use axum::http::{HeaderMap, Uri};

/// The allow-list of a node, and the cookie that belongs to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Origins {
    allowed: Vec<String>,
    /// Browsers speak TLS to whatever is in front.
    https: bool,
}

/// What a request says about where it comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// From our own pages.
    Same,
    /// From elsewhere.
    Foreign,
    /// It does not say: no browser page.
    Silent,
}

/// The public URL is none.
#[derive(Debug, thiserror::Error)]
#[error("a public URL needs http or https and a host")]
pub struct BadPublicUrl;

impl Origins {
    /// The origins under which a browser on this machine reaches a listener.
    pub(crate) fn of_listener(listen: SocketAddr) -> Self {
        let port = match listen.port() {
            80 => String::new(),
            port => format!(":{port}"),
        };
        let mut allowed = vec![format!("http://localhost{port}")];
        if listen.ip().is_unspecified() {
            allowed.push(format!("http://127.0.0.1{port}"));
        } else if listen.is_ipv6() {
            allowed.push(format!("http://[{}]{port}", listen.ip()));
        } else {
            allowed.push(format!("http://{}{port}", listen.ip()));
        }
        Self {
            allowed,
            https: false,
        }
    }

    /// The one origin of a public URL.
    pub(crate) fn of_public_url(url: &str) -> Result<Self, BadPublicUrl> {
        let uri: Uri = url
            .trim_end_matches('/')
            .parse()
            .map_err(|_not_a_uri| BadPublicUrl)?;
        let scheme = uri
            .scheme_str()
            .filter(|scheme| ["http", "https"].contains(scheme))
            .ok_or(BadPublicUrl)?;
        let host = uri.host().ok_or(BadPublicUrl)?.to_ascii_lowercase();
        let usual = if scheme == "https" { 443 } else { 80 };
        let port = uri
            .port_u16()
            .filter(|port| *port != usual)
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        Ok(Self {
            allowed: vec![format!("{scheme}://{host}{port}")],
            https: scheme == "https",
        })
    }

    /// Whether browsers speak TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.https
    }

    /// `__Host-` ties the cookie to this host and to TLS; plain HTTP cannot have it.
    pub(crate) fn cookie_name(&self) -> &'static str {
        if self.https {
            "__Host-hubbub"
        } else {
            "hubbub"
        }
    }

    /// The `Set-Cookie` that keeps a token.
    pub(crate) fn cookie(&self, token: &str) -> String {
        self.cookie_with(token, COOKIE_AGE_S)
    }

    /// The `Set-Cookie` that forgets it.
    pub(crate) fn no_cookie(&self) -> String {
        self.cookie_with("", 0)
    }

    fn cookie_with(&self, token: &str, max_age_s: u32) -> String {
        let secure = if self.https { "; Secure" } else { "" };
        format!(
            "{}={token}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{secure}",
            self.cookie_name()
        )
    }

    /// Whether `Origin` is exactly one of ours; absent is not.
    pub(crate) fn exactly(&self, headers: &HeaderMap) -> bool {
        let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
        origin.is_some_and(|origin| self.allowed.iter().any(|allowed| allowed == origin))
    }

    /// Where a request comes from, by `Origin`, else by `Sec-Fetch-Site`.
    pub(crate) fn verdict(&self, headers: &HeaderMap) -> Verdict {
        if headers.contains_key(ORIGIN) {
            return if self.exactly(headers) {
                Verdict::Same
            } else {
                Verdict::Foreign
            };
        }
        match headers
            .get("sec-fetch-site")
            .map(axum::http::HeaderValue::as_bytes)
        {
            Some(b"same-origin") => Verdict::Same,
            Some(b"none") | None => Verdict::Silent,
            Some(_) => Verdict::Foreign,
        }
    }
}

/// Seconds that a browser keeps the cookie: the server ends sessions sooner by its own rules.
const COOKIE_AGE_S: u32 = 90 * 86_400;

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn verdict(origins: &Origins, pairs: &[(&'static str, &'static str)]) -> Verdict {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        origins.verdict(&headers)
    }

    #[test]
    fn the_listener_is_reached_under_its_address_and_as_localhost() {
        let origins = Origins::of_listener("127.0.0.1:8080".parse().unwrap());
        assert_eq!(
            verdict(&origins, &[("origin", "http://127.0.0.1:8080")]),
            Verdict::Same
        );
        assert_eq!(
            verdict(&origins, &[("origin", "http://localhost:8080")]),
            Verdict::Same
        );
        for foreign in [
            "http://localhost:8081",
            "https://localhost:8080",
            "http://evil.example",
            "null",
            "http://localhost:8080/",
        ] {
            assert_eq!(
                verdict(&origins, &[("origin", foreign)]),
                Verdict::Foreign,
                "{foreign}"
            );
        }
    }

    #[test]
    fn a_foreign_origin_is_not_excused_by_another_header() {
        let origins = Origins::of_listener("127.0.0.1:8080".parse().unwrap());
        let both = [
            ("origin", "http://evil.example"),
            ("sec-fetch-site", "same-origin"),
        ];
        assert_eq!(verdict(&origins, &both), Verdict::Foreign);
        assert_eq!(
            verdict(&origins, &[("sec-fetch-site", "same-origin")]),
            Verdict::Same
        );
        assert_eq!(
            verdict(&origins, &[("sec-fetch-site", "same-site")]),
            Verdict::Foreign
        );
        assert_eq!(verdict(&origins, &[]), Verdict::Silent);
    }

    #[test]
    fn a_public_url_is_reduced_to_its_origin() {
        let origins = Origins::of_public_url("https://Chat.Example:443/").unwrap();
        assert_eq!(
            verdict(&origins, &[("origin", "https://chat.example")]),
            Verdict::Same
        );
        assert_eq!(
            verdict(&origins, &[("origin", "http://127.0.0.1:8080")]),
            Verdict::Foreign
        );
        assert_eq!(origins.cookie_name(), "__Host-hubbub");
        assert!(origins.cookie("t").ends_with("; Secure"));
        assert!(Origins::of_public_url("chat.example").is_err());
        assert!(Origins::of_public_url("ftp://chat.example").is_err());
    }
}

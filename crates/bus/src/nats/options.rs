//! How to reach NATS, with what this bus sets against the client library's defaults.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, ServerAddr};
use rand::RngExt;

use crate::nats::link::Link;

/// A silent server is left when the third ping goes unanswered: 15 s. The library's default of 60 s would hide a dead link for minutes.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// How long one server may take to accept and greet, TLS included.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(3);
/// Messages between this process's tasks and the connection's own task. Full means: the socket does not take more, and a publish waits up to a second.
const CLIENT_QUEUE_MESSAGES: usize = 4_096;
/// Messages between the connection's task and a subscription's forwarding task, which only moves them on: full means a starved runtime.
const FORWARD_QUEUE_MESSAGES: usize = 16_384;
/// Bounds of the reconnect delay: full jitter between zero and `min(base · 2^attempt, cap)`.
const RECONNECT_BASE: Duration = Duration::from_millis(100);
const RECONNECT_CAP: Duration = Duration::from_secs(4);

/// Where NATS is and who we are.
#[derive(Clone)]
pub struct NatsOptions {
    /// One or more `nats://[user:password@]host:port` (or `tls://`), separated by commas. The first name and password count for all of
    /// them, and for those that they name: a cluster has one set of accounts.
    pub url: String,
    /// Shown in the server's list of connections: the node's name.
    pub name: String,
    /// First tokens of the answer inboxes, without a dot at the end: what the server's permissions let this role listen to.
    pub inbox_prefix: String,
    /// Name and password, when the server asks for them and the URL has none.
    pub credentials: Option<(String, String)>,
    /// Seed of an nkey (`SU…`), when the server asks for one.
    pub nkey_seed: Option<String>,
    /// Begin without a server and go on trying: a node serves its local conversations while NATS is away.
    pub wait_for_server: bool,
}

/// The bus was not opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL cannot be read: a mistake in the settings.
    #[error("cannot read the NATS URL")]
    BadUrl(#[source] std::io::Error),
    /// No server answered; trying again later may work.
    #[error("cannot reach NATS")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ConnectError {
    pub(super) fn unreachable(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unreachable(Box::new(error))
    }
}

impl NatsOptions {
    /// Connects to `url` under `name`, without nkey, failing when no server answers.
    pub fn new(url: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            name: name.into(),
            inbox_prefix: "_INBOX.hub".to_owned(),
            credentials: None,
            nkey_seed: None,
            wait_for_server: false,
        }
    }

    pub(super) async fn connect(&self, link: Arc<Link>) -> Result<Client, ConnectError> {
        let servers = self
            .url
            .split(',')
            .map(|url| url.trim().parse())
            .collect::<Result<Vec<ServerAddr>, _>>()
            .map_err(ConnectError::BadUrl)?;
        // The library reads no credentials from a URL, and servers that it learns of have none in theirs.
        let credentials = servers
            .iter()
            .find_map(credentials_of)
            .or_else(|| self.credentials.clone());
        let mut options = ConnectOptions::new()
            .name(&self.name)
            .custom_inbox_prefix(&self.inbox_prefix)
            .ping_interval(PING_INTERVAL)
            .connection_timeout(CONNECTION_TIMEOUT)
            .client_capacity(CLIENT_QUEUE_MESSAGES)
            .subscription_capacity(FORWARD_QUEUE_MESSAGES)
            .max_reconnects(None)
            .reconnect_delay_callback(reconnect_delay)
            .event_callback(move |event| {
                link.hear(&event);
                std::future::ready(())
            });
        if let Some((user, password)) = credentials {
            options = options.user_and_password(user, password);
        }
        if let Some(seed) = &self.nkey_seed {
            options = options.nkey(seed.clone());
        }
        if self.wait_for_server {
            options = options.retry_on_initial_connect();
        }
        options
            .connect(servers)
            .await
            .map_err(ConnectError::unreachable)
    }
}

impl fmt::Debug for NatsOptions {
    /// Without the URL, the password and the seed: all may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsOptions")
            .field("name", &self.name)
            .field("inbox_prefix", &self.inbox_prefix)
            .field("wait_for_server", &self.wait_for_server)
            .finish_non_exhaustive()
    }
}

/// Name and password of a URL, with what was written as `%40` read again.
fn credentials_of(server: &ServerAddr) -> Option<(String, String)> {
    let user = server.username()?;
    let password = server.password().unwrap_or_default();
    Some((percent_decoded(user), percent_decoded(password)))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digit = |at: usize| {
            after
                .get(at)
                .and_then(|byte| char::from(*byte).to_digit(16))
        };
        let escaped = (*first == b'%')
            .then(|| digit(0).zip(digit(1)))
            .flatten()
            .and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() {
            after.get(2..).unwrap_or_default()
        } else {
            after
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[expect(
    clippy::disallowed_methods,
    reason = "jitter spreads real nodes over real time; no decision and no test depends on it"
)]
fn reconnect_delay(attempt: usize) -> Duration {
    rand::rng().random_range(Duration::ZERO..=longest_delay(attempt))
}

fn longest_delay(attempt: usize) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    let factor = 2_u32.saturating_pow(doublings);
    RECONNECT_BASE.saturating_mul(factor).min(RECONNECT_CAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_delay_doubles_up_to_its_cap() {
        let millis = |attempt| longest_delay(attempt).as_millis();
        assert_eq!([0, 1, 2, 3, 4].map(millis), [100, 100, 200, 400, 800]);
        assert_eq!(longest_delay(7), RECONNECT_CAP);
        assert_eq!(longest_delay(usize::MAX), RECONNECT_CAP);
        assert!((0..100).all(|_| reconnect_delay(2) <= longest_delay(2)));
    }

    #[test]
    fn credentials_are_read_from_the_url_with_their_escapes() {
        let of = |url: &str| credentials_of(&url.parse().expect("is a URL"));
        assert_eq!(of("nats://127.0.0.1:1"), None);
        let expected = ("hub".to_owned(), "a@b%zö".to_owned());
        assert_eq!(of("nats://hub:a%40b%25z%C3%B6@127.0.0.1:1"), Some(expected));
        assert_eq!(percent_decoded("50%"), "50%");
        assert_eq!(percent_decoded("%4"), "%4");
    }

    #[test]
    fn a_debug_line_shows_no_secret() {
        let options = NatsOptions {
            credentials: Some(("me".to_owned(), "secret".to_owned())),
            nkey_seed: Some("SUSECRET".to_owned()),
            ..NatsOptions::new("nats://me:secret@127.0.0.1:1", "n1")
        };
        let line = format!("{options:?}");
        assert!(line.contains("n1"));
        assert!(!line.to_lowercase().contains("secret"), "{line}");
    }
}

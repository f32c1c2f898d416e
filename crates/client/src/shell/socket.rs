//! One WebSocket: the upgrade with its headers and bounds, and a polite end.

use std::time::Duration;

use futures_util::SinkExt as _;
use hubbub_wire::client::{FRAME_BYTES_MAX, SERVER_FRAME_BYTES_MAX, SUBPROTOCOL};
use hubbub_wire::error::Problem;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::header::{
    AUTHORIZATION, RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL,
};
use tokio_tungstenite::tungstenite::http::{HeaderValue, Response, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// An open socket.
pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Bytes of the read buffer: the library's 128 KiB would be paid by every idle socket of a load test.
const READ_BUFFER_BYTES: usize = 4_096;
/// Bytes collected before a write.
const WRITE_BUFFER_BYTES: usize = 8_192;
/// Bytes waiting to be written at most: a few of the largest frames.
const WRITE_BUFFER_BYTES_MAX: usize = 4 * FRAME_BYTES_MAX;
/// A write that is stuck this long means the line is dead.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the closing handshake.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// Why an upgrade failed.
#[derive(Debug)]
pub(super) struct UpgradeFailure {
    /// The server answered 401.
    pub(super) unauthenticated: bool,
    /// When to try again, as the server says.
    pub(super) retry_after_ms: Option<u64>,
    /// For the log.
    pub(super) error: Box<tungstenite::Error>,
}

/// Opens a socket at `base_url` as the user of `token`. The caller bounds the time.
pub(super) async fn open(base_url: &str, token: &str) -> Result<Socket, UpgradeFailure> {
    let upgrade = async {
        let mut request = socket_url(base_url).into_client_request()?;
        let headers = request.headers_mut();
        headers.insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(SUBPROTOCOL),
        );
        let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|error| tungstenite::Error::HttpFormat(error.into()))?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
        let no_delay = true;
        tokio_tungstenite::connect_async_with_config(request, Some(bounds()), no_delay).await
    };
    match upgrade.await {
        Ok((socket, _response)) => Ok(socket),
        Err(error) => Err(failure(error)),
    }
}

/// Writes what was fed; `false` when the line is dead.
pub(super) async fn flush(socket: &mut Socket) -> bool {
    matches!(
        tokio::time::timeout(WRITE_TIMEOUT, socket.flush()).await,
        Ok(Ok(()))
    )
}

/// Takes one text to be written with the next [`flush`]; `false` when the line is dead.
pub(super) async fn feed(socket: &mut Socket, text: String) -> bool {
    matches!(
        tokio::time::timeout(WRITE_TIMEOUT, socket.feed(Message::text(text))).await,
        Ok(Ok(()))
    )
}

/// Says goodbye, briefly.
pub(super) async fn farewell(mut socket: Socket) {
    // Whether the other side hears it makes no difference here.
    let _heard = tokio::time::timeout(FAREWELL_TIMEOUT, socket.close(None)).await;
}

fn bounds() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(SERVER_FRAME_BYTES_MAX))
        .max_frame_size(Some(SERVER_FRAME_BYTES_MAX))
}

/// `http://host` → `ws://host/api/v1/ws`.
fn socket_url(base_url: &str) -> String {
    let base = base_url.trim_end_matches('/');
    let rest = base.strip_prefix("http").unwrap_or(base);
    format!("ws{rest}/api/v1/ws")
}

fn failure(error: tungstenite::Error) -> UpgradeFailure {
    let (unauthenticated, retry_after_ms) = match &error {
        tungstenite::Error::Http(response) => (
            response.status() == StatusCode::UNAUTHORIZED,
            retry_after(response),
        ),
        _no_answer => (false, None),
    };
    UpgradeFailure {
        unauthenticated,
        retry_after_ms,
        error: Box::new(error),
    }
}

fn retry_after(response: &Response<Option<Vec<u8>>>) -> Option<u64> {
    let in_body = response
        .body()
        .as_deref()
        .and_then(|body| serde_json::from_slice::<Problem>(body).ok())
        .and_then(|problem| problem.retry_after_ms);
    let in_header = || {
        let seconds: u64 = response
            .headers()
            .get(RETRY_AFTER)?
            .to_str()
            .ok()?
            .parse()
            .ok()?;
        Some(seconds.saturating_mul(1_000))
    };
    in_body.or_else(in_header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_beside_the_api() {
        assert_eq!(
            socket_url("http://127.0.0.1:8080"),
            "ws://127.0.0.1:8080/api/v1/ws"
        );
        assert_eq!(
            socket_url("https://chat.example/"),
            "wss://chat.example/api/v1/ws"
        );
    }
}

//! WebSocket messages in our words, and the end of a socket.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use hubbub_wire::client::{BadFrame, close};
use hubbub_wire::error::ErrorCode;
use tokio_tungstenite::tungstenite::Error as WsError;

use crate::session::outbox::Closing;

/// Bytes read from a socket at once: what an idle connection costs (ARCHITECTURE.md §7).
pub(crate) const READ_BUFFER_BYTES: usize = 2_048;
/// Bytes that may wait in the library's write buffer: one frame of the largest size and a coalesced write.
pub(crate) const WRITE_BUFFER_BYTES: usize = 1_310_720;
/// A write that takes longer ends the socket: the client has stopped reading (4408).
const WRITE_DEADLINE: Duration = Duration::from_secs(20);
/// How long the other side may take to answer a close.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

pub(crate) const TOO_LARGE: Closing = Closing {
    code: close::TOO_LARGE,
    reason: "frame too large",
};
/// RFC 6455 §7.4.1: text that is not UTF-8.
const NOT_TEXT: Closing = Closing {
    code: 1007,
    reason: "not UTF-8",
};
/// RFC 6455 §7.4.1: a broken frame.
const NOT_PROTOCOL: Closing = Closing {
    code: 1002,
    reason: "not WebSocket",
};

/// What was read from a socket.
pub(crate) enum Heard {
    Text(Utf8Bytes),
    Binary,
    /// A ping or pong: a sign of life.
    Nothing,
    End,
    Broken(Closing),
}

/// Sorts what a socket gave.
pub(crate) fn hear(received: Option<Result<Message, axum::Error>>) -> Heard {
    match received {
        None | Some(Ok(Message::Close(_))) => Heard::End,
        Some(Ok(Message::Text(text))) => Heard::Text(text),
        Some(Ok(Message::Binary(_))) => Heard::Binary,
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Heard::Nothing,
        Some(Err(error)) => match error.into_inner().downcast_ref::<WsError>() {
            Some(WsError::Capacity(_)) => Heard::Broken(TOO_LARGE),
            Some(WsError::Utf8(_)) => Heard::Broken(NOT_TEXT),
            Some(WsError::Protocol(error)) if *error != RESET => Heard::Broken(NOT_PROTOCOL),
            _ => Heard::End,
        },
    }
}

const RESET: tokio_tungstenite::tungstenite::error::ProtocolError =
    tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;

/// Binary frames are not part of the protocol.
pub(crate) fn binary() -> BadFrame {
    BadFrame {
        id: None,
        code: ErrorCode::Invalid,
        detail: "frames are text".to_owned(),
    }
}

/// Writes; `false` when that is no longer possible.
pub(crate) async fn write(socket: &mut WebSocket, message: Message) -> bool {
    matches!(
        tokio::time::timeout(WRITE_DEADLINE, socket.send(message)).await,
        Ok(Ok(()))
    )
}

/// Lets the library answer the other side's close, so that the end is a clean one for them, too (RFC 6455 §5.5.1).
pub(crate) async fn leave(mut socket: WebSocket) {
    let answer = async { while let Some(Ok(_)) = socket.recv().await {} };
    // Whoever vanished without a word gets none; the time is all that is lost.
    tokio::time::timeout(CLOSE_DEADLINE, answer)
        .await
        .unwrap_or_default();
}

/// Says goodbye and waits a moment for the answer, so that the code arrives.
pub(crate) async fn close(mut socket: WebSocket, closing: Closing) {
    let frame = CloseFrame {
        code: closing.code,
        reason: Utf8Bytes::from_static(closing.reason),
    };
    let goodbye = async {
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    if tokio::time::timeout(CLOSE_DEADLINE, goodbye).await.is_err() {
        tracing::debug!(code = closing.code, "a socket did not answer the close");
    }
}

//! One socket: its first frame names the room, each `send` is handed over, what comes from the room is written several frames at a time.

use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use futures_util::SinkExt as _;
use serde::Deserialize;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::room::{FRAMES_MAX, Rooms};

/// As small as an edge's: an idle socket costs its buffers.
const READ_BUFFER_BYTES: usize = 2_048;
/// Frames in one write at most: more gains nothing and makes the others wait (PERFORMANCE.md measured 16).
const FRAMES_PER_WRITE_MAX: usize = 16;
/// Bytes that are gathered before the socket is written to.
const WRITE_BUFFER_BYTES: usize = 16_384;

pub(super) async fn upgrade(State(rooms): State<Rooms>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .protocols(["hubbub.v1"])
        .on_upgrade(move |socket| serve(socket, rooms))
}

/// What the floor reads of a client's frame.
#[derive(Deserialize)]
struct Said {
    /// Of `hello`: the room.
    token: Option<Uuid>,
    /// Of `send`.
    id: Option<Uuid>,
    body: Option<String>,
}

async fn serve(mut socket: WebSocket, rooms: Rooms) {
    let Some(Said {
        token: Some(room), ..
    }) = next(&mut socket).await
    else {
        return;
    };
    let (room, sender, mut frames) = rooms.enter(room);
    let hello = [r#"{"t":"welcome"}"#, r#"{"t":"live"}"#];
    for frame in hello {
        if socket
            .send(Message::Text(Utf8Bytes::from_static(frame)))
            .await
            .is_err()
        {
            return;
        }
    }
    loop {
        tokio::select! {
            said = next(&mut socket) => match said {
                Some(Said { id: Some(id), body: Some(body), .. }) => rooms.say(&room, &sender, id, body).await,
                Some(_other) => {}
                None => return,
            },
            Some(frame) = frames.recv() => {
                if write(&mut socket, frame, &mut frames).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The next frame that can be read; `None` when the socket ends. Taking nothing when dropped.
async fn next(socket: &mut WebSocket) -> Option<Said> {
    loop {
        match socket.recv().await? {
            Ok(Message::Text(text)) => return serde_json::from_str(&text).ok(),
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_control) => {}
        }
    }
}

async fn write(
    socket: &mut WebSocket,
    first: Utf8Bytes,
    frames: &mut mpsc::Receiver<Utf8Bytes>,
) -> Result<(), axum::Error> {
    const { assert!(FRAMES_PER_WRITE_MAX <= FRAMES_MAX) };
    socket.feed(Message::Text(first)).await?;
    for _ in 1..FRAMES_PER_WRITE_MAX {
        let Ok(frame) = frames.try_recv() else {
            break;
        };
        socket.feed(Message::Text(frame)).await?;
    }
    socket.flush().await
}

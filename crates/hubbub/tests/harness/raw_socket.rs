//! A WebSocket that shows every frame as it came: what the client library would put in order, drop or answer.

use std::collections::VecDeque;

use futures_util::{SinkExt as _, StreamExt as _};
use hubbub_wire::client::{Cursor, SUBPROTOCOL};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use uuid::Uuid;

use super::PATIENCE;

/// An open socket.
pub(crate) struct RawSocket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Frames of an array that were not taken yet.
    waiting: VecDeque<Value>,
}

/// What the server said to an upgrade that it refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) problem: Value,
}

impl RawSocket {
    /// Opens a socket as the user of this token.
    pub(crate) async fn open(base_url: &str, token: &str) -> Self {
        let bearer = format!("Bearer {token}");
        Self::try_open(base_url, "", &[("authorization", &bearer)])
            .await
            .expect("the upgrade works")
    }

    /// Opens a socket without saying who one is.
    pub(crate) async fn open_anonymous(base_url: &str) -> Self {
        Self::try_open(base_url, "", &[])
            .await
            .expect("the upgrade works")
    }

    /// Opens a socket with this query (with its `?`) and these headers.
    pub(crate) async fn try_open(
        base_url: &str,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Refused> {
        let address = base_url.strip_prefix("http").expect("an http address");
        let mut request = format!("ws{address}/api/v1/ws{query}")
            .into_client_request()
            .expect("a sound address");
        let all = [("sec-websocket-protocol", SUBPROTOCOL)];
        for (name, value) in all.iter().chain(headers) {
            let value = HeaderValue::from_str(value).expect("a sound header");
            request
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
        let opening = tokio::time::timeout(PATIENCE, connect_async(request));
        match opening
            .await
            .expect("an answer to the upgrade comes in time")
        {
            Ok((stream, _response)) => Ok(Self {
                stream,
                waiting: VecDeque::new(),
            }),
            Err(Error::Http(response)) => {
                let body = response.body().as_deref().unwrap_or_default();
                Err(Refused {
                    status: response.status().as_u16(),
                    problem: serde_json::from_slice(body).unwrap_or_default(),
                })
            }
            Err(error) => panic!("no answer to the upgrade: {error}"),
        }
    }

    /// Says hello with these cursors and waits for `welcome`, which it returns.
    pub(crate) async fn hello(&mut self, cursors: &[Cursor]) -> Value {
        self.send(&json!({"t": "hello", "cursors": cursors})).await;
        self.frame("welcome").await
    }

    pub(crate) async fn send(&mut self, frame: &Value) {
        self.send_text(frame.to_string()).await;
    }

    /// Sends any text. A socket that the server has closed already is not an error here: what it heard will tell.
    pub(crate) async fn send_text(&mut self, text: impl Into<String>) {
        self.feed_text(text).await;
        let _closed_already = self.stream.flush().await;
    }

    /// Like [`Self::send_text`], written with the next flush: several frames in one go.
    pub(crate) async fn feed_text(&mut self, text: impl Into<String>) {
        let _closed_already = self.stream.feed(Message::text(text.into())).await;
    }

    /// Says something; the answer is to be waited for.
    pub(crate) async fn say(&mut self, id: Uuid, conversation: Uuid, body: &str) {
        self.send(&send_frame(id, conversation, body)).await;
    }

    /// The next frame, or the close code when the socket ends (`None` without one).
    pub(crate) async fn next(&mut self) -> Result<Value, Option<u16>> {
        let listening = async {
            loop {
                if let Some(frame) = self.waiting.pop_front() {
                    return Ok(frame);
                }
                match self.stream.next().await {
                    Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                        Ok(Value::Array(frames)) => self.waiting.extend(frames),
                        Ok(frame) => self.waiting.push_back(frame),
                        Err(error) => panic!("the server sent {text}: {error}"),
                    },
                    Some(Ok(Message::Close(frame))) => {
                        return Err(frame.map(|frame| u16::from(frame.code)));
                    }
                    Some(Ok(_ping_or_pong)) => {}
                    Some(Err(_)) | None => return Err(None),
                }
            }
        };
        let heard = tokio::time::timeout(PATIENCE, listening).await;
        heard.expect("something comes on the socket in time")
    }

    /// Every frame up to and with the first that is wanted.
    pub(crate) async fn collect_until(
        &mut self,
        mut wanted: impl FnMut(&Value) -> bool,
    ) -> Vec<Value> {
        let mut frames = Vec::new();
        loop {
            match self.next().await {
                Ok(frame) => {
                    let is_last = wanted(&frame);
                    frames.push(frame);
                    if is_last {
                        return frames;
                    }
                }
                Err(code) => panic!("the socket was closed ({code:?}) after {frames:#?}"),
            }
        }
    }

    /// The next frame that is wanted; others are passed over.
    pub(crate) async fn find(&mut self, wanted: impl FnMut(&Value) -> bool) -> Value {
        let mut frames = self.collect_until(wanted).await;
        frames.pop().expect("the last one is the wanted one")
    }

    /// The next frame of this type; others are passed over.
    pub(crate) async fn frame(&mut self, t: &str) -> Value {
        self.find(|frame| frame["t"] == t).await
    }

    /// The answer to the command `id`: `ack` or `error`.
    pub(crate) async fn answer(&mut self, id: Uuid) -> Value {
        let id = id.to_string();
        self.find(|frame| frame["id"] == *id && (frame["t"] == "ack" || frame["t"] == "error"))
            .await
    }

    /// Waits until the server closes the socket; the code.
    pub(crate) async fn closed(&mut self) -> Option<u16> {
        loop {
            if let Err(code) = self.next().await {
                return code;
            }
        }
    }

    /// Closes the socket in order; the code with which the server answers.
    pub(crate) async fn close(mut self) -> Option<u16> {
        let frame = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        let _closed_already = self.stream.close(Some(frame)).await;
        self.closed().await
    }

    /// Asks whether the socket still serves.
    pub(crate) async fn is_alive(&mut self, n: u64) {
        self.send(&json!({"t": "ping", "n": n})).await;
        self.find(|frame| frame["t"] == "pong" && frame["n"] == n)
            .await;
    }
}

/// A `send` frame.
pub(crate) fn send_frame(id: Uuid, conversation: Uuid, body: &str) -> Value {
    json!({"t": "send", "id": id, "conversation_id": conversation, "body": body})
}

/// The seqs of the `event` frames of one conversation, in order of arrival.
pub(crate) fn event_seqs(frames: &[Value], conversation: Uuid) -> Vec<u64> {
    let id = conversation.to_string();
    frames
        .iter()
        .filter(|frame| frame["t"] == "event" && frame["conversation_id"] == *id)
        .map(|frame| frame["seq"].as_u64().expect("an event has a seq"))
        .collect()
}

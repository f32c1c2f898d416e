//! One socket of the load: raw, small, and quick to fail.

use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use uuid::Uuid;

use super::{Heard, heard};

/// A frame that does not come for this long will not come: the run has failed.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// As small as a server's: five thousand clients live in one process.
const READ_BUFFER_BYTES: usize = 4_096;

/// Whose socket it is, and where: everything that is needed to open one.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    /// `http://127.0.0.1:port`.
    url: String,
    bearer: Option<String>,
    hello: String,
    /// The conversation that it speaks in.
    pub(crate) conversation: Uuid,
}

impl Seat {
    /// At a node, as the user of this token.
    pub(crate) fn at_node(url: &str, token: &str, conversation: Uuid) -> Self {
        Self {
            url: url.to_owned(),
            bearer: Some(format!("Bearer {token}")),
            hello: r#"{"t":"hello"}"#.to_owned(),
            conversation,
        }
    }

    /// At the floor, whose tokens are conversations.
    pub(crate) fn at_floor(url: &str, conversation: Uuid) -> Self {
        let hello = format!(r#"{{"t":"hello","token":"{conversation}"}}"#);
        Self {
            url: url.to_owned(),
            bearer: None,
            hello,
            conversation,
        }
    }
}

/// An open socket that is live.
#[derive(Debug)]
pub(crate) struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    /// Connects, says hello, and waits for `live`.
    pub(crate) async fn open(seat: &Seat) -> anyhow::Result<Self> {
        let address = seat.url.strip_prefix("http://").context("a plain URL")?;
        let mut request = format!("ws://{address}/api/v1/ws").into_client_request()?;
        let headers = request.headers_mut();
        headers.insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static("hubbub.v1"),
        );
        if let Some(bearer) = &seat.bearer {
            headers.insert(AUTHORIZATION, HeaderValue::try_from(bearer)?);
        }
        let opened = async {
            let stream = TcpStream::connect(address).await.context("connect")?;
            stream.set_nodelay(true)?;
            let bounds = WebSocketConfig::default()
                .read_buffer_size(READ_BUFFER_BYTES)
                .write_buffer_size(0);
            let (socket, _response) = client_async_with_config(request, stream, Some(bounds))
                .await
                .context("upgrade")?;
            let mut socket = Self(socket);
            socket.send(seat.hello.clone()).await?;
            while !heard(&socket.next().await?)?.contains(&Heard::Live) {}
            anyhow::Ok(socket)
        };
        tokio::time::timeout(SILENCE_MAX, opened)
            .await
            .context("no socket within 30 s")?
    }

    pub(crate) async fn send(&mut self, frame: String) -> anyhow::Result<()> {
        self.0
            .send(Message::text(frame))
            .await
            .context("write to a socket")
    }

    /// Says something in the seat's conversation. Bodies of a load have nothing to escape.
    pub(crate) async fn say(&mut self, seat: &Seat, id: Uuid, body: &str) -> anyhow::Result<()> {
        let conversation = seat.conversation;
        self.send(format!(
            r#"{{"t":"send","id":"{id}","conversation_id":"{conversation}","body":"{body}"}}"#
        ))
        .await
    }

    /// The next text. Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Utf8Bytes> {
        loop {
            match self
                .0
                .next()
                .await
                .context("the server closed the socket")?
                .context("read from a socket")?
            {
                Message::Text(text) => return Ok(text),
                Message::Close(reason) => bail!("the server closed the socket: {reason:?}"),
                Message::Ping(_) | Message::Pong(_) => {
                    self.0.flush().await.context("answer a ping")?;
                }
                Message::Binary(_) | Message::Frame(_) => bail!("a frame that is no text"),
            }
        }
    }

    /// The next text, or an error after 30 s of silence.
    pub(crate) async fn next_in_time(&mut self) -> anyhow::Result<Utf8Bytes> {
        tokio::time::timeout(SILENCE_MAX, self.next())
            .await
            .context("nothing came for 30 s: a message is lost")?
    }
}

//! The shell over real sockets, against a small server of the test's own that says what the test wants.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::result_large_err,
    clippy::panic,
    reason = "a test stops at the first surprise, also in its helpers"
)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hubbub_client::{
    Client, ClientOptions, Events, FrameTap, Notice, Reason, Rest, RestError, SendError, State,
};
use hubbub_wire::client::{ClientFrame, Cursor, SUBPROTOCOL};
use hubbub_wire::error::ErrorCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use uuid::Uuid;

const DEADLINE: Duration = Duration::from_secs(30);
const CONVERSATION: Uuid = Uuid::from_u128(0xc1);
const ME: Uuid = Uuid::from_u128(0xa1);

/// A listener whose connections the test answers by hand.
struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn options(&self) -> ClientOptions {
        let mut options = ClientOptions::new(vec![self.url()], "the-token", "test");
        options.seed = Some(1);
        options.cursors = vec![Cursor {
            conversation_id: CONVERSATION,
            epoch: 1,
            seq: 5,
        }];
        options
    }

    async fn accept(&self) -> TcpStream {
        let accepted = tokio::time::timeout(DEADLINE, self.listener.accept()).await;
        accepted.expect("somebody connects in time").unwrap().0
    }

    /// The next WebSocket; its upgrade must carry token and subprotocol.
    async fn socket(&self) -> Line {
        let check = |request: &Request, mut response: Response| {
            assert_eq!(request.uri().path(), "/api/v1/ws");
            assert_eq!(request.headers()["authorization"], "Bearer the-token");
            assert_eq!(request.headers()["sec-websocket-protocol"], SUBPROTOCOL);
            let answer = SUBPROTOCOL.parse().unwrap();
            response
                .headers_mut()
                .insert("sec-websocket-protocol", answer);
            Ok(response)
        };
        let stream = self.accept().await;
        Line(
            tokio_tungstenite::accept_hdr_async(stream, check)
                .await
                .unwrap(),
        )
    }

    /// [`Server::socket`], greeted and caught up; with the cursors of the hello.
    async fn live_socket(&self) -> (Line, Vec<Cursor>) {
        let mut line = self.socket().await;
        let ClientFrame::Hello(hello) = line.frame().await else {
            panic!("hello comes first")
        };
        line.say(&welcome()).await;
        line.say(&json!({"t": "live"})).await;
        (line, hello.cursors.unwrap_or_default())
    }

    /// Answers one plain HTTP request; its request line.
    async fn answer(&self, status: &str, body: &Value) -> String {
        let mut stream = self.accept().await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(head)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .to_owned()
    }
}

struct Line(WebSocketStream<TcpStream>);

impl Line {
    async fn say(&mut self, frame: &Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    async fn message(&mut self) -> Option<Message> {
        let next = tokio::time::timeout(DEADLINE, self.0.next()).await;
        next.expect("something comes in time").and_then(Result::ok)
    }

    async fn frame(&mut self) -> ClientFrame {
        match self.message().await {
            Some(Message::Text(text)) => ClientFrame::decode(&text).unwrap(),
            other => panic!("no frame: {other:?}"),
        }
    }

    async fn ack(&mut self, frame: &ClientFrame, seq: u64) {
        let id = frame.id();
        self.say(&json!({
            "t": "ack", "id": id, "conversation_id": CONVERSATION, "epoch": 1, "seq": seq, "message_no": seq,
            "at": "2026-11-20T20:15:30.123Z"
        }))
        .await;
    }

    async fn close(mut self, code: u16) {
        let frame = CloseFrame {
            code: code.into(),
            reason: "".into(),
        };
        self.0.close(Some(frame)).await.unwrap();
    }
}

fn welcome() -> Value {
    let limits = serde_json::to_value(hubbub_wire::rest::Limits::default()).unwrap();
    json!({
        "t": "welcome", "user": {"id": ME, "username": "me", "display_name": "Me"}, "session_id": ME, "device_id": ME,
        "node": "n1", "server_time": "2026-11-20T20:15:30.123Z", "heartbeat_s": 20, "limits": limits
    })
}

fn event(seq: u64) -> Value {
    json!({
        "t": "event", "conversation_id": CONVERSATION, "epoch": 1, "seq": seq, "at": "2026-11-20T20:15:30.123Z", "by": ME,
        "kind": "message_sent", "data": {"body": format!("message {seq}")}, "command_id": ME, "message_no": seq
    })
}

/// Seqs delivered until so many have come.
async fn delivered(events: &mut Events, count: usize) -> Vec<u64> {
    let mut seqs = Vec::new();
    while seqs.len() < count {
        let notice = tokio::time::timeout(DEADLINE, events.next()).await;
        if let Notice::Delivered(event) = notice
            .expect("it is told in time")
            .expect("the client runs")
        {
            seqs.push(event.seq);
        }
    }
    seqs
}

#[tokio::test]
async fn it_greets_sends_and_is_answered() {
    let server = Server::new().await;
    let (client, _events) = Client::connect(server.options()).unwrap();
    let (mut line, cursors) = server.live_socket().await;
    assert_eq!(
        cursors,
        [Cursor {
            conversation_id: CONVERSATION,
            epoch: 1,
            seq: 5
        }]
    );
    assert!(client.wait_caught_up(DEADLINE).await);

    let receipt = client.send(CONVERSATION, "hello").await.unwrap();
    let frame = line.frame().await;
    assert_eq!(frame.id(), Some(receipt.id()));
    line.ack(&frame, 6).await;
    assert_eq!(receipt.await.unwrap().seq, 6);
}

#[tokio::test]
async fn an_open_command_survives_a_broken_line() {
    let server = Server::new().await;
    let (client, _events) = Client::connect(server.options()).unwrap();
    let (mut line, _cursors) = server.live_socket().await;
    let first = client.send(CONVERSATION, "one").await.unwrap();
    let second = client.send(CONVERSATION, "two").await.unwrap();
    line.frame().await;
    line.frame().await;
    drop(line);

    let (mut line, _cursors) = server.live_socket().await;
    for (receipt, seq) in [(first, 6), (second, 7)] {
        let frame = line.frame().await;
        assert_eq!(frame.id(), Some(receipt.id()));
        let ClientFrame::Send(send) = &frame else {
            panic!("not a send: {frame:?}")
        };
        assert_eq!(send.retry, Some(true));
        line.ack(&frame, seq).await;
        assert_eq!(receipt.await.unwrap().seq, seq);
    }
}

#[tokio::test]
async fn a_gap_is_filled_over_http_and_the_tap_sees_every_raw_frame() {
    let server = Server::new().await;
    let raw = Arc::new(Mutex::new(Vec::new()));
    let mut options = server.options();
    let seen = Arc::clone(&raw);
    options.tap = Some(Arc::new(move |_node: usize, _socket: u64, text: &str| {
        seen.lock().unwrap().push(text.to_owned());
    }));
    let (_client, mut events) = Client::connect(options).unwrap();
    let (mut line, _cursors) = server.live_socket().await;
    line.say(&event(6)).await;
    line.say(&event(6)).await;
    line.say(&json!([event(9), event(10)])).await;
    let asked = server
        .answer(
            "200 OK",
            &json!({"items": [event(7), event(8)], "next_cursor": null}),
        )
        .await;
    assert_eq!(
        asked,
        format!("GET /api/v1/conversations/{CONVERSATION}/events?from_seq=7&limit=200 HTTP/1.1")
    );
    assert_eq!(delivered(&mut events, 5).await, [6, 7, 8, 9, 10]);
    // welcome, live, twice 6, the array
    assert_eq!(raw.lock().unwrap().len(), 5);
}

/// Notes what the client sends.
#[derive(Default)]
struct SentTap(Mutex<Vec<(u64, ClientFrame)>>);

impl FrameTap for SentTap {
    fn frame(&self, _node: usize, _socket: u64, _text: &str) {}

    fn sent(&self, _node: usize, socket: u64, frame: &ClientFrame) {
        self.0.lock().unwrap().push((socket, frame.clone()));
    }
}

#[tokio::test]
async fn the_tap_sees_the_hello_of_every_socket_with_the_cursors_that_the_server_gets() {
    let server = Server::new().await;
    let tap = Arc::new(SentTap::default());
    let mut options = server.options();
    options.tap = Some(tap.clone());
    let (_client, mut events) = Client::connect(options).unwrap();
    let (mut line, first) = server.live_socket().await;
    line.say(&event(6)).await;
    assert_eq!(delivered(&mut events, 1).await, [6]);
    line.close(hubbub_wire::client::close::RESTART).await;
    let (_line, second) = server.live_socket().await;
    let seen = tap.0.lock().unwrap();
    let cursors = |frame: &ClientFrame| match frame {
        ClientFrame::Hello(hello) => hello.cursors.clone(),
        _other => None,
    };
    let seen: Vec<_> = seen
        .iter()
        .filter_map(|(_, frame)| cursors(frame))
        .collect();
    assert_eq!(seen, [first, second]);
}

#[tokio::test]
async fn after_a_break_it_goes_on_from_where_it_was() {
    let server = Server::new().await;
    let (_client, mut events) = Client::connect(server.options()).unwrap();
    let (mut line, _cursors) = server.live_socket().await;
    line.say(&event(6)).await;
    assert_eq!(delivered(&mut events, 1).await, [6]);
    line.close(hubbub_wire::client::close::RESTART).await;
    let (mut line, cursors) = server.live_socket().await;
    assert_eq!(
        cursors,
        [Cursor {
            conversation_id: CONVERSATION,
            epoch: 1,
            seq: 6
        }]
    );
    line.say(&event(6)).await;
    line.say(&event(7)).await;
    assert_eq!(delivered(&mut events, 1).await, [7]);
}

#[tokio::test]
async fn it_goes_to_the_node_it_is_told() {
    let (here, there) = (Server::new().await, Server::new().await);
    let mut options = here.options();
    options.base_urls.push(there.url());
    let (client, _events) = Client::connect(options).unwrap();
    let (mut line, _cursors) = here.live_socket().await;
    assert!(client.wait_caught_up(DEADLINE).await);
    client.force_reconnect(1).await;
    let (_line, _cursors) = there.live_socket().await;
    assert!(
        client
            .wait_for(DEADLINE, |state| matches!(
                state,
                State::Live {
                    node: 1,
                    caught_up: true
                }
            ))
            .await
    );
    assert!(matches!(
        line.message().await,
        Some(Message::Close(_)) | None
    ));
}

#[tokio::test]
async fn a_ping_of_the_socket_is_answered() {
    let server = Server::new().await;
    let (client, mut events) = Client::connect(server.options()).unwrap();
    let (mut line, _cursors) = server.live_socket().await;
    line.0
        .send(Message::Ping(b"?"[..].to_vec().into()))
        .await
        .unwrap();
    assert!(matches!(line.message().await, Some(Message::Pong(_))));

    assert!(client.wait_caught_up(DEADLINE).await);
    client.ping(7).await;
    assert!(matches!(line.frame().await, ClientFrame::Ping(ping) if ping.n == 7));
    line.say(&json!({"t": "pong", "n": 7})).await;
    let answered = async {
        while let Some(notice) = events.next().await {
            if notice == (Notice::Pong { n: 7 }) {
                return true;
            }
        }
        false
    };
    assert!(tokio::time::timeout(DEADLINE, answered).await.unwrap());
}

#[tokio::test]
async fn an_ended_session_ends_the_client_and_its_open_commands() {
    let server = Server::new().await;
    let (client, mut events) = Client::connect(server.options()).unwrap();
    let (mut line, _cursors) = server.live_socket().await;
    let receipt = client.send(CONVERSATION, "hello").await.unwrap();
    line.frame().await;
    line.close(hubbub_wire::client::close::SESSION_ENDED).await;
    assert_eq!(receipt.await, Err(SendError::Closed { maybe_stored: true }));
    while let Some(notice) = tokio::time::timeout(DEADLINE, events.next()).await.unwrap() {
        drop(notice);
    }
    let ended = State::Disconnected {
        reason: Reason::SessionEnded,
        retry_at_ms: None,
    };
    assert_eq!(client.state(), ended);
    assert!(matches!(
        client.send(CONVERSATION, "x").await,
        Err(SendError::Closed {
            maybe_stored: false
        })
    ));
}

#[tokio::test]
async fn a_refused_token_is_final_and_a_busy_node_is_not() {
    let server = Server::new().await;
    let (client, _events) = Client::connect(server.options()).unwrap();
    server.answer("503 Service Unavailable", &json!({})).await;
    server.answer("401 Unauthorized", &json!({})).await;
    assert!(client.wait_for(DEADLINE, State::is_final).await);
}

#[tokio::test]
async fn closing_says_goodbye_and_dropping_every_handle_closes() {
    for by_dropping in [false, true] {
        let server = Server::new().await;
        let (client, _events) = Client::connect(server.options()).unwrap();
        let (mut line, _cursors) = server.live_socket().await;
        assert!(client.wait_caught_up(DEADLINE).await);
        if by_dropping {
            drop(client);
        } else {
            client.close().await;
            assert!(client.state().is_final());
        }
        assert!(matches!(line.message().await, Some(Message::Close(_))));
    }
}

#[tokio::test]
async fn an_application_that_does_not_listen_gets_everything_later() {
    let server = Server::new().await;
    let mut options = server.options();
    options.notices_max = 4;
    let (client, mut events) = Client::connect(options).unwrap();
    let (mut line, _cursors) = server.live_socket().await;
    let sent = tokio::spawn(async move {
        for seq in 6..=505 {
            line.say(&event(seq)).await;
        }
        line
    });
    // Orders are still taken while nobody listens.
    client.mark(CONVERSATION, Some(1), None).await;
    let got = delivered(&mut events, 500).await;
    assert!(got.into_iter().eq(6..=505));
    sent.await.unwrap();
}

#[tokio::test]
async fn rest_tells_a_refusal_from_silence() {
    let server = Server::new().await;
    let rest = Rest::new(&server.url()).unwrap().with_token("the-token");
    let problem = json!({
        "type": "about:blank", "title": "Not found", "status": 404, "code": "not_found", "detail": "no such conversation",
        "request_id": "r1"
    });
    let (refused, asked) = tokio::join!(
        rest.conversation(CONVERSATION),
        server.answer("404 Not Found", &problem)
    );
    assert_eq!(
        asked,
        format!("GET /api/v1/conversations/{CONVERSATION} HTTP/1.1")
    );
    assert_eq!(
        refused.unwrap_err().problem().unwrap().code,
        ErrorCode::NotFound
    );

    let (left, asked) = tokio::join!(
        rest.leave(CONVERSATION, None),
        server.answer("204 No Content", &Value::Null)
    );
    left.unwrap();
    assert_eq!(
        asked,
        format!("POST /api/v1/conversations/{CONVERSATION}/leave HTTP/1.1")
    );

    let foreign = json!("nginx");
    let (unreadable, _asked) = tokio::join!(rest.me(), server.answer("502 Bad Gateway", &foreign));
    assert_eq!(unreadable.unwrap_err().status(), Some(502));

    drop(server);
    assert!(matches!(rest.me().await, Err(RestError::Unreachable(_))));
}

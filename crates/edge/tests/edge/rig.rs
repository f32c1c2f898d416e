//! One or more edges over one log and one bus, and clients that speak to them as anyone would.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use hubbub_accounts::{Accounts, AccountsOptions, Identity};
use hubbub_bus::MemoryBus;
use hubbub_edge::{Edge, EdgeDeps, EdgeLimits, EdgeOptions, Neighbours};
use hubbub_telemetry::{Metrics, SystemClock};
use hubbub_testkit::fresh_uuid;
use hubbub_testkit::wait::eventually;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::clock::SlowClock;
use crate::cut::CutLog;
use crate::gate::Gate;
use crate::owner::{Owner, PARTITIONS};

/// How long anything may take on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) struct Rig {
    pub(crate) bus: MemoryBus,
    pub(crate) owner: Arc<Owner>,
    pub(crate) edges: Vec<Edge>,
    pub(crate) gate: Arc<Gate>,
    /// As the edges read it.
    pub(crate) log: Arc<CutLog>,
    /// As the edges read it.
    pub(crate) clock: Arc<SlowClock>,
    /// What the database says of other nodes.
    pub(crate) neighbours: Arc<Others>,
    _data: tempfile::TempDir,
    _heads: DropGuard,
}

/// Other nodes, that hear or do not.
#[derive(Default)]
pub(crate) struct Others {
    pub(crate) hear: AtomicBool,
}

#[async_trait]
impl Neighbours for Others {
    async fn anyone_hears(&self) -> Option<bool> {
        Some(self.hear.load(Ordering::SeqCst))
    }
}

/// Someone with an account and a token.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) token: String,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(1, EdgeLimits::default(), None).await
    }

    pub(crate) async fn with(edges: usize, limits: EdgeLimits, public_url: Option<&str>) -> Self {
        Self::draining_over(Duration::ZERO, edges, limits, public_url).await
    }

    pub(crate) async fn draining_over(
        drain_window: Duration,
        edges: usize,
        limits: EdgeLimits,
        public_url: Option<&str>,
    ) -> Self {
        let data = tempfile::tempdir().unwrap();
        let gate = Arc::new(Gate::before(open_accounts(data.path()).await));
        let identity: Arc<dyn Identity> = Arc::clone(&gate) as _;
        let bus = MemoryBus::new();
        let owner = Owner::start(Arc::new(bus.clone())).await;
        let neighbours = Arc::new(Others::default());
        let log = Arc::new(CutLog::new(owner.log.clone()));
        let clock = Arc::new(SlowClock::default());
        let mut started = Vec::new();
        for n in 0..edges {
            let options = EdgeOptions {
                listen: "127.0.0.1:0".parse().unwrap(),
                public_url: public_url.map(str::to_owned),
                node_id: format!("n{n}"),
                limits: limits.clone(),
                drain_window,
                metrics_listen: Some("127.0.0.1:0".parse().unwrap()),
            };
            let deps = EdgeDeps {
                router: Arc::clone(&owner) as _,
                bus: Arc::new(bus.clone()),
                log: Arc::clone(&log) as _,
                read_models: Arc::clone(&owner) as _,
                identity: Arc::clone(&identity),
                partitions: PARTITIONS,
                clock: Arc::clone(&clock) as _,
                metrics: Arc::new(Metrics::new().unwrap()),
            };
            let others: Arc<dyn Neighbours> = Arc::clone(&neighbours) as _;
            started.push(Edge::start_among(others, options, deps).await.unwrap());
        }
        let heads = CancellationToken::new();
        tokio::spawn(broadcast(Arc::clone(&owner), identity, heads.clone()));
        Self {
            bus,
            owner,
            edges: started,
            gate,
            log,
            clock,
            neighbours,
            _data: data,
            _heads: heads.drop_guard(),
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.edges[0].addr()
    }

    /// Registers someone through the API.
    pub(crate) async fn person(&self, name: &str) -> Person {
        let name = format!("{name}-{}", fresh_uuid().as_u128() % 1_000_000_000);
        let body = json!({"username": name, "display_name": name, "password": "a long enough passphrase 7"});
        let answer = call(
            self.addr(),
            "POST",
            "/api/v1/auth/register",
            &[],
            Some(&body),
        )
        .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let (user, token) = (&answer.json()["user"], &answer.json()["token"]);
        Person {
            id: user["id"].as_str().unwrap().parse().unwrap(),
            name,
            token: token.as_str().unwrap().to_owned(),
        }
    }

    /// A request of someone, answered.
    pub(crate) async fn api(
        &self,
        who: &Person,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        self.api_at(0, who, method, path, body).await
    }

    pub(crate) async fn api_at(
        &self,
        edge: usize,
        who: &Person,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let token = format!("Bearer {}", who.token);
        let path = format!("/api/v1{path}");
        call(
            self.edges[edge].addr(),
            method,
            &path,
            &[("Authorization", &token)],
            body.as_ref(),
        )
        .await
    }

    /// A metric of an edge.
    pub(crate) async fn metric(&self, edge: usize, name: &str) -> u64 {
        let addr = self.edges[edge].metrics_addr().unwrap();
        let answer = call(addr, "GET", "/metrics", &[], None).await;
        let text = String::from_utf8(answer.body).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no metric {name}"))
            .parse()
            .unwrap()
    }

    /// A group of `owner` with the others, which every edge has given out: a socket seated before that would rightly hear of it.
    pub(crate) async fn group(&self, owner: &Person, others: &[&Person]) -> Uuid {
        let members: Vec<Uuid> = others.iter().map(|person| person.id).collect();
        let body = json!({"kind": "group", "title": "a group", "members": members});
        let answer = self.api(owner, "POST", "/conversations", Some(body)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let stored = self.owner.stored().await;
        for edge in 0..self.edges.len() {
            eventually(PATIENCE, "the edge to hear of the group", async || {
                self.metric(edge, "hubbub_feed_events_total").await >= stored
            })
            .await;
        }
        answer.json()["id"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) async fn send(&self, who: &Person, conversation: Uuid, body: &str) -> Value {
        let path = format!("/conversations/{conversation}/messages");
        let answer = self
            .api(who, "POST", &path, Some(json!({"body": body})))
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    /// A socket that has said hello and heard `live`.
    pub(crate) async fn socket(&self, who: &Person) -> Socket {
        self.socket_at(0, who, json!([])).await
    }

    pub(crate) async fn socket_at(&self, edge: usize, who: &Person, cursors: Value) -> Socket {
        let mut socket = self.knock(edge, who, cursors).await;
        let welcome = socket.hear().await.unwrap();
        assert_eq!(welcome["t"], "welcome", "{welcome}");
        socket
    }

    /// A socket that has said hello and heard nothing yet.
    pub(crate) async fn knock(&self, edge: usize, who: &Person, cursors: Value) -> Socket {
        let mut socket = Socket::connect(self.edges[edge].addr(), &[]).await.unwrap();
        let hello = json!({"t": "hello", "token": who.token, "cursors": cursors});
        socket.say(&hello).await;
        socket
    }
}

async fn open_accounts(dir: &Path) -> Arc<dyn Identity> {
    Arc::new(
        Accounts::open_sqlite(dir, AccountsOptions::default(), Arc::new(SystemClock))
            .await
            .unwrap(),
    )
}

async fn broadcast(owner: Arc<Owner>, identity: Arc<dyn Identity>, end: CancellationToken) {
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            _ = tick.tick() => owner.broadcast_heads(identity.highest_rev().await.unwrap_or(0)).await,
        }
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn code(&self) -> String {
        assert_eq!(
            self.headers["content-type"], "application/problem+json",
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert!(
            problem["request_id"]
                .as_str()
                .is_some_and(|id| !id.is_empty())
        );
        problem["code"].as_str().unwrap().to_owned()
    }
}

/// One request on its own connection.
pub(crate) async fn call(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> Answer {
    let text = body.map(Value::to_string).unwrap_or_default();
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n");
    if body.is_some() {
        request.push_str("Content-Type: application/json\r\n");
    }
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n").unwrap();
    }
    write!(request, "Content-Length: {}\r\n\r\n{text}", text.len()).unwrap();
    raw(addr, request.as_bytes()).await
}

/// Bytes in, the first answer out.
pub(crate) async fn raw(addr: SocketAddr, request: &[u8]) -> Answer {
    let exchange = async {
        let mut tcp = TcpStream::connect(addr).await.unwrap();
        tcp.write_all(request).await.unwrap();
        let mut bytes = Vec::new();
        tcp.read_to_end(&mut bytes).await.unwrap();
        bytes
    };
    let bytes = tokio::time::timeout(PATIENCE, exchange)
        .await
        .expect("an answer and the end of the connection");
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Answer {
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {bytes:?}"));
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Answer {
        status,
        headers,
        body: bytes[end + 4..].to_vec(),
    }
}

/// A socket, frame by frame.
pub(crate) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Frames that came in one array with the last one.
    waiting: VecDeque<Value>,
    pub(crate) closed: Option<u16>,
}

impl Socket {
    /// Connects; `Err` is the status of a refusal.
    pub(crate) async fn connect(
        addr: SocketAddr,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        let mut request = format!("ws://{addr}/api/v1/ws")
            .into_client_request()
            .unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((stream, _)) => Ok(Self {
                stream,
                waiting: VecDeque::default(),
                closed: None,
            }),
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
                Err(answer.status().as_u16())
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn say(&mut self, frame: &Value) {
        self.say_text(&frame.to_string()).await;
    }

    pub(crate) async fn say_text(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn say_binary(&mut self, bytes: &[u8]) {
        self.stream
            .send(Message::binary(bytes.to_vec()))
            .await
            .unwrap();
    }

    /// The next frame; `None` when the socket has closed.
    pub(crate) async fn hear(&mut self) -> Option<Value> {
        tokio::time::timeout(PATIENCE, self.next())
            .await
            .expect("a frame in time")
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                return Some(frame);
            }
            match self.stream.next().await? {
                Ok(Message::Text(text)) => match serde_json::from_str(&text).unwrap() {
                    Value::Array(frames) => self.waiting.extend(frames),
                    frame => return Some(frame),
                },
                Ok(Message::Close(frame)) => {
                    self.closed = frame.map(|frame| frame.code.into());
                }
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// Frames until one of type `t`, which is returned last.
    pub(crate) async fn until(&mut self, t: &str) -> Vec<Value> {
        let mut frames = Vec::new();
        loop {
            let frame = self
                .hear()
                .await
                .unwrap_or_else(|| panic!("closed {:?} before {t}: {frames:?}", self.closed));
            let found = frame["t"] == t;
            frames.push(frame);
            if found {
                return frames;
            }
        }
    }

    /// The next frame of type `t`; others are passed over.
    pub(crate) async fn one(&mut self, t: &str) -> Value {
        self.until(t).await.pop().unwrap()
    }

    /// Whatever comes until the socket closes, and the close code.
    pub(crate) async fn end(&mut self) -> (Vec<Value>, Option<u16>) {
        let mut frames = Vec::new();
        while let Some(frame) = self.hear().await {
            frames.push(frame);
        }
        (frames, self.closed)
    }
}

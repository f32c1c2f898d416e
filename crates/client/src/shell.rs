//! The machine with real sockets, a real clock and real randomness: what applications hold.
//!
//! [`Client`] is a handle to one driver task (`driver`) that owns the machine and the socket. Handles talk to it through
//! a bounded channel; it talks to the application through [`Events`]. **Read the events**: when the application does not,
//! the driver stops reading the socket, and acks come over that same socket.
//!
//! Never: a decision (that is the machine's), a log line with a message text or a token.

mod ambient;
mod driver;
mod fetch;
mod order;
mod receipt;
mod socket;

use std::sync::Arc;
use std::time::Duration;

use hubbub_wire::client::inbound::{Mark, Program, Send, Typing};
use hubbub_wire::client::object::Conversation;
use hubbub_wire::client::{ClientFrame, Cursor};
use hubbub_wire::rest::InboxQuery;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use crate::machine;
use crate::machine::notice::Notice;
use crate::machine::state::State;
use crate::rest::{Rest, RestError};
use crate::shell::driver::Driver;
use crate::shell::order::Order;

pub use receipt::{SendError, SendReceipt};

/// Orders waiting for the driver at most; it takes them faster than anyone types, and whoever sends faster waits here.
const ORDERS_MAX: usize = 256;
/// Notices waiting for the application at most, by default.
pub const NOTICES_MAX_DEFAULT: usize = 4_096;

/// Sees every text frame of the server as it came, before anything is dropped or put in order, and what the client asks.
pub trait FrameTap: std::marker::Send + Sync {
    /// One text frame of the socket with this number, at this node.
    fn frame(&self, node: usize, socket: u64, text: &str);

    /// One frame of the client, about to be written to that socket. Nothing by default.
    fn sent(&self, node: usize, socket: u64, frame: &ClientFrame) {
        let _: (usize, u64, &ClientFrame) = (node, socket, frame);
    }
}

impl<F: Fn(usize, u64, &str) + std::marker::Send + Sync> FrameTap for F {
    fn frame(&self, node: usize, socket: u64, text: &str) {
        self(node, socket, text);
    }
}

/// What a client needs to know.
#[derive(Clone)]
pub struct ClientOptions {
    /// Nodes to connect to, for example `http://127.0.0.1:8080`; at least one. The first is tried first.
    pub base_urls: Vec<String>,
    /// Session token.
    pub token: String,
    /// Name of the program.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The device it runs on; chosen once per device.
    pub device_id: Uuid,
    /// Where the application stands: of each conversation, the last event it has. seq 0 asks for everything.
    pub cursors: Vec<Cursor>,
    /// Notices waiting for the application at most.
    pub notices_max: usize,
    /// HTTP connections to share with other clients of this process and runtime; `None` opens its own.
    pub http: Option<Rest>,
    /// Sees raw frames; for tests and tools.
    pub tap: Option<Arc<dyn FrameTap>>,
    /// Seed of the waiting times; `None` takes one from the system.
    pub seed: Option<u64>,
}

impl ClientOptions {
    /// A client of this name with everything else by default.
    pub fn new(base_urls: Vec<String>, token: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            base_urls,
            token: token.into(),
            name: name.into(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device_id: ambient::fresh_id(),
            cursors: Vec::new(),
            notices_max: NOTICES_MAX_DEFAULT,
            http: None,
            tap: None,
            seed: None,
        }
    }
}

impl std::fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientOptions")
            .field("base_urls", &self.base_urls)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A connection that keeps itself up. Clones are handles to the same one; it ends when all are dropped, or with
/// [`Client::close`].
#[derive(Clone, Debug)]
pub struct Client {
    orders: mpsc::Sender<Order>,
    state: watch::Receiver<State>,
    first_rest: Rest,
    rests: Arc<[Rest]>,
}

/// What the application is told, in order.
#[derive(Debug)]
pub struct Events {
    notices: mpsc::Receiver<Notice>,
}

impl Events {
    /// The next notice; `None` once the client has ended and everything was taken.
    pub async fn next(&mut self) -> Option<Notice> {
        self.notices.recv().await
    }

    /// A notice that is already there.
    pub fn try_next(&mut self) -> Option<Notice> {
        self.notices.try_recv().ok()
    }
}

impl Client {
    /// Starts connecting in the background, on the present tokio runtime. Dropping [`Events`] means not being interested
    /// in them.
    ///
    /// # Errors
    /// [`RestError::Setup`] when no HTTP client can be made.
    pub fn connect(options: ClientOptions) -> Result<(Self, Events), RestError> {
        let first_url = options.base_urls.first().map_or("", String::as_str);
        let http = match &options.http {
            Some(shared) => shared.at(first_url),
            None => Rest::new(first_url)?,
        };
        let first_rest = http.with_token(&options.token);
        let rests: Arc<[Rest]> = options
            .base_urls
            .iter()
            .map(|base_url| first_rest.at(base_url))
            .collect();
        let machine = machine::Machine::new(machine::Settings {
            nodes: options.base_urls.len(),
            program: Program {
                name: options.name.clone(),
                version: options.version.clone(),
                device_id: options.device_id,
            },
            cursors: options.cursors.clone(),
        });
        let (orders, taken_orders) = mpsc::channel(ORDERS_MAX);
        let (told, notices) = mpsc::channel(options.notices_max.max(1));
        let (state_told, state) = watch::channel(machine.state().clone());
        let driver = Driver::new(
            machine,
            options,
            Arc::clone(&rests),
            taken_orders,
            told,
            state_told,
        );
        tokio::spawn(driver.run());
        Ok((
            Self {
                orders,
                state,
                first_rest,
                rests,
            },
            Events { notices },
        ))
    }

    /// Says something. The command is on its way when this returns, in the order of the calls; the receipt tells how it
    /// ended, over any number of reconnects.
    ///
    /// # Errors
    /// [`SendError::Closed`] when the client has ended.
    pub async fn send(
        &self,
        conversation: Uuid,
        body: impl Into<String>,
    ) -> Result<SendReceipt, SendError> {
        self.send_with_id(ambient::fresh_id(), conversation, body, false)
            .await
    }

    /// [`Client::send`] with an id of one's own, for example that of an earlier attempt (then with `retry`).
    ///
    /// # Errors
    /// [`SendError::Closed`] when the client has ended.
    pub async fn send_with_id(
        &self,
        id: Uuid,
        conversation: Uuid,
        body: impl Into<String>,
        retry: bool,
    ) -> Result<SendReceipt, SendError> {
        self.submit(ClientFrame::Send(Send {
            id,
            conversation_id: conversation,
            body: body.into(),
            reply_to_no: None,
            thread_root_no: None,
            attachments: None,
            retry: retry.then_some(true),
            trace: None,
        }))
        .await
    }

    /// Any command: send, edit, delete, react or pin.
    ///
    /// # Errors
    /// [`SendError::NoCommand`] for other frames, [`SendError::Closed`] when the client has ended.
    pub async fn submit(&self, frame: ClientFrame) -> Result<SendReceipt, SendError> {
        let Some(id) = frame
            .id()
            .filter(|_id| !matches!(frame, ClientFrame::History(_)))
        else {
            return Err(SendError::NoCommand);
        };
        let (settled, outcome) = oneshot::channel();
        self.orders
            .send(Order::Submit {
                id,
                frame: Box::new(frame),
                settled,
            })
            .await
            .map_err(|_closed| SendError::Closed {
                maybe_stored: false,
            })?;
        Ok(SendReceipt::new(id, outcome))
    }

    /// Moves the own markers; sent again after a reconnect.
    pub async fn mark(&self, conversation: Uuid, read_no: Option<u64>, delivered_no: Option<u64>) {
        self.order(Order::Mark(Mark {
            conversation_id: conversation,
            read_no,
            delivered_no,
        }))
        .await;
    }

    /// Shows or hides that one types; lost while there is no connection.
    pub async fn typing(&self, conversation: Uuid, on: bool) {
        self.order(Order::Typing(Typing {
            conversation_id: conversation,
            on,
        }))
        .await;
    }

    /// Asks whether the server is there; [`Notice::Pong`] with the same number answers. Lost while there is no connection.
    pub async fn ping(&self, n: u64) {
        self.order(Order::Ping(n)).await;
    }

    /// Tells where the application stands in conversations that the client has no position of, so that nothing is missed
    /// there from now on. See [`Client::follow_inbox`].
    pub async fn follow(&self, cursors: Vec<Cursor>) {
        self.order(Order::Follow(cursors)).await;
    }

    /// Reads the whole inbox and follows each conversation from its head. A client connects, waits for `live`, then does
    /// this (PROTOCOL.md rule 1).
    ///
    /// # Errors
    /// What the inbox request says.
    pub async fn follow_inbox(&self) -> Result<Vec<Conversation>, RestError> {
        let mut query = InboxQuery::default();
        let mut all = Vec::new();
        loop {
            let page = self.rest().inbox(&query).await?;
            let cursor_of = |conversation: &Conversation| Cursor {
                conversation_id: conversation.id,
                epoch: conversation.epoch,
                seq: conversation.head_seq,
            };
            self.follow(page.items.iter().map(cursor_of).collect())
                .await;
            all.extend(page.items);
            if page.next_cursor.is_none() {
                return Ok(all);
            }
            query.cursor = page.next_cursor;
        }
    }

    /// Drops the socket and connects to that node (index of `base_urls`) at once.
    pub async fn force_reconnect(&self, node: usize) {
        self.order(Order::ForceReconnect(node)).await;
    }

    /// Where the connection stands.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Waits until the connection stands where `is_wanted` says; `false` when it does not within `deadline`.
    pub async fn wait_for(
        &self,
        deadline: Duration,
        is_wanted: impl FnMut(&State) -> bool,
    ) -> bool {
        let mut state = self.state.clone();
        let reached = tokio::time::timeout(deadline, state.wait_for(is_wanted)).await;
        matches!(reached, Ok(Ok(_state)))
    }

    /// Waits until everything missed has been delivered; `false` when it is not within `deadline`.
    pub async fn wait_caught_up(&self, deadline: Duration) -> bool {
        self.wait_for(deadline, State::is_caught_up).await
    }

    /// The REST interface of the node that the connection is at, as the same user; of the first node while there is none.
    pub fn rest(&self) -> &Rest {
        let node = match *self.state.borrow() {
            State::Connecting { node } | State::Live { node, .. } => node,
            State::Disconnected { .. } => 0,
        };
        self.rests.get(node).unwrap_or(&self.first_rest)
    }

    /// Ends the connection. Commands without an answer end as [`SendError::Closed`].
    pub async fn close(&self) {
        self.order(Order::Close).await;
        let mut state = self.state.clone();
        // Ends with an error when the driver is gone, which is what we wait for.
        let _gone = state.wait_for(State::is_final).await;
    }

    /// Orders to a client that has ended do nothing.
    async fn order(&self, order: Order) {
        let _ended = self.orders.send(order).await;
    }
}

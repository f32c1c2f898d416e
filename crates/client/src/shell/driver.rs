//! The task that owns machine and socket: takes orders, frames, timers and finished requests in, does the effects.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use hubbub_wire::client::{ClientFrame, ServerFrame};
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{self, Message};
use uuid::Uuid;

use crate::machine::notice::Notice;
use crate::machine::outbox::Outcome;
use crate::machine::state::State;
use crate::machine::{Effect, Fetched, Input, Machine};
use crate::rest::Rest;
use crate::shell::order::Order;
use crate::shell::socket::{self, Socket, UpgradeFailure};
use crate::shell::{ClientOptions, ambient, fetch};

/// Orders that share one write at most, so that a flood of them does not keep the socket from being read.
const ORDERS_PER_WRITE: usize = 64;

/// What a task of the driver brings back.
enum Report {
    Opened {
        socket: u64,
        node: usize,
        opened: Result<Box<Socket>, UpgradeFailure>,
    },
    Fetched(Fetched),
    SaidGoodbye,
}

/// The socket that is open now.
struct OpenSocket {
    number: u64,
    node: usize,
    socket: Box<Socket>,
    has_unflushed: bool,
}

pub(super) struct Driver {
    machine: Machine,
    options: ClientOptions,
    rests: Arc<[Rest]>,
    orders: mpsc::Receiver<Order>,
    told: mpsc::Sender<Notice>,
    state_told: watch::Sender<State>,
    rng: StdRng,
    started: Instant,
    tasks: JoinSet<Report>,
    opening: Option<(u64, AbortHandle)>,
    open: Option<OpenSocket>,
    /// Notices that the application has no room for yet. While there are any, the socket is not read, so this holds at
    /// most what one frame and the fetches under way bring.
    untold: VecDeque<Notice>,
    waiting: HashMap<Uuid, Vec<oneshot::Sender<Outcome>>>,
}

/// What the driver woke up for.
enum Woken {
    Order(Option<Order>),
    Report(Report),
    Text(Option<Result<Message, tungstenite::Error>>),
    Room,
    Timer,
}

impl Driver {
    pub(super) fn new(
        machine: Machine,
        options: ClientOptions,
        rests: Arc<[Rest]>,
        orders: mpsc::Receiver<Order>,
        told: mpsc::Sender<Notice>,
        state_told: watch::Sender<State>,
    ) -> Self {
        Self {
            machine,
            rng: ambient::rng(options.seed),
            options,
            rests,
            orders,
            told,
            state_told,
            started: Instant::now(),
            tasks: JoinSet::new(),
            opening: None,
            open: None,
            untold: VecDeque::new(),
            waiting: HashMap::new(),
        }
    }

    /// Runs until the connection has ended for good and everything about it was said.
    pub(super) async fn run(mut self) {
        self.feed(Input::Start).await;
        while !self.machine.state().is_final() {
            match self.wake().await {
                Woken::Order(Some(order)) => self.orders(order).await,
                // Every handle was dropped.
                Woken::Order(None) => self.feed(Input::Close).await,
                Woken::Report(report) => self.report(report).await,
                Woken::Text(message) => self.message(message).await,
                Woken::Room => self.tell_what_fits(),
                Woken::Timer => {
                    if !self.untold.is_empty() {
                        // Not listening is not the server's silence.
                        self.feed_of_socket(|socket| Input::Heard { socket }).await;
                    }
                    self.feed(Input::Tick).await;
                }
            }
        }
        self.finish().await;
    }

    async fn wake(&mut self) -> Woken {
        let wake_at = self
            .machine
            .wake_at()
            .map(|at_ms| self.started + Duration::from_millis(at_ms));
        let is_full = !self.untold.is_empty();
        let timer = async {
            match wake_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let text = async {
            match &mut self.open {
                Some(open) if !is_full => open.socket.next().await,
                _none_or_not_now => std::future::pending().await,
            }
        };
        let room = async {
            if !is_full {
                std::future::pending::<()>().await;
            }
            // An error means that nobody listens: then there is room for everything.
            drop(self.told.reserve().await);
        };
        let report = async {
            loop {
                match self.tasks.join_next().await {
                    Some(Ok(report)) => break report,
                    // Cancelled by us.
                    Some(Err(_cancelled)) => {}
                    None => std::future::pending().await,
                }
            }
        };
        tokio::select! {
            order = self.orders.recv() => Woken::Order(order),
            report = report => Woken::Report(report),
            message = text => Woken::Text(message),
            () = room => Woken::Room,
            () = timer => Woken::Timer,
        }
    }

    /// This order and those that wait already share one write.
    async fn orders(&mut self, first: Order) {
        self.order(first).await;
        for _order in 1..ORDERS_PER_WRITE {
            match self.orders.try_recv() {
                Ok(order) => self.order(order).await,
                Err(_none) => break,
            }
        }
        self.flush_and_report().await;
    }

    async fn order(&mut self, order: Order) {
        match order {
            Order::Submit { id, frame, settled } => {
                self.waiting.entry(id).or_default().push(settled);
                self.apply(Input::Submit(*frame)).await;
            }
            Order::Mark(mark) => self.apply(Input::Mark(mark)).await,
            Order::Typing(typing) => self.apply(Input::Typing(typing)).await,
            Order::Ping(n) => self.apply(Input::Ping { n }).await,
            Order::Follow(cursors) => {
                for cursor in cursors {
                    self.apply(Input::Follow(cursor)).await;
                }
            }
            Order::ForceReconnect(node) => self.apply(Input::ForceReconnect { node }).await,
            Order::Close => self.apply(Input::Close).await,
        }
    }

    async fn report(&mut self, report: Report) {
        match report {
            Report::Opened {
                socket,
                node,
                opened: Ok(stream),
            } => {
                if self
                    .opening
                    .take_if(|(number, _abort)| *number == socket)
                    .is_some()
                {
                    self.open = Some(OpenSocket {
                        number: socket,
                        node,
                        socket: stream,
                        has_unflushed: false,
                    });
                    self.feed(Input::SocketOpened { socket }).await;
                } else {
                    self.say_goodbye(*stream);
                }
            }
            Report::Opened {
                socket,
                node,
                opened: Err(failure),
            } => {
                self.opening.take_if(|(number, _abort)| *number == socket);
                tracing::debug!(node, error = %failure.error, "client.socket.open failed");
                let UpgradeFailure {
                    unauthenticated,
                    retry_after_ms,
                    error: _,
                } = failure;
                self.feed(Input::SocketFailed {
                    socket,
                    unauthenticated,
                    retry_after_ms,
                })
                .await;
            }
            Report::Fetched(fetched) => self.feed(Input::Fetched(fetched)).await,
            Report::SaidGoodbye => {}
        }
    }

    async fn message(&mut self, message: Option<Result<Message, tungstenite::Error>>) {
        match message {
            Some(Ok(Message::Text(text))) => self.text(text.as_str()).await,
            Some(Ok(Message::Close(frame))) => {
                let code = frame.map(|frame| u16::from(frame.code));
                self.lost(code).await;
            }
            Some(Ok(
                Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_),
            )) => {
                // The library answers a ping when it next reads or writes; flushing does not let it wait.
                if let Some(open) = &mut self.open {
                    open.has_unflushed = true;
                }
                self.feed_of_socket(|socket| Input::Heard { socket }).await;
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "client.socket.read failed");
                self.lost(None).await;
            }
            None => self.lost(None).await,
        }
    }

    async fn text(&mut self, text: &str) {
        let Some(open) = &self.open else { return };
        let (number, node) = (open.number, open.node);
        if let Some(tap) = &self.options.tap {
            tap.frame(node, number, text);
        }
        match ServerFrame::decode(text) {
            Ok(frames) => {
                for frame in frames {
                    self.feed(Input::Frame {
                        socket: number,
                        frame: Box::new(frame),
                    })
                    .await;
                }
            }
            Err(error) => {
                // Only where and what, not the frame: it may hold what people wrote.
                tracing::warn!(
                    line = error.line(),
                    column = error.column(),
                    "client.frame.read failed"
                );
                self.feed(Input::Heard { socket: number }).await;
            }
        }
    }

    async fn lost(&mut self, code: Option<u16>) {
        if let Some(open) = self.open.take() {
            self.say_goodbye(*open.socket);
            self.feed(Input::SocketClosed {
                socket: open.number,
                code,
            })
            .await;
        }
    }

    async fn feed_of_socket(&mut self, input: impl FnOnce(u64) -> Input) {
        if let Some(number) = self.open.as_ref().map(|open| open.number) {
            self.feed(input(number)).await;
        }
    }

    /// Hands the machine an input, does what it says and writes.
    async fn feed(&mut self, input: Input) {
        self.apply(input).await;
        self.flush_and_report().await;
    }

    /// Hands the machine an input and does what it says; frames are written by the next flush.
    async fn apply(&mut self, input: Input) {
        let now_ms = self.now_ms();
        for effect in self.machine.handle(input, now_ms, &mut self.rng) {
            self.perform(effect).await;
        }
    }

    /// Writes; a line that is dead is the machine's next input.
    async fn flush_and_report(&mut self) {
        if let Some(socket) = self.flush().await {
            self.apply(Input::SocketClosed { socket, code: None }).await;
        }
    }

    async fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Connect { socket, node } => self.connect(socket, node),
            Effect::CloseSocket { socket } => {
                if let Some((_number, abort)) =
                    self.opening.take_if(|(number, _abort)| *number == socket)
                {
                    abort.abort();
                }
                if let Some(open) = self.open.take_if(|open| open.number == socket) {
                    self.say_goodbye(*open.socket);
                }
            }
            Effect::Transmit(frame) => self.transmit(&frame).await,
            Effect::Fetch {
                fetch,
                node,
                conversation_id,
                from_seq,
                limit,
            } => {
                let rest = self.rests.get(node).cloned();
                self.tasks.spawn(async move {
                    let page = fetch::page(rest, conversation_id, from_seq, limit).await;
                    Report::Fetched(Fetched {
                        fetch,
                        conversation_id,
                        page,
                    })
                });
            }
            Effect::Settle { id, outcome } => self.settle(id, &outcome),
            Effect::Notify(notice) => {
                if let Notice::State(state) = &notice {
                    tracing::debug!(?state, "client.state");
                    self.state_told.send_replace(state.clone());
                }
                self.untold.push_back(notice);
                self.tell_what_fits();
            }
        }
    }

    fn connect(&mut self, number: u64, node: usize) {
        let base_url = self
            .options
            .base_urls
            .get(node)
            .cloned()
            .unwrap_or_default();
        let token = self.options.token.clone();
        let abort = self.tasks.spawn(async move {
            let opened = socket::open(&base_url, &token).await.map(Box::new);
            Report::Opened {
                socket: number,
                node,
                opened,
            }
        });
        self.opening = Some((number, abort));
    }

    async fn transmit(&mut self, frame: &ClientFrame) {
        let Some(open) = &mut self.open else { return };
        if let Some(tap) = &self.options.tap {
            tap.sent(open.node, open.number, frame);
        }
        match serde_json::to_string(frame) {
            Ok(text) => {
                // A failed write shows again when flushing.
                open.has_unflushed = true;
                socket::feed(&mut open.socket, text).await;
            }
            Err(error) => tracing::error!(%error, "client.frame.write failed"),
        }
    }

    /// Writes what was fed. Answers the socket's number when its line is dead.
    async fn flush(&mut self) -> Option<u64> {
        let open = self.open.as_mut().filter(|open| open.has_unflushed)?;
        open.has_unflushed = false;
        if socket::flush(&mut open.socket).await {
            return None;
        }
        self.open.take().map(|dead| dead.number)
    }

    fn settle(&mut self, id: Uuid, outcome: &Outcome) {
        // A repetition that was turned away is the last to have asked; everything else concerns all who asked.
        let newest_only = matches!(outcome, Outcome::IdInUse);
        let Some(mut asked) = self.waiting.remove(&id) else {
            return;
        };
        if newest_only {
            let newest = asked.pop();
            if !asked.is_empty() {
                self.waiting.insert(id, asked);
            }
            asked = newest.into_iter().collect();
        }
        for settled in asked {
            // Whoever dropped the receipt does not want to know.
            let _unwanted = settled.send(outcome.clone());
        }
    }

    fn tell_what_fits(&mut self) {
        while let Some(notice) = self.untold.pop_front() {
            match self.told.try_send(notice) {
                // Nobody listens: then nothing is kept either.
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
                Err(mpsc::error::TrySendError::Full(notice)) => {
                    self.untold.push_front(notice);
                    return;
                }
            }
        }
    }

    fn say_goodbye(&mut self, socket: Socket) {
        self.tasks.spawn(async move {
            socket::farewell(socket).await;
            Report::SaidGoodbye
        });
    }

    /// Lets goodbyes be said and the last notices be taken.
    async fn finish(mut self) {
        self.orders.close();
        while let Some(order) = self.orders.recv().await {
            if let Order::Submit { id, settled, .. } = order {
                self.waiting.entry(id).or_default().push(settled);
                self.settle(
                    id,
                    &Outcome::Abandoned {
                        maybe_stored: false,
                    },
                );
            }
        }
        while let Some(notice) = self.untold.pop_front() {
            if self.told.send(notice).await.is_err() {
                break;
            }
        }
        drop(self.told);
        if let Some((_number, abort)) = self.opening.take() {
            abort.abort();
        }
        while let Some(ended) = self.tasks.join_next().await {
            drop(ended);
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

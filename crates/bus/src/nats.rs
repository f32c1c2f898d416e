//! The bus over NATS.
//!
//! What is set against the client library's defaults, and why: pings every 5 s and a probe every half second (a silent server is noticed
//! within 3 s, whichever direction is cut), reconnect delays
//! with full jitter (a restarted server is not stormed), bounded channels, own answer inboxes (the library keeps an entry for every
//! request that timed out, for ever).
//!
//! [`BusStatus::Up`] means more than a connection: the server has answered after every subscription was made again.
//!
//! Never: `JetStream` (the log is the system of record), a wait without a bound, a retry of a publish.

mod inbox;
mod link;
mod options;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, StatusCode};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use hubbub_telemetry::{OnError, TraceContext, spawn_named};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use crate::nats::options::{ConnectError, NatsOptions};

use crate::PAYLOAD_BYTES_MAX;
use crate::nats::inbox::Inbox;
use crate::nats::link::Link;
use crate::port::{
    Bus, BusStatus, BusUse, Delivery, PublishError, ReplyAddress, ReplyTo, RequestError,
    SubscribeError, Subscription,
};
use crate::subject::{Subject, SubjectPattern};

/// Longest wait for a place in the client's queue (the port promises at most a second).
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest wait for the server to have taken everything sent so far: two of its pauses for garbage, far below a takeover (6 s, P7).
const ROUND_TRIP_TIMEOUT: Duration = Duration::from_secs(2);
/// The header of W3C Trace Context; NATS headers are case-sensitive.
const TRACEPARENT: &str = "traceparent";

/// A connection to a NATS server or cluster. Dropping it closes the connection once its subscriptions are gone.
#[derive(Debug)]
pub struct NatsBus {
    client: Client,
    link: Arc<Link>,
    inbox: Arc<Inbox>,
    /// Messages dropped by all subscriptions together.
    dropped: Arc<AtomicU64>,
    /// Ends the tasks that hold the client.
    _tasks: DropGuard,
}

impl NatsBus {
    /// Connects, or with [`NatsOptions::wait_for_server`] unset fails when no server answers within some seconds. When it is set this
    /// returns at once with [`BusStatus::Down`] and goes on trying.
    pub async fn connect(options: NatsOptions) -> Result<Self, ConnectError> {
        let link = Arc::new(Link::new());
        let client = options.connect(Arc::clone(&link)).await?;
        let stop = CancellationToken::new();
        let tasks = stop.clone().drop_guard();
        let inbox = Arc::new(
            Inbox::listen(&client, stop.clone())
                .await
                .map_err(ConnectError::unreachable)?,
        );
        let watcher = link::watch_link(
            client.clone(),
            Arc::clone(&inbox),
            Arc::clone(&link),
            stop.clone(),
        );
        spawn_named("bus link", OnError::Log, watcher);
        let sent = Instant::now();
        if !options.wait_for_server && round_trip(&client, &inbox).await {
            link.prove(sent);
            link.set(BusStatus::Up);
        }
        Ok(Self {
            client,
            link,
            inbox,
            dropped: Arc::default(),
            _tasks: tasks,
        })
    }

    /// Messages that the client library threw away because a forwarding task had not run for a long time. They are in no
    /// subscription's [`dropped`](Subscription::dropped).
    pub fn starved(&self) -> u64 {
        self.link.starved()
    }

    fn check_up(&self) -> Result<(), &'static str> {
        let connected = self.client.connection_state() == async_nats::connection::State::Connected;
        if connected && self.link.status() == BusStatus::Up {
            Ok(())
        } else {
            Err("not connected to NATS")
        }
    }

    async fn send(
        &self,
        subject: String,
        reply: Option<String>,
        payload: Bytes,
        trace: Option<&TraceContext>,
    ) -> Result<(), PublishError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(PublishError::TooLarge {
                bytes: payload.len(),
            });
        }
        self.check_up()
            .map_err(|down| PublishError::Unavailable(down.to_owned()))?;
        let bytes = payload.len();
        let sent = timeout(
            PUBLISH_TIMEOUT,
            hand_over(&self.client, subject, reply, payload, trace),
        )
        .await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() == async_nats::PublishErrorKind::MaxPayloadExceeded => {
                Err(PublishError::TooLarge { bytes })
            }
            Ok(Err(error)) => Err(PublishError::Unavailable(error.to_string())),
            Err(_) => Err(PublishError::Unavailable(
                "the queue to NATS stayed full for a second".to_owned(),
            )),
        }
    }
}

#[async_trait]
impl Bus for NatsBus {
    async fn publish(
        &self,
        subject: Subject,
        payload: Bytes,
        trace: Option<TraceContext>,
    ) -> Result<(), PublishError> {
        self.send(subject.to_string(), None, payload, trace.as_ref())
            .await
    }

    async fn subscribe(
        &self,
        pattern: SubjectPattern,
        capacity: usize,
    ) -> Result<Subscription, SubscribeError> {
        let unavailable = |reason: String| SubscribeError::Unavailable(reason);
        self.check_up()
            .map_err(|down| unavailable(down.to_owned()))?;
        let subscribing = self.client.subscribe(pattern.to_string());
        let subscriber = timeout(PUBLISH_TIMEOUT, subscribing)
            .await
            .map_err(|late| unavailable(late.to_string()))?
            .map_err(|error| unavailable(error.to_string()))?;
        // The server reads in order: when it answers this, it has read the subscription.
        if !round_trip(&self.client, &self.inbox).await {
            return Err(unavailable("no answer from NATS".to_owned()));
        }
        let (queue, deliveries) = mpsc::channel(capacity.max(1));
        let dropped = Arc::new(AtomicU64::new(0));
        let stop = CancellationToken::new();
        let counters = [Arc::clone(&dropped), Arc::clone(&self.dropped)];
        let forwarding = forward(subscriber, queue, counters, stop.clone());
        spawn_named("bus subscription", OnError::Log, forwarding);
        Ok(Subscription {
            deliveries,
            dropped,
            _guard: Some(stop.drop_guard()),
        })
    }

    async fn request(
        &self,
        subject: Subject,
        payload: Bytes,
        deadline: Duration,
        trace: Option<TraceContext>,
    ) -> Result<Bytes, RequestError> {
        let question = self.inbox.ask().ok_or_else(|| {
            RequestError::NotSent("too many requests wait for their answers".to_owned())
        })?;
        let reply = question.reply_subject().to_owned();
        // Before it is sent, so that no loss after that is missed.
        let mut losses = self.link.losses();
        let asking = async {
            self.send(subject.to_string(), Some(reply), payload, trace.as_ref())
                .await
                .map_err(|error| RequestError::NotSent(error.to_string()))?;
            tokio::select! {
                biased;
                answer = question.answer() => answer.ok_or(RequestError::TimedOut),
                _lost = losses.changed() => Err(RequestError::TimedOut),
            }
        };
        // Which of the two waits was cut off is not known here, so it counts as sent.
        let answer = timeout(deadline, asking)
            .await
            .map_err(|_late| RequestError::TimedOut)??;
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(RequestError::NoResponder);
        }
        Ok(answer.payload)
    }

    async fn reply(&self, to: ReplyTo, payload: Bytes) -> Result<(), PublishError> {
        let ReplyAddress::Nats(inbox) = to.0 else {
            return Err(PublishError::Unavailable(
                "the request came over another bus".to_owned(),
            ));
        };
        self.send(inbox, None, payload, None).await
    }

    async fn flush(&self) -> Result<(), PublishError> {
        self.check_up()
            .map_err(|down| PublishError::Unavailable(down.to_owned()))?;
        if round_trip(&self.client, &self.inbox).await {
            Ok(())
        } else {
            Err(PublishError::Unavailable("no answer from NATS".to_owned()))
        }
    }

    fn status(&self) -> watch::Receiver<BusStatus> {
        self.link.watch()
    }

    fn usage(&self) -> BusUse {
        BusUse {
            dropped: self.dropped.load(Ordering::Relaxed),
            starved: self.starved(),
            requests_waiting: self.inbox.waiting(),
        }
    }

    fn silent_for(&self) -> Duration {
        self.link.silent_for()
    }
}

async fn hand_over(
    client: &Client,
    subject: String,
    reply: Option<String>,
    payload: Bytes,
    trace: Option<&TraceContext>,
) -> Result<(), async_nats::PublishError> {
    let headers = trace.map(|trace| {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, trace.as_str());
        headers
    });
    match (reply, headers) {
        (None, None) => client.publish(subject, payload).await,
        (None, Some(headers)) => client.publish_with_headers(subject, headers, payload).await,
        (Some(reply), None) => client.publish_with_reply(subject, reply, payload).await,
        (Some(reply), Some(headers)) => {
            client
                .publish_with_reply_and_headers(subject, reply, headers, payload)
                .await
        }
    }
}

/// Whether the server has read everything that was handed over before this call. It asks where nobody listens, and the server says so at once.
async fn round_trip(client: &Client, inbox: &Inbox) -> bool {
    let Some(question) = inbox.ask() else {
        return false;
    };
    let nowhere = inbox.nowhere().to_owned();
    let reply = question.reply_subject().to_owned();
    let asking = async {
        hand_over(client, nowhere, Some(reply), Bytes::new(), None)
            .await
            .is_ok()
            && question.answer().await.is_some()
    };
    timeout(ROUND_TRIP_TIMEOUT, asking).await.unwrap_or(false)
}

/// Moves messages from the client's queue to the subscription's own, which is the one that its owner has sized.
async fn forward(
    mut subscriber: async_nats::Subscriber,
    queue: mpsc::Sender<Delivery>,
    dropped: [Arc<AtomicU64>; 2],
    stop: CancellationToken,
) {
    loop {
        let message = tokio::select! {
            () = stop.cancelled() => return,
            message = subscriber.next() => message,
        };
        let Some(message) = message else { return };
        let Some(delivery) = delivery(message) else {
            continue;
        };
        match queue.try_send(delivery) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                for counter in &dropped {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return,
        }
    }
}

/// `None` for a subject that only a stranger sends to.
fn delivery(message: Message) -> Option<Delivery> {
    let subject = match message.subject.as_str().parse() {
        Ok(subject) => subject,
        Err(error) => {
            tracing::warn!(%error, "ignored a message on the bus");
            return None;
        }
    };
    let trace = message
        .headers
        .as_ref()
        .and_then(|headers| headers.get(TRACEPARENT))
        .and_then(|value| TraceContext::parse(value.as_str()));
    let reply = message
        .reply
        .map(|inbox| ReplyTo(ReplyAddress::Nats(inbox.to_string())));
    Some(Delivery {
        subject,
        payload: message.payload,
        trace,
        reply,
    })
}

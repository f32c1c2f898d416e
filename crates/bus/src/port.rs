//! The port of the bus.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hubbub_telemetry::TraceContext;
use tokio::sync::{mpsc, watch};

use crate::subject::{Subject, SubjectPattern};

/// Largest payload in bytes: what a NATS server carries unless told otherwise (1 MiB), less room for headers.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024 - 1024;

/// A bus between nodes (or inside one). At most once: a publish that returned may still be lost, duplicates are possible after reconnects,
/// messages of one publisher on one subject arrive in order or not at all.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Hands a message to the bus; returns when it is queued for sending, not when it is delivered. Never waits longer than
    /// a second; a full queue or a bus that is down is an error, and the message is dropped.
    async fn publish(
        &self,
        subject: Subject,
        payload: Bytes,
        trace: Option<TraceContext>,
    ) -> Result<(), PublishError>;

    /// Listens from the moment this returns. The queue is bounded by `capacity` messages: when it is full further messages are dropped and
    /// counted in [`Subscription::dropped`].
    async fn subscribe(
        &self,
        pattern: SubjectPattern,
        capacity: usize,
    ) -> Result<Subscription, SubscribeError>;

    /// Sends and waits for one answer; not beyond the moment in which this end's connection is known to be lost. Whatever was on its way
    /// then may be lost or may still arrive, over the next connection and so just before a repetition: its outcome is open.
    async fn request(
        &self,
        subject: Subject,
        payload: Bytes,
        deadline: Duration,
        trace: Option<TraceContext>,
    ) -> Result<Bytes, RequestError>;

    /// Answers a request that arrived as a [`Delivery`].
    async fn reply(&self, to: ReplyTo, payload: Bytes) -> Result<(), PublishError>;

    /// Waits until what was published has left this process (or the bus is down).
    async fn flush(&self) -> Result<(), PublishError>;

    /// Up or down, with every change.
    fn status(&self) -> watch::Receiver<BusStatus>;

    /// How long ago this process last had proof that the bus carries messages out and back in. Under a second while all is well; it goes on
    /// growing while nothing comes back, also while [`Bus::status`] still says up.
    fn silent_for(&self) -> Duration;

    /// How its queues are used; for metrics.
    fn usage(&self) -> BusUse {
        BusUse::default()
    }
}

/// One look at the queues of a bus.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BusUse {
    /// Messages dropped because a subscription's queue was full, since the start, over all subscriptions.
    pub dropped: u64,
    /// Messages dropped before they reached a subscription's queue, since the start: this process had not run for long.
    pub starved: u64,
    /// Requests that wait for their answers now.
    pub requests_waiting: usize,
}

/// Whether the bus is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BusStatus {
    /// Connected.
    Up,
    /// Not connected: nothing is sent or received.
    Down,
}

/// A message as it arrived.
#[derive(Debug)]
pub struct Delivery {
    /// Where it was sent.
    pub subject: Subject,
    /// What it says.
    pub payload: Bytes,
    /// The sender's trace, if it had one.
    pub trace: Option<TraceContext>,
    /// Present on requests.
    pub reply: Option<ReplyTo>,
}

/// Where an answer goes; opaque.
#[derive(Clone, Debug)]
pub struct ReplyTo(pub(crate) ReplyAddress);

#[derive(Clone, Debug)]
pub(crate) enum ReplyAddress {
    /// An inbox subject of NATS.
    Nats(String),
    /// The asker waits in this process.
    Memory(std::sync::Arc<parking_lot::Mutex<Option<tokio::sync::oneshot::Sender<Bytes>>>>),
}

/// A stream of deliveries; dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    pub(crate) deliveries: mpsc::Receiver<Delivery>,
    pub(crate) dropped: std::sync::Arc<std::sync::atomic::AtomicU64>,
    /// Ends the forwarding task when the subscription is dropped.
    pub(crate) _guard: Option<tokio_util::sync::DropGuard>,
}

impl Subscription {
    /// The next delivery; `None` when the bus is closed for good.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.deliveries.recv().await
    }

    /// Messages dropped because this subscription's queue was full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// A message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The bus is down or its queue is full; numbers will notice the loss.
    #[error("bus unavailable: {0}")]
    Unavailable(String),
    /// Larger than the bus carries: a bug in the sender.
    #[error("message of {bytes} bytes is too large for the bus")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// Listening did not begin.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// Trying again later may work.
    #[error("bus unavailable: {0}")]
    Unavailable(String),
}

/// A request has no answer. What it asked for may have happened unless it was never sent.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Nobody listens there: it was not handled.
    #[error("nobody answers on that subject")]
    NoResponder,
    /// It was sent and no answer came in time, or before the connection was lost: open.
    #[error("no answer in time")]
    TimedOut,
    /// The bus was down before it was sent: it was not handled.
    #[error("bus unavailable: {0}")]
    NotSent(String),
}

//! The bus of embedded mode and of tests: within one process, with the same promises and the same losses as the real one.
//!
//! Queues are bounded and drop when full; a message is delivered to whoever listens at that moment and never kept. A test may lose,
//! duplicate or hold messages ([`MemoryBus::inject`]) and take the bus down ([`MemoryBus::set_status`]).
//!
//! Never: a promise that the NATS bus does not keep.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hubbub_telemetry::TraceContext;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::PAYLOAD_BYTES_MAX;
use crate::port::{
    Bus, BusStatus, BusUse, Delivery, PublishError, ReplyAddress, ReplyTo, RequestError,
    SubscribeError, Subscription,
};
use crate::subject::{Subject, SubjectPattern};

/// Messages kept by [`Fault::Hold`]; further ones are lost. More than any test holds; a bound against a test that forgets to release.
const HELD_MESSAGES_MAX: usize = 65_536;

/// An in-process bus. Clones are the same connection to it; [`MemoryBus::another_line`] makes one that can be cut by itself.
#[derive(Clone, Debug)]
pub struct MemoryBus {
    shared: Arc<Shared>,
    line: Arc<Line>,
}

/// One connection: whoever is behind it hears and says nothing while it is down.
#[derive(Debug)]
struct Line {
    status: watch::Sender<BusStatus>,
    /// How often it was taken down: whoever waits also hears of a blink.
    losses: watch::Sender<u64>,
    /// Since when it is down.
    down: Mutex<Option<Instant>>,
}

/// What happens to one message, for tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It arrives.
    None,
    /// It vanishes; its sender is not told.
    Lose,
    /// It arrives twice.
    Duplicate,
    /// It waits for [`MemoryBus::release_held`], and so may arrive after later ones.
    Hold,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    listeners: Vec<Listener>,
    judge: Option<Judge>,
    held: Vec<Message>,
    /// Messages dropped by all listeners together.
    dropped: AtomicU64,
}

type Judge = Box<dyn FnMut(Subject) -> Fault + Send>;

#[derive(Debug)]
struct Listener {
    pattern: SubjectPattern,
    queue: mpsc::Sender<Delivery>,
    dropped: Arc<AtomicU64>,
    line: Arc<Line>,
}

#[derive(Clone)]
struct Message {
    subject: Subject,
    payload: Bytes,
    trace: Option<TraceContext>,
    reply: Option<ReplyTo>,
}

impl Default for MemoryBus {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryBus {
    /// A bus that is up and heard by nobody.
    pub fn new() -> Self {
        Self {
            shared: Arc::default(),
            line: Arc::new(Line::up()),
        }
    }

    /// A connection of its own to the same bus.
    #[must_use]
    pub fn another_line(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            line: Arc::new(Line::up()),
        }
    }

    /// Asks `judge` about every message from now on, requests included, answers not. It must not use this bus.
    pub fn inject(&self, judge: impl FnMut(Subject) -> Fault + Send + 'static) {
        self.shared.state.lock().judge = Some(Box::new(judge));
    }

    /// Lets every message pass again; held ones stay held.
    pub fn heal(&self) {
        self.shared.state.lock().judge = None;
    }

    /// Delivers what was held, in the order in which it was sent; returns how many messages that were.
    pub fn release_held(&self) -> usize {
        let mut state = self.shared.state.lock();
        let held = std::mem::take(&mut state.held);
        let released = held.len();
        for message in held {
            state.deliver(&message);
        }
        released
    }

    /// Takes the bus down or up for everyone on this connection. Subscriptions stay, and hear nothing that is sent while it is down.
    pub fn set_status(&self, status: BusStatus) {
        let mut down = self.line.down.lock();
        *down = match status {
            BusStatus::Up => None,
            BusStatus::Down => Some(down.unwrap_or_else(Instant::now)),
        };
        let before = self.line.status.send_replace(status);
        if before == BusStatus::Up && status == BusStatus::Down {
            self.line
                .losses
                .send_modify(|losses| *losses = losses.wrapping_add(1));
        }
    }

    fn is_up(&self) -> bool {
        self.line.is_up()
    }
}

impl Line {
    fn up() -> Self {
        let (status, _) = watch::channel(BusStatus::Up);
        let (losses, _) = watch::channel(0);
        Self {
            status,
            losses,
            down: Mutex::new(None),
        }
    }

    fn is_up(&self) -> bool {
        *self.status.borrow() == BusStatus::Up
    }
}

impl State {
    /// Applies the injected fault. `false` when nobody listens, which only a request notices.
    fn send(&mut self, message: Message) -> bool {
        self.listeners
            .retain(|listener| !listener.queue.is_closed());
        let heard = self
            .listeners
            .iter()
            .any(|listener| listener.pattern.matches(message.subject));
        let fault = match &mut self.judge {
            Some(judge) => judge(message.subject),
            None => Fault::None,
        };
        match fault {
            Fault::None => self.deliver(&message),
            Fault::Duplicate => {
                self.deliver(&message);
                self.deliver(&message);
            }
            Fault::Hold if self.held.len() < HELD_MESSAGES_MAX => self.held.push(message),
            Fault::Lose | Fault::Hold => {}
        }
        heard
    }

    fn deliver(&self, message: &Message) {
        let hearing = self
            .listeners
            .iter()
            .filter(|listener| listener.pattern.matches(message.subject) && listener.line.is_up());
        for listener in hearing {
            let delivery = Delivery {
                subject: message.subject,
                payload: message.payload.clone(),
                trace: message.trace.clone(),
                reply: message.reply.clone(),
            };
            match listener.queue.try_send(delivery) {
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
                Err(mpsc::error::TrySendError::Full(_)) => {
                    listener.dropped.fetch_add(1, Ordering::Relaxed);
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("listeners", &self.listeners)
            .field("faulty", &self.judge.is_some())
            .field("held", &self.held.len())
            .field("dropped", &self.dropped)
            .finish()
    }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn publish(
        &self,
        subject: Subject,
        payload: Bytes,
        trace: Option<TraceContext>,
    ) -> Result<(), PublishError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(PublishError::TooLarge {
                bytes: payload.len(),
            });
        }
        if !self.is_up() {
            return Err(PublishError::Unavailable("taken down".to_owned()));
        }
        self.shared.state.lock().send(Message {
            subject,
            payload,
            trace,
            reply: None,
        });
        Ok(())
    }

    async fn subscribe(
        &self,
        pattern: SubjectPattern,
        capacity: usize,
    ) -> Result<Subscription, SubscribeError> {
        if !self.is_up() {
            return Err(SubscribeError::Unavailable("taken down".to_owned()));
        }
        let (queue, deliveries) = mpsc::channel(capacity.max(1));
        let dropped = Arc::new(AtomicU64::new(0));
        let mut state = self.shared.state.lock();
        state
            .listeners
            .retain(|listener| !listener.queue.is_closed());
        state.listeners.push(Listener {
            pattern,
            queue,
            dropped: Arc::clone(&dropped),
            line: Arc::clone(&self.line),
        });
        Ok(Subscription {
            deliveries,
            dropped,
            _guard: None,
        })
    }

    async fn request(
        &self,
        subject: Subject,
        payload: Bytes,
        deadline: Duration,
        trace: Option<TraceContext>,
    ) -> Result<Bytes, RequestError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            let error = PublishError::TooLarge {
                bytes: payload.len(),
            };
            return Err(RequestError::NotSent(error.to_string()));
        }
        // Before anything is sent, so that no loss after that is missed.
        let mut losses = self.line.losses.subscribe();
        if !self.is_up() {
            return Err(RequestError::NotSent("taken down".to_owned()));
        }
        let (answer, answered) = oneshot::channel();
        // Held here until the deadline: a request that everybody throws away is answered by nobody, not refused.
        let slot = Arc::new(Mutex::new(Some(answer)));
        let heard = self.shared.state.lock().send(Message {
            subject,
            payload,
            trace,
            reply: Some(ReplyTo(ReplyAddress::Memory(Arc::clone(&slot)))),
        });
        if !heard {
            return Err(RequestError::NoResponder);
        }
        let waiting = async {
            tokio::select! {
                biased;
                answer = answered => answer.ok(),
                _lost = losses.changed() => None,
            }
        };
        match tokio::time::timeout(deadline, waiting).await {
            Ok(Some(payload)) => Ok(payload),
            Ok(None) | Err(_) => Err(RequestError::TimedOut),
        }
    }

    async fn reply(&self, to: ReplyTo, payload: Bytes) -> Result<(), PublishError> {
        let ReplyAddress::Memory(slot) = to.0 else {
            return Err(PublishError::Unavailable(
                "the request came over another bus".to_owned(),
            ));
        };
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(PublishError::TooLarge {
                bytes: payload.len(),
            });
        }
        if !self.is_up() {
            return Err(PublishError::Unavailable("taken down".to_owned()));
        }
        let asker = slot.lock().take();
        if let Some(asker) = asker {
            // The asker may have given up; an answer that nobody waits for is lost on a real bus, too.
            drop(asker.send(payload));
        }
        Ok(())
    }

    async fn flush(&self) -> Result<(), PublishError> {
        if self.is_up() {
            Ok(())
        } else {
            Err(PublishError::Unavailable("taken down".to_owned()))
        }
    }

    fn status(&self) -> watch::Receiver<BusStatus> {
        self.line.status.subscribe()
    }

    fn silent_for(&self) -> Duration {
        self.line
            .down
            .lock()
            .map_or(Duration::ZERO, |down| down.elapsed())
    }

    fn usage(&self) -> BusUse {
        BusUse {
            dropped: self.shared.state.lock().dropped.load(Ordering::Relaxed),
            ..BusUse::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use hubbub_domain::position::PartitionId;

    use super::*;

    const EVENTS: Subject = Subject::Events(PartitionId::new(3));

    async fn send(bus: &MemoryBus, text: &'static str) {
        bus.publish(EVENTS, Bytes::from_static(text.as_bytes()), None)
            .await
            .expect("is up");
    }

    /// What waits in the queue, without waiting: everything in this bus happens before `publish` returns.
    fn waiting(subscription: &mut Subscription) -> Vec<Bytes> {
        let mut payloads = Vec::new();
        while let Ok(delivery) = subscription.deliveries.try_recv() {
            payloads.push(delivery.payload);
        }
        payloads
    }

    #[tokio::test]
    async fn a_lost_message_is_lost_and_a_duplicated_one_comes_twice() {
        let bus = MemoryBus::new();
        let mut heard = bus
            .subscribe(SubjectPattern::AllEvents, 16)
            .await
            .expect("is up");
        let mut faults = [Fault::Lose, Fault::Duplicate, Fault::None].into_iter();
        bus.inject(move |_| faults.next().unwrap_or(Fault::None));
        for text in ["lost", "twice", "once"] {
            send(&bus, text).await;
        }
        assert_eq!(waiting(&mut heard), ["twice", "twice", "once"]);
    }

    #[tokio::test]
    async fn a_held_message_arrives_on_release_after_later_ones() {
        let bus = MemoryBus::new();
        let mut heard = bus
            .subscribe(SubjectPattern::AllEvents, 16)
            .await
            .expect("is up");
        bus.inject(|_| Fault::Hold);
        send(&bus, "held").await;
        bus.heal();
        send(&bus, "later").await;
        assert_eq!(waiting(&mut heard), ["later"]);
        assert_eq!(bus.release_held(), 1);
        assert_eq!(waiting(&mut heard), ["held"]);
    }

    #[tokio::test]
    async fn a_bus_that_is_down_refuses_and_says_that_nothing_was_sent() {
        let bus = MemoryBus::new();
        let _listening = bus
            .subscribe(SubjectPattern::One(EVENTS), 16)
            .await
            .expect("is up");
        let mut status = bus.status();
        bus.set_status(BusStatus::Down);
        status.changed().await.expect("the bus lives");
        assert_eq!(*status.borrow_and_update(), BusStatus::Down);
        let payload = Bytes::from_static(b"x");
        assert!(matches!(
            bus.publish(EVENTS, payload.clone(), None).await,
            Err(PublishError::Unavailable(_))
        ));
        assert!(matches!(
            bus.request(EVENTS, payload, Duration::from_mins(1), None)
                .await,
            Err(RequestError::NotSent(_))
        ));
        assert!(matches!(
            bus.subscribe(SubjectPattern::AllEvents, 1).await,
            Err(SubscribeError::Unavailable(_))
        ));
        assert!(bus.flush().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn one_line_is_cut_and_the_others_go_on() {
        let bus = MemoryBus::new();
        let cut = bus.another_line();
        let mut here = bus
            .subscribe(SubjectPattern::AllEvents, 16)
            .await
            .expect("is up");
        let mut there = cut
            .subscribe(SubjectPattern::AllEvents, 16)
            .await
            .expect("is up");
        cut.set_status(BusStatus::Down);
        send(&bus, "unheard there").await;
        // In virtual time.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(cut.silent_for(), Duration::from_secs(3));
        assert_eq!(bus.silent_for(), Duration::ZERO);
        assert!(cut.publish(EVENTS, Bytes::new(), None).await.is_err());
        cut.set_status(BusStatus::Up);
        assert_eq!(cut.silent_for(), Duration::ZERO);
        send(&cut, "heard").await;
        assert_eq!(waiting(&mut here), ["unheard there", "heard"]);
        assert_eq!(waiting(&mut there), ["heard"]);
    }

    #[tokio::test]
    async fn a_request_does_not_outlive_the_line_it_was_sent_over() {
        let bus = MemoryBus::new();
        let cut = bus.another_line();
        let _listening = bus
            .subscribe(SubjectPattern::One(EVENTS), 16)
            .await
            .expect("is up");
        let hours = Duration::from_hours(1);
        let asking = cut.request(EVENTS, Bytes::from_static(b"?"), hours, None);
        let blink = async {
            cut.set_status(BusStatus::Down);
            cut.set_status(BusStatus::Up);
        };
        let both = async { tokio::join!(asking, blink) };
        let (answer, ()) = tokio::time::timeout(hubbub_testkit::wait::DEADLINE, both)
            .await
            .expect("ends early");
        assert!(matches!(answer, Err(RequestError::TimedOut)), "{answer:?}");
    }

    #[tokio::test]
    async fn a_lost_request_times_out_instead_of_being_refused() {
        let bus = MemoryBus::new();
        let _listening = bus
            .subscribe(SubjectPattern::One(EVENTS), 16)
            .await
            .expect("is up");
        bus.inject(|_| Fault::Lose);
        let answer = bus
            .request(
                EVENTS,
                Bytes::from_static(b"?"),
                Duration::from_millis(10),
                None,
            )
            .await;
        assert!(matches!(answer, Err(RequestError::TimedOut)), "{answer:?}");
    }
}

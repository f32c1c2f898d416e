//! Lines that go, as the bus of a node sees them: before it has heard of it, and for long.

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use hubbub_bus::{BusStatus, PublishError, ReplyTo, RequestError, SubscribeError, Subscription};
use hubbub_telemetry::Metrics;
use tokio::sync::watch;
use tokio::time::Instant;

use super::*;

/// The in-memory bus behind a client that notices later than it happens, and that counts what it is asked.
struct Line {
    bus: MemoryBus,
    /// So many answers fail although the status still says that the bus is up.
    unnoticed: AtomicU32,
    requests: AtomicU32,
}

impl Line {
    fn of(bus: &MemoryBus, unnoticed: u32) -> Arc<Self> {
        Arc::new(Self {
            bus: bus.another_line(),
            unnoticed: AtomicU32::new(unnoticed),
            requests: AtomicU32::new(0),
        })
    }
}

#[async_trait]
impl Bus for Line {
    async fn publish(
        &self,
        subject: Subject,
        payload: Bytes,
        trace: Option<TraceContext>,
    ) -> Result<(), PublishError> {
        self.bus.publish(subject, payload, trace).await
    }

    async fn subscribe(
        &self,
        pattern: SubjectPattern,
        capacity: usize,
    ) -> Result<Subscription, SubscribeError> {
        self.bus.subscribe(pattern, capacity).await
    }

    async fn request(
        &self,
        subject: Subject,
        payload: Bytes,
        deadline: Duration,
        trace: Option<TraceContext>,
    ) -> Result<Bytes, RequestError> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        self.bus.request(subject, payload, deadline, trace).await
    }

    async fn reply(&self, to: ReplyTo, payload: Bytes) -> Result<(), PublishError> {
        let fails = self
            .unnoticed
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        if fails.is_ok() {
            return Err(PublishError::Unavailable("not connected".to_owned()));
        }
        self.bus.reply(to, payload).await
    }

    async fn flush(&self) -> Result<(), PublishError> {
        self.bus.flush().await
    }

    fn status(&self) -> watch::Receiver<BusStatus> {
        self.bus.status()
    }

    fn silent_for(&self) -> Duration {
        self.bus.silent_for()
    }
}

/// The status falls only when the client has told of the loss: in between it says "up", and an answer cannot be sent all the same.
#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_a_line_whose_loss_is_not_known_yet() {
    let bus = MemoryBus::new();
    let (tasks, view) = (TaskTracker::new(), Arc::new(OwnersView::new(PARTITIONS)));
    let there = Host::answering([OwnerReply::Accepted(accepted(How::Stored))]);
    let server = CommandServer {
        me: incarnation(2),
        bus: Line::of(&bus, 3),
        local: there.clone(),
        lease: held(),
        view: Arc::clone(&view),
        metrics: None,
    };
    serve_commands(server, &tasks, CancellationToken::new())
        .await
        .unwrap();
    view.learn(partition(), Epoch::new(3), Some(incarnation(2)));
    let here = Host::answering([OwnerReply::Unknown]);
    let router = Router::new(incarnation(1), view, here, Arc::new(bus), held());
    let begun = Instant::now();
    let answer = router.submit(command(), false, DEADLINE, None).await;
    assert_eq!(answer, Ok(accepted(How::Stored)));
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(there.seen.lock().len(), 1, "nobody had to ask again");
}

#[tokio::test(start_paused = true)]
async fn an_open_command_waits_for_a_bus_that_is_away_and_does_not_ask_it_over_and_over() {
    let (bus, view) = (MemoryBus::new(), Arc::new(OwnersView::new(PARTITIONS)));
    let silent = SubjectPattern::One(Subject::Command(incarnation(2)));
    let _silent = bus.subscribe(silent, 16).await.unwrap();
    view.learn(partition(), Epoch::new(3), Some(incarnation(2)));
    let line = Line::of(&bus, 0);
    let metrics = Metrics::new().unwrap().cluster;
    let here = Host::answering([OwnerReply::Unknown]);
    let router =
        Router::new(incarnation(1), view, here, line.clone(), held()).reporting_to(metrics.clone());
    let (answer, ()) = tokio::join!(
        router.submit(command(), false, Duration::from_secs(4), None),
        async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            line.bus.set_status(BusStatus::Down);
        }
    );
    assert_eq!(answer, Err(SubmitError::UnknownOutcome));
    // The one that went out, and the one that found the line gone.
    assert_eq!(line.requests.load(Ordering::SeqCst), 2);
    assert_eq!(metrics.forwarded.get(), 1, "only one was sent");
}

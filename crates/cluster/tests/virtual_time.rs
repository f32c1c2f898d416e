//! Whole clusters in virtual time: several ownership loops over one log and one bus in memory, with lines that can be cut, a database clock that
//! can jump, and processes that die at a chosen step. A minute passes in milliseconds and every span is exact.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops where something is not as it must be"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hubbub_bus::memory::{Fault, MemoryBus};
use hubbub_bus::{BusStatus, Subject};
use hubbub_cluster::ownership::OwnershipSettings;
use hubbub_cluster::ownership::node::Phase;
use hubbub_cluster::{
    ClusterNode, Fate, HostEvent, Lease, LocalConversations, NodeOptions, OwnersView,
};
use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::{Epoch, Offset, PartitionCount, PartitionId};
use hubbub_domain::time::Timestamp;
use hubbub_event_log::{
    AcquireError, Acquired, Claim, ClusterMeta, LogReader, MemoryLog, NodeRegistration, NodeRow,
    NodeState, Ownership, PartitionRow, StoreError,
};
use hubbub_telemetry::TraceContext;
use hubbub_wire::bus::{CommandRequest, OwnerReply};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[path = "virtual_time/failover.rs"]
mod failover;
#[path = "virtual_time/stuck.rs"]
mod stuck;

const PARTITIONS: PartitionCount = PartitionCount::EMBEDDED;
const START_MS: i64 = 1_700_000_000_000;

fn incarnation(n: u128) -> Incarnation {
    Incarnation::from_uuid(Uuid::from_u128(n))
}

/// The line between one process and the database, and the life of the process.
#[derive(Debug, Default)]
struct Line {
    cut: AtomicBool,
    /// Heartbeats get through, looks do not.
    looks_fail: AtomicBool,
    /// Likewise, and nothing is heard of them.
    looks_hang: AtomicBool,
    /// The host never lets go of anything.
    holds_on: AtomicBool,
    /// Steps that the process still has to live, when it is to die at one.
    steps_left: Mutex<Option<usize>>,
    dead: AtomicBool,
    steps: AtomicUsize,
}

impl Line {
    /// One step of the process's work; a dead one never gets past.
    async fn step(&self) {
        self.steps.fetch_add(1, Ordering::SeqCst);
        if let Some(left) = self.steps_left.lock().as_mut() {
            if *left == 0 {
                self.dead.store(true, Ordering::SeqCst);
            }
            *left = left.saturating_sub(1);
        }
        self.live().await;
    }

    async fn live(&self) {
        if self.dead.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }

    async fn reach(&self) -> Result<(), StoreError> {
        self.live().await;
        if self.cut.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("cut".into()));
        }
        Ok(())
    }
}

/// The log as one process reaches it.
struct Store {
    log: Arc<MemoryLog>,
    timeline: Arc<AtomicU64>,
    line: Arc<Line>,
}

#[async_trait]
impl Ownership for Store {
    async fn init_cluster(&self, partitions: PartitionCount) -> Result<ClusterMeta, StoreError> {
        self.log.init_cluster(partitions).await
    }
    async fn register(&self, node: &NodeRegistration) -> Result<(), StoreError> {
        self.log.register(node).await
    }
    async fn heartbeat(
        &self,
        me: Incarnation,
        state: NodeState,
        nats_ok: bool,
    ) -> Result<bool, StoreError> {
        self.line.reach().await?;
        self.log.heartbeat(me, state, nats_ok).await
    }
    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        self.line.reach().await?;
        self.log.nodes().await
    }
    async fn partitions(&self) -> Result<Vec<PartitionRow>, StoreError> {
        self.line.reach().await?;
        if self.line.looks_hang.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.line.looks_fail.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("looks fail".into()));
        }
        self.log.partitions().await
    }
    async fn timeline(&self) -> Result<u64, StoreError> {
        self.line.reach().await?;
        Ok(self.timeline.load(Ordering::SeqCst))
    }
    async fn acquire(
        &self,
        me: Incarnation,
        claims: &[Claim],
        reason: &str,
    ) -> Result<Vec<Acquired>, AcquireError> {
        if self.line.reach().await.is_err() {
            return Err(AcquireError::Unavailable("cut".into()));
        }
        self.log.acquire(me, claims, reason).await
    }
    async fn release(
        &self,
        me: Incarnation,
        partitions: &[(PartitionId, Epoch)],
    ) -> Result<(), StoreError> {
        self.line.reach().await?;
        self.line.step().await;
        self.log.release(me, partitions).await?;
        self.line.step().await;
        Ok(())
    }
    async fn retire(&self, me: Incarnation) -> Result<(), StoreError> {
        self.line.reach().await?;
        self.line.step().await;
        self.log.retire(me).await
    }
}

/// Remembers what it serves and when it last stopped serving it.
struct Host {
    line: Arc<Line>,
    serving: Mutex<BTreeMap<PartitionId, Epoch>>,
    since: Mutex<BTreeMap<PartitionId, Instant>>,
    left: Mutex<BTreeMap<PartitionId, Instant>>,
}

impl Host {
    /// What the host does before it drops anything, also what it served before under an older epoch.
    async fn let_go(&self) {
        if self.line.holds_on.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }

    fn end(&self, partition: PartitionId) {
        if self.serving.lock().remove(&partition).is_some() {
            self.left.lock().insert(partition, Instant::now());
        }
    }
}

#[async_trait]
impl LocalConversations for Host {
    async fn handle(&self, _request: CommandRequest, _trace: Option<TraceContext>) -> OwnerReply {
        OwnerReply::Unknown
    }
    async fn serve(&self, partition: PartitionId, epoch: Epoch, _head: Offset) {
        self.line.live().await;
        self.let_go().await;
        self.serving.lock().insert(partition, epoch);
        self.since.lock().insert(partition, Instant::now());
    }
    async fn stop(&self, partition: PartitionId) {
        self.line.live().await;
        self.let_go().await;
        self.end(partition);
    }
    async fn drain(&self, partition: PartitionId, _patience: Duration) -> bool {
        self.line.step().await;
        self.let_go().await;
        self.end(partition);
        self.line.step().await;
        true
    }
}

struct World {
    log: Arc<MemoryLog>,
    bus: MemoryBus,
    /// Added to the database's clock, in milliseconds.
    skew: Arc<AtomicI64>,
    /// Which line of history the database writes.
    timeline: Arc<AtomicU64>,
    settings: OwnershipSettings,
}

struct Node {
    me: Incarnation,
    host: Arc<Host>,
    line: Arc<Line>,
    bus: MemoryBus,
    lease: Arc<Lease>,
    phase: watch::Receiver<Phase>,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<Fate>,
    _events: mpsc::Sender<HostEvent>,
}

impl World {
    async fn new() -> Self {
        let skew = Arc::new(AtomicI64::new(0));
        let (origin, skewed) = (Instant::now(), Arc::clone(&skew));
        let log = Arc::new(MemoryLog::new(move || {
            let passed = i64::try_from(origin.elapsed().as_millis()).unwrap();
            Timestamp::from_millis(START_MS + passed + skewed.load(Ordering::SeqCst))
        }));
        log.init_cluster(PARTITIONS).await.unwrap();
        Self {
            log,
            bus: MemoryBus::new(),
            skew,
            timeline: Arc::default(),
            settings: OwnershipSettings::default(),
        }
    }

    async fn node(&self, me: u128, name: &str) -> Node {
        let line = Arc::<Line>::default();
        let host = Arc::new(Host {
            line: Arc::clone(&line),
            serving: Mutex::default(),
            since: Mutex::default(),
            left: Mutex::default(),
        });
        let lease = Arc::<Lease>::default();
        let bus = self.bus.another_line();
        let options = NodeOptions {
            registration: NodeRegistration {
                incarnation: incarnation(me),
                node_id: name.to_owned(),
                addr: String::new(),
                max_level: 1,
            },
            heartbeat: Duration::from_secs(1),
            ownership: self.settings,
        };
        let node = ClusterNode::register(
            options,
            Arc::new(Store {
                log: Arc::clone(&self.log),
                timeline: Arc::clone(&self.timeline),
                line: Arc::clone(&line),
            }),
            host.clone(),
            Arc::new(bus.clone()),
            Arc::new(OwnersView::new(PARTITIONS)),
            Arc::clone(&lease),
        )
        .await
        .unwrap();
        let (events, events_in) = mpsc::channel(64);
        let cancel = CancellationToken::new();
        let phase = node.phases();
        Node {
            me: incarnation(me),
            host,
            line,
            bus,
            lease,
            phase,
            task: tokio::spawn(node.run(events_in, cancel.clone())),
            cancel,
            _events: events,
        }
    }

    /// Two nodes that have shared the partitions between them.
    async fn pair(&self) -> (Node, Node) {
        let one = self.node(1, "one").await;
        one.serves(16).await;
        let two = self.node(2, "two").await;
        until(async || one.count() == 8 && two.count() == 8).await;
        // Long enough for each to have seen the other well.
        sleep(Duration::from_secs(20)).await;
        (one, two)
    }

    async fn epochs(&self) -> Vec<PartitionRow> {
        self.log.partitions().await.unwrap()
    }

    /// When and why ownership changed, over all partitions, since the world began.
    async fn changes(&self) -> Vec<(i64, String)> {
        let mut changes = Vec::new();
        for partition in PARTITIONS.all() {
            let lineage = self.log.lineage(partition).await.unwrap();
            changes.extend(
                lineage
                    .into_iter()
                    .map(|entry| (entry.at.millis(), entry.reason)),
            );
        }
        changes.sort();
        changes
    }
}

impl Node {
    fn count(&self) -> usize {
        self.host.serving.lock().len()
    }

    async fn serves(&self, count: usize) {
        until(async || self.count() == count).await;
    }

    fn cut_bus(&self, cut: bool) {
        self.bus
            .set_status(if cut { BusStatus::Down } else { BusStatus::Up });
    }

    fn cut_database(&self, cut: bool) {
        self.line.cut.store(cut, Ordering::SeqCst);
    }

    /// Ends like a process that is killed: nothing is said any more.
    fn kill(&self) {
        self.line.dead.store(true, Ordering::SeqCst);
        self.task.abort();
    }

    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }
}

/// Virtual time passes until the condition holds; ten minutes are for ever.
async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < Duration::from_mins(10), "in vain");
        sleep(Duration::from_millis(5)).await;
    }
}

/// The longest time that a partition was served by nobody between `from` and `to`.
fn gap(from: &Node, to: &Node) -> Duration {
    let left = from.host.left.lock();
    let since = to.host.since.lock();
    left.iter()
        .filter_map(|(partition, left)| {
            Some(since.get(partition)?.saturating_duration_since(*left))
        })
        .max()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_killed_owner_is_taken_over_when_its_lease_ends_and_hardly_later() {
    // Wherever in the rhythm of the heartbeats it dies.
    for offset_ms in [0, 137, 400, 777, 990] {
        let world = World::new().await;
        let (one, two) = world.pair().await;
        sleep(Duration::from_millis(offset_ms)).await;
        two.kill();
        let killed = Instant::now();
        one.serves(16).await;
        let took = killed.elapsed();
        assert!(took <= Duration::from_millis(4_100), "{took:?}");
        assert!(took >= Duration::from_secs(3), "not before: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_orderly_stop_leaves_no_gap_worth_the_name() {
    let world = World::new().await;
    let (one, two) = world.pair().await;
    two.cancel.cancel();
    one.serves(16).await;
    let gap = gap(&two, &one);
    assert!(gap <= Duration::from_millis(50), "{gap:?}");
    assert_eq!(two.task.await.unwrap(), Fate::Stopped);
    let reasons: Vec<String> = world
        .changes()
        .await
        .into_iter()
        .map(|(_, why)| why)
        .collect();
    assert!(!reasons.contains(&"takeover".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_whose_hints_are_lost_is_seen_in_the_rows() {
    let world = World::new().await;
    let (one, two) = world.pair().await;
    world.bus.inject(|subject| {
        if subject == Subject::Ownership {
            Fault::Lose
        } else {
            Fault::None
        }
    });
    two.cancel.cancel();
    one.serves(16).await;
    let gap = gap(&two, &one);
    assert!(gap <= Duration::from_millis(1_100), "{gap:?}");
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_point_of_a_hand_over_equals_a_takeover() {
    let mut points = 0;
    loop {
        let world = World::new().await;
        let (one, two) = world.pair().await;
        let before = world.epochs().await;
        *two.line.steps_left.lock() = Some(points);
        two.cancel.cancel();
        sleep(Duration::from_secs(8)).await;
        assert_eq!(one.count(), 16, "crashed at step {points}");
        let rows = world.epochs().await;
        for (row, old) in rows.iter().zip(&before) {
            assert_eq!(row.owner, Some(one.me), "crashed at step {points}");
            assert_eq!(one.host.serving.lock()[&row.partition], row.epoch);
            if old.owner == Some(two.me) {
                assert!(row.epoch > old.epoch, "under a newer epoch");
            } else {
                assert_eq!(row.epoch, old.epoch, "its own were not touched");
            }
        }
        if !two.line.dead.load(Ordering::SeqCst) {
            break;
        }
        points += 1;
    }
    assert!(
        points >= 18,
        "eight drains, releases, a retirement: {points}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_blind_owner_hands_over_within_the_promise_and_comes_back_late() {
    let world = World::new().await;
    let (one, two) = world.pair().await;
    two.cut_bus(true);
    let cut = Instant::now();
    one.serves(16).await;
    let took = cut.elapsed();
    assert!(took <= Duration::from_secs(4), "P7 allows six: {took:?}");
    assert!(gap(&two, &one) <= Duration::from_millis(300));
    assert_eq!((two.phase(), two.count()), (Phase::Blind, 0));
    // It is one of the cluster again when the line has held for a while, and gets its share back.
    two.cut_bus(false);
    sleep(Duration::from_secs(9)).await;
    assert_eq!(two.phase(), Phase::Blind);
    until(async || two.phase() == Phase::Active).await;
    two.serves(8).await;
}

#[tokio::test(start_paused = true)]
async fn when_the_bus_is_away_for_all_nothing_moves() {
    let world = World::new().await;
    let (one, two) = world.pair().await;
    let before = world.epochs().await;
    one.cut_bus(true);
    // The second one notices up to a probe later.
    sleep(Duration::from_millis(500)).await;
    two.cut_bus(true);
    sleep(Duration::from_mins(1)).await;
    assert_eq!((one.phase(), two.phase()), (Phase::Blind, Phase::Blind));
    assert_eq!((one.count(), two.count()), (8, 8), "they serve on");
    one.cut_bus(false);
    sleep(Duration::from_secs(4)).await;
    two.cut_bus(false);
    until(async || two.phase() == Phase::Active).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(world.epochs().await, before);
}

#[tokio::test(start_paused = true)]
async fn a_flapping_bus_makes_no_ping_pong() {
    let world = World::new().await;
    let (_one, two) = world.pair().await;
    let before = world.changes().await.len();
    for _ in 0..75 {
        two.cut_bus(true);
        sleep(Duration::from_secs(2)).await;
        two.cut_bus(false);
        sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(
        world.changes().await.len(),
        before,
        "two seconds are a blink"
    );
    // Longer ones: one hand-over, and it stays there.
    for _ in 0..40 {
        two.cut_bus(true);
        sleep(Duration::from_secs(4)).await;
        two.cut_bus(false);
        sleep(Duration::from_secs(4)).await;
    }
    assert_eq!(world.changes().await.len(), before + 8);
}

#[tokio::test(start_paused = true)]
async fn a_flapping_line_to_the_database_moves_partitions_at_most_every_ten_seconds() {
    for (away, back) in [(2, 2), (5, 2), (6, 5)] {
        let world = World::new().await;
        let (_one, two) = world.pair().await;
        let before = world.changes().await.len();
        for _ in 0..300 / (away + back) {
            two.cut_database(true);
            sleep(Duration::from_secs(away)).await;
            two.cut_database(false);
            sleep(Duration::from_secs(back)).await;
        }
        let changes = world.changes().await;
        let mut moments: Vec<i64> = changes
            .into_iter()
            .skip(before)
            .filter(|(_, why)| why == "takeover")
            .map(|(at, _)| at / 1_000)
            .collect();
        moments.dedup();
        let bursts = moments
            .iter()
            .zip(moments.iter().skip(1))
            .all(|(one, next)| next - one >= 10);
        assert!(
            bursts,
            "{away} s away, {back} s back: takeovers at {moments:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_database_outage_wedges_everybody_and_moves_nothing() {
    let world = World::new().await;
    let (one, two) = world.pair().await;
    let owners =
        |rows: Vec<PartitionRow>| rows.into_iter().map(|row| row.owner).collect::<Vec<_>>();
    let before = owners(world.epochs().await);
    world.log.set_unavailable(true);
    let lost = Instant::now();
    until(async || one.phase() == Phase::Wedged && two.phase() == Phase::Wedged).await;
    assert!(
        lost.elapsed() <= Duration::from_millis(5_300),
        "{:?}",
        lost.elapsed()
    );
    until(async || one.count() == 0 && two.count() == 0).await;
    assert!(!one.lease.is_fresh());
    sleep(Duration::from_secs(30)).await;
    world.log.set_unavailable(false);
    let back = Instant::now();
    until(async || one.count() == 8 && two.count() == 8).await;
    assert!(
        back.elapsed() <= Duration::from_secs(1),
        "{:?}",
        back.elapsed()
    );
    sleep(Duration::from_secs(30)).await;
    assert_eq!(owners(world.epochs().await), before);
    assert_eq!((one.phase(), two.phase()), (Phase::Active, Phase::Active));
}

#[tokio::test(start_paused = true)]
async fn an_owner_without_database_is_replaced_and_drops_what_it_lost() {
    let world = World::new().await;
    let (one, two) = world.pair().await;
    two.cut_database(true);
    let cut = Instant::now();
    one.serves(16).await;
    assert!(
        cut.elapsed() <= Duration::from_millis(4_100),
        "{:?}",
        cut.elapsed()
    );
    until(async || two.count() == 0).await;
    assert!(
        cut.elapsed() <= Duration::from_millis(5_300),
        "{:?}",
        cut.elapsed()
    );
    assert!(!two.lease.is_fresh(), "it says nothing any more");
}

#[tokio::test(start_paused = true)]
async fn a_database_clock_that_jumps_moves_nothing() {
    let world = World::new().await;
    let (one, two) = world.pair().await;
    let before = world.epochs().await;
    for skew_ms in [300_000, 0, 3_600_000, 0, -3_600_000, 0] {
        world.skew.store(skew_ms, Ordering::SeqCst);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(world.epochs().await, before, "clock at {skew_ms} ms");
        assert_eq!((one.count(), two.count()), (8, 8));
    }
}

#[tokio::test(start_paused = true)]
async fn a_database_clock_that_is_set_back_keeps_no_dead_node_alive() {
    let world = World::new().await;
    let (one, two) = world.pair().await;
    two.kill();
    world.skew.store(-3_600_000, Ordering::SeqCst);
    let killed = Instant::now();
    one.serves(16).await;
    assert!(
        killed.elapsed() <= Duration::from_secs(9),
        "{:?}",
        killed.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_that_joins_waits_and_is_filled_at_a_bounded_rate() {
    let world = World::new().await;
    let one = world.node(1, "one").await;
    one.serves(16).await;
    sleep(Duration::from_secs(20)).await;
    let two = world.node(2, "two").await;
    sleep(Duration::from_millis(14_900)).await;
    assert_eq!((two.phase(), two.count()), (Phase::Joining, 0));
    until(async || two.count() > 0).await;
    let filled = Instant::now();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(two.count(), 4, "a quarter of all in ten seconds");
    until(async || two.count() == 8).await;
    assert!(filled.elapsed() >= Duration::from_secs(9));
    assert!(gap(&one, &two) <= Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn nodes_that_roll_one_after_another_hand_over_and_never_expire() {
    let world = World::new().await;
    let (mut one, mut two) = world.pair().await;
    let mut worst = Duration::ZERO;
    for round in 0..3_u128 {
        two.cancel.cancel();
        one.serves(16).await;
        worst = worst.max(gap(&two, &one));
        assert_eq!(two.task.await.unwrap(), Fate::Stopped);
        two = one;
        one = world
            .node(10 + round, if round % 2 == 0 { "two" } else { "one" })
            .await;
        until(async || one.count() == 8).await;
    }
    assert!(worst <= Duration::from_millis(50), "{worst:?}");
    let changes = world.changes().await;
    assert!(
        changes.iter().all(|(_, why)| why != "takeover"),
        "{changes:?}"
    );
}

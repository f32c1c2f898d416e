//! The router and the ownership loop over the in-memory log and bus, with an actor host that only remembers what it was told.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops where something is not as it must be"
)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hubbub_bus::Bus;
use hubbub_bus::memory::MemoryBus;
use hubbub_cluster::ownership::OwnershipSettings;
use hubbub_cluster::server::{CommandServer, serve_commands};
use hubbub_cluster::{
    ClusterNode, CommandRouter, Fate, HostEvent, Lease, LocalConversations, NodeOptions,
    OwnersView, PartitionSignal, Router, SubmitError,
};
use hubbub_domain::conversation::{Command, Intent, Rejection};
use hubbub_domain::ids::{CommandId, ConversationId, Incarnation, UserId};
use hubbub_domain::position::{Epoch, MessageNo, Offset, PartitionCount, PartitionId, Seq};
use hubbub_domain::time::Timestamp;
use hubbub_event_log::{Claim, ManualClock, MemoryLog, NodeRegistration, Ownership};
use hubbub_telemetry::TraceContext;
use hubbub_testkit::wait::{DEADLINE, eventually};
use hubbub_wire::bus::{Accepted, CommandRequest, How, OwnerReply};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

const PARTITIONS: PartitionCount = PartitionCount::EMBEDDED;

fn incarnation(n: u128) -> Incarnation {
    Incarnation::from_uuid(Uuid::from_u128(n))
}

/// Answers from a script, the last answer for ever; remembers requests and what it serves.
struct Host {
    script: Mutex<VecDeque<OwnerReply>>,
    seen: Mutex<Vec<CommandRequest>>,
    serving: Mutex<BTreeMap<PartitionId, Epoch>>,
}

impl Host {
    fn answering(script: impl IntoIterator<Item = OwnerReply>) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(script.into_iter().collect()),
            seen: Mutex::default(),
            serving: Mutex::default(),
        })
    }

    fn serving(&self) -> usize {
        self.serving.lock().len()
    }
}

#[async_trait]
impl LocalConversations for Host {
    async fn handle(&self, request: CommandRequest, _trace: Option<TraceContext>) -> OwnerReply {
        self.seen.lock().push(request);
        let mut script = self.script.lock();
        if script.len() > 1 {
            script.pop_front().unwrap()
        } else {
            script.front().cloned().unwrap()
        }
    }

    async fn serve(&self, partition: PartitionId, epoch: Epoch, _head: Offset) {
        self.serving.lock().insert(partition, epoch);
    }

    async fn stop(&self, partition: PartitionId) {
        self.serving.lock().remove(&partition);
    }

    async fn drain(&self, partition: PartitionId, _patience: Duration) -> bool {
        self.serving.lock().remove(&partition);
        true
    }
}

fn command() -> Command {
    let user = UserId::from_uuid(Uuid::from_u128(7));
    Command {
        id: CommandId::from_uuid(Uuid::from_u128(9)),
        conversation: ConversationId::from_uuid(Uuid::from_u128(11)),
        by: user,
        intent: Intent::SendMessage {
            body: "hello".into(),
            reply_to_no: None,
            thread_root_no: None,
        },
    }
}

fn partition() -> PartitionId {
    PARTITIONS.partition_of(command().conversation)
}

fn accepted(how: How) -> Accepted {
    Accepted {
        conversation: command().conversation,
        epoch: Epoch::new(3),
        seq: Seq::new(5),
        message_no: Some(MessageNo::new(4)),
        at: Timestamp::from_millis(1),
        how,
    }
}

/// A lease that was just renewed.
fn held() -> Arc<Lease> {
    let lease = Lease::default();
    lease.renew(tokio::time::Instant::now());
    Arc::new(lease)
}

const SHORT: Duration = Duration::from_millis(300);

mod router {
    use super::*;

    struct Net {
        bus: Arc<MemoryBus>,
        view: Arc<OwnersView>,
        tasks: TaskTracker,
    }

    impl Net {
        fn new() -> Self {
            Self {
                bus: Arc::new(MemoryBus::new()),
                view: Arc::new(OwnersView::new(PARTITIONS)),
                tasks: TaskTracker::new(),
            }
        }

        async fn node(&self, me: u128, host: &Arc<Host>) -> Router {
            let (bus, local): (Arc<dyn Bus>, Arc<dyn LocalConversations>) =
                (self.bus.clone(), host.clone());
            let server = CommandServer {
                me: incarnation(me),
                bus: bus.clone(),
                local: local.clone(),
                lease: held(),
                view: Arc::new(OwnersView::new(PARTITIONS)),
                metrics: None,
            };
            serve_commands(server, &self.tasks, CancellationToken::new())
                .await
                .unwrap();
            Router::new(incarnation(me), Arc::clone(&self.view), local, bus, held())
        }
    }

    #[tokio::test]
    async fn a_command_goes_to_the_owner_on_another_node() {
        let net = Net::new();
        let here = Host::answering([OwnerReply::Unknown]);
        let there = Host::answering([OwnerReply::Accepted(accepted(How::Stored))]);
        let router = net.node(1, &here).await;
        net.node(2, &there).await;
        net.view
            .learn(partition(), Epoch::new(3), Some(incarnation(2)));
        let stored = router
            .submit(command(), false, DEADLINE, None)
            .await
            .unwrap();
        assert_eq!(stored, accepted(How::Stored));
        assert!(here.seen.lock().is_empty());
        let seen = there.seen.lock().clone();
        assert_eq!(
            (seen[0].partition, seen[0].epoch, seen[0].retry),
            (partition(), Epoch::new(3), false)
        );
    }

    #[tokio::test]
    async fn a_wrong_owner_with_a_hint_leads_to_the_right_one() {
        let net = Net::new();
        let hint = Some((incarnation(2), Epoch::new(4)));
        let here = Host::answering([OwnerReply::WrongOwner { hint }]);
        let there = Host::answering([OwnerReply::Accepted(accepted(How::Stored))]);
        let router = net.node(1, &here).await;
        net.node(2, &there).await;
        net.view
            .learn(partition(), Epoch::new(3), Some(incarnation(1)));
        assert!(
            router
                .submit(command(), false, DEADLINE, None)
                .await
                .is_ok()
        );
        assert_eq!(net.view.owner(partition()), hint);
    }

    #[tokio::test]
    async fn an_open_attempt_is_repeated_as_a_repetition_until_it_is_definite() {
        let net = Net::new();
        let host = Host::answering([
            OwnerReply::Unknown,
            OwnerReply::Accepted(accepted(How::Duplicate)),
        ]);
        let router = net.node(1, &host).await;
        net.view
            .learn(partition(), Epoch::new(3), Some(incarnation(1)));
        assert_eq!(
            router
                .submit(command(), false, DEADLINE, None)
                .await
                .unwrap()
                .how,
            How::Duplicate
        );
        let retries: Vec<bool> = host
            .seen
            .lock()
            .iter()
            .map(|request| request.retry)
            .collect();
        assert_eq!(retries, [false, true]);
    }

    #[tokio::test]
    async fn an_attempt_that_stays_open_is_unknown_never_failed() {
        let net = Net::new();
        let host = Host::answering([
            OwnerReply::Unknown,
            OwnerReply::Busy { retry_after_ms: 1 },
            OwnerReply::StorageFull,
            OwnerReply::Unavailable { retry_after_ms: 1 },
        ]);
        let router = net.node(1, &host).await;
        net.view
            .learn(partition(), Epoch::new(3), Some(incarnation(1)));
        assert_eq!(
            router.submit(command(), false, SHORT, None).await,
            Err(SubmitError::UnknownOutcome)
        );
    }

    #[tokio::test]
    async fn without_an_owner_the_answer_is_unavailable_as_nothing_was_handed_over() {
        let net = Net::new();
        let host = Host::answering([OwnerReply::Unknown]);
        let router = net.node(1, &host).await;
        let refused = router.submit(command(), false, SHORT, None).await;
        assert!(
            matches!(refused, Err(SubmitError::Unavailable { .. })),
            "{refused:?}"
        );
        // An owner that nobody reaches is as good as none.
        net.view
            .learn(partition(), Epoch::new(3), Some(incarnation(77)));
        let refused = router.submit(command(), false, SHORT, None).await;
        assert!(
            matches!(refused, Err(SubmitError::Unavailable { .. })),
            "{refused:?}"
        );
        assert_eq!(net.view.owner(partition()), None);
        assert!(host.seen.lock().is_empty());
    }

    #[tokio::test]
    async fn a_waiting_command_finds_the_owner_that_appears() {
        let net = Net::new();
        let host = Host::answering([OwnerReply::Accepted(accepted(How::Stored))]);
        let router = net.node(1, &host).await;
        let view = Arc::clone(&net.view);
        let (stored, ()) = tokio::join!(
            router.submit(command(), false, DEADLINE, None),
            async move {
                tokio::task::yield_now().await;
                view.learn(partition(), Epoch::new(9), Some(incarnation(1)));
            }
        );
        assert!(stored.is_ok());
    }

    #[tokio::test]
    async fn without_a_fresh_lease_nobody_here_is_asked() {
        let net = Net::new();
        let host = Host::answering([OwnerReply::Rejected(Rejection::NotFound)]);
        let (bus, local): (Arc<dyn Bus>, Arc<dyn LocalConversations>) =
            (net.bus.clone(), host.clone());
        let stale = Arc::<Lease>::default();
        let server = CommandServer {
            me: incarnation(1),
            bus: bus.clone(),
            local: local.clone(),
            lease: Arc::clone(&stale),
            view: Arc::clone(&net.view),
            metrics: None,
        };
        serve_commands(server, &net.tasks, CancellationToken::new())
            .await
            .unwrap();
        net.view
            .learn(partition(), Epoch::new(3), Some(incarnation(1)));
        let here = Router::new(incarnation(1), Arc::clone(&net.view), local, bus, stale);
        // Over the bus as well: the other node's own lease says nothing about this one's.
        let elsewhere = net.node(2, &Host::answering([OwnerReply::Unknown])).await;
        for router in [here, elsewhere] {
            let refused = router.submit(command(), false, SHORT, None).await;
            assert!(
                matches!(refused, Err(SubmitError::Unavailable { .. })),
                "a definite answer from old state: {refused:?}"
            );
        }
        assert!(host.seen.lock().is_empty());
    }

    #[tokio::test]
    async fn a_rejection_is_definite_at_once() {
        let net = Net::new();
        let host = Host::answering([OwnerReply::Rejected(Rejection::NotFound)]);
        let router = net.node(1, &host).await;
        net.view
            .learn(partition(), Epoch::new(3), Some(incarnation(1)));
        let refused = router.submit(command(), false, DEADLINE, None).await;
        assert_eq!(refused, Err(SubmitError::Rejected(Rejection::NotFound)));
        assert_eq!(host.seen.lock().len(), 1);
    }
}

mod ownership {
    use super::*;

    struct World {
        log: Arc<MemoryLog>,
        clock: ManualClock,
        bus: Arc<MemoryBus>,
    }

    struct Running {
        host: Arc<Host>,
        view: Arc<OwnersView>,
        events: mpsc::Sender<HostEvent>,
        cancel: CancellationToken,
        task: tokio::task::JoinHandle<Fate>,
    }

    impl World {
        async fn new() -> Self {
            let clock = ManualClock::new(Timestamp::from_millis(1_700_000_000_000));
            let log = Arc::new(MemoryLog::with_clock(&clock));
            log.init_cluster(PARTITIONS).await.unwrap();
            Self {
                log,
                clock,
                bus: Arc::new(MemoryBus::new()),
            }
        }

        async fn node(&self, me: u128, name: &str) -> Running {
            let host = Host::answering([OwnerReply::Unknown]);
            let view = Arc::new(OwnersView::new(PARTITIONS));
            let (events, events_in) = mpsc::channel(64);
            let options = NodeOptions {
                registration: NodeRegistration {
                    incarnation: incarnation(me),
                    node_id: name.into(),
                    addr: String::new(),
                    max_level: 1,
                },
                heartbeat: Duration::from_millis(5),
                ownership: OwnershipSettings {
                    join_delay_ms: 0,
                    rebalance_percent: 100,
                    hold_off_ms: 0,
                },
            };
            let (store, local): (Arc<dyn Ownership>, Arc<dyn LocalConversations>) =
                (self.log.clone(), host.clone());
            let node = ClusterNode::register(
                options,
                store,
                local,
                self.bus.clone(),
                Arc::clone(&view),
                Arc::default(),
            )
            .await
            .unwrap();
            let cancel = CancellationToken::new();
            let task = tokio::spawn(node.run(events_in, cancel.clone()));
            Running {
                host,
                view,
                events,
                cancel,
                task,
            }
        }
    }

    async fn serves(node: &Running, count: usize) {
        eventually(
            DEADLINE,
            "the expected number of partitions is served",
            async || node.host.serving() == count,
        )
        .await;
    }

    #[tokio::test]
    async fn two_nodes_share_and_the_survivor_takes_over() {
        let world = World::new().await;
        let one = world.node(1, "one").await;
        serves(&one, 16).await;
        let two = world.node(2, "two").await;
        serves(&one, 8).await;
        serves(&two, 8).await;
        let epochs: BTreeMap<_, _> = two.host.serving.lock().clone();

        // A process that is killed says nothing any more; the others' heartbeats go on while the database's clock passes the lease.
        two.task.abort();
        let before = one.host.serving.lock().clone();
        eventually(DEADLINE, "everything is taken over", async || {
            world.clock.advance(Duration::from_millis(100));
            one.host.serving() == 16
        })
        .await;
        let after = one.host.serving.lock().clone();
        assert!(
            before
                .iter()
                .all(|(partition, epoch)| after[partition] == *epoch),
            "its own were not touched"
        );
        assert!(
            epochs
                .iter()
                .all(|(partition, epoch)| after[partition] > *epoch),
            "each under a newer epoch"
        );
        assert_eq!(one.view.count_owned_by(incarnation(1)), 16);
    }

    #[tokio::test]
    async fn an_orderly_stop_leaves_everything_to_the_other_at_once() {
        let world = World::new().await;
        let one = world.node(1, "one").await;
        serves(&one, 16).await;
        let two = world.node(2, "two").await;
        serves(&two, 8).await;
        two.cancel.cancel();
        assert_eq!(two.task.await.unwrap(), Fate::Stopped);
        assert_eq!(two.host.serving(), 0);
        serves(&one, 16).await;
    }

    #[tokio::test]
    async fn a_partition_in_doubt_is_served_again_under_a_newer_epoch() {
        let world = World::new().await;
        let one = world.node(1, "one").await;
        serves(&one, 16).await;
        let partition = PartitionId::new(3);
        let epoch = one.host.serving.lock().remove(&partition).unwrap();
        one.events
            .send(HostEvent {
                partition,
                epoch,
                signal: PartitionSignal::InDoubt,
            })
            .await
            .unwrap();
        serves(&one, 16).await;
        assert!(one.host.serving.lock()[&partition] > epoch);
        let lineage = hubbub_event_log::LogReader::lineage(&*world.log, partition)
            .await
            .unwrap();
        assert_eq!(lineage.last().unwrap().reason, "in_doubt");
    }

    #[tokio::test]
    async fn in_doubt_waits_for_the_store_to_come_back() {
        let world = World::new().await;
        let one = world.node(1, "one").await;
        serves(&one, 16).await;
        world.log.set_unavailable(true);
        let partition = PartitionId::new(5);
        let epoch = one.host.serving.lock().remove(&partition).unwrap();
        one.events
            .send(HostEvent {
                partition,
                epoch,
                signal: PartitionSignal::InDoubt,
            })
            .await
            .unwrap();
        world.log.set_unavailable(false);
        serves(&one, 16).await;
    }

    #[tokio::test]
    async fn an_acquire_whose_answer_was_lost_is_served_under_a_newer_epoch() {
        let world = World::new().await;
        let one = world.node(1, "one").await;
        serves(&one, 16).await;
        let partition = PartitionId::new(2);
        let epoch = one.host.serving.lock()[&partition];
        // The row names this node under an epoch that this node knows nothing of.
        let claim = Claim {
            partition,
            expected_owner: Some(incarnation(1)),
            expected_epoch: epoch,
        };
        let lost = world
            .log
            .acquire(incarnation(1), &[claim], "claim")
            .await
            .unwrap();
        assert_eq!(lost.len(), 1);
        eventually(
            DEADLINE,
            "the partition is served beyond the lost epoch",
            async || {
                one.host
                    .serving
                    .lock()
                    .get(&partition)
                    .is_some_and(|epoch| *epoch > lost[0].epoch)
            },
        )
        .await;
        serves(&one, 16).await;
    }

    #[tokio::test]
    async fn an_incarnation_that_was_replaced_ends() {
        let world = World::new().await;
        let old = world.node(1, "one").await;
        serves(&old, 16).await;
        let new = world.node(2, "one").await;
        assert_eq!(old.task.await.unwrap(), Fate::DeclaredDead);
        assert_eq!(old.host.serving(), 0);
        serves(&new, 16).await;
    }

    #[tokio::test]
    async fn a_contradiction_with_the_log_ends_the_node() {
        let world = World::new().await;
        let one = world.node(1, "one").await;
        serves(&one, 16).await;
        let partition = PartitionId::new(0);
        let epoch = one.host.serving.lock()[&partition];
        one.events
            .send(HostEvent {
                partition,
                epoch,
                signal: PartitionSignal::Broken,
            })
            .await
            .unwrap();
        assert_eq!(one.task.await.unwrap(), Fate::Broken);
        assert_eq!(one.host.serving(), 0);
    }
}

mod ranges {
    use hubbub_bus::Subject;
    use hubbub_cluster::ranges::{read_answer, serve_ranges};
    use hubbub_wire::bus::{EvBatch, RangeRequest};

    use super::*;

    /// Keeps the events of partition 3 from offset 6 on.
    struct Ring;

    #[async_trait]
    impl LocalConversations for Ring {
        async fn handle(
            &self,
            _request: CommandRequest,
            _trace: Option<TraceContext>,
        ) -> OwnerReply {
            OwnerReply::Unknown
        }
        async fn serve(&self, _partition: PartitionId, _epoch: Epoch, _head: Offset) {}
        async fn stop(&self, _partition: PartitionId) {}
        async fn drain(&self, _partition: PartitionId, _patience: Duration) -> bool {
            true
        }
        fn range(&self, request: RangeRequest) -> Option<EvBatch> {
            let held = request.partition == PartitionId::new(3) && request.after >= Offset::new(5);
            held.then(|| EvBatch {
                partition: request.partition,
                epoch: Epoch::new(9),
                base_offset: request.after.next(),
                events: Vec::new(),
            })
        }
    }

    #[tokio::test]
    async fn an_edge_is_answered_from_the_ring_or_told_to_read_the_log() {
        let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new());
        let tasks = TaskTracker::new();
        let cancel = CancellationToken::new();
        serve_ranges(
            incarnation(1),
            Arc::clone(&bus),
            Arc::new(Ring),
            &tasks,
            cancel.clone(),
        )
        .await
        .unwrap();
        let ask = async |after: u64| {
            let request = RangeRequest {
                partition: PartitionId::new(3),
                after: Offset::new(after),
                to: Offset::new(20),
            };
            let subject = Subject::Range(incarnation(1));
            bus.request(subject, request.encode(), DEADLINE, None)
                .await
                .unwrap()
        };
        let piece = read_answer(&ask(7).await).unwrap();
        assert_eq!(piece.base_offset, Offset::new(8));
        assert!(ask(4).await.is_empty(), "no longer in the ring");
        cancel.cancel();
        tasks.close();
        tasks.wait().await;
    }
}

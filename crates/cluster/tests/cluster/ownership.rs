//! The ownership loop over the in-memory log, in real time.

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

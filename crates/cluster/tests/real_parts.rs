//! The ownership loop on a real PostgreSQL and a real NATS server: the statements, the subject and the probe are the product's own.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops where something is not as it must be"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hubbub_bus::{NatsBus, NatsOptions};
use hubbub_cluster::ownership::OwnershipSettings;
use hubbub_cluster::ownership::node::Phase;
use hubbub_cluster::{ClusterNode, Fate, HostEvent, LocalConversations, NodeOptions, OwnersView};
use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::{Epoch, Offset, PartitionCount, PartitionId};
use hubbub_event_log::{LogReader, NodeRegistration, Ownership, PgLog, PgOptions};
use hubbub_telemetry::TraceContext;
use hubbub_testkit::nats::NatsServer;
use hubbub_testkit::pg::PgScratch;
use hubbub_testkit::proxy::TcpProxy;
use hubbub_testkit::wait::{DEADLINE, eventually};
use hubbub_wire::bus::{CommandRequest, OwnerReply};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

#[derive(Default)]
struct Host(Mutex<BTreeMap<PartitionId, Epoch>>);

#[async_trait]
impl LocalConversations for Host {
    async fn handle(&self, _request: CommandRequest, _trace: Option<TraceContext>) -> OwnerReply {
        OwnerReply::Unknown
    }
    async fn serve(&self, partition: PartitionId, epoch: Epoch, _head: Offset) {
        self.0.lock().insert(partition, epoch);
    }
    async fn stop(&self, partition: PartitionId) {
        self.0.lock().remove(&partition);
    }
    async fn drain(&self, partition: PartitionId, _patience: Duration) -> bool {
        self.0.lock().remove(&partition);
        true
    }
}

struct Node {
    host: Arc<Host>,
    log: PgLog,
    phase: watch::Receiver<Phase>,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<Fate>,
    _events: mpsc::Sender<HostEvent>,
}

async fn node(name: &str, database: &str, nats: &str) -> Node {
    let log = PgLog::open(PgOptions::new(database)).await.unwrap();
    log.init_cluster(PartitionCount::EMBEDDED).await.unwrap();
    let bus = NatsBus::connect(NatsOptions::new(nats, name))
        .await
        .unwrap();
    let host = Arc::<Host>::default();
    let options = NodeOptions {
        registration: NodeRegistration {
            incarnation: Incarnation::from_uuid(hubbub_testkit::fresh_uuid()),
            node_id: name.to_owned(),
            addr: String::new(),
            max_level: 1,
        },
        heartbeat: Duration::from_millis(500),
        ownership: OwnershipSettings {
            join_delay_ms: 0,
            rebalance_percent: 100,
            hold_off_ms: 0,
        },
    };
    let node = ClusterNode::register(
        options,
        Arc::new(log.clone()),
        host.clone(),
        Arc::new(bus),
        Arc::new(OwnersView::new(PartitionCount::EMBEDDED)),
        Arc::default(),
    )
    .await
    .unwrap();
    let (events, events_in) = mpsc::channel(64);
    let cancel = CancellationToken::new();
    let phase = node.phases();
    Node {
        host,
        log,
        phase,
        task: tokio::spawn(node.run(events_in, cancel.clone())),
        cancel,
        _events: events,
    }
}

async fn serves(node: &Node, count: usize) {
    eventually(DEADLINE, "the expected number is served", async || {
        node.host.0.lock().len() == count
    })
    .await;
}

async fn last_reasons(log: &PgLog) -> Vec<String> {
    let mut reasons = Vec::new();
    for partition in PartitionCount::EMBEDDED.all() {
        let lineage = log.lineage(partition).await.unwrap();
        reasons.extend(lineage.last().map(|entry| entry.reason.clone()));
    }
    reasons.sort();
    reasons
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_hands_over_by_hint_and_one_that_dies_is_taken_over() {
    let (Some(scratch), Some(nats)) = (PgScratch::create(), NatsServer::start()) else {
        return;
    };
    let one = node("one", scratch.url(), &nats.url()).await;
    serves(&one, 16).await;
    let two = node("two", scratch.url(), &nats.url()).await;
    serves(&two, 8).await;
    two.cancel.cancel();
    assert_eq!(two.task.await.unwrap(), Fate::Stopped);
    serves(&one, 16).await;
    let reasons = last_reasons(&one.log).await;
    assert!(reasons.contains(&"handoff".to_owned()), "{reasons:?}");
    assert!(!reasons.contains(&"takeover".to_owned()), "{reasons:?}");

    let three = node("three", scratch.url(), &nats.url()).await;
    serves(&three, 8).await;
    three.task.abort();
    serves(&one, 16).await;
    let reasons = last_reasons(&one.log).await;
    let taken = reasons.iter().filter(|why| *why == "takeover").count();
    assert_eq!(taken, 8, "{reasons:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_line_to_nats_swallows_everything_hands_over() {
    let (Some(scratch), Some(nats)) = (PgScratch::create(), NatsServer::start()) else {
        return;
    };
    let proxy = TcpProxy::start(nats.address()).await.unwrap();
    let one = node("one", scratch.url(), &nats.url()).await;
    serves(&one, 16).await;
    let two = node("two", scratch.url(), &proxy.url_through(&nats.url())).await;
    serves(&two, 8).await;
    proxy.hold_replies();
    serves(&one, 16).await;
    serves(&two, 0).await;
    assert_eq!(*two.phase.borrow(), Phase::Blind);
    let reasons = last_reasons(&one.log).await;
    assert!(!reasons.contains(&"takeover".to_owned()), "{reasons:?}");
    proxy.resume();
    eventually(DEADLINE, "it sees again", async || {
        *two.phase.borrow() == Phase::Active
    })
    .await;
}

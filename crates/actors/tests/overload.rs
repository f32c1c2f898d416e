//! Four times what a host can do, over a real log: how much still gets done, and whether it recovers by itself (F19, the owner's part).
//!
//! A measurement, so it runs only when asked for:
//! `cargo test -p hubbub-actors --test overload -- --ignored --nocapture`, with `HUBBUB_OVERLOAD_SECONDS` for a longer one.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement stops at the first surprise, and says what it measured"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hubbub_actors::{ActorHost, HostDeps, HostOptions};
use hubbub_bus::memory::MemoryBus;
use hubbub_cluster::LocalConversations;
use hubbub_domain::conversation::{
    Command, Intent, Kind, NewConversation, RequestKey, Settings, Visibility,
};
use hubbub_domain::ids::{CommandId, ConversationId, Incarnation, UserId};
use hubbub_domain::position::{Epoch, PartitionCount, PartitionId};
use hubbub_event_log::{Claim, EventLog, MemoryLog, NodeRegistration, PgLog};
use hubbub_telemetry::{Clock, SystemClock};
use hubbub_testkit::fresh_uuid;
use hubbub_testkit::pg::PgScratch;
use hubbub_wire::bus::{CommandRequest, OwnerReply, OwnerRequest};
use parking_lot::RwLock;
use tokio::sync::mpsc;

const PAIRS: usize = 200;
/// What an attempt of the router has.
const PATIENCE: Duration = Duration::from_millis(1_800);
/// Pause between two handfuls of commands.
const BEAT: Duration = Duration::from_millis(5);
/// Of the slow store: at most 512 rows each time.
const STATEMENT_EVERY: Duration = Duration::from_millis(400);

struct Node {
    host: Arc<ActorHost>,
    log: Arc<dyn EventLog>,
    me: Incarnation,
    epochs: RwLock<HashMap<PartitionId, Epoch>>,
    pairs: Vec<(ConversationId, UserId, UserId)>,
}

/// How a phase went.
#[derive(Default)]
struct Tally {
    sent: AtomicU64,
    accepted: AtomicU64,
    busy: AtomicU64,
    late: AtomicU64,
    unavailable: AtomicU64,
    unknown: AtomicU64,
    waited_ms: AtomicU64,
}

impl Tally {
    fn count(&self, reply: &OwnerReply, waited: Duration) {
        let counter = match reply {
            OwnerReply::Accepted(_) if waited > PATIENCE => &self.late,
            OwnerReply::Accepted(_) => {
                let waited = u64::try_from(waited.as_millis()).unwrap();
                self.waited_ms.fetch_add(waited, Ordering::Relaxed);
                &self.accepted
            }
            OwnerReply::Busy { .. } => &self.busy,
            OwnerReply::Unknown => &self.unknown,
            _ => &self.unavailable,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn print(&self, phase: &str, seconds: f64) -> f64 {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let accepted = get(&self.accepted);
        let per_second = f64::from(u32::try_from(accepted).unwrap()) / seconds;
        println!(
            "{phase}: sent {} accepted {accepted} ({per_second:.0}/s, mean wait {} ms) busy {} late {} unavailable {} unknown {}",
            get(&self.sent),
            get(&self.waited_ms) / accepted.max(1),
            get(&self.busy),
            get(&self.late),
            get(&self.unavailable),
            get(&self.unknown),
        );
        per_second
    }
}

impl Node {
    async fn start(log: Arc<dyn EventLog>) -> Arc<Self> {
        let me = Incarnation::from_uuid(fresh_uuid());
        log.init_cluster(PartitionCount::EMBEDDED).await.unwrap();
        log.register(&NodeRegistration {
            incarnation: me,
            node_id: "n1".to_owned(),
            addr: "nowhere".to_owned(),
            max_level: 1,
        })
        .await
        .unwrap();
        let (host_events, mut events) = mpsc::channel(64);
        let deps = HostDeps {
            log: Arc::clone(&log),
            bus: Arc::new(MemoryBus::new()),
            clock: Arc::new(|| SystemClock.now()),
            incarnation: me,
            partitions: PartitionCount::EMBEDDED,
            user_rev: Arc::default(),
            host_events,
        };
        let host = ActorHost::start(HostOptions::default(), deps)
            .await
            .unwrap();
        let pairs = (0..PAIRS)
            .map(|_| {
                let (anna, bert) = (
                    UserId::from_uuid(fresh_uuid()),
                    UserId::from_uuid(fresh_uuid()),
                );
                (ConversationId::direct(anna, bert), anna, bert)
            })
            .collect();
        let node = Arc::new(Self {
            host,
            log,
            me,
            epochs: RwLock::default(),
            pairs,
        });
        node.acquire().await;
        // The ownership loop, as far as this needs one.
        let loop_node = Arc::downgrade(&node);
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                println!("   {event:?}");
                while events.try_recv().is_ok() {}
                let Some(node) = loop_node.upgrade() else {
                    return;
                };
                node.acquire().await;
            }
        });
        for pair in 0..PAIRS {
            let reply = node.ask(node.creates(pair)).await;
            assert!(matches!(reply, OwnerReply::Accepted(_)), "{reply:?}");
        }
        node
    }

    /// Everything that is not served here.
    async fn acquire(&self) {
        let served: Vec<PartitionId> = self
            .host
            .heads()
            .iter()
            .map(|head| head.partition)
            .collect();
        let rows = self.log.partitions().await.unwrap();
        let claims: Vec<Claim> = rows
            .iter()
            .filter(|row| !served.contains(&row.partition))
            .map(|row| Claim {
                partition: row.partition,
                expected_owner: row.owner,
                expected_epoch: row.epoch,
            })
            .collect();
        for taken in self.log.acquire(self.me, &claims, "claim").await.unwrap() {
            self.host
                .serve(taken.partition, taken.epoch, taken.head)
                .await;
            self.epochs.write().insert(taken.partition, taken.epoch);
        }
    }

    fn command(&self, pair: usize, intent: Intent) -> Command {
        let (conversation, anna, _) = self.pairs[pair];
        let millis = u64::try_from(SystemClock.now().millis()).unwrap();
        let random: [u8; 10] = fresh_uuid().as_bytes()[..10].try_into().unwrap();
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
        Command {
            id: CommandId::from_uuid(id),
            conversation,
            by: anna,
            intent,
        }
    }

    fn creates(&self, pair: usize) -> Command {
        let new = NewConversation {
            kind: Kind::Direct,
            members: vec![self.pairs[pair].2],
            title: None,
            topic: None,
            visibility: Visibility::Private,
            settings: Settings::default(),
            request_key: RequestKey::from_bytes([7; 32]),
        };
        self.command(pair, Intent::Create(new))
    }

    fn says(&self, pair: usize) -> Command {
        let message = Intent::SendMessage {
            body: "a message of about the length that people send one another all day".to_owned(),
            reply_to_no: None,
            thread_root_no: None,
        };
        self.command(pair, message)
    }

    async fn ask(&self, command: Command) -> OwnerReply {
        let partition = PartitionCount::EMBEDDED.partition_of(command.conversation);
        let request = CommandRequest {
            partition,
            epoch: self.epochs.read()[&partition],
            remaining_ms: u32::try_from(PATIENCE.as_millis()).unwrap(),
            retry: false,
            request: OwnerRequest::Command(command),
        };
        self.host.handle(request, None).await
    }

    /// As many at once as keep the lanes busy, each sending again when it has its answer.
    async fn saturate(self: &Arc<Self>, senders: usize, time: Duration) -> f64 {
        let tally = Arc::new(Tally::default());
        let begun = Instant::now();
        let sending: Vec<_> = (0..senders)
            .map(|sender| {
                let (node, tally) = (Arc::clone(self), Arc::clone(&tally));
                tokio::spawn(async move {
                    while begun.elapsed() < time {
                        tally.sent.fetch_add(1, Ordering::Relaxed);
                        let asked = Instant::now();
                        let reply = node.ask(node.says(sender % PAIRS)).await;
                        tally.count(&reply, asked.elapsed());
                        if let OwnerReply::Busy { retry_after_ms } = reply {
                            let pause = Duration::from_millis(retry_after_ms.into());
                            // What a client does that is asked to come later.
                            tokio::time::sleep(pause).await;
                        }
                    }
                })
            })
            .collect();
        for sender in sending {
            sender.await.unwrap();
        }
        tally.print("saturated", begun.elapsed().as_secs_f64())
    }

    /// So many per second whatever becomes of them.
    async fn pour(self: &Arc<Self>, phase: &str, per_second: f64, time: Duration) -> f64 {
        let tally = Arc::new(Tally::default());
        let begun = Instant::now();
        let mut sent = 0_u32;
        while begun.elapsed() < time {
            while f64::from(sent) < begun.elapsed().as_secs_f64() * per_second {
                let (node, tally) = (Arc::clone(self), Arc::clone(&tally));
                let pair = usize::try_from(sent).unwrap() % PAIRS;
                sent += 1;
                tally.sent.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let asked = Instant::now();
                    let reply = node.ask(node.says(pair)).await;
                    tally.count(&reply, asked.elapsed());
                });
            }
            // The pace of the offer, not a wait for something to happen.
            tokio::time::sleep(BEAT).await;
        }
        let rate = tally.print(phase, begun.elapsed().as_secs_f64());
        let stats = self.host.stats();
        println!(
            "   under way {} shed {} expired {} take-backs {} expected wait {} ms, {} rows in {} appends",
            stats.under_way,
            stats.shed,
            stats.expired,
            stats.takebacks,
            stats.expected_wait_ms,
            stats.events_committed,
            stats.appends
        );
        rate
    }
}

/// A store that takes one statement every [`STATEMENT_EVERY`]: what it can do is known, and the machine has time for everything around it.
/// Its pace is kept by a thread of its own, as a database's would be.
fn over_a_slow_store() -> MemoryLog {
    let log = MemoryLog::new(|| SystemClock.now());
    let slow = log.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut every = tokio::time::interval(STATEMENT_EVERY);
            let mut held = slow.hold_appends();
            loop {
                every.tick().await;
                if slow.held_appends() > 0 {
                    drop(held);
                    while slow.held_appends() > 0 {
                        tokio::task::yield_now().await;
                    }
                    held = slow.hold_appends();
                }
            }
        });
    });
    log
}

async fn measure(node: &Arc<Node>, capacity: f64) {
    let goodput = node.pour("4x", 4.0 * capacity, seconds()).await;
    let after = node
        .pour("half, straight after", capacity / 2.0, seconds() / 2)
        .await;
    println!(
        "goodput at 4x: {:.0} % of {capacity:.0}/s; afterwards {:.0} % of what was offered",
        100.0 * goodput / capacity,
        200.0 * after / capacity
    );
    node.host.shutdown(Duration::from_secs(30)).await;
}

fn seconds() -> Duration {
    #[expect(
        clippy::disallowed_methods,
        reason = "a measurement has no settings but this"
    )]
    let wanted = std::env::var("HUBBUB_OVERLOAD_SECONDS").ok();
    let seconds = wanted.and_then(|wanted| wanted.parse().ok()).unwrap_or(15);
    Duration::from_secs(seconds)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement for people: prints figures, HUBBUB_OVERLOAD_SECONDS says how long; fault row F19 is the check"]
async fn four_times_the_load_over_a_slow_store() {
    let log = over_a_slow_store();
    let node = Node::start(Arc::new(log)).await;
    let capacity = node.saturate(1_024, Duration::from_secs(8)).await;
    measure(&node, capacity).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement for people: prints figures, HUBBUB_OVERLOAD_SECONDS says how long; fault row F19 is the check"]
async fn many_times_the_senders_over_postgres() {
    let Some(scratch) = PgScratch::create() else {
        return;
    };
    let log = PgLog::open(hubbub_event_log::PgOptions::new(scratch.url()))
        .await
        .unwrap();
    let node = Node::start(Arc::new(log.for_owner())).await;
    // The store is as fast as this machine, so more than it can do is only to be had from people who wait for their answers.
    let capacity = node.saturate(512, Duration::from_secs(8)).await;
    let goodput = node.saturate(16 * 512, seconds()).await;
    let after = node.saturate(512, seconds() / 2).await;
    println!(
        "goodput of 16 times the senders: {:.0} % of {capacity:.0}/s; afterwards {:.0} %",
        100.0 * goodput / capacity,
        100.0 * after / capacity
    );
    node.host.shutdown(Duration::from_secs(30)).await;
}

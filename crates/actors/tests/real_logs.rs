//! The host over logs that are kept: SQLite in a directory and `PostgreSQL` with all its lanes.
//!
//! The faults are tested in the crate, over the log in memory; here the databases show that they mean the same: a unique violation is a
//! conflict, a batch over many partitions commits, a new owner goes on where the old one ended.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests stop at the first surprise, and say what they measured"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hubbub_actors::{ActorHost, HostDeps, HostOptions};
use hubbub_bus::memory::MemoryBus;
use hubbub_cluster::LocalConversations;
use hubbub_domain::conversation::limits::DEDUPE_COMMANDS_MAX;
use hubbub_domain::conversation::{
    Command, Intent, Kind, NewConversation, Rejection, RequestKey, Settings, Visibility, rules,
};
use hubbub_domain::ids::{CommandId, ConversationId, Incarnation, UserId};
use hubbub_domain::position::{Epoch, PartitionCount, PartitionId, Seq};
use hubbub_domain::time::Timestamp;
use hubbub_event_log::{
    AppendBatch, AppendOutcome, Claim, EventLog, NodeRegistration, PgLog, SqliteLog,
};
use hubbub_telemetry::{Clock, ManualClock};
use hubbub_testkit::fresh_uuid;
use hubbub_testkit::pg::PgScratch;
use hubbub_wire::bus::{Accepted, CommandRequest, How, MarkRequest, OwnerReply, OwnerRequest};
use hubbub_wire::stored::EventRow;
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_mins(1);
/// Messages that one sender has under way at once, below what a user may have.
const PIPELINE: usize = 200;
/// 2026-01-01T00:00:00Z.
const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

struct Node {
    host: Arc<ActorHost>,
    log: Arc<dyn EventLog>,
    clock: ManualClock,
    me: Incarnation,
    epochs: HashMap<PartitionId, Epoch>,
    _events: mpsc::Receiver<hubbub_cluster::HostEvent>,
}

#[derive(Clone, Copy)]
struct Pair {
    id: ConversationId,
    anna: UserId,
    bert: UserId,
}

impl Pair {
    fn new() -> Self {
        let (anna, bert) = (
            UserId::from_uuid(fresh_uuid()),
            UserId::from_uuid(fresh_uuid()),
        );
        Self {
            id: ConversationId::direct(anna, bert),
            anna,
            bert,
        }
    }

    fn says(&self, id: CommandId, body: &str) -> Command {
        Command {
            id,
            conversation: self.id,
            by: self.anna,
            intent: Intent::SendMessage {
                body: body.to_owned(),
                reply_to_no: None,
                thread_root_no: None,
            },
        }
    }

    fn creates(&self, id: CommandId) -> Command {
        Command {
            intent: Intent::Create(NewConversation {
                kind: Kind::Direct,
                members: vec![self.bert],
                title: None,
                topic: None,
                visibility: Visibility::Private,
                settings: Settings::default(),
                request_key: RequestKey::from_bytes([7; 32]),
            }),
            ..self.says(id, "")
        }
    }
}

impl Node {
    async fn start(log: Arc<dyn EventLog>) -> Self {
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
        let clock = ManualClock::new(START);
        let (host_events, events) = mpsc::channel(64);
        let deps = HostDeps {
            log: Arc::clone(&log),
            bus: Arc::new(MemoryBus::new()),
            clock: Arc::new({
                let clock = clock.clone();
                move || clock.now()
            }),
            incarnation: me,
            partitions: PartitionCount::EMBEDDED,
            user_rev: Arc::default(),
            host_events,
        };
        let host = ActorHost::start(HostOptions::default(), deps)
            .await
            .unwrap();
        let mut node = Self {
            host,
            log,
            clock,
            me,
            epochs: HashMap::new(),
            _events: events,
        };
        node.acquire_everything().await;
        node
    }

    async fn acquire_everything(&mut self) {
        let rows = self.log.partitions().await.unwrap();
        let claims: Vec<Claim> = rows
            .iter()
            .map(|row| Claim {
                partition: row.partition,
                expected_owner: row.owner,
                expected_epoch: row.epoch,
            })
            .collect();
        let acquired = self.log.acquire(self.me, &claims, "claim").await.unwrap();
        assert_eq!(acquired.len(), rows.len());
        for taken in acquired {
            self.host
                .serve(taken.partition, taken.epoch, taken.head)
                .await;
            self.epochs.insert(taken.partition, taken.epoch);
        }
    }

    fn id(&self, n: u64, ahead_ms: i64) -> CommandId {
        let mut random = [0_u8; 10];
        random[2..].copy_from_slice(&n.to_be_bytes());
        let millis = u64::try_from(self.clock.now().plus_millis(ahead_ms).millis()).unwrap();
        CommandId::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    async fn ask(&self, command: Command, retry: bool) -> OwnerReply {
        let partition = PartitionCount::EMBEDDED.partition_of(command.conversation);
        let request = CommandRequest {
            partition,
            epoch: self.epochs[&partition],
            remaining_ms: 60_000,
            retry,
            request: OwnerRequest::Command(command),
        };
        self.host.handle(request, None).await
    }

    /// Everyone is told, in order, in pipelines.
    async fn tell_all(&self, commands: &[Command]) -> Vec<Accepted> {
        let mut places = Vec::with_capacity(commands.len());
        for pipeline in commands.chunks(PIPELINE) {
            let replies = join_all(
                pipeline
                    .iter()
                    .map(|command| self.ask(command.clone(), false)),
            )
            .await;
            places.extend(replies.into_iter().map(accepted));
        }
        places
    }
}

#[track_caller]
fn accepted(reply: OwnerReply) -> Accepted {
    match reply {
        OwnerReply::Accepted(accepted) => accepted,
        other => panic!("not accepted: {other:?}"),
    }
}

/// Twenty people talk at once over all partitions and repeat every twentieth message; then the host changes its epochs and they go on.
async fn many_conversations(log: Arc<dyn EventLog>) {
    const PAIRS: usize = 20;
    const MESSAGES: u64 = 200;
    let mut node = Node::start(log).await;
    let pairs: Vec<Pair> = (0..PAIRS).map(|_| Pair::new()).collect();
    for round in 0..2 {
        let begun = Instant::now();
        let talks = pairs.iter().map(|pair| async {
            let mut commands = vec![pair.creates(node.id(0, 0))];
            for n in 0..MESSAGES {
                let command = pair.says(
                    node.id(1 + round * MESSAGES + n, 0),
                    &format!("{round}/{n}"),
                );
                if n % 20 == 0 {
                    commands.push(command.clone());
                }
                commands.push(command);
            }
            let places = node.tell_all(&commands).await;
            let stored = places
                .iter()
                .filter(|place| place.how == How::Stored)
                .count();
            assert_eq!(stored as u64, MESSAGES + u64::from(round == 0));
            assert!(places[1..].is_sorted_by_key(|place| place.seq));
        });
        join_all(talks).await;
        let stats = node.host.stats();
        println!(
            "{} events in {} appends, {:?}",
            stats.events_committed,
            stats.appends,
            begun.elapsed()
        );
        assert!(stats.appends < stats.events_committed, "group commit");
        let drains = node
            .epochs
            .keys()
            .map(|partition| node.host.drain(*partition, PATIENCE));
        assert!(join_all(drains).await.into_iter().all(|clean| clean));
        let owned: Vec<PartitionId> = node.epochs.keys().copied().collect();
        let heads = node.log.heads(&owned).await.unwrap();
        let published = node.log.published(&owned).await.unwrap();
        let told: Vec<_> = heads.iter().filter(|head| head.head.get() > 0).collect();
        assert!(
            told.iter()
                .all(|head| published.contains(&(head.partition, head.head))),
            "a hand-over leaves the watermarks at the heads: {published:?} of {heads:?}"
        );
        node.acquire_everything().await;
    }
    for pair in &pairs {
        let rows = node
            .log
            .read_conversation(pair.id, Seq::new(1), 4_096)
            .await
            .unwrap();
        let seqs: Vec<u64> = rows.iter().map(|row| row.seq.get()).collect();
        assert_eq!(seqs, (1..=2 * MESSAGES + 1).collect::<Vec<u64>>());
        let mark = OwnerRequest::Mark(MarkRequest {
            conversation: pair.id,
            user: pair.bert,
            read_no: Some(hubbub_domain::position::MessageNo::new(MESSAGES)),
            delivered_no: None,
            wait_stored: true,
        });
        let partition = PartitionCount::EMBEDDED.partition_of(pair.id);
        let request = CommandRequest {
            partition,
            epoch: node.epochs[&partition],
            remaining_ms: 60_000,
            retry: false,
            request: mark,
        };
        assert_eq!(node.host.handle(request, None).await, OwnerReply::Marked);
        assert_eq!(
            node.log.markers(pair.id).await.unwrap()[0].read_no.get(),
            MESSAGES
        );
    }
    let stats = node.host.stats();
    assert_eq!(
        (stats.append_conflicts, stats.append_unknowns, stats.fenced),
        (0, 0, 0)
    );
    node.host.shutdown(PATIENCE).await;
}

/// A command id that the window has forgotten but that looks young, among others in one batch.
async fn a_forgotten_id(log: Arc<dyn EventLog>) {
    let node = Node::start(log).await;
    let pair = Pair::new();
    let young = pair.says(node.id(1, 59_000), "forgotten");
    let mut commands = vec![pair.creates(node.id(0, 0)), young.clone()];
    for n in 0..DEDUPE_COMMANDS_MAX as u64 + 8 {
        commands.push(pair.says(node.id(2 + n, 0), "more"));
    }
    let head = node.tell_all(&commands).await.last().unwrap().seq.get();
    node.clock.advance_millis(1_000);
    let others: Vec<Pair> = (0..16).map(|_| Pair::new()).collect();
    let (before, young, reused, behind, others) = tokio::join!(
        node.ask(pair.says(node.id(9_000, 0), "before"), false),
        node.ask(young.clone(), false),
        node.ask(pair.says(young.id, "another request"), false),
        node.ask(pair.says(node.id(9_001, 0), "behind"), false),
        join_all(
            others
                .iter()
                .map(|other| node.ask(other.creates(node.id(0, 0)), false))
        ),
    );
    assert_eq!(accepted(before).seq.get(), head + 1);
    let young = accepted(young);
    assert_eq!((young.how, young.seq), (How::Duplicate, Seq::new(2)));
    assert_eq!(reused, OwnerReply::Rejected(Rejection::IdempotencyMismatch));
    assert_eq!(accepted(behind).seq.get(), head + 2);
    for other in others {
        assert_eq!(accepted(other).how, How::Stored);
    }
    assert!(
        node.host.stats().append_conflicts >= 1,
        "the database stood against it"
    );
    assert_eq!(node.host.heads().len(), 16, "no partition was given up");
    node.host.shutdown(PATIENCE).await;
}

/// What makes an event unreadable.
type Damage = fn(&mut EventRow);

/// A stored event that cannot be read makes its conversation read-only, and nobody else in the partition notices (F14).
async fn unreadable_events(log: Arc<dyn EventLog>) {
    let damages: [Damage; 4] = [
        |row| row.crc ^= 1,
        |row| row.ver = 999,
        |row| row.kind = 9_999,
        |row| row.body = Some(bytes::Bytes::from_static(b"another text")),
    ];
    let mut node = Node::start(log).await;
    let mut sick = Vec::new();
    for damage in damages {
        let pair = Pair::new();
        let commands = [
            pair.creates(node.id(0, 0)),
            pair.says(node.id(1, 0), "sound"),
        ];
        node.tell_all(&commands).await;
        // Stored by someone who owns the partition for a moment.
        let partition = PartitionCount::EMBEDDED.partition_of(pair.id);
        let stranger = Incarnation::from_uuid(fresh_uuid());
        let claim = Claim {
            partition,
            expected_owner: Some(node.me),
            expected_epoch: node.epochs[&partition],
        };
        let taken = node.log.acquire(stranger, &[claim], "takeover").await;
        let taken = taken.unwrap().pop().unwrap();
        let mut row = node
            .log
            .read_conversation(pair.id, Seq::new(2), 1)
            .await
            .unwrap()
            .pop()
            .unwrap();
        row.seq = row.seq.next();
        row.offset = taken.head.next();
        row.epoch = taken.epoch;
        row.command_id = node.id(2, 0);
        damage(&mut row);
        let mut lane = node.log.open_lane(stranger, 0).await.unwrap();
        let stored = lane
            .append(AppendBatch {
                fence: vec![(partition, taken.epoch)],
                rows: vec![row],
            })
            .await;
        assert!(matches!(stored, AppendOutcome::Done { .. }), "{stored:?}");
        node.acquire_everything().await;
        sick.push(pair);
    }
    let read_only = OwnerReply::Rejected(Rejection::Conflict {
        reason: rules::UNREADABLE,
    });
    for pair in &sick {
        let reply = node.ask(pair.says(node.id(3, 0), "anyone?"), false).await;
        assert_eq!(reply, read_only);
        let neighbour = loop {
            let other = Pair::new();
            let partition = |pair: &Pair| PartitionCount::EMBEDDED.partition_of(pair.id);
            if partition(&other) == partition(pair) {
                break other;
            }
        };
        let places = node
            .tell_all(&[
                neighbour.creates(node.id(0, 0)),
                neighbour.says(node.id(1, 0), "unharmed"),
            ])
            .await;
        assert_eq!(places[1].seq, Seq::new(2));
    }
    assert_eq!(node.host.stats().unreadable, 4);
    assert_eq!(node.host.heads().len(), 16, "no partition was given up");
    node.host.shutdown(PATIENCE).await;
}

/// A command that panics the actor, again and again: callers get an error, neighbours get their answers, the process lives (F15).
#[cfg(feature = "fault-injection")]
async fn a_hundred_panics(log: Arc<dyn EventLog>) {
    let node = Node::start(log).await;
    let (sick, neighbour) = (Pair::new(), Pair::new());
    for pair in [&sick, &neighbour] {
        node.tell_all(&[pair.creates(node.id(0, 0))]).await;
    }
    for n in 0..100 {
        let poison = sick.says(node.id(1 + n, 0), hubbub_telemetry::fault::PANIC_BODY);
        let reply = node.ask(poison, false).await;
        assert!(matches!(reply, OwnerReply::Unavailable { .. }), "{reply:?}");
        let fine = neighbour.says(node.id(1 + n, 0), "fine");
        assert_eq!(accepted(node.ask(fine, false).await).seq.get(), 2 + n);
    }
    let stats = node.host.stats();
    assert_eq!((stats.panics, stats.quarantines), (3, 1));
    let rows = node
        .log
        .read_conversation(sick.id, Seq::new(1), 100)
        .await
        .unwrap();
    assert_eq!(rows.len(), 1, "nothing of a refused command is stored");
    node.host.shutdown(PATIENCE).await;
}

async fn sqlite() -> (Arc<dyn EventLog>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let log = SqliteLog::open(dir.path()).await.unwrap();
    (Arc::new(log), dir)
}

async fn postgres() -> Option<(Arc<dyn EventLog>, PgScratch)> {
    let scratch = PgScratch::create()?;
    let log = PgLog::open(hubbub_event_log::PgOptions::new(scratch.url()))
        .await
        .unwrap();
    Some((Arc::new(log.for_owner()), scratch))
}

#[tokio::test(flavor = "multi_thread")]
async fn many_conversations_over_sqlite() {
    let (log, _dir) = sqlite().await;
    many_conversations(log).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_id_over_sqlite() {
    let (log, _dir) = sqlite().await;
    a_forgotten_id(log).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_conversations_over_postgres() {
    let Some((log, _scratch)) = postgres().await else {
        return;
    };
    many_conversations(log).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_id_over_postgres() {
    let Some((log, _scratch)) = postgres().await else {
        return;
    };
    a_forgotten_id(log).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_events_over_sqlite() {
    let (log, _dir) = sqlite().await;
    unreadable_events(log).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_events_over_postgres() {
    let Some((log, _scratch)) = postgres().await else {
        return;
    };
    unreadable_events(log).await;
}

#[cfg(feature = "fault-injection")]
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_panics_over_sqlite() {
    let (log, _dir) = sqlite().await;
    a_hundred_panics(log).await;
}

#[cfg(feature = "fault-injection")]
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_panics_over_postgres() {
    let Some((log, _scratch)) = postgres().await else {
        return;
    };
    a_hundred_panics(log).await;
}

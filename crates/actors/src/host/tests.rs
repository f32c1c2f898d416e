//! The host over the log in memory and the bus in process, with faults on order.

mod delivery;
mod faults;
mod markers;
mod memory;
mod order;
mod panics;

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::Poll;
use std::time::Duration;

use hubbub_bus::memory::MemoryBus;
use hubbub_cluster::port::{HostEvent, LocalConversations};
use hubbub_domain::conversation::{
    Command, Intent, Kind, NewConversation, RequestKey, Settings, Visibility,
};
use hubbub_domain::ids::{CommandId, ConversationId, Incarnation, UserId};
use hubbub_domain::position::{Epoch, Offset, PartitionCount, PartitionId, Seq};
use hubbub_domain::time::Timestamp;
use hubbub_event_log::{Claim, LogReader, ManualClock, MemoryLog, NodeRegistration, Ownership};
use hubbub_testkit::{fresh_uuid, wait};
use hubbub_wire::bus::{Accepted, CommandRequest, How, MarkRequest, OwnerReply, OwnerRequest};
use hubbub_wire::stored::EventRow;
use tokio::sync::mpsc;

use crate::host::{ActorHost, HostDeps, HostOptions};
use crate::shared::BeforeJudging;

/// 2026-01-01T00:00:00Z.
const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const PATIENCE: Duration = Duration::from_secs(30);

/// One node that owns every partition, with the hands of a test on everything around it.
pub(super) struct World {
    pub(super) host: Arc<ActorHost>,
    pub(super) log: MemoryLog,
    pub(super) bus: MemoryBus,
    pub(super) clock: ManualClock,
    pub(super) events: mpsc::Receiver<HostEvent>,
    me: Incarnation,
    owned: HashMap<PartitionId, (Epoch, Offset)>,
    ids: AtomicU64,
}

/// A conversation of two, and who is in it.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    pub(super) id: ConversationId,
    pub(super) anna: UserId,
    pub(super) bert: UserId,
}

impl World {
    pub(super) async fn start() -> Self {
        Self::with(quick(), None).await
    }

    pub(super) async fn with(options: HostOptions, before: Option<BeforeJudging>) -> Self {
        let clock = ManualClock::new(START);
        let log = MemoryLog::with_clock(&clock);
        let bus = MemoryBus::new();
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
        let (host_events, events) = mpsc::channel(64);
        let mut shared = super::share(
            &options,
            HostDeps {
                log: Arc::new(log.clone()),
                bus: Arc::new(bus.clone()),
                clock: Arc::new({
                    let clock = clock.clone();
                    move || clock.now()
                }),
                incarnation: me,
                partitions: PartitionCount::EMBEDDED,
                user_rev: Arc::default(),
                host_events,
            },
        );
        shared.before_judging = before;
        let host = ActorHost::start_shared(
            options,
            Arc::new(shared),
            PartitionCount::EMBEDDED,
            Arc::default(),
        )
        .await
        .unwrap();
        let mut world = Self {
            host,
            log,
            bus,
            clock,
            events,
            me,
            owned: HashMap::new(),
            ids: AtomicU64::new(1),
        };
        for partition in PartitionCount::EMBEDDED.all() {
            world.acquire(partition).await;
        }
        world
    }

    /// Acquires a fresh epoch and serves the partition under it.
    pub(super) async fn acquire(&mut self, partition: PartitionId) {
        let (epoch, head) = self.seize(partition, self.me).await;
        self.host.serve(partition, epoch, head).await;
        self.owned.insert(partition, (epoch, head));
    }

    /// Gives the partition to `who` in the log alone.
    pub(super) async fn seize(&self, partition: PartitionId, who: Incarnation) -> (Epoch, Offset) {
        let row = *self
            .log
            .partitions()
            .await
            .unwrap()
            .iter()
            .find(|row| row.partition == partition)
            .unwrap();
        let claim = Claim {
            partition,
            expected_owner: row.owner,
            expected_epoch: row.epoch,
        };
        let acquired = self.log.acquire(who, &[claim], "claim").await.unwrap();
        (acquired[0].epoch, acquired[0].head)
    }

    pub(super) fn epoch(&self, partition: PartitionId) -> Epoch {
        self.owned[&partition].0
    }

    /// A new id that says it was made now.
    pub(super) fn command_id(&self) -> CommandId {
        self.command_id_made_at(self.clock.now())
    }

    pub(super) fn command_id_made_at(&self, at: Timestamp) -> CommandId {
        let n = self.ids.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut random = [0_u8; 10];
        random[2..].copy_from_slice(&n.to_be_bytes());
        let millis = u64::try_from(at.millis()).unwrap();
        CommandId::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// A direct conversation, created through the host.
    pub(super) async fn pair(&self) -> Pair {
        let pair = strangers();
        let reply = self.ask(self.create(&pair)).await;
        assert!(
            matches!(
                reply,
                OwnerReply::Accepted(Accepted {
                    how: How::Stored,
                    ..
                })
            ),
            "{reply:?}"
        );
        pair
    }

    /// As [`World::pair`], in a partition of choice.
    pub(super) async fn pair_in(&self, partition: PartitionId) -> Pair {
        loop {
            let pair = strangers();
            if partition_of(pair.id) == partition {
                self.ask(self.create(&pair)).await;
                return pair;
            }
        }
    }

    pub(super) fn create(&self, pair: &Pair) -> Command {
        Command {
            id: self.command_id(),
            conversation: pair.id,
            by: pair.anna,
            intent: Intent::Create(NewConversation {
                kind: Kind::Direct,
                members: vec![pair.bert],
                title: None,
                topic: None,
                visibility: Visibility::Private,
                settings: Settings::default(),
                request_key: RequestKey::from_bytes([7; 32]),
            }),
        }
    }

    pub(super) fn message(&self, pair: &Pair, body: &str) -> Command {
        message(self.command_id(), pair.id, pair.anna, body)
    }

    pub(super) async fn say(&self, pair: &Pair, body: &str) -> OwnerReply {
        self.ask(self.message(pair, body)).await
    }

    pub(super) async fn ask(&self, command: Command) -> OwnerReply {
        let request = self.request(command);
        self.host.handle(request, None).await
    }

    pub(super) fn request(&self, command: Command) -> CommandRequest {
        let partition = partition_of(command.conversation);
        CommandRequest {
            partition,
            epoch: self.epoch(partition),
            remaining_ms: 30_000,
            retry: false,
            request: OwnerRequest::Command(command),
        }
    }

    /// Sends without waiting; requests sent one after the other arrive in that order.
    pub(super) async fn send(&self, command: Command) -> tokio::task::JoinHandle<OwnerReply> {
        self.send_request(self.request(command)).await
    }

    pub(super) async fn send_request(
        &self,
        request: CommandRequest,
    ) -> tokio::task::JoinHandle<OwnerReply> {
        let host = Arc::clone(&self.host);
        let mut asking = Box::pin(async move { host.handle(request, None).await });
        // The first poll puts the request into its partition's mailbox.
        let first = poll_fn(|context| Poll::Ready(asking.as_mut().poll(context))).await;
        tokio::spawn(async move {
            match first {
                Poll::Ready(reply) => reply,
                Poll::Pending => asking.await,
            }
        })
    }

    pub(super) async fn mark(&self, mark: MarkRequest) -> OwnerReply {
        let partition = partition_of(mark.conversation);
        let request = CommandRequest {
            partition,
            epoch: self.epoch(partition),
            remaining_ms: 30_000,
            retry: false,
            request: OwnerRequest::Mark(mark),
        };
        self.host.handle(request, None).await
    }

    /// What the log holds of a conversation.
    pub(super) async fn stored(&self, conversation: ConversationId) -> Vec<EventRow> {
        self.log
            .read_conversation(conversation, Seq::new(1), 4_096)
            .await
            .unwrap()
    }

    /// Waits until appends are held, so that what follows gathers behind them.
    pub(super) async fn until_held(&self, appends: usize) {
        wait::eventually(wait::DEADLINE, "appends to be held", async || {
            self.log.held_appends() >= appends
        })
        .await;
    }

    pub(super) async fn host_event(&mut self) -> HostEvent {
        tokio::time::timeout(wait::DEADLINE, self.events.recv())
            .await
            .unwrap()
            .unwrap()
    }

    pub(super) async fn end(self) {
        self.host.shutdown(PATIENCE).await;
    }
}

/// Default options with a short tick.
pub(super) fn quick() -> HostOptions {
    HostOptions {
        arbiters: 2,
        tick: Duration::from_millis(20),
        ..HostOptions::default()
    }
}

pub(super) fn partition_of(conversation: ConversationId) -> PartitionId {
    PartitionCount::EMBEDDED.partition_of(conversation)
}

pub(super) fn strangers() -> Pair {
    // Their conversation's id is a hash, so these spread over the partitions.
    let (anna, bert) = (
        UserId::from_uuid(fresh_uuid()),
        UserId::from_uuid(fresh_uuid()),
    );
    Pair {
        id: ConversationId::direct(anna, bert),
        anna,
        bert,
    }
}

pub(super) fn message(
    id: CommandId,
    conversation: ConversationId,
    by: UserId,
    body: &str,
) -> Command {
    Command {
        id,
        conversation,
        by,
        intent: Intent::SendMessage {
            body: body.to_owned(),
            reply_to_no: None,
            thread_root_no: None,
        },
    }
}

/// What was accepted.
#[track_caller]
pub(super) fn accepted(reply: OwnerReply) -> Accepted {
    match reply {
        OwnerReply::Accepted(accepted) => accepted,
        other => panic!("not accepted: {other:?}"),
    }
}

/// The bodies of the messages among stored events, in order.
pub(super) fn bodies(rows: &[EventRow]) -> Vec<String> {
    rows.iter()
        .filter_map(|row| match row.decode().unwrap().event {
            hubbub_domain::conversation::Event::MessageSent { body, .. } => body,
            _ => None,
        })
        .collect()
}

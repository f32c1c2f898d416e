//! A stand-in for owner and read models: one node that owns everything, decides by the domain and appends to the log in memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hubbub_bus::{Bus, Subject};
use hubbub_cluster::{CommandRouter, SubmitError};
use hubbub_domain::conversation::{
    Command, Decision, Event, Recorded, Rejection, State, decide, evolve, recorded,
};
use hubbub_domain::ids::{ConversationId, Incarnation, UserId};
use hubbub_domain::position::{Epoch, MessageNo, Offset, PartitionCount, PartitionId, Seq};
use hubbub_event_log::memory::Image;
use hubbub_event_log::{
    AppendBatch, AppendOutcome, Claim, EventLog, Lane, LogReader, MemoryLog, NodeRegistration,
    Ownership,
};
use hubbub_projections::MessageRow;
use hubbub_telemetry::{Clock, SystemClock, TraceContext};
use hubbub_testkit::fresh_uuid;
use hubbub_wire::bus::{
    Accepted, Ephemeral, EvBatch, EvEntry, HeadBroadcast, How, INLINE_RECIPIENTS_MAX, MarkRequest,
};
use hubbub_wire::stored::EventRow;
use parking_lot::Mutex;

pub(crate) const PARTITIONS: PartitionCount = PartitionCount::EMBEDDED;

/// Owner and read models in one.
pub(crate) struct Owner {
    pub(crate) log: MemoryLog,
    bus: Arc<dyn Bus>,
    pub(crate) me: Incarnation,
    pub(crate) inner: tokio::sync::Mutex<Inner>,
    /// Whether small conversations name their recipients.
    pub(crate) inline: AtomicBool,
    pub(crate) faults: Faults,
}

/// What goes wrong, once a test says so.
#[derive(Default)]
pub(crate) struct Faults {
    /// Nobody hears where this partition stands.
    pub(crate) silent: Mutex<Option<PartitionId>>,
    /// Whoever asks about it is told that the log contradicts itself.
    pub(crate) unreadable: Mutex<Option<ConversationId>>,
    /// Whoever asks for members waits while this is locked for writing.
    pub(crate) members: tokio::sync::RwLock<()>,
    /// How many do.
    pub(crate) members_asked: AtomicU32,
    /// This person's access is judged only while `access` is not locked for writing.
    pub(crate) judged_late: Mutex<Option<UserId>>,
    pub(crate) access: tokio::sync::RwLock<()>,
    /// What commits just after the next access was judged.
    pub(crate) meanwhile: Mutex<Vec<Command>>,
    /// How often access was asked for.
    pub(crate) asked: AtomicU32,
    /// The next event is stored so that nobody can read it.
    pub(crate) rotten: AtomicBool,
    /// As many marks are lost from memory; who waits until they are stored hears of it.
    pub(crate) lost_marks: AtomicU32,
}

pub(crate) struct Inner {
    lane: Box<dyn Lane>,
    epochs: HashMap<PartitionId, Epoch>,
    offsets: HashMap<PartitionId, Offset>,
    pub(crate) conversations: HashMap<ConversationId, Conversation>,
}

pub(crate) struct Conversation {
    pub(crate) state: State,
    pub(crate) epoch: Epoch,
    pub(crate) messages: Vec<MessageRow>,
    pub(crate) read: HashMap<UserId, MessageNo>,
}

impl Owner {
    pub(crate) async fn start(bus: Arc<dyn Bus>) -> Arc<Self> {
        let log = MemoryLog::new(|| SystemClock.now());
        log.init_cluster(PARTITIONS).await.unwrap();
        let me = Incarnation::from_uuid(fresh_uuid());
        let node = NodeRegistration {
            incarnation: me,
            node_id: "owner".into(),
            addr: String::new(),
            max_level: 1,
        };
        log.register(&node).await.unwrap();
        let inner = Inner::acquire(&log, me).await;
        Arc::new(Self {
            log,
            bus,
            me,
            inner: tokio::sync::Mutex::new(inner),
            inline: AtomicBool::new(true),
            faults: Faults::default(),
        })
    }

    /// Says where every partition stands, as an owner does once a second.
    pub(crate) async fn broadcast_heads(&self, user_rev: u64) {
        let mut heads = self.log.heads(&[]).await.unwrap();
        let silent = *self.faults.silent.lock();
        heads.retain(|head| Some(head.partition) != silent);
        let broadcast = HeadBroadcast {
            incarnation: self.me,
            user_rev,
            heads,
        };
        self.bus
            .publish(Subject::Heads, broadcast.encode(), None)
            .await
            .ok();
    }

    /// An unclean failover: what was stored since is gone, and this owner goes on from what is left under new epochs.
    pub(crate) async fn fail_over_to(&self, image: Image) {
        let mut inner = self.inner.lock().await;
        let known: Vec<ConversationId> = inner.conversations.keys().copied().collect();
        self.log.fail_over_to(image);
        *inner = Inner::acquire(&self.log, self.me).await;
        for id in known {
            let rows = self.log.read_conversation(id, Seq::new(1), 1_000).await;
            for row in rows.unwrap() {
                let recorded = row.decode().unwrap();
                inner.conversation(id).take(&recorded, row.epoch);
            }
        }
    }

    /// Events in the log, over all partitions.
    pub(crate) async fn stored(&self) -> u64 {
        let inner = self.inner.lock().await;
        inner.offsets.values().map(|offset| offset.get()).sum()
    }

    async fn store(&self, inner: &mut Inner, command: &Command) -> Result<Accepted, SubmitError> {
        let conversation = inner.conversation(command.conversation);
        let accepted = |seq, message_no, at, epoch, how| Accepted {
            conversation: command.conversation,
            epoch,
            seq,
            message_no,
            at,
            how,
        };
        let event = match decide(&conversation.state, command)? {
            Decision::Store(event) => event,
            Decision::Already => {
                let state = &conversation.state;
                return Ok(accepted(
                    state.last_seq(),
                    None,
                    state.last_at(),
                    conversation.epoch,
                    How::Already,
                ));
            }
            Decision::Duplicate(then) => {
                return Ok(accepted(
                    then.seq,
                    then.message_no,
                    then.at,
                    conversation.epoch,
                    How::Duplicate,
                ));
            }
        };
        let recorded = recorded(&conversation.state, command, event, SystemClock.now());
        let partition = PARTITIONS.partition_of(command.conversation);
        let epoch = inner.epochs[&partition];
        let offset = inner.offsets[&partition].next();
        let mut row = EventRow::encode(partition, offset, epoch, &recorded).unwrap();
        if self.faults.rotten.swap(false, Ordering::SeqCst) {
            row.crc ^= 1;
        }
        let batch = AppendBatch {
            fence: vec![(partition, epoch)],
            rows: vec![row.clone()],
        };
        let outcome = inner.lane.append(batch).await;
        assert!(
            matches!(&outcome, AppendOutcome::Done { committed, .. } if committed == &[partition]),
            "{outcome:?}"
        );
        inner.offsets.insert(partition, offset);

        let conversation = inner.conversation(command.conversation);
        let before: Vec<UserId> = conversation.state.members().keys().copied().collect();
        let message_no = conversation.take(&recorded, epoch);
        self.publish(conversation, before, row).await;
        Ok(accepted(
            recorded.seq,
            message_no,
            recorded.at,
            epoch,
            How::Stored,
        ))
    }

    async fn publish(&self, conversation: &Conversation, before: Vec<UserId>, row: EventRow) {
        let (partition, epoch, offset) = (row.partition, row.epoch, row.offset);
        let mut recipients: Vec<UserId> = conversation.state.members().keys().copied().collect();
        recipients.extend(before);
        recipients.sort_unstable();
        recipients.dedup();
        let inline =
            self.inline.load(Ordering::SeqCst) && recipients.len() <= INLINE_RECIPIENTS_MAX;
        let batch = EvBatch {
            partition,
            epoch,
            base_offset: offset,
            events: vec![EvEntry {
                row,
                recipients: inline.then_some(recipients),
            }],
        };
        self.bus
            .publish(Subject::Events(partition), batch.encode(), None)
            .await
            .ok();
    }
}

impl Inner {
    /// Everything, under new epochs, from where the log stands.
    async fn acquire(log: &MemoryLog, me: Incarnation) -> Self {
        let rows = log.partitions().await.unwrap();
        let claims: Vec<Claim> = rows
            .iter()
            .map(|row| Claim {
                partition: row.partition,
                expected_owner: row.owner,
                expected_epoch: row.epoch,
            })
            .collect();
        let acquired = log.acquire(me, &claims, "claim").await.unwrap();
        Self {
            lane: log.open_lane(me, 0).await.unwrap(),
            epochs: acquired
                .iter()
                .map(|one| (one.partition, one.epoch))
                .collect(),
            offsets: acquired
                .iter()
                .map(|one| (one.partition, one.head))
                .collect(),
            conversations: HashMap::new(),
        }
    }

    fn conversation(&mut self, id: ConversationId) -> &mut Conversation {
        self.conversations
            .entry(id)
            .or_insert_with(|| Conversation {
                state: State::absent(id),
                epoch: Epoch::ZERO,
                messages: Vec::new(),
                read: HashMap::new(),
            })
    }
}

impl Conversation {
    /// Folds what was stored; the number when it is a message.
    fn take(&mut self, recorded: &Recorded, epoch: Epoch) -> Option<MessageNo> {
        evolve(&mut self.state, recorded);
        self.epoch = epoch;
        let Event::MessageSent {
            message_no,
            body,
            reply_to_no,
            thread_root_no,
        } = &recorded.event
        else {
            return None;
        };
        self.messages.push(MessageRow {
            conversation: recorded.conversation,
            message_no: *message_no,
            seq: recorded.seq,
            epoch,
            by: recorded.by,
            at: recorded.at,
            body: body.clone(),
            reply_to_no: *reply_to_no,
            thread_root_no: *thread_root_no,
            command_id: recorded.command_id,
        });
        self.read.insert(recorded.by, *message_no);
        Some(*message_no)
    }
}

#[async_trait]
impl CommandRouter for Owner {
    async fn submit(
        &self,
        command: Command,
        _retry: bool,
        _deadline: Duration,
        _trace: Option<TraceContext>,
    ) -> Result<Accepted, SubmitError> {
        let mut inner = self.inner.lock().await;
        self.store(&mut inner, &command).await
    }

    async fn mark(&self, mark: MarkRequest, _deadline: Duration) -> Result<(), SubmitError> {
        let lost = &self.faults.lost_marks;
        let lose = lost.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        });
        if lose.is_ok() {
            return if mark.wait_stored {
                Err(SubmitError::UnknownOutcome)
            } else {
                Ok(())
            };
        }
        let mut inner = self.inner.lock().await;
        let conversation = inner
            .conversations
            .get_mut(&mark.conversation)
            .ok_or(Rejection::NotFound)?;
        if !conversation.state.is_member(mark.user) {
            return Err(Rejection::NotFound.into());
        }
        let head = conversation.state.last_message_no();
        let read = conversation.read.entry(mark.user).or_default();
        *read = (*read).max(mark.read_no.unwrap_or_default().min(head));
        let moved = Ephemeral::Marker {
            conversation: mark.conversation,
            user: mark.user,
            read_no: mark.read_no.map(|_| *read),
            delivered_no: mark.delivered_no,
            at: SystemClock.now(),
        };
        let partition = PARTITIONS.partition_of(mark.conversation);
        self.bus
            .publish(Subject::Ephemeral(partition), moved.encode(), None)
            .await
            .ok();
        Ok(())
    }
}

/// For tests that act as an owner without an edge.
pub(crate) fn message(conversation: ConversationId, by: UserId, body: &str) -> Command {
    Command {
        id: hubbub_domain::ids::CommandId::from_uuid(fresh_uuid()),
        conversation,
        by,
        intent: hubbub_domain::conversation::Intent::SendMessage {
            body: body.to_owned(),
            reply_to_no: None,
            thread_root_no: None,
        },
    }
}

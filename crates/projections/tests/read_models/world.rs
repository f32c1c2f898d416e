//! A log, its read models and a script writer for tests: commands go through the real `decide`, rows through the real log.

use std::collections::BTreeMap;
use std::sync::Arc;

use hubbub_domain::conversation::decide::recorded;
use hubbub_domain::conversation::{
    Command, Decision, Event, Intent, NewConversation, Recorded, RequestKey, State, decide, evolve,
};
use hubbub_domain::ids::{CommandId, ConversationId, Incarnation, UserId};
use hubbub_domain::position::{Epoch, MessageNo, Offset, PartitionCount, PartitionId};
use hubbub_domain::time::Timestamp;
use hubbub_event_log::{
    AppendBatch, AppendOutcome, Claim, EventLog, Lane, Marker, MarkerUpdate, NodeRegistration,
};
use hubbub_projections::{Projection, Projections, Projector, Reader};
use hubbub_wire::stored::EventRow;
use uuid::Uuid;

pub(crate) const PARTITIONS: PartitionCount = PartitionCount::EMBEDDED;

/// User `n`.
pub(crate) fn user(n: u8) -> UserId {
    UserId::from_uuid(Uuid::from_u128(0xA0_u128 << 120 | u128::from(n)))
}

/// Everything a test needs.
pub(crate) struct World {
    pub(crate) projections: Projections,
    pub(crate) states: BTreeMap<ConversationId, State>,
    pub(crate) events: Vec<Recorded>,
    pub(crate) now: Timestamp,
    lane: Box<dyn Lane>,
    epochs: BTreeMap<PartitionId, Epoch>,
    heads: BTreeMap<PartitionId, Offset>,
    commands: u128,
}

impl World {
    /// Owns every partition of a fresh log.
    pub(crate) async fn new(log: Arc<dyn EventLog>, projections: Projections) -> Self {
        let me = Incarnation::from_uuid(Uuid::from_u128(1));
        log.init_cluster(PARTITIONS).await.unwrap();
        let registration = NodeRegistration {
            incarnation: me,
            node_id: "one".into(),
            addr: String::new(),
            max_level: 1,
        };
        log.register(&registration).await.unwrap();
        let claims: Vec<Claim> = log
            .partitions()
            .await
            .unwrap()
            .iter()
            .map(|row| Claim {
                partition: row.partition,
                expected_owner: row.owner,
                expected_epoch: row.epoch,
            })
            .collect();
        let acquired = log.acquire(me, &claims, "claim").await.unwrap();
        let lane = log.open_lane(me, 0).await.unwrap();
        Self {
            epochs: acquired
                .iter()
                .map(|taken| (taken.partition, taken.epoch))
                .collect(),
            heads: acquired
                .iter()
                .map(|taken| (taken.partition, taken.head))
                .collect(),
            projections,
            states: BTreeMap::new(),
            events: Vec::new(),
            now: Timestamp::from_millis(1_700_000_000_000),
            lane,
            commands: 0,
        }
    }

    pub(crate) fn reader(&self) -> Reader {
        self.projections.reader()
    }

    pub(crate) fn projector(&self, projection: Projection) -> Projector {
        self.projections
            .projector(projection, Arc::new(|| PARTITIONS.all().collect()))
    }

    /// Projects everything durable.
    pub(crate) async fn catch_up(&self) {
        for projection in [Projection::Inbox, Projection::History] {
            self.projector(projection).catch_up().await.unwrap();
        }
    }

    pub(crate) fn next_command(&mut self) -> CommandId {
        self.commands += 1;
        CommandId::from_uuid(Uuid::from_u128(0xC0_u128 << 120 | self.commands))
    }

    /// Makes a group or room owned by `by` with these others.
    pub(crate) async fn create(&mut self, by: UserId, new: NewConversation) -> ConversationId {
        let id = self.next_command();
        let conversation = match new.kind {
            hubbub_domain::conversation::Kind::Direct => ConversationId::direct(by, new.members[0]),
            hubbub_domain::conversation::Kind::Group | hubbub_domain::conversation::Kind::Room => {
                ConversationId::created(by, id)
            }
        };
        let command = Command {
            id,
            conversation,
            by,
            intent: Intent::Create(new),
        };
        self.submit_command(command).await.unwrap();
        conversation
    }

    /// Decides and stores; `None` when the rules say no or it is already so.
    pub(crate) async fn submit(
        &mut self,
        conversation: ConversationId,
        by: UserId,
        intent: Intent,
    ) -> Option<Recorded> {
        let id = self.next_command();
        self.submit_command(Command {
            id,
            conversation,
            by,
            intent,
        })
        .await
    }

    /// Says something.
    pub(crate) async fn say(
        &mut self,
        conversation: ConversationId,
        by: UserId,
        body: &str,
    ) -> Option<MessageNo> {
        let intent = Intent::SendMessage {
            body: body.into(),
            reply_to_no: None,
            thread_root_no: None,
        };
        match self.submit(conversation, by, intent).await?.event {
            Event::MessageSent { message_no, .. } => Some(message_no),
            _ => None,
        }
    }

    /// Says `count` things, many to an append.
    pub(crate) async fn say_many(
        &mut self,
        conversation: ConversationId,
        by: UserId,
        count: usize,
    ) {
        self.say_many_of(conversation, by, count, "x").await;
    }

    /// Says the same `count` times.
    pub(crate) async fn say_many_of(
        &mut self,
        conversation: ConversationId,
        by: UserId,
        count: usize,
        body: &str,
    ) {
        let partition = PARTITIONS.partition_of(conversation);
        let epoch = self.epochs[&partition];
        let mut rows = Vec::new();
        for number in 0..count {
            let id = self.next_command();
            let intent = Intent::SendMessage {
                body: body.into(),
                reply_to_no: None,
                thread_root_no: None,
            };
            let command = Command {
                id,
                conversation,
                by,
                intent,
            };
            let state = self.states.get_mut(&conversation).unwrap();
            let Decision::Store(event) = decide(state, &command).unwrap() else {
                return;
            };
            let recorded = recorded(state, &command, event, self.now);
            evolve(state, &recorded);
            let offset = self.heads[&partition].next();
            rows.push(EventRow::encode(partition, offset, epoch, &recorded).unwrap());
            self.heads.insert(partition, offset);
            self.events.push(recorded);
            if rows.len() == 100 || number + 1 == count {
                let batch = AppendBatch {
                    fence: vec![(partition, epoch)],
                    rows: std::mem::take(&mut rows),
                };
                let outcome = self.lane.append(batch).await;
                assert!(
                    matches!(outcome, AppendOutcome::Done { ref fenced, .. } if fenced.is_empty()),
                    "{outcome:?}"
                );
            }
        }
    }

    async fn submit_command(&mut self, command: Command) -> Option<Recorded> {
        self.now = self.now.plus_millis(1);
        let state = self
            .states
            .entry(command.conversation)
            .or_insert_with(|| State::absent(command.conversation));
        let Ok(Decision::Store(event)) = decide(state, &command) else {
            return None;
        };
        let recorded = recorded(state, &command, event, self.now);
        evolve(state, &recorded);
        let row = self.row(&recorded);
        self.append(row).await;
        self.events.push(recorded.clone());
        Some(recorded)
    }

    /// Where the last event of this conversation's partition is.
    pub(crate) fn head(&self, conversation: ConversationId) -> (PartitionId, Offset) {
        let partition = PARTITIONS.partition_of(conversation);
        (partition, self.heads[&partition])
    }

    /// The stored form at the next place of its partition.
    pub(crate) fn row(&self, recorded: &Recorded) -> EventRow {
        let partition = PARTITIONS.partition_of(recorded.conversation);
        EventRow::encode(
            partition,
            self.heads[&partition].next(),
            self.epochs[&partition],
            recorded,
        )
        .unwrap()
    }

    /// Appends one row as it is.
    pub(crate) async fn append(&mut self, row: EventRow) {
        let (partition, offset) = (row.partition, row.offset);
        let batch = AppendBatch {
            fence: vec![(partition, self.epochs[&partition])],
            rows: vec![row],
        };
        let outcome = self.lane.append(batch).await;
        assert!(
            matches!(outcome, AppendOutcome::Done { ref fenced, .. } if fenced.is_empty()),
            "{outcome:?}"
        );
        self.heads.insert(partition, offset);
    }

    /// Stores a read marker.
    pub(crate) async fn mark(
        &mut self,
        conversation: ConversationId,
        user: UserId,
        read_no: MessageNo,
    ) {
        let partition = PARTITIONS.partition_of(conversation);
        let marker = Marker {
            conversation,
            user,
            generation: 0,
            read_no,
            own_after: 0,
            delivered_no: read_no,
            at: self.now,
        };
        let fence = vec![(partition, self.epochs[&partition])];
        let outcome = self
            .lane
            .write_markers(fence, vec![MarkerUpdate { partition, marker }])
            .await;
        assert!(matches!(outcome, AppendOutcome::Done { .. }), "{outcome:?}");
    }
}

/// A conversation as tests make them.
pub(crate) fn new_conversation(
    kind: hubbub_domain::conversation::Kind,
    members: &[UserId],
) -> NewConversation {
    use hubbub_domain::conversation::{Kind, Settings, Visibility};
    NewConversation {
        kind,
        members: members.to_vec(),
        title: (kind != Kind::Direct).then(|| "Title".to_owned()),
        topic: None,
        visibility: if kind == Kind::Room {
            Visibility::Public
        } else {
            Visibility::Private
        },
        settings: Settings::default(),
        request_key: RequestKey::from_bytes([7; 32]),
    }
}

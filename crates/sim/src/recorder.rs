//! What a run writes down for the judge: the checker's history, and the bookkeeping to fill it.

use std::collections::{BTreeMap, BTreeSet};

use hubbub_checker::history::{Digest, Time};
use hubbub_checker::{
    Fold, FoldKind, History, LogRow, Loss, Operation, OperationKind, Outcome, OwnerSeen,
};
use hubbub_domain::conversation::State;
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{Epoch, Offset, PartitionId};
use hubbub_event_log::Acquired;
use hubbub_wire::stored::EventRow;
use uuid::Uuid;

use crate::wires::{To, Wires};

/// How long a node may not have heard of a new owner, in milliseconds: as long as it can be without the bus and the database at once (8 s),
/// and a look at the heads.
const HEARD_MS: u64 = 10_000;

/// The recorder of one run.
#[derive(Default)]
pub struct Recorder {
    /// What is judged.
    pub history: History,
    users: Vec<UserId>,
    /// When each row was committed, and under which epoch.
    committed: BTreeMap<(PartitionId, Offset), (Epoch, Time)>,
    last_commit_ms: u64,
    /// Conversations that the run has made.
    pub conversations: BTreeSet<ConversationId>,
    subscriptions: u64,
    /// Rows that a failover has lost, of partitions that nobody has begun anew since.
    lost: Vec<EventRow>,
    /// Conversations with a row that could not be read until a failover lost it, and until when that may still show.
    healed: BTreeMap<ConversationId, Time>,
}

/// Simulated milliseconds on the judge's clock.
pub const fn time(now_ms: u64) -> Time {
    now_ms.saturating_mul(1_000)
}

impl Recorder {
    /// Client number n is this user.
    pub fn add_user(&mut self, user: UserId) {
        self.users.push(user);
    }

    /// Who a client is.
    pub fn user_of(&self, client: usize) -> UserId {
        self.users
            .get(client)
            .copied()
            .unwrap_or_else(|| UserId::from_uuid(Uuid::nil()))
    }

    /// How many clients there are.
    pub fn users(&self) -> usize {
        self.users.len()
    }

    /// A subscription's number.
    pub fn new_subscription(&mut self) -> u64 {
        self.subscriptions = self.subscriptions.saturating_add(1);
        self.subscriptions
    }

    /// A row was committed.
    pub fn committed(&mut self, now_ms: u64, row: &EventRow) {
        self.last_commit_ms = now_ms;
        self.conversations.insert(row.conversation);
        self.committed
            .insert((row.partition, row.offset), (row.epoch, time(now_ms)));
    }

    /// When the last row was committed, in simulated milliseconds.
    pub const fn last_commit_ms(&self) -> u64 {
        self.last_commit_ms
    }

    /// What was read as the last word was not.
    pub fn reads_were_early(&mut self) {
        for read in &mut self.history.reads {
            read.is_quiet = false;
        }
    }

    /// When a row was committed.
    pub fn committed_at(&self, row: &EventRow) -> Option<Time> {
        self.committed
            .get(&(row.partition, row.offset))
            .filter(|(epoch, _)| *epoch == row.epoch)
            .map(|(_, at)| *at)
    }

    /// An attempt begins; the returned index names it.
    #[expect(clippy::too_many_arguments, reason = "the fields of one record")]
    pub fn attempt(
        &mut self,
        now_ms: u64,
        command: Uuid,
        conversation: Uuid,
        user: UserId,
        kind: OperationKind,
        body: Option<Digest>,
        node: usize,
        socket: Option<u64>,
    ) -> usize {
        self.history.operations.push(Operation {
            command,
            conversation,
            user: user.uuid(),
            kind,
            body,
            node: u32::try_from(node).unwrap_or(u32::MAX),
            socket,
            invoked_at: time(now_ms),
            ended_at: Time::MAX,
            outcome: Outcome::Open,
            depends_on: None,
        });
        self.history.operations.len().saturating_sub(1)
    }

    /// It ended so.
    pub fn ended(&mut self, index: usize, now_ms: u64, outcome: Outcome) {
        if let Some(operation) = self.history.operations.get_mut(index)
            && operation.outcome == Outcome::Open
        {
            operation.ended_at = time(now_ms);
            operation.outcome = outcome;
        }
    }

    /// A failover has lost these rows: everything committed that is not in the log any more. Until somebody begins the partition under a new
    /// epoch, what was lost may still be shown by whoever has it in hand; and where one of them could not be read, it may still be missing.
    pub fn failed_over(&mut self, rows: Vec<EventRow>, healed: BTreeSet<ConversationId>) {
        self.lost.extend(rows);
        self.healed
            .extend(healed.into_iter().map(|id| (id, Time::MAX)));
    }

    /// Whether something of the conversation is lost and nobody can know it yet.
    pub fn is_unnoticed(&self, conversation: ConversationId) -> bool {
        self.lost.iter().any(|row| row.conversation == conversation)
    }

    /// Whether at this time a row of the conversation may have been missing that could not be read, and that the log has lost since.
    pub fn was_unreadable(&self, conversation: ConversationId, at: Time) -> bool {
        self.healed
            .get(&conversation)
            .is_some_and(|until| at <= *until)
    }

    /// A new owner begins.
    fn begun(&mut self, now_ms: u64, partition: PartitionId) {
        let begun = |row: &EventRow| row.partition == partition;
        let rows: Vec<EventRow> = self.lost.extract_if(.., |row| begun(row)).collect();
        self.date_losses(now_ms, &rows);
    }

    /// The run ends: what nobody has noticed is dated now.
    pub fn ends(&mut self, now_ms: u64) {
        let rows = std::mem::take(&mut self.lost);
        self.date_losses(now_ms, &rows);
    }

    fn date_losses(&mut self, now_ms: u64, rows: &[EventRow]) {
        let mut first: BTreeMap<ConversationId, (u64, u64)> = BTreeMap::new();
        for row in rows {
            let (seq, epoch) = first
                .entry(row.conversation)
                .or_insert((row.seq.get(), row.epoch.get()));
            *seq = (*seq).min(row.seq.get());
            *epoch = (*epoch).max(row.epoch.get());
        }
        let heard_by = time(now_ms.saturating_add(HEARD_MS));
        for (conversation, (from_seq, epoch)) in first {
            self.history.losses.push(Loss {
                at: time(now_ms),
                conversation: conversation.uuid(),
                from_seq,
                epoch,
                heard_by,
            });
            if let Some(until) = self.healed.get_mut(&conversation) {
                *until = heard_by;
            }
        }
    }

    /// A row of the log in the end.
    pub fn row(&mut self, row: &EventRow, crc_ok: bool) {
        let committed_at = self.committed_at(row);
        self.history.log.push(LogRow {
            partition: u32::from(row.partition.get()),
            offset: row.offset.get(),
            epoch: row.epoch.get(),
            conversation: row.conversation.uuid(),
            seq: row.seq.get(),
            command: row.command_id.uuid(),
            crc_ok,
            committed_at,
        });
    }
}

/// Partitions were acquired.
pub fn acquired(wires: &mut Wires, by: To, reason: &'static str, taken: &[Acquired]) {
    for taken in taken {
        wires.recorder.begun(wires.now_ms, taken.partition);
    }
    let count = u64::try_from(taken.len()).unwrap_or(0);
    if count > 0 {
        wires.counters.add(
            match reason {
                "takeover" => "takeovers",
                "in_doubt" => "doubts resolved by a new epoch",
                _ => "claims",
            },
            count,
        );
        wires.trace.line(wires.now_ms, || {
            format!("database: n{} acquires {taken:?} ({reason})", by.node)
        });
    }
}

/// A partition is served.
pub fn serves(wires: &mut Wires, by: To, taken: &Acquired) {
    wires.recorder.history.owners.push(OwnerSeen {
        at: time(wires.now_ms),
        partition: u32::from(taken.partition.get()),
        epoch: taken.epoch.get(),
        owner: by.incarnation().uuid(),
    });
}

/// A state that an owner has loaded, beside the fold from the first event (I13).
pub fn owner_state(wires: &mut Wires, conversation: ConversationId, state: &State) {
    let Ok(expected) = crate::store::load_from_start(wires, conversation) else {
        return;
    };
    let (expected, found) = if expected.state == *state {
        (Digest(0), Digest(0))
    } else {
        (
            Digest::of(&format!("{:?}", expected.state)),
            Digest::of(&format!("{state:?}")),
        )
    };
    wires.recorder.history.folds.push(Fold {
        kind: FoldKind::Owner,
        what: conversation.to_string(),
        through: state.last_seq().get(),
        expected,
        found,
    });
}

//! The sequencer of one partition, without I/O: dense offsets, what is in flight, what a commit publishes.
//!
//! ```text
//! offset   … 41  42 | 43  44  45 | 46
//!          durable  | in flight  | next          a take-back sets next = 43 and starts a new round
//! ```

use std::collections::{BTreeMap, HashMap, VecDeque};

use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{Epoch, Offset, PartitionId, Seq};
use hubbub_telemetry::TraceContext;
use hubbub_wire::bus::{EvBatch, EvEntry};
use hubbub_wire::stored::{EncodeError, EventRow};

use crate::conversation::turn::{Decided, Round};
use crate::lane::queue::LaneRow;
use crate::sabotage;

/// Where a partition stands at this node (ARCHITECTURE.md §5). Acquiring is the ownership loop's; the actor begins with Recovering.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Its lane is being told about it.
    Recovering,
    /// Accepts commands.
    Serving,
    /// Finishes what is in flight and writes snapshots.
    HandingOff,
    /// Someone else owns it.
    Fenced,
    /// An append has no definite answer.
    InDoubt,
    /// The log contradicts this process.
    Broken,
    /// Told to stop.
    Stopped,
}

impl Phase {
    /// Whether replies may still say something definite.
    pub const fn answers(self) -> bool {
        matches!(self, Self::Recovering | Self::Serving | Self::HandingOff)
    }
}

/// The sequencer.
#[derive(Debug)]
pub struct PartitionCore {
    partition: PartitionId,
    epoch: Epoch,
    phase: Phase,
    round: Round,
    durable: Offset,
    next: Offset,
    /// Sent to the lane, not durable; ascending and dense. Bounded by the partition's permits.
    in_flight: VecDeque<InFlight>,
    /// How many of them each conversation has.
    per_conversation: HashMap<ConversationId, usize>,
}

#[derive(Debug)]
struct InFlight {
    row: EventRow,
    recipients: Option<Vec<UserId>>,
    trace: Option<TraceContext>,
}

impl InFlight {
    fn entry(&self) -> EvEntry {
        EvEntry {
            row: self.row.clone(),
            recipients: self.recipients.clone(),
        }
    }
}

/// Events for the bus, with the trace of the first command of its commit that has one.
pub type Publication = (EvBatch, Option<TraceContext>);

/// Why an event got no place.
#[derive(Debug)]
pub enum NoPlace {
    /// Decided in a round that was taken back, or the partition has left Serving: its conversation knows or will be told.
    Void,
    /// It has no stored form: a bug; nothing of the partition is touched.
    Unstorable(EncodeError),
}

/// What a commit leads to.
#[derive(Debug, Default)]
pub struct Committed {
    /// The newest durable seq of each conversation concerned.
    pub conversations: BTreeMap<ConversationId, Seq>,
    /// What to publish.
    pub publication: Option<Publication>,
    /// How many events.
    pub events: usize,
}

impl PartitionCore {
    pub fn new(partition: PartitionId, epoch: Epoch, head: Offset) -> Self {
        Self {
            partition,
            epoch,
            phase: Phase::Recovering,
            round: Round::default(),
            durable: head,
            next: head.next(),
            in_flight: VecDeque::new(),
            per_conversation: HashMap::new(),
        }
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    pub fn round(&self) -> Round {
        self.round
    }

    /// Whether rows of this conversation may still become durable.
    pub fn is_in_flight(&self, conversation: ConversationId) -> bool {
        self.per_conversation.contains_key(&conversation)
    }

    /// From Recovering on.
    pub fn serve(&mut self) {
        if self.phase == Phase::Recovering {
            self.phase = Phase::Serving;
        }
    }

    /// From Serving on.
    pub fn hand_off(&mut self) {
        if self.phase.answers() {
            self.phase = Phase::HandingOff;
        }
    }

    /// Leaves Serving for good. `false` when it had been left before.
    pub fn leave(&mut self, to: Phase) -> bool {
        if !self.phase.answers() {
            return false;
        }
        self.phase = to;
        self.in_flight.clear();
        self.per_conversation.clear();
        true
    }

    /// Gives an event its offset and its stored form.
    pub fn place(
        &mut self,
        round: Round,
        decided: Decided,
        trace: Option<TraceContext>,
    ) -> Result<LaneRow, NoPlace> {
        if round != self.round || !self.phase.answers() {
            return Err(NoPlace::Void);
        }
        let conversation = decided.recorded.conversation;
        let row = EventRow::encode(self.partition, self.next, self.epoch, &decided.recorded)
            .map_err(NoPlace::Unstorable)?;
        self.next = self.next.next();
        self.in_flight.push_back(InFlight {
            row: row.clone(),
            recipients: decided.recipients,
            trace: trace.clone(),
        });
        let count = self.per_conversation.entry(conversation).or_default();
        *count = count.saturating_add(1);
        Ok(LaneRow {
            row,
            deadline: decided.deadline,
            trace,
        })
    }

    /// Everything up to `through` is durable.
    pub fn committed(&mut self, through: Offset) -> Committed {
        let mut committed = Committed::default();
        let mut events = Vec::new();
        let mut first_trace = None;
        while self
            .in_flight
            .front()
            .is_some_and(|first| first.row.offset <= through)
        {
            let Some(InFlight {
                row,
                recipients,
                trace,
            }) = self.in_flight.pop_front()
            else {
                break;
            };
            committed.events = committed.events.saturating_add(1);
            committed.conversations.insert(row.conversation, row.seq);
            if let Some(count) = self.per_conversation.get_mut(&row.conversation) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.per_conversation.remove(&row.conversation);
                }
            }
            first_trace = first_trace.or(trace);
            events.push(EvEntry { row, recipients });
        }
        self.durable = self.durable.max(through);
        if sabotage::PUBLISH_BEFORE_COMMIT {
            events.extend(self.in_flight.iter().map(InFlight::entry));
        }
        if sabotage::SWAPPED_PUBLISHES {
            sabotage::swap_neighbours(&mut events);
        }
        if let Some(first) = events.first() {
            let batch = EvBatch {
                partition: self.partition,
                epoch: self.epoch,
                base_offset: first.row.offset,
                events,
            };
            committed.publication = Some((batch, first_trace));
        }
        committed
    }

    /// Nothing in flight was stored: its offsets are free again, and what was decided so far is void.
    pub fn take_back(&mut self, round: Round) {
        self.round = self.round.max(round);
        self.next = self.durable.next();
        self.in_flight.clear();
        self.per_conversation.clear();
    }
}

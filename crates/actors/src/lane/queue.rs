//! What waits for a lane, and how a batch is drawn from it: fair over partitions, in order within each, bounded.
//!
//! ```text
//! p1  ▮▮▮▮▮▮▮▮▮▮▮▮        turns of TURN_ROWS each, round and round,
//! p2  ▮▮                  until the batch is full or nobody waits
//! p3  ▮▮▮▮▮
//! ```

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use hubbub_domain::position::{Epoch, PartitionId};
use hubbub_event_log::port::{APPEND_BYTES_MAX, APPEND_ROWS_MAX};
use hubbub_event_log::{AppendBatch, MarkerUpdate};
use hubbub_telemetry::TraceContext;
use hubbub_wire::stored::EventRow;

use crate::conversation::turn::Round;

/// Rows that a partition adds before the next one has its turn: small against a batch, so that a flood in one partition leaves room.
const TURN_ROWS: usize = 32;
/// Markers in one statement at most, over all partitions: what the log takes. One partition brings at most as many (`MARKS_WRITE_MAX`).
const MARKERS_MAX: usize = APPEND_ROWS_MAX;

/// A row that waits, with what is needed of its command.
#[derive(Clone, Debug)]
pub struct LaneRow {
    pub row: EventRow,
    pub deadline: Instant,
    /// The command's trace, which the append links to.
    pub trace: Option<TraceContext>,
}

/// Everything that waits for one lane. Bounded by the node's permits and by one marker write per partition.
#[derive(Debug, Default)]
pub struct LaneQueue {
    partitions: HashMap<PartitionId, Backlog>,
    /// Partitions with rows, in the order of their turns; each once.
    turns: VecDeque<PartitionId>,
    /// Partitions with a marker write; each once.
    marking: VecDeque<PartitionId>,
    /// Of all partitions together.
    rows: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Backlog {
    epoch: Epoch,
    round: Round,
    rows: VecDeque<LaneRow>,
    /// No row has an earlier deadline; so that rows are looked at one by one only when there may be something to find.
    earliest: Option<Instant>,
    markers: Vec<MarkerUpdate>,
}

impl Backlog {
    fn admit(&mut self, deadline: Instant) {
        let earliest = self
            .earliest
            .map_or(deadline, |earliest| earliest.min(deadline));
        self.earliest = Some(earliest);
    }

    fn has_expired(&mut self, now: Instant) -> bool {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return false;
        }
        // That row may have left since.
        self.earliest = self.rows.iter().map(|row| row.deadline).min();
        self.earliest.is_some_and(|earliest| earliest <= now)
    }
}

/// A batch of rows, with what is needed to put it back.
#[derive(Debug, Default)]
pub struct Drawn {
    /// By partition, ascending; rows ascending by offset.
    pub parts: BTreeMap<PartitionId, Part>,
}

/// One partition's rows in a batch.
#[derive(Clone, Debug)]
pub struct Part {
    pub epoch: Epoch,
    pub rows: Vec<LaneRow>,
}

impl Drawn {
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub fn rows(&self) -> usize {
        self.parts.values().map(|part| part.rows.len()).sum()
    }

    /// The traces of its commands.
    pub fn traces(&self) -> impl Iterator<Item = &TraceContext> {
        let rows = self.parts.values().flat_map(|part| part.rows.iter());
        rows.filter_map(|row| row.trace.as_ref())
    }

    /// As the log takes it.
    pub fn batch(&self) -> AppendBatch {
        AppendBatch {
            fence: self
                .parts
                .iter()
                .map(|(partition, part)| (*partition, part.epoch))
                .collect(),
            rows: self
                .parts
                .values()
                .flat_map(|part| part.rows.iter().map(|lane_row| lane_row.row.clone()))
                .collect(),
        }
    }
}

impl LaneQueue {
    /// Begins to take rows of a partition.
    pub fn open(&mut self, partition: PartitionId, epoch: Epoch) {
        self.forget(partition);
        let backlog = Backlog {
            epoch,
            round: Round::default(),
            rows: VecDeque::new(),
            earliest: None,
            markers: Vec::new(),
        };
        self.partitions.insert(partition, backlog);
    }

    /// Drops what waits of a partition, unless it has been opened under another epoch since.
    pub fn close(&mut self, partition: PartitionId, epoch: Epoch) {
        if self.epoch(partition) == Some(epoch) {
            self.forget(partition);
        }
    }

    /// The epoch under which a partition is open here.
    pub fn epoch(&self, partition: PartitionId) -> Option<Epoch> {
        self.partitions.get(&partition).map(|backlog| backlog.epoch)
    }

    /// Adds a row, unless its ownership or its round is over.
    pub fn push(&mut self, partition: PartitionId, epoch: Epoch, round: Round, row: LaneRow) {
        let Some(backlog) = self.partitions.get_mut(&partition) else {
            return;
        };
        if (backlog.epoch, backlog.round) != (epoch, round) {
            return;
        }
        if backlog.rows.is_empty() {
            self.turns.push_back(partition);
        }
        backlog.admit(row.deadline);
        self.rows = self.rows.saturating_add(1);
        self.bytes = self.bytes.saturating_add(row.row.size_bytes());
        backlog.rows.push_back(row);
    }

    /// Adds a marker write.
    pub fn push_markers(
        &mut self,
        partition: PartitionId,
        epoch: Epoch,
        markers: Vec<MarkerUpdate>,
    ) {
        let Some(backlog) = self.partitions.get_mut(&partition) else {
            return;
        };
        if backlog.epoch != epoch || markers.is_empty() {
            return;
        }
        if backlog.markers.is_empty() {
            self.marking.push_back(partition);
        }
        backlog.markers.extend(markers);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty() && self.marking.is_empty()
    }

    /// Rows that wait.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of the rows that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The next batch of rows.
    pub fn draw(&mut self) -> Drawn {
        let mut drawn = Drawn::default();
        let mut rows = 0_usize;
        let mut bytes = 0_usize;
        'full: while let Some(partition) = self.turns.pop_front() {
            let Some(backlog) = self.partitions.get_mut(&partition) else {
                continue;
            };
            for _ in 0..TURN_ROWS {
                let Some(next) = backlog.rows.front() else {
                    break;
                };
                let size = next.row.size_bytes();
                let fits = rows < APPEND_ROWS_MAX && bytes.saturating_add(size) <= APPEND_BYTES_MAX;
                // A row larger than a whole batch still goes, alone: refusing it would hold its partition up for ever.
                if !fits && rows > 0 {
                    self.turns.push_front(partition);
                    break 'full;
                }
                let Some(row) = backlog.rows.pop_front() else {
                    break;
                };
                rows = rows.saturating_add(1);
                bytes = bytes.saturating_add(size);
                let part = drawn.parts.entry(partition).or_insert_with(|| Part {
                    epoch: backlog.epoch,
                    rows: Vec::new(),
                });
                part.rows.push(row);
            }
            if !backlog.rows.is_empty() {
                self.turns.push_back(partition);
            }
        }
        self.rows = self.rows.saturating_sub(rows);
        self.bytes = self.bytes.saturating_sub(bytes);
        drawn
    }

    /// Puts a part of a batch back before what has come since, unless its ownership is over.
    pub fn put_back(&mut self, partition: PartitionId, part: Part) {
        let Some(backlog) = self.partitions.get_mut(&partition) else {
            return;
        };
        if backlog.epoch != part.epoch || part.rows.is_empty() {
            return;
        }
        if backlog.rows.is_empty() {
            self.turns.push_front(partition);
        }
        for row in part.rows.into_iter().rev() {
            backlog.admit(row.deadline);
            self.rows = self.rows.saturating_add(1);
            self.bytes = self.bytes.saturating_add(row.row.size_bytes());
            backlog.rows.push_front(row);
        }
    }

    /// Partitions in which a command that has not been sent is past its deadline.
    pub fn expired(&mut self, now: Instant) -> Vec<PartitionId> {
        let mut expired = Vec::new();
        for partition in &self.turns {
            if let Some(backlog) = self.partitions.get_mut(partition)
                && backlog.has_expired(now)
            {
                expired.push(*partition);
            }
        }
        expired
    }

    /// Drops the rows of a partition and begins a new round, which is returned: rows of older rounds are no longer taken.
    pub fn take_back(&mut self, partition: PartitionId) -> Option<Round> {
        let backlog = self.partitions.get_mut(&partition)?;
        for row in backlog.rows.drain(..) {
            self.rows = self.rows.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(row.row.size_bytes());
        }
        backlog.earliest = None;
        backlog.round = backlog.round.next();
        self.turns.retain(|other| *other != partition);
        Some(backlog.round)
    }

    /// The next marker write, over partitions: fence and updates, ascending by partition.
    pub fn draw_markers(&mut self) -> (Vec<(PartitionId, Epoch)>, Vec<MarkerUpdate>) {
        let mut parts: BTreeMap<PartitionId, (Epoch, Vec<MarkerUpdate>)> = BTreeMap::new();
        let mut count = 0_usize;
        while let Some(partition) = self.marking.front().copied() {
            let waiting = self
                .partitions
                .get(&partition)
                .map_or(0, |backlog| backlog.markers.len());
            if count > 0 && count.saturating_add(waiting) > MARKERS_MAX {
                break;
            }
            self.marking.pop_front();
            if let Some(backlog) = self.partitions.get_mut(&partition) {
                count = count.saturating_add(waiting);
                parts.insert(
                    partition,
                    (backlog.epoch, std::mem::take(&mut backlog.markers)),
                );
            }
        }
        let fence = parts
            .iter()
            .map(|(partition, (epoch, _))| (*partition, *epoch))
            .collect();
        let updates = parts
            .into_values()
            .flat_map(|(_, markers)| markers)
            .collect();
        (fence, updates)
    }

    fn forget(&mut self, partition: PartitionId) {
        if let Some(backlog) = self.partitions.remove(&partition) {
            for row in backlog.rows {
                self.rows = self.rows.saturating_sub(1);
                self.bytes = self.bytes.saturating_sub(row.row.size_bytes());
            }
        }
        self.turns.retain(|other| *other != partition);
        self.marking.retain(|other| *other != partition);
    }
}

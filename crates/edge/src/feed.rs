//! One partition's events in order, whatever the bus does to them: dense offsets, duplicates dropped, gaps healed from the log.
//!
//! A sans-I/O core: inputs are batches, heads, rows read and the time; outputs are [`Effect`]s. The shell is [`crate::fanout`].
//!
//! ```text
//! next = 5     batch [5 6 7] → deliver 5 6 7          next = 8
//!              batch [6 7]   → dropped, seen before
//!              batch [9]     → held; 150 ms for 8 to come; then one read of the log from 8 on
//!              head 9        → the same when the batch itself was lost
//! ```
//!
//! Never: I/O, a clock, more than [`HELD_EVENTS_MAX`] events in hand.

use std::collections::BTreeMap;

use hubbub_domain::position::{Epoch, Offset, PartitionId};
use hubbub_event_log::ReadError;
use hubbub_wire::bus::{EvBatch, EvEntry, PartitionHead};
use hubbub_wire::stored::EventRow;

/// Events of one partition held back behind a gap at most (ARCHITECTURE.md §7); what comes on top is read from the log later.
pub const HELD_EVENTS_MAX: usize = 4_096;
/// How long a gap may close by itself: messages of different publishers overtake each other by less than this.
pub const REORDER_WAIT_MS: u64 = 150;
/// Pause before a range is read again when the last read failed or brought nothing.
pub const RETRY_WAIT_MS: u64 = 500;
/// Rows of one range read.
pub const RANGE_ROWS: usize = 512;

/// What the shell has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Give these events out: the next ones, ascending and dense. Rows that came from the log have no recipients.
    Deliver(Vec<EvEntry>),
    /// Read rows with offset > `after` and bring them to [`PartitionFeed::on_range`]. One at a time.
    Fetch {
        /// After this offset: the one before the last delivered, so that the lineage is checked by the way.
        after: Offset,
    },
    /// What was delivered is no longer in the log (P9): tell everyone, then [`PartitionFeed::boot`] again.
    LineageLost,
}

/// The feed of one partition.
#[derive(Debug)]
pub struct PartitionFeed {
    partition: PartitionId,
    /// The next offset to deliver; `None` until booted.
    next: Option<Offset>,
    /// The newest epoch heard of.
    epoch: Epoch,
    /// The highest offset heard of.
    head: Offset,
    /// The last event delivered: its place and epoch, to recognise it in the log.
    last: Option<(Offset, Epoch)>,
    /// Events beyond a gap.
    held: BTreeMap<Offset, EvEntry>,
    /// When to read the log because of a gap.
    due_ms: Option<u64>,
    /// The one read in flight.
    fetching: Option<Fetching>,
    healed: Option<Healed>,
    duplicates: u64,
}

/// A read of the log in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fetching {
    after: Offset,
    /// The event that the first row must be, if the log still holds what was delivered.
    first: Option<(Offset, Epoch)>,
    /// What the read is for.
    heals: Healed,
}

/// What a read of the log made good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Healed {
    /// Later events had come before it.
    Gap,
    /// Only a head told of it.
    Last,
}

impl PartitionFeed {
    /// Not yet booted: events are held until [`PartitionFeed::boot`].
    pub fn new(partition: PartitionId) -> Self {
        Self {
            partition,
            next: None,
            epoch: Epoch::ZERO,
            head: Offset::ZERO,
            last: None,
            held: BTreeMap::new(),
            due_ms: None,
            fetching: None,
            healed: None,
            duplicates: 0,
        }
    }

    /// What the last read made good, if anything.
    pub fn take_healed(&mut self) -> Option<Healed> {
        self.healed.take()
    }

    /// Events that had been delivered before and came again, since this was last asked.
    pub fn take_duplicates(&mut self) -> u64 {
        std::mem::take(&mut self.duplicates)
    }

    /// Events held behind a gap.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Everything up to `head` counts as delivered; begins to deliver after it.
    pub fn boot(&mut self, head: PartitionHead, now_ms: u64) -> Vec<Effect> {
        self.next = Some(head.head.next());
        self.epoch = self.epoch.max(head.epoch);
        self.head = self.head.max(head.head);
        self.last = None;
        self.fetching = None;
        self.advance(now_ms, false)
    }

    /// Whether it delivers.
    pub fn is_booted(&self) -> bool {
        self.next.is_some()
    }

    /// A batch from the bus.
    pub fn on_batch(&mut self, batch: EvBatch, now_ms: u64) -> Vec<Effect> {
        let mut expected = batch.base_offset;
        for entry in &batch.events {
            if entry.row.offset != expected || entry.row.partition != self.partition {
                // Nobody sends this; what it would have said is read from the log.
                return Vec::new();
            }
            expected = expected.next();
        }
        if self.is_newer_and_below(batch.epoch, batch.base_offset.prev()) {
            self.epoch = batch.epoch;
            return self.lose_lineage();
        }
        self.epoch = self.epoch.max(batch.epoch);
        self.head = self.head.max(expected.prev());
        for entry in batch.events {
            self.hold(entry);
        }
        self.advance(now_ms, false)
    }

    /// Where the partition stands, from a broadcast or from the log.
    pub fn on_head(&mut self, head: PartitionHead, now_ms: u64) -> Vec<Effect> {
        if self.is_newer_and_below(head.epoch, head.head) {
            self.epoch = head.epoch;
            return self.lose_lineage();
        }
        self.epoch = self.epoch.max(head.epoch);
        self.head = self.head.max(head.head);
        self.advance(now_ms, false)
    }

    /// What [`Effect::Fetch`] with this `after` brought.
    pub fn on_range(
        &mut self,
        after: Offset,
        rows: Result<Vec<EventRow>, ReadError>,
        now_ms: u64,
    ) -> Vec<Effect> {
        let Some(fetching) = self.fetching.take_if(|fetching| fetching.after == after) else {
            return Vec::new();
        };
        let Ok(rows) = rows else {
            self.due_ms = Some(now_ms.saturating_add(RETRY_WAIT_MS));
            return Vec::new();
        };
        if let Some((offset, epoch)) = fetching.first {
            let same = rows
                .first()
                .is_some_and(|row| row.offset == offset && row.epoch == epoch);
            if !same {
                return self.lose_lineage();
            }
        }
        let before = self.next;
        let duplicates = self.duplicates;
        for row in rows {
            self.head = self.head.max(row.offset);
            self.hold(EvEntry {
                row,
                recipients: None,
            });
        }
        // The overlap with what was delivered is no repetition by the bus.
        self.duplicates = duplicates;
        let mut effects = self.advance(now_ms, true);
        self.healed = (self.next != before).then_some(fetching.heals);
        if self.has_gap() {
            // A long gap is read piece by piece without a pause; a read that brought nothing is tried again later.
            let pause = if self.next == before {
                RETRY_WAIT_MS
            } else {
                0
            };
            self.due_ms = Some(now_ms.saturating_add(pause));
            effects.extend(self.on_time(now_ms));
        }
        effects
    }

    /// The time has come, or may have.
    pub fn on_time(&mut self, now_ms: u64) -> Vec<Effect> {
        let due = self.due_ms.is_some_and(|due| due <= now_ms);
        if !due || self.fetching.is_some() || !self.has_gap() {
            return Vec::new();
        }
        let Some(next) = self.next else {
            return Vec::new();
        };
        let after = match self.last {
            Some((last, _)) => last.prev(),
            None => next.prev(),
        };
        let heals = if self.held.is_empty() {
            Healed::Last
        } else {
            Healed::Gap
        };
        self.fetching = Some(Fetching {
            after,
            first: self.last,
            heals,
        });
        vec![Effect::Fetch { after }]
    }

    /// When [`PartitionFeed::on_time`] wants to be called.
    pub fn deadline_ms(&self) -> Option<u64> {
        if self.fetching.is_some() {
            None
        } else {
            self.due_ms
        }
    }

    /// A newer owner begins below what was delivered: it does not know those events.
    fn is_newer_and_below(&self, epoch: Epoch, head: Offset) -> bool {
        let Some(next) = self.next else { return false };
        epoch > self.epoch && head < next.prev()
    }

    fn lose_lineage(&mut self) -> Vec<Effect> {
        self.next = None;
        self.last = None;
        self.head = Offset::ZERO;
        self.held.clear();
        self.due_ms = None;
        self.fetching = None;
        vec![Effect::LineageLost]
    }

    fn hold(&mut self, entry: EvEntry) {
        let offset = entry.row.offset;
        if self.next.is_some_and(|next| offset < next) {
            self.duplicates = self.duplicates.saturating_add(1);
            return;
        }
        match self.held.get(&offset) {
            // The same event again: one that names its recipients saves work. A newer epoch's event replaces an older one's.
            Some(held) if held.row.epoch > entry.row.epoch => {}
            Some(held)
                if held.row.epoch == entry.row.epoch
                    && (held.recipients.is_some() || entry.recipients.is_none()) => {}
            Some(_) => {
                self.held.insert(offset, entry);
            }
            None => {
                if self.held.len() >= HELD_EVENTS_MAX {
                    // Keep what comes first.
                    let last = self.held.last_key_value().map(|(last, _)| *last);
                    if last.is_none_or(|last| last <= offset) {
                        return;
                    }
                    self.held.pop_last();
                }
                self.held.insert(offset, entry);
            }
        }
    }

    /// Delivers what is next in line and starts or ends the wait for a gap.
    fn advance(&mut self, now_ms: u64, keep_due: bool) -> Vec<Effect> {
        let Some(mut next) = self.next else {
            return Vec::new();
        };
        let mut ready = Vec::new();
        while let Some(entry) = self.held.first_entry() {
            let offset = *entry.key();
            if offset > next {
                break;
            }
            let entry = entry.remove();
            if offset == next {
                self.last = Some((offset, entry.row.epoch));
                self.epoch = self.epoch.max(entry.row.epoch);
                ready.push(entry);
                next = next.next();
            }
        }
        self.next = Some(next);
        if !self.has_gap() {
            self.due_ms = None;
        } else if !keep_due && (self.due_ms.is_none() || !ready.is_empty()) {
            self.due_ms = Some(now_ms.saturating_add(REORDER_WAIT_MS));
        }
        if ready.is_empty() {
            Vec::new()
        } else {
            vec![Effect::Deliver(ready)]
        }
    }

    fn has_gap(&self) -> bool {
        self.next
            .is_some_and(|next| !self.held.is_empty() || self.head >= next)
    }
}

#[cfg(test)]
mod tests;

//! One partition's events in order, whatever the bus does to them: dense offsets, duplicates dropped, gaps healed.
//!
//! A sans-I/O core: inputs are batches, heads, pieces read and the time; outputs are [`Effect`]s. The shell is [`crate::fanout`].
//!
//! ```text
//! next = 5     batch [5 6 7] → deliver 5 6 7          next = 8
//!              batch [6 7]   → dropped, seen before
//!              batch [9]     → held; 150 ms for 8 to come; then one read from 8 on: the owner's ring first, the log if it is not there
//!              head 9        → the same when the batch itself was lost
//!              a new epoch   → nothing of it before a read of the log has shown that 7 is still what it was
//! ```
//!
//! The last rule is what notices a failover that lost commits: the new owner goes on from an earlier offset, and its events may reach
//! this node only beyond what was delivered. Events of an older epoch than the newest heard of are not taken from the bus at all.
//!
//! Never: I/O, a clock, more than [`HELD_EVENTS_MAX`] events in hand.

mod said;

use std::collections::BTreeMap;

use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::{Epoch, Offset, PartitionId};
use hubbub_wire::bus::{EvBatch, EvEntry, PartitionHead};
use hubbub_wire::stored::EventRow;

pub use self::said::{Effect, Fetched, Healed, Loss, Source};

/// Events of one partition held back behind a gap at most (ARCHITECTURE.md §7); what comes on top is read from the log later.
pub const HELD_EVENTS_MAX: usize = 4_096;
/// How long a gap may close by itself: messages of different publishers overtake each other by less than this.
pub const REORDER_WAIT_MS: u64 = 150;
/// Pause before a range is read again when the last read failed or brought nothing.
pub const RETRY_WAIT_MS: u64 = 500;
/// A read that has not come back after this long is taken for lost and asked for anew.
pub const FETCH_PATIENCE_MS: u64 = 30_000;
/// Rows of one range read.
pub const RANGE_ROWS: usize = 512;

/// The feed of one partition.
#[derive(Debug)]
pub struct PartitionFeed {
    partition: PartitionId,
    /// The next offset to deliver; `None` until booted.
    next: Option<Offset>,
    /// The newest epoch heard of, and who has it when a head said so.
    epoch: Epoch,
    owner: Option<Incarnation>,
    /// Up to this epoch the log is known to continue what was delivered.
    sound: Epoch,
    /// The highest offset heard of under `epoch`.
    head: Offset,
    /// What was delivered last, to recognise it in the log.
    last: Option<Delivered>,
    /// Events beyond a gap, all said under `epoch`.
    held: BTreeMap<Offset, EvEntry>,
    /// When to read because of a gap.
    due_ms: Option<u64>,
    /// The one read in flight.
    fetching: Option<Fetching>,
    /// The ring did not have what is missing now.
    ring_lacks: bool,
    healed: Option<Healed>,
    duplicates: u64,
    /// The epoch of what was delivered last before lineage was lost.
    lost_after: Epoch,
}

/// The last event delivered, or the last before the boot, of which only the newest possible epoch is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Delivered {
    offset: Offset,
    epoch: Epoch,
    exact: bool,
}

impl Delivered {
    fn is(self, row: &EventRow) -> bool {
        row.offset == self.offset
            && (row.epoch == self.epoch || (!self.exact && row.epoch < self.epoch))
    }
}

/// A read in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fetching {
    after: Offset,
    from: Source,
    /// The event that the first row must be, if the log still holds what was delivered.
    first: Option<Delivered>,
    /// The newest epoch when it was asked: what it shows is sound up to there.
    epoch: Epoch,
    loss: Loss,
    since_ms: u64,
}

impl PartitionFeed {
    /// Not yet booted: events are held until [`PartitionFeed::boot`].
    pub fn new(partition: PartitionId) -> Self {
        Self {
            partition,
            next: None,
            epoch: Epoch::ZERO,
            owner: None,
            sound: Epoch::ZERO,
            head: Offset::ZERO,
            last: None,
            held: BTreeMap::new(),
            due_ms: None,
            fetching: None,
            ring_lacks: false,
            healed: None,
            duplicates: 0,
            lost_after: Epoch::ZERO,
        }
    }

    /// After [`Effect::LineageLost`]: no event of this epoch or earlier was lost that lies before the first epoch behind it.
    pub fn lost_after(&self) -> Epoch {
        self.lost_after
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

    /// Everything up to `head` counts as delivered; begins to deliver after it. `head` is from the log, read after listening began.
    pub fn boot(&mut self, head: PartitionHead, now_ms: u64) -> Vec<Effect> {
        if head.epoch > self.epoch {
            self.enter(head.epoch, head.head);
        } else if head.epoch == self.epoch {
            self.head = self.head.max(head.head);
        }
        self.next = Some(head.head.next());
        self.sound = head.epoch;
        self.last = (head.head > Offset::ZERO).then_some(Delivered {
            offset: head.head,
            epoch: head.epoch,
            exact: false,
        });
        self.fetching = None;
        self.ring_lacks = false;
        self.advance(Vec::new(), now_ms)
    }

    /// After [`Effect::LineageLost`]: all that was delivered up to `below` is still there, and nothing behind it has been. Goes on behind
    /// `below`, wherever the log's `head` is by now: what a newer epoch has stored meanwhile is still to be delivered.
    pub fn go_on(&mut self, below: Offset, head: PartitionHead, now_ms: u64) -> Vec<Effect> {
        let mut effects = self.boot(
            PartitionHead {
                head: below,
                ..head
            },
            now_ms,
        );
        effects.extend(self.on_head(head, None, now_ms));
        effects
    }

    /// Whether it delivers.
    pub fn is_booted(&self) -> bool {
        self.next.is_some()
    }

    /// Whether everything heard of has been delivered.
    pub fn is_at_head(&self) -> bool {
        self.is_booted() && !self.is_behind()
    }

    /// The last offset that counts as delivered.
    pub fn delivered(&self) -> Option<Offset> {
        self.next.map(Offset::prev)
    }

    /// A batch from the bus.
    pub fn on_batch(&mut self, batch: EvBatch, now_ms: u64) -> Vec<Effect> {
        if !is_dense(&batch, self.partition) || batch.epoch < self.epoch {
            // Nobody sends the first; of the second nobody knows whether it survived. What they would have said is read from the log.
            return Vec::new();
        }
        let Some(top) = batch.events.last().map(|entry| entry.row.offset) else {
            return Vec::new();
        };
        if batch.epoch > self.epoch {
            self.enter(batch.epoch, top);
        }
        self.head = self.head.max(top);
        for entry in batch.events {
            self.hold(entry);
        }
        self.advance(Vec::new(), now_ms)
    }

    /// Where the partition stands, from its owner's broadcast or from the log (then without an owner).
    pub fn on_head(
        &mut self,
        head: PartitionHead,
        owner: Option<Incarnation>,
        now_ms: u64,
    ) -> Vec<Effect> {
        if head.epoch < self.epoch || cfg!(feature = "sabotage-no-last-message-check") {
            return Vec::new();
        }
        if head.epoch > self.epoch {
            self.enter(head.epoch, head.head);
            if self.delivered().is_some_and(|last| head.head < last) {
                return self.lose_lineage();
            }
        }
        self.owner = owner.or(self.owner);
        self.head = self.head.max(head.head);
        self.advance(Vec::new(), now_ms)
    }

    /// What [`Effect::Fetch`] with this `after` brought. An answer to another question is passed over.
    pub fn on_range(&mut self, after: Offset, fetched: Fetched, now_ms: u64) -> Vec<Effect> {
        let asked = |fetching: &mut Fetching| {
            fetching.after == after
                && matches!(fetching.from, Source::Ring(_)) == matches!(fetched, Fetched::Ring(_))
        };
        let Some(fetching) = self.fetching.take_if(asked) else {
            return Vec::new();
        };
        let entries = match fetched {
            Fetched::Ring(piece) => {
                let Some(entries) = self.continued_by(fetching, piece) else {
                    self.ring_lacks = true;
                    self.due_ms = Some(now_ms);
                    return self.on_time(now_ms);
                };
                entries
            }
            Fetched::Log(Ok(rows)) => {
                match self.last.map(|last| (last, row_at(&rows, last.offset))) {
                    Some((last, Some(row))) if !last.is(row) => return self.lose_lineage(),
                    Some((last, None)) if fetching.first == Some(last) => {
                        return self.lose_lineage();
                    }
                    // More was delivered while this was read, and it does not reach that far: it tells nothing.
                    Some((_, None)) => {}
                    Some((_, Some(_))) | None => self.sound = self.sound.max(fetching.epoch),
                }
                rows.into_iter()
                    .map(|row| EvEntry {
                        row,
                        recipients: None,
                    })
                    .collect()
            }
            Fetched::Log(Err(_)) => {
                self.due_ms = Some(now_ms.saturating_add(RETRY_WAIT_MS));
                return self.on_time(now_ms);
            }
        };
        let before = self.next;
        let ready = self.take(entries, fetching);
        let mut effects = self.advance(ready, now_ms);
        if self.is_behind() && self.fetching.is_none() {
            // A long gap is read piece by piece without a pause; a read that brought nothing is tried again later.
            let progress = self.next != before || fetching.epoch != self.epoch;
            self.ring_lacks &= !progress;
            self.due_ms = Some(now_ms.saturating_add(if progress { 0 } else { RETRY_WAIT_MS }));
            effects.extend(self.on_time(now_ms));
        }
        effects
    }

    /// The time has come, or may have.
    pub fn on_time(&mut self, now_ms: u64) -> Vec<Effect> {
        let lost =
            |fetching: &mut Fetching| fetching.since_ms.saturating_add(FETCH_PATIENCE_MS) <= now_ms;
        if self.fetching.take_if(lost).is_some() {
            self.due_ms = Some(now_ms);
        }
        if self.fetching.is_none() && !self.is_behind() {
            // What the last read was for has come by itself; a time that is past and leads to nothing would be waited for without end.
            self.due_ms = None;
        }
        let due = self.due_ms.is_some_and(|due| due <= now_ms);
        let (true, None, true, Some(next)) = (due, self.fetching, self.is_behind(), self.next)
        else {
            return Vec::new();
        };
        let (after, loss) = (
            self.last.map_or(next.prev(), |last| last.offset.prev()),
            if self.held.is_empty() {
                Loss::Last
            } else {
                Loss::Gap
            },
        );
        let to = match self.held.first_key_value() {
            Some((first, _)) if *first > next => first.prev(),
            _ => self.head,
        };
        // A ring speaks for one epoch; what an earlier one left behind only the log can tell.
        let from = match self.owner {
            Some(owner)
                if self.sound == self.epoch
                    && !self.ring_lacks
                    && self.last.is_none_or(|last| last.exact) =>
            {
                Source::Ring(owner)
            }
            _ => Source::Log,
        };
        self.fetching = Some(Fetching {
            after,
            from,
            first: self.last,
            epoch: self.epoch,
            loss,
            since_ms: now_ms,
        });
        vec![Effect::Fetch { after, to, from }]
    }

    /// When [`PartitionFeed::on_time`] wants to be called.
    pub fn deadline_ms(&self) -> Option<u64> {
        match self.fetching {
            Some(fetching) => Some(fetching.since_ms.saturating_add(FETCH_PATIENCE_MS)),
            None => self.due_ms,
        }
    }

    /// A newer owner is heard of: what was said under earlier ones is not believed any more unless the log says it, too.
    fn enter(&mut self, epoch: Epoch, head: Offset) {
        self.epoch = epoch;
        self.owner = None;
        self.head = head;
        self.held.clear();
        self.due_ms = None;
        self.ring_lacks = false;
        if self.last.is_none() {
            // Nothing was delivered that could have been lost.
            self.sound = epoch;
        }
    }

    fn lose_lineage(&mut self) -> Vec<Effect> {
        self.lost_after = self.last.map_or(Epoch::ZERO, |last| last.epoch);
        self.next = None;
        self.last = None;
        self.head = Offset::ZERO;
        self.held.clear();
        self.due_ms = None;
        self.fetching = None;
        vec![Effect::LineageLost]
    }

    /// The entries of a ring's answer, when it is one to this question and continues what was delivered.
    fn continued_by(&self, fetching: Fetching, piece: Option<EvBatch>) -> Option<Vec<EvEntry>> {
        let piece = piece?;
        let first = &piece.events.first()?.row;
        let continues = piece.epoch == self.epoch
            && fetching.epoch == self.epoch
            && is_dense(&piece, self.partition)
            && first.offset == fetching.after.next()
            && self.last.is_none_or(|last| {
                let here = piece.events.iter().map(|entry| &entry.row);
                here.into_iter().any(|row| last.is(row))
            });
        continues.then_some(piece.events)
    }

    /// What of a range comes next, ascending. An event that was heard meanwhile is taken as it was heard: it names its recipients.
    fn take(&mut self, entries: Vec<EvEntry>, fetching: Fetching) -> Vec<EvEntry> {
        let Some(mut next) = self.next else {
            return Vec::new();
        };
        let mut ready = Vec::new();
        for entry in entries {
            if entry.row.offset != next {
                continue;
            }
            let heard = self
                .held
                .remove(&next)
                .filter(|heard| heard.row.epoch == entry.row.epoch);
            if heard.is_none() {
                self.healed = Some(Healed {
                    loss: fetching.loss,
                    by_ring: matches!(fetching.from, Source::Ring(_)),
                });
            }
            self.last = Some(Delivered {
                offset: next,
                epoch: entry.row.epoch,
                exact: true,
            });
            self.sound = self.sound.max(entry.row.epoch);
            ready.push(heard.unwrap_or(entry));
            next = next.next();
        }
        self.next = Some(next);
        if self.sound > self.epoch {
            self.enter(self.sound, next.prev());
        }
        self.head = self.head.max(next.prev());
        ready
    }

    fn hold(&mut self, entry: EvEntry) {
        let offset = entry.row.offset;
        if self.next.is_some_and(|next| offset < next) {
            self.duplicates = self.duplicates.saturating_add(1);
            return;
        }
        if let Some(held) = self.held.get_mut(&offset) {
            // The same event again: one that names its recipients saves work.
            if held.recipients.is_none() {
                *held = entry;
            }
            return;
        }
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

    /// Delivers what is next in line behind `ready` and starts or ends the wait for a gap.
    fn advance(&mut self, mut ready: Vec<EvEntry>, now_ms: u64) -> Vec<Effect> {
        let Some(mut next) = self.next else {
            return Vec::new();
        };
        while let Some(first) = self.held.first_entry() {
            let offset = *first.key();
            if cfg!(feature = "sabotage-no-gap-check") {
                next = next.max(offset);
            }
            if offset > next || (offset == next && self.sound < self.epoch) {
                break;
            }
            let entry = first.remove();
            if offset == next {
                self.last = Some(Delivered {
                    offset,
                    epoch: entry.row.epoch,
                    exact: true,
                });
                ready.push(entry);
                next = next.next();
            }
        }
        self.next = Some(next);
        let moved = !ready.is_empty();
        let mut effects = Vec::new();
        if moved {
            effects.push(Effect::Deliver(ready));
        }
        if self.fetching.is_some() {
            // Its answer decides what comes next.
        } else if !self.is_behind() {
            self.due_ms = None;
            self.ring_lacks = false;
        } else if self.sound < self.epoch {
            // Not a gap that may close by itself.
            self.due_ms = Some(self.due_ms.unwrap_or(now_ms));
            effects.extend(self.on_time(now_ms));
        } else if self.due_ms.is_none() || moved {
            self.due_ms = Some(now_ms.saturating_add(REORDER_WAIT_MS));
        }
        effects
    }

    fn is_behind(&self) -> bool {
        self.next.is_some_and(|next| {
            !self.held.is_empty() || self.head >= next || self.sound < self.epoch
        })
    }
}

/// The row at an offset of a dense, ascending piece.
fn row_at(rows: &[EventRow], offset: Offset) -> Option<&EventRow> {
    let found = rows.binary_search_by_key(&offset, |row| row.offset);
    rows.get(found.ok()?)
}

/// Whether it is of this partition and every event is where it says.
fn is_dense(batch: &EvBatch, partition: PartitionId) -> bool {
    let mut expected = batch.base_offset;
    batch.events.iter().all(|entry| {
        let here = entry.row.offset == expected && entry.row.partition == partition;
        expected = expected.next();
        here
    })
}

#[cfg(test)]
mod tests;

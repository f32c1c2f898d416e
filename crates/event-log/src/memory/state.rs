//! The rules of the store as plain functions over maps: what the databases do in SQL.

use std::collections::{BTreeMap, HashMap, HashSet};

use hubbub_domain::ids::{CommandId, ConversationId, Incarnation, UserId};
use hubbub_domain::position::{Epoch, Offset, PartitionCount, PartitionId, Seq};
use hubbub_domain::time::Timestamp;
use hubbub_wire::bus::PartitionHead;
use hubbub_wire::stored::EventRow;

use super::Statement;
use crate::batch::{Expected, advance};
use crate::clock::next_epoch;
use crate::dense::{graver, misfit};
use crate::nodes::NodeTable;
use crate::port::{
    Acquired, AppendOutcome, Claim, ClusterMeta, Conflict, ConversationHead, LineageEntry, Marker,
    MarkerUpdate, PartitionRow, Published, SnapshotRow,
};

/// Version of stored events that a new cluster may write.
pub(crate) const FIRST_LEVEL: u32 = 1;

/// Snapshots kept per conversation.
pub(crate) const SNAPSHOTS_KEPT: usize = 2;

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    meta: Option<ClusterMeta>,
    fence: BTreeMap<PartitionId, PartitionRow>,
    lineage: HashMap<PartitionId, Vec<LineageEntry>>,
    /// Dense: the row at offset n is at index n - 1.
    log: HashMap<PartitionId, Vec<EventRow>>,
    /// Where the rows of a conversation are; the one with seq n is at index n - 1.
    conversations: HashMap<ConversationId, Vec<(PartitionId, Offset)>>,
    commands: HashMap<(ConversationId, CommandId), Seq>,
    markers: BTreeMap<(ConversationId, UserId), Marker>,
    published: BTreeMap<PartitionId, Offset>,
    snapshots: HashMap<ConversationId, Vec<SnapshotRow>>,
    pub(super) nodes: NodeTable,
}

/// The element whose number is `n`, counted from 1.
fn nth<T>(list: &[T], n: u64) -> Option<&T> {
    list.get(usize::try_from(n.checked_sub(1)?).ok()?)
}

fn count<T>(list: &[T]) -> u64 {
    list.len().try_into().unwrap_or(u64::MAX)
}

impl State {
    pub(super) fn execute(&mut self, statement: Statement) -> AppendOutcome {
        match statement {
            Statement::Append(batch, expected) => self.append(&batch.fence, batch.rows, &expected),
            Statement::Markers(fence, markers, expected) => {
                self.write_markers(&fence, markers, &expected)
            }
        }
    }

    fn passes(&self, partition: PartitionId, epoch: Epoch) -> bool {
        self.fence
            .get(&partition)
            .is_some_and(|row| row.epoch == epoch || cfg!(feature = "sabotage-no-fence"))
    }

    fn append(
        &mut self,
        fence: &[(PartitionId, Epoch)],
        rows: Vec<EventRow>,
        expected: &Expected,
    ) -> AppendOutcome {
        let mut stored: BTreeMap<PartitionId, u64> = fence
            .iter()
            .filter(|(partition, epoch)| self.passes(*partition, *epoch))
            .map(|(partition, _)| (*partition, 0))
            .collect();
        let rows: Vec<EventRow> = rows
            .into_iter()
            .filter(|row| stored.contains_key(&row.partition))
            .collect();
        if let Some(conflict) = self.conflict(&rows) {
            return AppendOutcome::Conflict(conflict);
        }
        for row in rows {
            if let Some(rows_stored) = stored.get_mut(&row.partition) {
                *rows_stored = rows_stored.saturating_add(1);
            }
            self.commands
                .insert((row.conversation, row.command_id), row.seq);
            self.conversations
                .entry(row.conversation)
                .or_default()
                .push((row.partition, row.offset));
            self.log.entry(row.partition).or_default().push(row);
        }
        expected.outcome(stored)
    }

    /// The first uniqueness that stands against these rows; positions before commands, because a wrong position is the graver news.
    fn conflict(&self, rows: &[EventRow]) -> Option<Conflict> {
        let mut offsets: HashMap<PartitionId, u64> = HashMap::new();
        let mut seqs: HashMap<ConversationId, u64> = HashMap::new();
        for row in rows {
            let head = offsets
                .entry(row.partition)
                .or_insert_with(|| self.log.get(&row.partition).map_or(0, |rows| count(rows)));
            let last = seqs.entry(row.conversation).or_insert_with(|| {
                self.conversations
                    .get(&row.conversation)
                    .map_or(0, |rows| count(rows))
            });
            *head = head.saturating_add(1);
            *last = last.saturating_add(1);
            let conflict = graver(
                misfit(*head, row.offset.get()),
                misfit(*last, row.seq.get()),
            );
            if conflict.is_some() {
                return conflict;
            }
        }
        let mut seen: HashSet<(ConversationId, CommandId)> = HashSet::new();
        rows.iter()
            .map(|row| (row.conversation, row.command_id))
            .any(|key| self.commands.contains_key(&key) || !seen.insert(key))
            .then_some(Conflict::Command)
    }

    fn write_markers(
        &mut self,
        fence: &[(PartitionId, Epoch)],
        markers: Vec<MarkerUpdate>,
        expected: &Expected,
    ) -> AppendOutcome {
        let passed: Vec<PartitionId> = fence
            .iter()
            .filter(|(partition, epoch)| self.passes(*partition, *epoch))
            .map(|(partition, _)| *partition)
            .collect();
        for update in markers
            .into_iter()
            .filter(|update| passed.contains(&update.partition))
        {
            let wanted = update.marker;
            self.markers
                .entry((wanted.conversation, wanted.user))
                .and_modify(|stored| {
                    if let Some(next) = advance(stored, &wanted) {
                        *stored = next;
                    }
                })
                .or_insert(wanted);
        }
        expected.outcome(passed.into_iter().map(|partition| (partition, 0)))
    }

    fn at(&self, partition: PartitionId, offset: Offset) -> Option<&EventRow> {
        nth(self.log.get(&partition)?, offset.get())
    }

    pub(super) fn at_mut(
        &mut self,
        partition: PartitionId,
        offset: Offset,
    ) -> Option<&mut EventRow> {
        let index = usize::try_from(offset.get().checked_sub(1)?).ok()?;
        self.log.get_mut(&partition)?.get_mut(index)
    }

    pub(super) fn tail(
        &self,
        partition: PartitionId,
        after: Offset,
        limit: usize,
    ) -> Vec<EventRow> {
        let skip = usize::try_from(after.get()).unwrap_or(usize::MAX);
        self.log
            .get(&partition)
            .into_iter()
            .flatten()
            .skip(skip)
            .take(limit)
            .cloned()
            .collect()
    }

    pub(super) fn conversation(
        &self,
        conversation: ConversationId,
        from: Seq,
        limit: usize,
    ) -> Vec<EventRow> {
        let skip = usize::try_from(from.prev().get()).unwrap_or(usize::MAX);
        let places = self
            .conversations
            .get(&conversation)
            .into_iter()
            .flatten()
            .skip(skip)
            .take(limit);
        places
            .filter_map(|&(partition, offset)| self.at(partition, offset).cloned())
            .collect()
    }

    pub(super) fn command(
        &self,
        conversation: ConversationId,
        command: CommandId,
    ) -> Option<EventRow> {
        let seq = self.commands.get(&(conversation, command))?;
        let &(partition, offset) = nth(self.conversations.get(&conversation)?, seq.get())?;
        self.at(partition, offset).cloned()
    }

    pub(super) fn conversation_head(
        &self,
        conversation: ConversationId,
    ) -> Option<ConversationHead> {
        let &(partition, offset) = self.conversations.get(&conversation)?.last()?;
        let row = self.at(partition, offset)?;
        Some(ConversationHead {
            epoch: row.epoch,
            seq: row.seq,
            offset,
        })
    }

    fn head(&self, partition: PartitionId) -> Offset {
        Offset::new(self.log.get(&partition).map_or(0, |rows| count(rows)))
    }

    pub(super) fn heads(&self, partitions: &[PartitionId]) -> Vec<PartitionHead> {
        let asked =
            |row: &&PartitionRow| partitions.is_empty() || partitions.contains(&row.partition);
        let head = |row: &PartitionRow| PartitionHead {
            partition: row.partition,
            epoch: row.epoch,
            head: self.head(row.partition),
        };
        self.fence.values().filter(asked).map(head).collect()
    }

    pub(super) fn lineage(&self, partition: PartitionId) -> Vec<LineageEntry> {
        self.lineage.get(&partition).cloned().unwrap_or_default()
    }

    pub(super) fn markers(&self, conversation: ConversationId) -> Vec<Marker> {
        let first = (conversation, UserId::from_uuid(uuid::Uuid::nil()));
        let last = (conversation, UserId::from_uuid(uuid::Uuid::max()));
        self.markers
            .range(first..=last)
            .map(|(_, marker)| *marker)
            .collect()
    }

    pub(super) fn init(&mut self, partitions: PartitionCount) -> ClusterMeta {
        let meta = *self.meta.get_or_insert(ClusterMeta {
            partitions,
            level: FIRST_LEVEL,
        });
        for partition in meta.partitions.all() {
            self.fence.entry(partition).or_insert(PartitionRow {
                partition,
                epoch: Epoch::ZERO,
                owner: None,
            });
        }
        meta
    }

    pub(super) fn partitions(&self) -> Vec<PartitionRow> {
        self.fence.values().copied().collect()
    }

    pub(super) fn acquire(
        &mut self,
        me: Incarnation,
        claims: &[Claim],
        reason: &str,
        now: Timestamp,
    ) -> Vec<Acquired> {
        let mut taken = Vec::with_capacity(claims.len());
        for claim in claims {
            let Some(row) = self.fence.get_mut(&claim.partition) else {
                continue;
            };
            if row.owner != claim.expected_owner || row.epoch != claim.expected_epoch {
                continue;
            }
            let is_bumped =
                row.epoch == Epoch::ZERO || !cfg!(feature = "sabotage-epoch-not-bumped");
            if is_bumped {
                row.epoch = next_epoch(row.epoch, now);
            }
            row.owner = Some(me);
            let epoch = row.epoch;
            let head = self.head(claim.partition);
            self.lineage
                .entry(claim.partition)
                .or_default()
                .push(LineageEntry {
                    epoch,
                    start: head,
                    owner: Some(me),
                    reason: reason.to_owned(),
                    at: now,
                });
            taken.push(Acquired {
                partition: claim.partition,
                epoch,
                head,
            });
        }
        taken
    }

    pub(super) fn release(&mut self, me: Incarnation, partitions: &[(PartitionId, Epoch)]) {
        for (partition, epoch) in partitions {
            if let Some(row) = self.fence.get_mut(partition)
                && row.owner == Some(me)
                && row.epoch == *epoch
            {
                row.owner = None;
            }
        }
    }

    pub(super) fn published(&self, partitions: &[PartitionId]) -> Vec<(PartitionId, Offset)> {
        self.published
            .iter()
            .filter(|(partition, _)| partitions.contains(partition))
            .map(|(partition, published)| (*partition, *published))
            .collect()
    }

    pub(super) fn save_published(&mut self, marks: &[Published]) {
        for mark in marks {
            if self.passes(mark.partition, mark.epoch) {
                self.published.insert(mark.partition, mark.published);
            }
        }
    }

    pub(super) fn snapshot(
        &self,
        conversation: ConversationId,
        version: i16,
    ) -> Option<SnapshotRow> {
        let kept = self.snapshots.get(&conversation)?;
        kept.iter()
            .rev()
            .find(|snapshot| snapshot.ver == version)
            .cloned()
    }

    pub(super) fn save_snapshot(&mut self, snapshot: SnapshotRow) {
        let kept = self.snapshots.entry(snapshot.conversation).or_default();
        kept.retain(|old| {
            (old.epoch, old.seq, old.ver) != (snapshot.epoch, snapshot.seq, snapshot.ver)
        });
        kept.push(snapshot);
        kept.sort_by_key(|kept| (kept.epoch, kept.seq, kept.ver));
        let surplus = kept.len().saturating_sub(SNAPSHOTS_KEPT);
        kept.drain(..surplus);
    }
}

//! The projector: tail → fold → rows and checkpoints in one transaction.
//!
//! Runs on the node that owns the partitions; a second one elsewhere is harmless, because a checkpoint moves only by compare-and-set
//! and rows only to newer versions. Wakes when told that a partition has news, looks by itself once a second.
//!
//! Fault points: `project.before` a batch is read, `project.write` before its transaction, `project.checkpoint` when the checkpoints have
//! moved and the rows have not, `project.commit` before the commit, `project.after` it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hubbub_domain::conversation::Event;
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{Offset, PartitionId, Seq};
use hubbub_event_log::{LogReader, ReadError};
use hubbub_telemetry::fault;
use hubbub_telemetry::metrics::Histogram;
use hubbub_wire::stored::EventRow;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::model::{Entry, Fold, message_of};
use crate::port::QueryError;
use crate::store::{Applied, Changes, DeadLetter, Move, Projection, Store};
use crate::tail::decode;

/// Events in one batch at most: a transaction of a few milliseconds.
pub const BATCH_EVENTS_MAX: usize = 2_000;
/// Events of one partition in one batch at most, so that a hot one does not keep the others waiting.
pub const BATCH_EVENTS_PER_PARTITION: usize = 500;
/// Time between looks at the heads when nothing wakes the projector.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pause after a failed batch; it doubles with each further failure …
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// … up to this: what a database that comes back is asked by each projector, and how late a reader's folding ends at most.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(8);

/// Which partitions this node projects now.
pub type OwnedPartitions = Arc<dyn Fn() -> Vec<PartitionId> + Send + Sync>;

/// Counters of one projector.
#[derive(Debug, Default)]
pub struct ProjectorStats {
    /// Events projected.
    pub events: AtomicU64,
    /// Batches committed.
    pub batches: AtomicU64,
    /// Batches lost to another projector.
    pub lost: AtomicU64,
    /// Events behind at the last look, over all owned partitions.
    pub lag_events: AtomicU64,
    /// Conversations parked.
    pub dead_letters: AtomicU64,
    /// Batches that failed and are tried again.
    pub retries: AtomicU64,
}

/// Runs one projection.
pub struct Projector {
    projection: Projection,
    log: Arc<dyn LogReader>,
    store: Arc<dyn Store>,
    owned: OwnedPartitions,
    stats: Arc<ProjectorStats>,
    checkpoints: HashMap<PartitionId, Offset>,
    dirty: BTreeSet<PartitionId>,
    batch_seconds: Option<Histogram>,
    /// The last batch failed and is not tried again: a build without a guarantee.
    skips: bool,
}

impl Projector {
    /// A projector that has read nothing yet.
    pub fn new(
        projection: Projection,
        log: Arc<dyn LogReader>,
        store: Arc<dyn Store>,
        owned: OwnedPartitions,
    ) -> Self {
        Self {
            projection,
            log,
            store,
            owned,
            stats: Arc::default(),
            checkpoints: HashMap::new(),
            dirty: BTreeSet::new(),
            batch_seconds: None,
            skips: false,
        }
    }

    /// Observes the time of each batch's transaction.
    #[must_use]
    pub fn timed_by(self, batch_seconds: Histogram) -> Self {
        Self {
            batch_seconds: Some(batch_seconds),
            ..self
        }
    }

    /// Its counters.
    pub fn stats(&self) -> Arc<ProjectorStats> {
        Arc::clone(&self.stats)
    }

    /// Runs until cancelled. `wake` names partitions with news; losing one costs at most a second.
    pub async fn run(mut self, mut wake: mpsc::Receiver<PartitionId>, cancel: CancellationToken) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut wake_open = true;
        let mut failures: u32 = 0;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                partition = wake.recv(), if wake_open => match partition {
                    Some(partition) => {
                        self.dirty.insert(partition);
                        while let Ok(more) = wake.try_recv() {
                            self.dirty.insert(more);
                        }
                    }
                    None => wake_open = false,
                },
                _ = looks.tick() => {
                    if let Err(error) = self.look().await {
                        tracing::warn!(%error, projection = self.projection.name(), "look for new events");
                    }
                }
            }
            while !self.dirty.is_empty() && !cancel.is_cancelled() {
                match self.project_batch().await {
                    Ok(()) => failures = 0,
                    Err(error) => {
                        let pause = pause_after(failures);
                        failures = failures.saturating_add(1);
                        self.stats.retries.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(%error, projection = self.projection.name(), ?pause, "project batch");
                        self.checkpoints.clear();
                        tokio::select! {
                            () = cancel.cancelled() => return,
                            () = tokio::time::sleep(pause) => {}
                        }
                        break;
                    }
                }
            }
        }
    }

    /// Projects everything that is durable now; for tests, rebuilds and shutdown.
    ///
    /// # Errors
    /// When log or tables cannot be read or written.
    pub async fn catch_up(&mut self) -> Result<(), QueryError> {
        self.look().await?;
        while !self.dirty.is_empty() {
            self.project_batch().await?;
        }
        Ok(())
    }

    async fn look(&mut self) -> Result<(), QueryError> {
        let owned: BTreeSet<PartitionId> = (self.owned)().into_iter().collect();
        // Checkpoints of partitions that went elsewhere are stale when they come back.
        let stored: HashMap<PartitionId, Offset> = self
            .store
            .checkpoints(self.projection)
            .await?
            .into_iter()
            .collect();
        self.checkpoints = owned
            .iter()
            .map(|partition| {
                (
                    *partition,
                    stored.get(partition).copied().unwrap_or_default(),
                )
            })
            .collect();
        self.dirty.retain(|partition| owned.contains(partition));
        let mut lag = 0;
        if !owned.is_empty() {
            let asked: Vec<PartitionId> = owned.into_iter().collect();
            for head in self.log.heads(&asked).await? {
                let projected = self
                    .checkpoints
                    .get(&head.partition)
                    .copied()
                    .unwrap_or_default();
                if head.head > projected {
                    lag += head.head.since(projected);
                    self.dirty.insert(head.partition);
                }
            }
        }
        self.stats.lag_events.store(lag, Ordering::Relaxed);
        Ok(())
    }

    #[tracing::instrument(name = "projection.batch", level = "debug", skip_all, fields(projection = self.projection.name()))]
    async fn project_batch(&mut self) -> Result<(), QueryError> {
        if self.checkpoints.is_empty() {
            self.look().await?;
        }
        fault::point("project.before");
        let mut rows: Vec<EventRow> = Vec::new();
        let mut moves = Vec::new();
        while rows.len() < BATCH_EVENTS_MAX {
            let Some(partition) = self.dirty.pop_first() else {
                break;
            };
            let Some(from) = self.checkpoints.get(&partition).copied() else {
                continue;
            };
            let read = match self
                .log
                .tail(partition, read_after(from), BATCH_EVENTS_PER_PARTITION)
                .await
            {
                Ok(read) => read,
                // A hole stops its own partition and is reported at every look; its neighbours go on.
                Err(ReadError::Inconsistent(what)) => {
                    tracing::error!(%partition, %what, "cannot project an inconsistent partition");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let Some(last) = read.last().filter(|last| last.offset > from) else {
                continue;
            };
            moves.push(Move {
                partition,
                from,
                to: last.offset,
            });
            rows.extend(read);
        }
        if moves.is_empty() {
            return Ok(());
        }
        let (good, bad) = self.readable(rows).await?;
        let changes = match self.projection {
            Projection::Inbox => self.inbox_changes(&good, bad).await?,
            Projection::History => history_changes(&good, bad),
        };
        let count =
            u64::try_from(changes.projected.len().max(changes.conversations.len())).unwrap_or(0);
        fault::point("project.write");
        let begun = Instant::now();
        let changes = if std::mem::take(&mut self.skips) {
            Changes::default()
        } else {
            changes
        };
        let applied = self.store.apply(self.projection, &moves, &changes).await;
        self.skips = applied.is_err() && cfg!(feature = "sabotage-projector-skips-on-error");
        let applied = applied?;
        if let Some(batch_seconds) = &self.batch_seconds {
            batch_seconds.observe(begun.elapsed().as_secs_f64());
        }
        fault::point("project.after");
        match applied {
            Applied::Done => {
                for step in &moves {
                    self.checkpoints.insert(step.partition, step.to);
                    // There may be more than one page: look again until the tail is empty.
                    self.dirty.insert(step.partition);
                }
                self.stats.batches.fetch_add(1, Ordering::Relaxed);
                self.stats.events.fetch_add(count, Ordering::Relaxed);
                self.stats.dead_letters.fetch_add(
                    u64::try_from(changes.dead.len()).unwrap_or(0),
                    Ordering::Relaxed,
                );
            }
            Applied::Lost => {
                self.stats.lost.fetch_add(1, Ordering::Relaxed);
                self.checkpoints.clear();
                self.dirty.extend(moves.iter().map(|step| step.partition));
            }
        }
        Ok(())
    }

    /// Splits a batch into events to project and dead letters: an unreadable event parks its conversation from there on.
    async fn readable(
        &self,
        rows: Vec<EventRow>,
    ) -> Result<(Vec<(PartitionId, Entry)>, Vec<DeadLetter>), QueryError> {
        let touched: BTreeSet<ConversationId> = rows.iter().map(|row| row.conversation).collect();
        let touched: Vec<ConversationId> = touched.into_iter().collect();
        let mut parked: BTreeSet<ConversationId> = self
            .store
            .parked(self.projection, &touched)
            .await?
            .into_iter()
            .collect();
        let mut good = Vec::with_capacity(rows.len());
        let mut bad = Vec::new();
        for row in rows {
            if parked.contains(&row.conversation) {
                continue;
            }
            match decode(&row) {
                Ok(entry) => good.push((row.partition, entry)),
                Err(error) => {
                    tracing::error!(%error, conversation.id = %row.conversation, seq = %row.seq, "park unreadable conversation");
                    parked.insert(row.conversation);
                    bad.push(DeadLetter {
                        conversation: row.conversation,
                        seq: row.seq,
                        partition: row.partition,
                        offset: row.offset,
                        reason: error.to_string(),
                    });
                }
            }
        }
        Ok((good, bad))
    }

    async fn inbox_changes(
        &self,
        entries: &[(PartitionId, Entry)],
        dead: Vec<DeadLetter>,
    ) -> Result<Changes, QueryError> {
        let mut ids = BTreeSet::new();
        let mut keys = BTreeSet::new();
        for (_, entry) in entries {
            let conversation = entry.recorded.conversation;
            ids.insert(conversation);
            if let Some(user) = member_touched_by(entry) {
                keys.insert((conversation, user));
            }
        }
        let ids: Vec<ConversationId> = ids.into_iter().collect();
        let keys: Vec<(ConversationId, UserId)> = keys.into_iter().collect();
        let mut folds: BTreeMap<ConversationId, Fold> = BTreeMap::new();
        for row in self.store.conversations(&ids).await? {
            folds.insert(row.id, Fold::new(Some(row), [], None));
        }
        for (conversation, member) in self.store.members(&keys).await? {
            folds
                .entry(conversation)
                .or_insert_with(|| Fold::new(None, [], None))
                .members
                .insert(member.user, member);
        }
        let before: HashMap<ConversationId, Seq> = folds
            .iter()
            .map(|(id, fold)| (*id, fold.head_seq()))
            .collect();
        for (partition, entry) in entries {
            let conversation = entry.recorded.conversation;
            folds
                .entry(conversation)
                .or_insert_with(|| Fold::new(None, [], None))
                .apply(*partition, entry);
        }
        let mut changes = Changes {
            dead,
            ..Changes::default()
        };
        for (conversation, fold) in folds {
            let known = before.get(&conversation).copied().unwrap_or_default();
            changes.members.extend(
                fold.members
                    .into_values()
                    .filter(|member| member.seq > known)
                    .map(|member| (conversation, member)),
            );
            if let Some(row) = fold.conversation
                && row.head_seq > known
            {
                changes.conversations.push(row);
            }
        }
        Ok(changes)
    }
}

/// Where the tail begins: behind the checkpoint.
fn read_after(checkpoint: Offset) -> Offset {
    if cfg!(feature = "sabotage-unread-counts-redelivery") {
        return checkpoint.prev();
    }
    checkpoint
}

/// The pause after this many failures in a row.
fn pause_after(failures: u32) -> Duration {
    RETRY_AFTER
        .saturating_mul(2_u32.saturating_pow(failures))
        .min(RETRY_AFTER_MAX)
}

/// The member whose stored row an event changes; a creation brings all of its own.
fn member_touched_by(entry: &Entry) -> Option<UserId> {
    match &entry.recorded.event {
        Event::ConversationCreated { .. } => None,
        Event::MemberAdded { user, .. }
        | Event::MemberRemoved { user, .. }
        | Event::RoleChanged { user, .. } => Some(*user),
        Event::MessageSent { .. } => Some(entry.recorded.by),
    }
}

fn history_changes(entries: &[(PartitionId, Entry)], dead: Vec<DeadLetter>) -> Changes {
    let mut projected: BTreeMap<ConversationId, Seq> = BTreeMap::new();
    let mut messages = Vec::new();
    for (_, entry) in entries {
        projected.insert(entry.recorded.conversation, entry.recorded.seq);
        messages.extend(message_of(entry));
    }
    Changes {
        messages,
        projected: projected.into_iter().collect(),
        dead,
        ..Changes::default()
    }
}

#[cfg(test)]
mod tests {
    use super::{RETRY_AFTER_MAX, pause_after};

    #[test]
    fn the_pause_doubles_up_to_its_bound() {
        let millis = |failures| pause_after(failures).as_millis();
        assert_eq!([0, 1, 2, 4].map(millis), [250, 500, 1_000, 4_000]);
        assert_eq!(pause_after(5), RETRY_AFTER_MAX);
        assert_eq!(pause_after(u32::MAX), RETRY_AFTER_MAX);
    }
}

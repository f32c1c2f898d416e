//! The log's tail over projected rows: what has been committed but not yet projected.
//!
//! What is short is read by who needs it. What is long is read once: one reader of a partition reads on where the last one stopped, the
//! others wait for it and take the same events from memory, which is bounded in bytes. Beyond the bound, and after a wait that is too long,
//! the answer is "unavailable", never a list with something missing.
//!
//! Never: an answer without an event that was durable when the question began.

mod kept;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use hubbub_domain::ids::ConversationId;
use hubbub_domain::position::{Offset, PartitionId, Seq};
use hubbub_event_log::{LogReader, ReadError};
use hubbub_wire::bus::PartitionHead;
use hubbub_wire::stored::EventRow;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::model::Entry;
use crate::port::QueryError;
use crate::store::{Projection, Store};
use crate::tail::kept::{ENTRY_BYTES, Kept, Run, bytes_of};

/// Bytes, about, of the unprojected events that the readers of a node keep for one projection: more than a minute of 3,000 short messages a
/// second. Who needs events beyond it is told `unavailable` until the projectors are nearer.
pub const KEPT_BYTES_MAX: usize = 64 << 20;
/// How long a reader waits for a place or for another reader's pages: less than the edge's own patience (4 s).
pub const TAIL_WAIT_MAX: Duration = Duration::from_secs(2);
/// Events of a conversation read without asking whether somebody else reads them too: more than a projector that runs leaves over.
pub(crate) const PROBE_EVENTS: usize = 128;
/// Events read at once by the one who reads for all.
pub(crate) const TAIL_PAGE: usize = 1_000;
/// Unprojected events of all partitions from which on a reader needs a place: below, it holds few.
const FAR_BEHIND_EVENTS: u64 = 4_000;
/// Readers that go through a long tail at once: each holds a pointer and a half for every event.
const FAR_BEHIND_AT_ONCE: usize = 4;
/// Locks of refreshing readers; partitions share them.
const REFRESHERS: usize = 64;

/// What a reader may keep and how long it waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TailLimits {
    /// Bytes of unprojected events of one projection, about.
    pub kept_bytes: usize,
    /// Wait for a place, and for another reader's pages.
    pub wait: Duration,
}

impl Default for TailLimits {
    fn default() -> Self {
        Self {
            kept_bytes: KEPT_BYTES_MAX,
            wait: TAIL_WAIT_MAX,
        }
    }
}

/// Reads the tail of conversations and partitions.
#[derive(Clone)]
pub(crate) struct Tail {
    log: Arc<dyn LogReader>,
    shared: Arc<Shared>,
}

/// What the readers of a node have in common.
struct Shared {
    limits: TailLimits,
    inbox: Kept,
    history: Kept,
    refreshers: Vec<Mutex<()>>,
    far_behind: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// A place among those who go through a long tail, held as long as its events are.
pub(crate) type Place = Option<OwnedSemaphorePermit>;

/// Events of one conversation, ascending.
pub(crate) struct ConversationTail {
    pub(crate) entries: Vec<Arc<Entry>>,
    /// The last one's, or where the reading began.
    last: Seq,
    bytes: usize,
    place: Place,
}

impl ConversationTail {
    const fn after(last: Seq) -> Self {
        Self {
            entries: Vec::new(),
            last,
            bytes: 0,
            place: None,
        }
    }

    fn push(&mut self, entry: Arc<Entry>) {
        self.last = entry.recorded.seq;
        self.bytes = self.bytes.saturating_add(bytes_of(&entry));
        self.entries.push(entry);
    }
}

impl Tail {
    pub(crate) fn new(log: Arc<dyn LogReader>, limits: TailLimits) -> Self {
        let kept = || Kept::new(limits.kept_bytes);
        Self {
            log,
            shared: Arc::new(Shared {
                limits,
                inbox: kept(),
                history: kept(),
                refreshers: (0..REFRESHERS).map(|_| Mutex::default()).collect(),
                far_behind: Arc::new(Semaphore::new(FAR_BEHIND_AT_ONCE)),
                waiting: AtomicUsize::new(0),
            }),
        }
    }

    /// The log itself.
    pub(crate) fn log_shared(&self) -> Arc<dyn LogReader> {
        Arc::clone(&self.log)
    }

    /// Events and bytes kept now.
    pub(crate) fn kept(&self) -> (usize, usize) {
        let (inbox, history) = (self.shared.inbox.size(), self.shared.history.size());
        (
            inbox.0.saturating_add(history.0),
            inbox.1.saturating_add(history.1),
        )
    }

    /// Readers that wait now.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    pub(crate) fn log(&self) -> &dyn LogReader {
        &*self.log
    }

    fn kept_of(&self, projection: Projection) -> &Kept {
        match projection {
            Projection::Inbox => &self.shared.inbox,
            Projection::History => &self.shared.history,
        }
    }

    /// Every event of a conversation after `after`, which is how far `projection` has come there.
    pub(crate) async fn of_conversation(
        &self,
        store: &dyn Store,
        projection: Projection,
        conversation: ConversationId,
        after: Seq,
    ) -> Result<ConversationTail, QueryError> {
        let mut tail = ConversationTail::after(after);
        let Some(mut reached) = self.page(conversation, PROBE_EVENTS, &mut tail).await? else {
            return Ok(tail);
        };
        // There is more: take it from what is read for everybody.
        tail.place = Some(self.place().await?);
        let checkpoints: HashMap<_, _> = store.checkpoints(projection).await?.into_iter().collect();
        self.kept_of(projection).let_go(&checkpoints);
        let partition = reached.partition;
        let heads = self.log.heads(&[partition]).await?;
        let Some(head) = heads.first() else {
            let what = format!("partition {partition} has events and no head");
            return Err(QueryError::Inconsistent(what));
        };
        let projected = checkpoints.get(&partition).copied().unwrap_or_default();
        if self.is_too_far(head.head.since(projected)) {
            return Err(too_far_behind());
        }
        let run = self.refreshed(store, projection, head, projected).await?;
        // A projector that moved on meanwhile leaves a part between; what ends at a hole leaves everything up to the head. An event that
        // cannot be read, or is lost, is told of where it stands.
        let until = if run.to < head.head {
            head.head
        } else {
            run.from
        };
        while reached.offset < until || run.damaged.contains(&conversation) {
            match self.page(conversation, TAIL_PAGE, &mut tail).await? {
                Some(further) => reached = further,
                None => return Ok(tail),
            }
        }
        for entry in run.entries {
            if entry.recorded.conversation == conversation && entry.recorded.seq > tail.last {
                tail.push(entry);
            }
        }
        Ok(tail)
    }

    /// Reads a page on into `tail`; the place of its last event when there may be more.
    async fn page(
        &self,
        conversation: ConversationId,
        limit: usize,
        tail: &mut ConversationTail,
    ) -> Result<Option<Reached>, QueryError> {
        let rows = self
            .log
            .read_conversation(conversation, tail.last.next(), limit)
            .await?;
        for row in &rows {
            tail.push(Arc::new(decode(row)?));
        }
        if tail.bytes > self.shared.limits.kept_bytes {
            return Err(too_far_behind());
        }
        let full = rows.len() >= limit;
        Ok(rows.last().filter(|_| full).map(|last| Reached {
            partition: last.partition,
            offset: last.offset,
        }))
    }

    /// Events of all partitions that the inbox projection has not seen, up to what is durable now.
    pub(crate) async fn of_partitions(
        &self,
        store: &dyn Store,
    ) -> Result<(Vec<(PartitionId, Arc<Entry>)>, Place), QueryError> {
        let inbox = Projection::Inbox;
        let checkpoints: HashMap<_, _> = store.checkpoints(inbox).await?.into_iter().collect();
        self.kept_of(inbox).let_go(&checkpoints);
        let heads: Vec<(PartitionHead, Offset)> = self
            .log
            .heads(&[])
            .await?
            .into_iter()
            .map(|head| {
                let projected = checkpoints.get(&head.partition).copied();
                (head, projected.unwrap_or_default())
            })
            .filter(|(head, projected)| head.head > *projected)
            .collect();
        let behind = heads.iter().fold(0_u64, |sum, (head, projected)| {
            sum.saturating_add(head.head.since(*projected))
        });
        if self.is_too_far(behind) {
            return Err(too_far_behind());
        }
        let place = if behind > FAR_BEHIND_EVENTS {
            Some(self.place().await?)
        } else {
            None
        };
        let mut entries = Vec::new();
        for (head, projected) in &heads {
            let run = self.refreshed(store, inbox, head, *projected).await?;
            let partition = head.partition;
            entries.extend(run.entries.into_iter().map(|entry| (partition, entry)));
        }
        Ok((entries, place))
    }

    /// What is unprojected of a partition up to `head` at least, from memory as far as somebody has read it before; less when a row before it
    /// is lost. One reader of a partition reads at a time. It may begin behind `projected`: as much is in the tables by now.
    async fn refreshed(
        &self,
        store: &dyn Store,
        projection: Projection,
        head: &PartitionHead,
        projected: Offset,
    ) -> Result<Run, QueryError> {
        let partition = head.partition;
        let run = self.known(store, projection, head, projected).await?;
        if run.to >= head.head {
            return Ok(run);
        }
        let place = usize::from(partition.get()) % REFRESHERS;
        let Some(refresher) = self.shared.refreshers.get(place) else {
            return Err(too_far_behind());
        };
        let _alone = self.in_time(refresher.lock()).await?;
        let mut run = self.known(store, projection, head, projected).await?;
        while run.to < head.head {
            let rows = match self.log.tail(partition, run.to, TAIL_PAGE).await {
                Ok(rows) => rows,
                // A hole is reported where it is found; it must not take everyone's inbox with it.
                Err(ReadError::Inconsistent(what)) => {
                    tracing::error!(%partition, %what, "leave out an inconsistent partition");
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            let Some(last) = rows.last() else { break };
            let mut page = Run::between(head.epoch, run.to, last.offset);
            for row in &rows {
                match decode(row) {
                    Ok(entry) => page.push(entry),
                    // A row that cannot be read parks its own conversation; it must not hide everyone else's inbox.
                    Err(_told_where_it_is_opened) => page.push_damaged(row.conversation),
                }
            }
            let fits = self.kept_of(projection).keep(partition, &page);
            run.extend(page);
            if !fits || run.bytes > self.shared.limits.kept_bytes {
                return Err(too_far_behind());
            }
        }
        Ok(run)
    }

    /// What is kept of a partition after `projected`, or after where its checkpoint stands by now.
    async fn known(
        &self,
        store: &dyn Store,
        projection: Projection,
        head: &PartitionHead,
        projected: Offset,
    ) -> Result<Run, QueryError> {
        let kept = self.kept_of(projection);
        let (partition, epoch) = (head.partition, head.epoch);
        if let Some(run) = kept.after(partition, epoch, projected, false) {
            return Ok(run);
        }
        let checkpoints = store.checkpoints(projection).await?;
        let known = checkpoints
            .into_iter()
            .find(|(known, _)| *known == partition);
        let now = known.map_or(Offset::ZERO, |(_, offset)| offset);
        let run = kept.after(partition, epoch, now, true);
        Ok(run.unwrap_or_else(|| Run::between(epoch, now, now)))
    }

    /// Whether so many events cannot be kept, however small they are.
    fn is_too_far(&self, events: u64) -> bool {
        let events = usize::try_from(events).unwrap_or(usize::MAX);
        events.saturating_mul(ENTRY_BYTES) > self.shared.limits.kept_bytes
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, QueryError> {
        let places = Arc::clone(&self.shared.far_behind);
        self.in_time(places.acquire_owned())
            .await?
            .map_err(|closed| QueryError::Unavailable(Box::new(closed)))
    }

    async fn in_time<T>(&self, wait: impl Future<Output = T>) -> Result<T, QueryError> {
        let mut wait = std::pin::pin!(wait);
        // Mostly nobody has to wait, and then no clock is needed: there is none where a run is simulated.
        if let Some(there) = wait.as_mut().now_or_never() {
            return Ok(there);
        }
        let _counted = Waiting::count(&self.shared.waiting);
        timeout(self.shared.limits.wait, wait)
            .await
            .map_err(|late| QueryError::Unavailable(Box::new(late)))
    }
}

/// How far a page of a conversation went.
struct Reached {
    partition: PartitionId,
    offset: Offset,
}

/// One more reader waits as long as this lives.
struct Waiting<'count>(&'count AtomicUsize);

impl<'count> Waiting<'count> {
    fn count(readers: &'count AtomicUsize) -> Self {
        readers.fetch_add(1, Ordering::Relaxed);
        Self(readers)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(crate) fn decode(row: &EventRow) -> Result<Entry, QueryError> {
    let recorded = row
        .decode()
        .map_err(|error| QueryError::Inconsistent(error.to_string()))?;
    Ok(Entry {
        epoch: row.epoch,
        offset: row.offset,
        recorded,
    })
}

fn too_far_behind() -> QueryError {
    QueryError::Unavailable("read models are too far behind the log".into())
}

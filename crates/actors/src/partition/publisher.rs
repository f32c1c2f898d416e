//! Brings what a partition committed to the bus, in order, one message after the other; commits that wait become one message. A message
//! that cannot be sent is dropped and counted: offsets and head broadcasts let every edge notice and heal.
//!
//! Fault points: `publish.before`, `publish.after` (events only).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use hubbub_bus::Subject;
use hubbub_domain::position::{Offset, PartitionId};
use hubbub_telemetry::{TraceContext, fault, spans};
use hubbub_wire::bus::{EV_BATCH_BYTES_MAX, Ephemeral, EvBatch, EvEntry};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::partition::core::Publication;
use crate::partition::ring::Ring;
use crate::shared::Shared;
use crate::stats::as_u64;

/// Commits and ephemerals that wait for the bus per partition at most: several seconds of the fastest partition.
const PUBLISH_QUEUE_MAX: usize = 4_096;
/// Of these taken together at most, to be merged: about what one message holds of short texts.
const TAKEN_AT_ONCE: usize = 1_024;
/// Bytes that wait for the bus on this node at most, over all partitions.
const PUBLISH_QUEUE_BYTES_MAX: usize = 64 << 20;

/// Bytes that the rings of all partitions of this node hold at most; above it each partition that keeps more lets its own oldest go.
const RINGS_BYTES_MAX: usize = 64 << 20;

/// How far a partition has been handed to the bus, and how far that is written down.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    published: AtomicU64,
    /// What the watermark in the log says, as far as this owner wrote it.
    saved: AtomicU64,
    /// The former owner's unpublished tail was told again (or given up): only from then on the watermark may rise.
    recovered: AtomicBool,
}

impl Progress {
    pub(crate) fn new(head: Offset) -> Arc<Self> {
        Arc::new(Self {
            published: AtomicU64::new(head.get()),
            ..Self::default()
        })
    }

    /// The watermark to be written, unless it is written already or may not rise yet.
    pub(crate) fn unsaved(&self) -> Option<Offset> {
        let published = self.published.load(Ordering::Acquire);
        let due = self.recovered.load(Ordering::Acquire)
            && published != self.saved.load(Ordering::Acquire);
        due.then_some(Offset::new(published))
    }

    /// The watermark is written.
    pub(crate) fn saved(&self, published: Offset) {
        self.saved.fetch_max(published.get(), Ordering::AcqRel);
    }

    /// Everything up to here is durable, and was published or given up: what head broadcasts tell.
    pub(crate) fn published(&self) -> Offset {
        Offset::new(self.published.load(Ordering::Acquire))
    }

    fn reached(&self, offset: Offset) {
        self.published.fetch_max(offset.get(), Ordering::AcqRel);
    }
}

/// What a partition has to tell.
#[derive(Debug)]
enum News {
    Events(Publication, usize),
    Ephemeral(Ephemeral),
}

/// The way to the publishing task; the task ends with its queue when this is dropped.
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    progress: Arc<Progress>,
    ring: Arc<SharedRing>,
    queue: mpsc::Sender<News>,
}

/// A ring that the partition fills and the host answers from; what it holds counts against the node's share for rings.
#[derive(Debug)]
pub(crate) struct SharedRing {
    shared: Arc<Shared>,
    ring: Mutex<Ring>,
}

impl SharedRing {
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            shared,
            ring: Mutex::default(),
        })
    }

    fn keep(&self, events: &[EvEntry]) {
        let mut ring = self.ring.lock();
        let before = ring.bytes();
        ring.keep(events);
        let total = &self.shared.ring_bytes;
        total.add(ring.bytes());
        total.subtract(before);
        while total.get() > RINGS_BYTES_MAX {
            let held = ring.bytes();
            if !ring.drop_oldest() {
                return;
            }
            total.subtract(held.saturating_sub(ring.bytes()));
        }
    }

    /// See [`Ring::range`].
    pub(crate) fn range(&self, after: Offset, to: Offset) -> Option<Vec<EvEntry>> {
        self.ring.lock().range(after, to, EV_BATCH_BYTES_MAX)
    }
}

impl Drop for SharedRing {
    fn drop(&mut self) {
        self.shared.ring_bytes.subtract(self.ring.lock().bytes());
    }
}

/// The way of a former owner's unpublished tail to the bus. It ends when the partition is served no more.
pub(crate) struct Again {
    shared: Arc<Shared>,
    progress: Arc<Progress>,
    ring: Arc<SharedRing>,
    queue: mpsc::WeakSender<News>,
}

impl Again {
    /// `false` when the partition is served no more or its queue is full.
    pub(crate) fn tell(&self, batch: EvBatch) -> bool {
        let Some(queue) = self.queue.upgrade() else {
            return false;
        };
        self.ring.keep(&batch.events);
        let bytes = batch_bytes(&batch);
        let queued = self.shared.publish_bytes.add(bytes);
        let sent = queued <= PUBLISH_QUEUE_BYTES_MAX
            && queue.try_send(News::Events((batch, None), bytes)).is_ok();
        if !sent {
            self.shared.publish_bytes.subtract(bytes);
            self.shared.stats.publish_failures.one();
        }
        sent
    }

    /// Nothing more is told again: the watermark may rise.
    pub(crate) fn done(&self) {
        self.progress.recovered.store(true, Ordering::Release);
    }
}

impl Publisher {
    /// The way of the former owner's tail.
    pub(crate) fn again(&self) -> Again {
        Again {
            shared: Arc::clone(&self.shared),
            progress: Arc::clone(&self.progress),
            ring: Arc::clone(&self.ring),
            queue: self.queue.downgrade(),
        }
    }

    pub(crate) fn start(
        shared: &Arc<Shared>,
        partition: PartitionId,
        progress: Arc<Progress>,
        ring: Arc<SharedRing>,
        chores: &TaskTracker,
    ) -> Self {
        let (queue, news) = mpsc::channel(PUBLISH_QUEUE_MAX);
        let task = run(Arc::clone(shared), partition, Arc::clone(&progress), news);
        chores.spawn_on(task, &shared.io);
        Self {
            shared: Arc::clone(shared),
            progress,
            ring,
            queue,
        }
    }

    pub(crate) fn events(&self, publication: Publication) {
        let end = batch_end(&publication.0);
        // Before it can be missed by anyone.
        self.ring.keep(&publication.0.events);
        let bytes = batch_bytes(&publication.0);
        let queued = self.shared.publish_bytes.add(bytes);
        let sent = queued <= PUBLISH_QUEUE_BYTES_MAX
            && self
                .queue
                .try_send(News::Events(publication, bytes))
                .is_ok();
        if !sent {
            self.shared.publish_bytes.subtract(bytes);
            self.shared.stats.publish_failures.one();
            // Heads tell of it, so that edges heal.
            self.progress.reached(end);
        }
    }

    pub(crate) fn ephemeral(&self, ephemeral: Ephemeral) {
        if self.queue.try_send(News::Ephemeral(ephemeral)).is_err() {
            self.shared.stats.publish_failures.one();
        }
    }
}

async fn run(
    shared: Arc<Shared>,
    partition: PartitionId,
    progress: Arc<Progress>,
    mut queue: mpsc::Receiver<News>,
) {
    let mut arrived = Vec::with_capacity(TAKEN_AT_ONCE);
    while queue.recv_many(&mut arrived, TAKEN_AT_ONCE).await > 0 {
        for outgoing in merge(arrived.drain(..)) {
            match outgoing {
                Outgoing::Events {
                    whole,
                    trace,
                    bytes,
                } => {
                    for batch in whole.split(EV_BATCH_BYTES_MAX) {
                        let end = batch_end(&batch);
                        fault::point("publish.before");
                        publish(
                            &shared,
                            Subject::Events(partition),
                            batch.encode(),
                            trace.clone(),
                        )
                        .await;
                        fault::point("publish.after");
                        progress.reached(end);
                    }
                    shared.publish_bytes.subtract(bytes);
                }
                Outgoing::Ephemeral(ephemeral) => {
                    publish(
                        &shared,
                        Subject::Ephemeral(partition),
                        ephemeral.encode(),
                        None,
                    )
                    .await;
                }
            }
        }
    }
}

/// What leaves next.
#[derive(Debug)]
enum Outgoing {
    Events {
        whole: EvBatch,
        trace: Option<TraceContext>,
        bytes: usize,
    },
    Ephemeral(Ephemeral),
}

/// Commits that follow one another become one message (cut again where it grows too large), with the trace of the first that has one:
/// while the bus is slower than the log, messages grow instead of their number.
fn merge(arrived: impl Iterator<Item = News>) -> Vec<Outgoing> {
    let mut outgoing: Vec<Outgoing> = Vec::new();
    for news in arrived {
        match (outgoing.last_mut(), news) {
            (
                Some(Outgoing::Events {
                    whole,
                    trace,
                    bytes,
                }),
                News::Events((next, next_trace), next_bytes),
            ) if batch_end(whole).next() == next.base_offset => {
                whole.events.extend(next.events);
                *bytes = bytes.saturating_add(next_bytes);
                if trace.is_none() {
                    *trace = next_trace;
                }
            }
            (_, News::Events((whole, trace), bytes)) => outgoing.push(Outgoing::Events {
                whole,
                trace,
                bytes,
            }),
            (_, News::Ephemeral(ephemeral)) => outgoing.push(Outgoing::Ephemeral(ephemeral)),
        }
    }
    outgoing
}

async fn publish(shared: &Shared, subject: Subject, payload: Bytes, trace: Option<TraceContext>) {
    let span = tracing::info_span!(spans::BUS_EVENT_PUBLISH, bytes = payload.len());
    if let Some(trace) = &trace {
        trace.adopt(&span);
    }
    let trace = TraceContext::of(&span).or(trace);
    let sent = shared.bus.publish(subject, payload, trace).instrument(span);
    match sent.await {
        Ok(()) => shared.stats.publishes.one(),
        Err(error) => {
            shared.stats.publish_failures.one();
            tracing::debug!(?subject, %error, "message not published");
        }
    }
}

fn batch_bytes(batch: &EvBatch) -> usize {
    let sizes = batch.events.iter().map(EvEntry::size_bytes);
    sizes.fold(0_usize, usize::saturating_add)
}

fn batch_end(batch: &EvBatch) -> Offset {
    batch.base_offset.plus(as_u64(batch.events.len())).prev()
}

#[cfg(test)]
mod tests {
    use hubbub_domain::ids::{CommandId, ConversationId, UserId};
    use hubbub_domain::position::{Epoch, Seq};
    use hubbub_domain::time::Timestamp;
    use hubbub_wire::stored::EventRow;
    use uuid::Uuid;

    use super::*;

    fn news(base: u64, count: u64, trace: Option<&str>) -> News {
        let entry = |offset| EvEntry {
            row: EventRow {
                partition: PartitionId::new(3),
                offset: Offset::new(offset),
                epoch: Epoch::new(1),
                conversation: ConversationId::from_uuid(Uuid::nil()),
                seq: Seq::new(offset),
                at: Timestamp::from_millis(1),
                command_id: CommandId::from_uuid(Uuid::nil()),
                kind: 1,
                ver: 1,
                fmt: 1,
                meta: Bytes::new(),
                body: None,
                crc: 0,
                body_crc: None,
            },
            recipients: None,
        };
        let batch = EvBatch {
            partition: PartitionId::new(3),
            epoch: Epoch::new(1),
            base_offset: Offset::new(base),
            events: (base..base + count).map(entry).collect(),
        };
        News::Events((batch, trace.and_then(TraceContext::parse)), 100)
    }

    fn typing() -> News {
        News::Ephemeral(Ephemeral::Typing {
            conversation: ConversationId::from_uuid(Uuid::nil()),
            user: UserId::from_uuid(Uuid::nil()),
            on: true,
        })
    }

    fn spans(outgoing: &[Outgoing]) -> Vec<(u64, usize)> {
        outgoing
            .iter()
            .map(|outgoing| match outgoing {
                Outgoing::Events { whole, .. } => (whole.base_offset.get(), whole.events.len()),
                Outgoing::Ephemeral(_) => (0, 0),
            })
            .collect()
    }

    #[test]
    fn commits_that_follow_one_another_leave_together_and_a_dropped_one_leaves_a_gap() {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let arrived = [
            news(5, 2, None),
            news(7, 1, Some(trace)),
            news(9, 1, None),
            news(10, 1, None),
        ];
        let outgoing = merge(arrived.into_iter());
        assert_eq!(spans(&outgoing), [(5, 3), (9, 2)]);
        let Outgoing::Events {
            trace: Some(first),
            bytes,
            ..
        } = &outgoing[0]
        else {
            panic!("no trace")
        };
        assert_eq!((first.as_str(), *bytes), (trace, 200));
    }

    #[test]
    fn what_is_no_event_keeps_its_place() {
        let arrived = [news(5, 1, None), typing(), news(6, 1, None)];
        assert_eq!(spans(&merge(arrived.into_iter())), [(5, 1), (0, 0), (6, 1)]);
    }
}

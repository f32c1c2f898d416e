//! Brings what a partition committed to the bus, in order, one message after the other. A message that cannot be sent is dropped and
//! counted: offsets and head broadcasts let every edge notice and heal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use hubbub_bus::Subject;
use hubbub_domain::position::{Offset, PartitionId};
use hubbub_telemetry::TraceContext;
use hubbub_wire::bus::{Ephemeral, EvBatch, EvEntry};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::partition::core::Publication;
use crate::shared::Shared;
use crate::stats::as_u64;

/// Messages that wait for the bus per partition at most: the bus takes one in microseconds or refuses within a second.
const PUBLISH_QUEUE_MAX: usize = 64;
/// Bytes that wait for the bus on this node at most, over all partitions.
const PUBLISH_QUEUE_BYTES_MAX: usize = 64 << 20;

/// How far a partition is durable, and how far it has been handed to the bus.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    published: AtomicU64,
}

impl Progress {
    pub(crate) fn new(head: Offset) -> Arc<Self> {
        Arc::new(Self {
            published: AtomicU64::new(head.get()),
        })
    }

    /// Everything up to here is durable, and was published or given up: what head broadcasts tell.
    pub(crate) fn published(&self) -> Offset {
        Offset::new(self.published.load(Ordering::Acquire))
    }

    fn reached(&self, offset: Offset) {
        self.published.fetch_max(offset.get(), Ordering::AcqRel);
    }
}

enum News {
    Events(Publication, usize),
    Ephemeral(Ephemeral),
}

/// The way to the publishing task; the task ends with its queue when this is dropped.
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    progress: Arc<Progress>,
    queue: mpsc::Sender<News>,
}

impl Publisher {
    pub(crate) fn start(
        shared: &Arc<Shared>,
        partition: PartitionId,
        progress: Arc<Progress>,
        chores: &TaskTracker,
    ) -> Self {
        let (queue, news) = mpsc::channel(PUBLISH_QUEUE_MAX);
        let task = run(Arc::clone(shared), partition, Arc::clone(&progress), news);
        chores.spawn_on(task, &shared.io);
        Self {
            shared: Arc::clone(shared),
            progress,
            queue,
        }
    }

    pub(crate) fn events(&self, publication: Publication) {
        let end = batch_end(&publication.0);
        let bytes = publication
            .0
            .events
            .iter()
            .map(EvEntry::size_bytes)
            .fold(0_usize, usize::saturating_add);
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
    mut news: mpsc::Receiver<News>,
) {
    while let Some(next) = news.recv().await {
        match next {
            News::Events((batch, trace), bytes) => {
                let payload = batch.encode();
                publish(&shared, Subject::Events(partition), payload, trace).await;
                progress.reached(batch_end(&batch));
                shared.publish_bytes.subtract(bytes);
            }
            News::Ephemeral(ephemeral) => {
                let payload = ephemeral.encode();
                publish(&shared, Subject::Ephemeral(partition), payload, None).await;
            }
        }
    }
}

async fn publish(shared: &Shared, subject: Subject, payload: Bytes, trace: Option<TraceContext>) {
    match shared.bus.publish(subject, payload, trace).await {
        Ok(()) => shared.stats.publishes.one(),
        Err(error) => {
            shared.stats.publish_failures.one();
            tracing::debug!(?subject, %error, "message not published");
        }
    }
}

fn batch_end(batch: &EvBatch) -> Offset {
    batch.base_offset.plus(as_u64(batch.events.len())).prev()
}

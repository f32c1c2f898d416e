//! Partitions that were just taken over: reads how far their former owner published and tells the bus the rest again.
//!
//! One task for all partitions of the host, so that a takeover of hundreds costs one query for their watermarks, and so few reads at once
//! that conversations which people wait for are loaded beside them.

use std::sync::Arc;

use futures_util::StreamExt;
use hubbub_domain::position::{Epoch, Offset, PartitionId};
use hubbub_event_log::ReadError;
use tokio::sync::mpsc;

use crate::partition::publisher::Again;
use crate::partition::recovery::{told_again, unpublished};
use crate::shared::Shared;
use crate::stats::as_u64;

/// Takeovers that may wait: every partition that there can be (2^14), so that none is passed over.
pub(super) const RECOVERIES_MAX: usize = 1 << 14;
/// Watermarks read at once.
const WATERMARKS_AT_ONCE: usize = 256;
/// Tails read at once: half of the owner's connections stay for activations.
const TAILS_AT_ONCE: usize = 2;
/// Rows of one read: at most 8 MiB of the largest messages.
const PAGE_ROWS: usize = 512;

/// A partition that begins to be served.
pub(super) struct Recovery {
    pub(super) partition: PartitionId,
    pub(super) epoch: Epoch,
    pub(super) head: Offset,
    pub(super) again: Again,
}

/// Runs until every sender is gone.
pub(super) async fn run(shared: Arc<Shared>, mut queue: mpsc::Receiver<Recovery>) {
    let mut arrived = Vec::with_capacity(WATERMARKS_AT_ONCE);
    while queue.recv_many(&mut arrived, WATERMARKS_AT_ONCE).await > 0 {
        let partitions: Vec<PartitionId> =
            arrived.iter().map(|recovery| recovery.partition).collect();
        let marks = match shared.log.published(&partitions).await {
            Ok(marks) => marks,
            Err(error) => {
                // Head broadcasts tell of the same events a little later.
                tracing::warn!(%error, partitions = partitions.len(), "publish watermarks not read");
                for recovery in arrived.drain(..) {
                    recovery.again.done();
                }
                continue;
            }
        };
        let published = |partition: PartitionId| {
            let found = marks.iter().find(|(of, _)| *of == partition);
            found.map(|(_, published)| *published)
        };
        let shared = &shared;
        futures_util::stream::iter(arrived.drain(..))
            .for_each_concurrent(TAILS_AT_ONCE, |recovery| async move {
                if let Some((after, to)) =
                    unpublished(published(recovery.partition), recovery.head)
                    && let Err(error) = republish(shared, &recovery, after, to).await
                {
                    tracing::warn!(partition = %recovery.partition, %error, "unpublished tail not read");
                }
                recovery.again.done();
            })
            .await;
    }
}

async fn republish(
    shared: &Shared,
    recovery: &Recovery,
    mut after: Offset,
    to: Offset,
) -> Result<(), ReadError> {
    while after < to {
        let rows = shared
            .log
            .tail(recovery.partition, after, PAGE_ROWS)
            .await?;
        let Some(batch) = told_again(recovery.partition, recovery.epoch, after, to, rows) else {
            return Ok(());
        };
        let events = as_u64(batch.events.len());
        after = after.plus(events);
        if !recovery.again.tell(batch) {
            // It is served no more, or the bus is far behind.
            return Ok(());
        }
        shared.stats.republished.add(events);
    }
    Ok(())
}

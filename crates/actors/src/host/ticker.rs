//! Once a second: partitions write markers and look at memory; the world hears where they stand.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hubbub_bus::Subject;
use hubbub_domain::position::PartitionId;
use hubbub_event_log::Published;
use hubbub_wire::bus::HeadBroadcast;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::host::{ActorHost, Served};
use crate::partition::input::PartitionInput;
use crate::partition::publisher::Progress;

/// Ticks between two writes of the publish watermarks: a crash tells about two seconds of events again, a write costs one statement.
const WATERMARK_TICKS: u64 = 2;
/// Watermarks in one statement.
const WATERMARKS_AT_ONCE: usize = 512;

/// Runs until the host ends or is dropped.
pub(super) async fn run(host: Weak<ActorHost>, every: Duration, ending: CancellationToken) {
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = ending.cancelled() => return,
            _ = tick.tick() => {}
        }
        let Some(host) = host.upgrade() else { return };
        host.tick().await;
    }
}

impl ActorHost {
    async fn tick(self: &Arc<Self>) {
        for served in self.served.read().values() {
            if served.actor.try_send(PartitionInput::Tick).is_err() {
                tracing::trace!("a partition has left");
            }
        }
        self.save_watermarks_lazily();
        self.export();
        let broadcast = HeadBroadcast {
            incarnation: self.shared.me,
            user_rev: self.user_rev.load(Ordering::Acquire),
            heads: self.heads(),
        };
        let payload = broadcast.encode();
        match self.shared.bus.publish(Subject::Heads, payload, None).await {
            Ok(()) => self.shared.stats.publishes.one(),
            Err(error) => {
                self.shared.stats.publish_failures.one();
                tracing::debug!(%error, "heads not published");
            }
        }
    }

    /// Every [`WATERMARK_TICKS`] ticks, beside the ticks: a slow database must not hold the heads up.
    fn save_watermarks_lazily(self: &Arc<Self>) {
        let tick = self.ticks.fetch_add(1, Ordering::Relaxed);
        if !tick.is_multiple_of(WATERMARK_TICKS) {
            return;
        }
        let Ok(turn) = Arc::clone(&self.saving_watermarks).try_lock_owned() else {
            return;
        };
        let host = Arc::clone(self);
        self.tasks.spawn(async move {
            let served: Vec<(PartitionId, Arc<Served>)> = {
                let served = host.served.read();
                let all = served.iter();
                all.filter(|(_, served)| served.progress.unsaved().is_some())
                    .map(|(partition, served)| (*partition, Arc::clone(served)))
                    .collect()
            };
            let served: Vec<(PartitionId, &Served)> = served
                .iter()
                .map(|(partition, served)| (*partition, &**served))
                .collect();
            for part in served.chunks(WATERMARKS_AT_ONCE) {
                host.save_watermarks(part).await;
            }
            drop(turn);
        });
    }

    /// Writes how far these partitions are published, as far as that is not written yet.
    pub(super) async fn save_watermarks(&self, served: &[(PartitionId, &Served)]) {
        let unsaved = served.iter().filter_map(|(partition, served)| {
            let published = served.progress.unsaved()?;
            let mark = Published {
                partition: *partition,
                epoch: served.epoch,
                published,
            };
            Some((mark, &served.progress))
        });
        let (marks, progress): (Vec<Published>, Vec<&Arc<Progress>>) = unsaved.unzip();
        if marks.is_empty() {
            return;
        }
        match self.shared.log.save_published(&marks).await {
            Ok(()) => {
                for (mark, progress) in marks.iter().zip(progress) {
                    progress.saved(mark.published);
                }
            }
            // The next owner tells a little more again.
            Err(error) => tracing::debug!(%error, "publish watermarks not written"),
        }
    }
}

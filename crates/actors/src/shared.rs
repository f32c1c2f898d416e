//! What every actor of one host holds in common: the ports, the clocks, the counters.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use hubbub_bus::Bus;
use hubbub_cluster::port::{HostEvent, PartitionSignal};
use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::{Epoch, PartitionId};
use hubbub_event_log::EventLog;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

use crate::conversation::turn::Now;
use crate::export::Exported;
use crate::host::Clock;
use crate::partition::residents::Pauses;
use crate::stats::{Gauge, Stats};

/// What a test may do with a command just before it is judged: panic, for example.
#[cfg(test)]
pub(crate) type BeforeJudging = Arc<dyn Fn(&hubbub_domain::conversation::Command) + Send + Sync>;

/// The room that actors live in.
pub(crate) struct Shared {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) clock: Clock,
    pub(crate) me: Incarnation,
    /// Where all I/O runs: the arbiters have no reactor of their own.
    pub(crate) io: Handle,
    pub(crate) stats: Stats,
    pub(crate) residency: Residency,
    /// Loads at once.
    pub(crate) activations: Semaphore,
    pub(crate) publish_bytes: Gauge,
    pub(crate) pauses: Pauses,
    /// Conversations in quarantine or read-only.
    pub(crate) out_of_service: Gauge,
    /// Rows and their bytes that wait for all lanes.
    pub(crate) lane_rows: Gauge,
    pub(crate) lane_bytes: Gauge,
    /// Markers that wait in all partitions.
    pub(crate) marks_pending: Gauge,
    pub(crate) loading: Gauge,
    pub(crate) saving: Gauge,
    /// Bytes in the rings of all partitions.
    pub(crate) ring_bytes: Gauge,
    pub(crate) host_events: mpsc::Sender<HostEvent>,
    /// Set when the node has metrics.
    pub(crate) exported: OnceLock<Exported>,
    #[cfg(test)]
    pub(crate) before_judging: Option<BeforeJudging>,
}

impl Shared {
    pub(crate) fn now(&self) -> Now {
        Now {
            wall: (self.clock)(),
            instant: Instant::now(),
        }
    }

    /// Tells the ownership loop that a partition has stopped by itself. At most one event per ownership is sent, so the tasks that
    /// wait for room in the queue are bounded by the partitions.
    pub(crate) fn tell_host(&self, partition: PartitionId, epoch: Epoch, signal: PartitionSignal) {
        let host_events = self.host_events.clone();
        let event = HostEvent {
            partition,
            epoch,
            signal,
        };
        self.io.spawn(async move {
            if host_events.send(event).await.is_err() {
                tracing::debug!(?event, "nobody listens to the host any more");
            }
        });
    }
}

/// How much of memory the conversations of this host take, and how much they may.
#[derive(Debug)]
pub(crate) struct Residency {
    pub(crate) count: Gauge,
    pub(crate) bytes: Gauge,
    count_max: usize,
    bytes_max: usize,
}

impl Residency {
    pub(crate) fn new(count_max: usize, bytes_max: usize) -> Self {
        Self {
            count: Gauge::default(),
            bytes: Gauge::default(),
            count_max: count_max.max(1),
            bytes_max: bytes_max.max(1),
        }
    }

    /// How many of its `own` residents a partition should let go: its share of what is too much.
    pub(crate) fn surplus(&self, own: usize) -> usize {
        let by_count = share(own, self.count.get(), self.count_max);
        let by_bytes = share(own, self.bytes.get(), self.bytes_max);
        by_count.max(by_bytes)
    }
}

/// `own × (total − max) / total`, rounded up.
fn share(own: usize, total: usize, max: usize) -> usize {
    let over = total.saturating_sub(max);
    if over == 0 {
        return 0;
    }
    // In u128, where two of these fit without overflow.
    let wide = |n: usize| u128::try_from(n).unwrap_or(u128::MAX);
    let part = wide(own).saturating_mul(wide(over)).div_ceil(wide(total));
    usize::try_from(part).unwrap_or(own)
}

/// One conversation's part of the residency; given back when dropped.
#[derive(Debug)]
pub(crate) struct Lodging {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Lodging {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        shared.residency.count.add(1);
        Self { shared, bytes: 0 }
    }

    pub(crate) fn set_bytes(&mut self, bytes: usize) {
        self.shared.residency.bytes.add(bytes);
        self.shared.residency.bytes.subtract(self.bytes);
        self.bytes = bytes;
    }
}

impl Drop for Lodging {
    fn drop(&mut self) {
        self.shared.residency.count.subtract(1);
        self.shared.residency.bytes.subtract(self.bytes);
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("me", &self.me)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn each_partition_lets_its_share_of_the_surplus_go() {
        assert_eq!(share(10, 100, 100), 0);
        assert_eq!(share(10, 200, 100), 5);
        assert_eq!(share(1, 101, 100), 1);
        assert_eq!(share(0, 500, 100), 0);
        assert_eq!(share(10, usize::MAX, 1), 10);
    }
}

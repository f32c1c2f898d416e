//! What the host counts, for the telemetry room to export. Plain atomics: a hot path pays one relaxed addition.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters that only rise, since the host started.
        #[derive(Debug, Default)]
        pub(crate) struct Stats {
            $(pub(crate) $name: Counter,)*
        }

        /// One reading of the host's counters and gauges.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct StatsView {
            $($(#[$doc])* pub $name: u64,)*
            /// Requests under way now.
            pub under_way: u64,
            /// Conversations in memory now.
            pub residents: u64,
            /// Bytes that their states take, estimated.
            pub resident_bytes: u64,
            /// Bytes that wait to be published.
            pub publish_queue_bytes: u64,
            /// Conversations in quarantine or read-only now.
            pub out_of_service: u64,
            /// What a command would wait at the slowest lane, in milliseconds; zero while none is overloaded.
            pub expected_wait_ms: u64,
            /// Rows that wait for the write lanes.
            pub lane_rows: u64,
            /// Bytes of these rows.
            pub lane_bytes: u64,
            /// Markers that wait to be written or are being written.
            pub marks_pending: u64,
            /// Conversations that are being loaded or wait for that.
            pub loading: u64,
            /// Snapshots that are being stored or wait for that.
            pub saving: u64,
            /// Bytes in the rings of the partitions.
            pub ring_bytes: u64,
        }

        impl Stats {
            pub(crate) fn view(&self) -> StatsView {
                StatsView {
                    $($name: self.$name.get(),)*
                    ..StatsView::default()
                }
            }
        }
    };
}

counters! {
    /// Requests that reached a partition of this node.
    requests,
    /// Requests refused for want of a permit.
    busy,
    /// Requests refused because they would have waited in vain.
    shed,
    /// Commands dropped before the append, because their deadline had passed or was about to.
    expired,
    /// Events committed.
    events_committed,
    /// Append statements that ended, whatever way.
    appends,
    /// Append statements that a unique constraint refused.
    append_conflicts,
    /// Append statements that the store refused.
    append_refusals,
    /// Append statements without a definite answer.
    append_unknowns,
    /// Partitions found fenced by an append or a marker write.
    fenced,
    /// Partitions whose speculative events were taken back.
    takebacks,
    /// Command ids looked up in the log before an append.
    probes,
    /// Conversations loaded from the log.
    activations,
    /// Conversations that left memory to make room.
    passivations,
    /// Snapshots stored.
    snapshots,
    /// Snapshots not stored, because too many were on their way.
    snapshots_skipped,
    /// Panics caught in a conversation.
    panics,
    /// Conversations put into quarantine.
    quarantines,
    /// Conversations found unreadable, and read-only for that.
    unreadable,
    /// Messages handed to the bus.
    publishes,
    /// Messages that the bus refused or that found its queue full; numbers heal the loss.
    publish_failures,
    /// Events of a former owner told again after a takeover.
    republished,
    /// Ranges that a ring could give.
    ring_hits,
    /// Ranges that a ring no longer held.
    ring_misses,
    /// Marker writes stored, counted by marker.
    markers_stored,
}

/// A number that only rises.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicUsize);

impl Gauge {
    pub(crate) fn add(&self, n: usize) -> usize {
        self.0.fetch_add(n, Ordering::Relaxed).saturating_add(n)
    }

    pub(crate) fn subtract(&self, n: usize) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A count as a metric value.
pub(crate) fn as_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

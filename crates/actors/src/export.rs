//! Brings the host's own counters into the node's metrics, once a tick; the hot path only moves plain atomics.

use hubbub_telemetry::Metrics;
use hubbub_telemetry::metrics::{Actors, Bus, IntCounter, IntGauge, Log};
use parking_lot::Mutex;

use crate::stats::StatsView;

/// Where the host's numbers go.
#[derive(Debug)]
pub(crate) struct Exported {
    actors: Actors,
    bus: Bus,
    log: Log,
    /// What has been brought over: others move some of these counters, too.
    seen: Mutex<StatsView>,
}

impl Exported {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            actors: metrics.actors.clone(),
            bus: metrics.bus.clone(),
            log: metrics.log.clone(),
            seen: Mutex::default(),
        }
    }

    /// One append statement.
    pub(crate) fn append(&self, rows: usize, seconds: f64) {
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        self.log.batch_rows.observe(f64::from(rows));
        self.log.append_seconds.observe(seconds);
    }

    /// Brings over what has moved since the last time.
    pub(crate) fn bring(&self, now: &StatsView) {
        let Self {
            actors, bus, log, ..
        } = self;
        let then = std::mem::replace(&mut *self.seen.lock(), *now);
        let counters: [(&IntCounter, u64, u64); 24] = [
            (&actors.commands, then.requests, now.requests),
            (&actors.busy, then.busy, now.busy),
            (&actors.shed, then.shed, now.shed),
            (&actors.expired, then.expired, now.expired),
            (&actors.unreadable, then.unreadable, now.unreadable),
            (
                &actors.snapshots_skipped,
                then.snapshots_skipped,
                now.snapshots_skipped,
            ),
            (&actors.ring_hits, then.ring_hits, now.ring_hits),
            (&actors.ring_misses, then.ring_misses, now.ring_misses),
            (&actors.republished, then.republished, now.republished),
            (&actors.activations, then.activations, now.activations),
            (&actors.passivations, then.passivations, now.passivations),
            (&actors.snapshots, then.snapshots, now.snapshots),
            (&actors.panics, then.panics, now.panics),
            (&actors.quarantines, then.quarantines, now.quarantines),
            (&actors.takebacks, then.takebacks, now.takebacks),
            (&actors.probes, then.probes, now.probes),
            (&actors.markers, then.markers_stored, now.markers_stored),
            (&log.appends, then.appends, now.appends),
            (&log.rows, then.events_committed, now.events_committed),
            (&log.conflicts, then.append_conflicts, now.append_conflicts),
            (&log.refusals, then.append_refusals, now.append_refusals),
            (&log.fenced, then.fenced, now.fenced),
            (&log.unknown, then.append_unknowns, now.append_unknowns),
            (&bus.publishes, then.publishes, now.publishes),
        ];
        for (counter, then, now) in counters {
            counter.inc_by(now.saturating_sub(then));
        }
        bus.publish_failures
            .inc_by(now.publish_failures.saturating_sub(then.publish_failures));
        set(&actors.under_way, now.under_way);
        set(&actors.expected_wait_ms, now.expected_wait_ms);
        set(&actors.out_of_service, now.out_of_service);
        set(&actors.loading, now.loading);
        set(&actors.saving, now.saving);
        set(&actors.marks_pending, now.marks_pending);
        set(&actors.ring_bytes, now.ring_bytes);
        set(&log.lane_rows, now.lane_rows);
        set(&log.lane_bytes, now.lane_bytes);
        set(&actors.residents, now.residents);
        set(&actors.resident_bytes, now.resident_bytes);
        set(&bus.publish_queue_bytes, now.publish_queue_bytes);
    }
}

fn set(gauge: &IntGauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_rise_by_what_has_moved_and_keep_what_others_added() {
        let metrics = Metrics::new().unwrap();
        let exported = Exported::new(&metrics);
        let mut view = StatsView {
            publishes: 5,
            residents: 7,
            ..StatsView::default()
        };
        exported.bring(&view);
        metrics.bus.publishes.inc_by(10);
        view.publishes = 6;
        view.residents = 2;
        exported.bring(&view);
        assert_eq!(
            (metrics.bus.publishes.get(), metrics.actors.residents.get()),
            (16, 2)
        );
    }

    #[test]
    fn an_append_is_observed_by_its_rows_and_its_time() {
        let metrics = Metrics::new().unwrap();
        Exported::new(&metrics).append(64, 0.003);
        let log = &metrics.log;
        assert_eq!(
            (
                log.batch_rows.get_sample_count(),
                log.append_seconds.get_sample_count()
            ),
            (1, 1)
        );
    }
}

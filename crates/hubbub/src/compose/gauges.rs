//! Once a second, what rooms count for themselves becomes what `/metrics` shows. Hot paths count in plain atomics; this is where they meet
//! the registry.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hubbub_actors::ActorHost;
use hubbub_bus::{Bus, BusStatus};
use hubbub_projections::ProjectorStats;
use hubbub_telemetry::Metrics;
use hubbub_telemetry::metrics::raise_to;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How old a shown number may be.
const EVERY: Duration = Duration::from_secs(1);

pub(crate) async fn keep_up(
    metrics: Arc<Metrics>,
    host: Arc<ActorHost>,
    bus: Arc<dyn Bus>,
    projectors: Vec<Arc<ProjectorStats>>,
    cancel: CancellationToken,
) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let up = *bus.status().borrow() == BusStatus::Up;
        metrics.bus.up.set(i64::from(up));
        copy_host(&metrics, &host);
        let total = |field: fn(&ProjectorStats) -> u64| {
            projectors.iter().map(|stats| field(stats)).sum::<u64>()
        };
        raise_to(
            &metrics.projections.events,
            total(|stats| stats.events.load(Ordering::Relaxed)),
        );
        raise_to(
            &metrics.projections.parked,
            total(|stats| stats.dead_letters.load(Ordering::Relaxed)),
        );
        let behind = projectors
            .iter()
            .map(|stats| stats.lag_events.load(Ordering::Relaxed))
            .max()
            .unwrap_or(0);
        metrics.projections.lag_events.set(gauge(behind));
    }
}

fn copy_host(metrics: &Metrics, host: &ActorHost) {
    let seen = host.stats();
    let (actors, log, bus) = (&metrics.actors, &metrics.log, &metrics.bus);
    raise_to(&actors.commands, seen.requests);
    raise_to(&actors.busy, seen.busy);
    raise_to(&actors.activations, seen.activations);
    raise_to(&actors.passivations, seen.passivations);
    raise_to(&actors.snapshots, seen.snapshots);
    raise_to(&actors.panics, seen.panics);
    raise_to(&actors.quarantines, seen.quarantines);
    raise_to(&actors.takebacks, seen.takebacks);
    raise_to(&actors.probes, seen.probes);
    raise_to(&actors.markers, seen.markers_stored);
    actors.under_way.set(gauge(seen.under_way));
    actors.residents.set(gauge(seen.residents));
    actors.resident_bytes.set(gauge(seen.resident_bytes));
    raise_to(&log.appends, seen.appends);
    raise_to(&log.rows, seen.events_committed);
    raise_to(&log.conflicts, seen.append_conflicts);
    raise_to(&log.refusals, seen.append_refusals);
    raise_to(&log.fenced, seen.fenced);
    raise_to(&log.unknown, seen.append_unknowns);
    raise_to(&bus.publishes, seen.publishes);
    raise_to(&bus.publish_failures, seen.publish_failures);
    bus.publish_queue_bytes.set(gauge(seen.publish_queue_bytes));
    metrics
        .cluster
        .partitions_serving
        .set(gauge(u64::try_from(host.heads().len()).unwrap_or(u64::MAX)));
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

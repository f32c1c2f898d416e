//! Once a second, what the bus, the projectors and ownership count for themselves becomes what `/metrics` shows. The actor host reports by
//! itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hubbub_actors::ActorHost;
use hubbub_bus::BusStatus;
use hubbub_projections::ProjectorStats;
use hubbub_telemetry::Metrics;
use hubbub_telemetry::metrics::raise_to;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Stores;

/// How old a shown number may be.
const EVERY: Duration = Duration::from_secs(1);

pub(crate) async fn keep_up(
    metrics: Arc<Metrics>,
    host: Arc<ActorHost>,
    projectors: Vec<Arc<ProjectorStats>>,
    stores: Stores,
    cancel: CancellationToken,
) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let up = *stores.bus.status().borrow() == BusStatus::Up;
        metrics.bus.up.set(i64::from(up));
        metrics.log.fit.set(i64::from(stores.log.is_fit()));
        let bus = stores.bus.usage();
        raise_to(&metrics.bus.dropped, bus.dropped);
        raise_to(&metrics.bus.starved, bus.starved);
        metrics
            .bus
            .requests_waiting
            .set(count(bus.requests_waiting));
        let (events, bytes) = stores.reader.kept();
        metrics.projections.kept_events.set(count(events));
        metrics.projections.kept_bytes.set(count(bytes));
        let waiting = stores.reader.waiting();
        metrics.projections.readers_waiting.set(count(waiting));
        let accounts = stores.accounts.usage();
        raise_to(&metrics.accounts.logins, accounts.logins);
        raise_to(&metrics.accounts.logins_refused, accounts.logins_refused);
        raise_to(&metrics.accounts.logins_later, accounts.logins_later);
        metrics.accounts.hashing.set(count(accounts.hashing));
        let serving = u64::try_from(host.heads().len()).unwrap_or(u64::MAX);
        metrics.cluster.partitions_serving.set(gauge(serving));
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
        raise_to(
            &metrics.projections.retries,
            total(|stats| stats.retries.load(Ordering::Relaxed)),
        );
        raise_to(
            &metrics.projections.lost,
            total(|stats| stats.lost.load(Ordering::Relaxed)),
        );
        let behind = projectors
            .iter()
            .map(|stats| stats.lag_events.load(Ordering::Relaxed))
            .max()
            .unwrap_or(0);
        metrics.projections.lag_events.set(gauge(behind));
        if let Some(pools) = &stores.pools {
            pools.report(&stores.projections, &metrics);
        }
        if let Some(bytes) = resident_bytes() {
            metrics.process.resident_bytes.set(gauge(bytes));
        }
    }
}

/// Memory of this process as the kernel counts it, where it says so.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib.saturating_mul(1_024))
}

fn count(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::resident_bytes;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_kernel_says_how_much_memory_this_process_has() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}

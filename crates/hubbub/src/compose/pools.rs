//! The pools of connections to PostgreSQL, one for each kind of work, so that none starves another: lanes (not pooled), ownership, the owner's
//! reads, the edge's reads of the log, queries, projectors, accounts.

use std::sync::Arc;

use anyhow::{Context, bail};
use hubbub_accounts::Accounts;
use hubbub_event_log::PgLog;
use hubbub_event_log::postgres::PoolUse;
use hubbub_projections::Projections;
use hubbub_telemetry::Metrics;
use hubbub_telemetry::metrics::raise_to;

use crate::settings::Settings;

/// Connections that are not settings: ownership (2), the log's own upkeep and heads at an acquire (2).
const FIXED: u32 = 4;

/// Connections of one node at most.
pub(super) fn connections_max(settings: &Settings) -> u32 {
    if !settings.is_cluster() {
        return 0;
    }
    [
        settings.lanes,
        settings.owner_connections,
        settings.edge_connections,
        settings.query_connections,
        settings.projector_connections,
        settings.projector_connections,
        settings.account_connections,
    ]
    .into_iter()
    .map(u32::from)
    .sum::<u32>()
        + FIXED
}

/// Looks whether the server takes as many.
///
/// # Errors
/// When the server would not take them even if this node were alone. That others leave too few is a warning: they may be going.
pub(super) async fn check(log: &PgLog, settings: &Settings) -> anyhow::Result<()> {
    let wanted = connections_max(settings);
    let places = log.server_places().await;
    let places = places.context("ask PostgreSQL how many connections it takes")?;
    if wanted > places.connections_max {
        bail!(
            "this node may need {wanted} connections and PostgreSQL takes {}; raise max_connections or lower lanes and *_connections",
            places.connections_max
        );
    }
    let free = places.connections_max.saturating_sub(places.taken);
    if wanted > free {
        tracing::warn!(
            wanted,
            free,
            connections_max = places.connections_max,
            "PostgreSQL may run out of connections; raise max_connections or lower lanes and *_connections"
        );
    } else {
        tracing::info!(wanted, free, "connections to PostgreSQL");
    }
    Ok(())
}

/// The pools of one node of a cluster.
#[derive(Clone)]
pub(crate) struct Pools {
    /// With the reads of the owner.
    pub(super) owner: PgLog,
    /// With the reads of the edge.
    pub(super) edge: PgLog,
    /// With the reads of the projectors.
    pub(super) tail: PgLog,
    pub(super) accounts: Arc<Accounts>,
}

impl Pools {
    /// Brings their use into the metrics.
    pub(super) fn report(&self, projections: &Projections, metrics: &Metrics) {
        let (control, owner) = (self.owner.control(), self.owner.reads());
        let (edge, tail) = (self.edge.reads(), self.tail.reads());
        let pools = &metrics.pools;
        let (queries, projectors) = projections.busy_connections();
        let accounts = self.accounts.busy_connections();
        for (gauge, busy) in [
            (&pools.control, control.busy),
            (&pools.owner, owner.busy),
            (&pools.edge, edge.busy),
            (&pools.tail, tail.busy),
            (&pools.queries, queries),
            (&pools.projectors, projectors),
            (&pools.accounts, accounts),
        ] {
            gauge.set(i64::try_from(busy).unwrap_or(i64::MAX));
        }
        let all = [control, owner, edge, tail];
        let waiting: usize = all.iter().map(|pool| pool.waiting).sum();
        pools
            .waiting
            .set(i64::try_from(waiting).unwrap_or(i64::MAX));
        let total = |count: fn(&PoolUse) -> u64| all.iter().map(count).sum();
        raise_to(&pools.refused, total(|pool| pool.refused));
        raise_to(&pools.closed, total(|pool| pool.closed));
    }
}

#[cfg(test)]
mod tests {
    use super::{FIXED, connections_max};
    use crate::settings::Settings;

    #[test]
    fn every_pool_counts_and_two_nodes_fit_a_server_as_it_is_installed() {
        let mut settings = Settings::default();
        assert_eq!(connections_max(&settings), 0, "a folder has no server");
        settings.database_url = Some("postgres://x".to_owned());
        let one = connections_max(&settings);
        settings.account_connections += 1;
        settings.projector_connections += 1;
        assert_eq!(connections_max(&settings), one + 3);
        assert!(FIXED < one);
        // max_connections = 100, of which 3 are for superusers.
        assert!(2 * one <= 97, "{one}");
    }
}

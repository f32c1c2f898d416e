//! Ownership: claims on condition, epochs that rise, nodes that live or are declared dead.

use hubbub_domain::position::{Epoch, Offset, PartitionCount, PartitionId};

use super::{batch, claim_every, incarnation, must, registration, row};
use crate::port::{AppendOutcome, Claim, EventLog, NodeState, PartitionRow, StoreError};

const P: PartitionId = PartitionId::new(4);

async fn partition(log: &dyn EventLog, partition: PartitionId) -> Option<PartitionRow> {
    must(log.partitions().await)
        .into_iter()
        .find(|row| row.partition == partition)
}

async fn state_of(log: &dyn EventLog, n: u64) -> Option<NodeState> {
    must(log.nodes().await)
        .into_iter()
        .find(|row| row.incarnation == incarnation(n))
        .map(|row| row.state)
}

/// The count of a cluster never changes afterwards.
pub async fn a_cluster_is_created_once(log: &dyn EventLog) {
    let created = must(log.init_cluster(PartitionCount::EMBEDDED).await);
    assert_eq!(created.partitions, PartitionCount::EMBEDDED);
    assert_eq!(
        must(log.init_cluster(PartitionCount::CLUSTER).await),
        created
    );
    let rows = must(log.partitions().await);
    assert_eq!(rows.len(), 16);
    assert!(rows.is_sorted_by_key(|row| row.partition));
    assert!(
        rows.iter()
            .all(|row| row.owner.is_none() && row.epoch == Epoch::ZERO)
    );
}

/// Of several claims those that hold are taken and the others are left out.
pub async fn an_acquire_is_conditional_on_owner_and_epoch(log: &dyn EventLog) {
    must(log.init_cluster(PartitionCount::EMBEDDED).await);
    let claim = |partition, expected_owner, expected_epoch| Claim {
        partition: PartitionId::new(partition),
        expected_owner,
        expected_epoch,
    };
    let free = [
        claim(0, None, Epoch::ZERO),
        claim(1, None, Epoch::ZERO),
        claim(2, None, Epoch::ZERO),
    ];
    let taken = must(log.acquire(incarnation(1), &free, "claim").await);
    assert_eq!(
        taken
            .iter()
            .map(|taken| taken.partition.get())
            .collect::<Vec<_>>(),
        [0, 1, 2]
    );
    let epoch = taken.first().map_or(Epoch::ZERO, |taken| taken.epoch);
    assert!(epoch > Epoch::ZERO);

    let mixed = [
        claim(0, None, epoch),
        claim(1, Some(incarnation(1)), epoch.prev()),
        claim(2, Some(incarnation(1)), epoch),
        claim(3, None, Epoch::ZERO),
        claim(4, Some(incarnation(1)), Epoch::ZERO),
    ];
    let taken = must(log.acquire(incarnation(2), &mixed, "takeover").await);
    assert_eq!(
        taken
            .iter()
            .map(|taken| taken.partition.get())
            .collect::<Vec<_>>(),
        [2, 3]
    );
    assert_eq!(
        partition(log, PartitionId::new(1))
            .await
            .and_then(|row| row.owner),
        Some(incarnation(1))
    );
    assert_eq!(
        partition(log, PartitionId::new(2))
            .await
            .and_then(|row| row.owner),
        Some(incarnation(2))
    );
    assert_eq!(must(log.acquire(incarnation(3), &[], "claim").await), []);
}

/// Also when the same node acquires again in the same millisecond.
pub async fn epochs_rise_and_never_repeat(log: &dyn EventLog) {
    let mut last = claim_every(log, incarnation(1)).await[&P];
    for _ in 0..20 {
        let claim = Claim {
            partition: P,
            expected_owner: Some(incarnation(1)),
            expected_epoch: last,
        };
        let taken = must(log.acquire(incarnation(1), &[claim], "in_doubt").await);
        let epoch = taken.first().map_or(Epoch::ZERO, |taken| taken.epoch);
        assert!(epoch > last && epoch < Epoch::MAX, "{epoch} after {last}");
        last = epoch;
    }
    let lineage: Vec<Epoch> = must(log.lineage(P).await)
        .iter()
        .map(|entry| entry.epoch)
        .collect();
    assert_eq!(lineage.len(), 21);
    assert!(
        lineage.is_sorted_by(|one, next| one < next),
        "ascending, each once"
    );
}

/// The head is what the old owner committed; lineage starts there.
pub async fn an_acquire_reads_the_head_and_writes_the_lineage(log: &dyn EventLog) {
    let first = claim_every(log, incarnation(1)).await[&P];
    let mut lane = must(log.open_lane(incarnation(1), 0).await);
    let outcome = lane
        .append(batch((1..=3).map(|n| row(P, n, first, n)).collect()))
        .await;
    assert_eq!(
        outcome,
        AppendOutcome::Done {
            committed: vec![P],
            fenced: vec![]
        }
    );

    let claim = Claim {
        partition: P,
        expected_owner: Some(incarnation(1)),
        expected_epoch: first,
    };
    let taken = must(log.acquire(incarnation(2), &[claim], "takeover").await);
    let second = taken.first().map_or(Epoch::ZERO, |taken| taken.epoch);
    assert_eq!(taken.first().map(|taken| taken.head), Some(Offset::new(3)));

    let lineage = must(log.lineage(P).await);
    let seen: Vec<_> = lineage
        .iter()
        .map(|entry| {
            (
                entry.epoch,
                entry.start.get(),
                entry.owner,
                entry.reason.as_str(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (first, 0, Some(incarnation(1)), "claim"),
            (second, 3, Some(incarnation(2)), "takeover")
        ]
    );
    assert_eq!(must(log.lineage(PartitionId::new(5)).await).len(), 1);
}

/// The next claim names no owner and the old epoch.
pub async fn a_released_partition_has_no_owner_and_keeps_its_epoch(log: &dyn EventLog) {
    let epoch = claim_every(log, incarnation(1)).await[&P];
    must(log.release(incarnation(1), &[(P, epoch)]).await);
    assert_eq!(
        partition(log, P).await,
        Some(PartitionRow {
            partition: P,
            epoch,
            owner: None
        })
    );
    let claim = Claim {
        partition: P,
        expected_owner: None,
        expected_epoch: epoch,
    };
    assert_eq!(
        must(log.acquire(incarnation(2), &[claim], "handoff").await).len(),
        1
    );
}

/// Neither another owner's nor an older epoch's.
pub async fn a_release_of_somebody_elses_partition_changes_nothing(log: &dyn EventLog) {
    let epoch = claim_every(log, incarnation(1)).await[&P];
    let before = partition(log, P).await;
    must(log.release(incarnation(2), &[(P, epoch)]).await);
    must(log.release(incarnation(1), &[(P, epoch.prev())]).await);
    assert_eq!(partition(log, P).await, before);
}

/// So that a restarted node never meets its own ghost; other nodes are not touched.
pub async fn a_new_incarnation_declares_the_older_ones_of_its_node_dead(log: &dyn EventLog) {
    must(log.init_cluster(PartitionCount::EMBEDDED).await);
    must(log.register(&registration(1, "n1")).await);
    must(log.register(&registration(2, "n2")).await);
    assert!(must(
        log.heartbeat(incarnation(1), NodeState::Active, true).await
    ));
    must(log.register(&registration(3, "n1")).await);

    assert!(
        !must(log.heartbeat(incarnation(1), NodeState::Active, true).await),
        "declared dead"
    );
    assert!(must(
        log.heartbeat(incarnation(2), NodeState::Active, true).await
    ));
    assert!(must(
        log.heartbeat(incarnation(3), NodeState::Active, true).await
    ));
    assert_eq!(state_of(log, 1).await, Some(NodeState::Stopped));
    assert!(
        matches!(
            log.register(&registration(1, "n1")).await,
            Err(StoreError::Refused(_))
        ),
        "the dead do not come back"
    );
}

/// Its partitions are claimable at once, because it is not alive.
pub async fn a_retired_incarnation_is_stopped_for_good(log: &dyn EventLog) {
    must(log.init_cluster(PartitionCount::EMBEDDED).await);
    must(log.register(&registration(1, "n1")).await);
    must(log.retire(incarnation(1)).await);
    assert_eq!(state_of(log, 1).await, Some(NodeState::Stopped));
    assert!(must(log.nodes().await).iter().all(|row| !row.is_alive()));
    assert!(!must(
        log.heartbeat(incarnation(1), NodeState::Active, true).await
    ));
    assert_eq!(state_of(log, 1).await, Some(NodeState::Stopped));
}

/// With its state, its place and its view of the bus.
pub async fn a_heartbeat_is_seen_by_others(log: &dyn EventLog) {
    must(log.init_cluster(PartitionCount::EMBEDDED).await);
    must(log.register(&registration(1, "n1")).await);
    assert_eq!(state_of(log, 1).await, Some(NodeState::Joining));
    for (state, nats_ok) in [
        (NodeState::Active, true),
        (NodeState::Blind, false),
        (NodeState::Draining, true),
        (NodeState::Joining, false),
    ] {
        assert!(must(log.heartbeat(incarnation(1), state, nats_ok).await));
        let nodes = must(log.nodes().await);
        let seen: Vec<_> = nodes
            .iter()
            .map(|row| {
                (
                    row.state,
                    row.nats_ok,
                    row.node_id.as_str(),
                    row.addr.as_str(),
                )
            })
            .collect();
        assert_eq!(seen, [(state, nats_ok, "n1", "127.0.0.1:7001")]);
        assert!(nodes.iter().all(crate::port::NodeRow::is_alive));
    }
}

/// Nobody heartbeats without having introduced itself.
pub async fn a_stranger_has_no_heartbeat(log: &dyn EventLog) {
    must(log.init_cluster(PartitionCount::EMBEDDED).await);
    assert!(!must(
        log.heartbeat(incarnation(9), NodeState::Active, true).await
    ));
    assert_eq!(must(log.nodes().await), []);
}

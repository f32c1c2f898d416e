use std::collections::BTreeMap;
use std::time::Duration;

use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::{Epoch, PartitionCount, PartitionId};
use hubbub_event_log::{NodeRow, NodeState, PartitionRow};
use uuid::Uuid;

use super::{Action, Observation, OwnershipCore, OwnershipSettings};

const STALE: Duration = Duration::from_secs(9);

fn incarnation(number: u128) -> Incarnation {
    Incarnation::from_uuid(Uuid::from_u128(number))
}

fn node(number: u128, state: NodeState, silent_for: Duration) -> NodeRow {
    NodeRow {
        incarnation: incarnation(number),
        node_id: format!("node-{number}"),
        addr: String::new(),
        state,
        nats_ok: true,
        silent_for,
    }
}

fn rows(count: PartitionCount, owner: impl Fn(u16) -> Option<u128>) -> Vec<PartitionRow> {
    count
        .all()
        .map(|partition| PartitionRow {
            partition,
            epoch: Epoch::new(7),
            owner: owner(partition.get()).map(incarnation),
        })
        .collect()
}

fn sixteen() -> PartitionCount {
    PartitionCount::EMBEDDED
}

fn core(me: u128) -> OwnershipCore {
    OwnershipCore::new(incarnation(me), sixteen(), OwnershipSettings::default())
}

fn claimed(actions: &[Action]) -> usize {
    actions
        .iter()
        .map(|action| {
            if let Action::Claim(claims) = action {
                claims.len()
            } else {
                0
            }
        })
        .sum()
}

fn handed_over(actions: &[Action]) -> usize {
    actions
        .iter()
        .map(|action| {
            if let Action::HandOver(moves) = action {
                moves.len()
            } else {
                0
            }
        })
        .sum()
}

#[test]
fn a_fresh_cluster_is_served_at_once() {
    let seen = Observation {
        now_ms: 5,
        nodes: vec![node(1, NodeState::Joining, Duration::ZERO)],
        partitions: rows(sixteen(), |_| None),
    };
    let actions = core(1).step(&seen, &BTreeMap::new());
    assert_eq!(actions.first(), Some(&Action::BecomeActive));
    assert_eq!(claimed(&actions), 16);
}

#[test]
fn a_joining_node_waits_beside_active_ones() {
    let mut core = core(1);
    let mut seen = Observation {
        now_ms: 0,
        nodes: vec![
            node(1, NodeState::Joining, Duration::ZERO),
            node(2, NodeState::Active, Duration::ZERO),
        ],
        partitions: rows(sixteen(), |_| Some(2)),
    };
    assert_eq!(core.step(&seen, &BTreeMap::new()), vec![]);
    seen.now_ms = 14_999;
    assert_eq!(core.step(&seen, &BTreeMap::new()), vec![]);
    seen.now_ms = 15_000;
    assert_eq!(
        core.step(&seen, &BTreeMap::new()),
        vec![Action::BecomeActive],
        "and takes nothing from a live owner"
    );
}

#[test]
fn a_database_outage_makes_nobody_steal() {
    // Everyone looks stale after the outage because nobody could write a heartbeat.
    let mut core = core(1);
    let mut seen = Observation {
        now_ms: 100_000,
        nodes: vec![
            node(1, NodeState::Active, Duration::ZERO),
            node(2, NodeState::Active, STALE),
        ],
        partitions: rows(sixteen(), |_| Some(2)),
    };
    core.heartbeat_failed();
    assert_eq!(claimed(&core.step(&seen, &BTreeMap::new())), 0);
    seen.now_ms += 3_999;
    assert_eq!(claimed(&core.step(&seen, &BTreeMap::new())), 0);
    // A steady lease later the other one is still silent: now it is a takeover.
    seen.now_ms += 1;
    assert!(claimed(&core.step(&seen, &BTreeMap::new())) > 0);
}

#[test]
fn a_dead_owner_is_taken_over_by_one_node_first() {
    let nodes = vec![
        node(1, NodeState::Active, Duration::ZERO),
        node(2, NodeState::Active, Duration::ZERO),
        node(3, NodeState::Active, STALE),
    ];
    let mut claims = BTreeMap::<u16, u32>::new();
    for me in [1, 2] {
        let mut core = core(me);
        let mut seen = Observation {
            now_ms: 0,
            nodes: nodes.clone(),
            partitions: rows(sixteen(), |_| Some(3)),
        };
        core.step(&seen, &BTreeMap::new());
        core.orphan_steps.clear();
        core.state = NodeState::Active;
        seen.now_ms = 4_000;
        for action in core.step(&seen, &BTreeMap::new()) {
            if let Action::Claim(wanted) = action {
                for claim in wanted {
                    *claims.entry(claim.partition.get()).or_default() += 1;
                }
            }
        }
    }
    assert_eq!(claims.len(), 16, "all are claimed");
    assert!(
        claims.values().all(|count| *count == 1),
        "each by its home only"
    );
}

#[test]
fn when_the_home_does_not_claim_the_next_one_does_a_step_later() {
    let mut core = core(1);
    let nodes = vec![
        node(1, NodeState::Active, Duration::ZERO),
        node(2, NodeState::Active, Duration::ZERO),
    ];
    let mut seen = Observation {
        now_ms: 0,
        nodes,
        partitions: rows(sixteen(), |_| None),
    };
    core.state = NodeState::Active;
    let first = claimed(&core.step(&seen, &BTreeMap::new()));
    assert_eq!(first, 8);
    seen.now_ms = 1_000;
    assert_eq!(claimed(&core.step(&seen, &BTreeMap::new())), 16);
}

#[test]
fn an_owner_hands_over_within_the_budget_of_the_window() {
    let mut core = core(1);
    core.state = NodeState::Active;
    let serving: BTreeMap<PartitionId, Epoch> = sixteen()
        .all()
        .map(|partition| (partition, Epoch::new(7)))
        .collect();
    let mut seen = Observation {
        now_ms: 20_000,
        nodes: vec![
            node(1, NodeState::Active, Duration::ZERO),
            node(2, NodeState::Active, Duration::ZERO),
        ],
        partitions: rows(sixteen(), |_| Some(1)),
    };
    assert_eq!(
        handed_over(&core.step(&seen, &serving)),
        4,
        "a quarter of all, as the other has less than half its share"
    );
    seen.now_ms += 1_000;
    assert_eq!(
        handed_over(&core.step(&seen, &serving)),
        0,
        "nothing more in this window"
    );
    seen.now_ms += 9_000;
    assert_eq!(handed_over(&core.step(&seen, &serving)), 4);
}

#[test]
fn a_fenced_off_partition_is_abandoned() {
    let mut core = core(1);
    core.state = NodeState::Active;
    let serving = BTreeMap::from([
        (PartitionId::new(3), Epoch::new(6)),
        (PartitionId::new(4), Epoch::new(7)),
    ]);
    let seen = Observation {
        now_ms: 0,
        nodes: vec![
            node(1, NodeState::Active, Duration::ZERO),
            node(2, NodeState::Active, Duration::ZERO),
        ],
        partitions: rows(sixteen(), |_| Some(2)),
    };
    assert_eq!(
        core.step(&seen, &serving).first(),
        Some(&Action::Abandon(vec![PartitionId::new(3)]))
    );
}

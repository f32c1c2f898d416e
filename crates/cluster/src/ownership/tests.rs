use std::collections::BTreeMap;
use std::time::Duration;

use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::{Epoch, PartitionCount, PartitionId};
use hubbub_domain::time::Timestamp;
use hubbub_event_log::{Claim, NodeRow, NodeState, PartitionRow};
use hubbub_wire::bus::ReleasedPartition;
use uuid::Uuid;

use super::node::Phase;
use super::{Action, Move, Observation, OwnershipCore, OwnershipSettings};

#[path = "tests/properties.rs"]
mod properties;
#[path = "tests/silence.rs"]
mod silence;

const STALE: Duration = Duration::from_secs(9);
const FRESH: Duration = Duration::ZERO;

fn incarnation(number: u128) -> Incarnation {
    Incarnation::from_uuid(Uuid::from_u128(number))
}

fn node(number: u128, state: NodeState, silent_for: Duration) -> NodeRow {
    NodeRow {
        incarnation: incarnation(number),
        node_id: format!("node-{number}"),
        addr: String::new(),
        state,
        nats_ok: state != NodeState::Blind,
        silent_for,
        last_seen: Timestamp::default(),
    }
}

fn rows(owner: impl Fn(u16) -> Option<u128>) -> Vec<PartitionRow> {
    PartitionCount::EMBEDDED
        .all()
        .map(|partition| PartitionRow {
            partition,
            epoch: Epoch::new(7),
            owner: owner(partition.get()).map(incarnation),
        })
        .collect()
}

fn core(me: u128) -> OwnershipCore {
    OwnershipCore::new(
        incarnation(me),
        PartitionCount::EMBEDDED,
        OwnershipSettings::default(),
    )
}

/// A core that has been active for a lease, beside nobody.
fn active(me: u128) -> OwnershipCore {
    let mut core = core(me);
    for now_ms in [0, 4_000] {
        let alone = look(
            now_ms,
            &[node(me, NodeState::Active, FRESH)],
            rows(|_| Some(me)),
        );
        core.step(&alone, &BTreeMap::new());
    }
    assert_eq!(core.phase(), Phase::Active);
    core
}

/// The bus has been silent for so long at `now_ms`, and this process was told of it all the time.
fn bus_silent(core: &mut OwnershipCore, now_ms: u64, silent: Duration) {
    let silent_ms = u64::try_from(silent.as_millis()).unwrap();
    for ms in (0..silent_ms).step_by(250) {
        core.bus_silent_for(now_ms - (silent_ms - ms), Duration::from_millis(ms));
    }
    core.bus_silent_for(now_ms, silent);
}

/// What the rows show at `now_ms`, with a database's clock that agrees with this process's.
fn look(now_ms: u64, nodes: &[NodeRow], partitions: Vec<PartitionRow>) -> Observation {
    let seen = |row: &NodeRow| {
        let passed_ms = i64::try_from(now_ms).unwrap();
        let silent_ms = i64::try_from(row.silent_for.as_millis()).unwrap();
        NodeRow {
            last_seen: Timestamp::from_millis(passed_ms - silent_ms),
            ..row.clone()
        }
    };
    Observation {
        now_ms,
        nodes: nodes.iter().map(seen).collect(),
        partitions,
        timeline: 1,
    }
}

fn everything() -> BTreeMap<PartitionId, Epoch> {
    PartitionCount::EMBEDDED
        .all()
        .map(|partition| (partition, Epoch::new(7)))
        .collect()
}

fn claims(actions: &[Action]) -> Vec<Claim> {
    let of = |action: &Action| match action {
        Action::Claim(claims) => claims.clone(),
        Action::Abandon(_) | Action::HandOver(_) => Vec::new(),
    };
    actions.iter().flat_map(of).collect()
}

fn moves(actions: &[Action]) -> Vec<Move> {
    let of = |action: &Action| match action {
        Action::HandOver(moves) => moves.clone(),
        Action::Abandon(_) | Action::Claim(_) => Vec::new(),
    };
    actions.iter().flat_map(of).collect()
}

#[test]
fn a_fresh_cluster_is_served_at_once() {
    let mut core = core(1);
    let seen = look(5, &[node(1, NodeState::Joining, FRESH)], rows(|_| None));
    let actions = core.step(&seen, &BTreeMap::new());
    assert_eq!(core.state(), NodeState::Active);
    assert_eq!(claims(&actions).len(), 16);
}

#[test]
fn a_joining_node_waits_beside_active_ones_and_takes_nothing_from_a_live_owner() {
    let mut core = core(1);
    let nodes = [
        node(1, NodeState::Joining, FRESH),
        node(2, NodeState::Active, FRESH),
    ];
    for (now_ms, phase) in [
        (0, Phase::Joining),
        (14_999, Phase::Joining),
        (15_000, Phase::Active),
    ] {
        let actions = core.step(&look(now_ms, &nodes, rows(|_| Some(2))), &BTreeMap::new());
        assert_eq!(core.phase(), phase, "after {now_ms} ms");
        assert_eq!(actions, vec![]);
    }
}

#[test]
fn a_heartbeat_that_fails_while_joining_begins_the_delay_anew() {
    let mut core = core(1);
    let nodes = [
        node(1, NodeState::Joining, FRESH),
        node(2, NodeState::Active, FRESH),
    ];
    core.step(&look(0, &nodes, rows(|_| Some(2))), &BTreeMap::new());
    core.heartbeat_failed();
    core.step(&look(14_000, &nodes, rows(|_| Some(2))), &BTreeMap::new());
    core.step(&look(28_999, &nodes, rows(|_| Some(2))), &BTreeMap::new());
    assert_eq!(core.phase(), Phase::Joining);
    core.step(&look(29_000, &nodes, rows(|_| Some(2))), &BTreeMap::new());
    assert_eq!(core.phase(), Phase::Active);
}

#[test]
fn a_database_outage_makes_nobody_steal() {
    // Everyone looks stale after the outage because nobody could write a heartbeat.
    let mut core = active(1);
    let nodes = |silent| {
        [
            node(1, NodeState::Active, FRESH),
            node(2, NodeState::Active, silent),
        ]
    };
    core.step(
        &look(5_000, &nodes(FRESH), rows(|_| Some(2))),
        &BTreeMap::new(),
    );
    core.heartbeat_failed();
    for now_ms in [100_000, 103_999] {
        let actions = core.step(
            &look(now_ms, &nodes(STALE), rows(|_| Some(2))),
            &BTreeMap::new(),
        );
        assert_eq!(claims(&actions), vec![]);
    }
    // A steady lease later the other one is still silent: now it is a takeover.
    let actions = core.step(
        &look(104_000, &nodes(STALE), rows(|_| Some(2))),
        &BTreeMap::new(),
    );
    assert!(!claims(&actions).is_empty());
}

#[test]
fn a_database_clock_that_jumps_makes_nobody_dead() {
    let mut core = active(1);
    let nodes = |silent: Duration| {
        [
            node(1, NodeState::Active, FRESH),
            node(2, NodeState::Active, silent),
        ]
    };
    let step = |core: &mut OwnershipCore, now_ms, nodes: &[NodeRow]| {
        claims(&core.step(&look(now_ms, nodes, rows(|_| Some(2))), &BTreeMap::new())).len()
    };
    assert_eq!(
        step(&mut core, 5_000, &nodes(Duration::from_millis(900))),
        0
    );
    // An hour ahead, before the other's next heartbeat; its row may not even be shown any more.
    assert_eq!(step(&mut core, 6_000, &nodes(Duration::from_hours(1))), 0);
    assert_eq!(step(&mut core, 6_500, &nodes(STALE)[..1]), 0);
    // The other one is there.
    assert_eq!(
        step(&mut core, 7_000, &nodes(Duration::from_millis(300))),
        0
    );
    // One that really falls silent is noticed as ever: a lease after its last heartbeat, not after the last look.
    assert_eq!(
        step(&mut core, 10_000, &nodes(Duration::from_millis(3_300))),
        0
    );
    assert!(step(&mut core, 10_750, &nodes(Duration::from_millis(4_050))) > 0);
}

#[test]
fn an_owner_without_a_node_row_is_silent_not_gone() {
    let mut core = active(1);
    let alone = [node(1, NodeState::Active, FRESH)];
    let mut at = |now_ms| {
        claims(&core.step(&look(now_ms, &alone, rows(|_| Some(9))), &BTreeMap::new())).len()
    };
    assert_eq!(at(5_000), 0);
    assert_eq!(at(8_000), 0);
    assert_eq!(at(9_000), 16);
}

#[test]
fn a_dead_owner_is_taken_over_by_one_node_first() {
    let mut claimants = BTreeMap::<u16, u32>::new();
    for me in [1, 2] {
        let nodes = |silent| {
            [
                node(1, NodeState::Active, FRESH),
                node(2, NodeState::Active, FRESH),
                node(3, NodeState::Active, silent),
            ]
        };
        let mut core = active(me);
        core.step(
            &look(5_000, &nodes(FRESH), rows(|_| Some(3))),
            &BTreeMap::new(),
        );
        let actions = core.step(
            &look(9_000, &nodes(STALE), rows(|_| Some(3))),
            &BTreeMap::new(),
        );
        for claim in claims(&actions) {
            assert_eq!(claim.expected_owner, Some(incarnation(3)));
            *claimants.entry(claim.partition.get()).or_default() += 1;
        }
    }
    assert_eq!(claimants.len(), 16, "all are claimed");
    assert!(
        claimants.values().all(|count| *count == 1),
        "each by its home only"
    );
}

#[test]
fn when_the_home_does_not_claim_the_next_one_does_a_second_later() {
    let mut core = core(1);
    let nodes = [
        node(1, NodeState::Active, FRESH),
        node(2, NodeState::Active, FRESH),
    ];
    core.node.looked(0, false);
    let mut at =
        |now_ms| claims(&core.step(&look(now_ms, &nodes, rows(|_| None)), &BTreeMap::new())).len();
    assert_eq!(at(0), 8);
    assert_eq!(at(999), 8);
    assert_eq!(at(1_000), 16);
}

#[test]
fn after_a_failover_everything_served_is_dropped_and_the_rows_are_soon_looked_at_again() {
    // Given a node that serves what the rows give it.
    let mut core = active(1);
    let mut seen = look(
        5_000,
        &[node(1, NodeState::Active, FRESH)],
        rows(|_| Some(1)),
    );
    assert_eq!(core.step(&seen, &everything()), []);
    // When the same rows come from another line of history.
    seen.timeline += 1;
    let all: Vec<PartitionId> = everything().into_keys().collect();
    assert_eq!(core.step(&seen, &everything()), [Action::Abandon(all)]);
    assert_eq!(core.look_again_in(), Some(super::LOOK_SOON));
    // Then once is enough.
    assert_eq!(core.step(&seen, &everything()), []);
}

#[test]
fn a_look_is_due_when_the_lease_of_a_silent_owner_ends() {
    let mut core = active(1);
    let nodes = [
        node(1, NodeState::Active, FRESH),
        node(2, NodeState::Active, Duration::from_millis(3_400)),
    ];
    core.step(&look(9_000, &nodes, rows(|_| Some(2))), &BTreeMap::new());
    assert_eq!(core.look_again_in(), Some(Duration::from_millis(620)));
    // Not for one that owns nothing.
    core.step(&look(9_100, &nodes, rows(|_| Some(1))), &BTreeMap::new());
    assert_eq!(core.look_again_in(), None);
}

#[test]
fn what_was_handed_over_is_claimed_by_whom_it_was_meant_for() {
    let mut core = active(1);
    let released = [(3, Some(1)), (4, Some(2)), (5, None), (3, Some(1))].map(|(number, next)| {
        ReleasedPartition {
            partition: PartitionId::new(number),
            epoch: Epoch::new(7),
            next: next.map(incarnation),
        }
    });
    let mine = Claim {
        partition: PartitionId::new(3),
        expected_owner: None,
        expected_epoch: Epoch::new(7),
    };
    assert_eq!(core.hint_released(&released), vec![mine]);
    core.heartbeat_failed();
    assert_eq!(
        core.hint_released(&released),
        vec![],
        "without an unbroken heartbeat"
    );
    let mut draining = active(1);
    draining.begin_draining(&BTreeMap::new());
    assert_eq!(draining.hint_released(&released), vec![]);
}

#[test]
fn an_owner_hands_over_within_the_budget_of_the_window() {
    let mut core = active(1);
    let nodes = [
        node(1, NodeState::Active, FRESH),
        node(2, NodeState::Active, FRESH),
    ];
    let mut serving = everything();
    let mut at = |now_ms| {
        let moved = moves(&core.step(&look(now_ms, &nodes, rows(|_| Some(1))), &serving));
        assert!(moved.iter().all(|moved| moved.next == Some(incarnation(2))));
        for moved in &moved {
            serving.remove(&moved.partition);
        }
        moved.len()
    };
    assert_eq!(
        at(20_000),
        4,
        "a quarter of all, as the other has less than half its share"
    );
    assert_eq!(at(21_000), 0, "nothing more in this window");
    assert_eq!(at(30_000), 4);
    assert_eq!(at(40_000), 0, "each has its half");
}

#[test]
fn nothing_moves_to_a_node_that_is_not_well_nor_for_a_while_after_one_was_lost() {
    let with = |other: NodeRow| [node(1, NodeState::Active, FRESH), other];
    let deaf = NodeRow {
        nats_ok: false,
        ..node(2, NodeState::Active, FRESH)
    };
    for other in [
        node(2, NodeState::Joining, FRESH),
        node(2, NodeState::Blind, FRESH),
        node(2, NodeState::Draining, FRESH),
        node(2, NodeState::Active, STALE),
        deaf,
    ] {
        let mut core = active(1);
        let actions = core.step(
            &look(20_000, &with(other.clone()), rows(|_| Some(1))),
            &everything(),
        );
        assert_eq!(moves(&actions), vec![], "{other:?}");
    }
    let mut core = active(1);
    let fine = with(node(2, NodeState::Active, FRESH));
    let blind = with(node(2, NodeState::Blind, FRESH));
    let mut at = |now_ms, nodes: &[NodeRow]| {
        moves(&core.step(&look(now_ms, nodes, rows(|_| Some(1))), &everything())).len()
    };
    assert_eq!(at(20_000, &fine), 4);
    assert_eq!(at(32_000, &blind), 0);
    assert_eq!(at(33_000, &fine), 0, "just back");
    assert_eq!(at(42_999, &fine), 0);
    assert_eq!(at(43_000, &fine), 4);
}

#[test]
fn a_blind_node_hands_over_while_somebody_sees() {
    let mut core = active(1);
    let nodes = [
        node(1, NodeState::Active, FRESH),
        node(2, NodeState::Active, FRESH),
    ];
    for now_ms in [5_000, 9_000] {
        core.step(&look(now_ms, &nodes, rows(|_| Some(2))), &BTreeMap::new());
    }
    bus_silent(&mut core, 10_000, Duration::from_secs(3));
    assert_eq!(core.phase(), Phase::Blind);
    let moved = moves(&core.step(&look(10_000, &nodes, rows(|_| Some(1))), &everything()));
    assert_eq!(moved.len(), 16);
    assert!(moved.iter().all(|moved| moved.next == Some(incarnation(2))));
    // They are asked for once.
    let again = moves(&core.step(&look(10_200, &nodes, rows(|_| Some(1))), &everything()));
    assert_eq!(again, vec![]);
}

#[test]
fn when_all_are_blind_nothing_moves_also_not_when_one_sees_a_little_earlier() {
    let mut core = active(1);
    let others = |nats_ok, state| {
        [
            node(1, NodeState::Active, FRESH),
            NodeRow {
                nats_ok,
                ..node(2, state, FRESH)
            },
        ]
    };
    let mut at = |now_ms, nodes: &[NodeRow], silent_s| {
        bus_silent(&mut core, now_ms, Duration::from_secs(silent_s));
        core.step(
            &look(now_ms, nodes, rows(|n| Some(u128::from(n % 2 + 1)))),
            &if silent_s == 0 {
                BTreeMap::new()
            } else {
                everything()
            },
        )
    };
    at(5_000, &others(true, NodeState::Active), 0);
    at(9_000, &others(true, NodeState::Active), 0);
    // The other one has lost it, too, and does not call itself blind yet.
    assert_eq!(at(12_000, &others(false, NodeState::Active), 3), vec![]);
    assert_eq!(at(13_000, &others(false, NodeState::Blind), 4), vec![]);
    // Back for the other one first.
    assert_eq!(at(70_000, &others(true, NodeState::Active), 60), vec![]);
    assert_eq!(at(74_000, &others(true, NodeState::Active), 64), vec![]);
    // It stays away here: then they move.
    assert_eq!(
        moves(&at(75_000, &others(true, NodeState::Active), 65)).len(),
        16
    );
}

#[test]
fn among_the_blind_a_dead_owner_is_still_taken_over() {
    let mut core = active(1);
    let nodes = |silent| {
        [
            node(1, NodeState::Blind, FRESH),
            node(2, NodeState::Blind, silent),
        ]
    };
    core.step(
        &look(5_000, &nodes(FRESH), rows(|_| Some(2))),
        &BTreeMap::new(),
    );
    bus_silent(&mut core, 9_000, Duration::from_secs(3));
    let actions = core.step(
        &look(9_000, &nodes(STALE), rows(|_| Some(2))),
        &BTreeMap::new(),
    );
    assert_eq!(claims(&actions).len(), 16);
}

#[test]
fn a_draining_node_hands_over_to_whom_the_others_will_place_it_and_claims_nothing() {
    let mut core = active(1);
    let nodes = [
        node(1, NodeState::Active, FRESH),
        node(2, NodeState::Active, FRESH),
        node(3, NodeState::Active, FRESH),
    ];
    core.step(&look(5_000, &nodes, rows(|_| Some(1))), &BTreeMap::new());
    let moved = core.begin_draining(&everything());
    assert_eq!(moved.len(), 16);
    let to = |number| {
        moved
            .iter()
            .filter(|moved| moved.next == Some(incarnation(number)))
            .count()
    };
    assert_eq!((to(2), to(3)), (8, 8));
    assert_eq!(core.begin_draining(&everything()), vec![], "asked for once");
    let actions = core.step(&look(6_000, &nodes, rows(|_| None)), &BTreeMap::new());
    assert_eq!(actions, vec![]);
}

#[test]
fn a_fenced_off_partition_is_abandoned() {
    let mut core = active(1);
    let serving = BTreeMap::from([
        (PartitionId::new(3), Epoch::new(6)),
        (PartitionId::new(4), Epoch::new(7)),
    ]);
    let nodes = [
        node(1, NodeState::Active, FRESH),
        node(2, NodeState::Joining, FRESH),
    ];
    let actions = core.step(&look(5_000, &nodes, rows(|_| Some(2))), &serving);
    assert_eq!(actions, vec![Action::Abandon(vec![PartitionId::new(3)])]);
}

#[test]
fn a_wedged_node_does_nothing_until_it_sees_the_rows_and_then_claims_after_a_lease() {
    let mut core = active(1);
    let nodes = [
        node(1, NodeState::Active, STALE),
        node(2, NodeState::Active, STALE),
    ];
    core.step(&look(5_000, &nodes, rows(|_| Some(2))), &BTreeMap::new());
    core.lease_lost();
    assert_eq!(core.phase(), Phase::Wedged);
    assert_eq!(
        claims(&core.step(&look(20_000, &nodes, rows(|_| Some(2))), &BTreeMap::new())),
        vec![]
    );
    assert_eq!(core.phase(), Phase::Active);
    assert_eq!(
        claims(&core.step(&look(24_000, &nodes, rows(|_| Some(2))), &BTreeMap::new())).len(),
        16
    );
}

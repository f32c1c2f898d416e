//! Whatever is observed, in whatever order: no claim against a live owner, no claim after a broken heartbeat, no move beyond the budget.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::ownership::{REBALANCE_STARVED_PERCENT, REBALANCE_WINDOW_MS};

/// What happens between two looks, and what the second one shows.
#[derive(Clone, Debug)]
struct Turn {
    pause_ms: u64,
    fails: bool,
    bus_silent_ms: u64,
    /// Else this process stood still until the look.
    told_all_the_time: bool,
    /// State and silence of nodes 1 (this one), 2, 3.
    nodes: [(NodeState, u64); 3],
    /// Owner of every partition in turn: 0 = nobody, 9 = somebody without a row.
    owners: Vec<u8>,
}

fn state() -> impl Strategy<Value = NodeState> {
    prop_oneof![
        1 => Just(NodeState::Joining),
        4 => Just(NodeState::Active),
        1 => Just(NodeState::Blind),
        1 => Just(NodeState::Draining),
        1 => Just(NodeState::Stopped),
    ]
}

fn turn() -> impl Strategy<Value = Turn> {
    let silence = prop_oneof![3 => 0_u64..1_200, 1 => 0_u64..4_600_000];
    let row = (state(), silence).boxed();
    (
        prop_oneof![0_u64..1_500, 0_u64..20_000],
        prop::bool::weighted(0.1),
        prop_oneof![3 => Just(0_u64), 1 => 0_u64..10_000],
        prop::bool::weighted(0.8),
        [row.clone(), row.clone(), row],
        prop::collection::vec(prop_oneof![0_u8..4, Just(9_u8)], 16),
    )
        .prop_map(
            |(pause_ms, fails, bus_silent_ms, told_all_the_time, nodes, owners)| Turn {
                pause_ms,
                fails,
                bus_silent_ms,
                told_all_the_time,
                nodes,
                owners,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_observation_leads_to_a_claim_against_a_live_owner_or_to_more_moves_than_the_budget(
        turns in prop::collection::vec(turn(), 1..24)
    ) {
        let mut core = core(1);
        let mut now_ms = 0_u64;
        let mut serving = BTreeMap::<PartitionId, Epoch>::new();
        let mut moved_at: Vec<u64> = Vec::new();
        let mut steady_since: Option<u64> = None;
        for turn in turns {
            now_ms += turn.pause_ms.max(turn.bus_silent_ms);
            if turn.fails {
                core.heartbeat_failed();
                steady_since = None;
            }
            if turn.told_all_the_time {
                bus_silent(&mut core, now_ms, Duration::from_millis(turn.bus_silent_ms));
            } else {
                core.bus_silent_for(now_ms, Duration::from_millis(turn.bus_silent_ms));
            }
            let steady = now_ms - *steady_since.get_or_insert(now_ms);
            let nodes: Vec<NodeRow> = (1_u128..).zip(turn.nodes)
                .map(|(number, (state, silent))| node(number, state, Duration::from_millis(silent)))
                .collect();
            let owner = |partition: u16| match turn.owners[usize::from(partition)] {
                0 => None,
                number => Some(u128::from(number)),
            };
            let seen = look(now_ms, &nodes, rows(owner));
            serving.retain(|partition, _| owner(partition.get()) == Some(1));
            for row in seen.partitions.iter().filter(|row| row.owner == Some(incarnation(1))) {
                serving.insert(row.partition, row.epoch);
            }
            let before = serving.clone();
            let actions = core.step(&seen, &serving);

            for claim in claims(&actions) {
                let row = seen.partitions[usize::from(claim.partition.get())];
                prop_assert_eq!(claim.expected_owner, row.owner);
                prop_assert_eq!(claim.expected_epoch, row.epoch);
                prop_assert_ne!(row.owner, Some(incarnation(1)));
                if let Some(owner) = row.owner {
                    let shown = nodes.iter().find(|node| node.incarnation == owner);
                    prop_assert!(!shown.is_some_and(NodeRow::is_alive), "claims from a live owner");
                    let gone = shown.is_some_and(|node| node.state == NodeState::Stopped);
                    prop_assert!(gone || steady >= 4_000, "steady for {} ms only", steady);
                }
                prop_assert!(matches!(core.phase(), Phase::Active | Phase::Blind));
            }

            let moves = moves(&actions);
            let distinct: BTreeSet<_> = moves.iter().map(|moved| moved.partition).collect();
            prop_assert_eq!(distinct.len(), moves.len(), "asked for once");
            for moved in &moves {
                prop_assert_eq!(before.get(&moved.partition), Some(&moved.epoch));
                let next = moved.next.and_then(|next| nodes.iter().find(|node| node.incarnation == next));
                if let Some(next) = next {
                    prop_assert_ne!(next.incarnation, incarnation(1));
                    prop_assert!(next.state == NodeState::Active && next.nats_ok && next.is_alive(), "{:?}", next);
                }
            }
            if core.phase() == Phase::Active {
                moved_at.extend(moves.iter().map(|_| now_ms));
                // Two windows touch at most in a stretch as long as one.
                let recent = moved_at.iter().filter(|at| now_ms - **at < REBALANCE_WINDOW_MS).count();
                let budget = 16 * usize::try_from(REBALANCE_STARVED_PERCENT).unwrap() / 100;
                prop_assert!(recent <= 2 * budget, "{} moves in a window", recent);
            }
            for moved in moves {
                serving.remove(&moved.partition);
            }
        }
    }
}

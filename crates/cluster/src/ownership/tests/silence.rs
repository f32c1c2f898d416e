//! Silence that is this node's own, and what a node without sight does not wait for.

use super::*;

fn two() -> [NodeRow; 2] {
    [
        node(1, NodeState::Active, FRESH),
        node(2, NodeState::Active, FRESH),
    ]
}

#[test]
fn a_process_that_stood_still_for_three_seconds_is_not_blind_and_hands_nothing_over() {
    for paused_ms in [2_500, 3_000, 3_500] {
        // Given a node beside another that has seen for long.
        let mut core = active(1);
        for now_ms in [5_000, 9_000] {
            core.step(&look(now_ms, &two(), rows(|_| Some(1))), &BTreeMap::new());
        }
        bus_silent(&mut core, 10_000, Duration::from_millis(300));
        // When it wakes from a pause, with the last proof of the bus from before it.
        let woke_ms = 10_000 + paused_ms;
        core.bus_silent_for(woke_ms, Duration::from_millis(300 + paused_ms));
        // Then it is what it was, and says so.
        assert_eq!((core.phase(), core.bus_ok()), (Phase::Active, true));
        core.bus_silent_for(woke_ms + 250, Duration::from_millis(40));
        assert_eq!((core.phase(), core.bus_ok()), (Phase::Active, true));
        // And when the bus does stay silent, it is blind three seconds after it woke at the latest.
        bus_silent(&mut core, woke_ms + 3_250, Duration::from_secs(3));
        assert_eq!(core.phase(), Phase::Blind);
    }
}

#[test]
fn a_bus_that_was_lost_while_the_process_stood_still_makes_it_blind_all_the_same() {
    let mut core = active(1);
    bus_silent(&mut core, 10_000, Duration::from_millis(300));
    let mut told = |awake_ms: u64| {
        core.bus_silent_for(13_000 + awake_ms, Duration::from_millis(3_300 + awake_ms));
        core.phase()
    };
    for awake_ms in (0..=2_500).step_by(250) {
        assert_eq!(told(awake_ms), Phase::Active, "{awake_ms} ms after it woke");
    }
    assert_eq!(told(2_750), Phase::Blind, "three seconds of its own");
}

#[test]
fn a_node_that_may_not_claim_looks_no_more_often_for_what_nobody_serves() {
    // Given an active node that waits for its place in the ranking of what nobody owns.
    let mut core = active(1);
    let blind = [
        node(1, NodeState::Blind, FRESH),
        node(2, NodeState::Active, FRESH),
    ];
    core.step(&look(5_000, &two(), rows(|_| None)), &BTreeMap::new());
    assert_eq!(core.look_again_in(), Some(Duration::from_millis(200)));
    // When it is blind while the other one sees.
    bus_silent(&mut core, 9_000, Duration::from_secs(3));
    assert_eq!(core.phase(), Phase::Blind);
    let seen = look(9_000, &blind, rows(|_| None));
    assert_eq!(claims(&core.step(&seen, &BTreeMap::new())), vec![]);
    // Then its next look is the next heartbeat's.
    assert_eq!(core.look_again_in(), None);
}

#[test]
fn a_dead_node_is_taken_over_although_the_databases_clock_was_set_back() {
    // Given an owner that died when the database's clock was set back by an hour: it seems to be heard at every look.
    let mut core = active(1);
    core.step(&look(5_000, &two(), rows(|_| Some(2))), &BTreeMap::new());
    let mut at = |now_ms: u64, beat_ms: i64| {
        let mut seen = look(now_ms, &two(), rows(|_| Some(2)));
        seen.nodes[1].last_seen = Timestamp::from_millis(beat_ms);
        claims(&core.step(&seen, &BTreeMap::new())).len()
    };
    // When its heartbeat stands in its row unchanged for a lease and a half, then it is dead.
    for now_ms in (6_000..12_000).step_by(1_000) {
        assert_eq!(at(now_ms, 5_900), 0, "at {now_ms} ms");
    }
    assert_eq!(at(12_000, 5_900), 16);
    // One more heartbeat, and it lives.
    assert_eq!(at(12_200, 12_100), 0);
}

#[test]
fn whoever_stood_still_does_not_take_the_others_for_dead() {
    let mut core = active(1);
    let mut at = |now_ms: u64| {
        let mut seen = look(now_ms, &two(), rows(|_| Some(2)));
        seen.nodes[1].last_seen = Timestamp::from_millis(5_000);
        claims(&core.step(&seen, &BTreeMap::new())).len()
    };
    // Rows that were read before a pause of a minute, and are looked at after it.
    assert_eq!((at(5_000), at(65_000)), (0, 0));
}

//! Seeds that once found something, and a few that never did.
//!
//! A seed shows what it is named after only as long as runs draw the same dice. Since sockets plan one wake for all their marks, runs are
//! others: 9143 showed its finding up to 8f44ef5 and meets no lost catch-up any more (28397 and 46390 do), and whether 13, 95, 3471 (found
//! before 50e48e4) and 5539 (24004b3) would still fail without their cures has not been looked at again.

use hubbub_sim::run;

fn is_clean(seed: u64) {
    let outcome = run(seed, false);
    assert!(
        outcome.is_clean(),
        "seed {seed}: {:?}\n{}",
        outcome.findings,
        outcome.report.worst()
    );
}

#[test]
fn seed_13_a_feed_waited_without_end_for_a_gap_that_had_closed_while_it_was_read() {
    is_clean(13);
}

#[test]
fn seed_95_an_edge_that_was_behind_repeated_what_led_up_to_a_head_read_from_the_log() {
    is_clean(95);
}

#[test]
fn seed_3471_a_failover_forgot_an_acquire_and_nobody_served_the_partition() {
    is_clean(3471);
}

#[test]
fn seed_5539_a_failover_lost_a_row_that_could_not_be_read_and_its_place_was_held_against_the_edge()
{
    is_clean(5539);
}

#[test]
fn seed_9143_a_socket_was_caught_up_to_what_a_failover_lost_before_its_edge_had_heard_of_it() {
    is_clean(9143);
}

#[test]
fn seed_11227_marks_that_no_owner_took_were_planned_again_for_each_other_without_end() {
    is_clean(11_227);
}

#[test]
fn seed_28397_what_came_live_behind_a_hole_that_a_failover_left_went_out_behind_a_catch_up() {
    is_clean(28_397);
}

#[test]
fn a_dozen_seeds_are_clean() {
    for seed in 0..12 {
        is_clean(seed);
    }
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let (one, again, other) = (run(3, false), run(3, false), run(4, false));
    assert_eq!(one.trace_hash, again.trace_hash);
    assert_eq!(one.counters, again.counters);
    assert_ne!(one.trace_hash, other.trace_hash);
}

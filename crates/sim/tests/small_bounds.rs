//! Append, takeover, hand-over and in-doubt resolution at small bounds, exhaustively (RELIABILITY.md, simulation).

#![expect(
    clippy::print_stdout,
    reason = "the number of states is what one wants to see"
)]

use hubbub_sim::explore::{Bounds, explore};

/// Honest builds have no bad state; builds without the fence, with an epoch that stands still, or that try again under the same epoch, have: those
/// that may happen too seldom within the bounds are left to the other tests.
fn judge(bounds: Bounds, shows_sabotage: bool) {
    let explored = explore(bounds);
    println!(
        "{bounds:?}: {} states, {} ends, {} of them with everything stored",
        explored.states, explored.ends, explored.complete
    );
    let is_sabotaged = cfg!(any(
        feature = "sabotage-no-fence",
        feature = "sabotage-epoch-not-bumped",
        feature = "sabotage-retry-same-epoch"
    ));
    match explored.violation {
        None => {
            assert!(
                !is_sabotaged || !shows_sabotage,
                "the sabotage was not noticed"
            );
            assert!(
                is_sabotaged || explored.complete > 0,
                "nothing was ever stored"
            );
        }
        Some((what, moves)) => {
            assert!(is_sabotaged, "{what}, after:\n{}", moves.join("\n"));
            println!("{what}, after:\n{}", moves.join("\n"));
        }
    }
}

#[test]
fn no_order_of_two_commands_a_takeover_and_an_unknown_outcome_breaks_the_log() {
    judge(
        Bounds {
            commands: 2,
            unknowns: 1,
            takeovers: 1,
            hand_overs: 0,
            repetitions: 2,
        },
        true,
    );
}

#[test]
fn no_order_of_two_unknown_outcomes_breaks_the_log() {
    judge(
        Bounds {
            commands: 2,
            unknowns: 2,
            takeovers: 0,
            hand_overs: 0,
            repetitions: 2,
        },
        true,
    );
}

#[test]
fn no_order_of_a_hand_over_and_an_unknown_outcome_breaks_the_log() {
    judge(
        Bounds {
            commands: 2,
            unknowns: 1,
            takeovers: 0,
            hand_overs: 1,
            repetitions: 1,
        },
        false,
    );
}

#[test]
fn no_order_of_a_hand_over_and_a_takeover_breaks_the_log() {
    judge(
        Bounds {
            commands: 1,
            unknowns: 1,
            takeovers: 1,
            hand_overs: 1,
            repetitions: 2,
        },
        false,
    );
}

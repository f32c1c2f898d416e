//! What a report says.

use hubbub_checker::report::{Counter, VIOLATIONS_KEPT_MAX};
use hubbub_checker::{Happened, History, Invariant, Limits, check};

use crate::world::sound;

#[test]
fn a_run_in_which_nothing_happened_is_void() {
    let limits = Limits {
        required: Counter::ALL.to_vec(),
        ..Limits::default()
    };
    let mut history = History::default();
    let report = check(&history, &limits);
    assert!(report.is_clean() && report.is_void() && !report.passes());
    assert_eq!(report.missing, Counter::ALL);
    for counter in [
        Happened::TakeoverInFlight,
        Happened::FencedAppend,
        Happened::UnknownOutcome,
        Happened::HealedGap,
        Happened::HealedLastMessage,
    ] {
        history.happened(counter, 1);
    }
    assert!(check(&history, &limits).passes());
}

#[test]
fn the_worst_is_told_first_and_the_rest_counted() {
    let mut history = sound(5);
    let lost = history.log.len() as u64;
    history.log.clear();
    history.events.clear();
    let report = check(&history, &Limits::default());
    assert!(report.broken().contains(&Invariant::I1));
    assert!(report.count(Invariant::I1) >= lost);
    let kept = |invariant| {
        let of_it = report
            .violations
            .iter()
            .filter(|v| v.invariant == invariant);
        of_it.count()
    };
    assert!(
        Invariant::ALL
            .iter()
            .all(|invariant| kept(*invariant) <= VIOLATIONS_KEPT_MAX)
    );
    let text = report.worst();
    assert!(
        text.starts_with("I1 (acked ⇒ in the log exactly once): "),
        "{text}"
    );
    assert!(text.lines().count() < 60, "{text}");
}

#[test]
fn every_invariant_looks_at_something_in_a_sound_history() {
    let report = check(&sound(1), &Limits::default());
    for invariant in Invariant::ALL {
        assert!(
            report.examined[&invariant] > 0,
            "{invariant} looked at nothing"
        );
    }
}

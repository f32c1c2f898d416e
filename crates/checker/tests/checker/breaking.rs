//! Every fault is caught by the invariant that names it; a sound history passes.

use hubbub_checker::{Invariant, Limits, check};
use proptest::prelude::*;

use crate::faults::{FAULTS, a_loss_is_told_of, reset_everybody_to_the_start};
use crate::world::{Dice, sound};

#[test]
fn a_sound_history_passes() {
    let report = check(&sound(1), &Limits::default());
    assert!(report.is_clean(), "{}", report.worst());
}

#[test]
fn every_invariant_has_a_fault_that_it_catches() {
    for invariant in Invariant::ALL {
        assert!(
            FAULTS.iter().any(|fault| fault.caught_by == invariant),
            "{invariant}"
        );
    }
}

#[test]
fn every_planted_fault_is_caught_by_the_invariant_that_names_it() {
    for fault in FAULTS {
        let planted = (1..50).find_map(|seed| {
            let mut history = sound(seed);
            (fault.plant)(&mut history, &mut Dice::of(seed)).then_some((seed, history))
        });
        let (seed, history) = planted.expect("fifty histories have no place for it");
        let report = check(&history, &Limits::default());
        assert!(
            report.broken().contains(&fault.caught_by),
            "{} (seed {seed}) is not caught by {}, but by {:?}",
            fault.name,
            fault.caught_by,
            report.broken()
        );
    }
}

#[test]
fn a_reset_lets_an_application_hear_everything_again() {
    let mut history = sound(3);
    reset_everybody_to_the_start(&mut history);
    let report = check(&history, &Limits::default());
    assert!(report.is_clean(), "{}", report.worst());
}

#[test]
fn a_loss_that_everybody_is_told_of_is_no_fault() {
    for seed in 1..50 {
        let mut history = sound(seed);
        assert!(a_loss_is_told_of(&mut history, &mut Dice::of(seed)));
        let report = check(&history, &Limits::default());
        assert!(report.is_clean(), "seed {seed}: {}", report.worst());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_sound_history_is_blamed(seed: u64) {
        let report = check(&sound(seed), &Limits::default());
        prop_assert!(report.is_clean(), "{}", report.worst());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_fault_at_any_place_escapes(seed: u64, chosen in 0..FAULTS.len(), place: u64) {
        let fault = &FAULTS[chosen];
        let mut history = sound(seed);
        prop_assume!((fault.plant)(&mut history, &mut Dice::of(place)));
        let report = check(&history, &Limits::default());
        prop_assert!(
            report.broken().contains(&fault.caught_by),
            "{} is not caught by {}, but by {:?}", fault.name, fault.caught_by, report.broken()
        );
    }
}

//! One function for each invariant: it looks at all that a history says about it and writes down what is broken.

mod access;
mod compared;
mod log;
mod losses;
mod order;
mod reads;
mod resume;
mod sight;
mod unread;

use crate::history::{Happened, Outcome};
use crate::index::Index;
use crate::limits::Limits;
use crate::report::{Counter, Findings, Invariant, Report};

/// Every invariant, in order, and what really happened.
pub(crate) fn all(index: &Index<'_>, limits: &Limits) -> Report {
    let mut report = Report::default();
    for invariant in Invariant::ALL {
        let mut findings = Findings::of(invariant);
        let found = &mut findings;
        match invariant {
            Invariant::I1 => log::acked_is_stored_once(index, found),
            Invariant::I2 => log::stored_was_sent(index, found),
            Invariant::I3 => log::one_command_one_event(index, found),
            Invariant::I4 => log::the_log_is_dense(index, found),
            Invariant::I5 => {
                sight::everybody_sees_the_same(index, found);
                losses::who_saw_what_is_lost_is_told(index, limits, found);
            }
            Invariant::I6 => order::seqs_rise_by_one(index, found),
            Invariant::I7 => order::acks_order_what_comes_later(index, found),
            Invariant::I8 => reads::reads_see_own_writes(index, found),
            Invariant::I9 => resume::resume_is_exact(index, limits, found),
            Invariant::I10 => unread::unread_equals_a_recount(index, found),
            Invariant::I11 => access::nothing_is_shown_to_outsiders(index, limits, found),
            Invariant::I12 => log::epochs_never_fall(index, found),
            Invariant::I13 => compared::states_equal_the_fold(index, found),
            Invariant::I14 => compared::read_models_equal_the_fold(index, found),
            Invariant::I15 => sight::nothing_depends_on_what_is_not_stored(index, found),
            Invariant::I16 => compared::healing_is_quick(index, limits, found),
            Invariant::I17 => compared::levels_stay_within_bounds(index, found),
            Invariant::I18 => compared::golden_vectors_decode(index, found),
        }
        report.take(findings);
    }
    count(index, limits, &mut report);
    report
}

fn count(index: &Index<'_>, limits: &Limits, report: &mut Report) {
    for counter in Counter::ALL {
        report.counters.insert(counter, 0);
    }
    let mut add = |counter: Counter, times: u64| {
        *report.counters.entry(counter).or_default() += times;
    };
    for happened in &index.history.happened {
        match *happened {
            Happened::TakeoverInFlight(times) => add(Counter::TakeoversInFlight, times),
            Happened::FencedAppend(times) => add(Counter::FencedAppends, times),
            Happened::UnknownOutcome(times) => add(Counter::UnknownOutcomes, times),
            Happened::HealedGap(times) => add(Counter::HealedGaps, times),
            Happened::HealedLastMessage(times) => add(Counter::HealedLastMessages, times),
        }
    }
    for operation in &index.history.operations {
        if operation.outcome == Outcome::Unknown {
            add(Counter::UnknownOutcomes, 1);
        }
    }
    let is_missing = |counter: &&Counter| report.counters.get(counter).is_none_or(|n| *n == 0);
    report.missing = limits.required.iter().filter(is_missing).copied().collect();
}

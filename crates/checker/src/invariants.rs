//! One function for each invariant.

use crate::index::Index;
use crate::limits::Limits;
use crate::report::{Findings, Invariant, Report};

/// Every invariant, in order.
pub(crate) fn all(_index: &Index<'_>, _limits: &Limits) -> Report {
    let mut report = Report::default();
    for invariant in Invariant::ALL {
        report.take(Findings::of(invariant));
    }
    report
}

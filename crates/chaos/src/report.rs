//! What a call of the program says: a JSON line per row, a table in the end, and `docs/proof.md` for the whole matrix.

pub mod proof;
pub mod runs;

use std::fmt::Write as _;

use crate::row::{Ending, RowReport};

/// Words of a broken row that the table shows below itself.
const WORDS_SHOWN: usize = 2_000;

/// The table for people.
pub fn table(reports: &[RowReport]) -> String {
    let mut text = String::new();
    let _infallible = writeln!(
        text,
        "{:<4} {:<7} {:>6} {:>6} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>6} {:>6} {:>6}  fault",
        "row",
        "ending",
        "sent",
        "events",
        "gap max",
        "gap p99",
        "others",
        "late p99",
        "own line",
        "heads ms",
        "tkover",
        "unkn",
        "gaps",
    );
    for report in reports {
        let m = &report.measured;
        let _infallible = writeln!(
            text,
            "{:<4} {:<7} {:>6} {:>6} {:>9.0} {:>9.0} {:>9.0} {:>9.0} {:>9.0} {:>9} {:>6} {:>6} {:>6}  {}",
            report.fault,
            word(report.ending),
            m.count("sent"),
            m.count("events"),
            m.writes.concerned.max_ms,
            m.writes.concerned.p99_ms,
            m.writes.others.max_ms,
            m.late_after.p99_ms,
            m.writes.own_line_broke.max_ms,
            m.heads_ms
                .map_or_else(|| "never".to_owned(), |ms| format!("{ms:.0}")),
            m.takeovers(),
            m.counter("log_unknown") + m.count("unknown_attempts"),
            m.counter("feed_healed_gaps") + m.counter("feed_healed_last"),
            report.name,
        );
    }
    for report in reports {
        let _infallible = write!(text, "{}", faults_of(report));
    }
    text
}

/// What is wrong with a row, a line each; empty when nothing is.
pub fn faults_of(report: &RowReport) -> String {
    let mut text = String::new();
    for (invariant, count) in &report.measured.violated {
        let _infallible = writeln!(text, "{}: {invariant} violated {count} times", report.fault);
    }
    for held in report.verdict.exceeded() {
        let _infallible = writeln!(
            text,
            "{}: {} was {:.0}, allowed {:.0}",
            report.fault, held.what, held.measured, held.limit
        );
    }
    for missing in report.verdict.missing() {
        let _infallible = writeln!(text, "{}: void: it never happened: {missing}", report.fault);
    }
    if !report.words.is_empty() {
        let shown: String = report.words.chars().take(WORDS_SHOWN).collect();
        let _infallible = writeln!(text, "{}", shown.trim_end());
    }
    text
}

/// A word for the table.
pub const fn word(ending: Ending) -> &'static str {
    match ending {
        Ending::Passed => "passed",
        Ending::Slow => "SLOW",
        Ending::Broken => "BROKEN",
        Ending::Void => "VOID",
    }
}

//! `docs/proof.md`: the figures of a whole matrix, with what is needed to repeat them.

use std::fmt::Write as _;

use crate::report::{faults_of, word};
use crate::row::RowReport;

/// Under which circumstances the figures were taken.
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    /// Day and time, UTC.
    pub date: String,
    /// Revision of the source.
    pub revision: String,
    /// Versions of the parts, a line each.
    pub versions: Vec<String>,
    /// The machine in general words.
    pub machine: String,
    /// The command that repeats it.
    pub command: String,
}

/// The whole page.
pub fn page(circumstances: &Circumstances, reports: &[RowReport]) -> String {
    let mut text = String::new();
    let c = circumstances;
    let _infallible = write!(
        text,
        "# Proof: what was broken on purpose, and what it did\n\n\
         Written by `cargo xtask chaos`; do not edit. Each row is a run of its own: PostgreSQL, three NATS servers as a cluster and three \
         nodes as processes; clients that send, mark, read, reconnect, send things twice on purpose and use keys again; a fault; its \
         healing; then everything that any client was told, and every row of the log, is held against the invariants I1–I18.\n\n\
         - Date: {}\n- Revision: {}\n- Machine: {}\n- Build: dev profile (unoptimised) with fault points; clients and servers share the machine\n",
        c.date, c.revision, c.machine
    );
    for version in &c.versions {
        let _infallible = writeln!(text, "- {version}");
    }
    let _infallible = write!(
        text,
        "\nRepeat it: `{}`; one row: `cargo xtask chaos --fault F1 --seed <seed>`.\n\n\
         **Write gap**: how long a write that was asked for after the fault waited from its first attempt to its ack, the sender's own \
         connection standing all the time; \"others\" are conversations that the fault does not concern. **Late**: from the ack to the \
         telling of each application. **Lost, doubled, reordered, drift** count violations of I1–I2; I3–I5 and I12; I6–I9; I10 and I14.\n\n\
         | row | fault | ending | lost | doubled | reordered | drift | events | gap max | gap p99 | others max | late p99 | takeovers | unknown | healed gaps | fenced | seed |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        c.command
    );
    for report in reports {
        line(&mut text, report);
    }
    text.push_str("\n## Row by row\n");
    for report in reports {
        row(&mut text, report);
    }
    text
}

fn line(text: &mut String, report: &RowReport) {
    let m = &report.measured;
    let of = |names: &[&str]| -> u64 {
        names
            .iter()
            .map(|name| m.violated.get(*name).copied().unwrap_or(0))
            .sum()
    };
    let _infallible = writeln!(
        text,
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        report.fault,
        report.name,
        word(report.ending),
        of(&["I1", "I2"]),
        of(&["I3", "I4", "I5", "I12"]),
        of(&["I6", "I7", "I8", "I9"]),
        of(&["I10", "I14"]),
        m.count("events"),
        span(m.writes.concerned.count, m.writes.concerned.max_ms),
        span(m.writes.concerned.count, m.writes.concerned.p99_ms),
        span(m.writes.others.count, m.writes.others.max_ms),
        span(m.late_after.count, m.late_after.p99_ms),
        m.takeovers(),
        m.counter("log_unknown") + m.count("unknown_attempts"),
        m.counter("feed_healed_gaps") + m.counter("feed_healed_last"),
        m.counter("log_fenced"),
        report.seed,
    );
}

fn row(text: &mut String, report: &RowReport) {
    let _infallible = write!(
        text,
        "\n### {} {}\n\nExpected: {}. Ended: {}, in {:.0} s{}.\n\n",
        report.fault,
        report.name,
        report.expected,
        word(report.ending),
        report.took_s,
        if report.short {
            ", at the sizes of a short run"
        } else {
            ""
        }
    );
    for held in &report.verdict.held {
        let _infallible = writeln!(
            text,
            "- {}: {:.0} (limit {:.0})",
            held.what, held.measured, held.limit
        );
    }
    let happened: Vec<String> = report
        .verdict
        .happened
        .iter()
        .map(|(what, times)| format!("{what} {times}"))
        .collect();
    if !happened.is_empty() {
        let _infallible = writeln!(text, "- It really happened: {}", happened.join(", "));
    }
    for (what, figure) in &report.measured.extra {
        let _infallible = writeln!(text, "- {what}: {figure:.0}");
    }
    for remark in &report.verdict.remarks {
        let _infallible = writeln!(text, "- {remark}");
    }
    let wrong = faults_of(report);
    if !wrong.is_empty() {
        let _infallible = write!(text, "\n```text\n{wrong}```\n");
    }
}

fn span(count: usize, ms: f64) -> String {
    if count == 0 {
        "–".to_owned()
    } else if ms >= 1_000.0 {
        format!("{:.1} s", ms / 1_000.0)
    } else {
        format!("{ms:.0} ms")
    }
}

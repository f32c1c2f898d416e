//! `docs/proof.md`: the figures of a whole matrix, with what is needed to repeat them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::report::runs::RELEASE;
use crate::report::{faults_of, word};
use crate::row::{Held, RowReport};

/// Under which circumstances the figures were taken.
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    /// Day and time, UTC.
    pub date: String,
    /// Versions of the parts, a line each.
    pub versions: Vec<String>,
    /// The machine in general words.
    pub machine: String,
    /// The command that repeats it.
    pub command: String,
    /// Why a row is above a limit, by its id: what somebody found out who looked.
    pub causes: BTreeMap<String, String>,
}

/// The whole page, of runs whose rows stand together.
pub fn page(circumstances: &Circumstances, reports: &[RowReport]) -> String {
    let mut text = String::new();
    let rows = rows_of(reports);
    head(&mut text, circumstances, reports);
    for report in reports {
        line(&mut text, report);
    }
    above(&mut text, circumstances, &rows);
    text.push_str("\n## Row by row\n");
    for runs in rows {
        row(&mut text, runs);
    }
    text
}

/// The runs of each row.
fn rows_of(reports: &[RowReport]) -> Vec<&[RowReport]> {
    reports
        .chunk_by(|one, next| one.fault == next.fault)
        .collect()
}

fn head(text: &mut String, c: &Circumstances, reports: &[RowReport]) {
    let revisions = words_of(reports, |report| &report.revision);
    let build = match words_of(reports, |report| &report.profile).as_str() {
        RELEASE => "release profile".to_owned(),
        "dev" => "dev profile (unoptimised)".to_owned(),
        other => format!("profile {other}"),
    };
    let load = reports
        .iter()
        .map(|report| report.load_before)
        .fold(0.0, f64::max);
    let minutes = reports.iter().map(|report| report.took_s).sum::<f64>() / 60.0;
    let _infallible = write!(
        text,
        "# Proof: what was broken on purpose, and what it did\n\n\
         Written by `cargo xtask chaos`; do not edit. Each row is a run of its own: PostgreSQL, three NATS servers as a cluster and three \
         nodes as processes; clients that send, mark, read, reconnect, send things twice on purpose and use keys again; a fault; its \
         healing; then everything that any client was told, and every row of the log, is held against the invariants I1–I18. A row with \
         two lines was run with two seeds.\n\n\
         - Date: {}\n- Revision: {revisions}\n- Machine: {}; load average before a row {load:.1} at most\n\
         - Build: {build} with fault points; clients, database, bus and servers share the machine\n\
         - {} runs in {minutes:.0} minutes\n",
        c.date,
        c.machine,
        reports.len()
    );
    for version in &c.versions {
        let _infallible = writeln!(text, "- {version}");
    }
    let _infallible = write!(
        text,
        "\nRepeat it: `{}`; one row: `cargo xtask chaos --fault F1 --seed <seed>`.\n\n\
         **Write gap**: how long a write that was asked for after the fault waited from its first attempt to its ack, the sender's own \
         connection standing all the time; \"others\" are conversations that the fault does not concern. **Late**: from the ack to the \
         telling of each application. **Lost, doubled, reordered, drift** count violations of I1–I2; I3–I5 and I12; I6–I9; I10 and I14. \
         **SLOW**: no promise was broken, a figure is above its limit. **VOID**: the fault did not take place, nothing is shown.\n\n\
         | row | fault | ending | lost | doubled | reordered | drift | events | gap max | gap p99 | others max | late p99 | takeovers | unknown | healed gaps | fenced | seed |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        c.command
    );
}

/// What the runs say of themselves, each word once.
fn words_of(reports: &[RowReport], of: impl Fn(&RowReport) -> &String) -> String {
    let words: BTreeSet<&str> = reports
        .iter()
        .map(|report| of(report).as_str())
        .map(|word| if word.is_empty() { "unknown" } else { word })
        .collect();
    words.into_iter().collect::<Vec<_>>().join(", ")
}

/// Figures above their limits, and why.
fn above(text: &mut String, c: &Circumstances, rows: &[&[RowReport]]) {
    text.push_str("\n## Above a limit\n\n");
    let mut is_any = false;
    for runs in rows {
        for what in held_in(runs) {
            let of_runs = |report: &RowReport| held(report, what).cloned();
            let all: Vec<Held> = runs.iter().filter_map(of_runs).collect();
            let Some(worst) = all.iter().find(|held| held.measured > held.limit) else {
                continue;
            };
            let Some(run) = runs.first() else { continue };
            is_any = true;
            let figures: Vec<String> = all.iter().map(|held| figure(held.measured)).collect();
            let cause = c
                .causes
                .get(&run.fault)
                .or(worst.cause.as_ref())
                .map_or("not found out", String::as_str);
            let _infallible = writeln!(
                text,
                "- **{}** {what}: {} (limit {}). Cause: {cause}.",
                run.fault,
                figures.join(" and "),
                figure(worst.limit),
            );
        }
    }
    if !is_any {
        text.push_str("Nothing.\n");
    }
}

/// What the runs of a row were held against, in order.
fn held_in(runs: &[RowReport]) -> Vec<&str> {
    let mut all: Vec<&str> = Vec::new();
    for held in runs.iter().flat_map(|report| &report.verdict.held) {
        if !all.contains(&held.what.as_str()) {
            all.push(&held.what);
        }
    }
    all
}

fn held<'a>(report: &'a RowReport, what: &str) -> Option<&'a Held> {
    report.verdict.held.iter().find(|held| held.what == what)
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

/// A row: one column per run.
fn row(text: &mut String, runs: &[RowReport]) {
    let Some(first) = runs.first() else { return };
    let endings: Vec<String> = runs
        .iter()
        .map(|report| {
            let size = if report.short {
                " at the sizes of a short run"
            } else {
                ""
            };
            format!(
                "{} in {:.0} s{size} (seed {})",
                word(report.ending),
                report.took_s,
                report.seed
            )
        })
        .collect();
    let _infallible = write!(
        text,
        "\n### {} {}\n\nExpected: {}. Ended: {}.\n\n",
        first.fault,
        first.name,
        first.expected,
        endings.join("; ")
    );
    let seeds: Vec<String> = runs
        .iter()
        .map(|run| format!("seed {}", run.seed))
        .collect();
    let _infallible = writeln!(text, "| figure | limit | {} |", seeds.join(" | "));
    let _infallible = writeln!(text, "|---|---|{}", "---|".repeat(runs.len()));
    for what in held_in(runs) {
        let limits: BTreeSet<String> = runs
            .iter()
            .filter_map(|run| held(run, what))
            .map(|held| figure(held.limit))
            .collect();
        let limit = limits.into_iter().collect::<Vec<_>>().join("; ");
        cells(text, what, &limit, runs, |run| {
            held(run, what).map(|held| {
                let is_above = held.measured > held.limit;
                let mark = if is_above { " **above**" } else { "" };
                format!("{}{mark}", figure(held.measured))
            })
        });
    }
    for what in names(runs, |run| run.verdict.happened.keys()) {
        cells(text, what, "above 0", runs, |run| {
            run.verdict.happened.get(what).map(u64::to_string)
        });
    }
    for what in names(runs, |run| run.measured.extra.keys()) {
        if !held_in(runs).contains(&what) {
            cells(text, what, "", runs, |run| {
                run.measured.extra.get(what).copied().map(figure)
            });
        }
    }
    let remarks: BTreeSet<&String> = runs.iter().flat_map(|run| &run.verdict.remarks).collect();
    if !remarks.is_empty() {
        text.push('\n');
    }
    for remark in remarks {
        let _infallible = writeln!(text, "- {remark}");
    }
    let wrong: String = runs.iter().map(faults_of).collect();
    if !wrong.is_empty() {
        let _infallible = write!(text, "\n```text\n{wrong}```\n");
    }
}

/// One line of a row's table.
fn cells(
    text: &mut String,
    what: &str,
    limit: &str,
    runs: &[RowReport],
    of: impl Fn(&RowReport) -> Option<String>,
) {
    let cells: Vec<String> = runs
        .iter()
        .map(|run| of(run).unwrap_or_else(|| "–".to_owned()))
        .collect();
    let _infallible = writeln!(text, "| {what} | {limit} | {} |", cells.join(" | "));
}

/// Every name that any of the runs knows, once.
fn names<'a, I>(runs: &'a [RowReport], of: impl Fn(&'a RowReport) -> I) -> BTreeSet<&'a str>
where
    I: Iterator<Item = &'a String>,
{
    runs.iter().flat_map(of).map(String::as_str).collect()
}

/// A figure for people: whole where that says enough; `never` for what did not come to pass.
fn figure(figure: f64) -> String {
    if figure >= f64::from(u32::MAX) {
        "never".to_owned()
    } else if figure.fract() == 0.0 || figure >= 10.0 {
        format!("{figure:.0}")
    } else {
        format!("{figure:.1}")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Ending, Measured, Verdict};

    fn run(seed: u64, gap: f64) -> RowReport {
        let mut verdict = Verdict::default();
        verdict
            .at_most("write gap, ms", gap, 500.0)
            .because("a third of all changes hands at once");
        RowReport {
            fault: "F12".to_owned(),
            name: "rolling restart".to_owned(),
            expected: "hand over".to_owned(),
            seed,
            ending: Ending::Slow,
            short: false,
            revision: "r1".to_owned(),
            profile: RELEASE.to_owned(),
            load_before: 0.4,
            took_s: 60.0,
            measured: Measured::default(),
            verdict,
            words: String::new(),
        }
    }

    #[test]
    fn two_runs_of_a_row_stand_side_by_side_and_what_is_above_a_limit_has_a_cause() {
        let mut circumstances = Circumstances::default();
        let runs = [run(1, 400.0), run(2, 900.0)];
        let shown = page(&circumstances, &runs);
        assert!(
            shown.contains("| write gap, ms | 500 | 400 | 900 **above** |"),
            "{shown}"
        );
        assert!(
            shown.contains(
                "**F12** write gap, ms: 400 and 900 (limit 500). Cause: a third of all changes hands at once."
            ),
            "{shown}"
        );
        assert!(shown.contains("Build: release profile"), "{shown}");
        circumstances
            .causes
            .insert("F12".to_owned(), "looked into".to_owned());
        assert!(page(&circumstances, &runs).contains("Cause: looked into."));
        assert!(page(&circumstances, &runs[..1]).contains("## Above a limit\n\nNothing."));
    }
}

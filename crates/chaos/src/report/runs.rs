//! Runs that were made before: the JSON lines, what of a matrix is left to do, and which runs a page shows.
//!
//! Never: a run of another revision, size or profile taken for one of this matrix.

use std::path::Path;

use anyhow::Context as _;

use crate::row::{Ending, RowReport};
use crate::scene::Bench;

/// Runs of one row that a page shows: two seeds.
const RUNS_SHOWN: usize = 2;
/// What a build calls the profile that figures are taken with.
pub const RELEASE: &str = "release";

/// All runs of a file of JSON lines, oldest first; none when there is no such file.
///
/// # Errors
/// When it cannot be read.
pub fn read(lines: &Path) -> anyhow::Result<Vec<RowReport>> {
    if !lines.exists() {
        return Ok(Vec::new());
    }
    let text =
        std::fs::read_to_string(lines).with_context(|| format!("read {}", lines.display()))?;
    let mut reports = Vec::new();
    for (n, line) in text.lines().enumerate() {
        match serde_json::from_str(line) {
            Ok(report) => reports.push(report),
            // A run that was ended while it wrote: the last line is not whole.
            Err(_) if n + 1 == text.lines().count() => {}
            Err(error) => return Err(error).with_context(|| format!("read line {}", n + 1)),
        }
    }
    Ok(reports)
}

/// The newest run of this row in the matrix that the bench describes, unless it could not be carried out.
pub fn done_before<'a>(
    reports: &'a [RowReport],
    row: &str,
    bench: &Bench,
) -> Option<&'a RowReport> {
    let is_of_this_matrix = |report: &&RowReport| {
        report.fault == row
            && report.seed == bench.seed
            && report.short == bench.short
            && report.revision == bench.revision
            && report.profile == bench.profile
    };
    reports
        .iter()
        .rfind(is_of_this_matrix)
        .filter(|report| report.ending != Ending::Void)
}

/// The runs that a page shows, in the order of `rows`: of each row the newest run of each of the two newest seeds, and those of the
/// best kind alone: at full size before short, of the release profile before any other.
pub fn shown(reports: &[RowReport], rows: &[&str]) -> Vec<RowReport> {
    let mut shown = Vec::new();
    for row in rows {
        let of_row = || reports.iter().filter(|report| report.fault == *row);
        let Some(best) = of_row().map(kind).max() else {
            continue;
        };
        let mut newest: Vec<&RowReport> = Vec::with_capacity(RUNS_SHOWN);
        for report in of_row().rev().filter(|report| kind(report) == best) {
            let is_new = newest.iter().all(|newer| newer.seed != report.seed);
            if is_new && newest.len() < RUNS_SHOWN {
                newest.push(report);
            }
        }
        shown.extend(newest.into_iter().rev().cloned());
    }
    shown
}

fn kind(report: &RowReport) -> (bool, bool) {
    (!report.short, report.profile == RELEASE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Measured, Verdict};

    fn run(row: &str, seed: u64, short: bool, took_s: f64) -> RowReport {
        RowReport {
            fault: row.to_owned(),
            name: String::new(),
            expected: String::new(),
            seed,
            ending: Ending::Passed,
            short,
            revision: "r".to_owned(),
            profile: RELEASE.to_owned(),
            load_before: 0.0,
            took_s,
            measured: Measured::default(),
            verdict: Verdict::default(),
            words: String::new(),
        }
    }

    fn seeds(shown: &[RowReport]) -> Vec<(&str, u64)> {
        let of = |report: &'_ RowReport| report.seed;
        shown
            .iter()
            .map(|report| (report.fault.as_str(), of(report)))
            .collect()
    }

    #[test]
    fn a_page_shows_the_newest_runs_of_two_seeds_in_the_order_of_the_rows() {
        let runs = [
            run("F2", 1, false, 1.0),
            run("F1", 1, false, 1.0),
            run("F1", 2, false, 1.0),
            run("F1", 3, false, 1.0),
            run("F1", 2, false, 9.0),
            run("F1", 4, true, 1.0),
            run("F3", 5, true, 1.0),
        ];
        let shown = shown(&runs, &["F1", "F2", "F3"]);
        assert_eq!(
            seeds(&shown),
            [("F1", 3), ("F1", 2), ("F2", 1), ("F3", 5)],
            "the third seed, what was repeated, and short runs only where there is nothing else"
        );
        assert!((shown[1].took_s - 9.0).abs() < 0.1, "the newest of a seed");
    }

    #[test]
    fn figures_of_a_release_build_push_aside_those_of_any_other() {
        let mut dev = run("F1", 8, false, 1.0);
        dev.profile = "dev".to_owned();
        let shown = shown(&[run("F1", 7, false, 1.0), dev], &["F1"]);
        assert_eq!(seeds(&shown), [("F1", 7)]);
    }

    #[test]
    fn a_matrix_goes_on_behind_what_is_done_and_not_behind_what_is_void_or_of_another_matrix() {
        let mut bench = Bench {
            seed: 1,
            revision: "r".to_owned(),
            profile: RELEASE.to_owned(),
            ..Bench::default()
        };
        let mut void = run("F2", 1, false, 1.0);
        void.ending = Ending::Void;
        let runs = [run("F1", 1, false, 1.0), run("F2", 1, false, 1.0), void];
        assert!(done_before(&runs, "F1", &bench).is_some());
        assert!(done_before(&runs, "F2", &bench).is_none(), "void");
        assert!(done_before(&runs, "F3", &bench).is_none(), "never run");
        bench.seed = 2;
        assert!(done_before(&runs, "F1", &bench).is_none(), "another seed");
        bench.seed = 1;
        bench.short = true;
        assert!(done_before(&runs, "F1", &bench).is_none(), "another size");
    }

    #[test]
    fn a_line_that_was_cut_off_by_the_end_of_a_run_is_no_run() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("runs.jsonl");
        assert!(read(&file).expect("nothing yet").is_empty());
        let whole = serde_json::to_string(&run("F1", 1, false, 1.0)).expect("is JSON");
        std::fs::write(&file, format!("{whole}\n{{\"fault\":\"F")).expect("is written");
        assert_eq!(read(&file).expect("is read").len(), 1);
        std::fs::write(&file, format!("{{\"fault\":\"F\n{whole}\n")).expect("is written");
        read(&file).expect_err("a broken line in the middle is told");
    }
}

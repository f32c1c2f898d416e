//! What a run says: a JSON line per result as it comes, and a table at the end.
//!
//! Never: a number that was not measured in this run.

mod latency;
mod table;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

pub(crate) use latency::Latency;

use crate::parts::Cost;

/// One result: what was done to what, and the figures.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// `dm`, `room`, …
    pub(crate) scenario: &'static str,
    /// What was measured: `hubbub`, `socket floor`, `postgres`, …
    pub(crate) target: &'static str,
    /// What distinguishes this result from others of the scenario.
    pub(crate) parameters: Vec<(&'static str, u64)>,
    /// Names end in their unit.
    pub(crate) figures: Vec<(&'static str, f64)>,
}

impl Row {
    pub(crate) fn new(scenario: &'static str, target: &'static str) -> Self {
        Self {
            scenario,
            target,
            parameters: Vec::new(),
            figures: Vec::new(),
        }
    }

    #[must_use]
    pub(crate) fn with(mut self, parameter: &'static str, value: u64) -> Self {
        self.parameters.push((parameter, value));
        self
    }

    #[must_use]
    pub(crate) fn figure(mut self, name: &'static str, value: f64) -> Self {
        self.figures.push((name, value));
        self
    }

    /// The median and the 99th percentile, in milliseconds.
    #[must_use]
    pub(crate) fn latency(self, latency: &Latency) -> Self {
        self.figure("p50_ms", latency.quantile_ms(0.5))
            .figure("p99_ms", latency.quantile_ms(0.99))
    }

    /// Processor time per unit of work, in microseconds, under these names: server, `PostgreSQL`, NATS, these together, clients.
    #[must_use]
    pub(crate) fn costs(self, names: &[&'static str; 5], cost: Cost, units: u64) -> Self {
        let spent = [
            cost.server,
            cost.postgres,
            cost.nats,
            cost.of_system(),
            cost.clients,
        ];
        names.iter().zip(spent).fold(self, |row, (name, spent)| {
            row.figure(name, per(spent.as_secs_f64() * 1e6, count(units)))
        })
    }

    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.figures
            .iter()
            .find(|(figure, _)| *figure == name)
            .map(|(_, value)| *value)
    }
}

/// What every line of a run repeats, so that a line means something by itself.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
    /// The commit, when git knows it.
    pub(crate) revision: Option<String>,
    pub(crate) is_release: bool,
}

/// Collects the results of a run.
#[derive(Debug)]
pub(crate) struct Report {
    run: Run,
    file: File,
    rows: Vec<Row>,
}

impl Report {
    /// Lines go to standard output and into `file`, which is made anew.
    pub(crate) fn new(run: Run, file: &Path) -> anyhow::Result<Self> {
        if let Some(directory) = file.parent() {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("make {}", directory.display()))?;
        }
        let file = File::create(file).with_context(|| format!("write {}", file.display()))?;
        Ok(Self {
            run,
            file,
            rows: Vec::new(),
        })
    }

    pub(crate) fn add(&mut self, row: Row) -> anyhow::Result<()> {
        let line = self.json(&row).to_string();
        println!("{line}");
        writeln!(self.file, "{line}").context("write the result")?;
        self.rows.push(row);
        Ok(())
    }

    /// The floor that a result is compared with: the same scenario and parameters on another target.
    pub(crate) fn floor_of(&self, row: &Row) -> Option<&Row> {
        self.rows.iter().find(|other| {
            other.scenario == row.scenario
                && other.parameters == row.parameters
                && other.target == SOCKET_FLOOR
        })
    }

    /// Adds how a result compares with its floor, for each figure of `compared`, and the row itself.
    pub(crate) fn add_against_floor(
        &mut self,
        mut row: Row,
        compared: &[(&'static str, &'static str)],
    ) -> anyhow::Result<()> {
        let ratios: Vec<_> = self.floor_of(&row).map_or_else(Vec::new, |floor| {
            compared
                .iter()
                .filter_map(|(figure, ratio)| {
                    let (ours, floors) = (row.get(figure)?, floor.get(figure)?);
                    (floors > 0.0).then_some((*ratio, ours / floors))
                })
                .collect()
        });
        row.figures.extend(ratios);
        self.add(row)
    }

    pub(crate) fn print_table(&self) {
        println!("{}", table::of(&self.rows));
    }

    fn json(&self, row: &Row) -> Value {
        let mut line = Map::new();
        line.insert("scenario".into(), row.scenario.into());
        line.insert("target".into(), row.target.into());
        for (name, value) in &row.parameters {
            line.insert((*name).into(), (*value).into());
        }
        for (name, value) in &row.figures {
            line.insert((*name).into(), json!(rounded(*value)));
        }
        line.insert("seed".into(), self.run.seed.into());
        line.insert("seconds".into(), self.run.seconds.into());
        line.insert("revision".into(), self.run.revision.clone().into());
        line.insert("release".into(), self.run.is_release.into());
        Value::Object(line)
    }
}

/// The target that others are compared with.
pub(crate) const SOCKET_FLOOR: &str = "socket floor";
/// The whole system.
pub(crate) const HUBBUB: &str = "hubbub";

/// Four digits tell everything that a noisy machine knows.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10_f64.powf(3.0 - value.abs().log10().floor());
    (value * scale).round() / scale
}

/// `part` per `whole`, 0 when there is none.
pub(crate) fn per(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// A count as a number to divide; exact below 2^53, which no run reaches.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a run are far below 2^53"
)]
pub(crate) const fn count(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_digits_are_kept() {
        assert!((rounded(123_456.0) - 123_500.0).abs() < 1e-6);
        assert!((rounded(0.012_345_6) - 0.012_35).abs() < 1e-9);
        assert!(rounded(0.0).abs() < 1e-12);
    }

    #[test]
    fn a_result_is_compared_with_the_floor_of_the_same_parameters_only() {
        let directory = tempfile::tempdir().unwrap();
        let run = Run {
            seed: 1,
            seconds: 1,
            revision: None,
            is_release: false,
        };
        let mut report = Report::new(run, &directory.path().join("results.jsonl")).unwrap();
        let row = |target, pairs, rate| {
            Row::new("dm", target)
                .with("pairs", pairs)
                .figure("messages_per_s", rate)
        };
        report.add(row(SOCKET_FLOOR, 1, 100.0)).unwrap();
        let compared = [("messages_per_s", "of_floor")];
        report
            .add_against_floor(row(HUBBUB, 1, 60.0), &compared)
            .unwrap();
        report
            .add_against_floor(row(HUBBUB, 10, 60.0), &compared)
            .unwrap();
        assert_eq!(report.rows[1].get("of_floor"), Some(0.6));
        assert_eq!(report.rows[2].get("of_floor"), None);
        report.file.flush().unwrap();
        let written = std::fs::read_to_string(directory.path().join("results.jsonl")).unwrap();
        assert_eq!(written.lines().count(), 3);
    }
}

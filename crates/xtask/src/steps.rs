//! A list of steps with progress lines and a summary: what ran, how long it took, what failed.

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::runner::{Interrupted, Runner};

/// The steps of one task, in the order in which they are run.
#[derive(Debug)]
pub(crate) struct Steps {
    total: usize,
    done: Vec<Done>,
    interrupted: bool,
}

#[derive(Debug)]
struct Done {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed(String),
    /// Not needed here; the sentence says why.
    Skipped(String),
}

impl Steps {
    /// For `total` steps; only the progress lines use the number.
    pub(crate) fn new(total: usize) -> Self {
        Self {
            total,
            done: Vec::new(),
            interrupted: false,
        }
    }

    /// Runs a step that consists of commands, up to the first that fails. Returns whether it passed.
    pub(crate) fn commands(
        &mut self,
        runner: &mut Runner,
        name: &'static str,
        commands: impl IntoIterator<Item = Command>,
    ) -> bool {
        let mut commands = commands.into_iter();
        self.step(name, || {
            commands.try_for_each(|mut command| {
                println!("    {}", shown(&command));
                let status = runner.run(&mut command)?;
                anyhow::ensure!(status.success(), "{}: {status}", shown(&command));
                Ok(())
            })
        })
    }

    /// Runs a step that is a function. Returns whether it passed.
    pub(crate) fn step(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> anyhow::Result<()>,
    ) -> bool {
        if self.interrupted {
            return false;
        }
        println!("==> [{}/{}] {name}", self.done.len() + 1, self.total);
        let start = Instant::now();
        let outcome = match work() {
            Ok(()) => Outcome::Passed,
            Err(error) => {
                self.interrupted = error.is::<Interrupted>();
                println!("    failed: {error:#}");
                Outcome::Failed(format!("{error:#}"))
            }
        };
        let passed = outcome == Outcome::Passed;
        let took = start.elapsed();
        println!("    {:.1} s", took.as_secs_f64());
        self.done.push(Done {
            name,
            outcome,
            took,
        });
        passed
    }

    /// Counts a step that this machine cannot or need not run.
    pub(crate) fn skip(&mut self, name: &'static str, why: &str) {
        self.count_unrun(name, Outcome::Skipped(why.to_owned()));
    }

    /// Counts a step that did not run because one before it failed: it has not been shown to pass.
    pub(crate) fn missed(&mut self, name: &'static str, why: &str) {
        self.count_unrun(name, Outcome::Failed(format!("not run: {why}")));
    }

    fn count_unrun(&mut self, name: &'static str, outcome: Outcome) {
        if self.interrupted {
            return;
        }
        println!("==> [{}/{}] {name}", self.done.len() + 1, self.total);
        match &outcome {
            Outcome::Passed => {}
            Outcome::Failed(why) => println!("    {why}"),
            Outcome::Skipped(why) => println!("    skipped: {why}"),
        }
        self.done.push(Done {
            name,
            outcome,
            took: Duration::ZERO,
        });
    }

    /// Prints the table and the counts, and says whether everything passed.
    pub(crate) fn finish(&self) -> bool {
        println!("\n{}", self.summary());
        let failed = self
            .done
            .iter()
            .any(|done| matches!(done.outcome, Outcome::Failed(_)));
        !failed && !self.interrupted
    }

    fn summary(&self) -> String {
        let mut table = String::new();
        let mut passed = 0;
        let mut failed = 0;
        let width = self
            .done
            .iter()
            .map(|done| done.name.len())
            .max()
            .unwrap_or(0);
        for Done {
            name,
            outcome,
            took,
        } in &self.done
        {
            let word = match outcome {
                Outcome::Passed => {
                    passed += 1;
                    "passed".to_owned()
                }
                Outcome::Failed(why) => {
                    failed += 1;
                    let first = why.lines().next().unwrap_or_default();
                    format!("FAILED   {first}")
                }
                Outcome::Skipped(why) => format!("skipped  {why}"),
            };
            let _infallible =
                writeln!(table, "{name:width$}  {:7.1} s  {word}", took.as_secs_f64());
        }
        if self.interrupted {
            table.push_str("interrupted: the steps after this did not run\n");
        }
        let _infallible = write!(table, "{passed} passed, {failed} failed");
        table
    }
}

/// A command as one would type it.
fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    if let Some(name) = std::path::Path::new(command.get_program()).file_name() {
        words[0] = name.to_string_lossy();
    }
    words.extend(
        command
            .get_args()
            .map(|argument| argument.to_string_lossy()),
    );
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts_passed_and_failed_and_a_missed_step_has_failed() {
        let mut steps = Steps::new(4);
        assert!(steps.step("one", || Ok(())));
        assert!(!steps.step("two", || anyhow::bail!("broken\nin detail")));
        steps.skip("three", "not here");
        steps.missed("four", "two failed");
        let summary = steps.summary();
        assert_eq!(summary.lines().last(), Some("1 passed, 2 failed"));
        assert!(summary.contains("FAILED   broken\n"), "{summary}");
        assert!(!steps.finish());
    }

    #[test]
    fn skipped_steps_do_not_fail_a_task() {
        let mut steps = Steps::new(2);
        steps.step("one", || Ok(()));
        steps.skip("two", "not here");
        assert!(steps.finish());
    }

    #[test]
    fn nothing_runs_after_an_interrupt_and_the_task_has_failed() {
        let mut steps = Steps::new(2);
        steps.step("one", || Err(Interrupted.into()));
        assert!(!steps.step("two", || unreachable!("must not run")));
        assert!(!steps.finish());
    }
}

//! Tells whoever waits how far a run is: one line per step, with the time since the row began.

#![expect(
    clippy::print_stderr,
    reason = "a command-line tool tells whoever waits for it"
)]

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// Clones tell of the same run.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Mutex<Row>>);

#[derive(Debug)]
struct Row {
    name: String,
    began: Instant,
}

impl Default for Progress {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Row {
            name: String::new(),
            began: Instant::now(),
        })))
    }
}

impl Progress {
    /// Another row begins.
    pub fn begin(&self, number: usize, of: usize, name: &str) {
        let mut row = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        name.clone_into(&mut row.name);
        row.began = Instant::now();
        // A bar of rows done, since a row's own length depends on what it has to wait for.
        let done = "#".repeat(number);
        let left = ".".repeat(of.saturating_sub(number));
        eprintln!("==> [{done}{left}] {name}");
    }

    /// A step of the row begins.
    pub fn told(&self, what: &str) {
        let row = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let word = row.name.split(' ').next().unwrap_or_default();
        eprintln!(
            "    {word:<4}{:6.1} s  {what}",
            row.began.elapsed().as_secs_f64()
        );
    }
}

//! Warm-up, measured time, end: one clock for all tasks of a scenario, and what the servers spent in the measured time.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::Plan;
use crate::parts::{Charged, Cost};

const WARM_UP: u8 = 0;
const MEASURED: u8 = 1;
const ENDED: u8 = 2;

/// Where a scenario stands.
#[derive(Debug, Default)]
pub(super) struct Phases(AtomicU8);

/// What the measured time was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) took: Duration,
    pub(super) cost: Cost,
}

impl Phases {
    pub(super) fn is_measured(&self) -> bool {
        self.0.load(Ordering::Relaxed) == MEASURED
    }

    pub(super) fn has_ended(&self) -> bool {
        self.0.load(Ordering::Relaxed) == ENDED
    }

    /// Lets the load run for the planned times. The tasks stop by themselves when this returns.
    pub(super) async fn run(&self, plan: &Plan, charged: Charged) -> anyhow::Result<Measured> {
        self.0.store(WARM_UP, Ordering::Relaxed);
        tokio::time::sleep(plan.warm_up).await;
        let before = Cost::now(charged)?;
        let begun = Instant::now();
        self.0.store(MEASURED, Ordering::Relaxed);
        tokio::time::sleep(plan.seconds).await;
        self.0.store(ENDED, Ordering::Relaxed);
        let took = begun.elapsed();
        Ok(Measured {
            took,
            cost: Cost::now(charged)?.since(before),
        })
    }
}

//! The lane's task: gather, send, settle, and come back after a lost connection.
//!
//! Fault points: `draw.before`, `draw.after`, `append.before` (the statement is about to be sent), `append.after` (its answer is here, nobody
//! has been told), `markers.before`, `markers.after`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hubbub_domain::position::{Epoch, PartitionId};
use hubbub_event_log::{AppendOutcome, Lane};
use hubbub_telemetry::{fault, spans};
use tokio::sync::mpsc;
use tracing::Instrument;

use crate::lane::core::LaneCore;
use crate::lane::{LaneInput, Report, Reporter};
use crate::shared::Shared;
use crate::stats::as_u64;

/// First pause before a lost lane is opened again: a database that restarts cleanly is back within a second or two.
const REOPEN_PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause between two attempts: commands wait for it, so it stays well below their deadlines.
const REOPEN_PAUSE_MAX: Duration = Duration::from_millis(500);
/// Commands that an append's span links to at most; the SDK keeps no more than 128 links of a span.
const LINKS_MAX: usize = 128;
/// How often commands past their deadline are looked for while the lane is down.
const EXPIRY_LOOK_EVERY: Duration = Duration::from_millis(100);

/// One lane.
pub(crate) struct LaneTask {
    pub(super) shared: Arc<Shared>,
    number: u16,
    inputs: mpsc::Receiver<LaneInput>,
    pub(super) core: LaneCore,
    reporters: HashMap<PartitionId, (Epoch, Reporter)>,
    lane: Option<Box<dyn Lane>>,
    /// Rows and bytes that the host's gauges count.
    measured: (usize, usize),
}

/// A lane that panics leaves its partitions with nobody to store their rows, and with an append that may be open. That is a bug whose reach
/// nobody knows, so the incarnation ends: another one acquires anew and reads what exists.
impl Drop for LaneTask {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(lane = self.number, "write lane failed");
            self.shared.stats.panics.one();
            for (_, reporter) in self.reporters.values() {
                let _gone = reporter(Report::Broken);
            }
        }
    }
}

impl LaneTask {
    pub(crate) fn new(shared: Arc<Shared>, number: u16, inputs: mpsc::Receiver<LaneInput>) -> Self {
        Self {
            shared,
            number,
            inputs,
            core: LaneCore::default(),
            reporters: HashMap::new(),
            lane: None,
            measured: (0, 0),
        }
    }

    /// Runs until every sender is gone.
    pub(crate) async fn run(mut self) {
        loop {
            let Some(mut lane) = self.take_lane().await else {
                return;
            };
            if self.core.is_empty() {
                self.measure();
                self.lane = Some(lane);
                match self.inputs.recv().await {
                    None => return,
                    Some(input) => self.take(input),
                }
                continue;
            }
            self.gather();
            self.expire();
            self.measure();
            let alive = self.append(&mut lane).await && self.write_markers(&mut lane).await;
            if alive {
                self.lane = Some(lane);
            }
        }
    }

    /// Brings this lane's share of the host's gauges up to date.
    fn measure(&mut self) {
        let now = (self.core.rows(), self.core.bytes());
        let then = std::mem::replace(&mut self.measured, now);
        self.shared.lane_rows.add(now.0);
        self.shared.lane_rows.subtract(then.0);
        self.shared.lane_bytes.add(now.1);
        self.shared.lane_bytes.subtract(then.1);
    }

    /// Whatever has arrived by now.
    fn gather(&mut self) {
        while let Ok(input) = self.inputs.try_recv() {
            self.take(input);
        }
    }

    fn take(&mut self, input: LaneInput) {
        match input {
            LaneInput::Open {
                partition,
                epoch,
                reporter,
            } => {
                if self.core.open(partition, epoch) {
                    self.reporters.insert(partition, (epoch, reporter));
                } else {
                    tracing::warn!(%partition, %epoch, lane = self.number, "opened under an epoch that is over");
                    let _gone = reporter(Report::Fenced);
                }
            }
            LaneInput::Row {
                partition,
                epoch,
                round,
                row,
            } => self.core.push(partition, epoch, round, *row),
            LaneInput::Markers {
                partition,
                epoch,
                markers,
            } => self.core.push_markers(partition, epoch, markers),
            LaneInput::Close { partition, epoch } => self.close(partition, epoch),
        }
    }

    /// `false` when the connection is to be given up.
    async fn append(&mut self, lane: &mut Box<dyn Lane>) -> bool {
        fault::point("draw.before");
        let drawn = self.core.draw();
        if drawn.is_empty() {
            return true;
        }
        fault::point("draw.after");
        let span = tracing::info_span!(spans::LOG_APPEND, lane = self.number, rows = drawn.rows());
        for trace in drawn.traces().take(LINKS_MAX) {
            trace.link_to(&span);
        }
        let begun = Instant::now();
        fault::point("append.before");
        let outcome = lane.append(drawn.batch()).instrument(span).await;
        fault::point("append.after");
        self.shared.stats.appends.one();
        if let Some(exported) = self.shared.exported.get() {
            exported.append(drawn.rows(), begun.elapsed().as_secs_f64());
        }
        let alive = outcome != AppendOutcome::Unknown;
        self.settle(drawn, outcome).await;
        alive
    }

    async fn write_markers(&mut self, lane: &mut Box<dyn Lane>) -> bool {
        let (fence, updates) = self.core.draw_markers();
        if updates.is_empty() {
            return true;
        }
        let count = updates.len();
        fault::point("markers.before");
        let outcome = lane.write_markers(fence.clone(), updates).await;
        fault::point("markers.after");
        let alive = outcome != AppendOutcome::Unknown;
        if matches!(outcome, AppendOutcome::Done { .. }) {
            self.shared.stats.markers_stored.add(as_u64(count));
        }
        let told = self.core.settle_markers(&fence, &outcome);
        self.tell(told);
        alive
    }

    /// Tells a partition, if it is still there under that epoch.
    pub(super) fn report(&mut self, partition: PartitionId, epoch: Epoch, report: Report) {
        let delivered = match self.reporters.get(&partition) {
            Some((current, reporter)) if *current == epoch => reporter(report),
            Some(_) | None => return,
        };
        if !delivered {
            self.close(partition, epoch);
        }
    }

    pub(super) fn close(&mut self, partition: PartitionId, epoch: Epoch) {
        self.core.close(partition, epoch);
        if self
            .reporters
            .get(&partition)
            .is_some_and(|(current, _)| *current == epoch)
        {
            self.reporters.remove(&partition);
        }
    }

    fn expire(&mut self) {
        let told = self.core.expire(Instant::now());
        self.tell(told);
    }

    /// The open lane, opening one if need be; takes inputs meanwhile. `None` when every sender is gone.
    async fn take_lane(&mut self) -> Option<Box<dyn Lane>> {
        if let Some(lane) = self.lane.take() {
            return Some(lane);
        }
        let mut pause = REOPEN_PAUSE_MIN;
        loop {
            let shared = Arc::clone(&self.shared);
            let number = self.number;
            let opening = async move { shared.log.open_lane(shared.me, number).await };
            match self.meanwhile(opening).await? {
                Ok(lane) => return Some(lane),
                Err(error) => {
                    tracing::warn!(lane = number, %error, retry_after = ?pause, "write lane not open");
                }
            }
            self.meanwhile(tokio::time::sleep(pause)).await?;
            pause = pause.saturating_mul(2).min(REOPEN_PAUSE_MAX);
        }
    }

    /// Takes inputs and lets commands expire until `work` is done. `None` when every sender is gone.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        let mut look = tokio::time::interval(EXPIRY_LOOK_EVERY);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                input = self.inputs.recv() => self.take(input?),
                _ = look.tick() => {
                    self.expire();
                    self.measure();
                }
            }
        }
    }
}

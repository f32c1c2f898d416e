//! A write lane: a connection of its own behind a task that owns it.
//!
//! The task finishes what was handed to it whether the caller still waits or not. When no reply comes in time, or the line breaks, it
//! drops the connection without a word: no cancel, no rollback, the server ends the statement by itself.

use std::sync::Arc;

use async_trait::async_trait;
use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::{Epoch, PartitionId};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Executor as _, PgConnection};
use tokio::sync::{mpsc, oneshot};

use super::checks::Demands;
use super::fitness::Fitness;
use super::{append, checks, connect, fault, markers};
use crate::batch::{Expected, coalesce};
use crate::dense::Ends;
use crate::port::{
    APPEND_REPLY_DEADLINE, AppendBatch, AppendOutcome, Lane, MarkerUpdate, OpenError, Refusal,
};

/// Jobs that may wait for the connection: one call is in flight at most, so a second one comes from a caller that gave up the first.
const JOBS_WAITING_MAX: usize = 1;

struct Job {
    statement: Statement,
    reply: oneshot::Sender<AppendOutcome>,
}

enum Statement {
    Append(AppendBatch, Expected),
    Markers(Vec<(PartitionId, Epoch)>, Vec<MarkerUpdate>, Expected),
}

/// Connects, checks and prepares, so that the first append costs one round trip like every other.
///
/// All demands are checked in this very session: it may have other settings than the session of the minutely look, and lead to another
/// server. What it finds good is good, whatever a look found before. What looks find later is in `fitness`: while the server is not fit the
/// lane stores nothing.
pub(super) async fn open(
    server: &PgConnectOptions,
    me: Incarnation,
    number: u16,
    demands: Demands,
    fitness: Arc<Fitness>,
) -> Result<PgLane, OpenError> {
    let mut connection = connect::lane(server, me, number).await?;
    checks::check(&mut connection, demands).await?;
    fitness.found_good();
    for statement in [append::APPEND, append::APPEND_JOINED, markers::WRITE] {
        let statement = sqlx::SqlSafeStr::into_sql_str(statement);
        connection.prepare(statement).await.map_err(fault::open)?;
    }
    let (jobs, queue) = mpsc::channel(JOBS_WAITING_MAX);
    tokio::spawn(run(connection, queue, fitness));
    Ok(PgLane { jobs })
}

pub(super) struct PgLane {
    jobs: mpsc::Sender<Job>,
}

impl PgLane {
    async fn send(&mut self, statement: Statement) -> AppendOutcome {
        let (reply, outcome) = oneshot::channel();
        // A closed queue is a dead lane.
        if self.jobs.send(Job { statement, reply }).await.is_err() {
            return AppendOutcome::Unknown;
        }
        outcome.await.unwrap_or(AppendOutcome::Unknown)
    }
}

#[async_trait]
impl Lane for PgLane {
    async fn append(&mut self, batch: AppendBatch) -> AppendOutcome {
        match Expected::of_batch(&batch) {
            Ok(expected) => self.send(Statement::Append(batch, expected)).await,
            Err(misuse) => misuse.refuse(),
        }
    }

    async fn write_markers(
        &mut self,
        fence: Vec<(PartitionId, Epoch)>,
        markers: Vec<MarkerUpdate>,
    ) -> AppendOutcome {
        match Expected::of_markers(&fence, &markers) {
            Ok(expected) => {
                self.send(Statement::Markers(fence, coalesce(markers), expected))
                    .await
            }
            Err(misuse) => misuse.refuse(),
        }
    }
}

async fn run(mut connection: PgConnection, mut jobs: mpsc::Receiver<Job>, fitness: Arc<Fitness>) {
    let mut ends = Ends::default();
    while let Some(Job { statement, reply }) = jobs.recv().await {
        if !fitness.is_fit() {
            let _gave_up_waiting = reply.send(AppendOutcome::Refused(Refusal::Unfit)).is_err();
            continue;
        }
        let outcome = tokio::time::timeout(APPEND_REPLY_DEADLINE, execute(&mut connection, &mut ends, &statement))
            .await
            .unwrap_or_else(|_late| {
                tracing::warn!(deadline = ?APPEND_REPLY_DEADLINE, "no reply to an append; the lane gives its connection up");
                AppendOutcome::Unknown
            });
        let dead = outcome == AppendOutcome::Unknown;
        let _gave_up_waiting = reply.send(outcome).is_err();
        if dead {
            return;
        }
    }
    connect::close(connection).await;
}

async fn execute(
    connection: &mut PgConnection,
    ends: &mut Ends,
    statement: &Statement,
) -> AppendOutcome {
    match statement {
        Statement::Append(batch, expected) => append(connection, ends, batch, expected).await,
        Statement::Markers(fence, markers, expected) => {
            match markers::write(connection, fence, markers).await {
                Ok(stored) => expected.outcome(stored),
                Err(error) => fault::append(&error),
            }
        }
    }
}

async fn append(
    connection: &mut PgConnection,
    ends: &mut Ends,
    batch: &AppendBatch,
    expected: &Expected,
) -> AppendOutcome {
    let joints = match ends.open_joints(batch) {
        Ok(joints) => joints,
        Err(conflict) => return AppendOutcome::Conflict(conflict),
    };
    let outcome = match append::append(connection, batch, &joints).await {
        Ok(Ok(stored)) => expected.outcome(stored),
        Ok(Err(conflict)) => AppendOutcome::Conflict(conflict),
        Err(error) => fault::append(&error),
    };
    if let AppendOutcome::Done { committed, .. } = &outcome {
        ends.stored(batch, committed);
    }
    outcome
}

//! The one task that writes: takes jobs from two queues, appends first, and runs each to its end whether anyone still waits or not.
//!
//! Never: two transactions at once, a job cancelled half-way, a connection kept after an error that leaves its state open.

use std::fs::File;
use std::path::PathBuf;

use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::{Epoch, PartitionCount, PartitionId};
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::{append, fault, markers, open, ownership, progress, snapshots};
use crate::batch::Expected;
use crate::dense::Ends;
use crate::port::{
    Acquired, AppendBatch, AppendOutcome, Claim, ClusterMeta, MarkerUpdate, Published, Refusal,
    SnapshotRow, StoreError,
};

/// Appends that may wait for the writer: an embedded node has one lane with one statement in flight, so more are strangers.
const APPENDS_WAITING_MAX: usize = 4;
/// Other writes that may wait: acquires at the start, snapshots all the time; whoever comes later waits to queue.
const CHANGES_WAITING_MAX: usize = 64;

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// Something to write.
pub(super) enum Job {
    Append(AppendBatch, Expected, oneshot::Sender<AppendOutcome>),
    Markers(
        Vec<(PartitionId, Epoch)>,
        Vec<MarkerUpdate>,
        Expected,
        oneshot::Sender<AppendOutcome>,
    ),
    Init(PartitionCount, Reply<ClusterMeta>),
    Acquire(Incarnation, Vec<Claim>, String, Reply<Vec<Acquired>>),
    Release(Incarnation, Vec<(PartitionId, Epoch)>, Reply<()>),
    Snapshot(SnapshotRow, Reply<()>),
    Progress(Vec<Published>, Reply<()>),
    Close(Reply<()>),
    /// A statement of a test that must look at, or limit, the connection that writes.
    #[cfg(test)]
    Probe(String, Reply<String>),
}

/// The way to the writing task. It ends with its last handle, or on [`Writer::close`].
#[derive(Clone)]
pub(super) struct Writer {
    appends: mpsc::Sender<Job>,
    changes: mpsc::Sender<Job>,
}

impl Writer {
    pub(super) fn start(connection: SqliteConnection, path: PathBuf, lock: File) -> Self {
        let (appends, appends_in) = mpsc::channel(APPENDS_WAITING_MAX);
        let (changes, changes_in) = mpsc::channel(CHANGES_WAITING_MAX);
        let task = Task {
            connection: Some((connection, Ends::default())),
            path,
        };
        tokio::spawn(task.run(appends_in, changes_in, lock));
        Self { appends, changes }
    }

    /// Queues an append and waits for its outcome.
    pub(super) async fn append(
        &self,
        job: impl FnOnce(oneshot::Sender<AppendOutcome>) -> Job,
    ) -> AppendOutcome {
        let (reply, outcome) = oneshot::channel();
        if self.appends.send(job(reply)).await.is_err() {
            return AppendOutcome::Refused(Refusal::Unavailable);
        }
        outcome.await.unwrap_or(AppendOutcome::Unknown)
    }

    /// Queues any other write and waits for its result.
    pub(super) async fn change<T>(
        &self,
        job: impl FnOnce(Reply<T>) -> Job,
    ) -> Result<T, StoreError> {
        let (reply, result) = oneshot::channel();
        if self.changes.send(job(reply)).await.is_err() {
            return Err(StoreError::Unavailable(Closed.into()));
        }
        result
            .await
            .unwrap_or_else(|_gone| Err(StoreError::Unavailable(Closed.into())))
    }

    /// Waits until everything queued so far is done and the file and the directory are free.
    pub(super) async fn close(&self) {
        let _already_closed = self.change(Job::Close).await.is_err();
    }
}

#[cfg(test)]
impl Writer {
    /// The value of a pragma on the writing connection.
    pub(super) async fn pragma(&self, name: &str) -> String {
        let job = |reply| Job::Probe(format!("pragma {name}"), reply);
        self.change(job).await.expect("answers")
    }

    /// Makes the file full at this many pages.
    pub(super) async fn limit_pages(&self, pages: u32) {
        self.pragma(&format!("max_page_count = {pages}")).await;
    }
}

/// The store was closed.
#[derive(Debug, thiserror::Error)]
#[error("the log in this directory has been closed")]
struct Closed;

struct Task {
    /// With what it has stored. `None` after an error that left its state open, until the next job opens it again.
    connection: Option<(SqliteConnection, Ends)>,
    path: PathBuf,
}

impl Task {
    async fn run(
        mut self,
        mut appends: mpsc::Receiver<Job>,
        mut changes: mpsc::Receiver<Job>,
        lock: File,
    ) {
        let closed = loop {
            let job = tokio::select! {
                biased;
                Some(job) = appends.recv() => job,
                Some(job) = changes.recv() => job,
                else => break None,
            };
            match job {
                Job::Close(reply) => break Some(reply),
                job => self.execute(job).await,
            }
        };
        if let Some((connection, _)) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the log file did not close cleanly; it recovers at the next start");
        }
        // Closing the file is not enough: a process that was forked a moment ago has it, too, until it becomes another program.
        if let Err(error) = lock.unlock() {
            tracing::warn!(%error, "the data directory was not given free; it is when this process ends");
        }
        drop((appends, changes, lock));
        if let Some(reply) = closed {
            let _nobody_waits = reply.send(Ok(())).is_err();
        }
    }

    async fn execute(&mut self, job: Job) {
        let (connection, ends) = match self.connected().await {
            Ok(connected) => connected,
            Err(error) => return refuse(job, error),
        };
        let healthy = match job {
            Job::Append(batch, expected, reply) => {
                let outcome = append::append(connection, ends, &batch, &expected).await;
                let healthy = outcome != AppendOutcome::Unknown;
                answer(reply, outcome);
                healthy
            }
            Job::Markers(fence, wanted, expected, reply) => {
                let outcome = markers::write(connection, &fence, &wanted, &expected).await;
                let healthy = outcome != AppendOutcome::Unknown;
                answer(reply, outcome);
                healthy
            }
            Job::Init(partitions, reply) => {
                finish(reply, ownership::init(connection, partitions).await)
            }
            Job::Acquire(me, claims, reason, reply) => finish(
                reply,
                ownership::acquire(connection, me, &claims, &reason).await,
            ),
            Job::Release(me, partitions, reply) => {
                finish(reply, ownership::release(connection, me, &partitions).await)
            }
            Job::Snapshot(snapshot, reply) => {
                finish(reply, snapshots::save(connection, &snapshot).await)
            }
            Job::Progress(marks, reply) => finish(reply, progress::save(connection, &marks).await),
            Job::Close(_) => true,
            #[cfg(test)]
            Job::Probe(sql, reply) => {
                use sqlx::Row as _;
                let row = sqlx::query(sqlx::AssertSqlSafe(sql))
                    .fetch_one(connection)
                    .await;
                finish(
                    reply,
                    row.map(|row| row.try_get_unchecked(0).expect("one column")),
                )
            }
        };
        if !healthy {
            self.connection = None;
        }
    }

    async fn connected(&mut self) -> Result<(&mut SqliteConnection, &mut Ends), sqlx::Error> {
        let connected = match self.connection.take() {
            Some(connected) => connected,
            None => (open::writer(&self.path).await?, Ends::default()),
        };
        let (connection, ends) = self.connection.insert(connected);
        Ok((connection, ends))
    }
}

/// Replies; a caller that gave up does not matter.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    let _nobody_waits = reply.send(value).is_err();
}

/// Replies, and tells whether the connection is still to be trusted.
fn finish<T>(reply: Reply<T>, result: Result<T, sqlx::Error>) -> bool {
    let healthy = result.is_ok();
    answer(reply, result.map_err(fault::store));
    healthy
}

/// The file cannot be opened: every job has a definite no.
fn refuse(job: Job, error: sqlx::Error) {
    match job {
        Job::Append(_, _, reply) | Job::Markers(_, _, _, reply) => {
            answer(reply, AppendOutcome::Refused(fault::refusal(&error)));
        }
        Job::Init(_, reply) => answer(reply, Err(fault::store(error))),
        Job::Acquire(_, _, _, reply) => answer(reply, Err(fault::store(error))),
        Job::Release(_, _, reply)
        | Job::Snapshot(_, reply)
        | Job::Progress(_, reply)
        | Job::Close(reply) => {
            answer(reply, Err(fault::store(error)));
        }
        #[cfg(test)]
        Job::Probe(_, reply) => answer(reply, Err(fault::store(error))),
    }
}

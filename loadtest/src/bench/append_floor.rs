//! The append floor: the log's own lanes with nothing around them, and one fsync of the disk below.

mod rows;

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::PartitionCount;
use hubbub_event_log::{
    AppendOutcome, Claim, EventLog, NodeRegistration, PgLog, PgOptions, SqliteLog,
};
use tokio::task::JoinSet;

use self::rows::Writer;
use super::Plan;
use super::stage::Stage;
use crate::load::Ids;
use crate::report::{Latency, Report, Row, count, per};

/// Partitions of the measured log; each lane writes its own share of them.
const PARTITIONS: u16 = 32;
/// Lanes side by side.
const LANES: [u16; 3] = [1, 2, 4];
/// Rows in one statement.
const BATCHES: [usize; 3] = [1, 64, 512];
/// What one fsync writes: a page of the database.
const PAGE_BYTES: usize = 8_192;

pub(super) async fn measure(
    plan: &Plan,
    stage: &Stage<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    // Several cells share the time of one scenario.
    let each = plan.seconds.div_f64(4.0);
    let directory = tempfile::tempdir().context("make a directory")?;
    report.add(fsync(directory.path(), each)?)?;

    let mut options = PgOptions::new(stage.database("append_floor").await?);
    options.lanes = LANES.into_iter().max().unwrap_or(1);
    let postgres: Arc<dyn EventLog> = Arc::new(PgLog::open(options).await?);
    let mut postgres = Owned::all_of("postgres", postgres, plan.seed).await?;
    for lanes in LANES {
        for batch in BATCHES {
            report.add(postgres.measure(lanes, batch, each).await?)?;
        }
    }
    let sqlite: Arc<dyn EventLog> = Arc::new(SqliteLog::open(directory.path()).await?);
    let mut sqlite = Owned::all_of("sqlite", sqlite, plan.seed).await?;
    for batch in BATCHES {
        report.add(sqlite.measure(1, batch, each).await?)?;
    }
    Ok(())
}

/// A log of which every partition is ours.
struct Owned {
    name: &'static str,
    log: Arc<dyn EventLog>,
    me: Incarnation,
    writers: Vec<Writer>,
}

impl Owned {
    async fn all_of(name: &'static str, log: Arc<dyn EventLog>, seed: u64) -> anyhow::Result<Self> {
        let partitions = PartitionCount::new(PARTITIONS).context("a power of two")?;
        let mut ids = Ids::new(seed, 0);
        let me = Incarnation::from_uuid(ids.next());
        log.init_cluster(partitions).await?;
        let node = NodeRegistration {
            incarnation: me,
            node_id: "bench".to_owned(),
            addr: "none".to_owned(),
            max_level: 1,
        };
        log.register(&node).await?;
        let rows = log.partitions().await?;
        let claims: Vec<Claim> = rows
            .iter()
            .map(|row| Claim {
                partition: row.partition,
                expected_owner: row.owner,
                expected_epoch: row.epoch,
            })
            .collect();
        let acquired = log.acquire(me, &claims, "claim").await?;
        if acquired.len() != claims.len() {
            bail!(
                "{name}: {} of {} partitions acquired",
                acquired.len(),
                claims.len()
            );
        }
        let writers = acquired
            .iter()
            .enumerate()
            .map(|(number, taken)| {
                let ids = Ids::new(seed, u64::try_from(number).unwrap_or_default() + 1);
                Writer::new(taken.partition, taken.epoch, taken.head, ids)
            })
            .collect();
        Ok(Self {
            name,
            log,
            me,
            writers,
        })
    }

    /// So many lanes append batches of so many rows as fast as each is answered.
    async fn measure(&mut self, lanes: u16, batch: usize, time: Duration) -> anyhow::Result<Row> {
        eprintln!(
            "==> append floor at {}, {lanes} lanes, batches of {batch}",
            self.name
        );
        let mut shares: Vec<Vec<Writer>> = (0..lanes).map(|_| Vec::new()).collect();
        for (number, writer) in self.writers.drain(..).enumerate() {
            shares[number % usize::from(lanes)].push(writer);
        }
        let mut running = JoinSet::new();
        for (lane, writers) in (0..lanes).zip(shares) {
            running.spawn(one_lane(
                Arc::clone(&self.log),
                self.me,
                lane,
                writers,
                batch,
                time,
            ));
        }
        let (mut rows, mut latency, mut took) = (0, Latency::new()?, Duration::ZERO);
        while let Some(ended) = running.join_next().await {
            let result = ended??;
            rows += result.rows;
            latency.add(&result.latency)?;
            took = took.max(result.took);
            self.writers.extend(result.writers);
        }
        Ok(Row::new("append", self.name)
            .with("lanes", lanes.into())
            .with("batch", u64::try_from(batch)?)
            .figure("events_per_s", per(count(rows), took.as_secs_f64()))
            .latency(&latency))
    }
}

struct LaneResult {
    writers: Vec<Writer>,
    rows: u64,
    latency: Latency,
    took: Duration,
}

async fn one_lane(
    log: Arc<dyn EventLog>,
    me: Incarnation,
    number: u16,
    mut writers: Vec<Writer>,
    rows_per_batch: usize,
    time: Duration,
) -> anyhow::Result<LaneResult> {
    let mut lane = log.open_lane(me, number).await?;
    let (mut rows, mut latency) = (0, Latency::new()?);
    let begun = Instant::now();
    let mut turn = 0;
    while begun.elapsed() < time {
        let batch = rows::batch(&mut writers, &mut turn, rows_per_batch);
        let partitions = batch.fence.len();
        let sent = Instant::now();
        match lane.append(batch).await {
            AppendOutcome::Done { committed, fenced }
                if fenced.is_empty() && committed.len() == partitions => {}
            other => bail!("an append ended as {other:?}"),
        }
        latency.record(sent.elapsed());
        rows += u64::try_from(rows_per_batch)?;
    }
    Ok(LaneResult {
        writers,
        rows,
        latency,
        took: begun.elapsed(),
    })
}

/// How long the disk takes to keep one page: no commit can be faster.
fn fsync(directory: &Path, time: Duration) -> anyhow::Result<Row> {
    eprintln!("==> fsync");
    let mut file = std::fs::File::create(directory.join("page")).context("make a file")?;
    let page = vec![7; PAGE_BYTES];
    let mut latency = Latency::new()?;
    let begun = Instant::now();
    while begun.elapsed() < time {
        let sent = Instant::now();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&page)?;
        file.sync_data()?;
        latency.record(sent.elapsed());
    }
    Ok(Row::new("append", "fsync of 8 KiB").latency(&latency))
}

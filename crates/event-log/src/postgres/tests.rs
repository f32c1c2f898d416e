//! The contract on a real server. What only Postgres has is in the files of this folder: the fence under contention, unknown outcomes,
//! segments, and servers that are not fit.

mod durability;
mod fence;
mod lanes;
mod pool;
mod segments;
mod server;
mod unknown;

use std::collections::BTreeMap;

use hubbub_domain::position::{Epoch, Offset, PartitionId};
use hubbub_testkit::pg::PgScratch;
use hubbub_testkit::wait::{DEADLINE, eventually};
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::*;
use crate::contract::{claim_every, incarnation};
use crate::port::{AppendOutcome, Claim, LogReader as _, Ownership as _};

const P0: PartitionId = PartitionId::new(0);
const P1: PartitionId = PartitionId::new(1);
const P2: PartitionId = PartitionId::new(2);

/// A log in a database of its own; `None` without a server to test on.
async fn fresh() -> Option<(PgLog, PgScratch)> {
    let scratch = PgScratch::create()?;
    let log = PgLog::open(PgOptions::new(scratch.url()))
        .await
        .expect("opens");
    Some((log, scratch))
}

crate::event_log_contract!(fresh());

/// Incarnation 1 with every partition and one lane.
struct Node {
    log: PgLog,
    epochs: BTreeMap<PartitionId, Epoch>,
    lane: Box<dyn Lane>,
    scratch: PgScratch,
}

async fn node() -> Option<Node> {
    let (log, scratch) = fresh().await?;
    let epochs = claim_every(&log, incarnation(1)).await;
    let lane = log.open_lane(incarnation(1), 0).await.expect("opens");
    Some(Node {
        log,
        epochs,
        lane,
        scratch,
    })
}

impl Node {
    async fn head(&self, partition: PartitionId) -> u64 {
        self.log.heads(&[partition]).await.expect("reads")[0]
            .head
            .get()
    }

    /// Another node takes the partition over.
    async fn take_over(&self, partition: PartitionId) -> (Epoch, Offset) {
        let claim = Claim {
            partition,
            expected_owner: Some(incarnation(1)),
            expected_epoch: self.epochs[&partition],
        };
        let taken = self
            .log
            .acquire(incarnation(2), &[claim], "takeover")
            .await
            .expect("acquires");
        (taken[0].epoch, taken[0].head)
    }

    /// A transaction that holds the fence row of a partition, as an acquire in flight does.
    async fn holding(&self, partition: PartitionId) -> PgConnection {
        holding(&self.scratch, partition, "somebody").await
    }

    /// Waits until the lane's statement waits for a lock.
    async fn lane_waits(&self) {
        let waiting = format!(
            "select count(*) from pg_stat_activity where datname = current_database() and application_name like '{}' and wait_event_type = 'Lock'",
            connect::lanes_of(incarnation(1))
        );
        eventually(DEADLINE, "the lane to wait for a lock", async || {
            self.scratch.psql(&waiting) == "1"
        })
        .await;
    }

    /// Backends of incarnation 1's lanes that the server still runs.
    fn backends(&self) -> String {
        self.scratch.psql(&format!(
            "select count(*) from pg_stat_activity where datname = current_database() and application_name like '{}'",
            connect::lanes_of(incarnation(1))
        ))
    }
}

/// Where the server of a scratch database listens.
fn address(scratch: &PgScratch) -> std::net::SocketAddr {
    let host_and_path = scratch.url().split('@').nth(1).expect("has a host");
    host_and_path
        .split('/')
        .next()
        .expect("has a port")
        .parse()
        .expect("is an address")
}

/// A transaction of `who` that holds the fence row of a partition.
async fn holding(scratch: &PgScratch, partition: PartitionId, who: &str) -> PgConnection {
    let mut connection = PgConnection::connect(scratch.url())
        .await
        .expect("connects");
    let statements = format!(
        "set application_name = '{who}'; begin; select 1 from log_partition where partition = {partition} for no key update"
    );
    connection
        .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(statements)))
        .await
        .expect("locks");
    connection
}

async fn run(connection: &mut PgConnection, statement: &'static str) {
    connection
        .execute(sqlx::raw_sql(statement))
        .await
        .expect("runs");
}

fn done(committed: &[PartitionId], fenced: &[PartitionId]) -> AppendOutcome {
    AppendOutcome::Done {
        committed: committed.to_vec(),
        fenced: fenced.to_vec(),
    }
}

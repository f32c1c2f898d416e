//! Nodes, owners and the cluster's constants, judged by the clock of the database.

use std::time::Duration;

use async_trait::async_trait;
use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::{Epoch, PartitionCount, PartitionId};
use hubbub_domain::time::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{Connection as _, PgConnection, Row as _};
use uuid::Uuid;

use super::append::fence_columns;
use super::connect::{Query, in_time};
use super::{PgLog, acquire, fault, segments};
use crate::columns::{narrow, owner, partition, unsigned};
use crate::memory::FIRST_LEVEL;
use crate::nodes::declared_dead;
use crate::port::{
    AcquireError, Acquired, Claim, ClusterMeta, NodeRegistration, NodeRow, NodeState, Ownership,
    PartitionRow, ReadError, StoreError,
};

/// A heartbeat that takes longer has failed: its node must know before its lease is over.
const HEARTBEAT_DEADLINE: Duration = Duration::from_secs(2);

fn misfit(error: ReadError) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}

fn state_column(state: NodeState) -> &'static str {
    match state {
        NodeState::Joining => "joining",
        NodeState::Active => "active",
        NodeState::Blind => "blind",
        NodeState::Draining => "draining",
        NodeState::Stopped => "stopped",
    }
}

/// A word that a newer release may have written counts as not alive.
fn state(column: &str) -> NodeState {
    match column {
        "joining" => NodeState::Joining,
        "active" => NodeState::Active,
        "blind" => NodeState::Blind,
        "draining" => NodeState::Draining,
        _ => NodeState::Stopped,
    }
}

async fn init(
    connection: &mut PgConnection,
    wanted: PartitionCount,
) -> Result<ClusterMeta, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::query("insert into cluster_meta (id, partitions, level) values (1, $1, $2) on conflict do nothing")
        .bind(i32::from(wanted.get()))
        .bind(i32::try_from(FIRST_LEVEL).unwrap_or(i32::MAX))
        .execute(&mut *transaction)
        .await?;
    // A later statement: it sees the row also when another node has just made it.
    let row = sqlx::query("select partitions, level from cluster_meta")
        .fetch_one(&mut *transaction)
        .await?;
    let count: u16 = narrow("partitions", row.try_get::<i32, _>(0)?.into()).map_err(misfit)?;
    let partitions = PartitionCount::new(count)
        .ok_or_else(|| misfit(ReadError::Inconsistent(format!("{count} partitions"))))?;
    let level = narrow("level", row.try_get::<i32, _>(1)?.into()).map_err(misfit)?;
    let segment = segments::newest_begun(&mut transaction).await?;
    sqlx::query(
        "insert into log_partition (partition, epoch, owner, start_offset, segment, acquired_at)
        select n, 0, null, 0, $2, 0 from generate_series(0, $1 - 1) as n on conflict do nothing",
    )
    .bind(i32::from(count))
    .bind(segment)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(ClusterMeta { partitions, level })
}

/// `false` when this incarnation has been declared dead before.
async fn register(
    connection: &mut PgConnection,
    node: &NodeRegistration,
) -> Result<bool, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    // Two lives of one node that introduce themselves at the same time do so one after the other.
    sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(&node.node_id)
        .execute(&mut *transaction)
        .await?;
    sqlx::query("delete from node where last_seen < clock_timestamp() - interval '1 hour'")
        .execute(&mut *transaction)
        .await?;
    let registered = sqlx::query(
        "insert into node as n (incarnation, node_id, addr, state, nats_ok, started_at, last_seen, max_level)
        values ($1, $2, $3, 'joining', true, clock_timestamp(), clock_timestamp(), $4)
        on conflict (incarnation) do update set addr = excluded.addr, state = 'joining', last_seen = excluded.last_seen, max_level = excluded.max_level
        where n.state <> 'stopped'",
    )
    .bind(node.incarnation.uuid())
    .bind(&node.node_id)
    .bind(&node.addr)
    .bind(i32::try_from(node.max_level).unwrap_or(i32::MAX))
    .execute(&mut *transaction)
    .await?;
    if registered.rows_affected() == 0 {
        transaction.rollback().await?;
        return Ok(false);
    }
    sqlx::query("update node set state = 'stopped' where node_id = $1 and incarnation <> $2 and state <> 'stopped'")
        .bind(&node.node_id)
        .bind(node.incarnation.uuid())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(true)
}

fn node_row(row: &PgRow) -> Result<NodeRow, sqlx::Error> {
    let silent_millis = u64::try_from(row.try_get::<i64, _>(5)?).unwrap_or(0);
    Ok(NodeRow {
        incarnation: Incarnation::from_uuid(row.try_get(0)?),
        node_id: row.try_get(1)?,
        addr: row.try_get(2)?,
        state: state(row.try_get(3)?),
        nats_ok: row.try_get(4)?,
        silent_for: Duration::from_millis(silent_millis),
        last_seen: Timestamp::from_millis(row.try_get(6)?),
    })
}

fn partition_row(row: &PgRow) -> Result<PartitionRow, sqlx::Error> {
    Ok(PartitionRow {
        partition: partition(row.try_get::<i16, _>(0)?.into()).map_err(misfit)?,
        epoch: Epoch::new(unsigned("epoch", row.try_get(1)?).map_err(misfit)?),
        owner: owner(row.try_get::<Option<Uuid>, _>(2)?),
    })
}

impl PgLog {
    async fn ask(&self, query: Query<'static>) -> Result<Vec<PgRow>, StoreError> {
        self.shared.control.fetch(query).await.map_err(fault::store)
    }
}

#[async_trait]
impl Ownership for PgLog {
    async fn init_cluster(&self, partitions: PartitionCount) -> Result<ClusterMeta, StoreError> {
        let mut borrowed = self.shared.control.borrow().await.map_err(fault::store)?;
        let meta = in_time(init(borrowed.connection(), partitions))
            .await
            .map_err(fault::store)?;
        borrowed.done();
        Ok(meta)
    }

    async fn register(&self, node: &NodeRegistration) -> Result<(), StoreError> {
        let mut borrowed = self.shared.control.borrow().await.map_err(fault::store)?;
        let registered = in_time(register(borrowed.connection(), node))
            .await
            .map_err(fault::store)?;
        borrowed.done();
        if registered {
            Ok(())
        } else {
            Err(StoreError::Refused(declared_dead(node.incarnation)))
        }
    }

    async fn heartbeat(
        &self,
        me: Incarnation,
        state: NodeState,
        nats_ok: bool,
    ) -> Result<bool, StoreError> {
        let beat = sqlx::query(
            "update node set last_seen = clock_timestamp(), state = $2, nats_ok = $3
            where incarnation = $1 and state <> 'stopped' returning 1",
        )
        .bind(me.uuid())
        .bind(state_column(state))
        .bind(nats_ok);
        let rows = tokio::time::timeout(HEARTBEAT_DEADLINE, self.ask(beat))
            .await
            .map_err(|late| StoreError::Unavailable(late.into()))??;
        Ok(!rows.is_empty())
    }

    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        let query = sqlx::query(
            "select incarnation, node_id, addr, state, nats_ok,
                greatest(0, floor(extract(epoch from clock_timestamp() - last_seen) * 1000))::bigint,
                floor(extract(epoch from last_seen) * 1000)::bigint
            from node where last_seen > clock_timestamp() - interval '1 hour' order by incarnation",
        );
        let rows = self.ask(query).await?;
        rows.iter()
            .map(node_row)
            .collect::<Result<_, _>>()
            .map_err(fault::store)
    }

    async fn partitions(&self) -> Result<Vec<PartitionRow>, StoreError> {
        let query =
            sqlx::query("select partition, epoch, owner from log_partition order by partition");
        let rows = self.ask(query).await?;
        rows.iter()
            .map(partition_row)
            .collect::<Result<_, _>>()
            .map_err(fault::store)
    }

    async fn timeline(&self) -> Result<u64, StoreError> {
        // The first eight digits of the file that the server writes its log to now. Anybody may ask, and a standby refuses.
        let query = sqlx::query(
            "select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint",
        );
        let rows = self.ask(query).await?;
        let row = rows
            .first()
            .ok_or_else(|| StoreError::Refused("the server has no timeline".to_owned()))?;
        let timeline = row.try_get(0).map_err(fault::store)?;
        unsigned("timeline", timeline)
            .map_err(misfit)
            .map_err(fault::store)
    }

    async fn acquire(
        &self,
        me: Incarnation,
        claims: &[Claim],
        reason: &str,
    ) -> Result<Vec<Acquired>, AcquireError> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        // One at a time, so that a heartbeat never waits behind a second one.
        let _turn = self.shared.acquiring.lock().await;
        let mut borrowed = self.shared.control.borrow().await.map_err(fault::acquire)?;
        let acquire = acquire::acquire(
            borrowed.connection(),
            &self.shared.readers,
            me,
            claims,
            reason,
        );
        let taken = in_time(Box::pin(acquire)).await.map_err(fault::acquire)?;
        borrowed.done();
        Ok(taken)
    }

    async fn release(
        &self,
        me: Incarnation,
        partitions: &[(PartitionId, Epoch)],
    ) -> Result<(), StoreError> {
        let (partitions, epochs) = fence_columns(partitions);
        let release = sqlx::query(
            "with mine as (
                select p.partition from unnest($1::smallint[], $2::bigint[]) as m(partition, epoch)
                join log_partition p on p.partition = m.partition and p.epoch = m.epoch
                where p.owner = $3 order by p.partition for no key update of p
            )
            update log_partition p set owner = null from mine where p.partition = mine.partition",
        )
        .bind(partitions)
        .bind(epochs)
        .bind(me.uuid());
        self.ask(release).await.map(|_| ())
    }

    async fn retire(&self, me: Incarnation) -> Result<(), StoreError> {
        let retire =
            sqlx::query("update node set state = 'stopped' where incarnation = $1").bind(me.uuid());
        self.ask(retire).await.map(|_| ())
    }
}

//! Markers under the same fence as rows, in one statement like an append.

use hubbub_domain::position::{Epoch, PartitionId};
use sqlx::PgConnection;

use super::append::{column, fence_columns, passed};
use crate::columns::signed;
use crate::port::MarkerUpdate;

/// The rule of `batch::advance` in SQL: a max-register within a generation, replaced by a higher one. A write that changes nothing touches
/// nothing.
pub(super) const WRITE: &str = r"
with fenced as materialized (
    select p.partition
    from unnest($1::smallint[], $2::bigint[]) as wanted(partition, epoch)
    join log_partition p on p.partition = wanted.partition and p.epoch = wanted.epoch
    order by p.partition
    for no key update of p
), stored as (
    insert into read_marker as stored (conversation_id, user_id, generation, read_no, own_after, delivered_no, at)
    select r.conversation_id, r.user_id, r.generation, r.read_no, r.own_after, r.delivered_no, r.at
    from unnest($3::smallint[], $4::uuid[], $5::uuid[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[])
        as r(partition, conversation_id, user_id, generation, read_no, own_after, delivered_no, at)
    join fenced f on f.partition = r.partition
    order by r.conversation_id, r.user_id
    on conflict (conversation_id, user_id) do update set
        generation = excluded.generation,
        read_no = case when excluded.generation > stored.generation then excluded.read_no else greatest(excluded.read_no, stored.read_no) end,
        own_after = case when excluded.generation > stored.generation or excluded.read_no > stored.read_no
            then excluded.own_after else stored.own_after end,
        delivered_no = case when excluded.generation > stored.generation
            then excluded.delivered_no else greatest(excluded.delivered_no, stored.delivered_no) end,
        at = case when excluded.generation > stored.generation then excluded.at else greatest(excluded.at, stored.at) end
    where excluded.generation > stored.generation
        or (excluded.generation = stored.generation
            and (excluded.read_no > stored.read_no or excluded.delivered_no > stored.delivered_no))
)
select partition, 0::bigint from fenced";

/// Sends markers, at most one per member and conversation; gives the partitions that passed the fence.
pub(super) async fn write(
    connection: &mut PgConnection,
    fence: &[(PartitionId, Epoch)],
    markers: &[MarkerUpdate],
) -> Result<Vec<(PartitionId, u64)>, sqlx::Error> {
    let (partitions, epochs) = fence_columns(fence);
    let replied = sqlx::query(WRITE)
        .bind(partitions)
        .bind(epochs)
        .bind(each(markers, |update| column(update.partition)))
        .bind(each(markers, |update| update.marker.conversation.uuid()))
        .bind(each(markers, |update| update.marker.user.uuid()))
        .bind(each(markers, |update| i64::from(update.marker.generation)))
        .bind(each(markers, |update| signed(update.marker.read_no.get())))
        .bind(each(markers, |update| signed(update.marker.own_after)))
        .bind(each(markers, |update| {
            signed(update.marker.delivered_no.get())
        }))
        .bind(each(markers, |update| update.marker.at.millis()))
        .fetch_all(connection)
        .await?;
    passed(&replied)
}

fn each<T>(markers: &[MarkerUpdate], value: impl Fn(&MarkerUpdate) -> T) -> Vec<T> {
    markers.iter().map(value).collect()
}

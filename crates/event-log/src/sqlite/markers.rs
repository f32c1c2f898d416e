//! Markers under the same fence as rows.

use hubbub_domain::position::{Epoch, PartitionId};
use sqlx::SqliteConnection;

use super::append::{begin, commit, roll_back};
use super::fault;
use crate::batch::Expected;
use crate::columns::signed;
use crate::port::{AppendOutcome, MarkerUpdate};

/// The rule of `batch::advance` in SQL: a max-register within a generation, replaced by a higher one.
const UPSERT: &str = "
insert into read_marker as stored (conversation_id, user_id, generation, read_no, own_after, delivered_no, at)
values (?, ?, ?, ?, ?, ?, ?)
on conflict (conversation_id, user_id) do update set
    generation = excluded.generation,
    read_no = iif(excluded.generation > stored.generation, excluded.read_no, max(excluded.read_no, stored.read_no)),
    own_after = iif(excluded.generation > stored.generation or excluded.read_no > stored.read_no, excluded.own_after, stored.own_after),
    delivered_no = iif(excluded.generation > stored.generation, excluded.delivered_no, max(excluded.delivered_no, stored.delivered_no)),
    at = iif(excluded.generation > stored.generation, excluded.at, max(excluded.at, stored.at))
where excluded.generation > stored.generation
    or (excluded.generation = stored.generation
        and (excluded.read_no > stored.read_no or excluded.delivered_no > stored.delivered_no))";

pub(super) async fn write(
    connection: &mut SqliteConnection,
    fence: &[(PartitionId, Epoch)],
    markers: &[MarkerUpdate],
    expected: &Expected,
) -> AppendOutcome {
    match store(connection, fence, markers).await {
        Ok(stored) => match commit(connection).await {
            None => expected.outcome(stored.into_iter().map(|partition| (partition, 0))),
            Some(failed) => failed,
        },
        Err(error) => {
            tracing::warn!(%error, "markers were refused by the log file");
            roll_back(connection, AppendOutcome::Refused(fault::refusal(&error))).await
        }
    }
}

async fn store(
    connection: &mut SqliteConnection,
    fence: &[(PartitionId, Epoch)],
    markers: &[MarkerUpdate],
) -> Result<Vec<PartitionId>, sqlx::Error> {
    let passed: Vec<PartitionId> = begin(connection, fence).await?.into_keys().collect();
    for update in markers
        .iter()
        .filter(|update| passed.contains(&update.partition))
    {
        let marker = &update.marker;
        sqlx::query(UPSERT)
            .bind(marker.conversation.uuid())
            .bind(marker.user.uuid())
            .bind(i64::from(marker.generation))
            .bind(signed(marker.read_no.get()))
            .bind(signed(marker.own_after))
            .bind(signed(marker.delivered_no.get()))
            .bind(marker.at.millis())
            .execute(&mut *connection)
            .await?;
    }
    Ok(passed)
}

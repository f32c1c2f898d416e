//! What the jobs of the fan-out read, and how it is put together.

use std::future::Future;

use hubbub_accounts::{AccountsError, SessionId};
use hubbub_domain::conversation::Event;
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{Epoch, Offset, PartitionId, Seq};
use hubbub_event_log::ReadError;
use hubbub_projections::QueryError;
use hubbub_wire::bus::PartitionHead;
use hubbub_wire::client::ServerFrame;
use hubbub_wire::client::outbound::Added;

use crate::fanout::FanOutDeps;
use crate::fanout::jobs::{CHANGED_MAX, SURVEY_DEADLINE};
use crate::fanout::mend::Lost;
use crate::fanout::rooms::{fold, unfold};
use crate::objects;

/// Rows read at once when members are folded.
const FOLD_ROWS: usize = 1_000;
/// Changed accounts whose sessions a survey looks up itself; of more the fan-out asks for those that have sockets here.
const SURVEYED_USERS_MAX: usize = 32;

/// Accounts that changed, what is left to some of them, and heads when those could be read.
pub(super) type Survey = (
    Vec<(UserId, u64)>,
    Vec<(UserId, Vec<SessionId>)>,
    Option<Vec<PartitionHead>>,
);

pub(super) async fn survey(
    deps: &FanOutDeps,
    partitions: &[PartitionId],
    known: u64,
) -> Result<Survey, Box<dyn std::error::Error + Send + Sync>> {
    let accounts = tokio::time::timeout(SURVEY_DEADLINE, async {
        let changed = deps.identity.changed_since(known, CHANGED_MAX).await?;
        let mut live = Vec::new();
        if changed.len() <= SURVEYED_USERS_MAX {
            for (user, _) in &changed {
                live.push((*user, deps.identity.live_sessions(*user).await?));
            }
        }
        Ok::<_, AccountsError>((changed, live))
    });
    let (changed, live) = accounts.await??;
    let heads = tokio::time::timeout(SURVEY_DEADLINE, deps.log.heads(partitions)).await;
    let heads = heads.ok().and_then(|heads| {
        heads
            .inspect_err(|error| tracing::warn!(%error, "heads could not be read"))
            .ok()
    });
    Ok((changed, live, heads))
}

/// The head of a partition, which of the events `given` out last in their conversations the log does not hold, and the offset up to
/// which nothing was lost.
pub(super) async fn what_is_left(
    deps: &FanOutDeps,
    partition: PartitionId,
    given: &[Lost],
    last: Epoch,
) -> Result<(PartitionHead, Vec<Lost>, Offset), ReadError> {
    let heads = deps.log.heads(&[partition]).await?;
    let head = heads.first().copied().ok_or_else(|| {
        ReadError::Inconsistent(format!("partition {} has no head", partition.get()))
    })?;
    let lineage = deps.log.lineage(partition).await?;
    let newer = lineage.iter().filter(|entry| entry.epoch > last);
    let below = newer.map(|entry| entry.start).min().unwrap_or(head.head);
    let mut lost = Vec::new();
    for (conversation, epoch, seq) in given {
        let rows = deps.log.read_conversation(*conversation, *seq, 1).await?;
        if !rows
            .first()
            .is_some_and(|row| row.seq == *seq && row.epoch == *epoch)
        {
            lost.push((*conversation, *epoch, *seq));
        }
    }
    Ok((head, lost, below))
}

/// `None` when what is stored contradicts itself: asking again would go on for ever and hold back more and more (F14).
pub(super) async fn readable<T>(
    conversation: ConversationId,
    read: impl Future<Output = Result<T, QueryError>>,
) -> Result<Option<T>, QueryError> {
    match read.await {
        Ok(value) => Ok(Some(value)),
        Err(QueryError::Inconsistent(what) | QueryError::Log(ReadError::Inconsistent(what))) => {
            tracing::error!(error = %what, conversation.id = %conversation, "a conversation cannot be read");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

pub(super) async fn summary_frame(
    deps: &FanOutDeps,
    conversation: ConversationId,
    user: UserId,
) -> Result<Option<crate::session::queue::Frame>, QueryError> {
    let _place = deps.gates.members.enter().await.ok();
    let Some(summary) = deps.read_models.summary(conversation, user).await? else {
        return Ok(None);
    };
    let conversation = deps
        .people
        .conversation(&summary, user)
        .await
        .map_err(|error| QueryError::Unavailable(Box::new(error)))?;
    Ok(Some(objects::frame(&ServerFrame::Added(Box::new(Added {
        conversation,
    })))))
}

/// Ascending members after the event before `before`, or after the last one that is stored.
pub(super) async fn members_before(
    deps: &FanOutDeps,
    conversation: ConversationId,
    before: Option<Seq>,
) -> Result<(Vec<UserId>, Seq), QueryError> {
    let _place = deps.gates.members.enter().await.ok();
    let fallback = before.map_or(Seq::ZERO, Seq::prev);
    let Some(now) = deps.read_models.membership(conversation).await? else {
        return Ok((Vec::new(), fallback));
    };
    let mut members = now.members;
    members.sort_unstable();
    let Some(before) = before else {
        return Ok((members, now.as_of));
    };
    if now.as_of >= before {
        let events = events_between(deps, conversation, before, now.as_of).await?;
        for event in events.iter().rev() {
            unfold(&mut members, event);
        }
    } else {
        for event in events_between(deps, conversation, now.as_of.next(), before.prev()).await? {
            fold(&mut members, &event);
        }
    }
    Ok((members, before.prev()))
}

/// Events from `from` to `to`, both inclusive, ascending.
pub(super) async fn events_between(
    deps: &FanOutDeps,
    conversation: ConversationId,
    from: Seq,
    to: Seq,
) -> Result<Vec<Event>, QueryError> {
    let mut events = Vec::new();
    let mut next = from;
    while next <= to {
        let rows = deps
            .log
            .read_conversation(conversation, next, FOLD_ROWS)
            .await?;
        if rows.is_empty() {
            return Err(QueryError::Inconsistent(
                "a projection is ahead of the log".to_owned(),
            ));
        }
        for row in rows {
            if row.seq > to {
                break;
            }
            let recorded = row
                .decode()
                .map_err(|error| QueryError::Inconsistent(error.to_string()))?;
            next = row.seq.next();
            events.push(recorded.event);
        }
    }
    Ok(events)
}

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
use hubbub_wire::stored::EventRow;

use crate::fanout::jobs::{CHANGED_MAX, SURVEY_DEADLINE, persist};
use crate::fanout::mend::{Given, Left, Lost, MembersAt};
use crate::fanout::rooms::{fold, unfold};
use crate::fanout::{FanOutDeps, JOB_RETRY};
use crate::objects;
use crate::resume::void_from;

/// Rows read at once when members are folded.
const FOLD_ROWS: usize = 1_000;
/// Looks at what is left of one conversation, while the store answers otherwise; then it counts as one that cannot be read.
const LOSS_ATTEMPTS_MAX: u32 = 5;
/// Reads of members that seem to be ahead of the log; then they count as members that cannot be read.
const AHEAD_ATTEMPTS_MAX: u32 = 5;
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

/// What is left of a partition of which these events were `given` out last in their conversations; `last`: the newest epoch of them.
/// `None` when the partition contradicts itself. A store that is away is waited for: nothing can be delivered without it.
pub(super) async fn what_is_left(
    deps: &FanOutDeps,
    partition: PartitionId,
    given: Vec<Given>,
    last: Epoch,
) -> Option<Left> {
    let (head, below) = persist("what is left of a partition", async || {
        match bounds(deps, partition, last).await {
            Ok(bounds) => Ok(Some(bounds)),
            Err(ReadError::Inconsistent(what)) => {
                tracing::error!(error = %what, partition = partition.get(), "a partition cannot be read");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    })
    .await?;
    let mut lost = Vec::new();
    for given in given {
        lost.extend(loss(deps, partition, given).await);
    }
    Some(Left { head, lost, below })
}

/// Where a partition stands, and up to which offset nothing was lost.
async fn bounds(
    deps: &FanOutDeps,
    partition: PartitionId,
    last: Epoch,
) -> Result<(PartitionHead, Offset), ReadError> {
    let heads = deps.log.heads(&[partition]).await?;
    let head = heads.first().copied().ok_or_else(|| {
        ReadError::Inconsistent(format!("partition {} has no head", partition.get()))
    })?;
    let lineage = deps.log.lineage(partition).await?;
    let newer = lineage.iter().filter(|entry| entry.epoch > last);
    let below = newer.map(|entry| entry.start).min().unwrap_or(head.head);
    Ok((head, below))
}

/// Whether the log has lost an event that was given out, and who is a member by what is left. A conversation that cannot be read counts
/// as one that has: whoever has it looks for themselves.
async fn loss(deps: &FanOutDeps, partition: PartitionId, given: Given) -> Option<Lost> {
    for _ in 0..LOSS_ATTEMPTS_MAX {
        match look(deps, given).await {
            Ok(lost) => return lost,
            Err(
                QueryError::Inconsistent(what) | QueryError::Log(ReadError::Inconsistent(what)),
            ) => {
                tracing::error!(error = %what, conversation.id = %given.0, "a conversation cannot be read");
                break;
            }
            Err(error) => {
                tracing::warn!(%error, conversation.id = %given.0, "what is left of a conversation could not be read");
            }
        }
        tokio::time::sleep(JOB_RETRY).await;
        // Is it this one, or the store?
        let here = [partition];
        persist("the head of a partition", || deps.log.heads(&here)).await;
    }
    Some(Lost {
        given,
        members: None,
    })
}

async fn look(deps: &FanOutDeps, given: Given) -> Result<Option<Lost>, QueryError> {
    let (conversation, epoch, seq) = given;
    let rows = deps.log.read_conversation(conversation, seq, 1).await?;
    let held = |row: &EventRow| row.seq == seq && row.epoch == epoch;
    if rows.first().is_some_and(held) {
        return Ok(None);
    }
    let void = void_from(deps.log.as_ref(), given).await?;
    let (members, _) = members_before(deps, conversation, Some(void)).await?;
    Ok(Some(Lost {
        given,
        members: Some(members),
    }))
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
///
/// A failover that loses commits between the two reads of it looks as if the members were ahead of the log: then both are read anew.
pub(super) async fn members_before(
    deps: &FanOutDeps,
    conversation: ConversationId,
    before: Option<Seq>,
) -> Result<MembersAt, QueryError> {
    for _ in 0..AHEAD_ATTEMPTS_MAX {
        if let Some(members) = members_if_not_ahead(deps, conversation, before).await? {
            return Ok(members);
        }
        tokio::time::sleep(JOB_RETRY).await;
    }
    Err(QueryError::Inconsistent(
        "a projection is ahead of the log".to_owned(),
    ))
}

/// `None` when the log does not hold what the members are folded from.
async fn members_if_not_ahead(
    deps: &FanOutDeps,
    conversation: ConversationId,
    before: Option<Seq>,
) -> Result<Option<MembersAt>, QueryError> {
    let _place = deps.gates.members.enter().await.ok();
    let fallback = before.map_or(Seq::ZERO, Seq::prev);
    let Some(now) = deps.read_models.membership(conversation).await? else {
        return Ok(Some((Vec::new(), fallback)));
    };
    let mut members = now.members;
    members.sort_unstable();
    let Some(before) = before else {
        return Ok(Some((members, now.as_of)));
    };
    if now.as_of >= before {
        let Some(events) = events_between(deps, conversation, before, now.as_of).await? else {
            return Ok(None);
        };
        for event in events.iter().rev() {
            unfold(&mut members, event);
        }
    } else {
        let between = events_between(deps, conversation, now.as_of.next(), before.prev());
        let events = between.await?.ok_or_else(|| {
            QueryError::Inconsistent("the log does not lead up to an event".to_owned())
        })?;
        for event in events {
            fold(&mut members, &event);
        }
    }
    Ok(Some((members, before.prev())))
}

/// Events from `from` to `to`, both inclusive, ascending; `None` when the log does not reach that far.
async fn events_between(
    deps: &FanOutDeps,
    conversation: ConversationId,
    from: Seq,
    to: Seq,
) -> Result<Option<Vec<Event>>, QueryError> {
    let mut events = Vec::new();
    let mut next = from;
    while next <= to {
        let rows = deps
            .log
            .read_conversation(conversation, next, FOLD_ROWS)
            .await?;
        if rows.is_empty() {
            return Ok(None);
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
    Ok(Some(events))
}

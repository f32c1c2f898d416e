//! What a cursor missed: looked up, judged, and fed to the socket before what is live.
//!
//! While this runs, live events of the conversation wait behind the cursor's ticket. The socket has its seat already, so everything
//! that commits after a read here arrives live: reading until the end and then releasing leaves no hole.
//!
//! - [`plan`]: pure; where the stream begins, from the cursor and what the reader may see.
//! - [`catch_up`]: runs the plan.
//!
//! A place behind the door of resumes is held for one read, never while a slow client makes room: whoever reads slowly waits alone.
//!
//! Never: an event that the reader may not see; a word about conversations that are unknown or lost to them; rows kept for a client
//! that has no room for them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use hubbub_domain::conversation::{Event, Recorded};
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{Epoch, Seq};
use hubbub_event_log::{LogReader, ReadError};
use hubbub_projections::{Access, QueryError, ReadModels};
use hubbub_telemetry::Metrics;
use hubbub_wire::client::object::Conversation;
use hubbub_wire::client::outbound::{Added, Reset};
use hubbub_wire::client::{CURSOR_CATCH_UP_EVENTS, ServerFrame, close};

use crate::fanout::{CatchUp, Command, FanOut};
use crate::gates::Gate;
use crate::objects;
use crate::people::People;
use crate::session::outbox::Outbox;
use crate::session::queue::EventItem;

/// Rows read at once: with the largest messages some 2 MB.
const PAGE_ROWS: usize = 128;
/// Rows read at once for a client that had no room for more: what it does not take is read again.
const PAGE_ROWS_MIN: usize = 8;
/// Cursors looked at at once, for one socket.
const CONCURRENT: usize = 4;
/// Pause before a read is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// Reads that fail this often end the socket: it resumes elsewhere.
const ATTEMPTS_MAX: u32 = 60;

/// Where the stream of a cursor begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// Unknown, lost or not a member: not a word.
    Ignore,
    /// From `from` on, if the log still holds the cursor's event.
    Check {
        /// First event wanted.
        from: Seq,
    },
    /// From `from` on.
    Begin {
        /// First event wanted.
        from: Seq,
    },
    /// The cursor is from before a removal: the own `member_added` at `from` begins a new stream.
    Rejoin {
        /// First event wanted.
        from: Seq,
    },
}

/// Judges a cursor by what its owner may see now.
pub fn plan(seq: Seq, access: Option<&Access>) -> Plan {
    let Some(access) = access.filter(|access| access.role.is_some()) else {
        return Plan::Ignore;
    };
    if seq == Seq::ZERO {
        return Plan::Begin {
            from: access.visible_from_seq.max(Seq::new(1)),
        };
    }
    if seq < access.joined_seq {
        return Plan::Rejoin {
            from: access.joined_seq,
        };
    }
    if cfg!(feature = "sabotage-resume-off-by-one") {
        return Plan::Check {
            from: seq.next().next(),
        };
    }
    Plan::Check { from: seq.next() }
}

/// What a catch-up reads from.
pub(crate) struct Sources {
    pub(crate) log: Arc<dyn LogReader>,
    pub(crate) read_models: Arc<dyn ReadModels>,
    pub(crate) people: People,
    pub(crate) metrics: Arc<Metrics>,
    /// How many read at once; it turns nobody away.
    pub(crate) door: Arc<Gate>,
    /// Whoever wants to know where conversations stand, so that the next to ask needs no query.
    pub(crate) found: Option<(FanOut, u64)>,
}

impl Sources {
    /// Reads in its turn; the door turns nobody away.
    async fn read<T>(&self, read: impl Future<Output = T>) -> T {
        let _pass = self.door.enter().await.ok();
        read.await
    }

    fn found(&self, conversation: ConversationId, epoch: Epoch, seq: Seq) {
        if let Some((fanout, forgotten)) = &self.found {
            fanout.send_lossy(Command::Found {
                conversation,
                epoch,
                seq,
                forgotten: *forgotten,
            });
        }
    }
}

/// Why a catch-up stopped before its end.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Query(QueryError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("accounts")]
    Accounts(#[from] hubbub_accounts::AccountsError),
    /// Nobody waits any more.
    #[error("the socket is gone")]
    Gone,
}

/// Brings every cursor up to date, a few at a time, then says `live`.
pub(crate) async fn run(sources: &Sources, user: UserId, outbox: &Outbox, catch_ups: Vec<CatchUp>) {
    let each = futures_util::stream::iter(catch_ups);
    each.for_each_concurrent(CONCURRENT, |one| persist(sources, user, outbox, one))
        .await;
    outbox.last(objects::frame(&ServerFrame::Live));
}

/// Brings conversations of a live socket to what the log holds, after it has lost events: [`run`] without `live`.
pub(crate) async fn again(
    sources: &Sources,
    user: UserId,
    outbox: &Outbox,
    catch_ups: Vec<CatchUp>,
) {
    let each = futures_util::stream::iter(catch_ups);
    each.for_each_concurrent(CONCURRENT, async |one| {
        // Something else may still be held there; it ends by itself, and only then is a word of this one taken.
        if outbox.turn(one.conversation, one.ticket).await {
            persist(sources, user, outbox, one).await;
        }
    })
    .await;
}

/// Tries until it works, the socket is gone, or it has failed too often.
async fn persist(sources: &Sources, user: UserId, outbox: &Outbox, one: CatchUp) {
    // What was fed so far survives a failed attempt: the next one goes on behind it.
    let mut progress = None;
    for attempt in 1..=ATTEMPTS_MAX {
        if outbox.is_over() {
            return;
        }
        match catch_up(sources, user, outbox, one, &mut progress).await {
            Ok(()) | Err(Stopped::Gone) => return,
            Err(
                Stopped::Query(QueryError::Inconsistent(what))
                | Stopped::Read(ReadError::Inconsistent(what)),
            ) => {
                // One conversation that cannot be read must not keep its members out of all others (F14).
                tracing::error!(error = %what, conversation.id = %one.conversation, "a conversation cannot be read");
                let floor = progress.map(|progress| progress.position);
                return outbox.release_unread(one.conversation, one.ticket, floor);
            }
            Err(error) => tracing::warn!(%error, attempt, "a cursor could not be caught up"),
        }
        tokio::time::sleep(RETRY).await;
    }
    outbox.close(close::DEGRADED, "resume elsewhere");
}

/// An unreadable log is told from an unreachable one, whichever way it was asked.
impl From<QueryError> for Stopped {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Log(error) => Self::Read(error),
            QueryError::BadCursor | QueryError::Unavailable(_) | QueryError::Inconsistent(_) => {
                Self::Query(error)
            }
        }
    }
}

/// How far a catch-up got.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// The last event fed.
    position: Seq,
    /// The event that made its reader a member: a removal after it ends the stream, one before it is history.
    joined: Seq,
}

async fn catch_up(
    sources: &Sources,
    user: UserId,
    outbox: &Outbox,
    cursor: CatchUp,
    progress: &mut Option<Progress>,
) -> Result<(), Stopped> {
    let CatchUp {
        conversation,
        epoch,
        seq,
        ticket,
    } = cursor;
    if let Some(progress) = progress {
        return stream(sources, user, outbox, cursor, progress).await;
    }
    let head = sources
        .read(sources.log.conversation_head(conversation))
        .await?;
    if head.is_some_and(|head| head.epoch == epoch && head.seq == seq) {
        // Nothing missed, and nothing said: no need to know who asks.
        sources.found(conversation, epoch, seq);
        outbox.note_held(conversation, epoch);
        outbox.release(conversation, ticket, Some(seq));
        return Ok(());
    }
    let access = sources
        .read(sources.read_models.access(conversation, user))
        .await?;
    let from = match plan(seq, access.as_ref()) {
        Plan::Ignore => {
            outbox.release(conversation, ticket, None);
            return Ok(());
        }
        Plan::Begin { from } => from,
        Plan::Rejoin { from } => {
            if let Some(conversation) = sources.read(summary(sources, conversation, user)).await? {
                let added = ServerFrame::Added(Box::new(Added { conversation }));
                outbox.feed_control(cursor.conversation, ticket, objects::frame(&added));
            }
            from
        }
        Plan::Check { from } => {
            if sources
                .read(holds(sources, conversation, epoch, seq))
                .await?
            {
                outbox.note_held(conversation, epoch);
                from
            } else {
                let visible = access
                    .map_or(Seq::new(1), |access| access.visible_from_seq)
                    .max(Seq::new(1));
                let from = sources
                    .read(void_from(sources.log.as_ref(), (conversation, epoch, seq)))
                    .await?
                    .max(visible);
                sources.metrics.edge.resets.inc();
                let reset = Reset {
                    conversation_id: conversation.uuid(),
                    from_seq: from.get(),
                };
                outbox.feed_control(
                    conversation,
                    ticket,
                    objects::frame(&ServerFrame::Reset(reset)),
                );
                from
            }
        }
    };
    let head = access.map_or((Epoch::ZERO, Seq::ZERO), |access| {
        (access.epoch, access.head_seq)
    });
    let joined = access.map_or(Seq::ZERO, |access| access.joined_seq);
    if head.1.next().since(from) > CURSOR_CATCH_UP_EVENTS {
        sources.metrics.edge.resyncs.inc();
        let resync = objects::resync_frame(Some(&[(conversation, head.0, head.1)]));
        outbox.feed_control(conversation, ticket, resync);
        outbox.note_held(conversation, head.0);
        outbox.release(conversation, ticket, Some(head.1));
        return Ok(());
    }
    stream(
        sources,
        user,
        outbox,
        cursor,
        progress.insert(Progress {
            position: from.prev(),
            joined,
        }),
    )
    .await
}

/// The conversation as a new member sees it; `None` when they are out again.
async fn summary(
    sources: &Sources,
    conversation: ConversationId,
    user: UserId,
) -> Result<Option<Conversation>, Stopped> {
    let Some(summary) = sources.read_models.summary(conversation, user).await? else {
        return Ok(None);
    };
    Ok(Some(sources.people.conversation(&summary, user).await?))
}

/// Feeds events to the end, then lets the live ones go on.
async fn stream(
    sources: &Sources,
    user: UserId,
    outbox: &Outbox,
    cursor: CatchUp,
    progress: &mut Progress,
) -> Result<(), Stopped> {
    let mut wanted = PAGE_ROWS;
    loop {
        if !outbox.room().await {
            return Err(Stopped::Gone);
        }
        let from = progress.position.next();
        let rows = sources
            .read(
                sources
                    .log
                    .read_conversation(cursor.conversation, from, wanted),
            )
            .await?;
        let (read, mut fed) = (rows.len(), 0);
        for row in rows {
            // Whoever has no room for the rest reads it again later: a page is not kept for them.
            if fed > 0 && !outbox.has_room() {
                break;
            }
            let recorded = match row.decode() {
                Ok(recorded) => recorded,
                Err(error) => {
                    tracing::error!(%error, conversation.id = %cursor.conversation, seq = row.seq.get(), "an event cannot be read");
                    let floor = Some(progress.position);
                    outbox.release_unread(cursor.conversation, cursor.ticket, floor);
                    return Ok(());
                }
            };
            if row.seq > progress.joined && ends(&recorded, user) {
                // They are out from here on. That event, and what belongs to it, comes live: it committed after access was judged.
                outbox.release(cursor.conversation, cursor.ticket, Some(progress.position));
                return Ok(());
            }
            let frame = objects::frame(&ServerFrame::Event(objects::raw_event(
                row.epoch, &recorded,
            )));
            outbox.feed_event(
                cursor.ticket,
                EventItem {
                    conversation: cursor.conversation,
                    epoch: row.epoch,
                    seq: row.seq,
                    frame,
                },
            );
            progress.position = row.seq;
            fed += 1;
        }
        if fed == read && read < wanted {
            outbox.release(cursor.conversation, cursor.ticket, Some(progress.position));
            return Ok(());
        }
        wanted = page_after(wanted, read, fed);
    }
}

/// How many rows are worth reading next, after so many of those read found room.
fn page_after(wanted: usize, read: usize, fed: usize) -> usize {
    let next = if fed < read { fed } else { wanted };
    next.saturating_mul(2).clamp(PAGE_ROWS_MIN, PAGE_ROWS)
}

/// Whether the reader stops being a member by this event.
fn ends(recorded: &Recorded, user: UserId) -> bool {
    matches!(&recorded.event, Event::MemberRemoved { user: removed, .. } if *removed == user)
}

/// Whether the log holds that event under that epoch.
async fn holds(
    sources: &Sources,
    conversation: ConversationId,
    epoch: Epoch,
    seq: Seq,
) -> Result<bool, ReadError> {
    let rows = sources.log.read_conversation(conversation, seq, 1).await?;
    Ok(rows
        .first()
        .is_some_and(|row| row.seq == seq && row.epoch == epoch))
}

/// The first seq of which a client with this unsound cursor may hold something else than the log.
///
/// Epochs rise along seqs and never repeat: what the log holds of epochs up to the cursor's, the client has as well. Found by bisection.
pub(crate) async fn void_from(
    log: &dyn LogReader,
    (conversation, epoch, seq): (ConversationId, Epoch, Seq),
) -> Result<Seq, ReadError> {
    let head = log
        .conversation_head(conversation)
        .await?
        .map_or(Seq::ZERO, |head| head.seq);
    // Invariant: everything below `low` is of an epoch up to the cursor's, `high` is not (or beyond the head).
    let (mut low, mut high) = (Seq::new(1), head.next());
    while low < high {
        let middle = Seq::new(low.get().midpoint(high.get()));
        let rows = log.read_conversation(conversation, middle, 1).await?;
        if rows.first().is_some_and(|row| row.epoch <= epoch) {
            low = middle.next();
        } else {
            high = middle;
        }
    }
    Ok(low.min(seq).max(Seq::new(1)))
}

#[cfg(test)]
mod tests {
    use hubbub_domain::conversation::{Kind, Role, Settings, Visibility};
    use hubbub_domain::position::MessageNo;

    use super::*;

    fn access(role: Option<Role>, joined: u64, visible: u64) -> Access {
        Access {
            kind: Kind::Group,
            visibility: Visibility::Private,
            settings: Settings::default(),
            role,
            joined_seq: Seq::new(joined),
            visible_from_seq: Seq::new(visible),
            visible_from_no: MessageNo::ZERO,
            epoch: Epoch::new(1),
            head_seq: Seq::new(100),
            head_no: MessageNo::ZERO,
        }
    }

    #[test]
    fn who_is_not_in_hears_nothing() {
        assert_eq!(plan(Seq::new(3), None), Plan::Ignore);
        assert_eq!(plan(Seq::ZERO, Some(&access(None, 0, 1))), Plan::Ignore);
    }

    #[test]
    fn seq_zero_is_the_start_of_what_may_be_seen() {
        assert_eq!(
            plan(Seq::ZERO, Some(&access(Some(Role::Member), 10, 1))),
            Plan::Begin { from: Seq::new(1) }
        );
        assert_eq!(
            plan(Seq::ZERO, Some(&access(Some(Role::Member), 10, 10))),
            Plan::Begin { from: Seq::new(10) }
        );
    }

    #[test]
    fn whoever_has_little_room_is_read_little_and_again_more_when_it_takes_it() {
        assert_eq!(page_after(PAGE_ROWS, PAGE_ROWS, PAGE_ROWS), PAGE_ROWS);
        assert_eq!(page_after(PAGE_ROWS, PAGE_ROWS, 5), 10);
        assert_eq!(page_after(10, 10, 1), PAGE_ROWS_MIN);
        assert_eq!(page_after(10, 10, 10), 20);
    }

    #[test]
    fn a_cursor_from_before_the_latest_joining_is_lost() {
        assert_eq!(
            plan(Seq::new(9), Some(&access(Some(Role::Member), 10, 1))),
            Plan::Rejoin { from: Seq::new(10) }
        );
    }

    #[test]
    fn a_cursor_since_the_joining_goes_on_behind_itself_when_it_is_sound() {
        assert_eq!(
            plan(Seq::new(10), Some(&access(Some(Role::Member), 10, 1))),
            Plan::Check { from: Seq::new(11) }
        );
    }
}

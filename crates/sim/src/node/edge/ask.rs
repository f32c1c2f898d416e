//! What an edge reads: each question is answered at one instant of the database, by the product's read models and log.

use std::collections::HashMap;

use hubbub_domain::conversation::Event;
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{Epoch, Offset, PartitionId, Seq};
use hubbub_edge::sim::{
    Fetched, Frame, Plan, RANGE_ROWS, Ticket, conversation as shown, fold, frame, message, plan,
    raw_event, unfold,
};
use hubbub_event_log::{LogReader, ReadError};
use hubbub_projections::{Anchor, QueryError, ReadModels};
use hubbub_wire::bus::PartitionHead;
use hubbub_wire::client::object::{Conversation, Message};
use hubbub_wire::client::outbound::{Added, Reset};
use hubbub_wire::client::{CURSOR_CATCH_UP_EVENTS, RawEvent, ServerFrame};
use hubbub_wire::stored::EventRow;

use crate::database::{Database, now};
use crate::store::nobody;
use crate::wires::{Answer, NodeInput, RestRequest, Wires};

/// Rows of one page of a catch-up.
pub const PAGE_ROWS: usize = 128;
/// Items of an inbox page.
const INBOX_ITEMS: usize = 200;
/// Messages of a history page.
const HISTORY_ITEMS: usize = 50;

/// A question.
pub enum EdgeAsk {
    /// Where partitions stand.
    Heads(Vec<PartitionId>),
    /// Rows of a partition.
    Range {
        /// Of which.
        partition: PartitionId,
        /// After this one.
        after: Offset,
    },
    /// Members just before an event.
    Members {
        /// Where.
        conversation: ConversationId,
        /// Before which.
        before: Seq,
    },
    /// A summary for a new member.
    Summary {
        /// Of what.
        conversation: ConversationId,
        /// For whom.
        user: UserId,
        /// In place of which event.
        seq: Seq,
        /// For which sockets.
        sockets: Vec<(u64, Ticket)>,
    },
    /// Where a cursor's stream begins.
    Judge {
        /// For which catch-up.
        job: u64,
        /// Whose.
        user: UserId,
        /// Where.
        conversation: ConversationId,
        /// The cursor's epoch …
        epoch: Epoch,
        /// … and seq.
        seq: Seq,
    },
    /// Rows of a conversation.
    Page {
        /// For which catch-up.
        job: u64,
        /// Where.
        conversation: ConversationId,
        /// From which on.
        from: Seq,
    },
    /// A REST read.
    Rest {
        /// Whose.
        client: usize,
        /// Its number.
        op: u64,
        /// Who.
        user: UserId,
        /// What.
        request: RestRequest,
    },
}

/// A read failed: it may work later, or never.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failed {
    /// Try again.
    Later,
    /// What is stored contradicts itself.
    Unreadable,
}

/// Where a cursor's stream begins.
pub enum Judged {
    /// Nothing missed.
    Current,
    /// Not a word.
    Ignore,
    /// Say these, then read from there.
    From {
        /// What goes before.
        controls: Vec<Frame>,
        /// First event.
        from: Seq,
        /// The event that made the reader a member.
        joined: Seq,
        /// The log holds what the cursor names.
        is_sound: bool,
    },
    /// Too far: say these and go on after the head.
    Resync {
        /// What goes before.
        controls: Vec<Frame>,
        /// The head.
        head: (Epoch, Seq),
    },
}

/// An answer over REST.
#[derive(Clone, Debug)]
pub enum RestAnswer {
    /// The inbox.
    Inbox(Vec<Conversation>),
    /// The newest page.
    History(Vec<Message>),
    /// Events.
    Events {
        /// They.
        events: Vec<RawEvent>,
        /// There were no more.
        is_last: bool,
    },
    /// Not visible.
    Gone,
    /// Not now.
    Later,
    /// A command's or mark's end.
    Routed(crate::node::router::Routed),
}

/// An answer.
pub enum EdgeAnswer {
    /// Where partitions stand.
    Heads(Option<Vec<PartitionHead>>),
    /// Rows of a partition.
    Range {
        /// Of which.
        partition: PartitionId,
        /// After which one.
        after: Offset,
        /// They.
        fetched: Fetched,
    },
    /// Members.
    Members {
        /// Where.
        conversation: ConversationId,
        /// Before which event.
        before: Seq,
        /// They, and after which event.
        members: Result<(Vec<UserId>, Seq), Failed>,
    },
    /// A summary.
    Summary {
        /// Of what.
        conversation: ConversationId,
        /// For whom.
        user: UserId,
        /// In place of which event.
        seq: Seq,
        /// For which sockets.
        sockets: Vec<(u64, Ticket)>,
        /// The frame, if they still are in.
        summary: Result<Option<Frame>, Failed>,
    },
    /// Where a stream begins.
    Judged {
        /// For which catch-up.
        job: u64,
        /// So.
        judged: Result<Judged, Failed>,
    },
    /// Rows.
    Page {
        /// For which catch-up.
        job: u64,
        /// They.
        rows: Result<Vec<EventRow>, Failed>,
    },
    /// A REST read.
    Rest {
        /// Whose.
        client: usize,
        /// Its number.
        op: u64,
        /// What was found.
        answer: RestAnswer,
    },
}

impl From<EdgeAnswer> for NodeInput {
    fn from(answer: EdgeAnswer) -> Self {
        Self::Answer(Box::new(Answer::Edge(answer)))
    }
}

impl From<QueryError> for Failed {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Inconsistent(_) | QueryError::Log(ReadError::Inconsistent(_)) => {
                Self::Unreadable
            }
            QueryError::BadCursor | QueryError::Unavailable(_) | QueryError::Log(_) => Self::Later,
        }
    }
}

impl From<ReadError> for Failed {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Inconsistent(_) => Self::Unreadable,
            ReadError::Unavailable(_) => Self::Later,
        }
    }
}

impl EdgeAsk {
    /// The database's answer at this instant.
    pub fn answer(self, wires: &Wires) -> EdgeAnswer {
        let database = &wires.database;
        match self {
            Self::Heads(partitions) => EdgeAnswer::Heads(now(database.heads(&partitions)).ok()),
            Self::Range { partition, after } => EdgeAnswer::Range {
                partition,
                after,
                fetched: Fetched::Log(now(database.tail(partition, after, RANGE_ROWS))),
            },
            Self::Members {
                conversation,
                before,
            } => EdgeAnswer::Members {
                conversation,
                before,
                members: members_before(database, conversation, before),
            },
            Self::Summary {
                conversation,
                user,
                seq,
                sockets,
            } => EdgeAnswer::Summary {
                conversation,
                user,
                seq,
                sockets,
                summary: added(database, conversation, user),
            },
            Self::Judge {
                job,
                user,
                conversation,
                epoch,
                seq,
            } => EdgeAnswer::Judged {
                job,
                judged: judge(database, user, conversation, epoch, seq),
            },
            Self::Page {
                job,
                conversation,
                from,
            } => EdgeAnswer::Page {
                job,
                rows: now(database.read_conversation(conversation, from, PAGE_ROWS))
                    .map_err(Failed::from),
            },
            Self::Rest {
                client,
                op,
                user,
                request,
            } => EdgeAnswer::Rest {
                client,
                op,
                answer: rest(database, user, &request).unwrap_or(RestAnswer::Later),
            },
        }
    }

    /// Nobody answered.
    pub fn lost(self) -> EdgeAnswer {
        match self {
            Self::Heads(_) => EdgeAnswer::Heads(None),
            Self::Range { partition, after } => EdgeAnswer::Range {
                partition,
                after,
                fetched: Fetched::Log(Err(nobody())),
            },
            Self::Members {
                conversation,
                before,
            } => EdgeAnswer::Members {
                conversation,
                before,
                members: Err(Failed::Later),
            },
            Self::Summary {
                conversation,
                user,
                seq,
                sockets,
            } => EdgeAnswer::Summary {
                conversation,
                user,
                seq,
                sockets,
                summary: Err(Failed::Later),
            },
            Self::Judge { job, .. } => EdgeAnswer::Judged {
                job,
                judged: Err(Failed::Later),
            },
            Self::Page { job, .. } => EdgeAnswer::Page {
                job,
                rows: Err(Failed::Later),
            },
            Self::Rest { client, op, .. } => EdgeAnswer::Rest {
                client,
                op,
                answer: RestAnswer::Later,
            },
        }
    }
}

impl EdgeAnswer {
    /// It was on its way and is lost.
    #[must_use]
    pub fn unheard(self) -> Self {
        match self {
            Self::Heads(_) => Self::Heads(None),
            Self::Range {
                partition, after, ..
            } => Self::Range {
                partition,
                after,
                fetched: Fetched::Log(Err(nobody())),
            },
            Self::Members {
                conversation,
                before,
                ..
            } => Self::Members {
                conversation,
                before,
                members: Err(Failed::Later),
            },
            Self::Summary {
                conversation,
                user,
                seq,
                sockets,
                ..
            } => Self::Summary {
                conversation,
                user,
                seq,
                sockets,
                summary: Err(Failed::Later),
            },
            Self::Judged { job, .. } => Self::Judged {
                job,
                judged: Err(Failed::Later),
            },
            Self::Page { job, .. } => Self::Page {
                job,
                rows: Err(Failed::Later),
            },
            Self::Rest { client, op, .. } => Self::Rest {
                client,
                op,
                answer: RestAnswer::Later,
            },
        }
    }
}

fn added(
    database: &Database,
    conversation: ConversationId,
    user: UserId,
) -> Result<Option<Frame>, Failed> {
    let summary = now(database.reader().summary(conversation, user))?;
    Ok(summary.map(|summary| {
        let conversation = shown(&summary, user, &HashMap::new());
        frame(&ServerFrame::Added(Box::new(Added { conversation })))
    }))
}

/// As `edge/src/fanout/jobs.rs` does.
fn members_before(
    database: &Database,
    conversation: ConversationId,
    before: Seq,
) -> Result<(Vec<UserId>, Seq), Failed> {
    let Some(found) = now(database.reader().membership(conversation))? else {
        return Ok((Vec::new(), before.prev()));
    };
    let mut members = found.members;
    members.sort_unstable();
    if found.as_of >= before {
        for event in events_between(database, conversation, before, found.as_of)?
            .iter()
            .rev()
        {
            unfold(&mut members, event);
        }
    } else {
        for event in events_between(database, conversation, found.as_of.next(), before.prev())? {
            fold(&mut members, &event);
        }
    }
    Ok((members, before.prev()))
}

fn events_between(
    database: &Database,
    conversation: ConversationId,
    from: Seq,
    to: Seq,
) -> Result<Vec<Event>, Failed> {
    let mut events = Vec::new();
    let mut next = from;
    while next <= to {
        let rows = now(database.read_conversation(conversation, next, 1_000))?;
        if rows.is_empty() {
            return Err(Failed::Unreadable);
        }
        for row in rows {
            if row.seq > to {
                break;
            }
            let recorded = row.decode().map_err(|_bad| Failed::Unreadable)?;
            next = row.seq.next();
            events.push(recorded.event);
        }
    }
    Ok(events)
}

/// As `edge/src/resume.rs` begins.
fn judge(
    database: &Database,
    user: UserId,
    conversation: ConversationId,
    epoch: Epoch,
    seq: Seq,
) -> Result<Judged, Failed> {
    let head = now(database.conversation_head(conversation))?;
    if head.is_some_and(|head| head.epoch == epoch && head.seq == seq) {
        return Ok(Judged::Current);
    }
    let access = now(database.reader().access(conversation, user))?;
    let mut controls = Vec::new();
    let mut is_sound = false;
    let from = match plan(seq, access.as_ref()) {
        Plan::Ignore => return Ok(Judged::Ignore),
        Plan::Begin { from } => from,
        Plan::Rejoin { from } => {
            controls.extend(added(database, conversation, user)?);
            from
        }
        Plan::Check { from } => {
            let rows = now(database.read_conversation(conversation, seq, 1))?;
            is_sound = rows
                .first()
                .is_some_and(|row| row.seq == seq && row.epoch == epoch);
            if is_sound {
                from
            } else {
                let visible = access
                    .map_or(Seq::new(1), |access| access.visible_from_seq)
                    .max(Seq::new(1));
                let from = void_from(database, conversation, epoch, seq)?.max(visible);
                let reset = Reset {
                    conversation_id: conversation.uuid(),
                    from_seq: from.get(),
                };
                controls.push(frame(&ServerFrame::Reset(reset)));
                from
            }
        }
    };
    let head = access.map_or((Epoch::ZERO, Seq::ZERO), |access| {
        (access.epoch, access.head_seq)
    });
    let joined = access.map_or(Seq::ZERO, |access| access.joined_seq);
    if head.1.next().since(from) > CURSOR_CATCH_UP_EVENTS {
        return Ok(Judged::Resync { controls, head });
    }
    Ok(Judged::From {
        controls,
        from,
        joined,
        is_sound,
    })
}

fn void_from(
    database: &Database,
    conversation: ConversationId,
    epoch: Epoch,
    seq: Seq,
) -> Result<Seq, Failed> {
    let head = now(database.conversation_head(conversation))?.map_or(Seq::ZERO, |head| head.seq);
    let (mut low, mut high) = (Seq::new(1), head.next());
    while low < high {
        let middle = Seq::new(low.get().midpoint(high.get()));
        let rows = now(database.read_conversation(conversation, middle, 1))?;
        if rows.first().is_some_and(|row| row.epoch <= epoch) {
            low = middle.next();
        } else {
            high = middle;
        }
    }
    Ok(low.min(seq).max(Seq::new(1)))
}

fn rest(database: &Database, user: UserId, request: &RestRequest) -> Result<RestAnswer, Failed> {
    let reader = database.reader();
    Ok(match request {
        RestRequest::Inbox => {
            let page = now(reader.inbox(user, None, INBOX_ITEMS))?;
            let items = page.items.iter();
            RestAnswer::Inbox(
                items
                    .map(|summary| shown(summary, user, &HashMap::new()))
                    .collect(),
            )
        }
        RestRequest::History(conversation) => {
            match now(reader.history(*conversation, user, Anchor::Newest, HISTORY_ITEMS))? {
                Some(page) => {
                    RestAnswer::History(page.items.iter().map(|row| message(row, user)).collect())
                }
                None => RestAnswer::Gone,
            }
        }
        RestRequest::Events {
            conversation,
            from_seq,
            limit,
        } => {
            let access = now(reader.access(*conversation, user))?;
            let Some(access) = access.filter(|access| access.role.is_some()) else {
                return Ok(RestAnswer::Gone);
            };
            let from = Seq::new(*from_seq)
                .max(access.visible_from_seq)
                .max(Seq::new(1));
            let limit = usize::try_from(*limit).unwrap_or(1);
            let mut rows =
                now(database.read_conversation(*conversation, from, limit.saturating_add(1)))?;
            rows.retain(|row| row.seq <= access.head_seq);
            let mut events = Vec::new();
            for row in rows.iter().take(limit) {
                let recorded = row.decode().map_err(|_bad| Failed::Unreadable)?;
                events.push(raw_event(row.epoch, &recorded));
            }
            RestAnswer::Events {
                events,
                is_last: rows.len() <= limit,
            }
        }
        RestRequest::Command { .. } | RestRequest::Mark { .. } => RestAnswer::Later,
    })
}

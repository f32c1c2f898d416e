//! What a client frame does.
//!
//! Fault point: `edge.ack.before`, between the owner's answer and the ack.

use std::sync::Arc;
use std::time::Duration;

use hubbub_cluster::SubmitError;
use hubbub_domain::conversation::{Command as Request, Intent, Operation};
use hubbub_domain::ids::{CommandId, ConversationId, UserId};
use hubbub_domain::position::MessageNo;
use hubbub_projections::port::PAGE_ITEMS_MAX;
use hubbub_projections::{Anchor, HistoryPage};
use hubbub_telemetry::{TraceContext, fault, spans};
use hubbub_wire::bus::{Accepted, How, MarkRequest};
use hubbub_wire::client::inbound::{History, Mark, Ping, Send, Typing};
use hubbub_wire::client::outbound::{Ack, PageFrame, Pong};
use hubbub_wire::client::{BadFrame, ClientFrame, ServerFrame};
use hubbub_wire::rest::list::PAGE_ITEMS_DEFAULT;
use tokio::time::Instant;
use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::error::Refusal;
use crate::fanout::Command;
use crate::http::call::may;
use crate::objects;
use crate::session::Session;
use crate::state::Shared;

/// From the frame to its definite answer (RELIABILITY: client 5 s → edge 4 s → owner 3 s).
pub(crate) const SEND_DEADLINE: Duration = Duration::from_secs(4);
/// A mark is tried for this long.
const MARK_DEADLINE: Duration = Duration::from_secs(2);
/// Pages read at once for one socket.
const PAGES_MAX: usize = 4;
/// When to ask for a page again while too many are being read.
const PAGES_RETRY_MS: u64 = 200;
/// Bytes of messages in one `page`: a frame stays below 1 MiB.
const PAGE_BYTES_MAX: usize = 900_000;
/// A send that waits for its turn.
#[derive(Debug)]
pub(crate) struct SendJob {
    command: Request,
    retry: bool,
    received: Instant,
    span: Span,
}

/// Something that was under way.
#[derive(Debug)]
pub(crate) enum Done {
    Sent {
        id: CommandId,
        conversation: ConversationId,
        received: Instant,
        answer: Result<Accepted, Refusal>,
    },
    Page {
        id: Uuid,
        answer: Result<PageFrame, Refusal>,
    },
    Marked(MarkRequest, Result<(), SubmitError>),
}

impl Session {
    /// Reads one frame; `false` when the client's patience is used up.
    pub(super) fn on_text(&mut self, text: &str) -> bool {
        match ClientFrame::decode(text) {
            Ok(frame) => {
                self.on_frame(frame);
                true
            }
            Err(bad) => self.on_bad(bad),
        }
    }

    /// Answers a frame that could not be read; `false` when it was one too many.
    pub(super) fn on_bad(&mut self, bad: BadFrame) -> bool {
        let id = bad.id;
        self.refuse(id, Refusal::from(bad));
        let now_ms = self.now_ms();
        !self.strikes.strike(now_ms)
    }

    fn refuse(&self, id: Option<Uuid>, refusal: Refusal) {
        self.shared.metrics.edge.frames_refused.inc();
        self.outbox
            .answer(&ServerFrame::Error(refusal.into_frame(id)));
    }

    fn on_frame(&mut self, frame: ClientFrame) {
        match frame {
            ClientFrame::Send(send) => self.on_send(send),
            ClientFrame::Mark(mark) => self.on_mark(&mark),
            ClientFrame::Typing(typing) => self.on_typing(&typing),
            ClientFrame::History(history) => self.on_history(&history),
            ClientFrame::Ping(Ping { n }) => self.outbox.answer(&ServerFrame::Pong(Pong { n })),
            ClientFrame::Hello(_) => {
                self.refuse(None, Refusal::unreadable("hello was said already"));
            }
            ClientFrame::Edit(_)
            | ClientFrame::Delete(_)
            | ClientFrame::React(_)
            | ClientFrame::Pin(_) => {
                self.refuse(frame.id(), Refusal::not_yet("changing a message"));
            }
            ClientFrame::Open(open) => self.on_screen(open.conversation_id, true),
            ClientFrame::Close(close) => self.on_screen(close.conversation_id, false),
            // Presence changes nothing yet; asking for it is no mistake.
            ClientFrame::Watch(_) | ClientFrame::Unwatch(_) => {}
        }
    }

    fn on_send(&mut self, send: Send) {
        let conversation = ConversationId::from_uuid(send.conversation_id);
        let span = tracing::info_span!(spans::EDGE_FRAME_RECEIVE, conversation.id = %conversation, command.id = %send.id);
        if let Some(trace) = send.trace.as_deref().and_then(TraceContext::parse) {
            trace.adopt(&span);
        }
        if send
            .attachments
            .as_ref()
            .is_some_and(|files| !files.is_empty())
        {
            return self.refuse(Some(send.id), Refusal::not_yet("sending files"));
        }
        if let Err(retry_after_ms) = self
            .shared
            .budgets
            .sends
            .spend(self.user, self.shared.clock.now())
        {
            return self.refuse(Some(send.id), Refusal::rate_limited(retry_after_ms));
        }
        let command = Request {
            id: CommandId::from_uuid(send.id),
            conversation,
            by: self.user,
            intent: Intent::SendMessage {
                body: send.body,
                reply_to_no: send.reply_to_no.map(MessageNo::new),
                thread_root_no: send.thread_root_no.map(MessageNo::new),
            },
        };
        let job = SendJob {
            command,
            retry: send.retry.unwrap_or(false),
            received: Instant::now(),
            span,
        };
        if let Some(job) = self.chains.push(conversation, job) {
            self.submit(job);
        }
    }

    fn submit(&self, job: SendJob) {
        let shared = Arc::clone(&self.shared);
        let SendJob {
            command,
            retry,
            received,
            span,
        } = job;
        let trace = TraceContext::of(&span);
        let submit = async move {
            let (id, conversation) = (command.id, command.conversation);
            let left = SEND_DEADLINE.saturating_sub(received.elapsed());
            let answer = if left.is_zero() {
                // It has waited for its turn until now: nobody has seen it.
                Err(Refusal::from(SubmitError::Unavailable {
                    retry_after_ms: 1_000,
                }))
            } else {
                shared
                    .router
                    .submit(command, retry, left, trace)
                    .await
                    .map_err(Refusal::from)
            };
            Done::Sent {
                id,
                conversation,
                received,
                answer,
            }
        };
        self.under_way.push(Box::pin(submit.instrument(span)));
    }

    pub(super) fn on_done(&mut self, done: Done) {
        match done {
            Done::Sent {
                id,
                conversation,
                received,
                answer,
            } => {
                match answer {
                    Ok(accepted) => {
                        fault::point("edge.ack.before");
                        self.shared
                            .metrics
                            .edge
                            .ack_seconds
                            .observe(received.elapsed().as_secs_f64());
                        self.outbox.answer(&ServerFrame::Ack(ack(id, &accepted)));
                    }
                    Err(refusal) => self.refuse(Some(id.uuid()), refusal),
                }
                if let Some(next) = self.chains.done(conversation) {
                    self.submit(next);
                }
            }
            Done::Page { id, answer } => {
                self.pages = self.pages.saturating_sub(1);
                match answer {
                    Ok(page) => self.outbox.answer(&ServerFrame::Page(page)),
                    Err(refusal) => self.refuse(Some(id), refusal),
                }
            }
            Done::Marked(request, Ok(()) | Err(SubmitError::Rejected(_))) => {
                self.marks.stored(request.conversation, Instant::now());
            }
            Done::Marked(request, Err(error)) => {
                tracing::debug!(%error, conversation.id = %request.conversation, "a mark was not stored");
                self.marks.failed(&request, Instant::now());
            }
        }
    }

    fn on_mark(&mut self, mark: &Mark) {
        let conversation = ConversationId::from_uuid(mark.conversation_id);
        let (read_no, delivered_no) = (
            mark.read_no.map(MessageNo::new),
            mark.delivered_no.map(MessageNo::new),
        );
        self.marks
            .push(conversation, read_no, delivered_no, Instant::now());
    }

    pub(super) fn send_marks(&mut self) {
        for request in self.marks.take(self.user) {
            let router = Arc::clone(&self.shared.router);
            self.under_way.push(Box::pin(async move {
                Done::Marked(request, router.mark(request, MARK_DEADLINE).await)
            }));
        }
    }

    fn on_typing(&mut self, typing: &Typing) {
        let conversation = ConversationId::from_uuid(typing.conversation_id);
        if self.typing.passes(conversation, typing.on, Instant::now()) {
            self.shared.fanout.send_lossy(Command::Typing {
                conversation,
                user: self.user,
                on: typing.on,
            });
        }
    }

    fn on_screen(&mut self, conversation: Uuid, on: bool) {
        let conversation = ConversationId::from_uuid(conversation);
        let fresh = self.opens.passes(conversation, on, Instant::now());
        self.shared.fanout.send_lossy(Command::Open {
            user: self.user,
            seat: self.id,
            conversation,
            on,
            read: on && fresh,
        });
    }

    fn on_history(&mut self, history: &History) {
        let id = history.id;
        let (anchor, limit) = match read_history(history) {
            Ok(read) => read,
            Err(refusal) => return self.refuse(Some(id), refusal),
        };
        if self.pages >= PAGES_MAX {
            return self.refuse(Some(id), Refusal::rate_limited(PAGES_RETRY_MS));
        }
        self.pages += 1;
        let shared = Arc::clone(&self.shared);
        let (conversation, user) = (
            ConversationId::from_uuid(history.conversation_id),
            self.user,
        );
        self.under_way.push(Box::pin(async move {
            Done::Page {
                id,
                answer: gated_page(&shared, id, conversation, user, anchor, limit).await,
            }
        }));
    }
}

fn ack(id: CommandId, accepted: &Accepted) -> Ack {
    Ack {
        id: id.uuid(),
        conversation_id: accepted.conversation.uuid(),
        epoch: accepted.epoch.get(),
        seq: accepted.seq.get(),
        message_no: accepted.message_no.map(MessageNo::get),
        at: accepted.at.into(),
        duplicate: accepted.how == How::Duplicate,
    }
}

fn read_history(history: &History) -> Result<(Anchor, usize), Refusal> {
    let limit = history.limit.unwrap_or(PAGE_ITEMS_DEFAULT);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if limit == 0 || limit > PAGE_ITEMS_MAX {
        return Err(Refusal::unreadable("limit must be 1 to 200"));
    }
    let anchor = match (history.before_no, history.after_no, history.around_no) {
        (None, None, None) => Anchor::Newest,
        (Some(no), None, None) => Anchor::Before(MessageNo::new(no)),
        (None, Some(no), None) => Anchor::After(MessageNo::new(no)),
        (None, None, Some(no)) => Anchor::Around(MessageNo::new(no)),
        _ => {
            return Err(Refusal::unreadable(
                "give at most one of before_no, after_no, around_no",
            ));
        }
    };
    Ok((anchor, limit))
}

async fn gated_page(
    shared: &Shared,
    id: Uuid,
    conversation: ConversationId,
    user: UserId,
    anchor: Anchor,
    limit: usize,
) -> Result<PageFrame, Refusal> {
    let pass = shared.gates.history.enter().await;
    let _pass = pass.inspect_err(|_busy| shared.metrics.edge.busy.inc())?;
    page(shared, id, conversation, user, anchor, limit).await
}

async fn page(
    shared: &Shared,
    id: Uuid,
    conversation: ConversationId,
    user: UserId,
    anchor: Anchor,
    limit: usize,
) -> Result<PageFrame, Refusal> {
    let access = shared.read_models.access(conversation, user).await?;
    // Who may see that a public room is there may not read it for that.
    may(&access.ok_or_else(Refusal::not_found)?, Operation::Read)?;
    let found = shared
        .read_models
        .history(conversation, user, anchor, limit)
        .await?;
    let HistoryPage {
        mut items,
        mut has_more,
    } = found.ok_or_else(Refusal::not_found)?;
    // What the frame cannot hold is left for the next question, at the end that is farther away.
    let mut bytes: usize = items.iter().map(bytes_of).sum();
    while bytes > PAGE_BYTES_MAX && items.len() > 1 {
        let dropped = match anchor {
            Anchor::Newest | Anchor::Before(_) => Some(items.remove(0)),
            Anchor::After(_) | Anchor::Around(_) => items.pop(),
        };
        bytes = bytes.saturating_sub(dropped.as_ref().map_or(0, bytes_of));
        has_more = true;
    }
    Ok(PageFrame {
        id,
        conversation_id: conversation.uuid(),
        items: items
            .iter()
            .map(|row| objects::message(row, user))
            .collect(),
        has_more,
    })
}

/// What a message may take in a frame: control characters take six bytes each, and there are few of them.
fn bytes_of(row: &hubbub_projections::MessageRow) -> usize {
    const FIELDS: usize = 400;
    let escaped = |body: &String| {
        body.bytes()
            .map(|byte| {
                if byte < 0x20 {
                    6
                } else {
                    1 + usize::from(byte == b'"' || byte == b'\\')
                }
            })
            .sum::<usize>()
    };
    FIELDS.saturating_add(row.body.as_ref().map_or(0, escaped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_asked_for_at_one_place_and_in_a_size_that_is_allowed() {
        let ask = |before_no, after_no, limit| {
            let history = History {
                id: Uuid::nil(),
                conversation_id: Uuid::nil(),
                before_no,
                after_no,
                around_no: None,
                limit,
            };
            read_history(&history).map_err(|refusal| refusal.status)
        };
        assert_eq!(ask(None, None, None), Ok((Anchor::Newest, 50)));
        assert_eq!(
            ask(Some(7), None, Some(200)),
            Ok((Anchor::Before(MessageNo::new(7)), 200))
        );
        assert_eq!(ask(Some(7), Some(8), None), Err(400));
        assert_eq!(ask(None, None, Some(0)), Err(400));
        assert_eq!(ask(None, None, Some(201)), Err(400));
    }
}

//! What a client asks over REST, and what becomes of the answers.

#![cfg_attr(
    not(test),
    expect(
        clippy::wildcard_imports,
        reason = "the second half of one room, split for reading"
    )
)]

use super::*;

impl Client {
    // === REST ===

    pub(super) fn ask(&mut self, node: usize, request: RestRequest, asks: Asks, wires: &mut Wires) {
        self.ops = self.ops.saturating_add(1);
        let op = self.ops;
        self.rest.insert(
            op,
            Rest {
                asked_ms: wires.now_ms,
                asks,
            },
        );
        let timeout = Event::Client(self.number, ClientInput::RestTimeout { op });
        match wires.lives.get(node).copied().flatten() {
            Some(life) => {
                let delay = wires.random.between(1, 10);
                let input = NodeInput::Rest {
                    client: self.number,
                    op,
                    user: self.user,
                    request,
                };
                wires.wake(To { node, life }, delay, input);
                wires.after(REST_PATIENCE_MS, timeout);
            }
            None => wires.after(5, timeout),
        }
    }

    pub(super) fn answered(&mut self, node: usize, op: u64, answer: RestAnswer, wires: &mut Wires) {
        let Some(rest) = self.rest.remove(&op) else {
            return;
        };
        match (rest.asks, answer) {
            (
                Asks::Fetch {
                    fetch,
                    conversation,
                },
                answer,
            ) => {
                let page = match answer {
                    RestAnswer::Events { events, is_last } => Ok(FetchedPage { events, is_last }),
                    RestAnswer::Gone => Err(FetchFailure::Gone),
                    _ => Err(FetchFailure::Later {
                        retry_after_ms: None,
                    }),
                };
                self.fetched(fetch, conversation, page, wires);
            }
            (Asks::Inbox, RestAnswer::Inbox(items)) => {
                let reading = Reading::Inbox {
                    entries: items.iter().map(InboxEntry::from).collect(),
                    complete: true,
                };
                self.read(node, rest.asked_ms, reading, wires);
            }
            (Asks::History(conversation), RestAnswer::History(items)) => {
                let reading = Reading::Page {
                    conversation: conversation.uuid(),
                    newest: true,
                    items: items
                        .iter()
                        .map(hubbub_checker::history::Message::from)
                        .collect(),
                };
                self.read(node, rest.asked_ms, reading, wires);
            }
            (
                Asks::Command {
                    attempt,
                    conversation,
                    kind,
                },
                RestAnswer::Routed(end),
            ) => Self::command_ended(attempt, conversation, &kind, &end, wires),
            (Asks::Mark { attempt }, RestAnswer::Routed(end)) => {
                let outcome = match &end {
                    Ok(_) => Outcome::Done,
                    Err(error) => outcome_of(code_of(error)),
                };
                wires.recorder.ended(attempt, wires.now_ms, outcome);
            }
            (Asks::Command { attempt, .. } | Asks::Mark { attempt }, _) => {
                wires
                    .recorder
                    .ended(attempt, wires.now_ms, Outcome::Unknown);
            }
            (Asks::Inbox | Asks::History(_), _) => {}
        }
    }

    pub(super) fn command_ended(
        attempt: usize,
        conversation: Uuid,
        kind: &OperationKind,
        end: &Result<Option<hubbub_wire::bus::Accepted>, SubmitError>,
        wires: &mut Wires,
    ) {
        let outcome = match end {
            Ok(Some(accepted)) if accepted.how != How::Already => Outcome::Acked(Place {
                epoch: accepted.epoch.get(),
                seq: accepted.seq.get(),
                message_no: accepted
                    .message_no
                    .map(hubbub_domain::position::MessageNo::get),
                is_duplicate: accepted.how == How::Duplicate,
            }),
            Ok(_) => Outcome::Done,
            Err(error) => outcome_of(code_of(error)),
        };
        let change = match (&outcome, kind) {
            (Outcome::Acked(place), OperationKind::Remove { user }) if !place.is_duplicate => {
                Some((*user, true))
            }
            (Outcome::Acked(place), OperationKind::Add { user }) if !place.is_duplicate => {
                Some((*user, false))
            }
            _ => None,
        };
        if let Some((user, ended)) = change {
            wires.recorder.history.access.push(AccessChange {
                at: time(wires.now_ms),
                user,
                access: Access::Conversation(conversation),
                ended,
            });
        }
        wires.recorder.ended(attempt, wires.now_ms, outcome);
    }

    pub(super) fn timed_out(&mut self, op: u64, wires: &mut Wires) {
        let Some(rest) = self.rest.remove(&op) else {
            return;
        };
        match rest.asks {
            Asks::Fetch {
                fetch,
                conversation,
            } => {
                let later = FetchFailure::Later {
                    retry_after_ms: None,
                };
                self.fetched(fetch, conversation, Err(later), wires);
            }
            Asks::Command { attempt, .. } | Asks::Mark { attempt } => {
                wires
                    .recorder
                    .ended(attempt, wires.now_ms, Outcome::Unknown);
            }
            Asks::Inbox | Asks::History(_) => {}
        }
    }

    pub(super) fn fetched(
        &mut self,
        fetch: u64,
        conversation_id: Uuid,
        page: Result<FetchedPage, FetchFailure>,
        wires: &mut Wires,
    ) {
        let fetched = Fetched {
            fetch,
            conversation_id,
            page,
        };
        self.drive(Input::Fetched(fetched), wires);
    }

    pub(super) fn read(&self, node: usize, asked_ms: u64, reading: Reading, wires: &mut Wires) {
        wires.counters.one("reads");
        wires.recorder.history.reads.push(Read {
            user: self.user.uuid(),
            node: u32::try_from(node).unwrap_or(u32::MAX),
            invoked_at: time(asked_ms),
            ended_at: time(wires.now_ms),
            is_quiet: self.is_quiet,
            reading,
        });
    }

    /// Asks for something to be stored over REST.
    pub fn command(
        &mut self,
        node: usize,
        command: Command,
        kind: OperationKind,
        wires: &mut Wires,
    ) {
        let body = None;
        let attempt = wires.recorder.attempt(
            wires.now_ms,
            command.id.uuid(),
            command.conversation.uuid(),
            self.user,
            kind.clone(),
            body,
            node,
            None,
        );
        let asks = Asks::Command {
            attempt,
            conversation: command.conversation.uuid(),
            kind,
        };
        self.ask(node, RestRequest::Command { command }, asks, wires);
    }
}

//! One message: asked for, tried again until it ends, and now and then sent twice on purpose.

use std::sync::Arc;
use std::time::Duration;

use hubbub_checker::history::Time;
use hubbub_checker::{Digest, Operation, OperationKind, Outcome, Place};
use hubbub_client::{RestError, SendError, SendReceipt};
use hubbub_testkit::fresh_uuid;
use hubbub_wire::client::outbound::Ack;
use hubbub_wire::error::{ErrorClass, ErrorCode};
use hubbub_wire::rest::SendMessage;
use uuid::Uuid;

use crate::load::stage::{Stage, Wait, one};
use crate::load::voice::Voice;

/// Wait before what was refused for now is sent again, when the server gives no hint.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Longest wait of that kind, whatever the hint: the gap is to be measured, not padded.
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(1);

/// An answer within this is the answer to the first attempt: the server's own deadline for a command is 4 s.
const ANSWERED_SOON: Duration = Duration::from_secs(2);

/// How a message is sent a second time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Again {
    /// Once only.
    No,
    /// At once, before any answer.
    AtOnce,
    /// After the ack, on the connection.
    AfterTheAck,
    /// After the ack, over REST at this node.
    OverRest(usize),
    /// After the ack, with another body: must be refused.
    OtherBody,
}

/// How one attempt ended, and what to do about it.
enum Ended {
    Acked,
    /// Try again after this long.
    TryAgain(Duration),
    Refused,
    Never,
}

/// Sends a message until it is acked, definitely refused, or the run is over. Returns the ack.
pub async fn send(
    stage: &Stage,
    voice: &Arc<Voice>,
    conversation: Uuid,
    body: String,
    again: Again,
) -> Option<Ack> {
    let command = fresh_uuid();
    let asked_at = stage.clock.now();
    let (node, reconnects) = (voice.node(), voice.notes().reconnects);
    one(&stage.done.sent);
    let mut attempt = Attempt {
        stage,
        voice,
        command,
        conversation,
        body,
        acked: None,
    };
    let mut retry = false;
    let ended = loop {
        let ended = attempt
            .over_the_connection(retry, again == Again::AtOnce && !retry)
            .await;
        match ended {
            Ended::TryAgain(wait) => {
                retry = true;
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = stage.given_up() => break Ended::Never,
                }
            }
            ended => break ended,
        }
    };
    let acked_at = attempt.acked.as_ref().map(|(_ack, at)| *at);
    stage.waited(Wait {
        conversation,
        command,
        asked_at,
        acked_at,
        node,
        own_line_broke: voice.notes().reconnects != reconnects,
    });
    match ended {
        Ended::Acked => one(&stage.done.acked),
        Ended::Refused => one(&stage.done.failed),
        Ended::TryAgain(_) | Ended::Never => one(&stage.done.open),
    }
    let is_settled = !retry && voice.notes().reconnects == reconnects;
    if acked_at.is_some() {
        match again {
            Again::No | Again::AtOnce => {}
            Again::AfterTheAck => {
                one(&stage.done.repeated);
                let _recorded = attempt.over_the_connection(true, false).await;
            }
            Again::OverRest(node) => {
                one(&stage.done.repeated);
                let _recorded = attempt.over_rest(node).await;
            }
            // An ack names only the id, so a late one of an earlier attempt would pass for the answer to another body.
            Again::OtherBody if !is_settled || !attempt.was_answered_soon(asked_at) => {}
            Again::OtherBody => {
                one(&stage.done.keys_reused);
                attempt.body.push_str(", or so");
                if matches!(
                    attempt.over_the_connection(true, false).await,
                    Ended::Refused
                ) {
                    one(&stage.done.keys_refused);
                }
            }
        }
    }
    attempt.acked.map(|(ack, _at)| ack)
}

/// Sends a message once over REST at that node; whether it was acked.
pub async fn once_over_rest(
    stage: &Stage,
    voice: &Arc<Voice>,
    node: usize,
    conversation: Uuid,
    body: String,
) -> bool {
    let attempt = Attempt {
        stage,
        voice,
        command: fresh_uuid(),
        conversation,
        body,
        acked: None,
    };
    attempt.over_rest(node).await
}

struct Attempt<'a> {
    stage: &'a Stage,
    voice: &'a Arc<Voice>,
    command: Uuid,
    conversation: Uuid,
    body: String,
    acked: Option<(Ack, Time)>,
}

impl Attempt<'_> {
    /// The first attempt was acked before the library would have sent it again.
    fn was_answered_soon(&self, asked_at: Time) -> bool {
        let acked = self.acked.as_ref();
        acked.is_some_and(|(ack, at)| {
            !ack.duplicate && crate::clock::span(asked_at, *at) < ANSWERED_SOON
        })
    }

    async fn over_the_connection(&mut self, retry: bool, twice: bool) -> Ended {
        let invoked_at = self.stage.clock.now();
        let node = self.voice.node();
        let Ok(receipt) = self.hand_over(retry).await else {
            return Ended::Never;
        };
        if twice {
            one(&self.stage.done.repeated);
            // Settles with the first one.
            drop(self.hand_over(true).await);
        }
        let outcome = tokio::select! {
            outcome = receipt => outcome,
            () = self.stage.given_up() => {
                self.record(node, invoked_at, Outcome::Open);
                return Ended::Never;
            }
        };
        match outcome {
            Ok(ack) => {
                let place = Place {
                    epoch: ack.epoch,
                    seq: ack.seq,
                    message_no: ack.message_no,
                    is_duplicate: ack.duplicate,
                };
                self.record(node, invoked_at, Outcome::Acked(place));
                if self.acked.is_none() {
                    self.acked = Some((ack, self.stage.clock.now()));
                }
                Ended::Acked
            }
            Err(error) => self.failed(node, invoked_at, &error),
        }
    }

    async fn hand_over(&self, retry: bool) -> Result<SendReceipt, SendError> {
        self.voice
            .client
            .send_with_id(self.command, self.conversation, self.body.clone(), retry)
            .await
    }

    fn failed(&self, node: u32, invoked_at: Time, error: &SendError) -> Ended {
        let (code, wait) = match error {
            SendError::Refused(refusal) => {
                let wait = refusal
                    .retry_after_ms
                    .map_or(AGAIN_AFTER, Duration::from_millis);
                (Some(refusal.code), wait.min(AGAIN_AFTER_MAX))
            }
            _other => (None, AGAIN_AFTER),
        };
        let is_open =
            error.maybe_stored() || code.is_some_and(|code| code.class() == ErrorClass::Open);
        if is_open {
            one(&self.stage.done.unknown_attempts);
            self.record(node, invoked_at, Outcome::Unknown);
        } else {
            let code = code.map_or_else(|| "not_sent".to_owned(), |code| code.to_string());
            self.record(node, invoked_at, Outcome::Refused { code });
        }
        match error {
            SendError::Closed { .. } | SendError::NoCommand => Ended::Never,
            SendError::Full | SendError::IdInUse => Ended::TryAgain(wait),
            SendError::Refused(refusal) => match refusal.code.class() {
                ErrorClass::Later => {
                    one(&self.stage.done.later);
                    Ended::TryAgain(wait)
                }
                ErrorClass::Open => Ended::TryAgain(wait),
                _definite => Ended::Refused,
            },
        }
    }

    /// Over REST; a repetition must name the same place.
    async fn over_rest(&self, node: usize) -> bool {
        let Some(rest) = self.voice.rests.get(node) else {
            return false;
        };
        let invoked_at = self.stage.clock.now();
        let message = SendMessage {
            body: self.body.clone(),
            reply_to_no: None,
            thread_root_no: None,
            attachments: None,
            scheduled_for: None,
        };
        let answer = rest
            .send_message(self.conversation, &message, Some(self.command))
            .await;
        let outcome = match answer {
            Ok(stored) => Outcome::Acked(Place {
                epoch: stored.epoch,
                seq: stored.seq,
                message_no: Some(stored.message_no),
                is_duplicate: false,
            }),
            Err(error) => rest_outcome(&error),
        };
        let acked = matches!(outcome, Outcome::Acked(_));
        self.record(u32::try_from(node).unwrap_or(u32::MAX), invoked_at, outcome);
        acked
    }

    fn record(&self, node: u32, invoked_at: Time, outcome: Outcome) {
        let operation = Operation {
            command: self.command,
            conversation: self.conversation,
            user: self.voice.user,
            kind: OperationKind::Send,
            body: Some(Digest::of(&self.body)),
            node,
            // The library chooses the socket, and another one when it sends again.
            socket: None,
            invoked_at,
            ended_at: self.stage.clock.now(),
            outcome,
            depends_on: None,
        };
        self.voice.notes().history.operations.push(operation);
    }
}

/// What a failed request over REST says about its command.
fn rest_outcome(error: &RestError) -> Outcome {
    match error.problem() {
        Some(problem)
            if problem.code.class() != ErrorClass::Open
                && problem.code != ErrorCode::UnknownOutcome =>
        {
            Outcome::Refused {
                code: problem.code.to_string(),
            }
        }
        _nobody_knows => Outcome::Unknown,
    }
}

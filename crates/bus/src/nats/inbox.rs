//! Answers: one subscription for all requests of a connection, and who waits for which.
//!
//! The client library has such a thing, but never forgets a request that nobody answered; here a question that is dropped is forgotten.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::{Client, Message, SubscribeError};
use futures_util::StreamExt;
use hubbub_telemetry::{OnError, spawn_named};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Requests of one node that wait for answers at the same time. Far above what the edges' own budgets let through; a bound on memory
/// (about 200 bytes each) when a peer stops answering.
const WAITING_MAX: usize = 65_536;

/// Where the answers to this connection's requests arrive.
#[derive(Debug)]
pub(super) struct Inbox {
    prefix: String,
    nowhere: String,
    next: AtomicU64,
    waiting: Arc<Waiting>,
}

type Waiting = Mutex<HashMap<u64, oneshot::Sender<Message>>>;

/// A place where one answer may arrive; dropping it forgets the question.
#[derive(Debug)]
pub(super) struct Question {
    number: u64,
    subject: String,
    answer: oneshot::Receiver<Message>,
    waiting: Arc<Waiting>,
}

impl Inbox {
    /// Requests that wait for their answers now.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Subscribes and hands out answers until `stop`.
    pub(super) async fn listen(
        client: &Client,
        stop: CancellationToken,
    ) -> Result<Self, SubscribeError> {
        let base = client.new_inbox();
        let prefix = format!("{base}.a.");
        let mut answers = client.subscribe(format!("{prefix}*")).await?;
        let waiting: Arc<Waiting> = Arc::default();
        let asking = Arc::clone(&waiting);
        let cut = prefix.len();
        spawn_named("bus answers", OnError::Log, async move {
            loop {
                let message = tokio::select! {
                    () = stop.cancelled() => return,
                    message = answers.next() => message,
                };
                let Some(message) = message else { return };
                let number = message
                    .subject
                    .get(cut..)
                    .and_then(|text| text.parse().ok());
                let asker = number.and_then(|number: u64| asking.lock().remove(&number));
                if let Some(asker) = asker {
                    // It may have given up between these two lines.
                    drop(asker.send(message));
                }
            }
        });
        Ok(Self {
            prefix,
            nowhere: format!("{base}.nobody"),
            next: AtomicU64::new(1),
            waiting,
        })
    }

    /// A new question; `None` when too many are open.
    pub(super) fn ask(&self) -> Option<Question> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        if waiting.len() >= WAITING_MAX {
            return None;
        }
        waiting.insert(number, sender);
        Some(Question {
            number,
            subject: format!("{}{number}", self.prefix),
            answer,
            waiting: Arc::clone(&self.waiting),
        })
    }

    /// A subject that nobody ever listens to.
    pub(super) fn nowhere(&self) -> &str {
        &self.nowhere
    }
}

impl Question {
    /// Where the answer is to be sent.
    pub(super) fn reply_subject(&self) -> &str {
        &self.subject
    }

    /// The answer; `None` when the connection was closed for good. Waits without a bound.
    pub(super) async fn answer(mut self) -> Option<Message> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.number);
    }
}

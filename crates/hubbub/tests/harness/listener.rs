//! A connection of the client library, with waiting for what it should bring.

use std::time::Duration;

use hubbub_client::{Client, Events, Notice, SendError, SendReceipt};
use hubbub_wire::client::outbound::Ack;
use hubbub_wire::client::{EventData, RawEvent};
use hubbub_wire::error::ErrorClass;
use uuid::Uuid;

use super::PATIENCE;

/// How long a message may be refused for now after something broke: its repair, and the longest wait of the library before it tries again.
const OVER_A_FAULT: Duration = PATIENCE.saturating_mul(2);
/// Wait before a message that was refused for now is said again, when the server gives no hint.
const AGAIN_AFTER_MS: u64 = 100;

/// A connected client and everything it has told so far.
pub(crate) struct Listener {
    pub(crate) client: Client,
    events: Events,
    /// Every notice that was taken, in order.
    pub(crate) heard: Vec<Notice>,
}

impl Listener {
    pub(crate) const fn new(client: Client, events: Events) -> Self {
        Self {
            client,
            events,
            heard: Vec::new(),
        }
    }

    /// The next notice that is wanted; others are passed over (and kept in `heard`).
    pub(crate) async fn until<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&Notice) -> Option<T>,
    ) -> T {
        let listening = async {
            loop {
                let Some(notice) = self.events.next().await else {
                    panic!("the client ended while waiting for: {what}");
                };
                let found = wanted(&notice);
                self.heard.push(notice);
                if let Some(found) = found {
                    return found;
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, listening).await.ok();
        found.unwrap_or_else(|| panic!("waited in vain for: {what}; heard: {:#?}", self.heard))
    }

    /// The next event of the conversation, whatever it is.
    pub(crate) async fn event_of(&mut self, conversation: Uuid) -> RawEvent {
        self.until("an event", |notice| match notice {
            Notice::Delivered(event) if event.conversation_id == conversation => {
                Some(event.as_ref().clone())
            }
            _other => None,
        })
        .await
    }

    /// The message with that text.
    pub(crate) async fn message(&mut self, conversation: Uuid, body: &str) -> RawEvent {
        self.until(body, |notice| match notice {
            Notice::Delivered(event) if event.conversation_id == conversation => {
                (body_of(event) == Some(body)).then(|| event.as_ref().clone())
            }
            _other => None,
        })
        .await
    }

    /// Waits until everything of the conversation up to `seq` was delivered.
    pub(crate) async fn wait_for_seq(&mut self, conversation: Uuid, seq: u64) {
        if self.delivered_seqs(conversation).last() >= Some(&seq) {
            return;
        }
        let what = format!("event {seq} of {conversation}");
        self.until(&what, |notice| match notice {
            Notice::Delivered(event) => {
                (event.conversation_id == conversation && event.seq == seq).then_some(())
            }
            _other => None,
        })
        .await;
    }

    /// Says something and waits for the ack, where nothing is broken: a refusal fails the test. Otherwise [`say_until_stored`].
    pub(crate) async fn say(&self, conversation: Uuid, body: &str) -> Ack {
        let receipt = self
            .client
            .send(conversation, body)
            .await
            .expect("the client runs");
        tokio::time::timeout(PATIENCE, receipt)
            .await
            .expect("an answer comes in time")
            .expect("the message is stored")
    }

    /// The seqs of everything delivered of that conversation so far.
    pub(crate) fn delivered_seqs(&self, conversation: Uuid) -> Vec<u64> {
        self.heard
            .iter()
            .filter_map(|notice| match notice {
                Notice::Delivered(event) if event.conversation_id == conversation => {
                    Some(event.seq)
                }
                _other => None,
            })
            .collect()
    }
}

/// Says something until it is stored, as a person would while something is broken: a node may still be without the bus, or without an owner
/// to ask, when everything else works again, and then says `unavailable` in good order.
pub(crate) async fn say_until_stored(client: &Client, conversation: Uuid, body: &str) -> Ack {
    let receipt = client.send(conversation, body).await;
    until_stored(
        client,
        receipt.expect("the client runs"),
        conversation,
        body,
    )
    .await
}

/// The ack of a message that was sent; it is sent again with its id as often as it is refused for now.
pub(crate) async fn until_stored(
    client: &Client,
    mut receipt: SendReceipt,
    conversation: Uuid,
    body: &str,
) -> Ack {
    let id = receipt.id();
    let mut refusals = Vec::new();
    let saying = async {
        loop {
            match receipt.await {
                Ok(ack) => return ack,
                Err(SendError::Refused(refusal)) if refusal.code.class() == ErrorClass::Later => {
                    let wait = refusal.retry_after_ms.unwrap_or(AGAIN_AFTER_MS);
                    refusals.push(refusal);
                    tokio::time::sleep(Duration::from_millis(wait)).await;
                }
                Err(error) => panic!("{id} was not stored: {error}"),
            }
            let again = client.send_with_id(id, conversation, body, true).await;
            receipt = again.expect("the client runs");
        }
    };
    let stored = tokio::time::timeout(OVER_A_FAULT, saying).await.ok();
    stored.unwrap_or_else(|| panic!("{id} was not stored; refusals: {refusals:?}"))
}

/// The text of a message.
pub(crate) fn body_of(event: &RawEvent) -> Option<&str> {
    match &event.event {
        EventData::MessageSent(message) => message.body.as_deref(),
        _other => None,
    }
}

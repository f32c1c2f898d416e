//! Writes down what one person's client was told: notices after the library's work, and frames before it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use hubbub_client::{Client, Events, FrameTap, Notice};
use hubbub_wire::client::RawEvent;
use hubbub_wire::error::ErrorClass;
use serde::Deserialize;
use uuid::Uuid;

use crate::checker::{Acked, SocketFrame, SocketLog, Subscription};
use crate::figures::Figures;

/// One in so many delivered messages is marked as read.
const MARKED_ONE_IN: u64 = 25;

/// What came over the sockets of one person.
pub(crate) struct Tap {
    figures: Figures,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    sockets: BTreeMap<u64, Vec<SocketFrame>>,
    acks: HashMap<Uuid, Vec<Acked>>,
}

/// The fields of a frame that say something about order; the rest is skipped without being built.
#[derive(Deserialize)]
struct Peek {
    t: String,
    id: Option<Uuid>,
    conversation_id: Option<Uuid>,
    epoch: Option<u64>,
    seq: Option<u64>,
    message_no: Option<u64>,
    #[serde(default)]
    duplicate: bool,
    #[serde(default)]
    all: bool,
    conversations: Option<Vec<(Uuid, u64, u64)>>,
}

impl Tap {
    pub(crate) fn new(figures: &Figures) -> Arc<Self> {
        Arc::new(Self {
            figures: figures.clone(),
            seen: Mutex::default(),
        })
    }

    /// Every ack that came, by command.
    pub(crate) fn acks(&self) -> HashMap<Uuid, Vec<Acked>> {
        self.seen.lock().expect("nobody panicked").acks.clone()
    }

    pub(crate) fn sockets(&self, who: &str) -> Vec<SocketLog> {
        let seen = self.seen.lock().expect("nobody panicked");
        let log = |(number, frames): (&u64, &Vec<SocketFrame>)| SocketLog {
            who: format!("{who} on socket {number}"),
            frames: frames.clone(),
        };
        seen.sockets.iter().map(log).collect()
    }

    fn peek(&self, socket: u64, frame: &Peek) {
        let mut seen = self.seen.lock().expect("nobody panicked");
        let frames = seen.sockets.entry(socket).or_default();
        match (frame.t.as_str(), frame.conversation_id) {
            ("event", Some(conversation)) => {
                let seq = frame.seq.expect("an event has a seq");
                frames.push(SocketFrame::Event { conversation, seq });
            }
            ("reset" | "removed", Some(conversation)) => {
                frames.push(SocketFrame::Break { conversation });
            }
            ("resync", None) => {
                self.figures.resync();
                if frame.all {
                    frames.push(SocketFrame::BreakAll);
                }
                for (conversation, _epoch, _head) in frame.conversations.iter().flatten() {
                    frames.push(SocketFrame::Break {
                        conversation: *conversation,
                    });
                }
            }
            ("ack", Some(_conversation)) => {
                if frame.duplicate {
                    self.figures.duplicate();
                }
                let ack = Acked {
                    epoch: frame.epoch.expect("an ack has an epoch"),
                    seq: frame.seq.expect("an ack has a seq"),
                    message_no: frame.message_no,
                    at: self.figures.now(),
                };
                seen.acks
                    .entry(frame.id.expect("an ack has an id"))
                    .or_default()
                    .push(ack);
            }
            _says_nothing_about_order => {}
        }
    }
}

impl FrameTap for Tap {
    fn frame(&self, _node: usize, socket: u64, text: &str) {
        let frames: Vec<Peek> = if text.starts_with('[') {
            serde_json::from_str(text).expect("the server sends JSON")
        } else {
            vec![serde_json::from_str(text).expect("the server sends JSON")]
        };
        for frame in frames {
            self.peek(socket, &frame);
        }
    }
}

/// What one person's application was told, after the library's work.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<ByConversation>>);

/// Of each conversation (seq, command), in the order of delivery.
type ByConversation = HashMap<Uuid, Vec<(u64, Uuid)>>;

impl Told {
    /// Writes down everything until the client ends, and marks some of it as read.
    pub(crate) async fn listen(self, client: Client, mut events: Events) {
        while let Some(notice) = events.next().await {
            match notice {
                Notice::Delivered(event) => {
                    self.note(&event);
                    if let Some(no) = event.message_no
                        && no % MARKED_ONE_IN == 0
                    {
                        client.mark(event.conversation_id, Some(no), None).await;
                    }
                }
                Notice::Reset { .. } | Notice::Removed { .. } => {
                    panic!("nothing was lost and nobody left: {notice:?}")
                }
                // The answer to a repetition whose first attempt had been acked already.
                Notice::Refused(error)
                    if matches!(error.code.class(), ErrorClass::Later | ErrorClass::Open) => {}
                Notice::Refused(error) => panic!("nothing was wrong: {error:?}"),
                _other => {}
            }
        }
    }

    fn note(&self, event: &RawEvent) {
        let mut told = self.0.lock().expect("nobody panicked");
        told.entry(event.conversation_id)
            .or_default()
            .push((event.seq, event.command_id));
    }

    /// The last seq that was told of a conversation.
    pub(crate) fn last_seq(&self, conversation: Uuid) -> u64 {
        let told = self.0.lock().expect("nobody panicked");
        told.get(&conversation)
            .and_then(|told| told.last())
            .map_or(0, |(seq, _command)| *seq)
    }

    pub(crate) fn subscription(&self, who: &str, conversation: Uuid) -> Subscription {
        let told = self.0.lock().expect("nobody panicked");
        Subscription {
            who: who.to_owned(),
            conversation,
            delivered: told.get(&conversation).cloned().unwrap_or_default(),
        }
    }
}

//! Writes down what one person's client was told: notices after the library's work, and frames before it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use hubbub_checker::{Delivery, Event, Frame, FrameSeen, Place, Socket, Time, Told as Word};
use hubbub_client::{Client, Events, FrameTap, Notice};
use hubbub_wire::client::{RawEvent, ServerFrame};
use hubbub_wire::error::ErrorClass;
use uuid::Uuid;

use crate::figures::Figures;

/// One in so many delivered messages is marked as read.
const MARKED_ONE_IN: u64 = 25;

/// Sockets that one person opens at most: their numbers are unique in the run.
const SOCKETS_EACH: u64 = 1_000_000;

/// What came over the sockets of one person.
pub(crate) struct Tap {
    figures: Figures,
    user: Uuid,
    first_socket: u64,
    seen: Mutex<Seen>,
}

#[derive(Clone, Default)]
pub(crate) struct Seen {
    pub(crate) sockets: BTreeMap<u64, Socket>,
    pub(crate) frames: Vec<FrameSeen>,
}

impl Seen {
    /// Every ack that came, by command.
    pub(crate) fn acks(&self) -> HashMap<Uuid, Vec<(Place, Time)>> {
        let mut acks: HashMap<Uuid, Vec<(Place, Time)>> = HashMap::new();
        for seen in &self.frames {
            if let Frame::Ack { id, place, .. } = seen.frame {
                acks.entry(id).or_default().push((place, seen.at));
            }
        }
        acks
    }
}

impl Tap {
    /// For person number `n`.
    pub(crate) fn new(figures: &Figures, n: usize, user: Uuid) -> Arc<Self> {
        let n = u64::try_from(n).expect("a small number");
        Arc::new(Self {
            figures: figures.clone(),
            user,
            first_socket: n * SOCKETS_EACH,
            seen: Mutex::default(),
        })
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().expect("nobody panicked").clone()
    }
}

impl FrameTap for Tap {
    fn frame(&self, node: usize, socket: u64, text: &str) {
        let (at, socket) = (self.figures.now(), self.first_socket + socket);
        let frames = ServerFrame::decode(text).expect("the server sends frames");
        let mut seen = self.seen.lock().expect("nobody panicked");
        seen.sockets.entry(socket).or_insert_with(|| Socket {
            socket,
            user: self.user,
            session: None,
            node: u32::try_from(node).expect("a small number"),
            hello_at: at,
            cursors: Vec::new(),
        });
        for frame in frames.iter().filter_map(Frame::of) {
            match &frame {
                Frame::Resync { .. } => self.figures.resync(),
                Frame::Ack { place, .. } if place.is_duplicate => self.figures.duplicate(),
                _not_counted => {}
            }
            seen.frames.push(FrameSeen { socket, at, frame });
        }
    }
}

/// What one person's application was told, after the library's work.
#[derive(Clone)]
pub(crate) struct Told {
    figures: Figures,
    told: Arc<Mutex<ByConversation>>,
}

/// Of each conversation, in the order of delivery.
type ByConversation = HashMap<Uuid, Vec<(Time, Event)>>;

impl Told {
    pub(crate) fn new(figures: &Figures) -> Self {
        Self {
            figures: figures.clone(),
            told: Arc::default(),
        }
    }

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
        let mut told = self.told.lock().expect("nobody panicked");
        told.entry(event.conversation_id)
            .or_default()
            .push((self.figures.now(), Event::from(event)));
    }

    /// The last seq that was told of a conversation.
    pub(crate) fn last_seq(&self, conversation: Uuid) -> u64 {
        let told = self.told.lock().expect("nobody panicked");
        told.get(&conversation)
            .and_then(|told| told.last())
            .map_or(0, |(_at, event)| event.seq)
    }

    /// What the subscription of this number was told of its conversation.
    pub(crate) fn deliveries(&self, subscription: u64, conversation: Uuid) -> Vec<Delivery> {
        let told = self.told.lock().expect("nobody panicked");
        let told = told.get(&conversation).map_or(&[][..], Vec::as_slice);
        let delivery = |(at, event): &(Time, Event)| Delivery {
            subscription,
            at: *at,
            told: Word::Event(event.clone()),
        };
        told.iter().map(delivery).collect()
    }
}

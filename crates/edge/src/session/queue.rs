//! What waits to be written to one socket: bounded by bytes, ordered by importance, held back where order demands it.
//!
//! Answers (acks, errors, pages) go first, then events and what belongs to their order, then what is only interesting in its latest
//! state (markers, typing). Events of a conversation can be *held*: while its catch-up runs, or while the summary for `added` is read,
//! later ones wait behind a [`Ticket`].
//!
//! When too much waits, event frames are dropped and one `resync` says for each conversation up to where (ARCHITECTURE.md §7).
//! Everything else stays.
//!
//! Never: I/O, waiting, a frame encoded twice.

mod write;

use std::collections::{BTreeMap, HashMap, VecDeque};

use axum::extract::ws::Utf8Bytes;
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{Epoch, Seq};

/// Bytes of events that may wait for one socket (ARCHITECTURE.md §7).
pub const EVENT_BYTES_MAX: usize = 262_144;
/// Above this many waiting bytes a catch-up pauses, so that it never causes the overflow itself.
pub const CATCH_UP_BYTES_MAX: usize = EVENT_BYTES_MAX / 4;
/// Above this many waiting bytes of answers the socket is not read: whoever asks a lot has to listen, too.
pub const ANSWER_BYTES_MAX: usize = 1_048_576;
/// Bytes of frames put into one write: enough to save the calls, small enough that the buffer of an idle socket stays small.
pub const COALESCE_BYTES_MAX: usize = 65_536;
/// Markers and typing states that may wait; beyond it the oldest is forgotten.
pub const LATEST_MAX: usize = 128;
/// Conversations that one `resync` names; beyond it the client is told to look at all of them.
pub const RESYNC_CONVERSATIONS_MAX: usize = 1_000;
/// Frames other than events that may wait among them (added, removed, reset); more means that the client does not read at all.
pub const CONTROLS_MAX: usize = 2_048;

/// One encoded frame; cloning shares it.
pub type Frame = Utf8Bytes;

/// Names a hold, so that only whoever placed it releases it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket(u64);

/// An event on its way to a socket.
#[derive(Clone, Debug)]
pub struct EventItem {
    /// Where.
    pub conversation: ConversationId,
    /// Under which epoch it was written.
    pub epoch: Epoch,
    /// Its place.
    pub seq: Seq,
    /// Encoded.
    pub frame: Frame,
}

/// Something of which only the latest counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LatestKey {
    /// Whose marker, and where.
    Marker(ConversationId, UserId),
    /// Who types, and where.
    Typing(ConversationId, UserId),
}

/// One write.
#[derive(Debug, PartialEq, Eq)]
pub struct Write {
    /// One frame as an object, or several as an array.
    pub text: Frame,
    /// How many.
    pub frames: usize,
    /// Whether a `resync` is among them.
    pub resync: bool,
}

/// Encodes a `resync`: the queue decides when, the caller knows how. `None` = all conversations.
pub type EncodeResync = fn(Option<&[(ConversationId, Epoch, Seq)]>) -> Frame;

#[derive(Debug)]
enum Item {
    Event(EventItem),
    Control(Frame),
}

/// What is held of one conversation: the front is always a ticket.
#[derive(Debug, Default)]
struct Hold {
    waiting: VecDeque<Waiting>,
    /// The last event dropped out of the hold.
    dropped: Option<(Epoch, Seq)>,
    /// The newest epoch of what a catch-up fed, or found the client to hold.
    fed: Epoch,
    /// This node has passed over events meanwhile: a hole is no sign of a loss.
    hole: bool,
}

#[derive(Debug)]
enum Waiting {
    Ticket(Ticket),
    Item(Seq, Item),
    /// What comes behind it is of another lineage than what a catch-up before it reads.
    Anew,
}

/// Live events up to `seq` were part of a catch-up.
#[derive(Clone, Copy, Debug)]
struct Floor {
    seq: Seq,
    /// None of what was fed is of a newer epoch.
    fed: Epoch,
    /// Whether the log ended there and nothing was passed over: then the next live event is the next one. A catch-up that met what cannot be
    /// read stopped before.
    whole: bool,
}

/// The queue of one socket.
#[derive(Debug)]
pub struct Queue {
    answers: VecDeque<Frame>,
    answer_bytes: usize,
    items: VecDeque<Item>,
    controls: usize,
    holds: HashMap<ConversationId, Hold>,
    /// Up to where catch-ups have read, until something comes live behind it.
    floors: HashMap<ConversationId, Floor>,
    /// Where what came live does not go with what a catch-up fed, or lies behind a hole: the log has lost events meanwhile.
    contradicted: Option<ConversationId>,
    /// Bytes of events in `items`.
    queued_bytes: usize,
    /// Bytes of events behind tickets.
    held_bytes: usize,
    /// The last dropped event of each conversation, until the `resync` is written.
    lagging: BTreeMap<ConversationId, (Epoch, Seq)>,
    /// More conversations than one `resync` names.
    lagging_all: bool,
    latest: VecDeque<(LatestKey, Frame)>,
    tickets: u64,
    dropped: u64,
    encode_resync: EncodeResync,
}

impl Queue {
    /// An empty queue.
    pub fn new(encode_resync: EncodeResync) -> Self {
        Self {
            answers: VecDeque::new(),
            answer_bytes: 0,
            items: VecDeque::new(),
            controls: 0,
            holds: HashMap::new(),
            floors: HashMap::new(),
            contradicted: None,
            queued_bytes: 0,
            held_bytes: 0,
            lagging: BTreeMap::new(),
            lagging_all: false,
            latest: VecDeque::new(),
            tickets: 0,
            dropped: 0,
            encode_resync,
        }
    }

    /// An ack, an error, a page, a pong.
    pub fn push_answer(&mut self, frame: Frame) {
        self.answer_bytes = self.answer_bytes.saturating_add(frame.len());
        self.answers.push_back(frame);
    }

    /// A live event.
    pub fn push_event(&mut self, event: EventItem) {
        if let Some(floor) = self.floors.get(&event.conversation).copied() {
            if event.seq <= floor.seq {
                if is_after(event.epoch, floor.fed) {
                    self.contradict(event.conversation);
                }
                return;
            }
            // Whoever joins anew has a hold, and `added` says where their stream goes on.
            let joins = self.holds.contains_key(&event.conversation);
            self.floors.remove(&event.conversation);
            if floor.whole && !joins && event.seq > floor.seq.next() {
                self.contradict(event.conversation);
            }
        }
        if self.is_contradicted() {
            // The socket is about to be closed, and whoever writes meanwhile must not find what lies behind the hole.
            return;
        }
        if let Some(hold) = self.holds.get_mut(&event.conversation) {
            if hold.dropped.is_some() {
                hold.dropped = Some((event.epoch, event.seq));
                return;
            }
            self.held_bytes = self.held_bytes.saturating_add(event.frame.len());
            hold.waiting
                .push_back(Waiting::Item(event.seq, Item::Event(event)));
        } else {
            self.enqueue_event(event);
        }
        if self.event_bytes() > EVENT_BYTES_MAX {
            self.overflow();
        }
    }

    /// A frame in the order of a conversation's events, behind the event at `seq`.
    pub fn push_control(&mut self, conversation: ConversationId, seq: Seq, frame: Frame) {
        self.controls = self.controls.saturating_add(1);
        if self
            .floors
            .get(&conversation)
            .is_some_and(|floor| seq > floor.seq)
        {
            // It may tell of a jump, such as a `resync` does.
            self.floors.remove(&conversation);
        }
        match self.holds.get_mut(&conversation) {
            Some(hold) => hold
                .waiting
                .push_back(Waiting::Item(seq, Item::Control(frame))),
            None => self.items.push_back(Item::Control(frame)),
        }
    }

    /// A frame behind everything that waits now, of whatever conversation.
    pub fn push_last(&mut self, frame: Frame) {
        self.controls = self.controls.saturating_add(1);
        self.items.push_back(Item::Control(frame));
    }

    /// The newest state of something; replaces an older one that still waits.
    pub fn push_latest(&mut self, key: LatestKey, frame: Frame) {
        self.latest.retain(|(waiting, _)| *waiting != key);
        if self.latest.len() >= LATEST_MAX {
            self.latest.pop_front();
        }
        self.latest.push_back((key, frame));
    }

    /// From now on events of this conversation wait until the ticket is released.
    pub fn hold(&mut self, conversation: ConversationId) -> Ticket {
        self.tickets = self.tickets.saturating_add(1);
        let ticket = Ticket(self.tickets);
        self.holds
            .entry(conversation)
            .or_default()
            .waiting
            .push_back(Waiting::Ticket(ticket));
        ticket
    }

    /// The log has lost events of this conversation: what comes from now on is not judged by what a catch-up has read before.
    pub fn begin_anew(&mut self, conversation: ConversationId) {
        self.floors.remove(&conversation);
        if let Some(hold) = self.holds.get_mut(&conversation) {
            hold.waiting.push_back(Waiting::Anew);
        }
    }

    /// The client is known to hold events of this epoch there, although nothing was fed: what comes live in their place under a newer one
    /// is another event.
    pub fn note_held(&mut self, conversation: ConversationId, epoch: Epoch) {
        if let Some(hold) = self.holds.get_mut(&conversation) {
            hold.fed = hold.fed.max(epoch);
        }
    }

    /// This node passes over events of this conversation although the log holds them, as it cannot read them or tell who receives them (F14):
    /// the hole that they leave is no sign of a loss.
    pub fn expect_hole(&mut self, conversation: ConversationId) {
        if let Some(floor) = self.floors.get_mut(&conversation) {
            floor.whole = false;
        }
        if let Some(hold) = self.holds.get_mut(&conversation) {
            hold.hole = true;
        }
    }

    /// Whether the client was caught up there and nothing has come live since.
    pub fn was_caught_up(&self, conversation: ConversationId) -> bool {
        self.floors.contains_key(&conversation)
    }

    /// Adds a caught-up event for the holder of the conversation's first ticket; for others nothing happens.
    pub fn feed_event(&mut self, ticket: Ticket, event: EventItem) {
        if self.is_first(event.conversation, ticket) {
            if let Some(hold) = self.holds.get_mut(&event.conversation) {
                hold.fed = hold.fed.max(event.epoch);
            }
            if cfg!(feature = "sabotage-resume-twice") {
                self.enqueue_event(event.clone());
            }
            self.enqueue_event(event);
            if self.event_bytes() > EVENT_BYTES_MAX {
                self.overflow();
            }
        }
    }

    /// Adds another frame for the holder of the conversation's first ticket.
    pub fn feed_control(&mut self, conversation: ConversationId, ticket: Ticket, frame: Frame) {
        if self.is_first(conversation, ticket) {
            self.push_last(frame);
        }
    }

    /// Whether the ticket is the one that the conversation waits for.
    pub fn is_first(&self, conversation: ConversationId, ticket: Ticket) -> bool {
        let first = self
            .holds
            .get(&conversation)
            .and_then(|hold| hold.waiting.front());
        matches!(first, Some(Waiting::Ticket(waiting)) if *waiting == ticket)
    }

    /// Ends a hold. What waited behind it goes on, without what the client already has: up to `floor`, where the log ended when it was read,
    /// or before an event that comes live for certain (the reader's own removal).
    pub fn release(&mut self, conversation: ConversationId, ticket: Ticket, floor: Option<Seq>) {
        self.end_hold(conversation, ticket, floor, true);
    }

    /// Like [`Queue::release`], where the log goes on behind `floor` with what cannot be read: the hole is known and no sign of a loss.
    pub fn release_unread(
        &mut self,
        conversation: ConversationId,
        ticket: Ticket,
        floor: Option<Seq>,
    ) {
        self.end_hold(conversation, ticket, floor, false);
    }

    fn end_hold(
        &mut self,
        conversation: ConversationId,
        ticket: Ticket,
        floor: Option<Seq>,
        whole: bool,
    ) {
        let Some(hold) = self.holds.get_mut(&conversation) else {
            return;
        };
        let before = hold.waiting.len();
        hold.waiting
            .retain(|waiting| !matches!(waiting, Waiting::Ticket(held) if *held == ticket));
        if hold.waiting.len() == before {
            return;
        }
        if let Some(floor) = floor {
            self.drop_up_to(conversation, floor, whole);
        }
        self.pump(conversation);
    }

    /// Puts a frame where a ticket stands, in the order of the event at `seq`, and ends that hold.
    pub fn fulfil(&mut self, conversation: ConversationId, ticket: Ticket, seq: Seq, frame: Frame) {
        let Some(hold) = self.holds.get_mut(&conversation) else {
            return;
        };
        let place = hold
            .waiting
            .iter_mut()
            .find(|waiting| matches!(waiting, Waiting::Ticket(held) if *held == ticket));
        if let Some(place) = place {
            *place = Waiting::Item(seq, Item::Control(frame));
            self.controls = self.controls.saturating_add(1);
            self.pump(conversation);
        }
    }

    /// Whether a catch-up may go on.
    pub fn has_room(&self) -> bool {
        // What is held waits for the catch-up, so the catch-up cannot wait for it.
        self.queued_bytes < CATCH_UP_BYTES_MAX
    }

    /// Whether the socket may be read.
    pub fn accepts_questions(&self) -> bool {
        self.answer_bytes < ANSWER_BYTES_MAX
    }

    /// Whether so many frames wait that may not be dropped that the client must have stopped reading.
    pub fn is_hopeless(&self) -> bool {
        self.controls > CONTROLS_MAX
    }

    fn event_bytes(&self) -> usize {
        self.queued_bytes.saturating_add(self.held_bytes)
    }

    /// Bytes of events and answers that wait.
    pub fn bytes(&self) -> usize {
        self.event_bytes().saturating_add(self.answer_bytes)
    }

    /// Whether the client was caught up to events that the log has lost since, or something came live behind a hole after its catch-up: it
    /// has to resume, its cursors will tell.
    pub fn is_contradicted(&self) -> bool {
        self.contradicted.is_some()
    }

    /// Where that was noticed first.
    pub fn contradicted_in(&self) -> Option<ConversationId> {
        self.contradicted
    }

    fn contradict(&mut self, conversation: ConversationId) {
        self.contradicted.get_or_insert(conversation);
    }

    /// Whether anything waits to be written.
    pub fn is_empty(&self) -> bool {
        self.peek_len().is_none()
    }

    fn is_lagging(&self) -> bool {
        self.lagging_all || !self.lagging.is_empty()
    }

    fn enqueue_event(&mut self, event: EventItem) {
        if self.is_lagging() {
            self.note_dropped(event.conversation, event.epoch, event.seq);
        } else {
            self.queued_bytes = self.queued_bytes.saturating_add(event.frame.len());
            self.items.push_back(Item::Event(event));
        }
    }

    /// Events dropped since this was last asked.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    fn note_dropped(&mut self, conversation: ConversationId, epoch: Epoch, seq: Seq) {
        self.dropped = self.dropped.saturating_add(1);
        if self.lagging.len() >= RESYNC_CONVERSATIONS_MAX
            && !self.lagging.contains_key(&conversation)
        {
            self.lagging_all = true;
            return;
        }
        let newest = self.lagging.entry(conversation).or_insert((epoch, seq));
        // After a loss of lineage the newer epoch counts, although it may not reach as far yet.
        *newest = (*newest).max((epoch, seq));
    }

    /// Drops every event that waits, held ones included.
    fn overflow(&mut self) {
        self.drop_queued_events();
        for hold in self.holds.values_mut() {
            hold.waiting.retain(|waiting| match waiting {
                Waiting::Item(_, Item::Event(event)) => {
                    hold.dropped = Some((event.epoch, event.seq));
                    false
                }
                Waiting::Item(_, Item::Control(_)) | Waiting::Ticket(_) | Waiting::Anew => true,
            });
        }
        self.queued_bytes = 0;
        self.held_bytes = 0;
    }

    /// The client will not get events of this conversation up to `seq`; nothing of what waits may come before it hears that.
    fn overflow_conversation(&mut self, conversation: ConversationId, epoch: Epoch, seq: Seq) {
        self.drop_queued_events();
        self.note_dropped(conversation, epoch, seq);
    }

    fn drop_queued_events(&mut self) {
        let items = std::mem::take(&mut self.items);
        for item in items {
            match item {
                Item::Event(event) => {
                    self.queued_bytes = self.queued_bytes.saturating_sub(event.frame.len());
                    self.note_dropped(event.conversation, event.epoch, event.seq);
                }
                Item::Control(_) => self.items.push_back(item),
            }
        }
    }

    fn drop_up_to(&mut self, conversation: ConversationId, floor: Seq, whole: bool) {
        let Some(hold) = self.holds.get_mut(&conversation) else {
            return;
        };
        let (mut freed, mut controls, mut passed) = (0_usize, 0_usize, false);
        let (fed, mut contradicted) = (hold.fed, false);
        let whole = whole && !hold.hole;
        let mut anew = false;
        hold.waiting.retain(|waiting| match waiting {
            Waiting::Ticket(_) => true,
            Waiting::Item(..) if anew => true,
            Waiting::Anew => {
                (anew, passed) = (true, true);
                true
            }
            Waiting::Item(seq, item) => {
                passed |= *seq > floor;
                let keep = *seq > floor;
                if !keep {
                    match item {
                        Item::Event(event) => {
                            contradicted |= is_after(event.epoch, fed);
                            freed = freed.saturating_add(event.frame.len());
                        }
                        Item::Control(_) => controls = controls.saturating_add(1),
                    }
                }
                keep
            }
        });
        if let Some(Waiting::Item(seq, Item::Event(_))) = hold.waiting.front() {
            // The log ended at the floor: what came live behind a hole was given out before a loss took what lay between.
            contradicted |= whole && *seq > floor.next();
        }
        if hold.dropped.is_some_and(|(_, seq)| seq <= floor) {
            hold.dropped = None;
        }
        passed |= hold.dropped.is_some();
        self.held_bytes = self.held_bytes.saturating_sub(freed);
        self.controls = self.controls.saturating_sub(controls);
        if contradicted {
            self.contradict(conversation);
        }
        if !passed {
            let seq = floor;
            self.floors.insert(conversation, Floor { seq, fed, whole });
        }
    }

    /// Moves what no longer waits behind a ticket. Nothing once the queue is contradicted: it may lie behind the hole.
    fn pump(&mut self, conversation: ConversationId) {
        if self.is_contradicted() {
            return;
        }
        loop {
            let Some(hold) = self.holds.get_mut(&conversation) else {
                return;
            };
            match hold.waiting.front() {
                Some(Waiting::Ticket(_)) => return,
                None => {
                    let dropped = hold.dropped;
                    self.holds.remove(&conversation);
                    if let Some((epoch, seq)) = dropped {
                        self.overflow_conversation(conversation, epoch, seq);
                    }
                    return;
                }
                Some(Waiting::Item(..) | Waiting::Anew) => match hold.waiting.pop_front() {
                    Some(Waiting::Item(_, Item::Event(event))) => {
                        self.held_bytes = self.held_bytes.saturating_sub(event.frame.len());
                        self.enqueue_event(event);
                    }
                    Some(Waiting::Item(_, control @ Item::Control(_))) => {
                        self.items.push_back(control);
                    }
                    Some(Waiting::Anew) => {}
                    Some(Waiting::Ticket(_)) | None => return,
                },
            }
        }
    }
}

/// Whether an event in the place of a fed one is another one.
fn is_after(live: Epoch, fed: Epoch) -> bool {
    fed > Epoch::ZERO && live > fed
}

#[cfg(test)]
mod tests;

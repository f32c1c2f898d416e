//! Per conversation: what was delivered, what is missing, what waits for it.
//!
//! ```text
//! delivered:  1 2 3 4 5│          cursor = 5
//! missing:             │6 7       wanted = 7   → fetch from 6
//! held back:           │    8 9   delivered as soon as 7 was
//! ```
//!
//! Events come from two sides, the socket and fetches; both go through the same door, which lets only the next one pass.

use std::collections::{BTreeMap, VecDeque};

use hubbub_wire::client::{Cursor, EventData, RawEvent};
use uuid::Uuid;

use crate::machine::effect::Effect;
use crate::machine::input::{FetchFailure, FetchedPage};
use crate::machine::notice::Notice;

/// Conversations with a position at most; beyond it the longest silent one is forgotten and starts anew at its head.
pub const STREAMS_MAX: usize = 10_000;
/// Events held back per conversation at most. What does not fit is fetched later like everything missing.
pub const HELD_EVENTS_MAX: usize = 256;
/// Events of one fetch: the largest page the server gives.
pub const FETCH_EVENTS: u32 = 200;
/// Fetches under way at most, so that a client that was away long does not flood a node.
pub const FETCHES_MAX: usize = 4;
/// Wait before a failed fetch is tried again, in milliseconds, when the server gives no hint.
pub const FETCH_RETRY_MS: u64 = 500;
/// Epoch changes remembered per conversation: to lower a cursor soundly on a reset.
const LINEAGE_MAX: usize = 8;

/// All conversations.
#[derive(Debug, Default)]
pub struct Streams {
    by_id: BTreeMap<Uuid, Stream>,
    /// Conversations that want something, in the order in which they began to.
    queue: VecDeque<Uuid>,
    in_flight: usize,
    fetches: u64,
    touches: u64,
}

#[derive(Debug)]
struct Stream {
    start: Start,
    /// Epochs and the first seq known of each, ascending; the last is the present one.
    lineage: VecDeque<(u64, u64)>,
    held: BTreeMap<u64, RawEvent>,
    /// Everything up to here is to be fetched.
    wanted: Option<u64>,
    /// The fetch under way.
    fetch: Option<u64>,
    /// It stands in the queue.
    is_queued: bool,
    /// Not before this time.
    fetch_at_ms: u64,
    /// When it was last touched, as a running number.
    touched: u64,
}

/// What the next delivered event may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Start {
    /// Exactly `seq` + 1.
    After { seq: u64 },
    /// The first that comes above `floor`: the server begins the stream. Should it be lost, the stream goes on after
    /// `resume`.
    Fresh { floor: u64, resume: u64 },
}

impl Streams {
    /// Where the application is, for `hello`: the most recently active first, at most `max`. The conversations that did
    /// not fit are asked for by fetches instead.
    pub fn cursors(&mut self, max: usize, out: &mut Vec<Effect>) -> Vec<Cursor> {
        let mut by_activity: Vec<(u64, Uuid)> = self
            .by_id
            .iter()
            .map(|(id, stream)| (stream.touched, *id))
            .collect();
        by_activity.sort_unstable_by(|one, other| other.cmp(one));
        let mut cursors = Vec::with_capacity(by_activity.len().min(max));
        for (place, (_touched, id)) in by_activity.into_iter().enumerate() {
            if place >= max {
                self.want(id, u64::MAX);
            } else if let Some(stream) = self.by_id.get_mut(&id) {
                stream.anchor(id, out);
                cursors.push(stream.cursor(id));
            }
        }
        cursors
    }

    /// The socket is gone: what was held back and wanted will come again, since the next hello tells where we are.
    pub fn disconnected(&mut self) {
        self.queue.clear();
        for stream in self.by_id.values_mut() {
            stream.held.clear();
            stream.wanted = None;
            stream.is_queued = false;
        }
    }

    /// An event came on the socket.
    pub fn event(&mut self, event: RawEvent, out: &mut Vec<Effect>) {
        let id = event.conversation_id;
        let Some(stream) = self.touch(id) else {
            // The first one sent: the stream starts here (PROTOCOL.md rules 1 and 4).
            let before = event.seq.saturating_sub(1);
            self.insert(id, Start::After { seq: before }, VecDeque::new());
            if let Some(stream) = self.by_id.get_mut(&id) {
                stream.deliver(event, out);
            }
            return;
        };
        let next = match stream.start {
            Start::Fresh { floor, .. } if event.seq <= floor => return,
            Start::Fresh { .. } => event.seq,
            Start::After { seq } => seq.saturating_add(1),
        };
        if event.seq < next {
            return;
        }
        if event.seq == next {
            stream.deliver(event, out);
            stream.release_held(out);
            return;
        }
        let missing_up_to = stream.hold(event);
        self.want(id, missing_up_to);
    }

    /// The server skipped up to `head`: its next event is the one after.
    pub fn resync(&mut self, head: Cursor, out: &mut Vec<Effect>) {
        let id = head.conversation_id;
        match self.touch(id) {
            None => self.insert(
                id,
                Start::After { seq: head.seq },
                VecDeque::from([(head.epoch, head.seq)]),
            ),
            Some(stream) => {
                stream.anchor(id, out);
                if stream.seq() < head.seq {
                    self.want(id, head.seq);
                }
            }
        }
    }

    /// The server skipped something everywhere.
    pub fn resync_all(&mut self, out: &mut Vec<Effect>) {
        let ids: Vec<Uuid> = self.by_id.keys().copied().collect();
        for id in ids {
            if let Some(stream) = self.by_id.get_mut(&id) {
                stream.anchor(id, out);
            }
            self.want(id, u64::MAX);
        }
    }

    /// What was delivered from `from_seq` on is void.
    pub fn reset(&mut self, id: Uuid, from_seq: u64, out: &mut Vec<Effect>) {
        if let Some(stream) = self.touch(id) {
            stream.held.clear();
            stream.wanted = None;
            stream.anchor(id, out);
            stream.lower_to(from_seq.saturating_sub(1));
            stream.forget_fetch();
        }
    }

    /// One is now a member: the server begins the stream with the own joining.
    pub fn added(&mut self, head: Cursor) {
        let id = head.conversation_id;
        let earlier = self.by_id.remove(&id).filter(|stream| stream.seq() > 0);
        let (start, lineage) = match earlier {
            // From before a removal that was missed: the server judges it anew.
            Some(stream) => {
                let floor = stream.seq();
                (
                    Start::Fresh {
                        floor,
                        resume: floor,
                    },
                    stream.lineage,
                )
            }
            // The summary tells everything up to its head.
            None => (
                Start::Fresh {
                    floor: 0,
                    resume: head.seq,
                },
                VecDeque::from([(head.epoch, head.seq)]),
            ),
        };
        self.insert(id, start, lineage);
    }

    /// One is no longer a member.
    pub fn remove(&mut self, id: Uuid) {
        self.by_id.remove(&id);
    }

    /// The application stands at `cursor`. Ignored where a position is known.
    pub fn follow(&mut self, cursor: Cursor) {
        if self.touch(cursor.conversation_id).is_none() {
            let lineage = (cursor.seq > 0)
                .then_some((cursor.epoch, cursor.seq))
                .into_iter()
                .collect();
            self.insert(
                cursor.conversation_id,
                Start::After { seq: cursor.seq },
                lineage,
            );
        }
    }

    /// Starts fetches that are due.
    pub fn start_fetches(&mut self, node: usize, now_ms: u64, out: &mut Vec<Effect>) {
        let mut not_yet = VecDeque::new();
        while let Some(id) = self.queue.pop_front() {
            let Some(stream) = self.by_id.get_mut(&id) else {
                continue;
            };
            if !stream.is_queued || stream.wanted.is_none() || stream.fetch.is_some() {
                stream.is_queued = false;
                continue;
            }
            if self.in_flight >= FETCHES_MAX || stream.fetch_at_ms > now_ms {
                not_yet.push_back(id);
                continue;
            }
            self.fetches = self.fetches.saturating_add(1);
            self.in_flight = self.in_flight.saturating_add(1);
            stream.is_queued = false;
            stream.fetch = Some(self.fetches);
            out.push(Effect::Fetch {
                fetch: self.fetches,
                node,
                conversation_id: id,
                from_seq: stream.seq().saturating_add(1),
                limit: FETCH_EVENTS,
            });
        }
        self.queue = not_yet;
    }

    /// When [`Streams::start_fetches`] has something to do; `None` while enough are under way.
    pub fn due_at_ms(&self) -> Option<u64> {
        if self.in_flight >= FETCHES_MAX {
            return None;
        }
        self.queue
            .iter()
            .filter_map(|id| self.by_id.get(id))
            .map(|stream| stream.fetch_at_ms)
            .min()
    }

    /// A fetch ended.
    pub fn fetched(
        &mut self,
        fetch: u64,
        id: Uuid,
        page: Result<FetchedPage, FetchFailure>,
        own_user: Option<Uuid>,
        now_ms: u64,
        out: &mut Vec<Effect>,
    ) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(stream) = self.by_id.get_mut(&id) else {
            return;
        };
        if stream.fetch != Some(fetch) {
            return;
        }
        stream.fetch = None;
        stream.fetch_at_ms = 0;
        match page {
            Ok(page) => stream.take_page(page, own_user, now_ms, out),
            Err(FetchFailure::Gone) => {
                self.remove(id);
                out.push(Effect::Notify(Notice::Removed {
                    conversation_id: id,
                    reason: None,
                }));
                return;
            }
            Err(FetchFailure::Later { retry_after_ms }) => {
                stream.fetch_at_ms =
                    now_ms.saturating_add(retry_after_ms.unwrap_or(FETCH_RETRY_MS));
            }
        }
        self.enqueue(id);
    }

    fn want(&mut self, id: Uuid, up_to: u64) {
        let Some(stream) = self.by_id.get_mut(&id) else {
            return;
        };
        stream.wanted = stream.wanted.max(Some(up_to));
        self.enqueue(id);
    }

    /// Each conversation stands in the queue at most once, so the queue is bounded by [`STREAMS_MAX`].
    fn enqueue(&mut self, id: Uuid) {
        let Some(stream) = self.by_id.get_mut(&id) else {
            return;
        };
        if stream.wanted.is_some() && stream.fetch.is_none() && !stream.is_queued {
            stream.is_queued = true;
            self.queue.push_back(id);
        }
    }

    fn touch(&mut self, id: Uuid) -> Option<&mut Stream> {
        self.touches = self.touches.saturating_add(1);
        let touched = self.touches;
        let stream = self.by_id.get_mut(&id)?;
        stream.touched = touched;
        Some(stream)
    }

    fn insert(&mut self, id: Uuid, start: Start, lineage: VecDeque<(u64, u64)>) {
        if self.by_id.len() >= STREAMS_MAX {
            let silent = self
                .by_id
                .iter()
                .min_by_key(|(_id, stream)| stream.touched)
                .map(|(id, _stream)| *id);
            if let Some(silent) = silent {
                self.remove(silent);
            }
        }
        self.touches = self.touches.saturating_add(1);
        self.by_id.insert(
            id,
            Stream {
                start,
                lineage,
                held: BTreeMap::new(),
                wanted: None,
                fetch: None,
                is_queued: false,
                fetch_at_ms: 0,
                touched: self.touches,
            },
        );
    }
}

impl Stream {
    fn cursor(&self, conversation_id: Uuid) -> Cursor {
        Cursor {
            conversation_id,
            epoch: self.epoch(),
            seq: self.seq(),
        }
    }

    fn seq(&self) -> u64 {
        match self.start {
            Start::After { seq } => seq,
            Start::Fresh { resume, .. } => resume,
        }
    }

    fn epoch(&self) -> u64 {
        self.lineage.back().map_or(0, |(epoch, _from)| *epoch)
    }

    /// The first event may have been lost: from here on, everything after `resume`. What the summary told comes as no event then, and
    /// whoever waits for the own joining would wait for ever.
    fn anchor(&mut self, conversation_id: Uuid, out: &mut Vec<Effect>) {
        if let Start::Fresh { floor, resume } = self.start
            && resume > floor
        {
            out.push(Effect::Notify(Notice::Skipped {
                conversation_id,
                epoch: self.epoch(),
                seq: resume,
            }));
        }
        self.start = Start::After { seq: self.seq() };
    }

    fn deliver(&mut self, event: RawEvent, out: &mut Vec<Effect>) {
        if let Start::Fresh { .. } = self.start {
            self.lineage.clear();
        }
        if self.lineage.is_empty() || self.epoch() != event.epoch {
            if self.lineage.len() >= LINEAGE_MAX {
                self.lineage.pop_front();
            }
            self.lineage.push_back((event.epoch, event.seq));
        }
        self.start = Start::After { seq: event.seq };
        if self.wanted.is_some_and(|wanted| wanted <= event.seq) {
            self.wanted = None;
        }
        out.push(Effect::Notify(Notice::Delivered(Box::new(event))));
    }

    fn release_held(&mut self, out: &mut Vec<Effect>) {
        while let Some((seq, event)) = self.held.pop_first() {
            let next = self.seq().saturating_add(1);
            if seq > next {
                self.held.insert(seq, event);
                return;
            }
            if seq == next {
                self.deliver(event, out);
            }
        }
    }

    /// Holds an event back; returns up to where events are missing now.
    fn hold(&mut self, event: RawEvent) -> u64 {
        let seq = event.seq;
        if self.held.len() < HELD_EVENTS_MAX || self.held.contains_key(&seq) {
            self.held.insert(seq, event);
            // Fetched anyway only up to the first one held; later holes among the held are found when they are reached.
            self.held
                .first_key_value()
                .map_or(seq, |(first, _event)| first.saturating_sub(1))
        } else {
            seq
        }
    }

    fn take_page(
        &mut self,
        page: FetchedPage,
        own_user: Option<Uuid>,
        now_ms: u64,
        out: &mut Vec<Effect>,
    ) {
        let before = self.seq();
        for event in page.events {
            let next = self.seq().saturating_add(1);
            if event.seq < next {
                continue;
            }
            if event.seq != next && !begins_visibility(&event, own_user) {
                break;
            }
            self.deliver(event, out);
        }
        self.release_held(out);
        let has_moved = self.seq() > before;
        if page.is_last && self.wanted == Some(u64::MAX) {
            self.wanted = None;
        }
        if let Some((first_held, _event)) = self.held.first_key_value() {
            // A hole before what is held is missing whatever the page said.
            let hole_end = first_held.saturating_sub(1);
            self.wanted = self.wanted.max(Some(hole_end));
        }
        if self.wanted.is_some() && !has_moved {
            // The node that answered does not have it yet.
            self.fetch_at_ms = now_ms.saturating_add(FETCH_RETRY_MS);
        }
    }

    fn lower_to(&mut self, seq: u64) {
        if self.seq() <= seq {
            return;
        }
        self.start = Start::After { seq };
        while self
            .lineage
            .back()
            .is_some_and(|(_epoch, from)| *from > seq)
        {
            self.lineage.pop_back();
        }
    }

    /// The fetch under way answers an old question. Its end is still counted.
    fn forget_fetch(&mut self) {
        self.fetch = None;
    }
}

/// The own joining: a page that skips to it says that everything before is hidden from us, so the stream goes on from here
/// (PROTOCOL.md rule 1).
fn begins_visibility(event: &RawEvent, own_user: Option<Uuid>) -> bool {
    match &event.event {
        EventData::MemberAdded(added) => Some(added.user_id) == own_user,
        _no_joining => false,
    }
}

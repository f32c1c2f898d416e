//! The edge of one process around its cores: feeds, rooms and queues are the product's; the loop around them is as `edge/src/fanout/hub.rs`
//! runs it.

pub mod ask;
pub mod catch_up;
pub mod socket;

use std::collections::{BTreeMap, BTreeSet};

use hubbub_domain::conversation::{Event, RemovalReason};
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{Epoch, Offset, PartitionCount, PartitionId, Seq};
use hubbub_edge::sim::{
    Admission, Arrival, Effect, EventItem, Fetched, Frame, Loaded, Loss, PartitionFeed, Rooms,
    Source, Ticket, frame, raw_event,
};
use hubbub_wire::bus::{EvBatch, EvEntry, HeadBroadcast, OwnerRequest, PartitionHead};
use hubbub_wire::client::outbound::Removed;
use hubbub_wire::client::{ServerFrame, close};

pub use self::ask::{EdgeAnswer, EdgeAsk};
use self::catch_up::Job;
use self::socket::Socket;
use crate::node::router::Waiter;
use crate::wires::{Ask, BusMessage, NodeInput, To, Wires};

/// A partition whose head was not heard for this long is looked up in the log.
const BLIND_AFTER_MS: u64 = 3_000;
/// Time between looks at what is not heard of.
const CHECK_MS: u64 = 1_000;

/// Something for the router.
pub struct Submit {
    /// Who waits.
    pub waiter: Waiter,
    /// What.
    pub request: OwnerRequest,
    /// Said before, perhaps.
    pub retry: bool,
    /// Time that is left, in milliseconds.
    pub deadline_ms: u64,
}

/// The edge of one process.
pub struct Edge {
    me: To,
    feeds: Vec<PartitionFeed>,
    rooms: Rooms,
    sockets: BTreeMap<u64, Socket>,
    seats: BTreeMap<UserId, BTreeSet<u64>>,
    heard_ms: Vec<u64>,
    reading_heads: bool,
    /// Serves: every feed knew once where it begins.
    serves: bool,
    jobs: BTreeMap<u64, Job>,
    numbers: u64,
    /// For the router.
    pub submits: Vec<Submit>,
}

impl Edge {
    /// Listens already; asks for the heads.
    pub fn new(me: To, wires: &mut Wires) -> Self {
        let count = usize::from(wires.partitions.get());
        let mut edge = Self {
            me,
            feeds: wires.partitions.all().map(PartitionFeed::new).collect(),
            rooms: Rooms::default(),
            sockets: BTreeMap::new(),
            seats: BTreeMap::new(),
            heard_ms: vec![wires.now_ms; count],
            reading_heads: false,
            serves: false,
            jobs: BTreeMap::new(),
            numbers: 0,
            submits: Vec::new(),
        };
        edge.read_heads(wires.partitions.all().collect(), wires);
        wires.wake(me, CHECK_MS, NodeInput::EdgeCheck);
        edge
    }

    /// From the bus.
    pub fn on_bus(
        &mut self,
        message: &BusMessage,
        view: &hubbub_cluster::OwnersView,
        wires: &mut Wires,
    ) {
        match message {
            BusMessage::Events(payload) => {
                let Ok(batch) = EvBatch::decode_shared(payload) else {
                    return;
                };
                let partition = batch.partition;
                let now = wires.now_ms;
                let Some(feed) = self.feeds.get_mut(usize::from(partition.get())) else {
                    return;
                };
                let effects = feed.on_batch(batch, now);
                wires
                    .counters
                    .add("doubled events dropped by feeds", feed.take_duplicates());
                self.run(partition, effects, wires);
            }
            BusMessage::Heads(payload) => {
                let Ok(broadcast) = HeadBroadcast::decode(payload) else {
                    return;
                };
                for head in &broadcast.heads {
                    view.learn(head.partition, head.epoch, Some(broadcast.incarnation));
                    if let Some(heard) = self.heard_ms.get_mut(usize::from(head.partition.get())) {
                        *heard = wires.now_ms;
                    }
                    self.on_head(*head, Some(broadcast.incarnation), wires);
                }
            }
            BusMessage::Hint(_) => {}
        }
    }

    fn on_head(
        &mut self,
        head: PartitionHead,
        owner: Option<hubbub_domain::ids::Incarnation>,
        wires: &mut Wires,
    ) {
        if let Some(feed) = self.feeds.get_mut(usize::from(head.partition.get())) {
            let effects = feed.on_head(head, owner, wires.now_ms);
            self.run(head.partition, effects, wires);
        }
    }

    /// The heads of the log.
    pub fn on_heads(&mut self, heads: Option<Vec<PartitionHead>>, wires: &mut Wires) {
        self.reading_heads = false;
        for head in heads.into_iter().flatten() {
            let Some(feed) = self.feeds.get_mut(usize::from(head.partition.get())) else {
                continue;
            };
            if feed.is_booted() {
                self.on_head(head, None, wires);
            } else {
                let effects = feed.boot(head, wires.now_ms);
                self.run(head.partition, effects, wires);
            }
        }
        // After a lost lineage again: what a feed skips while it begins anew, nobody may have been seated for.
        self.serves = self.feeds.iter().all(PartitionFeed::is_booted);
    }

    /// What a range read brought.
    pub fn on_range(
        &mut self,
        partition: PartitionId,
        after: Offset,
        fetched: Fetched,
        wires: &mut Wires,
    ) {
        let now = wires.now_ms;
        let Some(feed) = self.feeds.get_mut(usize::from(partition.get())) else {
            return;
        };
        let effects = feed.on_range(after, fetched, now);
        match feed.take_healed().map(|healed| healed.loss) {
            Some(Loss::Gap) => wires.counters.one("gaps healed"),
            Some(Loss::Last) => wires.counters.one("last messages healed"),
            None => {}
        }
        self.run(partition, effects, wires);
    }

    /// A feed may want the time.
    pub fn on_time(&mut self, wires: &mut Wires) {
        let now = wires.now_ms;
        for partition in wires.partitions.all() {
            let Some(feed) = self.feeds.get_mut(usize::from(partition.get())) else {
                continue;
            };
            if feed.deadline_ms().is_some_and(|due| due <= now) {
                let effects = feed.on_time(now);
                self.run(partition, effects, wires);
            }
        }
    }

    /// Once a second: what is not heard of is looked up.
    pub fn check(&mut self, wires: &mut Wires) {
        wires.wake(self.me, CHECK_MS, NodeInput::EdgeCheck);
        let now = wires.now_ms;
        let down = wires.weather.is_bus_cut(self.me.node);
        let feeds = self.feeds.iter().zip(&self.heard_ms);
        let silent: Vec<PartitionId> = wires
            .partitions
            .all()
            .zip(feeds)
            .filter(|(_, (feed, heard))| {
                down || now.saturating_sub(**heard) > BLIND_AFTER_MS || !feed.is_booted()
            })
            .map(|(partition, _)| partition)
            .collect();
        if !silent.is_empty() {
            self.read_heads(silent, wires);
        }
    }

    /// Whether every feed has given out all that it has heard of.
    pub fn delivered(&self, partition: PartitionId) -> Option<Offset> {
        self.feeds
            .get(usize::from(partition.get()))
            .and_then(PartitionFeed::delivered)
    }

    fn read_heads(&mut self, partitions: Vec<PartitionId>, wires: &mut Wires) {
        if !std::mem::replace(&mut self.reading_heads, true) {
            let ask = EdgeAsk::Heads(partitions);
            wires.ask(self.me, Ask::Edge(ask));
        }
    }

    fn run(&mut self, partition: PartitionId, effects: Vec<Effect>, wires: &mut Wires) {
        for effect in effects {
            match effect {
                Effect::Deliver(entries) => {
                    for entry in entries {
                        self.arrive(entry, wires);
                    }
                }
                Effect::Fetch { after, to: _, from } => {
                    wires.counters.one("gaps and lost heads noticed");
                    match from {
                        // The ring is another way to the same events; here it never has them.
                        Source::Ring(_) => {
                            let answer = EdgeAnswer::Range {
                                partition,
                                after,
                                fetched: Fetched::Ring(None),
                            };
                            wires.wake(self.me, 3, answer.into());
                        }
                        Source::Log => {
                            let ask = EdgeAsk::Range { partition, after };
                            wires.ask(self.me, Ask::Edge(ask));
                        }
                    }
                }
                Effect::LineageLost => self.lose_lineage(partition, wires),
            }
        }
        let deadline = self
            .feeds
            .get(usize::from(partition.get()))
            .and_then(PartitionFeed::deadline_ms);
        if let Some(due) = deadline {
            let delay = due.saturating_sub(wires.now_ms);
            wires.wake(self.me, delay, NodeInput::FeedTimer);
        }
    }

    fn arrive(&mut self, entry: EvEntry, wires: &mut Wires) {
        let Ok(recorded) = entry.row.decode() else {
            wires.counters.one("events that an edge could not read");
            return;
        };
        let conversation = recorded.conversation;
        let arrival = Arrival {
            offset: entry.row.offset,
            epoch: entry.row.epoch,
            recorded,
            recipients: entry.recipients,
        };
        match self.rooms.admit(arrival) {
            Admission::Ready(arrival) => self.give(&arrival, wires),
            Admission::Waits => {}
            Admission::Load(before) => self.load_members(conversation, before, wires),
        }
    }

    fn load_members(&self, conversation: ConversationId, before: Seq, wires: &mut Wires) {
        wires.counters.one("members of a room read by an edge");
        let ask = EdgeAsk::Members {
            conversation,
            before,
        };
        wires.ask(self.me, Ask::Edge(ask));
    }

    /// The members just before an event; `None`: they cannot be told.
    pub fn on_members(
        &mut self,
        conversation: ConversationId,
        members: Option<(Vec<UserId>, Seq)>,
        wires: &mut Wires,
    ) {
        let Some((members, as_of)) = members else {
            return self.rooms.forget(conversation);
        };
        match self.rooms.loaded(conversation, members, as_of) {
            Loaded::Nothing => {}
            Loaded::Released(arrivals, _) => {
                for arrival in arrivals {
                    self.give(&arrival, wires);
                }
            }
            Loaded::Again(before) => self.load_members(conversation, before, wires),
            Loaded::Skipped(skipped) => {
                let users: BTreeSet<UserId> = skipped
                    .before
                    .iter()
                    .chain(&skipped.after)
                    .copied()
                    .collect();
                for user in users {
                    for socket in self.seats.get(&user).cloned().unwrap_or_default() {
                        self.close(socket, close::DEGRADED, wires);
                    }
                }
                for arrival in skipped.arrivals {
                    self.give(&arrival, wires);
                }
            }
        }
    }

    fn give(&mut self, arrival: &Arrival, wires: &mut Wires) {
        let recorded = &arrival.recorded;
        let conversation = recorded.conversation;
        let mut encoded: Option<Frame> = None;
        let mut touched = Vec::new();
        let audience = self.rooms.audience(arrival).into_owned();
        for user in audience {
            let Some(seats) = self.seats.get(&user) else {
                continue;
            };
            let text = encoded.get_or_insert_with(|| {
                frame(&ServerFrame::Event(raw_event(arrival.epoch, recorded)))
            });
            let enters = enters(&recorded.event, user);
            let leaves = leaves(&recorded.event, user);
            let mut joined: Vec<(u64, Ticket)> = Vec::new();
            for number in seats {
                let Some(socket) = self.sockets.get_mut(number) else {
                    continue;
                };
                if enters {
                    joined.push((*number, socket.queue.hold(conversation)));
                }
                socket.queue.push_event(EventItem {
                    conversation,
                    epoch: arrival.epoch,
                    seq: recorded.seq,
                    frame: text.clone(),
                });
                if let Some(reason) = leaves {
                    let removed = ServerFrame::Removed(Removed {
                        conversation_id: conversation.uuid(),
                        reason: reason.into(),
                    });
                    socket
                        .queue
                        .push_control(conversation, recorded.seq, frame(&removed));
                }
                touched.push(*number);
            }
            if !joined.is_empty() {
                let ask = EdgeAsk::Summary {
                    conversation,
                    user,
                    seq: recorded.seq,
                    sockets: joined,
                };
                wires.ask(self.me, Ask::Edge(ask));
            }
        }
        self.rooms.apply(arrival);
        for socket in touched {
            self.pump(socket, wires);
        }
    }

    /// The summary for sockets of a new member.
    pub fn on_summary(
        &mut self,
        conversation: ConversationId,
        seq: Seq,
        sockets: Vec<(u64, Ticket)>,
        summary: Option<&Frame>,
        wires: &mut Wires,
    ) {
        for (number, ticket) in sockets {
            if let Some(socket) = self.sockets.get_mut(&number) {
                match summary {
                    Some(text) => socket.queue.fulfil(conversation, ticket, seq, text.clone()),
                    None => socket.queue.release(conversation, ticket, None),
                }
            }
            self.pump(number, wires);
        }
    }

    fn lose_lineage(&mut self, partition: PartitionId, wires: &mut Wires) {
        wires.counters.one("lost lineages noticed");
        self.serves = false;
        self.rooms.forget_all();
        for socket in self.sockets.keys().copied().collect::<Vec<_>>() {
            self.close(socket, close::DEGRADED, wires);
        }
        self.read_heads(vec![partition], wires);
    }

    /// Every socket is sent elsewhere.
    pub fn close_all(&mut self, code: u16, wires: &mut Wires) {
        for socket in self.sockets.keys().copied().collect::<Vec<_>>() {
            self.close(socket, code, wires);
        }
    }

    fn new_number(&mut self) -> u64 {
        self.numbers = self.numbers.saturating_add(1);
        self.numbers
    }

    fn is_current(
        &self,
        conversation: ConversationId,
        place: (Epoch, Seq),
        partitions: PartitionCount,
    ) -> bool {
        let partition = partitions.partition_of(conversation);
        self.rooms.head(conversation) == Some(place)
            && self
                .feeds
                .get(usize::from(partition.get()))
                .is_some_and(PartitionFeed::is_at_head)
    }
}

/// Whether `user` becomes a member by this event.
fn enters(event: &Event, user: UserId) -> bool {
    match event {
        Event::ConversationCreated { members, .. } => {
            members.iter().any(|(member, _)| *member == user)
        }
        Event::MemberAdded { user: added, .. } => *added == user,
        Event::MemberRemoved { .. } | Event::RoleChanged { .. } | Event::MessageSent { .. } => {
            false
        }
    }
}

/// Why `user` is no longer a member after this event.
fn leaves(event: &Event, user: UserId) -> Option<RemovalReason> {
    match event {
        Event::MemberRemoved {
            user: removed,
            reason,
        } if *removed == user => Some(*reason),
        Event::MemberRemoved { .. }
        | Event::ConversationCreated { .. }
        | Event::MemberAdded { .. }
        | Event::RoleChanged { .. }
        | Event::MessageSent { .. } => None,
    }
}

//! The partitions of one process around their cores, as `actors/src/partition/actor.rs` and `actors/src/host.rs` run them.
//!
//! Actors, partitions, lanes and publishers have a mailbox each. Which of them goes on next is drawn: within a mailbox there is an
//! order, between mailboxes there is none.

mod log;

use std::collections::{BTreeMap, VecDeque};

use hubbub_actors::sim::{
    AfterCrash, Decided, Failure, MarkerMove, Marks, NoPlace, PartitionCore, Phase, Report,
    Residents, Round, Route, TakeBack, Told,
};
use hubbub_cluster::{HostEvent, PartitionSignal};
use hubbub_domain::conversation::Rejection;
use hubbub_domain::ids::ConversationId;
use hubbub_domain::position::{Epoch, Offset, PartitionId};
use hubbub_event_log::Refusal;
use hubbub_wire::bus::{
    CommandRequest, EV_BATCH_BYTES_MAX, EvBatch, OwnerReply, OwnerRequest, PartitionHead,
};

use crate::node::actor::{Actor, ActorMail, Request, Said, unavailable};
use crate::node::lane::{Lane, LaneMail};
use crate::wires::{ActorKey, BusMessage, NodeInput, ReplyTo, To, Wires};

/// Lanes of a process.
const LANES: u16 = 2;
/// How long a hand-over waits for what is in flight, in milliseconds.
const DRAIN_MS: u64 = 2_000;

type Handle = (ConversationId, u64);

/// Every partition that a process serves.
pub struct Host {
    me: To,
    clock_offset_ms: i64,
    served: BTreeMap<PartitionId, Served>,
    lanes: Vec<Lane>,
    mail: BTreeMap<Key, VecDeque<Mail>>,
    births: u64,
    /// For the ownership loop.
    pub signals: Vec<HostEvent>,
    /// For whoever asked.
    pub replies: Vec<(ReplyTo, OwnerReply)>,
    /// Hand-overs that have come to an end, and whether a clean one.
    pub drained: Vec<(PartitionId, bool)>,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "as many ways to be on the way out as the product's shell has"
)]
struct Served {
    epoch: Epoch,
    core: PartitionCore,
    residents: Residents<Handle, Request>,
    actors: BTreeMap<u64, Actor>,
    marks: Marks<ReplyTo>,
    accepting: bool,
    answers: bool,
    draining: bool,
    finishing: bool,
    under_way: u64,
    published: Offset,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Key {
    Lane(u16),
    Partition(PartitionId),
    Actor(PartitionId, u64),
    Publisher(PartitionId),
}

enum Mail {
    Lane(LaneMail),
    Partition(PartitionMail),
    Actor(ActorMail),
    Publish(EvBatch),
}

enum PartitionMail {
    Request(Request),
    Decided(Round, Box<Decided>),
    Marker(MarkerMove, Option<ReplyTo>),
    Left(ConversationId),
    Stays(ConversationId),
    Failed(ConversationId, bool),
    Lane(Epoch, Report),
    Tick,
    Finish,
}

impl Host {
    /// Serves nothing yet.
    pub fn new(me: To, clock_offset_ms: i64, wires: &mut Wires) -> Self {
        Self {
            me,
            clock_offset_ms,
            served: BTreeMap::new(),
            lanes: (0..LANES)
                .map(|number| Lane::new(me, number, wires))
                .collect(),
            mail: BTreeMap::new(),
            births: 0,
            signals: Vec::new(),
            replies: Vec::new(),
            drained: Vec::new(),
        }
    }

    /// A request of the router or the bus.
    pub fn ask(&mut self, request: CommandRequest, from: ReplyTo, wires: &Wires) {
        let wrong = |hint| OwnerReply::WrongOwner { hint };
        let Some(served) = self.served.get_mut(&request.partition) else {
            return self.replies.push((from, wrong(None)));
        };
        if served.epoch != request.epoch {
            let hint = Some((self.me.incarnation(), served.epoch));
            return self.replies.push((from, wrong(hint)));
        }
        if request.remaining_ms == 0 {
            return self.replies.push((from, unavailable()));
        }
        if !served.accepting {
            return self.replies.push((from, wrong(None)));
        }
        served.under_way = served.under_way.saturating_add(1);
        let conversation = match &request.request {
            OwnerRequest::Command(command) => command.conversation,
            OwnerRequest::Mark(mark) => mark.conversation,
        };
        let mail = PartitionMail::Request(Request {
            conversation,
            want: request.request,
            retry: request.retry,
            deadline_ms: wires.now_ms.saturating_add(u64::from(request.remaining_ms)),
            from,
        });
        self.post(Key::Partition(request.partition), Mail::Partition(mail));
    }

    /// Begins to serve a partition.
    pub fn serve(&mut self, partition: PartitionId, epoch: Epoch, head: Offset, wires: &mut Wires) {
        wires.trace.mix(head.get());
        self.stop(partition);
        let mut core = PartitionCore::new(partition, epoch, head);
        core.serve();
        self.served.insert(
            partition,
            Served {
                epoch,
                core,
                residents: Residents::default(),
                actors: BTreeMap::new(),
                marks: Marks::new(partition),
                accepting: true,
                answers: true,
                draining: false,
                finishing: false,
                under_way: 0,
                published: head,
            },
        );
        self.post(
            lane_of(partition),
            Mail::Lane(LaneMail::Open(partition, epoch)),
        );
    }

    /// Ends serving at once.
    pub fn stop(&mut self, partition: PartitionId) {
        self.leave(partition, Phase::Stopped);
        if self
            .served
            .remove(&partition)
            .is_some_and(|served| served.draining)
        {
            self.drained.push((partition, false));
        }
        let keys: Vec<Key> = self
            .mail
            .keys()
            .copied()
            .filter(|key| match key {
                Key::Partition(p) | Key::Actor(p, _) | Key::Publisher(p) => *p == partition,
                Key::Lane(_) => false,
            })
            .collect();
        for key in keys {
            for mail in self.mail.remove(&key).into_iter().flatten() {
                self.return_to_sender(mail);
            }
        }
    }

    /// Ends serving in order.
    pub fn drain(&mut self, partition: PartitionId, wires: &mut Wires) {
        let Some(served) = self.served.get_mut(&partition) else {
            self.drained.push((partition, true));
            return;
        };
        served.accepting = false;
        served.draining = true;
        let epoch = served.epoch;
        let deadline = NodeInput::DrainDeadline { partition, epoch };
        wires.wake(self.me, DRAIN_MS, deadline);
        self.finish_when_idle(partition);
    }

    /// A hand-over has had its time.
    pub fn drain_deadline(&mut self, partition: PartitionId, epoch: Epoch) {
        if self
            .served
            .get(&partition)
            .is_some_and(|served| served.epoch == epoch && served.draining)
        {
            self.stop(partition);
        }
    }

    /// The host's tick: markers are written, conversations leave memory now and then.
    pub fn tick(&mut self, wires: &mut Wires) {
        let partitions: Vec<PartitionId> = self.served.keys().copied().collect();
        for partition in partitions {
            self.post(
                Key::Partition(partition),
                Mail::Partition(PartitionMail::Tick),
            );
            if wires.random.chance(150)
                && let Some(served) = self.served.get_mut(&partition)
                && let Some(oldest) = served.residents.dismiss_oldest()
            {
                wires.counters.one("conversations passivated");
                self.tell(partition, oldest, ActorMail::Leave);
            }
        }
    }

    /// Where each partition served here stands.
    pub fn heads(&self) -> Vec<PartitionHead> {
        self.served
            .iter()
            .filter(|(_, served)| served.answers)
            .map(|(partition, served)| PartitionHead {
                partition: *partition,
                epoch: served.epoch,
                head: served.published,
            })
            .collect()
    }

    /// Whether an append of this partition may be on its way.
    pub fn has_in_flight(&self, partition: PartitionId) -> bool {
        self.lanes
            .iter()
            .any(|lane| lane.epoch(partition).is_some() && lane.is_appending())
    }

    /// The lane of this number, with what it has to tell afterwards.
    pub fn with_lane(&mut self, number: u16, act: impl FnOnce(&mut Lane) -> Vec<Told>) {
        if let Some(lane) = self.lanes.get_mut(usize::from(number)) {
            let told = act(lane);
            self.deliver(told);
        }
    }

    /// Something for an actor came from outside.
    pub fn to_actor(&mut self, key: ActorKey, mail: ActorMail) {
        let is_there = self.served.get(&key.partition).is_some_and(|served| {
            served.epoch == key.epoch && served.actors.contains_key(&key.birth)
        });
        if is_there {
            self.post(Key::Actor(key.partition, key.birth), Mail::Actor(mail));
        }
    }

    /// Everyone with mail goes on until nobody has any. `false` when the process was killed meanwhile.
    pub fn run(&mut self, wires: &mut Wires) -> bool {
        loop {
            let index = wires.random.index(self.mail.len());
            let Some(key) = self.mail.keys().nth(index).copied() else {
                return true;
            };
            if let Some(left) = wires.armed.get_mut(&self.me.node) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    wires.armed.remove(&self.me.node);
                    wires.counters.one("kills between two steps");
                    return false;
                }
            }
            let Some(queue) = self.mail.get_mut(&key) else {
                continue;
            };
            let mail = queue.pop_front();
            if queue.is_empty() {
                self.mail.remove(&key);
            }
            if let Some(mail) = mail {
                self.step(key, mail, wires);
            }
        }
    }

    fn step(&mut self, key: Key, mail: Mail, wires: &mut Wires) {
        match (key, mail) {
            (Key::Lane(number), Mail::Lane(mail)) => {
                self.with_lane(number, |lane| lane.take(mail, wires));
            }
            (Key::Partition(partition), Mail::Partition(mail)) => {
                self.partition(partition, mail, wires);
                self.finish_if_done(partition);
            }
            (Key::Actor(partition, birth), Mail::Actor(mail)) => {
                self.actor(partition, birth, mail, wires);
            }
            (Key::Publisher(partition), Mail::Publish(batch)) => {
                self.publish(partition, batch, wires);
            }
            // Nobody puts a mail into another's box.
            (_, mail) => self.return_to_sender(mail),
        }
    }

    fn partition(&mut self, partition: PartitionId, mail: PartitionMail, wires: &mut Wires) {
        match mail {
            PartitionMail::Request(request) => self.route(partition, request, wires),
            PartitionMail::Decided(round, decided) => {
                self.append(partition, round, *decided);
            }
            PartitionMail::Marker(moved, caller) => self.mark(partition, moved, caller),
            PartitionMail::Left(conversation) => {
                let parked = self
                    .served
                    .get_mut(&partition)
                    .map(|served| served.residents.left(conversation));
                self.restart(partition, conversation, parked.unwrap_or_default());
            }
            PartitionMail::Stays(conversation) => {
                let Some(served) = self.served.get_mut(&partition) else {
                    return;
                };
                let finishing = served.finishing;
                if let Some((actor, parked)) = served.residents.stays(conversation) {
                    for request in parked {
                        self.tell(partition, actor, ActorMail::Turn(request));
                    }
                }
                if finishing {
                    self.dismiss_everyone(partition);
                }
            }
            PartitionMail::Failed(conversation, for_good) => {
                self.failed(partition, conversation, for_good, wires);
            }
            PartitionMail::Lane(epoch, report) => {
                if self
                    .served
                    .get(&partition)
                    .is_some_and(|served| served.epoch == epoch)
                {
                    self.reported(partition, report, wires);
                }
            }
            PartitionMail::Tick => self.write_markers(partition),
            PartitionMail::Finish => {
                if let Some(served) = self.served.get_mut(&partition) {
                    served.core.hand_off();
                    served.finishing = true;
                }
                self.write_markers(partition);
                self.dismiss_everyone(partition);
            }
        }
    }

    // === requests ===

    fn route(&mut self, partition: PartitionId, request: Request, wires: &Wires) {
        let now = wires.instant(wires.now_ms);
        let Some(served) = self.served.get_mut(&partition) else {
            return self.drop_caller(request.from);
        };
        if !served.answers {
            return self.drop_caller(request.from);
        }
        let conversation = request.conversation;
        match served.residents.route(conversation, request, now) {
            Route::Live(actor, request) => self.tell(partition, actor, ActorMail::Turn(request)),
            Route::Absent(request) => {
                self.restart(partition, conversation, VecDeque::from([request]));
            }
            Route::Parked => {}
            Route::Quarantined(request, _) => {
                self.reply(partition, request.from, unavailable());
            }
            Route::ReadOnly(request) => {
                let reply = read_only(request.retry);
                self.reply(partition, request.from, reply);
            }
        }
    }

    fn restart(
        &mut self,
        partition: PartitionId,
        conversation: ConversationId,
        requests: VecDeque<Request>,
    ) {
        if requests.is_empty() {
            return;
        }
        let Some(served) = self.served.get_mut(&partition) else {
            for request in requests {
                self.drop_caller(request.from);
            }
            return;
        };
        if served.core.is_in_flight(conversation) {
            return served.residents.settle(conversation, requests);
        }
        self.births = self.births.saturating_add(1);
        let key = ActorKey {
            partition,
            epoch: served.epoch,
            conversation,
            birth: self.births,
        };
        let actor = Actor::new(self.me, key, served.core.round());
        served.actors.insert(key.birth, actor);
        served
            .residents
            .started(conversation, (conversation, key.birth));
        for request in requests {
            self.tell(
                partition,
                (conversation, key.birth),
                ActorMail::Turn(request),
            );
        }
    }

    fn failed(
        &mut self,
        partition: PartitionId,
        conversation: ConversationId,
        for_good: bool,
        wires: &mut Wires,
    ) {
        let Some(served) = self.served.get_mut(&partition) else {
            return;
        };
        let handle = served.residents.handle(conversation).copied();
        let in_flight = served.core.is_in_flight(conversation);
        let failure = if for_good {
            Failure::Unreadable
        } else {
            Failure::Crashed
        };
        let now = wires.instant(wires.now_ms);
        let after = served
            .residents
            .crashed(conversation, in_flight, failure, now);
        if let Some(handle) = handle {
            self.tell(partition, handle, ActorMail::Die);
        }
        match after {
            AfterCrash::Restart(parked) => self.restart(partition, conversation, parked),
            AfterCrash::Settle => {}
            AfterCrash::Quarantine(parked, _) => {
                wires.counters.one("conversations in quarantine");
                for request in parked {
                    self.reply(partition, request.from, unavailable());
                }
            }
            AfterCrash::ReadOnly(parked) => {
                wires.counters.one("conversations read-only");
                for request in parked {
                    let reply = read_only(request.retry);
                    self.reply(partition, request.from, reply);
                }
            }
        }
    }

    fn dismiss_everyone(&mut self, partition: PartitionId) {
        loop {
            let Some(oldest) = self
                .served
                .get_mut(&partition)
                .and_then(|served| served.residents.dismiss_oldest())
            else {
                return;
            };
            self.tell(partition, oldest, ActorMail::Leave);
        }
    }

    fn actor(&mut self, partition: PartitionId, birth: u64, mail: ActorMail, wires: &mut Wires) {
        let mut said = Vec::new();
        let Some(served) = self.served.get_mut(&partition) else {
            return self.return_to_sender(Mail::Actor(mail));
        };
        let answers = served.answers;
        let Some(actor) = served.actors.get_mut(&birth) else {
            return self.return_to_sender(Mail::Actor(mail));
        };
        let conversation = actor.key().conversation;
        let now = wires.clocks(self.clock_offset_ms);
        let stays = actor.handle(mail, answers, now, wires, &mut said);
        if !stays && let Some(gone) = served.actors.remove(&birth) {
            said.extend(gone.callers().map(Said::Dropped));
        }
        for said in said {
            let mail = match said {
                Said::Decided(round, decided) => PartitionMail::Decided(round, decided),
                Said::Marker(moved, caller) => PartitionMail::Marker(moved, caller),
                Said::Left => PartitionMail::Left(conversation),
                Said::Stays => PartitionMail::Stays(conversation),
                Said::Failed { for_good } => PartitionMail::Failed(conversation, for_good),
                Said::Reply(from, reply) => {
                    self.reply(partition, from, reply);
                    continue;
                }
                Said::Dropped(from) => {
                    self.reply(partition, from, OwnerReply::Unknown);
                    continue;
                }
            };
            self.post(Key::Partition(partition), Mail::Partition(mail));
        }
    }
    fn reply(&mut self, partition: PartitionId, to: ReplyTo, reply: OwnerReply) {
        if let Some(served) = self.served.get_mut(&partition) {
            served.under_way = served.under_way.saturating_sub(1);
        }
        self.replies.push((to, reply));
        self.finish_when_idle(partition);
    }

    fn drop_caller(&mut self, caller: ReplyTo) {
        self.replies.push((caller, OwnerReply::Unknown));
    }

    fn return_to_sender(&mut self, mail: Mail) {
        match mail {
            Mail::Partition(PartitionMail::Request(request))
            | Mail::Actor(ActorMail::Turn(request)) => self.drop_caller(request.from),
            Mail::Partition(PartitionMail::Marker(_, Some(caller))) => self.drop_caller(caller),
            Mail::Partition(_) | Mail::Actor(_) | Mail::Lane(_) | Mail::Publish(_) => {}
        }
    }

    fn tell(&mut self, partition: PartitionId, (_, birth): Handle, mail: ActorMail) {
        self.post(Key::Actor(partition, birth), Mail::Actor(mail));
    }

    fn post(&mut self, key: Key, mail: Mail) {
        self.mail.entry(key).or_default().push_back(mail);
    }
}

fn lane_of(partition: PartitionId) -> Key {
    Key::Lane(partition.get().checked_rem(LANES).unwrap_or(0))
}

/// A repetition is never rejected for good: what it repeats may be stored, and only the log could say so.
fn read_only(retry: bool) -> OwnerReply {
    if retry {
        unavailable()
    } else {
        OwnerReply::Rejected(Rejection::Conflict {
            reason: "unreadable",
        })
    }
}

/// Everyone who waits for a marker write.
fn waiting(mut marks: Marks<ReplyTo>) -> Vec<ReplyTo> {
    let mut callers = marks.failed();
    loop {
        if marks.next_write().is_empty() {
            return callers;
        }
        callers.extend(marks.stored().1);
    }
}

//! What lies between the parts of a run: time, delays, losses, and the words that travel.
//!
//! Parts never call one another. They plan messages here; the world delivers them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hubbub_actors::sim::{Drawn, LoadError, Loaded, Now, Ticket, Unread};
use hubbub_cluster::ownership::Move;
use hubbub_domain::ids::{CommandId, ConversationId, Incarnation, UserId};
use hubbub_domain::position::{Epoch, PartitionCount, PartitionId};
use hubbub_domain::time::Timestamp;
use hubbub_event_log::{
    Acquired, AppendBatch, AppendOutcome, Claim, Marker, MarkerUpdate, NodeRow, NodeState,
    PartitionRow, SnapshotRow,
};
use hubbub_wire::stored::EventRow;
use uuid::Uuid;

use crate::client::ClientInput;
use crate::counters::Counters;
use crate::database::{DAWN_MILLIS, Database};
use crate::node::edge::{EdgeAnswer, EdgeAsk};
use crate::node::router::Attempt;
use crate::random::Random;
use crate::recorder::Recorder;
use crate::schedule::Schedule;
use crate::trace::Trace;
use crate::weather::{Act, Weather};

/// One life of one node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct To {
    /// Which node.
    pub node: usize,
    /// The how-manieth life.
    pub life: u64,
}

impl To {
    /// Its incarnation says the same.
    pub fn incarnation(self) -> Incarnation {
        let node = u64::try_from(self.node).unwrap_or(u64::MAX);
        Incarnation::from_uuid(Uuid::from_u64_pair(node.saturating_add(1), self.life))
    }

    /// Whose incarnation this is.
    pub fn of(incarnation: Incarnation) -> Self {
        let (node, life) = incarnation.uuid().as_u64_pair();
        Self {
            node: usize::try_from(node.saturating_sub(1)).unwrap_or(usize::MAX),
            life,
        }
    }
}

/// One conversation's actor of one ownership; `birth` tells it from an earlier one of the same conversation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ActorKey {
    /// Its partition.
    pub partition: PartitionId,
    /// Under which epoch.
    pub epoch: Epoch,
    /// Which conversation.
    pub conversation: ConversationId,
    /// Running number.
    pub birth: u64,
}

/// Who waits for an owner's reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyTo {
    /// The node that asked.
    pub to: To,
    /// Its route.
    pub route: u64,
    /// Its attempt.
    pub attempt: u64,
}

/// What comes next.
pub enum Event {
    /// To a life of a node.
    Node(To, NodeInput),
    /// From the bus, to whoever lives there then.
    Bus(usize, BusMessage),
    /// To a client.
    Client(usize, ClientInput),
    /// A request reaches the database.
    Store(To, Ask),
    /// Something goes wrong, or is made good.
    Act(Act),
}

/// A message that everyone hears.
#[derive(Clone, Debug)]
pub enum BusMessage {
    /// `hub.ev.<p>`.
    Events(Bytes),
    /// `hub.head`.
    Heads(Bytes),
    /// `hub.own`: changes of owners.
    Hint(Bytes),
}

/// What reaches a node.
pub enum NodeInput {
    /// Time for a heartbeat.
    BeatTimer,
    /// A quarter of a second has passed for the ownership loop.
    OwnerTick,
    /// An earlier look at the rows may be due.
    OwnerLook,
    /// Time to tell the heads.
    HeadsTimer,
    /// The host's tick.
    Tick,
    /// The edge's look at what it does not hear of.
    EdgeCheck,
    /// A feed may want the time.
    FeedTimer,
    /// Time to project.
    ProjectTimer,
    /// The process ends in order.
    Drain,
    /// An append or marker write has had its time.
    LaneDeadline {
        /// Which lane.
        lane: u16,
        /// Which connection.
        connection: u64,
        /// Which statement of it.
        statement: u64,
    },
    /// Time to open a lane again.
    LaneReopen {
        /// Which lane.
        lane: u16,
    },
    /// Hand-over has had its time.
    DrainDeadline {
        /// Of which partition.
        partition: PartitionId,
        /// Under which epoch.
        epoch: Epoch,
    },
    /// The database's answer.
    Answer(Box<Answer>),
    /// From the bus.
    Bus(BusMessage),
    /// `hub.cmd.<me>`.
    Command {
        /// Who asks.
        from: ReplyTo,
        /// The request.
        payload: Bytes,
    },
    /// The end of an attempt.
    Attempt {
        /// Of which route.
        route: u64,
        /// Which attempt.
        attempt: u64,
        /// How.
        end: Attempt,
    },
    /// A route looks again.
    RouteLook {
        /// Which.
        route: u64,
        /// After which attempt.
        attempt: u64,
    },
    /// A socket opens.
    Connect {
        /// The client.
        client: usize,
        /// Its socket.
        socket: u64,
    },
    /// A text on a socket.
    Text {
        /// Which.
        socket: u64,
        /// What.
        text: String,
    },
    /// The client has taken a write.
    Taken {
        /// On which socket.
        socket: u64,
    },
    /// The socket is gone.
    Gone {
        /// Which.
        socket: u64,
    },
    /// Marks of a socket are due.
    MarksDue {
        /// Which.
        socket: u64,
    },
    /// A catch-up goes on.
    CatchUpGoesOn {
        /// Which.
        job: u64,
    },
    /// A REST request.
    Rest {
        /// The client.
        client: usize,
        /// Its number for the request.
        op: u64,
        /// Who.
        user: UserId,
        /// What.
        request: RestRequest,
    },
}

/// What is asked over REST.
#[derive(Clone, Debug)]
pub enum RestRequest {
    /// A command.
    Command {
        /// What.
        command: hubbub_domain::conversation::Command,
    },
    /// The own inbox.
    Inbox,
    /// The newest page.
    History(ConversationId),
    /// `GET …/events`.
    Events {
        /// Of which conversation.
        conversation: ConversationId,
        /// From which seq on.
        from_seq: u64,
        /// How many.
        limit: u32,
    },
    /// A marker, stored before it is answered.
    Mark {
        /// Where.
        conversation: ConversationId,
        /// Up to which message.
        read_no: u64,
    },
}

/// A question to the database.
pub enum Ask {
    /// A new connection.
    OpenLane {
        /// Of which lane.
        lane: u16,
        /// Which one.
        connection: u64,
    },
    /// The append statement.
    Append {
        /// Of which lane.
        lane: u16,
        /// On which connection.
        connection: u64,
        /// The batch.
        batch: AppendBatch,
    },
    /// The marker statement.
    WriteMarkers {
        /// Of which lane.
        lane: u16,
        /// On which connection.
        connection: u64,
        /// Under these epochs.
        fence: Vec<(PartitionId, Epoch)>,
        /// These.
        markers: Vec<MarkerUpdate>,
    },
    /// Which ids of a refused batch are in the log?
    LookUp {
        /// Of which lane.
        lane: u16,
        /// The batch, to come back with the answer.
        drawn: Drawn,
    },
    /// Heartbeat.
    Beat {
        /// Says so.
        state: NodeState,
        /// Hears the bus.
        nats_ok: bool,
    },
    /// Heartbeat with news; the regular ones go on beside it.
    BeatOutOfTurn {
        /// Says so.
        state: NodeState,
        /// Hears the bus.
        nats_ok: bool,
    },
    /// Nodes and fence rows.
    Look {
        /// When the question was asked, by the asker's clock.
        seen_at_ms: u64,
    },
    /// The acquire transaction.
    Acquire {
        /// Which.
        claims: Vec<Claim>,
        /// Why.
        reason: &'static str,
    },
    /// Ownership given up.
    Release {
        /// Of these.
        moves: Vec<Move>,
    },
    /// The node is gone for good.
    Retire,
    /// A conversation's state.
    Load(ActorKey),
    /// A command id.
    Probe {
        /// For whom.
        actor: ActorKey,
        /// For which caller.
        ticket: Ticket,
        /// Which id.
        command: CommandId,
    },
    /// A conversation's markers.
    Markers(ActorKey),
    /// A snapshot.
    Save(SnapshotRow),
    /// The edge's.
    Edge(EdgeAsk),
}

/// An answer of the database.
pub enum Answer {
    /// A connection, or none.
    LaneOpen {
        /// Of which lane.
        lane: u16,
        /// Which one.
        connection: u64,
        /// Whether.
        is_open: bool,
    },
    /// How an append ended.
    Appended {
        /// On which lane.
        lane: u16,
        /// On which connection.
        connection: u64,
        /// How.
        outcome: AppendOutcome,
    },
    /// How a marker write ended.
    MarkersWritten {
        /// On which lane.
        lane: u16,
        /// On which connection.
        connection: u64,
        /// How.
        outcome: AppendOutcome,
    },
    /// Which ids were there.
    LookedUp {
        /// On which lane.
        lane: u16,
        /// The batch.
        drawn: Drawn,
        /// What was found.
        found: Result<Vec<EventRow>, Unread>,
    },
    /// The heartbeat: alive, dead, or not got through.
    Beat(Option<bool>),
    /// Nodes and fence rows, as of then.
    Looked {
        /// When it was asked.
        seen_at_ms: u64,
        /// What was seen.
        seen: Option<(Vec<NodeRow>, Vec<PartitionRow>)>,
    },
    /// What was taken; `None`: nobody knows.
    Acquired {
        /// What was wanted.
        claims: Vec<Claim>,
        /// Why.
        reason: &'static str,
        /// What was got.
        taken: Option<Vec<Acquired>>,
    },
    /// Ownership was given up, or nobody knows.
    Released {
        /// Of these.
        moves: Vec<Move>,
        /// Whether for sure.
        is_sure: bool,
    },
    /// Gone for good.
    Retired,
    /// A state.
    Loaded(ActorKey, Result<Box<Loaded>, LoadError>),
    /// A command id.
    Probed {
        /// For whom.
        actor: ActorKey,
        /// For which caller.
        ticket: Ticket,
        /// What was found.
        found: Result<Option<EventRow>, Unread>,
    },
    /// Markers.
    Markers(ActorKey, Result<Vec<Marker>, Unread>),
    /// The edge's.
    Edge(EdgeAnswer),
}

/// What every part of a run can reach.
pub struct Wires {
    /// Simulated milliseconds since the beginning.
    pub now_ms: u64,
    /// Chance.
    pub random: Random,
    /// What comes next.
    pub schedule: Schedule<Event>,
    /// The database, for whoever stands at its door.
    pub database: Database,
    /// How bad it is.
    pub weather: Weather,
    /// What really happened.
    pub counters: Counters,
    /// What is judged.
    pub recorder: Recorder,
    /// What is printed and hashed.
    pub trace: Trace,
    /// How many partitions there are.
    pub partitions: PartitionCount,
    /// Which life each node lives; `None` while it is dead.
    pub lives: Vec<Option<u64>>,
    /// Kills the process of this node after so many more internal steps.
    pub armed: BTreeMap<usize, u32>,
    /// The how-manieth server the database is; a failover leads to the next one.
    pub server: u64,
    /// Which server the connections of the lanes lead to: whose, of which lane, which one.
    pub connections: BTreeMap<(To, u16, u64), u64>,
    origin: Instant,
    sockets: u64,
}

impl Wires {
    /// At time zero.
    pub fn new(
        random: Random,
        weather: Weather,
        trace: Trace,
        partitions: PartitionCount,
        nodes: usize,
    ) -> Self {
        Self {
            now_ms: 0,
            random,
            schedule: Schedule::default(),
            database: Database::new(),
            weather,
            counters: Counters::default(),
            recorder: Recorder::default(),
            trace,
            partitions,
            lives: vec![None; nodes],
            armed: BTreeMap::new(),
            server: 0,
            connections: BTreeMap::new(),
            origin: Instant::now(),
            sockets: 0,
        }
    }

    /// Plans an event.
    pub fn after(&mut self, delay_ms: u64, event: Event) {
        let at = self.now_ms.saturating_add(delay_ms);
        self.schedule.at(at, event);
    }

    /// Plans an input of a node.
    pub fn wake(&mut self, to: To, delay_ms: u64, input: NodeInput) {
        self.after(delay_ms, Event::Node(to, input));
    }

    /// The instant of a simulated time: differences are all that the cores look at.
    pub fn instant(&self, at_ms: u64) -> Instant {
        self.origin + Duration::from_millis(at_ms)
    }

    /// What a clock shows that is off by so much.
    pub fn wall(&self, offset_ms: i64) -> Timestamp {
        let now = i64::try_from(self.now_ms).unwrap_or(i64::MAX);
        Timestamp::from_millis(DAWN_MILLIS.saturating_add(now).saturating_add(offset_ms))
    }

    /// Both clocks of a node.
    pub fn clocks(&self, offset_ms: i64) -> Now {
        Now {
            wall: self.wall(offset_ms),
            instant: self.instant(self.now_ms),
        }
    }

    /// A number that no socket has had.
    pub fn new_socket(&mut self) -> u64 {
        self.sockets = self.sockets.saturating_add(1);
        self.sockets
    }

    /// Sends a question to the database.
    pub fn ask(&mut self, from: To, ask: Ask) {
        let Some(delay) = self.weather.to_store(from.node, &mut self.random) else {
            self.counters.one("requests to the database lost");
            if let Some(answer) = crate::store::lost(ask) {
                let patience = self.random.between(500, 3_000);
                self.wake(from, patience, NodeInput::Answer(Box::new(answer)));
            }
            return;
        };
        self.after(delay, Event::Store(from, ask));
    }

    /// Tells everyone on the bus, as far as the bus carries it.
    pub fn publish(&mut self, from: To, message: &BusMessage) {
        for node in 0..self.lives.len() {
            let fates = self.weather.on_the_bus(from.node, node, &mut self.random);
            if fates.is_empty() && matches!(message, BusMessage::Events(_)) {
                self.counters.one("bus messages lost");
            }
            if fates.len() > 1 {
                self.counters.one("bus messages doubled");
            }
            for delay in fates {
                self.after(delay, Event::Bus(node, message.clone()));
            }
        }
    }
}

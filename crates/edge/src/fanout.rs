//! From the partition streams to the sockets of this node: one task that owns the feeds, the folds of membership and the seats.
//!
//! ```text
//! bus ──▶ feed (order, gaps) ──▶ rooms (who) ──▶ one encoded frame ──▶ outbox of each member's sockets
//! ```
//!
//! The task never waits for a store: reads run as jobs and come back as results. At boot it subscribes, then reads heads, then serves,
//! so that nothing can slip in between; a socket is seated before its user's data are read, for the same reason.
//!
//! Never: a lock across an await, an event by a stale fold, a frame encoded twice.
//!
//! Start reading at [`start`], then `fanout/hub.rs`.

pub(crate) mod accounts;
pub(crate) mod crowd;
pub(crate) mod ephemera;
pub(crate) mod give;
pub(crate) mod hub;
pub(crate) mod jobs;
pub(crate) mod mend;
pub(crate) mod modes;
pub(crate) mod pulse;
pub(crate) mod reads;
pub(crate) mod rooms;
pub(crate) mod seats;
pub(crate) mod sight;
pub(crate) mod streams;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hubbub_accounts::{AccountsError, Identity};
use hubbub_bus::{Bus, SubjectPattern, SubscribeError, Subscription};
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{Epoch, PartitionCount, Seq};
use hubbub_event_log::{LogReader, ReadError};
use hubbub_projections::ReadModels;
use hubbub_telemetry::{Clock, Metrics, OnError, spawn_named};
use hubbub_wire::client::object::Cursor;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::fanout::modes::RoomModes;
use crate::gates::Gates;
use crate::options::Neighbours;
use crate::people::People;
use crate::session::queue::Ticket;
use crate::sessions::Seat;

/// Event batches of all partitions that may wait for the task; more are dropped by the subscription and healed by number.
const EVENTS_QUEUE: usize = 8_192;
/// Other messages that may wait.
const SIGNALS_QUEUE: usize = 2_048;
/// Requests of sockets that may wait; a socket that finds the queue full waits.
const COMMANDS_QUEUE: usize = 1_024;

/// What the fan-out works with.
pub(crate) struct FanOutDeps {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) log: Arc<dyn LogReader>,
    pub(crate) read_models: Arc<dyn ReadModels>,
    pub(crate) identity: Arc<dyn Identity>,
    pub(crate) people: People,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) partitions: PartitionCount,
    pub(crate) sockets_per_user: usize,
    pub(crate) modes: RoomModes,
    pub(crate) neighbours: Arc<dyn Neighbours>,
    pub(crate) gates: Arc<Gates>,
}

/// What the fan-out lets sockets see without asking it.
#[derive(Debug)]
pub(crate) struct Seen {
    /// How many account changes were heard of.
    pub(crate) account_changes: AtomicU64,
    /// Sockets had better go elsewhere.
    pub(crate) turned_away: AtomicBool,
    /// When the task began: its clock.
    pub(crate) started: Instant,
    /// When it last had a turn, in milliseconds of that clock.
    pub(crate) beat_ms: AtomicU64,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            account_changes: AtomicU64::new(0),
            turned_away: AtomicBool::new(false),
            started: Instant::now(),
            beat_ms: AtomicU64::new(0),
        }
    }
}

/// What sockets ask of the fan-out.
#[derive(Debug)]
pub(crate) enum Command {
    /// From now on this socket gets its user's frames.
    Seat(SeatRequest),
    /// It is gone.
    Leave {
        user: UserId,
        seat: crate::sessions::SocketId,
    },
    /// Its user types, or stopped.
    Typing {
        conversation: ConversationId,
        user: UserId,
        on: bool,
    },
    /// An account changed at this node: no need to wait for the bus.
    AccountChanged { user: UserId },
    /// Its screen shows a conversation, or no longer.
    Open {
        user: UserId,
        seat: crate::sessions::SocketId,
        conversation: ConversationId,
        on: bool,
        /// The members may be read for it.
        read: bool,
    },
    /// A catch-up found out where a conversation stands.
    Found {
        conversation: ConversationId,
        epoch: Epoch,
        seq: Seq,
        /// As given with the seat.
        forgotten: u64,
    },
}

/// A socket that wants its seat.
#[derive(Debug)]
pub(crate) struct SeatRequest {
    pub(crate) user: UserId,
    pub(crate) seat: Seat,
    /// [`FanOut::account_changes`] as read before the session was authenticated.
    pub(crate) account_changes: u64,
    pub(crate) cursors: Vec<Cursor>,
    pub(crate) reply: oneshot::Sender<Seating>,
}

/// The answer to a [`SeatRequest`].
#[derive(Debug)]
pub(crate) enum Seating {
    /// Seated. These cursors have to be looked at; live events of their conversations wait behind the tickets.
    Seated {
        catch_ups: Vec<CatchUp>,
        /// For [`Command::Found`].
        forgotten: u64,
    },
    /// The user has as many sockets as allowed.
    TooMany,
    /// This node has begun to send its sockets elsewhere.
    TurnedAway,
}

/// A cursor that may be behind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CatchUp {
    pub(crate) conversation: ConversationId,
    pub(crate) epoch: Epoch,
    pub(crate) seq: Seq,
    pub(crate) ticket: Ticket,
}

/// The task is not running any more: the node is going down.
#[derive(Debug, thiserror::Error)]
#[error("the fan-out has ended")]
pub(crate) struct Ended;

/// The fan-out could not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The bus is not there.
    #[error("listen to the bus")]
    Bus(#[from] SubscribeError),
    /// The log is not there.
    #[error("read the heads of the log")]
    Log(#[from] ReadError),
    /// Accounts are not there.
    #[error("read the account revision")]
    Accounts(#[from] AccountsError),
}

/// The handle to the task.
#[derive(Clone)]
pub(crate) struct FanOut {
    commands: mpsc::Sender<Command>,
    seen: Arc<Seen>,
    metrics: Arc<Metrics>,
}

impl FanOut {
    /// Hands a command over; waits while the queue is full.
    pub(crate) async fn send(&self, command: Command) -> Result<(), Ended> {
        self.commands.send(command).await.map_err(|_unsent| Ended)
    }

    /// Hands over something that may be forgotten under load, and is when half of the queue waits.
    pub(crate) fn send_lossy(&self, command: Command) {
        if self.commands.capacity() < COMMANDS_QUEUE / 2 || self.commands.try_send(command).is_err()
        {
            self.metrics.edge.shed.inc();
        }
    }

    /// Whether the task has had no turn for so long that the whole node must have stood still: what waits for a socket is void.
    pub(crate) fn stands_still(&self) -> bool {
        let now_ms = u64::try_from(self.seen.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        pulse::stands_still(self.seen.beat_ms.load(Ordering::SeqCst), now_ms)
    }

    /// Whether this node hears nothing and others do, or has just woken up: sockets are better off elsewhere.
    pub(crate) fn is_turned_away(&self) -> bool {
        self.seen.turned_away.load(Ordering::SeqCst)
    }

    /// How many account changes this node has heard of: a session that was authenticated before another one may have ended since.
    pub(crate) fn account_changes(&self) -> u64 {
        self.seen.account_changes.load(Ordering::SeqCst)
    }
}

/// What is listened to.
pub(crate) struct Subscriptions {
    events: Subscription,
    heads: Subscription,
    users: Subscription,
    ephemera: Subscription,
}

impl Subscriptions {
    async fn open(bus: &dyn Bus) -> Result<Self, SubscribeError> {
        use hubbub_bus::Subject;
        Ok(Self {
            events: bus
                .subscribe(SubjectPattern::AllEvents, EVENTS_QUEUE)
                .await?,
            heads: bus
                .subscribe(SubjectPattern::One(Subject::Heads), SIGNALS_QUEUE)
                .await?,
            users: bus
                .subscribe(SubjectPattern::One(Subject::User), SIGNALS_QUEUE)
                .await?,
            ephemera: bus
                .subscribe(SubjectPattern::AllEphemeral, SIGNALS_QUEUE)
                .await?,
        })
    }
}

/// Subscribes, reads heads, and runs until `stop`. When this returns, nothing that commits from now on is missed.
pub(crate) async fn start(
    deps: FanOutDeps,
    stop: CancellationToken,
) -> Result<(FanOut, JoinHandle<()>), StartError> {
    let subscriptions = Subscriptions::open(deps.bus.as_ref()).await?;
    let rev = deps.identity.highest_rev().await?;
    let heads = deps.log.heads(&[]).await?;
    let (commands, requests) = mpsc::channel(COMMANDS_QUEUE);
    let seen = Arc::new(Seen::default());
    let metrics = Arc::clone(&deps.metrics);
    let hub = hub::Hub::new(Arc::new(deps), &heads, rev, Arc::clone(&seen));
    let task = spawn_named(
        "edge fan-out",
        OnError::Cancel(stop.clone()),
        hub.run(subscriptions, requests, stop),
    );
    Ok((
        FanOut {
            commands,
            seen,
            metrics,
        },
        task,
    ))
}

/// Pauses between attempts of a job that must succeed sooner or later.
pub(crate) const JOB_RETRY: Duration = Duration::from_millis(500);

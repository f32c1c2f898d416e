//! What a run has recorded, one record per thing that happened.
//!
//! A recorder writes records as they come ([`History::push`], or straight into the lists) on one clock that never goes
//! back; [`lines`] stores them, one JSON object a line. Every number that a record carries is what somebody outside saw or
//! what the log holds, never what the server says of itself, except [`Happened`].
//!
//! Never: an interpretation. What a record means for an invariant is decided in `invariants/`.

pub mod convert;
pub mod lines;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Microseconds on the one clock of the harness, which never goes back. Its zero means nothing.
pub type Time = u64;

/// One second of [`Time`].
pub const SECOND: Time = 1_000_000;

/// Stands for a text: equal texts have equal digests, and the text itself is not kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(pub u64);

impl Digest {
    /// Of a text (FNV-1a, 64 bits).
    pub fn of(text: &str) -> Self {
        Self::of_bytes(text.as_bytes())
    }

    /// Of any bytes, for example an encoded state.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
    }
}

macro_rules! history {
    ($($(#[$doc:meta])* $word:literal $list:ident: $Variant:ident($Type:ty)),+ $(,)?) => {
        /// Everything that was recorded of one run. Lists that a run cannot fill stay empty.
        #[derive(Clone, PartialEq, Eq, Debug, Default)]
        pub struct History {
            /// Which run this was.
            pub meta: Meta,
            $($(#[$doc])* pub $list: Vec<$Type>,)+
        }

        /// One record of any list: a line of the stored form.
        #[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
        pub enum Record {
            $($(#[$doc])* #[serde(rename = $word)] $Variant($Type),)+
        }

        impl History {
            /// Adds a record to the end of its list.
            pub fn push(&mut self, record: impl Into<Record>) {
                match record.into() {
                    $(Record::$Variant(record) => self.$list.push(record),)+
                }
            }

            /// Adds all that another recorder of the same run has written, behind what is here.
            pub fn append(&mut self, mut other: Self) {
                $(self.$list.append(&mut other.$list);)+
            }

            /// How many records there are.
            pub fn len(&self) -> usize {
                0 $(+ self.$list.len())+
            }

            /// All records, list by list, each in its order.
            pub fn records(&self) -> impl Iterator<Item = Record> {
                std::iter::empty()
                    $(.chain(self.$list.iter().cloned().map(Record::$Variant)))+
            }
        }

        $(impl From<$Type> for Record {
            fn from(record: $Type) -> Self {
                Self::$Variant(record)
            }
        })+
    };
}

history! {
    /// Attempts to have something stored, with their ends. A repetition is another attempt with the same command id.
    "op" operations: Operation(Operation),
    /// Sockets that were opened, with what their hello named.
    "socket" sockets: Socket(Socket),
    /// Frames in the order of their arrival at each socket, before any library has put them in order.
    "frame" frames: Frame(FrameSeen),
    /// What applications follow.
    "sub" subscriptions: Subscription(Subscription),
    /// What applications were told, in order.
    "told" deliveries: Delivery(Delivery),
    /// Pages of history, inboxes and searches.
    "read" reads: Read(Read),
    /// The rows of the log in the end, read behind the back of the server.
    "row" log: LogRow(LogRow),
    /// The events of the log in the end with their contents.
    "event" events: Event(Event),
    /// The rows of the lineage in the end.
    "epoch" lineage: Lineage(LineageRow),
    /// Who was seen serving a partition under which epoch.
    "owner" owners: Owner(OwnerSeen),
    /// Removals, revocations and their opposite, with the time at which they took effect.
    "access" access: Access(AccessChange),
    /// States, snapshots and read models compared with the fold of the log.
    "fold" folds: Fold(Fold),
    /// How long things took after a fault was healed.
    "heal" healings: Healing(Healing),
    /// Levels of queues and of memory beside their bounds.
    "level" levels: Level(Level),
    /// Golden byte vectors that were decoded.
    "golden" golden: Golden(Golden),
    /// Commits that a failover lost, which the server must have announced.
    "loss" losses: Loss(Loss),
    /// That it really happened.
    "happened" happened: Happened(Happened),
}

impl History {
    /// True if nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes that something happened so many times more.
    pub fn happened(&mut self, happened: impl FnOnce(u64) -> Happened, times: u64) {
        self.happened.push(happened(times));
    }
}

/// Which run a history is of.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Meta {
    /// Name of the run, for example the fault that was injected.
    #[serde(default)]
    pub run: String,
    /// Seed that repeats it.
    #[serde(default)]
    pub seed: u64,
}

/// One attempt to have something stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Operation {
    /// The command id; repetitions share it.
    #[serde(rename = "id")]
    pub command: Uuid,
    /// Where.
    #[serde(rename = "c")]
    pub conversation: Uuid,
    /// Who asked.
    #[serde(rename = "u")]
    pub user: Uuid,
    /// What for.
    #[serde(rename = "k")]
    pub kind: OperationKind,
    /// What it says; `None` when there is no text.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Digest>,
    /// Number of the node that was asked.
    #[serde(rename = "n")]
    pub node: u32,
    /// The socket that it was sent on; `None` over REST. Attempts on one socket are recorded in the order of sending.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<u64>,
    /// When it was sent.
    #[serde(rename = "at")]
    pub invoked_at: Time,
    /// When its end was known; the end of the run for [`Outcome::Open`].
    #[serde(rename = "end")]
    pub ended_at: Time,
    /// How it ended.
    #[serde(rename = "o")]
    pub outcome: Outcome,
    /// The highest seq on which the answer was decided, when the recorder can know it (the simulator does); also for
    /// refusals.
    #[serde(rename = "on", default, skip_serializing_if = "Option::is_none")]
    pub depends_on: Option<u64>,
}

/// What was asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// A new conversation.
    Create,
    /// A new message.
    Send,
    /// Another text for a message.
    Edit {
        /// Which message.
        no: u64,
    },
    /// A message away for everyone.
    Delete {
        /// Which message.
        no: u64,
    },
    /// A reaction given or taken back.
    React {
        /// Which message.
        no: u64,
    },
    /// Someone comes in: by joining or by being added.
    Add {
        /// Who.
        user: Uuid,
    },
    /// Someone goes: by leaving, by being removed or banned.
    Remove {
        /// Who.
        user: Uuid,
    },
    /// A read marker; stores no event.
    Mark {
        /// Up to which message.
        read_no: u64,
    },
    /// Anything else that may store an event.
    Other,
}

/// How an attempt ended for the one who asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A definite yes: it is stored there.
    Acked(Place),
    /// A definite yes to something that stores no event.
    Done,
    /// A definite no: this attempt is not and will not be stored.
    Refused {
        /// The code word of the contract.
        code: String,
    },
    /// Nobody said: a time-out, a lost socket, `unknown_outcome`.
    Unknown,
    /// The run ended before it did.
    Open,
}

/// Where an ack says that something stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Place {
    /// Epoch under which it was written.
    #[serde(rename = "e")]
    pub epoch: u64,
    /// Place in the conversation.
    #[serde(rename = "s")]
    pub seq: u64,
    /// Number of the message, when it is one.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub message_no: Option<u64>,
    /// The server said that it had been stored before.
    #[serde(rename = "dup", default, skip_serializing_if = "is_false")]
    pub is_duplicate: bool,
}

/// An event as somebody saw it: in a frame, in a page, from the library or in the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Where.
    #[serde(rename = "c")]
    pub conversation: Uuid,
    /// Epoch under which it was written.
    #[serde(rename = "e")]
    pub epoch: u64,
    /// Place in the conversation.
    #[serde(rename = "s")]
    pub seq: u64,
    /// The command that caused it; `None` where the viewer is not told.
    #[serde(rename = "id", default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Uuid>,
    /// Who caused it.
    #[serde(rename = "u")]
    pub by: Uuid,
    /// What happened.
    #[serde(rename = "f")]
    pub fact: Fact,
}

/// What happened, as far as an invariant asks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// The conversation began with these members.
    Created {
        /// Who was in from the start; empty when the frame left them out.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        members: Vec<Uuid>,
    },
    /// Someone came in.
    Added {
        /// Who.
        user: Uuid,
    },
    /// Someone went.
    Removed {
        /// Who.
        user: Uuid,
    },
    /// Who joins from now on sees only what comes after (or, if false, everything).
    HistoryFromJoin(bool),
    /// A message.
    Sent {
        /// Its number.
        no: u64,
        /// Its text; `None` once it is erased.
        #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
        body: Option<Digest>,
        /// Whom it mentions.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        mentions: Vec<Uuid>,
    },
    /// Another text for a message.
    Edited {
        /// Which message.
        no: u64,
        /// The new text; `None` once it is erased.
        #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
        body: Option<Digest>,
    },
    /// A message away for everyone.
    Deleted {
        /// Which message.
        no: u64,
    },
    /// Anything else; equal things have equal digests.
    Other(Digest),
}

impl Fact {
    /// Number of the message that it sends.
    pub const fn message_no(&self) -> Option<u64> {
        match self {
            Self::Sent { no, .. } => Some(*no),
            _no_message => None,
        }
    }
}

/// A socket that was opened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Socket {
    /// Its number, unique in the run.
    pub socket: u64,
    /// Whose it is.
    pub user: Uuid,
    /// The session (token) it was opened with, so that a revocation can name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Uuid>,
    /// Number of the node at its other end.
    pub node: u32,
    /// When its hello was sent.
    pub hello_at: Time,
    /// The cursors of its hello: conversation, epoch, seq.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cursors: Vec<(Uuid, u64, u64)>,
}

/// A frame at the time at which it came.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FrameSeen {
    /// On which socket.
    #[serde(rename = "k")]
    pub socket: u64,
    /// When.
    pub at: Time,
    /// What it said.
    #[serde(rename = "t")]
    pub frame: Frame,
}

/// A frame that says something about order, as it stood on the socket.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// An event.
    Event(Event),
    /// An ack.
    Ack {
        /// Of which command.
        id: Uuid,
        /// Where.
        conversation: Uuid,
        /// At which place.
        place: Place,
    },
    /// Too far behind: the next event of each conversation is its head seq + 1.
    Resync {
        /// Conversation, epoch, head seq; none means all.
        conversations: Vec<(Uuid, u64, u64)>,
    },
    /// What is held from there on is void.
    Reset {
        /// Where.
        conversation: Uuid,
        /// From which seq on.
        from_seq: u64,
    },
    /// The user is in.
    Added {
        /// Where.
        conversation: Uuid,
    },
    /// The user is out.
    Removed {
        /// Of what.
        conversation: Uuid,
    },
    /// Everything missed has been delivered.
    Live,
    /// The socket is closed.
    Closed {
        /// With which code; `None` when it just broke.
        code: Option<u16>,
    },
}

/// An application that follows one conversation, over any number of sockets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Subscription {
    /// Its number, unique in the run.
    pub subscription: u64,
    /// Whose application.
    pub user: Uuid,
    /// What it follows.
    pub conversation: Uuid,
    /// It must be told everything after this seq; `None`: from the first one that it is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// The run waited for it to come to the head: in the end it must have been told everything.
    pub is_complete: bool,
}

/// Something that an application was told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// To which subscription.
    #[serde(rename = "k")]
    pub subscription: u64,
    /// When.
    pub at: Time,
    /// What.
    #[serde(rename = "t")]
    pub told: Told,
}

/// What an application may be told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// An event.
    Event(Event),
    /// What it holds from this seq on is void.
    Reset {
        /// From which seq on.
        from_seq: u64,
    },
    /// It is out of the conversation.
    Removed,
    /// The library has lost its place and says so: the next event may be any later one.
    Skipped,
}

/// Something that was read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Read {
    /// Who read.
    #[serde(rename = "u")]
    pub user: Uuid,
    /// Number of the node that answered.
    #[serde(rename = "n")]
    pub node: u32,
    /// When it was asked for.
    #[serde(rename = "at")]
    pub invoked_at: Time,
    /// When the answer was here.
    #[serde(rename = "end")]
    pub ended_at: Time,
    /// Nothing was on its way any more: the answer must be the fold of the whole log.
    #[serde(rename = "q", default, skip_serializing_if = "is_false")]
    pub is_quiet: bool,
    /// What came.
    #[serde(rename = "r")]
    pub reading: Reading,
}

/// What a read has brought.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// A page of history.
    Page {
        /// Of which conversation.
        #[serde(rename = "c")]
        conversation: Uuid,
        /// It is the newest page: its last message is the head.
        newest: bool,
        /// Its messages, ascending.
        items: Vec<Message>,
    },
    /// An inbox.
    Inbox {
        /// One for each conversation.
        entries: Vec<InboxEntry>,
        /// All of it was read, not a page.
        complete: bool,
    },
    /// A search for something that only this message says.
    Search {
        /// In which conversation.
        #[serde(rename = "c")]
        conversation: Uuid,
        /// Number of the message that was looked for.
        no: u64,
        /// It was found.
        found: bool,
    },
}

/// A message as a page shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Message {
    /// Its number.
    pub no: u64,
    /// Place of the event that sent it.
    #[serde(rename = "s")]
    pub seq: u64,
    /// Epoch of that event.
    #[serde(rename = "e")]
    pub epoch: u64,
    /// Who said it.
    #[serde(rename = "u")]
    pub by: Uuid,
    /// What it says now; `None` when deleted.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Digest>,
}

/// A conversation as an inbox shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InboxEntry {
    /// Which conversation.
    #[serde(rename = "c")]
    pub conversation: Uuid,
    /// Epoch of its head.
    #[serde(rename = "e")]
    pub epoch: u64,
    /// Its head: the counts are those of the log up to here.
    pub head_seq: u64,
    /// Number of the newest message.
    pub head_no: u64,
    /// Read up to which message.
    pub read_no: u64,
    /// Messages up to this one were there before the reader.
    pub joined_no: u64,
    /// Unread messages, as told; negative would be told as such.
    pub unread: i64,
    /// Unread mentions; `None` where the run did not look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mentions: Option<i64>,
    /// The reader has used mark-unread here: the marker may stand before the reader's own last message.
    #[serde(default, skip_serializing_if = "is_false")]
    pub marked_unread: bool,
}

/// A row of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogRow {
    /// Partition.
    #[serde(rename = "p")]
    pub partition: u32,
    /// Offset: 1, 2, 3 … in the partition.
    #[serde(rename = "o")]
    pub offset: u64,
    /// Epoch under which it was written.
    #[serde(rename = "e")]
    pub epoch: u64,
    /// Conversation.
    #[serde(rename = "c")]
    pub conversation: Uuid,
    /// Place in the conversation.
    #[serde(rename = "s")]
    pub seq: u64,
    /// The command that caused it.
    #[serde(rename = "id")]
    pub command: Uuid,
    /// Its checksum is right.
    #[serde(rename = "crc", default = "yes", skip_serializing_if = "is_true")]
    pub crc_ok: bool,
    /// When it was committed, where the recorder can know it (the simulator does).
    #[serde(rename = "at", default, skip_serializing_if = "Option::is_none")]
    pub committed_at: Option<Time>,
}

/// A row of the lineage: an epoch of a partition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LineageRow {
    /// Partition.
    #[serde(rename = "p")]
    pub partition: u32,
    /// The epoch.
    #[serde(rename = "e")]
    pub epoch: u64,
    /// The last offset of the epochs before it; its own first row has the next one.
    #[serde(rename = "after")]
    pub start_after: u64,
    /// Incarnation that acquired it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Uuid>,
    /// When it began, where the recorder can know it on the harness clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
}

/// Someone was seen serving a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OwnerSeen {
    /// When.
    pub at: Time,
    /// Partition.
    #[serde(rename = "p")]
    pub partition: u32,
    /// Under which epoch.
    #[serde(rename = "e")]
    pub epoch: u64,
    /// Which incarnation.
    pub owner: Uuid,
}

/// Access that ended or began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccessChange {
    /// When it took effect: the time of the definite yes to whoever asked for it.
    pub at: Time,
    /// Whose.
    pub user: Uuid,
    /// To what.
    pub access: Access,
    /// It ended; otherwise it began again.
    pub ended: bool,
}

/// What a user may have access by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Being a member.
    Conversation(Uuid),
    /// A session: nothing on its sockets any more.
    Session(Uuid),
    /// The account: nothing on any socket of the user.
    Account,
}

/// A state that was compared with the fold of the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fold {
    /// What was compared.
    pub kind: FoldKind,
    /// Which one, in words: the table and partition, or the conversation.
    pub what: String,
    /// Up to which seq or offset.
    pub through: u64,
    /// What the fold of the log gives.
    pub expected: Digest,
    /// What was there.
    pub found: Digest,
}

/// What may be compared with a fold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FoldKind {
    /// The owner's state after an acquire (I13).
    Owner,
    /// A snapshot with the tail behind it (I13).
    Snapshot,
    /// A read model (I14).
    ReadModel,
    /// A read model that was built again, beside the live one (I14).
    Rebuild,
}

/// How long something took after a fault was healed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Healing {
    /// Which fault.
    pub fault: String,
    /// When it was healed.
    pub healed_at: Time,
    /// What was waited for.
    pub heals: Heals,
    /// When that was so; `None`: not while the run lasted.
    pub reached_at: Option<Time>,
}

/// What must be so again after a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Heals {
    /// Every partition has an owner.
    Owned,
    /// Commands succeed.
    Commands,
    /// Every client is at the head.
    Heads,
}

/// A level beside its bound, in any unit that both share.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Level {
    /// When.
    pub at: Time,
    /// Number of the node.
    pub node: u32,
    /// What: a queue by its name in `docs/queues.md`, or `rss_bytes_per_socket`.
    pub what: String,
    /// How full.
    pub value: u64,
    /// How full it may be.
    pub bound: u64,
}

/// A golden byte vector.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Golden {
    /// Its name.
    pub vector: String,
    /// What went wrong; `None`: it decodes, upcasts to the expected value and encodes to the same bytes.
    pub broken: Option<String>,
}

/// Commits that were lost below the server: an unclean failover.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Loss {
    /// When.
    pub at: Time,
    /// Where.
    #[serde(rename = "c")]
    pub conversation: Uuid,
    /// The first seq that was lost. What was seen of it or later before `at` is no longer in the log.
    pub from_seq: u64,
}

/// Proof that a run has tested something; a run whose required counters are zero is void.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happened {
    /// A partition was taken over while an append of its old owner was on its way.
    TakeoverInFlight(u64),
    /// An append was refused because of its epoch.
    FencedAppend(u64),
    /// The outcome of a commit was not known to the lane.
    UnknownOutcome(u64),
    /// An edge missed a message in the middle and got it from the ring or the log.
    HealedGap(u64),
    /// An edge missed a last message and noticed by a head.
    HealedLastMessage(u64),
}

fn is_false(value: &bool) -> bool {
    !*value
}

fn is_true(value: &bool) -> bool {
    *value
}

const fn yes() -> bool {
    true
}

//! What a run has recorded, one record per thing that happened.
//!
//! A recorder writes records as they come ([`History::push`], or straight into the lists) on one clock that never goes
//! back; [`lines`] stores them, one JSON object a line. Every number that a record carries is what somebody outside saw or
//! what the log holds, never what the server says of itself, except [`Happened`].
//!
//! Never: an interpretation. What a record means for an invariant is decided in `invariants/`.

pub mod around;
pub mod asked;
pub mod convert;
pub mod lines;
pub mod seen;
pub mod stored;

pub use around::{
    Access, AccessChange, Fold, FoldKind, Golden, Happened, Healing, Heals, Level, Loss,
};
pub use asked::{Operation, OperationKind, Outcome, Place};
pub use seen::{
    Delivery, Frame, FrameSeen, InboxEntry, Message, Read, Reading, Socket, Subscription, Told,
};
pub use stored::{Event, Fact, LineageRow, LogRow, OwnerSeen};

use serde::{Deserialize, Serialize};

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

/// Which fields are left out of the stored form.
mod serde_default {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde calls it with a reference"
    )]
    pub(super) const fn is_false(value: &bool) -> bool {
        !*value
    }

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde calls it with a reference"
    )]
    pub(super) const fn is_true(value: &bool) -> bool {
        *value
    }

    pub(super) const fn yes() -> bool {
        true
    }
}

//! Who receives what: the edge's own fold of membership, exact at every event.
//!
//! Small conversations come with their recipients. For large ones, and for events that were read from the log, the members just
//! before the event have to be known: the first such event of a conversation holds that conversation until they have been read, then
//! every event is folded in its turn (ARCHITECTURE.md §7). Never is an event given out by a fold that stands elsewhere.
//!
//! Pure: what has to be read is returned as a wish.

use std::borrow::Cow;
use std::collections::HashMap;

use hubbub_domain::conversation::{Event, Recorded};
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{Epoch, Offset, Seq};
use hubbub_wire::bus::Ephemeral;

/// Conversations whose fold and head are remembered: a few tens of megabytes of small ones.
pub const ROOMS_MAX: usize = 50_000;
/// Events that one conversation may hold while its members are read; they are as many as a whole partition may hold.
pub const ROOM_HELD_MAX: usize = 4_096;
/// Events that all conversations together may hold: 16 rooms at their bound, some tens of megabytes of ordinary messages.
pub const ROOMS_HELD_MAX: usize = 65_536;
/// Typing and markers that wait for members; more are forgotten.
pub const WHISPERS_MAX: usize = 64;

/// Who was removed stays in the fold: a build without a guarantee, for the proof that the checker would notice.
const KICKS_ARE_IGNORED: bool = cfg!(feature = "sabotage-kick-ignored-elsewhere");

/// An event in its turn, decoded.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Its place in its partition.
    pub offset: Offset,
    /// Under which epoch it was written.
    pub epoch: Epoch,
    /// What happened.
    pub recorded: Recorded,
    /// As listed by the owner, if it did.
    pub recipients: Option<Vec<UserId>>,
}

/// Something that is shown and forgotten, waiting for members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Whisper {
    /// From another member, to be shown.
    Show(Ephemeral),
    /// From a socket of this node, to be published if its user is a member.
    Publish(Ephemeral),
}

/// What becomes of an arrival.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "returned once per event and taken apart at once"
)]
pub enum Admission {
    /// Give it out now, then [`Rooms::apply`] it.
    Ready(Arrival),
    /// It waits for a read that is under way, or too many wait already and its members will be told to resync behind it.
    Waits,
    /// It waits; read the members just before this seq and bring them to [`Rooms::loaded`].
    Load(Seq),
}

/// What members that were read set free.
#[derive(Debug)]
pub enum Loaded {
    /// Another read is awaited, or nothing waited.
    Nothing,
    /// What waited for them: events first, each to be given out and applied in turn.
    Released(Vec<Arrival>, Vec<Whisper>),
    /// Too many events waited and were dropped meanwhile: read the members just before this seq as well.
    Again(Seq),
    /// Events were dropped; the fold stands behind them.
    Skipped(Box<Skipped>),
}

/// A stretch of events that nobody of this node gets: who was or is in the room has to fetch them.
#[derive(Debug)]
pub struct Skipped {
    /// Members when it began, ascending.
    pub before: Vec<UserId>,
    /// Members behind it, ascending.
    pub after: Vec<UserId>,
    /// Epoch of the last event of it.
    pub epoch: Epoch,
    /// The last event of it.
    pub seq: Seq,
    /// What came after it, each to be given out and applied in turn.
    pub arrivals: Vec<Arrival>,
    /// What waited for the members.
    pub whispers: Vec<Whisper>,
}

/// Whether the members are at hand.
#[derive(Debug, PartialEq, Eq)]
pub enum Members<'a> {
    /// Ascending.
    Known(&'a [UserId]),
    /// A read is under way.
    Loading,
    /// Read them and bring them to [`Rooms::loaded`].
    Unknown,
}

#[derive(Debug)]
enum Fold {
    Unknown,
    Loading {
        held: Vec<Arrival>,
        whispers: Vec<Whisper>,
        skip: Option<Skip>,
    },
    /// Ascending, after the event at `as_of`.
    Known {
        members: Vec<UserId>,
        as_of: Seq,
    },
}

/// Events that were dropped while members were read.
#[derive(Debug)]
struct Skip {
    offset: Offset,
    epoch: Epoch,
    seq: Seq,
    before: Option<Vec<UserId>>,
}

#[derive(Debug)]
struct Room {
    /// The last event given out.
    head: Option<(Epoch, Seq)>,
    /// That head was read from the log: what leads up to it may be yet to be given out.
    learned: bool,
    fold: Fold,
    used: u64,
}

/// The folds of this node.
#[derive(Debug, Default)]
pub struct Rooms {
    known: HashMap<ConversationId, Room>,
    clock: u64,
    /// Arrivals held in all rooms.
    held: usize,
    /// How often something was forgotten.
    forgotten: u64,
    crowded: bool,
}

impl Rooms {
    /// The last event of a conversation that was given out, when it is remembered.
    pub fn head(&self, conversation: ConversationId) -> Option<(Epoch, Seq)> {
        self.known.get(&conversation).and_then(|room| room.head)
    }

    /// Arrivals that wait in all rooms.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Whether [`Rooms::head`] was read from the log and this node, which may be behind it, has given nothing out since: whoever has that
    /// head must not get what leads up to it once more.
    pub fn is_learned(&self, conversation: ConversationId) -> bool {
        self.known
            .get(&conversation)
            .is_some_and(|room| room.learned)
    }

    /// Changes whenever heads were forgotten.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// What was given out last in each conversation that `wanted` names.
    pub fn heads_of(
        &self,
        wanted: impl Fn(ConversationId) -> bool,
    ) -> Vec<(ConversationId, Epoch, Seq)> {
        let rooms = self.known.iter().filter(|(id, _)| wanted(**id));
        rooms
            .filter_map(|(id, room)| room.head.map(|(epoch, seq)| (*id, epoch, seq)))
            .collect()
    }

    /// The head as just read from the log, of a conversation of which nothing was given out since `forgotten` was asked. What came
    /// after the read is yet to be given out and moves it on.
    pub fn learn(&mut self, conversation: ConversationId, epoch: Epoch, seq: Seq, forgotten: u64) {
        if forgotten == self.forgotten {
            let room = self.room(conversation);
            if room.head.is_none() {
                room.head = Some((epoch, seq));
                room.learned = true;
            }
        }
    }

    /// An event of it is not given out, as nobody can read it: a head that was read from the log may be the one just before it, and whoever
    /// has that has missed something.
    pub fn pass_over(&mut self, conversation: ConversationId) {
        // Heads that are on their way were read before.
        self.forgotten = self.forgotten.wrapping_add(1);
        if let Some(room) = self.known.get_mut(&conversation)
            && room.learned
        {
            room.head = None;
            room.learned = false;
        }
    }

    /// Takes an event in its turn.
    pub fn admit(&mut self, arrival: Arrival) -> Admission {
        let seq = arrival.recorded.seq;
        let full = self.held >= ROOMS_HELD_MAX;
        let room = self.room(arrival.recorded.conversation);
        match &mut room.fold {
            Fold::Loading { held, skip, .. } if skip.is_some() || !held.is_empty() => {
                let reading_again = skip.as_ref().is_none_or(|skip| skip.before.is_some());
                if reading_again && held.len() < ROOM_HELD_MAX && !full {
                    held.push(arrival);
                    self.held += 1;
                } else {
                    // From here on this room is a resync for its members; all other rooms go on as they were.
                    let dropped = std::mem::take(held).len();
                    let before = skip.take().and_then(|skip| skip.before);
                    *skip = Some(Skip {
                        offset: arrival.offset,
                        epoch: arrival.epoch,
                        seq,
                        before,
                    });
                    self.held -= dropped;
                }
                Admission::Waits
            }
            _ if arrival.recipients.is_some() => Admission::Ready(arrival),
            Fold::Known { as_of, .. } if *as_of == seq.prev() => Admission::Ready(arrival),
            Fold::Loading { held, .. } => {
                // The read under way is for whispers; this event needs one of its own.
                held.push(arrival);
                self.held += 1;
                Admission::Load(seq)
            }
            Fold::Known { .. } | Fold::Unknown => {
                room.fold = Fold::Loading {
                    held: vec![arrival],
                    whispers: Vec::new(),
                    skip: None,
                };
                self.held += 1;
                Admission::Load(seq)
            }
        }
    }

    /// Who receives a ready arrival.
    pub fn audience<'a>(&'a self, arrival: &'a Arrival) -> Cow<'a, [UserId]> {
        let room = self.known.get(&arrival.recorded.conversation);
        let members = match room.map(|room| &room.fold) {
            Some(Fold::Known { members, .. }) => members.as_slice(),
            Some(Fold::Loading { .. } | Fold::Unknown) | None => &[],
        };
        if let Some(recipients) = &arrival.recipients {
            return if KICKS_ARE_IGNORED {
                Cow::Owned(together(recipients, members))
            } else {
                Cow::Borrowed(recipients)
            };
        }
        match &arrival.recorded.event {
            // Those who come in by it receive it as well as those who were in before.
            Event::ConversationCreated { .. } | Event::MemberAdded { .. } => {
                let mut after = members.to_vec();
                fold(&mut after, &arrival.recorded.event);
                Cow::Owned(after)
            }
            Event::MemberRemoved { .. } | Event::RoleChanged { .. } | Event::MessageSent { .. } => {
                Cow::Borrowed(members)
            }
        }
    }

    /// Folds an arrival that was given out. Returns whispers that waited for just these members.
    pub fn apply(&mut self, arrival: &Arrival) -> Vec<Whisper> {
        let room = self.room(arrival.recorded.conversation);
        let seq = arrival.recorded.seq;
        room.head = Some((arrival.epoch, seq));
        room.learned = false;
        let members = match (&arrival.recipients, &mut room.fold) {
            (Some(recipients), Fold::Known { members, .. }) if KICKS_ARE_IGNORED => {
                Some(together(recipients, members))
            }
            (Some(recipients), _) => Some(together(recipients, &[])),
            (None, Fold::Known { members, .. }) => Some(std::mem::take(members)),
            (None, Fold::Unknown | Fold::Loading { .. }) => None,
        };
        let Some(mut members) = members else {
            return Vec::new();
        };
        fold(&mut members, &arrival.recorded.event);
        match std::mem::replace(
            &mut room.fold,
            Fold::Known {
                members,
                as_of: seq,
            },
        ) {
            Fold::Loading { whispers, .. } => whispers,
            Fold::Known { .. } | Fold::Unknown => Vec::new(),
        }
    }

    /// The members now, for typing and markers.
    pub fn members(&mut self, conversation: ConversationId) -> Members<'_> {
        let room = self.room(conversation);
        match &room.fold {
            Fold::Known { members, .. } => Members::Known(members),
            Fold::Loading { .. } => Members::Loading,
            Fold::Unknown => Members::Unknown,
        }
    }

    /// Keeps a whisper until the members are there.
    pub fn wait(&mut self, conversation: ConversationId, whisper: Whisper) {
        let room = self.room(conversation);
        if !matches!(room.fold, Fold::Loading { .. }) {
            room.fold = Fold::Loading {
                held: Vec::new(),
                whispers: Vec::new(),
                skip: None,
            };
        }
        if let Fold::Loading { whispers, .. } = &mut room.fold
            && whispers.len() < WHISPERS_MAX
        {
            whispers.push(whisper);
        }
    }

    /// The members after `as_of` have been read.
    pub fn loaded(
        &mut self,
        conversation: ConversationId,
        members: Vec<UserId>,
        as_of: Seq,
    ) -> Loaded {
        let room = self.room(conversation);
        let Fold::Loading {
            held,
            whispers,
            skip,
        } = &mut room.fold
        else {
            return Loaded::Nothing;
        };
        if let Some(skip) = skip
            && skip.seq != as_of
        {
            skip.before.get_or_insert(members);
            return Loaded::Again(skip.seq.next());
        }
        if skip.is_none()
            && held
                .first()
                .is_some_and(|first| first.recorded.seq != as_of.next())
        {
            // A read for whispers; the one for the held event is under way.
            return Loaded::Nothing;
        }
        let (arrivals, whispers) = (std::mem::take(held), std::mem::take(whispers));
        let skip = skip.take();
        if let Some(skip) = &skip {
            room.head = Some((skip.epoch, skip.seq));
            room.learned = false;
        }
        let after = skip.as_ref().map(|_| members.clone());
        room.fold = Fold::Known { members, as_of };
        self.held -= arrivals.len();
        match (skip, after) {
            (Some(skip), Some(after)) => Loaded::Skipped(Box::new(Skipped {
                before: skip.before.unwrap_or_else(|| after.clone()),
                after,
                epoch: skip.epoch,
                seq: skip.seq,
                arrivals,
                whispers,
            })),
            _ => Loaded::Released(arrivals, whispers),
        }
    }

    /// A read of the members, asked for by nobody's event, is under way.
    pub fn expect_members(&mut self, conversation: ConversationId) {
        let room = self.room(conversation);
        if matches!(room.fold, Fold::Unknown) {
            room.fold = Fold::Loading {
                held: Vec::new(),
                whispers: Vec::new(),
                skip: None,
            };
        }
    }

    /// The members, when they are at hand.
    pub fn known_members(&self, conversation: ConversationId) -> Option<&[UserId]> {
        match &self.known.get(&conversation)?.fold {
            Fold::Known { members, .. } => Some(members),
            Fold::Loading { .. } | Fold::Unknown => None,
        }
    }

    /// Whether rooms had to be forgotten for want of space.
    pub fn was_crowded(&self) -> bool {
        self.crowded
    }

    /// Forgets a conversation.
    pub fn forget(&mut self, conversation: ConversationId) {
        self.forgotten = self.forgotten.wrapping_add(1);
        if let Some(room) = self.known.remove(&conversation)
            && let Fold::Loading { held, .. } = &room.fold
        {
            self.held -= held.len();
        }
    }

    /// Drops what waits for members in the rooms that `wanted` names and lies behind `below`: the log has lost it. Returns the rooms in
    /// which events had been dropped before for want of space and some of those are lost, too: who was in there has to ask anew.
    pub fn cut(
        &mut self,
        wanted: impl Fn(ConversationId) -> bool,
        below: Offset,
    ) -> Vec<ConversationId> {
        let mut skipped = Vec::new();
        for (id, room) in self.known.iter_mut().filter(|(id, _)| wanted(**id)) {
            let Fold::Loading { held, skip, .. } = &mut room.fold else {
                continue;
            };
            let waited = held.len();
            held.retain(|arrival| arrival.offset <= below);
            self.held -= waited - held.len();
            if skip.as_ref().is_some_and(|skip| skip.offset > below) {
                skipped.push(*id);
            }
        }
        skipped
    }

    /// Forgets everything: what was folded may never have happened.
    pub fn forget_all(&mut self) {
        self.known.clear();
        self.held = 0;
        self.forgotten = self.forgotten.wrapping_add(1);
        self.crowded = false;
    }

    fn room(&mut self, conversation: ConversationId) -> &mut Room {
        self.clock = self.clock.saturating_add(1);
        if self.known.len() >= ROOMS_MAX && !self.known.contains_key(&conversation) {
            self.evict();
        }
        let room = self.known.entry(conversation).or_insert(Room {
            head: None,
            learned: false,
            fold: Fold::Unknown,
            used: 0,
        });
        room.used = self.clock;
        room
    }

    /// Forgets what was not used lately: everything but the younger half of the uses, and what is being read.
    fn evict(&mut self) {
        let mut uses: Vec<u64> = self.known.values().map(|room| room.used).collect();
        self.forgotten = self.forgotten.wrapping_add(1);
        self.crowded = true;
        let middle = uses.len() / 2;
        let (_, median, _) = uses.select_nth_unstable(middle);
        let median = *median;
        self.known
            .retain(|_, room| room.used >= median || matches!(room.fold, Fold::Loading { .. }));
    }
}

/// The members after an event, from those before it.
pub fn fold(members: &mut Vec<UserId>, event: &Event) {
    match event {
        Event::ConversationCreated { members: first, .. } => {
            *members = first.iter().map(|(user, _)| *user).collect();
            members.sort_unstable();
        }
        Event::MemberAdded { user, .. } => {
            if let Err(place) = members.binary_search(user) {
                members.insert(place, *user);
            }
        }
        Event::MemberRemoved { .. } if KICKS_ARE_IGNORED => {}
        Event::MemberRemoved { user, .. } => {
            if let Ok(place) = members.binary_search(user) {
                members.remove(place);
            }
        }
        Event::RoleChanged { .. } | Event::MessageSent { .. } => {}
    }
}

/// Everybody of both lists once, ascending.
fn together(some: &[UserId], others: &[UserId]) -> Vec<UserId> {
    let mut all = [some, others].concat();
    all.sort_unstable();
    all.dedup();
    all
}

/// The members before an event, from those after it. Exact, because an event that changes nothing is never stored.
pub fn unfold(members: &mut Vec<UserId>, event: &Event) {
    match event {
        Event::ConversationCreated { .. } => members.clear(),
        Event::MemberAdded { user, .. } => {
            if let Ok(place) = members.binary_search(user) {
                members.remove(place);
            }
        }
        Event::MemberRemoved { user, .. } => {
            if let Err(place) = members.binary_search(user) {
                members.insert(place, *user);
            }
        }
        Event::RoleChanged { .. } | Event::MessageSent { .. } => {}
    }
}

#[cfg(test)]
mod tests;

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
use hubbub_domain::position::{Epoch, Seq};
use hubbub_wire::bus::Ephemeral;

/// Conversations whose fold and head are remembered: a few tens of megabytes of small ones.
pub const ROOMS_MAX: usize = 50_000;
/// Events that one conversation may hold while its members are read; they are as many as a whole partition may hold.
pub const ROOM_HELD_MAX: usize = 4_096;
/// Typing and markers that wait for members; more are forgotten.
pub const WHISPERS_MAX: usize = 64;

/// An event in its turn, decoded.
#[derive(Clone, Debug)]
pub struct Arrival {
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
    /// It waits for a read that is under way.
    Waits,
    /// It waits; read the members just before this seq and bring them to [`Rooms::loaded`].
    Load(Seq),
    /// More waits than may: forget the conversation and make its sockets resume.
    Overflow,
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
    },
    /// Ascending, after the event at `as_of`.
    Known {
        members: Vec<UserId>,
        as_of: Seq,
    },
}

#[derive(Debug)]
struct Room {
    /// The last event given out.
    head: Option<(Epoch, Seq)>,
    fold: Fold,
    used: u64,
}

/// The folds of this node.
#[derive(Debug, Default)]
pub struct Rooms {
    rooms: HashMap<ConversationId, Room>,
    clock: u64,
}

impl Rooms {
    /// The last event of a conversation that was given out, when it is remembered.
    pub fn head(&self, conversation: ConversationId) -> Option<(Epoch, Seq)> {
        self.rooms.get(&conversation).and_then(|room| room.head)
    }

    /// Takes an event in its turn.
    pub fn admit(&mut self, arrival: Arrival) -> Admission {
        let seq = arrival.recorded.seq;
        let room = self.room(arrival.recorded.conversation);
        match &mut room.fold {
            Fold::Loading { held, .. } if !held.is_empty() => {
                if held.len() >= ROOM_HELD_MAX {
                    return Admission::Overflow;
                }
                held.push(arrival);
                Admission::Waits
            }
            _ if arrival.recipients.is_some() => Admission::Ready(arrival),
            Fold::Known { as_of, .. } if *as_of == seq.prev() => Admission::Ready(arrival),
            Fold::Loading { held, .. } => {
                // The read under way is for whispers; this event needs one of its own.
                held.push(arrival);
                Admission::Load(seq)
            }
            Fold::Known { .. } | Fold::Unknown => {
                room.fold = Fold::Loading {
                    held: vec![arrival],
                    whispers: Vec::new(),
                };
                Admission::Load(seq)
            }
        }
    }

    /// Who receives a ready arrival.
    pub fn audience<'a>(&'a self, arrival: &'a Arrival) -> Cow<'a, [UserId]> {
        if let Some(recipients) = &arrival.recipients {
            return Cow::Borrowed(recipients);
        }
        let room = self.rooms.get(&arrival.recorded.conversation);
        let members = match room.map(|room| &room.fold) {
            Some(Fold::Known { members, .. }) => members.as_slice(),
            Some(Fold::Loading { .. } | Fold::Unknown) | None => &[],
        };
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
        let members = match (&arrival.recipients, &mut room.fold) {
            (Some(recipients), _) => {
                let mut members = recipients.clone();
                members.sort_unstable();
                members.dedup();
                Some(members)
            }
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
            };
        }
        if let Fold::Loading { whispers, .. } = &mut room.fold
            && whispers.len() < WHISPERS_MAX
        {
            whispers.push(whisper);
        }
    }

    /// The members after `as_of` have been read. Returns what waited for them: events first, each to be given out and applied in turn.
    pub fn loaded(
        &mut self,
        conversation: ConversationId,
        members: Vec<UserId>,
        as_of: Seq,
    ) -> (Vec<Arrival>, Vec<Whisper>) {
        let room = self.room(conversation);
        let Fold::Loading { held, whispers } = &mut room.fold else {
            return (Vec::new(), Vec::new());
        };
        if held
            .first()
            .is_some_and(|first| first.recorded.seq != as_of.next())
        {
            // A read for whispers; the one for the held event is under way.
            return (Vec::new(), Vec::new());
        }
        let (held, whispers) = (std::mem::take(held), std::mem::take(whispers));
        room.fold = Fold::Known { members, as_of };
        (held, whispers)
    }

    /// Forgets a conversation.
    pub fn forget(&mut self, conversation: ConversationId) {
        self.rooms.remove(&conversation);
    }

    /// Forgets everything: what was folded may never have happened.
    pub fn forget_all(&mut self) {
        self.rooms.clear();
    }

    fn room(&mut self, conversation: ConversationId) -> &mut Room {
        self.clock = self.clock.saturating_add(1);
        if self.rooms.len() >= ROOMS_MAX && !self.rooms.contains_key(&conversation) {
            self.evict();
        }
        let room = self.rooms.entry(conversation).or_insert(Room {
            head: None,
            fold: Fold::Unknown,
            used: 0,
        });
        room.used = self.clock;
        room
    }

    /// Forgets what was not used lately: everything but the younger half of the uses, and what is being read.
    fn evict(&mut self) {
        let mut uses: Vec<u64> = self.rooms.values().map(|room| room.used).collect();
        let middle = uses.len() / 2;
        let (_, median, _) = uses.select_nth_unstable(middle);
        let median = *median;
        self.rooms
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
        Event::MemberRemoved { user, .. } => {
            if let Ok(place) = members.binary_search(user) {
                members.remove(place);
            }
        }
        Event::RoleChanged { .. } | Event::MessageSent { .. } => {}
    }
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

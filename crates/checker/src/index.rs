//! A history in the order in which the invariants ask for it, built once.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use crate::history::{
    Access, Delivery, Event, Fact, FrameSeen, History, LogRow, Loss, Operation, Socket, Time, Told,
};

/// A conversation and a place in it.
pub(crate) type At = (Uuid, u64);

/// A history and ways into it.
pub(crate) struct Index<'a> {
    pub(crate) history: &'a History,
    /// The log of every conversation: from the rows, else from the events.
    pub(crate) logs: HashMap<Uuid, Log<'a>>,
    /// Where each command of a conversation stands; more than one place is a violation.
    pub(crate) places: HashMap<(Uuid, Uuid), Vec<Stored>>,
    /// The attempts of each command of a conversation, in the order of their recording.
    pub(crate) attempts: HashMap<(Uuid, Uuid), Vec<&'a Operation>>,
    /// Sockets by number.
    pub(crate) sockets: HashMap<u64, &'a Socket>,
    /// Frames of each socket, in the order of their arrival.
    pub(crate) frames: BTreeMap<u64, Vec<&'a FrameSeen>>,
    /// What each subscription was told, in order.
    pub(crate) told: HashMap<u64, Vec<&'a Delivery>>,
    /// Whether somebody's access to a conversation has changed during the run.
    changed: HashSet<(Uuid, Uuid)>,
    losses: HashMap<Uuid, Vec<Loss>>,
}

/// An event as the log holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stored {
    pub(crate) seq: u64,
    pub(crate) epoch: u64,
    pub(crate) command: Option<Uuid>,
    pub(crate) committed_at: Option<Time>,
}

/// The log of one conversation.
#[derive(Debug, Default)]
pub(crate) struct Log<'a> {
    /// By seq.
    pub(crate) stored: HashMap<u64, Stored>,
    /// Contents, ascending by seq; empty when the run did not read them.
    pub(crate) events: Vec<&'a Event>,
    /// Highest seq.
    pub(crate) head: u64,
    /// Membership of each user: from the seq of coming in to the seq of going, both inclusive.
    pub(crate) members: HashMap<Uuid, Vec<(u64, Option<u64>)>>,
    /// Somebody was not listed when it began: who is not in `members` may still have been in.
    pub(crate) is_partly_known: bool,
    /// Whether new members see what came before them, at some time of the run.
    pub(crate) shows_past: bool,
}

impl<'a> Index<'a> {
    pub(crate) fn of(history: &'a History) -> Self {
        let mut index = Self {
            history,
            logs: HashMap::new(),
            places: HashMap::new(),
            attempts: HashMap::new(),
            sockets: history.sockets.iter().map(|s| (s.socket, s)).collect(),
            frames: BTreeMap::new(),
            told: HashMap::new(),
            changed: HashSet::new(),
            losses: HashMap::new(),
        };
        for row in &history.log {
            index.add_row(row);
        }
        for event in &history.events {
            index.add_event(event);
        }
        for log in index.logs.values_mut() {
            log.events.sort_by_key(|event| event.seq);
            log.fold_members();
        }
        for operation in &history.operations {
            let key = (operation.conversation, operation.command);
            index.attempts.entry(key).or_default().push(operation);
        }
        for frame in &history.frames {
            index.frames.entry(frame.socket).or_default().push(frame);
        }
        for delivery in &history.deliveries {
            let told = index.told.entry(delivery.subscription).or_default();
            told.push(delivery);
        }
        for change in &history.access {
            if let Access::Conversation(conversation) = change.access {
                index.changed.insert((change.user, conversation));
            }
        }
        for loss in &history.losses {
            let losses = index.losses.entry(loss.conversation).or_default();
            losses.push(*loss);
        }
        index
    }

    fn add_row(&mut self, row: &LogRow) {
        let stored = Stored {
            seq: row.seq,
            epoch: row.epoch,
            command: Some(row.command),
            committed_at: row.committed_at,
        };
        let log = self.logs.entry(row.conversation).or_default();
        log.stored.entry(row.seq).or_insert(stored);
        log.head = log.head.max(row.seq);
        let key = (row.conversation, row.command);
        self.places.entry(key).or_default().push(stored);
    }

    fn add_event(&mut self, event: &'a Event) {
        let log = self.logs.entry(event.conversation).or_default();
        log.events.push(event);
        log.head = log.head.max(event.seq);
        if !self.history.log.is_empty() {
            return;
        }
        let stored = Stored {
            seq: event.seq,
            epoch: event.epoch,
            command: event.command,
            committed_at: None,
        };
        log.stored.entry(event.seq).or_insert(stored);
        if let Some(command) = event.command {
            let key = (event.conversation, command);
            self.places.entry(key).or_default().push(stored);
        }
    }

    /// What the log holds at a place.
    pub(crate) fn stored(&self, (conversation, seq): At) -> Option<&Stored> {
        self.logs.get(&conversation)?.stored.get(&seq)
    }

    /// Highest seq of a conversation.
    pub(crate) fn head(&self, conversation: Uuid) -> u64 {
        self.logs.get(&conversation).map_or(0, |log| log.head)
    }

    /// What was seen of this place at this time has been lost below the server since.
    pub(crate) fn is_lost(&self, (conversation, seq): At, seen_at: Time) -> bool {
        let losses = self.losses_of(conversation).iter();
        let mut of_it = losses.filter(|loss| seq >= loss.from_seq);
        of_it.any(|loss| seen_at <= loss.at)
    }

    /// The same of something that says under which epoch it was written: whoever has not heard of the loss may still show it.
    pub(crate) fn was_lost(&self, at: At, epoch: u64, seen_at: Time) -> bool {
        let losses = self.losses_of(at.0).iter();
        let mut of_it = losses.filter(|loss| at.1 >= loss.from_seq && epoch <= loss.epoch);
        self.is_lost(at, seen_at) || of_it.any(|loss| seen_at <= loss.heard_by)
    }

    /// The loss that has taken this event: the log does not hold it, or another one in its place.
    pub(crate) fn loss_of(&self, event: &Event) -> Option<&Loss> {
        let (conversation, seq) = (event.conversation, event.seq);
        let stored = self.stored((conversation, seq));
        if stored.is_some_and(|stored| stored.epoch == event.epoch) {
            return None;
        }
        let mut losses = self.losses_of(conversation).iter();
        losses.find(|loss| seq >= loss.from_seq && event.epoch <= loss.epoch)
    }

    fn losses_of(&self, conversation: Uuid) -> &[Loss] {
        self.losses
            .get(&conversation)
            .map_or(&[][..], Vec::as_slice)
    }

    /// Something of this conversation has been lost below the server.
    pub(crate) fn has_losses(&self, conversation: Uuid) -> bool {
        self.losses.contains_key(&conversation)
    }

    /// The user was a member all the time, as far as the run can know.
    pub(crate) fn is_steady_member(&self, user: Uuid, conversation: Uuid) -> bool {
        if self.changed.contains(&(user, conversation)) {
            return false;
        }
        let Some(log) = self.logs.get(&conversation) else {
            return true;
        };
        match log.members.get(&user).map(Vec::as_slice) {
            Some([(_since, None)]) => true,
            Some(_came_and_went) => false,
            None => log.is_partly_known || log.events.is_empty(),
        }
    }

    /// The events of frames and deliveries with the one who saw them: user, time, what saw it, event.
    pub(crate) fn sightings(&self) -> impl Iterator<Item = Sighting<'a>> {
        let sockets = &self.sockets;
        let frames = self.history.frames.iter().filter_map(|seen| {
            let crate::history::Frame::Event(event) = &seen.frame else {
                return None;
            };
            Some(Sighting {
                user: sockets.get(&seen.socket).map(|socket| socket.user),
                at: seen.at,
                by: By::Socket(seen.socket),
                event,
            })
        });
        let users: HashMap<u64, Uuid> = self
            .history
            .subscriptions
            .iter()
            .map(|subscription| (subscription.subscription, subscription.user))
            .collect();
        let deliveries = self.history.deliveries.iter().filter_map(move |delivery| {
            let Told::Event(event) = &delivery.told else {
                return None;
            };
            Some(Sighting {
                user: users.get(&delivery.subscription).copied(),
                at: delivery.at,
                by: By::Subscription(delivery.subscription),
                event,
            })
        });
        frames.chain(deliveries)
    }
}

/// Somebody saw an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sighting<'a> {
    pub(crate) user: Option<Uuid>,
    pub(crate) at: Time,
    pub(crate) by: By,
    pub(crate) event: &'a Event,
}

/// Through what an event was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    Socket(u64),
    Subscription(u64),
}

impl Log<'_> {
    fn fold_members(&mut self) {
        self.shows_past = true; // the contract's default for rooms and groups
        for event in &self.events {
            match &event.fact {
                Fact::Created { members } => {
                    self.is_partly_known = members.is_empty();
                    for user in members {
                        self.members
                            .entry(*user)
                            .or_default()
                            .push((event.seq, None));
                    }
                }
                Fact::Added { user } => {
                    let intervals = self.members.entry(*user).or_default();
                    if intervals.last().is_none_or(|(_in, out)| out.is_some()) {
                        intervals.push((event.seq, None));
                    }
                }
                Fact::Removed { user } => {
                    // Unlisted at the beginning, or a member since then.
                    let intervals = self.members.entry(*user).or_insert_with(|| vec![(1, None)]);
                    if let Some((_in, out)) = intervals.last_mut() {
                        *out = out.or(Some(event.seq));
                    }
                }
                // Set before anybody could join, the default never counted; set later, somebody may have seen the past.
                Fact::HistoryFromJoin(true) if event.seq <= 2 => self.shows_past = false,
                Fact::HistoryFromJoin(from_join) => self.shows_past |= !from_join,
                Fact::Sent { .. } | Fact::Edited { .. } | Fact::Deleted { .. } | Fact::Other(_) => {
                }
            }
        }
        // A log whose first event is missing tells nothing about who was in.
        if self
            .events
            .first()
            .is_none_or(|event| !matches!(event.fact, Fact::Created { .. }))
        {
            self.is_partly_known = true;
        }
    }

    /// Whether the event at this place may be shown to the user.
    pub(crate) fn is_visible_to(&self, user: Uuid, seq: u64) -> bool {
        let Some(intervals) = self.members.get(&user) else {
            return self.is_partly_known;
        };
        intervals.iter().any(|(came, went)| {
            let came_before = *came <= seq && went.is_none_or(|went| seq <= went);
            came_before || (self.shows_past && seq < *came)
        })
    }
}

//! Sound histories: a small perfect chat, written down as a run would write it.
//!
//! Never: a clock or randomness but the seed.

use hubbub_checker::history::{Message, SECOND};
use hubbub_checker::{
    Access, AccessChange, Delivery, Digest, Event, Fact, Fold, FoldKind, Frame, FrameSeen, Golden,
    Happened, Healing, Heals, History, InboxEntry, Level, LineageRow, LogRow, Operation,
    OperationKind, Outcome, OwnerSeen, Place, Read, Reading, Socket, Subscription, Time, Told,
};
use uuid::Uuid;

/// People of the world; the last one is taken out of every conversation in the middle.
pub(crate) const PEOPLE: u64 = 4;
const PEOPLE_LISTED: usize = 4;
/// Conversations, one to a partition but the last two, which share one.
const CONVERSATIONS: u64 = 3;
const STEPS: u64 = 60;

/// Numbers from a seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// Less than `below`, which is not 0 (splitmix64).
    pub(crate) const fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}

pub(crate) fn person(n: u64) -> Uuid {
    Uuid::from_u128(0xa000 + u128::from(n))
}

fn conversation(n: u64) -> Uuid {
    Uuid::from_u128(0xc000 + u128::from(n))
}

fn session(user: u64) -> Uuid {
    Uuid::from_u128(0x5e00 + u128::from(user))
}

struct Chat {
    id: Uuid,
    partition: u32,
    events: Vec<Event>,
    messages: u64,
    members: Vec<u64>,
    read_no: [u64; PEOPLE_LISTED],
    deleted: Vec<u64>,
}

struct World {
    history: History,
    dice: Dice,
    now: Time,
    commands: u128,
    sockets: u64,
    chats: Vec<Chat>,
    epochs: [u64; 2],
    offsets: [u64; 2],
    /// The socket of each person and whether it is open.
    open: [u64; PEOPLE_LISTED],
}

/// A sound history of some dozen messages, with everything in it that an invariant looks at.
pub(crate) fn sound(seed: u64) -> History {
    let mut world = World {
        history: History::default(),
        dice: Dice::of(seed),
        now: SECOND,
        commands: 0,
        sockets: 0,
        chats: Vec::new(),
        epochs: [1, 1],
        offsets: [0, 0],
        open: [0; PEOPLE_LISTED],
    };
    world.history.meta.run.push_str("a sound one");
    world.history.meta.seed = seed;
    world.begin();
    for step in 0..STEPS {
        match world.dice.below(10) {
            0 => world.reconnect(),
            1 => world.take_over(),
            2 => world.edit_or_delete(),
            3 => world.refuse(),
            4 | 5 => world.read(false),
            _ => world.send(),
        }
        if step == STEPS / 2 {
            world.remove_the_last();
        }
    }
    world.send();
    world.end();
    world.history
}

impl World {
    fn tick(&mut self) -> Time {
        self.now += 1_000 + self.dice.below(5_000);
        self.now
    }

    fn command(&mut self) -> Uuid {
        self.commands += 1;
        Uuid::from_u128(self.commands)
    }

    fn begin(&mut self) {
        for partition in 0..2 {
            self.lineage(partition);
        }
        for n in 0..CONVERSATIONS {
            let id = conversation(n);
            self.chats.push(Chat {
                id,
                partition: u32::from(n > 0),
                events: Vec::new(),
                messages: 0,
                members: (0..PEOPLE).collect(),
                read_no: [0; PEOPLE_LISTED],
                deleted: Vec::new(),
            });
            let created = Fact::Created {
                members: (0..PEOPLE).map(person).collect(),
            };
            self.operate(usize_of(n), 0, OperationKind::Create, None, |_| created);
        }
        for user in 0..PEOPLE {
            self.connect(user);
            for n in 0..CONVERSATIONS {
                let head = self.chats[usize_of(n)].events.len() as u64;
                self.history.push(Subscription {
                    subscription: user * CONVERSATIONS + n,
                    user: person(user),
                    conversation: conversation(n),
                    after: Some(head),
                    is_complete: true,
                });
            }
        }
    }

    fn lineage(&mut self, partition: usize) {
        let at = self.tick();
        let owner = Uuid::from_u128(0x0_1000 + u128::from(self.epochs[partition]));
        self.history.push(LineageRow {
            partition: u32::try_from(partition).unwrap(),
            epoch: self.epochs[partition],
            start_after: self.offsets[partition],
            owner: Some(owner),
            at: Some(at),
        });
        self.history.push(OwnerSeen {
            at,
            partition: u32::try_from(partition).unwrap(),
            epoch: self.epochs[partition],
            owner,
        });
    }

    fn take_over(&mut self) {
        let partition = usize_of(self.dice.below(2));
        self.epochs[partition] += 1 + self.dice.below(3);
        self.lineage(partition);
        self.history.happened(Happened::TakeoverInFlight, 1);
        self.history.push(Fold {
            kind: FoldKind::Owner,
            what: format!("partition {partition}"),
            through: self.offsets[partition],
            expected: Digest(self.now),
            found: Digest(self.now),
        });
    }

    /// Opens a socket with a cursor at everything that was told so far, minus a little.
    fn connect(&mut self, user: u64) {
        self.sockets += 1;
        let socket = self.sockets;
        let behind = self.dice.below(4);
        let hello_at = self.tick();
        let mut cursors = Vec::new();
        let mut missed = Vec::new();
        for chat in &self.chats {
            if !chat.members.contains(&user) {
                continue;
            }
            let head = chat.events.len() as u64;
            let seq = head.saturating_sub(behind).max(1);
            cursors.push((chat.id, chat.events[usize_of(seq - 1)].epoch, seq));
            missed.extend(chat.events[usize_of(seq)..].iter().cloned());
        }
        self.history.push(Socket {
            socket,
            user: person(user),
            session: Some(session(user)),
            node: 0,
            hello_at,
            cursors,
        });
        let at = self.tick();
        let frame = |frame| FrameSeen { socket, at, frame };
        for event in missed {
            self.history.push(frame(Frame::Event(event)));
        }
        self.history.push(frame(Frame::Live));
        self.open[usize_of(user)] = socket;
    }

    fn reconnect(&mut self) {
        let user = self.dice.below(PEOPLE - 1);
        let (at, socket) = (self.tick(), self.open[usize_of(user)]);
        self.history.push(FrameSeen {
            socket,
            at,
            frame: Frame::Closed { code: None },
        });
        self.connect(user);
    }

    /// Everything from the question to the last delivery.
    fn operate(
        &mut self,
        chat: usize,
        user: u64,
        kind: OperationKind,
        body: Option<Digest>,
        fact: impl FnOnce(u64) -> Fact,
    ) {
        let command = self.command();
        let invoked_at = self.tick();
        let committed_at = self.tick();
        let ended_at = self.tick();
        let partition = usize_of(u64::from(self.chats[chat].partition));
        self.offsets[partition] += 1;
        let (offset, epoch) = (self.offsets[partition], self.epochs[partition]);
        let sender_socket = self.open[usize_of(user)];
        let chat = &mut self.chats[chat];
        let next_no = chat.messages + 1;
        let event = Event {
            conversation: chat.id,
            epoch,
            seq: chat.events.len() as u64 + 1,
            command: Some(command),
            by: person(user),
            fact: fact(next_no),
        };
        if event.fact.message_no().is_some() {
            chat.messages = next_no;
            chat.read_no[usize_of(user)] = next_no;
        }
        if let Fact::Deleted { no } = event.fact {
            chat.deleted.push(no);
        }
        chat.events.push(event.clone());
        let (members, id, row_partition) = (chat.members.clone(), chat.id, chat.partition);
        let place = Place {
            epoch,
            seq: event.seq,
            message_no: event.fact.message_no(),
            is_duplicate: false,
        };
        let attempt = Operation {
            command,
            conversation: id,
            user: person(user),
            kind,
            body,
            node: 0,
            socket: Some(sender_socket).filter(|socket| *socket > 0),
            invoked_at,
            ended_at,
            outcome: Outcome::Acked(place),
            depends_on: Some(event.seq),
        };
        // One in ten is not answered, and asked again later.
        if self.dice.below(10) == 0 {
            let again_at = self.tick();
            self.history.push(Operation {
                outcome: Outcome::Unknown,
                depends_on: None,
                ..attempt.clone()
            });
            self.history.push(Operation {
                invoked_at: again_at,
                ended_at: again_at + 500,
                outcome: Outcome::Acked(Place {
                    is_duplicate: true,
                    ..place
                }),
                ..attempt
            });
        } else {
            self.history.push(attempt);
        }
        self.history.push(LogRow {
            partition: row_partition,
            offset,
            epoch,
            conversation: id,
            seq: event.seq,
            command,
            crc_ok: true,
            committed_at: Some(committed_at),
        });
        self.history.push(event.clone());
        let n = id.as_u128() - 0xc000;
        for member in members {
            let socket = self.open[usize_of(member)];
            if socket == 0 {
                continue;
            }
            let at = self.tick();
            self.history.push(FrameSeen {
                socket,
                at,
                frame: Frame::Event(event.clone()),
            });
            self.history.push(Delivery {
                subscription: member * CONVERSATIONS + u64::try_from(n).unwrap(),
                at,
                told: Told::Event(event.clone()),
            });
        }
    }

    fn chat_and_member(&mut self) -> (usize, u64) {
        let chat = usize_of(self.dice.below(CONVERSATIONS));
        let members = &self.chats[chat].members;
        (
            chat,
            members[usize_of(self.dice.below(members.len() as u64))],
        )
    }

    fn send(&mut self) {
        let (chat, user) = self.chat_and_member();
        let body = Some(Digest(self.now));
        let mentions = if self.dice.below(3) == 0 {
            vec![person(self.dice.below(PEOPLE))]
        } else {
            Vec::new()
        };
        self.operate(chat, user, OperationKind::Send, body, |no| Fact::Sent {
            no,
            body,
            mentions,
        });
    }

    fn edit_or_delete(&mut self) {
        let (chat, user) = self.chat_and_member();
        let messages = self.chats[chat].messages;
        if messages == 0 {
            return;
        }
        let no = 1 + self.dice.below(messages);
        if self.chats[chat].deleted.contains(&no) {
            return;
        }
        let body = Some(Digest(self.now));
        if self.dice.below(2) == 0 {
            self.operate(chat, user, OperationKind::Edit { no }, body, |_| {
                Fact::Edited { no, body }
            });
        } else {
            self.operate(chat, user, OperationKind::Delete { no }, None, |_| {
                Fact::Deleted { no }
            });
        }
    }

    fn refuse(&mut self) {
        let (chat, user) = self.chat_and_member();
        let (command, invoked_at, ended_at) = (self.command(), self.tick(), self.tick());
        let chat = &self.chats[chat];
        self.history.push(Operation {
            command,
            conversation: chat.id,
            user: person(user),
            kind: OperationKind::Send,
            body: Some(Digest(invoked_at)),
            node: 1,
            socket: None,
            invoked_at,
            ended_at,
            outcome: Outcome::Refused {
                code: "busy".to_owned(),
            },
            depends_on: Some(chat.events.len() as u64),
        });
    }

    fn remove_the_last(&mut self) {
        let gone = PEOPLE - 1;
        for chat in 0..usize_of(CONVERSATIONS) {
            let user = person(gone);
            let kind = OperationKind::Remove { user };
            self.operate(chat, 0, kind, None, |_| Fact::Removed { user });
            let id = self.chats[chat].id;
            self.chats[chat].members.retain(|member| *member != gone);
            self.history.push(AccessChange {
                at: self.now,
                user,
                access: Access::Conversation(id),
                ended: true,
            });
            self.history.push(FrameSeen {
                socket: self.open[usize_of(gone)],
                at: self.now,
                frame: Frame::Removed { conversation: id },
            });
        }
        self.now += 2 * SECOND;
    }

    fn entry(chat: &Chat, user: u64) -> InboxEntry {
        let read_no = chat.read_no[usize_of(user)];
        let mut unread = 0;
        let mut mentions = 0;
        for event in &chat.events {
            let Fact::Sent {
                no,
                mentions: mentioned,
                ..
            } = &event.fact
            else {
                continue;
            };
            let counts = *no > read_no && event.by != person(user) && !chat.deleted.contains(no);
            unread += i64::from(counts);
            mentions += i64::from(counts && mentioned.contains(&person(user)));
        }
        InboxEntry {
            conversation: chat.id,
            epoch: chat.events.last().unwrap().epoch,
            head_seq: chat.events.len() as u64,
            head_no: chat.messages,
            read_no,
            joined_no: 0,
            unread,
            mentions: Some(mentions),
            marked_unread: false,
        }
    }

    fn page(chat: &Chat) -> Vec<Message> {
        let mut items: Vec<Message> = Vec::new();
        for event in &chat.events {
            match &event.fact {
                Fact::Sent { no, body, .. } => items.push(Message {
                    no: *no,
                    seq: event.seq,
                    epoch: event.epoch,
                    by: event.by,
                    body: *body,
                }),
                Fact::Edited { no, body } => items[usize_of(no - 1)].body = *body,
                Fact::Deleted { no } => items[usize_of(no - 1)].body = None,
                _nothing_shown => {}
            }
        }
        items
    }

    fn read(&mut self, is_quiet: bool) {
        let user = self.dice.below(PEOPLE - 1);
        let (invoked_at, ended_at) = (self.tick(), self.tick());
        let node = u32::try_from(self.dice.below(2)).unwrap();
        let read = |reading| Read {
            user: person(user),
            node,
            invoked_at,
            ended_at,
            is_quiet,
            reading,
        };
        let entries = self
            .chats
            .iter()
            .map(|chat| Self::entry(chat, user))
            .collect();
        self.history.push(read(Reading::Inbox {
            entries,
            complete: true,
        }));
        let chat = &self.chats[usize_of(self.dice.below(CONVERSATIONS))];
        self.history.push(read(Reading::Page {
            conversation: chat.id,
            newest: true,
            items: Self::page(chat),
        }));
        if chat.messages > 0 {
            let no = 1 + self.dice.below(chat.messages);
            self.history.push(read(Reading::Search {
                conversation: chat.id,
                no,
                found: true,
            }));
        }
    }

    fn end(&mut self) {
        for _ in 0..4 {
            self.read(true);
        }
        let at = self.tick();
        for kind in [FoldKind::Snapshot, FoldKind::ReadModel, FoldKind::Rebuild] {
            self.history.push(Fold {
                kind,
                what: "history".to_owned(),
                through: 7,
                expected: Digest(7),
                found: Digest(7),
            });
        }
        for heals in [Heals::Owned, Heals::Commands, Heals::Heads] {
            self.history.push(Healing {
                fault: "F1".to_owned(),
                healed_at: at,
                heals,
                reached_at: Some(at + SECOND),
            });
        }
        self.history.push(Level {
            at,
            node: 0,
            what: "edge.session.queue".to_owned(),
            value: 10,
            bound: 10,
        });
        self.history.push(Golden {
            vector: "message_sent.v1".to_owned(),
            broken: None,
        });
        self.history.happened(Happened::FencedAppend, 1);
        self.history.happened(Happened::HealedGap, 2);
        self.history.happened(Happened::HealedLastMessage, 1);
    }
}

pub(crate) fn usize_of(n: u64) -> usize {
    usize::try_from(n).unwrap()
}

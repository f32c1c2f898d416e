//! What people do: say things, say them again, use an id twice, move markers, read, come and go, change nodes.

use hubbub_checker::OperationKind;
use hubbub_client::machine::Input;
use hubbub_domain::conversation::{
    Command, Intent, Kind, NewConversation, RequestKey, Role, Settings, Visibility,
};
use hubbub_domain::ids::{CommandId, ConversationId, UserId};
use hubbub_wire::client::ClientFrame;
use hubbub_wire::client::inbound::{Mark, Send};
use uuid::Uuid;

use crate::client::{Asks, Client, ClientInput};
use crate::database::DAWN_MILLIS;
use crate::wires::{Event, RestRequest, Wires};

/// Repetitions to choose from.
const SENT_KEPT: usize = 12;

impl Client {
    /// One thing, then another a little later.
    pub(super) fn work(&mut self, wires: &mut Wires) {
        if self.rests {
            return;
        }
        let pause = wires.random.between(20, 600);
        wires.after(pause, Event::Client(self.number, ClientInput::Work));
        let mine: Vec<Uuid> = self
            .follows
            .iter()
            .filter(|(_, follow)| follow.is_member)
            .map(|(id, _)| *id)
            .collect();
        let Some(conversation) = wires.random.pick(&mine).copied() else {
            return;
        };
        match wires.random.below(100) {
            0..=54 => {
                let count = if wires.random.chance(150) { 4 } else { 1 };
                for _ in 0..count {
                    self.send(conversation, wires);
                }
            }
            55..=60 => self.repeat(wires),
            61..=62 => self.use_id_again(wires),
            63..=72 => self.mark(conversation, wires),
            73..=78 => self.read_history(ConversationId::from_uuid(conversation), wires),
            79..=86 => self.read_inbox(wires),
            87..=89 => self.add_someone(conversation, wires),
            90..=92 => self.remove_someone(conversation, wires),
            93..=94 => self.break_line(wires),
            _ => {
                let node = wires.random.index(self.nodes);
                self.drive(Input::ForceReconnect { node }, wires);
            }
        }
    }

    fn new_id(&mut self, wires: &Wires) -> Uuid {
        let dawn = u64::try_from(DAWN_MILLIS).unwrap_or(0);
        self.random.uuid_v7(dawn.saturating_add(wires.now_ms))
    }

    /// A text that nobody else says.
    fn body(&mut self, wires: &mut Wires) -> String {
        self.bodies = self.bodies.saturating_add(1);
        let mut body = format!("c{} says {}", self.number, self.bodies);
        if wires.weather.large_bodies && wires.random.chance(500) {
            body.push_str(&"x".repeat(8_000));
        }
        body
    }

    fn send(&mut self, conversation: Uuid, wires: &mut Wires) {
        let frame = ClientFrame::Send(Send {
            id: self.new_id(wires),
            conversation_id: conversation,
            body: self.body(wires),
            reply_to_no: None,
            thread_root_no: None,
            attachments: None,
            retry: None,
            trace: None,
        });
        wires.counters.one("messages sent");
        if self.sent.len() >= SENT_KEPT {
            self.sent.remove(0);
        }
        self.sent.push(frame.clone());
        self.drive(Input::Submit(frame), wires);
    }

    fn repeat(&mut self, wires: &mut Wires) {
        if let Some(frame) = wires.random.pick(&self.sent).cloned() {
            wires.counters.one("commands repeated on purpose");
            self.drive(Input::Submit(frame), wires);
        }
    }

    fn use_id_again(&mut self, wires: &mut Wires) {
        if let Some(ClientFrame::Send(mut send)) = wires.random.pick(&self.sent).cloned() {
            wires.counters.one("ids used again for another text");
            send.body = self.body(wires);
            self.drive(Input::Submit(ClientFrame::Send(send)), wires);
        }
    }

    fn mark(&mut self, conversation: Uuid, wires: &mut Wires) {
        let head = self
            .follows
            .get(&conversation)
            .map_or(0, |follow| follow.head_no);
        if head == 0 {
            return;
        }
        let read_no = wires.random.between(1, head);
        if wires.random.chance(300) {
            let node = wires.random.index(self.nodes);
            let id = self.new_id(wires);
            let attempt = wires.recorder.attempt(
                wires.now_ms,
                id,
                conversation,
                self.user,
                OperationKind::Mark { read_no },
                None,
                node,
                None,
            );
            let request = RestRequest::Mark {
                conversation: ConversationId::from_uuid(conversation),
                read_no,
            };
            self.ask(node, request, Asks::Mark { attempt }, wires);
        } else {
            let mark = Mark {
                conversation_id: conversation,
                read_no: Some(read_no),
                delivered_no: Some(head),
            };
            self.drive(Input::Mark(mark), wires);
        }
    }

    /// The newest page, from any node.
    pub fn read_history(&mut self, conversation: ConversationId, wires: &mut Wires) {
        let node = wires.random.index(self.nodes);
        let request = RestRequest::History(conversation);
        self.ask(node, request, Asks::History(conversation), wires);
    }

    /// The inbox, from any node.
    pub fn read_inbox(&mut self, wires: &mut Wires) {
        let node = wires.random.index(self.nodes);
        self.ask(node, RestRequest::Inbox, Asks::Inbox, wires);
    }

    /// Everything that can be read, for the last time.
    pub fn last_reads(&mut self, wires: &mut Wires) {
        self.is_quiet = true;
        self.read_inbox(wires);
        let mine: Vec<Uuid> = self.follows.keys().copied().collect();
        for conversation in mine {
            self.read_history(ConversationId::from_uuid(conversation), wires);
        }
    }

    /// A group of these and oneself.
    pub fn create(&mut self, members: Vec<UserId>, wires: &mut Wires) {
        let id = CommandId::from_uuid(self.new_id(wires));
        let command = Command {
            id,
            conversation: ConversationId::created(self.user, id),
            by: self.user,
            intent: Intent::Create(NewConversation {
                kind: Kind::Group,
                members,
                title: Some("group".to_owned()),
                topic: None,
                visibility: Visibility::Private,
                settings: Settings::default(),
                request_key: RequestKey::from_bytes([7; 32]),
            }),
        };
        let node = wires.random.index(self.nodes);
        self.command(node, command, OperationKind::Create, wires);
    }

    fn change(
        &mut self,
        conversation: Uuid,
        intent: Intent,
        kind: OperationKind,
        wires: &mut Wires,
    ) {
        let command = Command {
            id: CommandId::from_uuid(self.new_id(wires)),
            conversation: ConversationId::from_uuid(conversation),
            by: self.user,
            intent,
        };
        let node = wires.random.index(self.nodes);
        self.command(node, command, kind, wires);
    }

    fn add_someone(&mut self, conversation: Uuid, wires: &mut Wires) {
        let client = wires.random.index(wires.recorder.users());
        let user = wires.recorder.user_of(client);
        let intent = Intent::AddMember {
            user,
            role: Role::Admin,
        };
        let kind = OperationKind::Add { user: user.uuid() };
        wires.counters.one("members to be added");
        self.change(conversation, intent, kind, wires);
    }

    fn remove_someone(&mut self, conversation: Uuid, wires: &mut Wires) {
        let client = wires.random.index(wires.recorder.users());
        let user = wires.recorder.user_of(client);
        let intent = if user == self.user {
            Intent::Leave
        } else {
            Intent::RemoveMember { user }
        };
        let kind = OperationKind::Remove { user: user.uuid() };
        wires.counters.one("members to be removed");
        self.change(conversation, intent, kind, wires);
    }
}

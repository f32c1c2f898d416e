//! A small cast, and `check`: given what has happened, when someone asks, then this follows.

use hubbub_domain::conversation::{
    Command, Decision, Event, Intent, Kind, NewConversation, Recorded, Rejection, RequestKey, Role,
    Settings, State, Visibility, decide, evolve, recorded,
};
use hubbub_domain::ids::{CommandId, ConversationId, UserId};
use hubbub_domain::position::MessageNo;
use hubbub_domain::time::Timestamp;
use uuid::Uuid;

pub(crate) const ANN: u8 = 1;
pub(crate) const BOB: u8 = 2;
pub(crate) const CAT: u8 = 3;
pub(crate) const DAN: u8 = 4;

/// When every story starts: 2026-01-01T00:00:00Z.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

pub(crate) fn user(number: u8) -> UserId {
    UserId::from_uuid(Uuid::from_u128(u128::from(number)))
}

/// A `UUIDv7` made at `at`, told apart by `number`.
pub(crate) fn command_id_at(at: Timestamp, number: u64) -> CommandId {
    let millis = u128::try_from(at.millis()).unwrap();
    let bits = (millis << 80) | (0x7 << 76) | (0b10 << 62) | u128::from(number);
    CommandId::from_uuid(Uuid::from_u128(bits))
}

pub(crate) fn command_id(number: u64) -> CommandId {
    command_id_at(START, number)
}

pub(crate) fn key() -> RequestKey {
    RequestKey::from_bytes([7; 32])
}

pub(crate) fn new(kind: Kind, members: &[u8]) -> NewConversation {
    NewConversation {
        kind,
        members: members.iter().map(|number| user(*number)).collect(),
        title: (kind != Kind::Direct).then(|| "Tea".to_owned()),
        topic: None,
        visibility: Visibility::Private,
        settings: Settings::default(),
        request_key: key(),
    }
}

pub(crate) fn public_room(members: &[u8]) -> NewConversation {
    NewConversation {
        visibility: Visibility::Public,
        ..new(Kind::Room, members)
    }
}

pub(crate) fn message(body: &str) -> Intent {
    Intent::SendMessage {
        body: body.to_owned(),
        reply_to_no: None,
        thread_root_no: None,
    }
}

pub(crate) fn said(no: u64, body: &str) -> Event {
    Event::MessageSent {
        message_no: MessageNo::new(no),
        body: Some(body.to_owned()),
        reply_to_no: None,
        thread_root_no: None,
    }
}

/// A conversation with its past, and a clock that stands still unless moved.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) state: State,
    pub(crate) events: Vec<Recorded>,
    pub(crate) now: Timestamp,
    next_id: u64,
}

impl Story {
    /// Begun by `by`, with command id 0.
    pub(crate) fn begun(by: u8, new: NewConversation) -> Self {
        let others: Vec<UserId> = new.members.clone();
        let id = match new.kind {
            Kind::Direct => ConversationId::direct(user(by), others[0]),
            Kind::Group | Kind::Room => ConversationId::created(user(by), command_id(0)),
        };
        let mut story = Self {
            state: State::absent(id),
            events: Vec::new(),
            now: START,
            next_id: 1,
        };
        let command = story.command(command_id(0), by, Intent::Create(new));
        story.run(&command).unwrap();
        story
    }

    pub(crate) fn command(&self, id: CommandId, by: u8, intent: Intent) -> Command {
        Command {
            id,
            conversation: self.state.id(),
            by: user(by),
            intent,
        }
    }

    /// A command with an id that was never used.
    pub(crate) fn fresh(&mut self, by: u8, intent: Intent) -> Command {
        let id = command_id_at(self.now, self.next_id);
        self.next_id += 1;
        self.command(id, by, intent)
    }

    /// Decides, and stores what is to be stored.
    pub(crate) fn run(&mut self, command: &Command) -> Result<Decision, Rejection> {
        let decision = decide(&self.state, command)?;
        if let Decision::Store(event) = &decision {
            let stored = recorded(&self.state, command, event.clone(), self.now);
            evolve(&mut self.state, &stored);
            self.events.push(stored);
        }
        Ok(decision)
    }

    /// One more thing that has happened; it must be something the rules store.
    pub(crate) fn and(mut self, by: u8, intent: Intent) -> Self {
        let command = self.fresh(by, intent);
        let decision = self.run(&command);
        assert!(
            matches!(decision, Ok(Decision::Store(_))),
            "given: {command:?} gave {decision:?}"
        );
        self
    }

    pub(crate) fn with_role(self, by: u8, whose: u8, role: Role) -> Self {
        self.and(
            by,
            Intent::ChangeRole {
                user: user(whose),
                role,
            },
        )
    }
}

/// Given `story`, when `by` asks for `intent`, then `expected`.
#[track_caller]
#[expect(
    clippy::needless_pass_by_value,
    reason = "the tables read better without borrows"
)]
pub(crate) fn check(story: &Story, by: u8, intent: Intent, expected: Result<Decision, Rejection>) {
    let command = story.clone().fresh(by, intent);
    let before = story.state.clone();
    assert_eq!(decide(&story.state, &command), expected, "{command:?}");
    assert_eq!(story.state, before);
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it is the expected side of `check`"
)]
pub(crate) fn stores(event: Event) -> Result<Decision, Rejection> {
    Ok(Decision::Store(event))
}

pub(crate) fn forbidden(rule: &'static str) -> Result<Decision, Rejection> {
    Err(Rejection::Forbidden { rule })
}

pub(crate) fn invalid(field: &'static str, reason: &'static str) -> Result<Decision, Rejection> {
    Err(Rejection::Invalid { field, reason })
}

pub(crate) fn conflict(reason: &'static str) -> Result<Decision, Rejection> {
    Err(Rejection::Conflict { reason })
}

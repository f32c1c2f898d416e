//! A registered person: a token, the REST interface at a home node, and questions that page through whole lists.

use hubbub_client::{Client, ClientOptions, Rest, RestError};
use hubbub_testkit::fresh_uuid;
use hubbub_testkit::wait::eventually_some;
use hubbub_wire::client::object::{Conversation, Message, User};
use hubbub_wire::client::words::{ConversationKind, Visibility};
use hubbub_wire::client::{Cursor, RawEvent};
use hubbub_wire::error::ErrorClass;
use hubbub_wire::rest::{
    AddMember, CreateConversation, InboxQuery, List, Login, MessagesQuery, Register, SendMessage,
    Stored,
};
use uuid::Uuid;

use super::PATIENCE;
use super::deployment::Deployment;
use super::http::Http;
use super::listener::Listener;
use super::raw_socket::RawSocket;

/// Strong enough for the server, and the same for everybody: nothing here is about guessing.
pub(crate) const PASSWORD: &str = "tangerine-kiosk-walrus-42";
/// Largest page the server gives.
const PAGE: u32 = 200;

/// Someone with an account, at home on one node.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) user: User,
    pub(crate) token: String,
    /// REST at the home node.
    pub(crate) rest: Rest,
    /// All nodes, the home node first.
    pub(crate) urls: Vec<String>,
}

impl Person {
    /// Registers someone new at node `home`.
    pub(crate) async fn register(deployment: &Deployment, name: &str, home: usize) -> Self {
        let urls = deployment.urls_from(home);
        let anonymous = Rest::new(&urls[0]).expect("an HTTP client can be made");
        let register = Register {
            username: unique(name),
            display_name: name.to_owned(),
            password: PASSWORD.to_owned(),
            email: None,
            invite: None,
        };
        let started = anonymous
            .register(&register)
            .await
            .expect("registering works");
        Self {
            rest: anonymous.with_token(&started.token),
            user: started.user,
            token: started.token,
            urls,
        }
    }

    /// The same account with a session of its own, at home at node `home`.
    pub(crate) async fn log_in_again(&self, deployment: &Deployment, home: usize) -> Self {
        let urls = deployment.urls_from(home);
        let anonymous = Rest::new(&urls[0]).expect("an HTTP client can be made");
        let login = Login {
            username: self.user.username.clone(),
            password: PASSWORD.to_owned(),
            totp: None,
        };
        let started = anonymous.login(&login).await.expect("logging in works");
        Self {
            rest: anonymous.with_token(&started.token),
            user: started.user,
            token: started.token,
            urls,
        }
    }

    pub(crate) fn id(&self) -> Uuid {
        self.user.id
    }

    /// REST at every node, the home node first.
    pub(crate) fn rests(&self) -> impl Iterator<Item = Rest> {
        self.urls.iter().map(|url| self.rest.at(url))
    }

    /// Plain HTTP at the home node, with this person's token.
    pub(crate) fn http(&self) -> Http {
        Http::new(&self.urls[0]).with_token(&self.token)
    }

    /// A connection that has caught up; it starts live everywhere.
    pub(crate) async fn connect(&self) -> Listener {
        self.connect_from(Vec::new()).await
    }

    /// A connection that has caught up with what these cursors missed.
    pub(crate) async fn connect_from(&self, cursors: Vec<Cursor>) -> Listener {
        let mut options = ClientOptions::new(self.urls.clone(), self.token.clone(), "e2e");
        options.cursors = cursors;
        let (client, events) = Client::connect(options).expect("a client can be made");
        let listener = Listener::new(client, events);
        assert!(
            listener.client.wait_caught_up(PATIENCE).await,
            "{} is not caught up: {:?}",
            self.user.username,
            listener.client.state()
        );
        listener
    }

    /// A socket at the home node that has said hello and heard `welcome`.
    pub(crate) async fn socket(&self, cursors: &[Cursor]) -> RawSocket {
        let mut socket = RawSocket::open(&self.urls[0], &self.token).await;
        socket.hello(cursors).await;
        socket
    }

    /// Begins (or finds) the direct conversation with `other`.
    pub(crate) async fn direct(&self, other: &Self) -> Uuid {
        let new = direct_with(other.id());
        let direct = self.rest.create_conversation(&new, None).await;
        direct.expect("a direct conversation can be begun").id
    }

    /// Makes a private group with `others`.
    pub(crate) async fn group(&self, title: &str, others: &[&Self]) -> Uuid {
        let new = CreateConversation {
            kind: ConversationKind::Group,
            members: Some(others.iter().map(|other| other.id()).collect()),
            title: Some(title.to_owned()),
            ..direct_with(Uuid::nil())
        };
        let group = self.rest.create_conversation(&new, None).await;
        group.expect("a group can be made").id
    }

    /// Makes a public room.
    pub(crate) async fn room(&self, title: &str) -> Uuid {
        let new = CreateConversation {
            kind: ConversationKind::Room,
            members: None,
            title: Some(title.to_owned()),
            visibility: Some(Visibility::Public),
            ..direct_with(Uuid::nil())
        };
        let room = self.rest.create_conversation(&new, None).await;
        room.expect("a room can be made").id
    }

    pub(crate) async fn add(&self, conversation: Uuid, other: &Self) {
        let add = AddMember {
            user_id: other.id(),
            role: None,
        };
        let added = self.rest.add_member(conversation, &add, None).await;
        added.expect("adding works");
    }

    /// Says something over REST until it is stored: for the time after something broke.
    pub(crate) async fn say_until_stored(&self, conversation: Uuid, body: &str) -> Stored {
        self.say_until_stored_as(fresh_uuid(), conversation, body)
            .await
    }

    /// Like [`Self::say_until_stored`], with this key.
    pub(crate) async fn say_until_stored_as(
        &self,
        key: Uuid,
        conversation: Uuid,
        body: &str,
    ) -> Stored {
        eventually_some(PATIENCE, "the message to be stored", async || {
            match self.try_say(conversation, body, Some(key)).await {
                Ok(stored) => Some(stored),
                Err(error) => {
                    let class = error.problem().map(|problem| problem.code.class());
                    let passes = matches!(class, None | Some(ErrorClass::Later | ErrorClass::Open));
                    assert!(passes, "{body} cannot be said: {error}");
                    None
                }
            }
        })
        .await
    }

    /// Says something over REST, where nothing is broken.
    pub(crate) async fn say(&self, conversation: Uuid, body: &str) -> Stored {
        self.try_say(conversation, body, None)
            .await
            .expect("saying something works")
    }

    /// Says something over REST, with this key.
    pub(crate) async fn try_say(
        &self,
        conversation: Uuid,
        body: &str,
        key: Option<Uuid>,
    ) -> Result<Stored, RestError> {
        self.rest
            .send_message(conversation, &message(body), key)
            .await
    }

    /// The conversation as it stands in the own inbox.
    pub(crate) async fn inbox_entry(&self, conversation: Uuid) -> Conversation {
        let inbox = inbox(&self.rest).await;
        let entry = inbox.into_iter().find(|entry| entry.id == conversation);
        entry.expect("the conversation is in the inbox")
    }

    pub(crate) async fn unread(&self, conversation: Uuid) -> u64 {
        self.inbox_entry(conversation).await.unread
    }

    /// Where the conversation stands: its summary is a sound cursor.
    pub(crate) async fn head(&self, conversation: Uuid) -> Cursor {
        let summary = self
            .rest
            .conversation(conversation)
            .await
            .expect("it can be read");
        Cursor {
            conversation_id: conversation,
            epoch: summary.epoch,
            seq: summary.head_seq,
        }
    }

    /// Every message, oldest first.
    pub(crate) async fn history(&self, conversation: Uuid) -> Vec<Message> {
        history(&self.rest, conversation).await
    }

    /// Every raw event, oldest first.
    pub(crate) async fn log(&self, conversation: Uuid) -> Vec<RawEvent> {
        log(&self.rest, conversation).await
    }
}

/// The whole inbox.
pub(crate) async fn inbox(rest: &Rest) -> Vec<Conversation> {
    let mut query = InboxQuery {
        limit: Some(PAGE),
        ..InboxQuery::default()
    };
    let mut all = Vec::new();
    loop {
        let page = rest.inbox(&query).await.expect("the inbox can be read");
        all.extend(page.items);
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            return all;
        }
    }
}

/// Every message of a conversation, oldest first.
pub(crate) async fn history(rest: &Rest, conversation: Uuid) -> Vec<Message> {
    let mut all: Vec<Message> = Vec::new();
    loop {
        let query = MessagesQuery {
            after_no: Some(all.last().map_or(0, |message| message.message_no)),
            limit: Some(PAGE),
            ..MessagesQuery::default()
        };
        let page: List<Message> = rest
            .messages(conversation, &query)
            .await
            .expect("history can be read");
        all.extend(page.items);
        if page.next_cursor.is_none() {
            return all;
        }
    }
}

/// Every raw event of a conversation, oldest first.
pub(crate) async fn log(rest: &Rest, conversation: Uuid) -> Vec<RawEvent> {
    let mut all: Vec<RawEvent> = Vec::new();
    loop {
        let from_seq = all.last().map_or(1, |event| event.seq + 1);
        let page = rest
            .events(conversation, from_seq, Some(PAGE))
            .await
            .expect("events can be read");
        all.extend(page.items);
        if page.next_cursor.is_none() {
            return all;
        }
    }
}

/// The request for a direct conversation with that person.
pub(crate) fn direct_with(other: Uuid) -> CreateConversation {
    CreateConversation {
        kind: ConversationKind::Direct,
        members: Some(vec![other]),
        title: None,
        topic: None,
        visibility: None,
        settings: None,
    }
}

/// The request for a message with that text.
pub(crate) fn message(body: &str) -> SendMessage {
    SendMessage {
        body: body.to_owned(),
        reply_to_no: None,
        thread_root_no: None,
        attachments: None,
        scheduled_for: None,
    }
}

/// A name that nobody else has.
pub(crate) fn unique(name: &str) -> String {
    // The end of an id is its random part: 48 bits keep the name short.
    let (_time, random) = fresh_uuid().as_u64_pair();
    format!("{name}-{:012x}", random & 0xffff_ffff_ffff)
}

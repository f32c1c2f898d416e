//! The plain HTTP side: one method per resource, typed answers, typed errors.
//!
//! Never: a retry (the caller knows whether the request may be repeated and with which key), a token in a URL, an answer
//! of unbounded size.

mod answer;
mod query;

use std::sync::Arc;
use std::time::Duration;

use hubbub_wire::client::RawEvent;
use hubbub_wire::client::object::{Conversation, Member, Message, User};
use hubbub_wire::rest::{
    AddMember, ChangeRole, CreateConversation, InboxQuery, Limits, List, Login, MarkUnread, Marker,
    Me, MessagesQuery, Register, SearchQuery, SendMessage, SessionStarted, Stored,
};
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

pub use answer::RestError;

/// A whole request takes at most this long: the server's own deadline is 4 s, slow lists included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// One node's REST interface, as one user or as nobody. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Rest {
    http: reqwest::Client,
    base: Arc<str>,
    token: Option<Arc<str>>,
}

impl Rest {
    /// The interface at `base_url`, for example `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// [`RestError::Setup`] when no HTTP client can be made.
    pub fn new(base_url: &str) -> Result<Self, RestError> {
        install_tls_provider();
        let http = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .tcp_nodelay(true)
            .build()
            .map_err(RestError::Setup)?;
        Ok(Self {
            http,
            base: Arc::from(base_url.trim_end_matches('/')),
            token: None,
        })
    }

    /// The same interface as the user of this token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: Some(Arc::from(token)),
            ..self.clone()
        }
    }

    /// The same user at another node.
    #[must_use]
    pub fn at(&self, base_url: &str) -> Self {
        Self {
            base: Arc::from(base_url.trim_end_matches('/')),
            ..self.clone()
        }
    }

    /// `POST /auth/register`.
    pub async fn register(&self, register: &Register) -> Result<SessionStarted, RestError> {
        self.write(Method::POST, "/auth/register", register, None)
            .await
    }

    /// `POST /auth/login`.
    pub async fn login(&self, login: &Login) -> Result<SessionStarted, RestError> {
        self.write(Method::POST, "/auth/login", login, None).await
    }

    /// `POST /auth/logout`.
    pub async fn logout(&self) -> Result<(), RestError> {
        self.act(Method::POST, "/auth/logout", None).await
    }

    /// `GET /me`.
    pub async fn me(&self) -> Result<Me, RestError> {
        self.read("/me").await
    }

    /// `GET /limits`.
    pub async fn limits(&self) -> Result<Limits, RestError> {
        self.read("/limits").await
    }

    /// `GET /users`.
    pub async fn users(&self, search: &SearchQuery) -> Result<List<User>, RestError> {
        self.read(&format!("/users{}", query::of(search))).await
    }

    /// `GET /users/{id}`.
    pub async fn user(&self, user: Uuid) -> Result<User, RestError> {
        self.read(&format!("/users/{user}")).await
    }

    /// `GET /rooms`.
    pub async fn rooms(&self, search: &SearchQuery) -> Result<List<Conversation>, RestError> {
        self.read(&format!("/rooms{}", query::of(search))).await
    }

    /// `GET /inbox`, one page.
    pub async fn inbox(&self, inbox: &InboxQuery) -> Result<List<Conversation>, RestError> {
        self.read(&format!("/inbox{}", query::of(inbox))).await
    }

    /// `POST /conversations`; `key` makes it safe to repeat.
    pub async fn create_conversation(
        &self,
        new: &CreateConversation,
        key: Option<Uuid>,
    ) -> Result<Conversation, RestError> {
        self.write(Method::POST, "/conversations", new, key).await
    }

    /// `GET /conversations/{id}`.
    pub async fn conversation(&self, conversation: Uuid) -> Result<Conversation, RestError> {
        self.read(&format!("/conversations/{conversation}")).await
    }

    /// `POST …/join`.
    pub async fn join(
        &self,
        conversation: Uuid,
        key: Option<Uuid>,
    ) -> Result<Conversation, RestError> {
        let path = format!("/conversations/{conversation}/join");
        answer::read(self.request(Method::POST, &path, key).send().await).await
    }

    /// `POST …/leave`.
    pub async fn leave(&self, conversation: Uuid, key: Option<Uuid>) -> Result<(), RestError> {
        self.act(
            Method::POST,
            &format!("/conversations/{conversation}/leave"),
            key,
        )
        .await
    }

    /// `GET …/members`, one page.
    pub async fn members(
        &self,
        conversation: Uuid,
        cursor: Option<&str>,
    ) -> Result<List<Member>, RestError> {
        let page = hubbub_wire::rest::ListQuery {
            limit: None,
            cursor: cursor.map(str::to_owned),
        };
        self.read(&format!(
            "/conversations/{conversation}/members{}",
            query::of(&page)
        ))
        .await
    }

    /// `POST …/members`.
    pub async fn add_member(
        &self,
        conversation: Uuid,
        add: &AddMember,
        key: Option<Uuid>,
    ) -> Result<(), RestError> {
        let path = format!("/conversations/{conversation}/members");
        answer::done(
            self.request(Method::POST, &path, key)
                .json(add)
                .send()
                .await,
        )
        .await
    }

    /// `PATCH …/members/{user}`.
    pub async fn change_role(
        &self,
        conversation: Uuid,
        user: Uuid,
        role: &ChangeRole,
        key: Option<Uuid>,
    ) -> Result<(), RestError> {
        let path = format!("/conversations/{conversation}/members/{user}");
        answer::done(
            self.request(Method::PATCH, &path, key)
                .json(role)
                .send()
                .await,
        )
        .await
    }

    /// `DELETE …/members/{user}`.
    pub async fn remove_member(
        &self,
        conversation: Uuid,
        user: Uuid,
        key: Option<Uuid>,
    ) -> Result<(), RestError> {
        self.act(
            Method::DELETE,
            &format!("/conversations/{conversation}/members/{user}"),
            key,
        )
        .await
    }

    /// `GET …/messages`: one page, ascending by number.
    pub async fn messages(
        &self,
        conversation: Uuid,
        page: &MessagesQuery,
    ) -> Result<List<Message>, RestError> {
        self.read(&format!(
            "/conversations/{conversation}/messages{}",
            query::of(page)
        ))
        .await
    }

    /// `GET …/messages/{no}`.
    pub async fn message(&self, conversation: Uuid, message_no: u64) -> Result<Message, RestError> {
        self.read(&format!(
            "/conversations/{conversation}/messages/{message_no}"
        ))
        .await
    }

    /// `POST …/messages`; `key` is the command id.
    pub async fn send_message(
        &self,
        conversation: Uuid,
        message: &SendMessage,
        key: Option<Uuid>,
    ) -> Result<Stored, RestError> {
        self.write(
            Method::POST,
            &format!("/conversations/{conversation}/messages"),
            message,
            key,
        )
        .await
    }

    /// `PUT …/marker`.
    pub async fn marker(&self, conversation: Uuid, read_no: u64) -> Result<(), RestError> {
        let path = format!("/conversations/{conversation}/marker");
        answer::done(
            self.request(Method::PUT, &path, None)
                .json(&Marker { read_no })
                .send()
                .await,
        )
        .await
    }

    /// `POST …/mark-unread`.
    pub async fn mark_unread(&self, conversation: Uuid, from_no: u64) -> Result<(), RestError> {
        let path = format!("/conversations/{conversation}/mark-unread");
        answer::done(
            self.request(Method::POST, &path, None)
                .json(&MarkUnread { from_no })
                .send()
                .await,
        )
        .await
    }

    /// `GET …/events`: raw events ascending from `from_seq`, inclusive.
    pub async fn events(
        &self,
        conversation: Uuid,
        from_seq: u64,
        limit: Option<u32>,
    ) -> Result<List<RawEvent>, RestError> {
        let page = hubbub_wire::rest::EventsQuery {
            from_seq: Some(from_seq),
            limit,
            cursor: None,
        };
        self.read(&format!(
            "/conversations/{conversation}/events{}",
            query::of(&page)
        ))
        .await
    }

    /// `GET /healthz/ready`.
    pub async fn is_ready(&self) -> bool {
        let sent = self
            .http
            .get(format!("{}/healthz/ready", self.base))
            .send()
            .await;
        sent.is_ok_and(|response| response.status().is_success())
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, RestError> {
        answer::read(self.request(Method::GET, path, None).send().await).await
    }

    async fn write<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
        key: Option<Uuid>,
    ) -> Result<T, RestError> {
        answer::read(self.request(method, path, key).json(body).send().await).await
    }

    async fn act(&self, method: Method, path: &str, key: Option<Uuid>) -> Result<(), RestError> {
        answer::done(self.request(method, path, key).send().await).await
    }

    fn request(&self, method: Method, path: &str, key: Option<Uuid>) -> reqwest::RequestBuilder {
        let mut request = self
            .http
            .request(method, format!("{}/api/v1{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key.to_string());
        }
        request
    }
}

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rest")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

/// The HTTP client is built without a cryptography provider of its own; the first one installed in the process serves.
fn install_tls_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none()
        && rustls::crypto::ring::default_provider()
            .install_default()
            .is_err()
    {
        tracing::debug!("another part of the process installed its provider first");
    }
}

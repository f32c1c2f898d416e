//! One request, asked step by step: who, which, then what.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hubbub_accounts::{Origin, Session};
use hubbub_domain::conversation::{Denied, Operation, Situation, Standing, Visibility, authorize};
use hubbub_domain::ids::{CommandId, ConversationId, UserId};
use hubbub_projections::Access;
use hubbub_telemetry::TraceContext;
use hubbub_wire::rest::list::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use hubbub_wire::rest::{List, from_slice};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::auth::Proof;
use crate::auth::origin::Verdict;
use crate::error::Refusal;
use crate::gates::Pass;
use crate::ids;
use crate::state::Shared;

/// Bytes of a JSON body: the same as of a client frame.
const BODY_BYTES_MAX: usize = 65_536;
/// A body has to be there after this long (PROTOCOL.md, HTTP framing).
const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// Characters of a user agent that the list of sessions shows.
const DEVICE_CHARS_MAX: usize = 200;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// What is shed before appends are: the lower one first.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Class {
    /// P1: history, members, inbox.
    History,
    /// P2: search.
    Search,
}

/// One request.
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    parts: Parts,
    params: Vec<(String, String)>,
    /// Locked only to take it out: a body by itself cannot be shared between threads.
    body: Mutex<Option<Body>>,
}

impl FromRequest<Arc<Shared>> for Call {
    type Rejection = Refusal;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, Refusal> {
        let (mut parts, body) = request.into_parts();
        let params = RawPathParams::from_request_parts(&mut parts, &()).await;
        // A path that is not even text names nothing.
        let params = params.map_err(|_not_utf8| Refusal::not_found())?;
        let params = params
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Ok(Self {
            shared: Arc::clone(shared),
            parts,
            params,
            body: Mutex::new(Some(body)),
        })
    }
}

impl Call {
    /// The live session of whoever asks. An unsafe request with a cookie has to come from our own pages.
    pub(crate) async fn session(&self) -> Result<Session, Refusal> {
        let proof = Proof::of(&self.parts.headers, &self.shared.origins)
            .ok_or_else(Refusal::unauthenticated)?;
        let safe = matches!(
            self.parts.method,
            Method::GET | Method::HEAD | Method::OPTIONS
        );
        if matches!(proof, Proof::Cookie(_)) && !safe && self.verdict() != Verdict::Same {
            return Err(Refusal::forbidden(
                "a request with a cookie must come from the same origin",
            ));
        }
        self.shared
            .identity
            .authenticate(proof.token())
            .await?
            .ok_or_else(Refusal::unauthenticated)
    }

    /// A place among those who ask for the same class of things.
    ///
    /// # Errors
    /// `busy`, after a moment of waiting.
    pub(crate) async fn may(&self, class: Class) -> Result<Pass<'_>, Refusal> {
        let gate = match class {
            Class::History => &self.shared.gates.history,
            Class::Search => &self.shared.gates.search,
        };
        let pass = gate.enter().await;
        if pass.is_err() {
            self.shared.metrics.edge.busy.inc();
        }
        pass
    }

    /// Where the request comes from, as far as it says.
    pub(crate) fn verdict(&self) -> Verdict {
        self.shared.origins.verdict(&self.parts.headers)
    }

    /// An id of the path. What is not written as ids are names nothing.
    pub(crate) fn id(&self, name: &str) -> Result<Uuid, Refusal> {
        const WRITTEN_CHARS: usize = 36;
        self.param(name)
            .filter(|value| value.len() == WRITTEN_CHARS)
            .and_then(|value| Uuid::parse_str(value).ok())
            .ok_or_else(Refusal::not_found)
    }

    /// A number of the path. What is not written as numbers are names nothing.
    pub(crate) fn number(&self, name: &str) -> Result<u64, Refusal> {
        let plain = |value: &&str| !value.starts_with(['0', '+']) || *value == "0";
        self.param(name)
            .filter(plain)
            .and_then(|value| value.parse().ok())
            .ok_or_else(Refusal::not_found)
    }

    fn param(&self, name: &str) -> Option<&str> {
        self.params
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// The conversation of the path as `user` may see it: the check that comes before everything else about it.
    pub(crate) async fn conversation(
        &self,
        user: UserId,
        operation: Operation,
    ) -> Result<(ConversationId, Access), Refusal> {
        let id = ConversationId::from_uuid(self.id("id")?);
        let access = self
            .shared
            .read_models
            .access(id, user)
            .await?
            .ok_or_else(Refusal::not_found)?;
        may(&access, operation)?;
        Ok((id, access))
    }

    /// The query, strictly.
    pub(crate) fn query<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        match Query::<T>::try_from_uri(&self.parts.uri) {
            Ok(Query(query)) => Ok(query),
            Err(_rejection) => Err(Refusal::unreadable(
                "the query has unknown, doubled or ill-typed fields",
            )),
        }
    }

    /// The JSON body, strictly.
    pub(crate) async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Refusal> {
        if !is_json(&self.parts.headers) {
            return Err(Refusal::not_json());
        }
        Ok(from_slice(&self.read_body().await?)?)
    }

    /// For resources that take no body: nothing, or an empty object.
    pub(crate) async fn no_body(&mut self) -> Result<(), Refusal> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Empty {}
        let body = self.read_body().await?;
        if body.is_empty() {
            return Ok(());
        }
        if !is_json(&self.parts.headers) {
            return Err(Refusal::not_json());
        }
        let Empty {} = from_slice(&body)?;
        Ok(())
    }

    async fn read_body(&mut self) -> Result<Bytes, Refusal> {
        let declared = self
            .parts
            .headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|length| length > BODY_BYTES_MAX) {
            return Err(Refusal::too_large());
        }
        let Some(body) = self.body.get_mut().take() else {
            return Ok(Bytes::new());
        };
        let read =
            tokio::time::timeout(BODY_DEADLINE, Limited::new(body, BODY_BYTES_MAX).collect()).await;
        match read {
            Err(_elapsed) => Err(Refusal::too_slow()),
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::too_large()),
            Ok(Err(_broken)) => Err(Refusal::unreadable("the body ended early")),
        }
    }

    /// The client's name for this attempt, and whether it may have been used before.
    pub(crate) fn command_id(&self) -> Result<(CommandId, bool), Refusal> {
        match self.parts.headers.get("idempotency-key") {
            None => Ok((CommandId::from_uuid(ids::fresh()), false)),
            Some(key) => {
                let key = key.to_str().ok().and_then(|key| Uuid::parse_str(key).ok());
                key.map(|key| (CommandId::from_uuid(key), true))
                    .ok_or_else(|| Refusal::unreadable("Idempotency-Key must be a UUID"))
            }
        }
    }

    /// Where the other end is.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.parts.extensions.get::<Peer>().map(|peer| peer.0.ip())
    }

    /// The address that budgets count: none on the same machine.
    pub(crate) fn budgeted_address(&self) -> Option<IpAddr> {
        self.address().filter(|address| !address.is_loopback())
    }

    /// What the list of sessions will show.
    pub(crate) fn origin(&self) -> Origin {
        let device = self
            .parts
            .headers
            .get(USER_AGENT)
            .and_then(|agent| agent.to_str().ok())
            .unwrap_or_default();
        Origin {
            device: device.chars().take(DEVICE_CHARS_MAX).collect(),
            address: self
                .address()
                .map(|address| address.to_string())
                .unwrap_or_default(),
        }
    }

    /// The trace of this request, for whoever works for it.
    pub(crate) fn trace() -> Option<TraceContext> {
        TraceContext::of(&tracing::Span::current())
    }
}

/// Whether `access` allows an operation: the domain's one function, asked from here for reads.
pub(crate) fn may(access: &Access, operation: Operation) -> Result<(), Denied> {
    let standing = match access.role {
        Some(role) => Standing::Member(role),
        None if access.visibility == Visibility::Public => Standing::Visitor,
        None => Standing::Stranger,
    };
    authorize(
        Situation {
            kind: access.kind,
            posting: access.settings.posting,
            standing,
        },
        operation,
    )
}

/// JSON as it is: nothing that would have to be unpacked or read in another alphabet first.
fn is_json(headers: &HeaderMap) -> bool {
    let encoding = headers.get(CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return false;
    }
    let media_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let mut parts = media_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let charset = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.eq_ignore_ascii_case("charset")
            .then(|| value.trim_matches('"'))
    });
    essence.eq_ignore_ascii_case("application/json")
        && charset.is_none_or(|charset| charset.eq_ignore_ascii_case("utf-8"))
}

/// How many items a page has.
pub(crate) fn page_limit(limit: Option<u32>) -> Result<usize, Refusal> {
    let limit = limit.unwrap_or(PAGE_ITEMS_DEFAULT);
    if limit == 0 || limit > PAGE_ITEMS_MAX {
        return Err(Refusal::unreadable("limit must be 1 to 200"));
    }
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// 200 with an object.
pub(crate) fn ok<T: Serialize>(object: &T) -> Response {
    Json(object).into_response()
}

/// 201 with an object.
pub(crate) fn created<T: Serialize>(object: &T) -> Response {
    (StatusCode::CREATED, Json(object)).into_response()
}

/// A page of a list.
pub(crate) fn list<T: Serialize>(items: Vec<T>, next_cursor: Option<String>) -> Response {
    ok(&List { items, next_cursor })
}

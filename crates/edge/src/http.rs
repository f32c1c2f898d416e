//! Requests and answers: the route table, and what is the same on every answer.
//!
//! A handler gets a [`call::Call`] and asks it, in this order: who ([`call::Call::session`]), which ([`call::Call::id`]), whether they may
//! (the access check of the resource), and only then what the body says. Failures are [`Refusal`]s; [`finish`] writes them out.
//!
//! Never: SQL, a handler that reads a body before it knows who may send it, a header of trust that is not checked.

pub(crate) mod auth;
pub(crate) mod call;
pub(crate) mod conversations;
pub(crate) mod health;
pub(crate) mod keys;
pub(crate) mod me;
pub(crate) mod members;
pub(crate) mod messages;
pub(crate) mod users;
pub(crate) mod ws;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::handler::Handler;
use axum::http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, TRANSFER_ENCODING, UPGRADE,
    WWW_AUTHENTICATE,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post, put};
use hubbub_telemetry::{current_trace_id, spans};
use hubbub_wire::error::{ErrorCode, PROBLEM_MEDIA_TYPE, Problem};
use tokio::time::Instant;
use tower_http::compression::CompressionLayer;
use tracing::Instrument;

use crate::error::Refusal;
use crate::server::framing::AmbiguousFraming;
use crate::state::Shared;
use crate::{auth as identity, ids, web};

/// Scripts, styles and connections only from here; nobody may frame it. Pictures may be made by the page itself.
const CSP: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'",
);
/// On every answer.
pub(crate) const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (HeaderName::from_static("content-security-policy"), CSP),
    (
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    ),
    (
        HeaderName::from_static("referrer-policy"),
        HeaderValue::from_static("no-referrer"),
    ),
    (
        HeaderName::from_static("x-frame-options"),
        HeaderValue::from_static("DENY"),
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];
/// A year, under TLS.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Everything that is answered on the main listener.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let api = Router::new()
        .route("/auth/register", post(auth::register))
        .route("/auth/login", post(auth::login))
        .route("/auth/logout", post(auth::logout))
        .route(
            "/auth/sessions",
            get(auth::sessions).delete(auth::end_other_sessions),
        )
        .route(
            "/auth/sessions/{session}",
            axum::routing::delete(auth::end_session),
        )
        .route("/me", get(me::show).patch(me::change))
        .route("/users", get(users::search))
        .route("/users/{user}", get(users::show))
        .route("/inbox", get(conversations::inbox))
        .route("/rooms", get(conversations::rooms))
        .route("/conversations", post(conversations::create))
        .route("/conversations/{id}", get(conversations::show))
        .route("/conversations/{id}/join", post(conversations::join))
        .route("/conversations/{id}/leave", post(conversations::leave))
        .route(
            "/conversations/{id}/members",
            get(members::list).post(members::add),
        )
        .route(
            "/conversations/{id}/members/{user}",
            axum::routing::patch(members::change_role).delete(members::remove),
        )
        .route(
            "/conversations/{id}/messages",
            get(messages::list).post(messages::send),
        )
        .route("/conversations/{id}/messages/{no}", get(messages::show))
        .route("/conversations/{id}/marker", put(messages::mark))
        .route("/conversations/{id}/events", get(messages::events))
        .route("/limits", get(health::limits))
        .route("/healthz/live", get(health::live))
        .route("/healthz/ready", get(health::ready))
        .route("/ws", get(ws::upgrade));
    Router::new()
        .nest("/api/v1", api)
        .route("/healthz/live", get(health::live))
        .route("/healthz/ready", get(health::ready))
        .fallback(web::page.layer(CompressionLayer::new()))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), finish))
        .with_state(shared)
}

async fn method_not_allowed() -> Refusal {
    Refusal::method_not_allowed()
}

/// Wraps every request: a span, the refusals that concern any request, and on the way out problem documents and headers.
async fn finish(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("-", MatchedPath::as_str)
        .to_owned();
    let span = tracing::info_span!(
        spans::EDGE_HTTP_REQUEST,
        http.request.method = %request.method(),
        http.route = route,
        http.response.status_code = tracing::field::Empty,
    );
    // What follows such a request on the same connection is not looked at by the framing check.
    let last = request.headers().contains_key(TRANSFER_ENCODING)
        || request.headers().contains_key(UPGRADE);
    let inner = async {
        let response = match before(&request) {
            Ok(()) => next.run(request).await,
            Err(refusal) => axum::response::IntoResponse::into_response(refusal),
        };
        write_out(response)
    };
    let mut response = inner.instrument(span.clone()).await;
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, value);
    }
    if last && !switched {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if shared.origins.is_https() {
        headers.insert("strict-transport-security", HSTS);
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    span.record("http.response.status_code", response.status().as_u16());
    shared
        .metrics
        .edge
        .http_seconds
        .observe(started.elapsed().as_secs_f64());
    if response.status().is_server_error() {
        shared.metrics.edge.http_errors.inc();
    }
    response
}

fn before(request: &Request) -> Result<(), Refusal> {
    if request
        .extensions()
        .get::<AmbiguousFraming>()
        .is_some_and(AmbiguousFraming::was_seen)
    {
        return Err(Refusal::ambiguous_framing());
    }
    identity::refuse_token_in_url(request.uri())
}

/// Makes a problem document of a refusal; other answers stay as they are.
fn write_out(mut response: Response) -> Response {
    let Some(refusal) = response.extensions_mut().remove::<Refusal>() else {
        return response;
    };
    let request_id = current_trace_id().unwrap_or_else(|| ids::random().simple().to_string());
    tracing::debug!(code = %refusal.code, detail = %refusal.detail, request_id, "refused");
    let mut problem = Problem::new(refusal.code, refusal.detail, request_id);
    problem.status = refusal.status;
    problem.retry_after_ms = refusal.retry_after_ms;
    problem.fields = refusal.fields;
    *response.status_mut() =
        StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_MEDIA_TYPE));
    if let Some(millis) = refusal.retry_after_ms {
        headers.insert(
            RETRY_AFTER,
            HeaderValue::from(millis.div_ceil(1_000).max(1)),
        );
    }
    if refusal.code == ErrorCode::Unauthenticated {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if refusal.close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    headers.remove(axum::http::header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(body);
    response
}

//! The door to a socket: who may come in, and how the library is set up.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Request, State};
use axum::http::header::SEC_WEBSOCKET_PROTOCOL;
use axum::response::Response;
use hubbub_wire::client::{FRAME_BYTES_MAX, SUBPROTOCOL};

use crate::auth::Proof;
use crate::error::Refusal;
use crate::gates;
use crate::session;
use crate::session::hello::Proven;
use crate::session::socket::{READ_BUFFER_BYTES, WRITE_BUFFER_BYTES};
use crate::state::Shared;

/// When to come back to a node that is going down or hears nothing; elsewhere it may be at once.
const ELSEWHERE_RETRY_MS: u64 = 2_000;

pub(crate) async fn upgrade(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, Refusal> {
    let (mut parts, _body) = request.into_parts();
    let proof = Proof::of(&parts.headers, &shared.origins);
    match &proof {
        // Browsers send cookies from any page; only ours may use them for a socket.
        Some(Proof::Cookie(_)) if !shared.origins.exactly(&parts.headers) => {
            shared.metrics.edge.sockets_refused.inc();
            return Err(Refusal::forbidden(
                "a socket with a cookie needs an allowed Origin",
            ));
        }
        Some(Proof::Cookie(_) | Proof::Bearer(_)) | None => {}
    }
    if shared.draining.is_cancelled() || shared.fanout.is_turned_away() {
        shared.metrics.edge.sockets_refused.inc();
        return Err(Refusal::unavailable(ELSEWHERE_RETRY_MS));
    }
    if shared.gates.handshakes.is_full() {
        shared.metrics.edge.handshakes_refused.inc();
        return Err(gates::busy());
    }
    let proven = prove(&shared, proof).await?;
    let named = parts
        .headers
        .get(SEC_WEBSOCKET_PROTOCOL)
        .map(|named| named.to_str().unwrap_or_default().to_owned());
    if named.is_some_and(|named| named.split(',').all(|one| one.trim() != SUBPROTOCOL)) {
        return Err(Refusal::unreadable("this endpoint speaks hubbub.v1"));
    }
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &shared).await;
    let upgrade = upgrade.map_err(|_rejection| {
        Refusal::unreadable("this endpoint takes WebSocket handshakes (RFC 6455) only")
    })?;
    let tracked = shared.sockets.token();
    Ok(upgrade
        .protocols([SUBPROTOCOL])
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .on_upgrade(async move |socket| {
            session::run(socket, shared, proven).await;
            drop(tracked);
        }))
}

/// Looks a bearer token up at once, for a 401 is worth more than a close code; a cookie is looked up with `hello`.
async fn prove(shared: &Shared, proof: Option<Proof>) -> Result<Option<Proven>, Refusal> {
    let Some(proof) = proof else { return Ok(None) };
    let token = proof.token().to_owned();
    if matches!(proof, Proof::Cookie(_)) {
        return Ok(Some(Proven { token, login: None }));
    }
    let pass = shared.gates.handshakes.enter().await;
    let _pass = pass.inspect_err(|_busy| shared.metrics.edge.handshakes_refused.inc())?;
    let account_changes = shared.fanout.account_changes();
    let login = shared.identity.authenticate(&token).await?;
    let login = login.ok_or_else(Refusal::unauthenticated)?;
    Ok(Some(Proven {
        token,
        login: Some((login, account_changes)),
    }))
}

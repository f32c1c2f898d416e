//! The beginning of a socket: `hello` within 5 s, a place among those who are let in, who it is, `welcome`.
//!
//! Never: a place for a socket that has ended while it waited; a frame lost that came while it did.

use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use hubbub_accounts::Session as Login;
use hubbub_wire::client::object::Cursor;
use hubbub_wire::client::outbound::{Drain, Welcome};
use hubbub_wire::client::{
    ClientFrame, FRAME_BYTES_MAX, HELLO_TIMEOUT_S, ServerFrame, close, inbound,
};

use crate::error::Refusal;
use crate::gates::{self, Pass};
use crate::ids;
use crate::objects;
use crate::session::outbox::Closing;
use crate::session::socket::{self, Heard};
use crate::session::strikes::Strikes;
use crate::state::Shared;

/// A socket whose user is known.
pub(crate) struct Greeting {
    pub(crate) login: Login,
    pub(crate) cursors: Vec<Cursor>,
    /// Account changes heard of before the session was checked.
    pub(crate) account_changes: u64,
    pub(crate) welcome: ServerFrame,
    /// What the client said before it was let in.
    pub(crate) early: Option<Message>,
}

/// What came with the upgrade.
pub(crate) struct Proven {
    pub(crate) token: String,
    /// Whose it is, when it was looked up, and the account changes heard of before that.
    pub(crate) login: Option<(Login, u64)>,
}

const LATE: Closing = Closing {
    code: close::SESSION_ENDED,
    reason: "no hello",
};
const NOT_HELLO: Closing = Closing {
    code: close::POLICY,
    reason: "hello comes first",
};
const BAD_FRAMES: Closing = Closing {
    code: close::POLICY,
    reason: "too many unreadable frames",
};
const NO_SESSION: Closing = Closing {
    code: close::SESSION_ENDED,
    reason: "no live session",
};
const NOT_NOW: Closing = Closing {
    code: close::DEGRADED,
    reason: "try elsewhere",
};

const TOO_MANY: Closing = Closing {
    code: close::DEGRADED,
    reason: "too many at once",
};

/// Waits for `hello` and checks it. `Ok(None)` = the client went away.
pub(crate) async fn greet(
    socket: &mut WebSocket,
    shared: &Shared,
    proven: Option<Proven>,
) -> Result<Option<Greeting>, Closing> {
    let wait = tokio::time::timeout(
        Duration::from_secs(HELLO_TIMEOUT_S),
        first_frame(socket, shared),
    );
    let Some(hello) = wait.await.map_err(|_elapsed| LATE)?? else {
        return Ok(None);
    };
    let (given, login) = proven.map_or((None, None), |proven| (Some(proven.token), proven.login));
    let unavailable = |error: Refusal| {
        tracing::debug!(code = %error.code, "hello could not be answered");
        NOT_NOW
    };
    let Some((_pass, early)) = wait_in_line(socket, shared).await? else {
        shared.metrics.edge.handshakes_left.inc();
        return Ok(None);
    };
    let known = login.filter(|_| hello.token.is_none() || hello.token == given);
    let (login, account_changes) = if let Some(known) = known {
        known
    } else {
        let account_changes = shared.fanout.account_changes();
        let token = hello.token.or(given).ok_or(NO_SESSION)?;
        let login = shared
            .identity
            .authenticate(&token)
            .await
            .map_err(|error| unavailable(error.into()))?;
        (login.ok_or(NO_SESSION)?, account_changes)
    };
    let user = shared
        .identity
        .user(login.user)
        .await
        .map_err(|error| unavailable(error.into()))?
        .ok_or(NO_SESSION)?;
    let device_id = hello
        .client
        .map_or_else(ids::random, |client| client.device_id);
    let welcome = ServerFrame::Welcome(Box::new(Welcome {
        user: objects::user(&user),
        session_id: login.id.0,
        device_id,
        node: shared.node_id.clone(),
        server_time: shared.clock.now().into(),
        heartbeat_s: shared.limits.heartbeat_s,
        limits: shared.limits.published(),
    }));
    Ok(Some(Greeting {
        login,
        cursors: hello.cursors.unwrap_or_default(),
        account_changes,
        welcome,
        early,
    }))
}

/// Waits to be let in, and looks meanwhile whether anyone is still there. `Ok(None)` = the client went away.
///
/// What it says while it waits is kept; after one frame it is not read on, and nobody notices then that it leaves.
async fn wait_in_line<'gates>(
    socket: &mut WebSocket,
    shared: &'gates Shared,
) -> Result<Option<(Pass<'gates>, Option<Message>)>, Closing> {
    let mut early = None;
    let mut turn = std::pin::pin!(shared.gates.handshakes.enter());
    let turn = loop {
        tokio::select! {
            biased;
            pass = &mut turn => break pass,
            received = socket.recv(), if early.is_none() => match received {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(frame @ (Message::Text(_) | Message::Binary(_)))) => early = Some(frame),
                end => return match socket::hear(end) {
                    Heard::Broken(closing) => Err(closing),
                    _ => Ok(None),
                },
            },
        }
    };
    if let Ok(pass) = turn {
        return Ok(Some((pass, early)));
    }
    shared.metrics.edge.handshakes_refused.inc();
    // The close itself cannot say when to come back.
    let drain = ServerFrame::Drain(Drain {
        reconnect_after_ms: gates::busy_retry_ms(),
    });
    if socket::write(socket, Message::Text(objects::frame(&drain))).await {
        Err(TOO_MANY)
    } else {
        Ok(None)
    }
}

async fn first_frame(
    socket: &mut WebSocket,
    shared: &Shared,
) -> Result<Option<inbound::Hello>, Closing> {
    let started = tokio::time::Instant::now();
    let mut strikes = Strikes::default();
    loop {
        let bad = match socket::hear(socket.recv().await) {
            Heard::Text(text) if text.len() > FRAME_BYTES_MAX => return Err(socket::TOO_LARGE),
            Heard::Text(text) => match ClientFrame::decode(&text) {
                Ok(ClientFrame::Hello(hello)) => return Ok(Some(hello)),
                Ok(_) => return Err(NOT_HELLO),
                Err(bad) => bad,
            },
            Heard::Binary => socket::binary(),
            Heard::Nothing => continue,
            Heard::End => return Ok(None),
            Heard::Broken(closing) => return Err(closing),
        };
        shared.metrics.edge.frames_refused.inc();
        let error = ServerFrame::Error(Refusal::from(bad.clone()).into_frame(bad.id));
        let sent = socket.send(Message::Text(objects::frame(&error))).await;
        let now_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if sent.is_err() {
            return Ok(None);
        }
        if strikes.strike(now_ms) {
            return Err(BAD_FRAMES);
        }
    }
}

//! One socket: one task that reads, writes and waits.
//!
//! ```text
//! hello ─▶ welcome ─▶ seat at the fan-out ─▶ catch-up (beside) ─▶ live
//!              loop: frames in → chains of sends, pages, marks;  outbox → coalesced writes;  heartbeat;  drain
//! ```
//!
//! Files: [`hello`] the beginning · [`inbound`] what a frame does · [`chain`] order of sends · [`marks`] coalescing · [`outbox`] and
//! [`queue`] what waits to be written · [`strikes`] patience · [`typing`] news of typing · [`socket`] the library's types.
//!
//! Never: a lock across an await; an unbounded wait; text of messages in logs.

pub(crate) mod chain;
pub(crate) mod hello;
pub(crate) mod inbound;
pub(crate) mod marks;
pub(crate) mod outbox;
pub(crate) mod queue;
pub(crate) mod socket;
pub(crate) mod strikes;
pub(crate) mod typing;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use hubbub_domain::ids::UserId;
use hubbub_telemetry::{OnError, spans, spawn_named};
use hubbub_wire::client::outbound::Drain;
use hubbub_wire::client::{FRAME_BYTES_MAX, ServerFrame, close};
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::Instrument;

use crate::fanout::{CatchUp, Command, SeatRequest, Seating};
use crate::objects;
use crate::resume;
use crate::session::chain::Chains;
use crate::session::hello::{Greeting, Proven};
use crate::session::inbound::{Done, SendJob};
use crate::session::marks::Marks;
use crate::session::outbox::{Closing, Outbox};
use crate::session::socket::Heard;
use crate::session::strikes::Strikes;
use crate::session::typing::TypingThrottle;
use crate::sessions::{Seat, SocketId};
use crate::state::Shared;

/// Heartbeats without a sign of life after which a socket is closed.
const MISSED_MAX: u32 = 2;
/// How long sends under way may take when the socket is sent away: a little more than their deadline.
const FAREWELL: Duration = Duration::from_secs(5);

/// Between the word that a socket will be closed and the close at the earliest, for the word to arrive; ms. Also the bound of the jitter with which
/// clients that part one by one go to another node: together they keep a rolling restart's write gap far below half a second.
const PARTING_MS: u64 = 100;

const SILENT: Closing = Closing {
    code: close::TOO_SLOW,
    reason: "no answer to pings",
};
const SLOW: Closing = Closing {
    code: close::TOO_SLOW,
    reason: "too slow",
};
const BAD_FRAMES: Closing = Closing {
    code: close::POLICY,
    reason: "too many unreadable frames",
};
const RESTART: Closing = Closing {
    code: close::RESTART,
    reason: "restart",
};
const ELSEWHERE: Closing = Closing {
    code: close::DEGRADED,
    reason: "reconnect elsewhere",
};
const TOO_MANY: Closing = Closing {
    code: close::TOO_MANY_SOCKETS,
    reason: "too many sockets",
};

/// A socket that has said hello.
struct Session {
    shared: Arc<Shared>,
    socket: WebSocket,
    outbox: Arc<Outbox>,
    user: UserId,
    id: SocketId,
    started: Instant,
    chains: Chains<SendJob>,
    pages: usize,
    marks: Marks,
    typing: TypingThrottle,
    opens: TypingThrottle,
    strikes: Strikes,
    under_way: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Something was read since the last ping.
    alive: bool,
    missed: u32,
    /// When this socket has to go, once the node drains.
    leave_at: Option<Instant>,
}

/// Runs a socket from its first frame to its last. `proven`: what was given with the upgrade.
pub(crate) async fn run(mut socket: WebSocket, shared: Arc<Shared>, proven: Option<Proven>) {
    let draining = shared.draining.clone();
    let greeted = tokio::select! {
        greeted = Box::pin(hello::greet(&mut socket, &shared, proven)) => greeted,
        () = draining.cancelled() => Err(RESTART),
    };
    let greeting = match greeted {
        Ok(Some(greeting)) => greeting,
        Ok(None) => return socket::leave(socket).await,
        Err(closing) => return socket::close(socket, closing).await,
    };
    let Greeting {
        login,
        cursors,
        account_changes,
        welcome,
        early,
    } = greeting;
    let outbox = Arc::new(Outbox::new(shared.metrics.edge.contradicted.clone()));
    let seat = Seat {
        socket: shared.new_socket_id(),
        session: login.id,
        outbox: Arc::clone(&outbox),
        open: Vec::new(),
        order: 0,
    };
    let id = seat.socket;
    let (reply, seated) = oneshot::channel();
    let request = SeatRequest {
        user: login.user,
        seat,
        account_changes,
        cursors,
        reply,
    };
    let asked = shared.fanout.send(Command::Seat(request)).await;
    let seating = match asked {
        Ok(()) => seated.await.ok(),
        Err(_ended) => None,
    };
    let (catch_ups, forgotten) = match seating {
        Some(Seating::Seated {
            catch_ups,
            forgotten,
        }) => (catch_ups, forgotten),
        Some(Seating::TooMany) => {
            shared.metrics.edge.sockets_refused.inc();
            return socket::close(socket, TOO_MANY).await;
        }
        Some(Seating::TurnedAway) => {
            shared.metrics.edge.sockets_refused.inc();
            return socket::close(socket, ELSEWHERE).await;
        }
        None => return socket::close(socket, RESTART).await,
    };
    let _seat = SeatGuard {
        shared: Arc::clone(&shared),
        outbox: Arc::clone(&outbox),
        user: login.user,
        id,
    };
    // Only who has a seat is welcome; what comes meanwhile waits in the outbox.
    if !socket::write(&mut socket, Message::Text(objects::frame(&welcome))).await {
        return;
    }
    drop(welcome);
    catch_up(&shared, &outbox, login.user, catch_ups, forgotten);
    Session::new(shared, socket, outbox, login.user, id)
        .run(early)
        .await;
}

/// Leaves the seat whichever way the socket ends.
struct SeatGuard {
    shared: Arc<Shared>,
    outbox: Arc<Outbox>,
    user: UserId,
    id: SocketId,
}

impl Drop for SeatGuard {
    fn drop(&mut self) {
        self.outbox.set_gone();
        let fanout = self.shared.fanout.clone();
        let leave = Command::Leave {
            user: self.user,
            seat: self.id,
        };
        spawn_named("edge leave seat", OnError::Log, async move {
            fanout.send(leave).await.ok().unwrap_or(());
        });
    }
}

fn catch_up(
    shared: &Arc<Shared>,
    outbox: &Arc<Outbox>,
    user: UserId,
    catch_ups: Vec<CatchUp>,
    forgotten: u64,
) {
    if catch_ups.is_empty() {
        outbox.last(objects::frame(&ServerFrame::Live));
        return;
    }
    let sources = resume::Sources {
        log: Arc::clone(&shared.log),
        read_models: Arc::clone(&shared.read_models),
        people: shared.people.clone(),
        metrics: Arc::clone(&shared.metrics),
        door: Arc::clone(&shared.gates.resumes),
        found: Some((shared.fanout.clone(), forgotten)),
    };
    let outbox = Arc::clone(outbox);
    // It looks by itself whether anyone still waits: a read that is cut off costs its connection.
    spawn_named("edge resume", OnError::Log, async move {
        resume::run(&sources, user, &outbox, catch_ups).await;
    });
}

impl Session {
    fn new(
        shared: Arc<Shared>,
        socket: WebSocket,
        outbox: Arc<Outbox>,
        user: UserId,
        id: SocketId,
    ) -> Self {
        Self {
            shared,
            socket,
            outbox,
            user,
            id,
            started: Instant::now(),
            chains: Chains::default(),
            pages: 0,
            marks: Marks::default(),
            typing: TypingThrottle::default(),
            opens: TypingThrottle::default(),
            strikes: Strikes::default(),
            under_way: FuturesUnordered::new(),
            alive: true,
            missed: 0,
            leave_at: None,
        }
    }

    /// `early`: a frame that came before the socket was let in.
    async fn run(mut self, early: Option<Message>) {
        let ended = match early.and_then(|frame| self.on_received(Some(Ok(frame)))) {
            Some(end) => end,
            None => Box::pin(self.serve()).await,
        };
        // Marks that wait are worth more than the moment they wait for.
        self.send_marks();
        if ended == Some(RESTART) {
            self.finish_sends().await;
        }
        // What was handed over goes on to its end; only nobody hears of it any more.
        if !self.under_way.is_empty() {
            let rest = self.under_way.for_each(async |_done| {});
            spawn_named("edge unheard answers", OnError::Log, rest);
        }
        match ended {
            Some(closing) => socket::close(self.socket, closing).await,
            None => socket::leave(self.socket).await,
        }
    }

    /// Until the socket ends; `Some` when it is this side that ends it.
    async fn serve(&mut self) -> Option<Closing> {
        let every = Duration::from_secs(self.shared.limits.heartbeat_s.max(1).into());
        let mut heartbeat = tokio::time::interval_at(Instant::now() + every, every);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let outbox = Arc::clone(&self.outbox);
        let draining = self.shared.draining.clone();
        loop {
            if let Some(closing) = outbox.closing() {
                return Some(closing);
            }
            let reading = self.chains.has_room() && outbox.accepts_questions();
            let due = self.marks.due().into_iter().chain(self.leave_at).min();
            tokio::select! {
                () = outbox.woken() => {
                    if !self.write_next().await {
                        return if outbox.is_hopeless() { Some(SLOW) } else { outbox.closing() };
                    }
                }
                Some(done) = self.under_way.next() => self.on_done(done),
                received = self.socket.recv(), if reading => {
                    if let Some(end) = self.on_received(received) {
                        return end;
                    }
                }
                _ = heartbeat.tick() => {
                    if !self.beat(reading).await {
                        return Some(SILENT);
                    }
                }
                () = tokio::time::sleep_until(due.unwrap_or(self.started)), if due.is_some() => {
                    if self.leave_at.is_some_and(|at| at <= Instant::now()) {
                        return Some(RESTART);
                    }
                    self.send_marks();
                }
                () = draining.cancelled(), if self.leave_at.is_none() => self.announce_drain(),
            }
        }
    }

    /// `Some(_)` ends the socket, with a close code or without a word.
    #[expect(
        clippy::option_option,
        reason = "whether it ends, and whether this side says why"
    )]
    fn on_received(
        &mut self,
        received: Option<Result<Message, axum::Error>>,
    ) -> Option<Option<Closing>> {
        self.alive = true;
        match socket::hear(received) {
            Heard::Text(text) if text.len() > FRAME_BYTES_MAX => {
                return Some(Some(socket::TOO_LARGE));
            }
            Heard::Text(text) => {
                self.shared.metrics.edge.frames_received.inc();
                if !self.on_text(&text) {
                    return Some(Some(BAD_FRAMES));
                }
            }
            Heard::Binary => {
                if !self.on_bad(socket::binary()) {
                    return Some(Some(BAD_FRAMES));
                }
            }
            Heard::Nothing => {}
            Heard::End => return Some(None),
            Heard::Broken(closing) => return Some(Some(closing)),
        }
        None
    }

    /// Writes until nothing waits; `false` when the socket does not take it.
    async fn write_all(&mut self) -> bool {
        while !self.outbox.is_empty() {
            if !self.write_next().await {
                return false;
            }
        }
        true
    }

    /// One write, so that a busy room never keeps the socket from being read; `false` when the socket does not take it.
    async fn write_next(&mut self) -> bool {
        if self.shared.fanout.stands_still() {
            // This task has woken before the fan-out, which will send every socket away: what waits here may be for nobody any more.
            self.outbox.close(close::DEGRADED, "stood still");
        }
        // Asked last: the fan-out closes before it shows that it goes again, and what it gives out then is not for this socket.
        if self.outbox.closing().is_some() {
            return false;
        }
        if let Some(write) = self.outbox.take() {
            if self.outbox.is_hopeless() {
                return false;
            }
            let frames = u64::try_from(write.frames).unwrap_or(0);
            let span = tracing::trace_span!(spans::EDGE_FRAME_SEND, frames);
            if !socket::write(&mut self.socket, Message::Text(write.text))
                .instrument(span)
                .await
            {
                return false;
            }
            let metrics = &self.shared.metrics.edge;
            metrics.frames_sent.inc_by(frames);
            if write.resync {
                metrics.resyncs.inc();
                metrics.frames_dropped.inc_by(self.outbox.take_dropped());
            }
        }
        true
    }

    /// Pings; `false` when the other side has been silent for too long.
    async fn beat(&mut self, reading: bool) -> bool {
        // A socket that is not read cannot show that it lives.
        if std::mem::replace(&mut self.alive, false) || !reading {
            self.missed = 0;
        } else {
            self.missed += 1;
        }
        self.missed < MISSED_MAX
            && socket::write(&mut self.socket, Message::Ping(Bytes::new())).await
    }

    /// Tells the client to come back later and chooses the moment to part.
    fn announce_drain(&mut self) {
        let window = self.shared.drain_window_ms;
        // Spread by what is random in an id, so that sockets do not all leave and come back at once.
        let spread = u64::from(crate::ids::random().as_fields().0);
        let (parts_after, reconnect_after_ms) = parting(window, spread);
        self.outbox.last(objects::frame(&ServerFrame::Drain(Drain {
            reconnect_after_ms,
        })));
        self.leave_at = Some(Instant::now() + Duration::from_millis(parts_after));
    }

    /// Lets sends under way find their answers before the socket closes.
    async fn finish_sends(&mut self) {
        let finish = async {
            while let Some(done) = self.under_way.next().await {
                self.on_done(done);
            }
        };
        if tokio::time::timeout(FAREWELL, finish).await.is_err() {
            tracing::debug!("a socket is closed with sends under way");
        }
        self.write_all().await;
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// When a socket of a node that goes down is closed, and when its client may come back, both in milliseconds from now.
///
/// Parting is what is spread. Who leaves spread over a window may go to another node at once; who leaves with all others may not.
const fn parting(window_ms: u64, spread: u64) -> (u64, u64) {
    match spread.checked_rem(window_ms) {
        None => (PARTING_MS, PARTING_MS + 400 + spread % 2_000),
        Some(leave_in) => {
            let parts_after = leave_in.saturating_add(PARTING_MS);
            (parts_after, parts_after.saturating_add(spread % PARTING_MS))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_parts_alone_may_come_back_at_once_and_who_parts_with_all_others_may_not() {
        for spread in (0..100_000).step_by(77) {
            let (parts, back) = parting(5_000, spread);
            assert!(parts < 5_000 + PARTING_MS);
            assert!(parts <= back && back <= parts + PARTING_MS, "{spread}");
            let (parts, back) = parting(0, spread);
            assert!((400..2_400).contains(&(back - parts)), "{spread}");
        }
    }
}

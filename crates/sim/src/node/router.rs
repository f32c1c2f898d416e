//! Routing around the product's view of owners, as `cluster/src/router.rs` runs it: attempts until one is definite or the time is up.

use std::collections::BTreeMap;

use hubbub_cluster::router::ATTEMPT_MAX;
use hubbub_cluster::{OwnersView, SubmitError};
use hubbub_domain::conversation::Rejection;
use hubbub_domain::ids::ConversationId;
use hubbub_wire::bus::{Accepted, CommandRequest, How, OwnerReply, OwnerRequest};

use crate::node::actor::unavailable;
use crate::node::host::Host;
use crate::node::owner::OwnerLoop;
use crate::wires::{Event, NodeInput, ReplyTo, To, Wires};

/// Pause before another look, in milliseconds.
const LOOK_AGAIN_MS: u64 = 50;
/// What a client is told to wait when nobody serves its conversation.
const RETRY_AFTER_MS: u32 = 1_000;

/// How one attempt ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Attempt {
    /// Somebody answered.
    Answered(OwnerReply),
    /// It may have been handled.
    Open,
    /// It certainly was not.
    NotHandled,
}

/// Who waits for a route's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiter {
    /// A send of a socket.
    Send {
        /// Which socket.
        socket: u64,
        /// Which command.
        id: uuid::Uuid,
        /// Where.
        conversation: ConversationId,
    },
    /// A mark of a socket.
    Mark {
        /// Which socket.
        socket: u64,
        /// Where.
        conversation: ConversationId,
    },
    /// A REST request.
    Rest {
        /// Whose.
        client: usize,
        /// Its number.
        op: u64,
    },
}

/// A route's end.
pub type Routed = Result<Option<Accepted>, SubmitError>;

/// The routes of one process.
pub struct Router {
    me: To,
    routes: BTreeMap<u64, Route>,
    numbers: u64,
    /// Ends that nobody has taken yet.
    pub ended: Vec<(Waiter, Routed)>,
}

struct Route {
    conversation: ConversationId,
    request: OwnerRequest,
    retry: bool,
    until_ms: u64,
    open: bool,
    refused: Option<SubmitError>,
    attempt: u64,
    /// To whom the present attempt went.
    asked: Option<(
        hubbub_domain::ids::Incarnation,
        hubbub_domain::position::Epoch,
    )>,
    waiter: Waiter,
}

impl Router {
    /// Without routes.
    pub fn new(me: To) -> Self {
        Self {
            me,
            routes: BTreeMap::new(),
            numbers: 0,
            ended: Vec::new(),
        }
    }

    /// Begins a route.
    #[expect(clippy::too_many_arguments, reason = "the parts of one process")]
    pub fn submit(
        &mut self,
        waiter: Waiter,
        request: OwnerRequest,
        retry: bool,
        deadline_ms: u64,
        host: &mut Host,
        owner: &OwnerLoop,
        view: &OwnersView,
        wires: &mut Wires,
    ) {
        self.numbers = self.numbers.saturating_add(1);
        let conversation = match &request {
            OwnerRequest::Command(command) => command.conversation,
            OwnerRequest::Mark(mark) => mark.conversation,
        };
        self.routes.insert(
            self.numbers,
            Route {
                conversation,
                request,
                retry,
                until_ms: wires.now_ms.saturating_add(deadline_ms),
                open: false,
                refused: None,
                attempt: 0,
                asked: None,
                waiter,
            },
        );
        self.look(self.numbers, 0, host, owner, view, wires);
    }

    /// Looks for the owner and makes an attempt.
    pub fn look(
        &mut self,
        number: u64,
        after: u64,
        host: &mut Host,
        owner: &OwnerLoop,
        view: &OwnersView,
        wires: &mut Wires,
    ) {
        let Some(route) = self.routes.get_mut(&number) else {
            return;
        };
        if route.attempt != after {
            return;
        }
        let remaining = route.until_ms.saturating_sub(wires.now_ms);
        if remaining == 0 {
            let end = Err(match (route.open, route.refused.take()) {
                (true, _) => SubmitError::UnknownOutcome,
                (false, Some(refused)) => refused,
                (false, None) => no_owner(),
            });
            return self.end(number, end);
        }
        route.attempt = route.attempt.saturating_add(1);
        let attempt = route.attempt;
        let partition = view.partitions().partition_of(route.conversation);
        let Some((incarnation, epoch)) = view.owner(partition) else {
            route.asked = None;
            if !route.open && !owner.is_undoubted(wires) {
                return self.end(number, Err(no_owner()));
            }
            return self.look_again(number, wires);
        };
        route.asked = Some((incarnation, epoch));
        let patience = remaining.min(u64::try_from(ATTEMPT_MAX.as_millis()).unwrap_or(u64::MAX));
        let request = CommandRequest {
            partition,
            epoch,
            remaining_ms: u32::try_from(patience).unwrap_or(u32::MAX),
            retry: route.retry,
            request: route.request.clone(),
        };
        let from = ReplyTo {
            to: self.me,
            route: number,
            attempt,
        };
        let timeout = NodeInput::Attempt {
            route: number,
            attempt,
            end: Attempt::Open,
        };
        wires.wake(self.me, patience, timeout);
        let to = To::of(incarnation);
        if to == self.me {
            return handle(request, from, host, owner, wires);
        }
        let is_there = wires.lives.get(to.node) == Some(&Some(to.life));
        let is_cut = wires.weather.is_bus_cut(self.me.node) || wires.weather.is_bus_cut(to.node);
        if !is_there || is_cut {
            let end = NodeInput::Attempt {
                route: number,
                attempt,
                end: Attempt::NotHandled,
            };
            return wires.wake(self.me, 2, end);
        }
        let fates = wires
            .weather
            .on_the_bus(self.me.node, to.node, &mut wires.random);
        for delay in fates.into_iter().take(1) {
            let payload = request.encode();
            wires.after(
                delay.saturating_add(1),
                Event::Node(to, NodeInput::Command { from, payload }),
            );
        }
    }

    /// An attempt ended.
    #[expect(clippy::needless_pass_by_value, reason = "an end is told once")]
    pub fn attempt(
        &mut self,
        number: u64,
        attempt: u64,
        end: Attempt,
        view: &OwnersView,
        wires: &mut Wires,
    ) {
        let Some(route) = self.routes.get_mut(&number) else {
            return;
        };
        let Some((incarnation, epoch)) = route.asked.filter(|_| route.attempt == attempt) else {
            return;
        };
        route.asked = None;
        let partition = view.partitions().partition_of(route.conversation);
        match end {
            Attempt::Answered(OwnerReply::WrongOwner { hint }) => match hint {
                Some((better, newer)) if newer > epoch => {
                    view.learn(partition, newer, Some(better));
                }
                Some(_) | None => view.doubt(partition, incarnation, epoch),
            },
            Attempt::Answered(OwnerReply::Unknown) | Attempt::Open => {
                wires.counters.one("attempts with unknown outcome");
                route.open = true;
                route.retry = true;
            }
            Attempt::Answered(OwnerReply::Unavailable { retry_after_ms }) => {
                route.refused = Some(SubmitError::Unavailable { retry_after_ms });
            }
            Attempt::Answered(OwnerReply::Busy { retry_after_ms }) if !route.open => {
                return self.end(number, Err(SubmitError::Busy { retry_after_ms }));
            }
            Attempt::Answered(OwnerReply::StorageFull) if !route.open => {
                return self.end(number, Err(SubmitError::StorageFull));
            }
            Attempt::Answered(OwnerReply::Busy { .. } | OwnerReply::StorageFull) => {}
            Attempt::Answered(OwnerReply::Accepted(accepted)) => {
                return self.end(number, Ok(Some(accepted)));
            }
            Attempt::Answered(OwnerReply::Marked) => return self.end(number, Ok(None)),
            Attempt::Answered(OwnerReply::Rejected(rejection)) => {
                return self.end(number, Err(SubmitError::Rejected(rejection)));
            }
            Attempt::NotHandled => view.doubt(partition, incarnation, epoch),
        }
        self.look_again(number, wires);
    }

    fn look_again(&mut self, number: u64, wires: &mut Wires) {
        if let Some(route) = self.routes.get(&number) {
            let look = NodeInput::RouteLook {
                route: number,
                attempt: route.attempt,
            };
            wires.wake(self.me, LOOK_AGAIN_MS, look);
        }
    }

    fn end(&mut self, number: u64, end: Routed) {
        if let Some(route) = self.routes.remove(&number) {
            self.ended.push((route.waiter, end));
        }
    }
}

fn no_owner() -> SubmitError {
    SubmitError::Unavailable {
        retry_after_ms: RETRY_AFTER_MS,
    }
}

/// Asks the local host, under a fresh lease only (`answer_locally`).
pub fn handle(
    request: CommandRequest,
    from: ReplyTo,
    host: &mut Host,
    owner: &OwnerLoop,
    wires: &Wires,
) {
    if owner.is_fresh(wires) {
        host.ask(request, from, wires);
    } else {
        host.replies.push((from, unavailable()));
    }
}

/// What was said without an append counts only if the lease is still fresh afterwards.
pub fn if_still_fresh(reply: OwnerReply, owner: &OwnerLoop, wires: &mut Wires) -> OwnerReply {
    let without_append = match &reply {
        OwnerReply::Rejected(_) => true,
        OwnerReply::Accepted(accepted) => accepted.how == How::Already,
        OwnerReply::Marked
        | OwnerReply::WrongOwner { .. }
        | OwnerReply::Busy { .. }
        | OwnerReply::Unavailable { .. }
        | OwnerReply::StorageFull
        | OwnerReply::Unknown => false,
    };
    if without_append && !owner.is_fresh(wires) {
        wires
            .counters
            .one("answers withheld: the lease had run out");
        unavailable()
    } else {
        reply
    }
}

/// The code word of the contract for a refusal.
pub fn code_of(error: &SubmitError) -> hubbub_wire::error::ErrorCode {
    use hubbub_wire::error::ErrorCode;
    match error {
        SubmitError::Rejected(rejection) => match rejection {
            Rejection::NotFound | Rejection::NoSuchMember | Rejection::NoSuchMessage => {
                ErrorCode::NotFound
            }
            Rejection::Forbidden { .. } => ErrorCode::Forbidden,
            Rejection::Invalid { .. } => ErrorCode::Invalid,
            Rejection::Conflict { .. } => ErrorCode::Conflict,
            Rejection::IdempotencyMismatch => ErrorCode::IdempotencyMismatch,
        },
        SubmitError::Busy { .. } => ErrorCode::Busy,
        SubmitError::Unavailable { .. } => ErrorCode::Unavailable,
        SubmitError::StorageFull => ErrorCode::StorageFull,
        SubmitError::UnknownOutcome => ErrorCode::UnknownOutcome,
    }
}

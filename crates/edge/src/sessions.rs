//! Which sockets belong to whom on this node. Owned by the fan-out task alone ([`crate::fanout`]).

use std::collections::HashMap;
use std::sync::Arc;

use hubbub_accounts::SessionId;
use hubbub_domain::ids::{ConversationId, UserId};

use crate::session::outbox::Outbox;

/// Conversations that one socket may have open; a further one closes the oldest.
pub(crate) const OPEN_MAX: usize = 16;

/// Names a socket on this node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct SocketId(pub(crate) u64);

/// A socket that gets frames.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) socket: SocketId,
    pub(crate) session: SessionId,
    pub(crate) outbox: Arc<Outbox>,
    /// Conversations on its screen, the latest last; at most [`OPEN_MAX`].
    pub(crate) open: Vec<ConversationId>,
    /// The how-manieth it was to be seated; given by [`Sessions::seat`].
    pub(crate) order: u64,
}

/// All sockets that have said hello.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    by_user: HashMap<UserId, Vec<Seat>>,
    seated: u64,
}

impl Sessions {
    /// Seats a socket, unless its user has `max` already.
    pub(crate) fn seat(&mut self, user: UserId, mut seat: Seat, max: usize) -> bool {
        let seats = self.by_user.entry(user).or_default();
        if seats.len() >= max {
            return false;
        }
        self.seated = self.seated.saturating_add(1);
        seat.order = self.seated;
        seats.push(seat);
        true
    }

    /// How many were ever seated.
    pub(crate) fn seated(&self) -> u64 {
        self.seated
    }

    pub(crate) fn leave(&mut self, user: UserId, socket: SocketId) {
        if let Some(seats) = self.by_user.get_mut(&user) {
            seats.retain(|seat| seat.socket != socket);
            if seats.is_empty() {
                self.by_user.remove(&user);
            }
        }
    }

    /// The sockets of a user.
    pub(crate) fn of(&self, user: UserId) -> &[Seat] {
        self.by_user.get(&user).map_or(&[], Vec::as_slice)
    }

    /// Notes what a socket shows; `true` when it is new there.
    pub(crate) fn show(
        &mut self,
        user: UserId,
        socket: SocketId,
        conversation: ConversationId,
        on: bool,
    ) -> bool {
        let seats = self.by_user.get_mut(&user).into_iter().flatten();
        let Some(seat) = seats.into_iter().find(|seat| seat.socket == socket) else {
            return false;
        };
        let shown = seat.open.len();
        seat.open.retain(|open| *open != conversation);
        let was_shown = seat.open.len() < shown;
        if on {
            if seat.open.len() >= OPEN_MAX {
                seat.open.remove(0);
            }
            seat.open.push(conversation);
        }
        on && !was_shown
    }

    /// Everyone's sockets.
    pub(crate) fn by_user(&self) -> impl Iterator<Item = (&UserId, &Vec<Seat>)> {
        self.by_user.iter()
    }

    pub(crate) fn has(&self, user: UserId) -> bool {
        self.by_user.contains_key(&user)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_user.is_empty()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Seat> {
        self.by_user.values().flatten()
    }
}

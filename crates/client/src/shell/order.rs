//! What handles ask of the driver.

use hubbub_wire::client::inbound::{Mark, Typing};
use hubbub_wire::client::{ClientFrame, Cursor};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::machine::outbox::Outcome;

/// What a handle asks for.
#[derive(Debug)]
pub(super) enum Order {
    Submit {
        id: Uuid,
        frame: Box<ClientFrame>,
        settled: oneshot::Sender<Outcome>,
    },
    Mark(Mark),
    Typing(Typing),
    Ping(u64),
    Follow(Vec<Cursor>),
    ForceReconnect(usize),
    Close,
}

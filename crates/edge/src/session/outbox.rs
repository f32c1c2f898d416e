//! The handle to one socket's queue: who has something for it pushes here, the socket's task takes it out.
//!
//! The lock is held for a few queue operations and never across an await.

use std::sync::OnceLock;

use hubbub_domain::ids::ConversationId;
use hubbub_domain::position::{Epoch, Seq};
use hubbub_telemetry::metrics::IntCounter;
use hubbub_wire::client::{ServerFrame, close};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::objects;
use crate::session::queue::{EventItem, Frame, LatestKey, Queue, Ticket, Write};

/// Why a socket is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Closing {
    /// Close code (PROTOCOL.md rule 6).
    pub(crate) code: u16,
    /// In a word or two, for the close frame.
    pub(crate) reason: &'static str,
}

/// One socket as others see it.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    /// Something waits, or the socket is to be closed.
    wake: Notify,
    /// A write was taken out, or a hold has ended.
    taken: Notify,
    closing: OnceLock<Closing>,
    gone: CancellationToken,
    /// Counts sockets that are closed because they were caught up to something else than what comes live.
    contradicted: IntCounter,
}

impl Outbox {
    pub(crate) fn new(contradicted: IntCounter) -> Self {
        Self {
            queue: Mutex::new(Queue::new(objects::resync_frame)),
            wake: Notify::new(),
            taken: Notify::new(),
            closing: OnceLock::new(),
            gone: CancellationToken::new(),
            contradicted,
        }
    }

    /// An answer to something that this socket asked.
    pub(crate) fn answer(&self, frame: &ServerFrame) {
        self.with(|queue| queue.push_answer(objects::frame(frame)));
    }

    pub(crate) fn event(&self, event: EventItem) {
        self.with(|queue| queue.push_event(event));
    }

    pub(crate) fn control(&self, conversation: ConversationId, seq: Seq, frame: Frame) {
        self.with(|queue| queue.push_control(conversation, seq, frame));
    }

    pub(crate) fn last(&self, frame: Frame) {
        self.with(|queue| queue.push_last(frame));
    }

    pub(crate) fn latest(&self, key: LatestKey, frame: Frame) {
        self.with(|queue| queue.push_latest(key, frame));
    }

    pub(crate) fn hold(&self, conversation: ConversationId) -> Ticket {
        self.queue.lock().hold(conversation)
    }

    /// The log has lost events of this conversation: what comes from now on is judged by itself.
    pub(crate) fn begin_anew(&self, conversation: ConversationId) {
        self.queue.lock().begin_anew(conversation);
    }

    /// The client is known to hold events of this epoch there.
    pub(crate) fn note_held(&self, conversation: ConversationId, epoch: Epoch) {
        self.queue.lock().note_held(conversation, epoch);
    }

    /// This node passes over events of this conversation that the log holds.
    pub(crate) fn expect_hole(&self, conversation: ConversationId) {
        self.queue.lock().expect_hole(conversation);
    }

    /// Whether the client was caught up there and nothing has come live since.
    pub(crate) fn was_caught_up(&self, conversation: ConversationId) -> bool {
        self.queue.lock().was_caught_up(conversation)
    }

    pub(crate) fn feed_event(&self, ticket: Ticket, event: EventItem) {
        self.with(|queue| queue.feed_event(ticket, event));
    }

    pub(crate) fn feed_control(&self, conversation: ConversationId, ticket: Ticket, frame: Frame) {
        self.with(|queue| queue.feed_control(conversation, ticket, frame));
    }

    pub(crate) fn fulfil(
        &self,
        conversation: ConversationId,
        ticket: Ticket,
        seq: Seq,
        frame: Frame,
    ) {
        self.with(|queue| queue.fulfil(conversation, ticket, seq, frame));
        self.taken.notify_waiters();
    }

    pub(crate) fn release(&self, conversation: ConversationId, ticket: Ticket, floor: Option<Seq>) {
        self.with(|queue| queue.release(conversation, ticket, floor));
        self.taken.notify_waiters();
    }

    pub(crate) fn release_unread(
        &self,
        conversation: ConversationId,
        ticket: Ticket,
        floor: Option<Seq>,
    ) {
        self.with(|queue| queue.release_unread(conversation, ticket, floor));
        self.taken.notify_waiters();
    }

    /// Waits until a catch-up may go on; `false` when the socket is gone.
    pub(crate) async fn room(&self) -> bool {
        self.until(Queue::has_room).await
    }

    /// Waits until what was held before this ticket has ended: only then is what its holder feeds taken. `false` when the socket is gone.
    pub(crate) async fn turn(&self, conversation: ConversationId, ticket: Ticket) -> bool {
        self.until(|queue| queue.is_first(conversation, ticket))
            .await
    }

    /// Waits for something that a write, or the end of a hold, may bring about; `false` when the socket is gone.
    async fn until(&self, met: impl Fn(&Queue) -> bool) -> bool {
        loop {
            let mut taken = std::pin::pin!(self.taken.notified());
            taken.as_mut().enable();
            if self.is_over() {
                return false;
            }
            if met(&self.queue.lock()) {
                return true;
            }
            tokio::select! {
                () = taken => {}
                () = self.gone.cancelled() => return false,
            }
        }
    }

    /// Whether a catch-up may go on now.
    pub(crate) fn has_room(&self) -> bool {
        self.queue.lock().has_room()
    }

    /// Asks the socket's task to close; the first reason counts.
    pub(crate) fn close(&self, code: u16, reason: &'static str) {
        self.close_first(code, reason);
    }

    /// Whether this reason is the one that counts.
    fn close_first(&self, code: u16, reason: &'static str) -> bool {
        let first = self.closing.set(Closing { code, reason }).is_ok();
        self.wake.notify_one();
        self.taken.notify_waiters();
        first
    }

    /// Why it is being closed, if it is.
    pub(crate) fn closing(&self) -> Option<Closing> {
        self.closing.get().copied()
    }

    /// Waits until something waits or the socket is to be closed. Cancel safe.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Takes the next write out.
    pub(crate) fn take(&self) -> Option<Write> {
        let (write, more) = {
            let mut queue = self.queue.lock();
            (queue.pop(), !queue.is_empty())
        };
        if more {
            self.wake.notify_one();
        }
        self.taken.notify_waiters();
        write
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.lock().is_empty()
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.queue.lock().bytes()
    }

    /// Events dropped since this was last asked.
    pub(crate) fn take_dropped(&self) -> u64 {
        self.queue.lock().take_dropped()
    }

    /// Whether the socket may be read.
    pub(crate) fn accepts_questions(&self) -> bool {
        self.queue.lock().accepts_questions()
    }

    /// Whether the client has stopped reading.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.queue.lock().is_hopeless()
    }

    /// The socket's task has ended: whoever prepares something for it may stop.
    pub(crate) fn set_gone(&self) {
        self.gone.cancel();
    }

    /// Whether anything for this socket is in vain.
    pub(crate) fn is_over(&self) -> bool {
        self.gone.is_cancelled() || self.closing.get().is_some()
    }

    /// Queues something, unless the socket is being closed: nothing is written any more then.
    fn with(&self, push: impl FnOnce(&mut Queue)) {
        if self.closing.get().is_some() {
            return;
        }
        let contradicted = {
            let mut queue = self.queue.lock();
            push(&mut queue);
            queue.contradicted_in()
        };
        if let Some(conversation) = contradicted
            && self.close_first(close::DEGRADED, "resume")
        {
            tracing::warn!(conversation.id = %conversation, "what came live does not go with what a socket was caught up to: it has to resume");
            self.contradicted.inc();
        }
        self.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use hubbub_telemetry::Metrics;

    use super::*;
    use crate::session::queue::COALESCE_BYTES_MAX;

    fn outbox() -> Outbox {
        Outbox::new(Metrics::new().unwrap().edge.contradicted)
    }

    #[test]
    fn a_socket_that_was_caught_up_to_something_else_is_closed_and_counted_once() {
        let outbox = outbox();
        let conversation = ConversationId::from_uuid(uuid::Uuid::from_u128(1));
        let ticket = outbox.hold(conversation);
        outbox.release(conversation, ticket, Some(Seq::new(4)));
        for seq in [9, 10] {
            outbox.event(EventItem {
                conversation,
                epoch: Epoch::new(1),
                seq: Seq::new(seq),
                frame: "behind a hole".into(),
            });
        }
        let closing = outbox.closing().unwrap();
        assert_eq!((closing.code, closing.reason), (close::DEGRADED, "resume"));
        assert_eq!(outbox.contradicted.get(), 1);
        assert!(outbox.is_empty());
    }

    #[test]
    fn whoever_takes_one_write_is_woken_for_the_next() {
        let outbox = outbox();
        for _ in 0..2 {
            outbox.last("x".repeat(COALESCE_BYTES_MAX).into());
        }
        for left in [true, false] {
            assert_eq!(outbox.woken().now_or_never(), Some(()));
            assert_eq!(outbox.take().map(|write| write.frames), Some(1));
            assert_eq!(outbox.is_empty(), !left);
        }
        assert_eq!(outbox.woken().now_or_never(), None);
    }

    #[test]
    fn what_comes_for_a_socket_that_is_being_closed_does_not_wait_for_it() {
        let outbox = outbox();
        outbox.close(close::DEGRADED, "stood still");
        outbox.last("x".into());
        assert!(outbox.is_empty());
    }
}

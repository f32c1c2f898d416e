//! How many may do something at once, and how many may wait for it: each class of work has a door of its own, so that none takes the
//! place of a more important one (RELIABILITY, load shedding).
//!
//! ```text
//! P0  appends and acks      no door here: permits of their owner
//!     handshakes            wait in the order in which they came, as long as a client has patience for it, then `busy`
//!     resumes               wait in the order in which they came
//! P1  history, members      wait a moment, then `busy`
//! P2  search                the same, far fewer
//! P3  typing, receipts      never wait, never ask a store: forgotten when anything is full
//! ```
//!
//! Never: a wait without a bound in number; a door that is left open by an early return.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hubbub_telemetry::Metrics;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::Refusal;
use crate::ids;

/// Shortest time after which someone who found a door shut comes back.
const BUSY_RETRY_MS: u64 = 500;
/// Spread on top of it, so that they do not all come back at once.
const BUSY_RETRY_SPREAD_MS: u64 = 2_000;

/// How long a socket waits to be let in. A client that hears nothing gives up after 15 s and knocks again behind all others: a node
/// that needs longer than a third of that serves people who are about to leave.
pub(crate) const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);

/// Reads of members, and of summaries for new ones, at once: half of the connections for questions, so that a thousand rooms that
/// are heard of for the first time leave history and inbox the other half.
const MEMBER_READS_AT_ONCE: usize = 4;

/// How wide the doors are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Doors {
    /// Sockets whose session is being looked up: two short queries each. Twice the connections for accounts, so that these are busy and
    /// a login finds few in front of it.
    pub handshakes_at_once: usize,
    /// Sockets that may wait for it; the rest is told `busy` at the upgrade.
    pub handshakes_waiting: usize,
    /// How long they wait before they are told the same.
    pub handshake_patience: Duration,
    /// Reads at once for sockets whose cursors are looked up; up to four of each may wait for it. Fewer than the connections for log and
    /// queries together, so that a storm leaves some to those who are there already.
    pub resumes_at_once: usize,
    /// Pages of history, members and inbox read at once.
    pub history_at_once: usize,
    /// Requests that may wait for such a page.
    pub history_waiting: usize,
    /// Searches at once: the most expensive questions there are.
    pub search_at_once: usize,
    /// Searches that may wait.
    pub search_waiting: usize,
    /// How long a page or a search waits before it is `busy`.
    pub patience: Duration,
}

impl Default for Doors {
    fn default() -> Self {
        Self {
            handshakes_at_once: 16,
            handshakes_waiting: 8_192,
            handshake_patience: HANDSHAKE_PATIENCE,
            resumes_at_once: 8,
            history_at_once: 64,
            history_waiting: 512,
            search_at_once: 8,
            search_waiting: 64,
            patience: Duration::from_secs(1),
        }
    }
}

/// All doors of a node.
#[derive(Debug)]
pub(crate) struct Gates {
    pub(crate) handshakes: Gate,
    pub(crate) resumes: Arc<Gate>,
    pub(crate) history: Gate,
    pub(crate) search: Gate,
    /// For the fan-out: who receives what it holds. It turns nobody away.
    pub(crate) members: Gate,
}

impl Gates {
    pub(crate) fn new(doors: Doors) -> Self {
        Self {
            handshakes: Gate::new(
                doors.handshakes_at_once,
                doors.handshakes_waiting,
                Some(doors.handshake_patience),
            ),
            // Who is let in has a place already: their number is that of the sockets.
            resumes: Arc::new(Gate::new(doors.resumes_at_once, usize::MAX, None)),
            history: Gate::new(
                doors.history_at_once,
                doors.history_waiting,
                Some(doors.patience),
            ),
            search: Gate::new(
                doors.search_at_once,
                doors.search_waiting,
                Some(doors.patience),
            ),
            // One for each room whose members are unknown, and rooms are bounded.
            members: Gate::new(MEMBER_READS_AT_ONCE, usize::MAX, None),
        }
    }

    /// Copies what waits into the metrics.
    pub(crate) fn show(&self, metrics: &Metrics) {
        let gauge = |gate: &Gate| i64::try_from(gate.waiting()).unwrap_or(i64::MAX);
        metrics.edge.handshakes_waiting.set(gauge(&self.handshakes));
        metrics.edge.resumes_waiting.set(gauge(&self.resumes));
        metrics.edge.member_reads_waiting.set(gauge(&self.members));
    }
}

/// One door. Whoever waits longest goes first.
#[derive(Debug)]
pub(crate) struct Gate {
    places: Semaphore,
    waiting: AtomicUsize,
    waiting_max: usize,
    patience: Option<Duration>,
}

/// A place behind a door; given back when dropped.
#[derive(Debug)]
pub(crate) struct Pass<'a>(#[expect(dead_code, reason = "held, not read")] SemaphorePermit<'a>);

impl Gate {
    /// `patience`: how long someone waits; for ever when there is none.
    pub(crate) fn new(at_once: usize, waiting_max: usize, patience: Option<Duration>) -> Self {
        Self {
            places: Semaphore::new(at_once.clamp(1, Semaphore::MAX_PERMITS)),
            waiting: AtomicUsize::new(0),
            waiting_max,
            patience,
        }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether one more would have to go away again.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting() >= self.waiting_max
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// `busy`, when too many wait or it takes too long.
    pub(crate) async fn enter(&self) -> Result<Pass<'_>, Refusal> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(Pass(place));
        }
        if self.is_full() {
            return Err(busy());
        }
        let _waits = Waits::begin(&self.waiting);
        let place = match self.patience {
            Some(patience) => tokio::time::timeout(patience, self.places.acquire())
                .await
                .map_err(|_elapsed| busy())?,
            None => self.places.acquire().await,
        };
        // The semaphore is never closed.
        place.map(Pass).map_err(|_closed| busy())
    }
}

/// Counts someone who waits, whichever way the wait ends.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Too much at once; nothing was done.
pub(crate) fn busy() -> Refusal {
    Refusal::busy(busy_retry_ms())
}

/// After how long someone who found a door shut comes back, spread.
pub(crate) fn busy_retry_ms() -> u64 {
    let spread = u64::from(ids::random().as_fields().0) % BUSY_RETRY_SPREAD_MS;
    BUSY_RETRY_MS.saturating_add(spread)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn whoever_waits_longest_goes_first_and_who_finds_too_many_waiting_goes_away() {
        let gate = Gate::new(1, 2, None);
        let inside = gate.enter().await.unwrap();
        let (mut first, mut second) = (Box::pin(gate.enter()), Box::pin(gate.enter()));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!((gate.waiting(), gate.is_full()), (2, true));
        let refused = gate.enter().await.unwrap_err();
        assert!(
            refused
                .retry_after_ms
                .is_some_and(|after| after >= BUSY_RETRY_MS)
        );
        drop(inside);
        assert!(second.as_mut().now_or_never().is_none(), "not its turn");
        let pass = first.await.unwrap();
        drop(second);
        assert_eq!(gate.waiting(), 0, "who gives up does not wait any more");
        drop(pass);
        assert!(gate.enter().now_or_never().unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_page_waits_a_moment_and_no_longer() {
        let gate = Gate::new(1, 10, Some(Duration::ZERO));
        let _inside = gate.enter().await.unwrap();
        assert!(gate.enter().await.is_err());
        assert_eq!(gate.waiting(), 0);
    }
}

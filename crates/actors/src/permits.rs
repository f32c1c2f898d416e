//! Admission: how much may be under way at once, counted outside of actix, whose mailboxes have no real bound.
//!
//! A permit is taken before a request enters the first mailbox and given back with its reply. Node, partition, conversation and user
//! each have a count and a byte limit, so that one busy conversation or person cannot take the room of the others. Before that a request is
//! refused that would wait in vain ([`crate::pace`]).

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::PartitionId;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::pace::Pace;

/// What "busy" asks for, in milliseconds: a few commits on a loaded database, so that the queue has moved on.
pub const BUSY_RETRY_AFTER_MS: u32 = 250;

/// A count and a byte limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allowance {
    /// Requests at once.
    pub count_max: usize,
    /// Bytes of these requests at once.
    pub bytes_max: usize,
}

/// The four limits. The defaults hold a node's queues to 64 MiB, and let a room of 500 people all speak in the same moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PermitLimits {
    /// Everything on this node.
    pub node: Allowance,
    /// Each partition.
    pub partition: Allowance,
    /// Each conversation.
    pub conversation: Allowance,
    /// Each user, over all conversations of this node.
    pub user: Allowance,
}

impl Default for PermitLimits {
    fn default() -> Self {
        Self {
            node: Allowance {
                count_max: 16_384,
                bytes_max: 64 << 20,
            },
            partition: Allowance {
                count_max: 4_096,
                bytes_max: 16 << 20,
            },
            conversation: Allowance {
                count_max: 1_024,
                bytes_max: 4 << 20,
            },
            user: Allowance {
                count_max: 256,
                bytes_max: 2 << 20,
            },
        }
    }
}

/// Who holds how much of one kind of thing. A key without holdings has no entry, so the map is bounded by the node's own count.
#[derive(Debug)]
struct Ledger<K> {
    allowance: Allowance,
    held: HashMap<K, (usize, usize)>,
}

impl<K: Eq + Hash + Copy> Ledger<K> {
    fn new(allowance: Allowance) -> Self {
        Self {
            allowance,
            held: HashMap::new(),
        }
    }

    /// A single request larger than the byte limit passes when nothing else is held, so that no request is refused for ever.
    fn has_room(&self, key: K, bytes: usize) -> bool {
        self.held.get(&key).is_none_or(|(count, held)| {
            *count < self.allowance.count_max
                && held.saturating_add(bytes) <= self.allowance.bytes_max
        })
    }

    fn take(&mut self, key: K, bytes: usize) {
        let (count, held) = self.held.entry(key).or_default();
        *count = count.saturating_add(1);
        *held = held.saturating_add(bytes);
    }

    fn give_back(&mut self, key: K, bytes: usize) {
        if let Some((count, held)) = self.held.get_mut(&key) {
            *count = count.saturating_sub(1);
            *held = held.saturating_sub(bytes);
            if *count == 0 {
                self.held.remove(&key);
            }
        }
    }

    fn count(&self, key: K) -> usize {
        self.held.get(&key).map_or(0, |(count, _)| *count)
    }
}

#[derive(Debug)]
struct Ledgers {
    /// One per lane; partition p uses lane p mod L.
    paces: Vec<Pace>,
    node: Ledger<()>,
    partitions: Ledger<PartitionId>,
    conversations: Ledger<ConversationId>,
    users: Ledger<UserId>,
}

impl Ledgers {
    fn pace(&mut self, partition: PartitionId) -> Option<&mut Pace> {
        let lane = usize::from(partition.get()).checked_rem(self.paces.len())?;
        self.paces.get_mut(lane)
    }
}

/// Hands out permits. One lock, held for four map look-ups.
#[derive(Debug)]
pub(crate) struct Permits {
    ledgers: Mutex<Ledgers>,
    /// Told whenever a partition's last permit has come back.
    emptied: Notify,
}

/// Who asks for how much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holding {
    pub(crate) partition: PartitionId,
    pub(crate) conversation: ConversationId,
    pub(crate) user: UserId,
    pub(crate) bytes: usize,
    /// What the request has left until its deadline.
    pub(crate) patience: Duration,
}

/// Why a request was not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotNow {
    /// One of the four limits is exhausted.
    Full,
    /// It would wait in vain.
    Overload {
        /// When it is worth trying again.
        retry_after: Duration,
    },
}

/// The right to have one request under way; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    permits: Arc<Permits>,
    holding: Holding,
    /// It got the answer it came for.
    served: bool,
}

impl Permit {
    /// The request got the answer it came for: that counts for how fast its lane is.
    pub(crate) fn served(&mut self) {
        self.served = true;
    }
}

impl Permits {
    pub(crate) fn new(limits: &PermitLimits, lanes: u16, now: Instant) -> Arc<Self> {
        Arc::new(Self {
            ledgers: Mutex::new(Ledgers {
                paces: vec![Pace::new(now); usize::from(lanes.max(1))],
                node: Ledger::new(limits.node),
                partitions: Ledger::new(limits.partition),
                conversations: Ledger::new(limits.conversation),
                users: Ledger::new(limits.user),
            }),
            emptied: Notify::new(),
        })
    }

    /// Refuses when one of the four is exhausted or the request would wait in vain; then nothing is taken.
    pub(crate) fn take(self: &Arc<Self>, holding: Holding, now: Instant) -> Result<Permit, NotNow> {
        let mut ledgers = self.ledgers.lock();
        let bytes = holding.bytes;
        let room = ledgers.node.has_room((), bytes)
            && ledgers.partitions.has_room(holding.partition, bytes)
            && ledgers.conversations.has_room(holding.conversation, bytes)
            && ledgers.users.has_room(holding.user, bytes);
        if !room {
            return Err(NotNow::Full);
        }
        let held = ledgers.partitions.count(holding.partition);
        if let Some(pace) = ledgers.pace(holding.partition) {
            pace.admit(held, holding.patience, now)
                .map_err(|retry_after| NotNow::Overload { retry_after })?;
            pace.enter(held == 0, now);
        }
        ledgers.node.take((), bytes);
        ledgers.partitions.take(holding.partition, bytes);
        ledgers.conversations.take(holding.conversation, bytes);
        ledgers.users.take(holding.user, bytes);
        drop(ledgers);
        Ok(Permit {
            permits: Arc::clone(self),
            holding,
            served: false,
        })
    }

    /// Waits until no request of `partition` is under way. New ones must have been stopped before.
    pub(crate) async fn drained(&self, partition: PartitionId) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            // Registered before the look, so that a permit given back in between is not missed.
            emptied.as_mut().enable();
            if self.ledgers.lock().partitions.count(partition) == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// The longest that a command would wait which comes now, over the lanes; zero while none is overloaded.
    pub(crate) fn expected_wait(&self, now: Instant) -> Duration {
        let mut ledgers = self.ledgers.lock();
        let waits = ledgers.paces.iter_mut();
        waits
            .filter_map(|pace| pace.expected_wait(now))
            .max()
            .unwrap_or_default()
    }

    /// Requests under way on this node.
    pub(crate) fn under_way(&self) -> usize {
        self.ledgers.lock().node.count(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Holding {
            partition,
            conversation,
            user,
            bytes,
            patience: _,
        } = self.holding;
        let now = Instant::now();
        let emptied = {
            let mut ledgers = self.permits.ledgers.lock();
            ledgers.node.give_back((), bytes);
            ledgers.partitions.give_back(partition, bytes);
            ledgers.conversations.give_back(conversation, bytes);
            ledgers.users.give_back(user, bytes);
            let last = ledgers.partitions.count(partition) == 0;
            if let Some(pace) = ledgers.pace(partition) {
                pace.leave(self.served, last, now);
            }
            last
        };
        if emptied {
            self.permits.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use hubbub_testkit::fresh_uuid;

    use super::*;

    const TIGHT: Allowance = Allowance {
        count_max: 2,
        bytes_max: 100,
    };
    const WIDE: Allowance = Allowance {
        count_max: 1_000,
        bytes_max: 1_000_000,
    };

    fn holding(bytes: usize) -> Holding {
        Holding {
            partition: PartitionId::new(1),
            conversation: ConversationId::from_uuid(fresh_uuid()),
            user: UserId::from_uuid(fresh_uuid()),
            bytes,
            patience: Duration::from_secs(3),
        }
    }

    fn take(permits: &Arc<Permits>, holding: Holding) -> Option<Permit> {
        permits.take(holding, Instant::now()).ok()
    }

    fn with(change: impl FnOnce(&mut PermitLimits)) -> Arc<Permits> {
        let mut limits = PermitLimits {
            node: WIDE,
            partition: WIDE,
            conversation: WIDE,
            user: WIDE,
        };
        change(&mut limits);
        Permits::new(&limits, 1, Instant::now())
    }

    #[test]
    fn each_of_the_four_limits_refuses_the_third_request_and_gives_way_when_one_ends() {
        let one = holding(1);
        for permits in [
            with(|limits| limits.node = TIGHT),
            with(|limits| limits.partition = TIGHT),
            with(|limits| limits.conversation = TIGHT),
            with(|limits| limits.user = TIGHT),
        ] {
            let first = take(&permits, one).unwrap();
            let _second = take(&permits, one).unwrap();
            assert!(take(&permits, one).is_none());
            drop(first);
            assert!(take(&permits, one).is_some());
        }
    }

    #[test]
    fn one_persons_flood_leaves_room_for_another() {
        let permits = with(|limits| limits.user = TIGHT);
        let flood = holding(1);
        let _held = [take(&permits, flood), take(&permits, flood)];
        assert!(take(&permits, flood).is_none());
        assert!(take(&permits, holding(1)).is_some());
    }

    #[test]
    fn bytes_count_but_a_single_large_request_always_fits() {
        let permits = with(|limits| limits.conversation = TIGHT);
        let large = holding(500);
        let held = take(&permits, large);
        assert!(held.is_some());
        assert!(take(&permits, large).is_none());
        drop(held);
        assert!(take(&permits, large).is_some());
    }

    #[test]
    fn a_refusal_takes_nothing() {
        let permits = with(|limits| limits.user = TIGHT);
        let one = holding(1);
        let held = [take(&permits, one), take(&permits, one)];
        for _ in 0..10 {
            assert!(take(&permits, one).is_none());
        }
        drop(held);
        assert_eq!(permits.under_way(), 0);
        assert!(permits.ledgers.lock().conversations.held.is_empty());
    }

    #[tokio::test]
    async fn draining_ends_with_the_last_permit() {
        let permits = with(|_| {});
        let one = holding(1);
        let held = take(&permits, one).unwrap();
        let waiting = tokio::spawn({
            let permits = Arc::clone(&permits);
            async move { permits.drained(one.partition).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(held);
        tokio::time::timeout(hubbub_testkit::wait::DEADLINE, waiting)
            .await
            .unwrap()
            .unwrap();
    }
}

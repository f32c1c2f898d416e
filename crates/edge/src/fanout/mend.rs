//! The log lost events that were delivered (P9): whoever got them is told so, and goes on from what is left.
//!
//! ```text
//! lineage lost ─▶ nothing more is given out of the partition
//!              ─▶ read: its head, its lineage, and for every conversation given out here whether the log still holds the event
//!              ─▶ sockets of the touched ones: `reset {from_seq}`, then what the log has from there on (as at a resume)
//!              ─▶ deliver again behind what was not lost: newer events of the untouched ones, too
//! ```
//!
//! When the loss reaches below what this node remembers (before it began, or rooms forgotten since), every socket has to resume: the
//! cursors that clients bring tell what they hold.

use std::collections::HashMap;
use std::sync::Arc;

use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{Epoch, Offset, PartitionId, Seq};
use hubbub_wire::bus::PartitionHead;
use hubbub_wire::client::close;

use crate::fanout::CatchUp;
use crate::fanout::hub::Hub;
use crate::feed::PartitionFeed;
use crate::session::outbox::Outbox;

/// A conversation whose last given-out event the log does not hold.
pub(crate) type Lost = (ConversationId, Epoch, Seq);

/// A socket and what it has to be told about.
type Behind = (Arc<Outbox>, Vec<CatchUp>);

impl Hub {
    /// What was given out is not in the log any more.
    pub(super) fn lose_lineage(&mut self, partition: PartitionId) {
        tracing::error!(
            partition = partition.get(),
            "the log lost events that were delivered: those who got them are told"
        );
        self.deps.metrics.feed.lineage_losses.inc();
        self.flush_crowds(None);
        let partitions = self.deps.partitions;
        let given = self
            .rooms
            .heads_of(|conversation| partitions.partition_of(conversation) == partition);
        let last = self
            .feeds
            .get(usize::from(partition.get()))
            .map_or(Epoch::ZERO, PartitionFeed::lost_after);
        self.jobs.mend(partition, given, last);
    }

    /// What the log holds is known. `below`: the offset behind which everything is new.
    pub(super) fn mended(
        &mut self,
        partition: PartitionId,
        head: PartitionHead,
        lost: Vec<Lost>,
        below: Offset,
    ) {
        let began = self.booted_at.get(&partition).copied().unwrap_or_default();
        if below < began || self.rooms.was_crowded() {
            self.rooms.forget_all();
            self.close_all(close::DEGRADED, "lineage lost");
            self.jobs.mend_ended(partition);
            self.boot(&[head]);
        } else {
            self.reset(lost);
            self.jobs.mend_ended(partition);
            self.go_on(below, head);
        }
    }

    fn reset(&mut self, lost: Vec<Lost>) {
        let mut sockets: HashMap<UserId, Vec<Behind>> = HashMap::new();
        for (conversation, epoch, seq) in lost {
            // Whom the lost events made a member, or not, is asked anew with each; who is known not to be one is left out.
            let members = self
                .rooms
                .known_members(conversation)
                .map(<[UserId]>::to_vec);
            self.rooms.forget(conversation);
            for (user, seats) in self.sessions.by_user() {
                if members
                    .as_ref()
                    .is_some_and(|members| members.binary_search(user).is_err())
                {
                    continue;
                }
                let held = sockets.entry(*user).or_insert_with(|| {
                    let outboxes = seats.iter().map(|seat| Arc::clone(&seat.outbox));
                    outboxes.map(|outbox| (outbox, Vec::new())).collect()
                });
                for (outbox, catch_ups) in held {
                    outbox.begin_anew(conversation);
                    catch_ups.push(CatchUp {
                        conversation,
                        epoch,
                        seq,
                        ticket: outbox.hold(conversation),
                    });
                }
            }
        }
        for (user, sockets) in sockets {
            for (outbox, catch_ups) in sockets {
                self.jobs.catch_up_again(user, outbox, catch_ups);
            }
        }
    }
}

//! The log lost events that were delivered (P9): whoever got them is told so, and goes on from what is left.
//!
//! ```text
//! lineage lost ─▶ nothing more is given out of the partition, and members that are read meanwhile wait
//!              ─▶ read: its head, its lineage, and for every conversation given out here whether the log still holds the event, and if
//!                 not, who is a member by what is left
//!              ─▶ sockets of the touched ones: `reset {from_seq}`, then what the log has from there on (as at a resume); `removed` for
//!                 whom a lost event had let in, `added` for whom one had put out
//!              ─▶ what waited for members: the lost part is dropped, the rest is given out
//!              ─▶ deliver again behind what was not lost: newer events of the untouched ones, too
//! ```
//!
//! When the loss reaches below what this node remembers (before it began, or rooms forgotten since), or when what is left cannot be told,
//! every socket has to resume: the cursors that clients bring tell what they hold. One conversation that cannot be read is not waited for:
//! those who have it are sent to look at it, all others go on.
//!
//! Start reading at `Hub::lose_lineage`, then [`verdict`].

pub(crate) mod verdict;

use std::collections::HashMap;
use std::sync::Arc;

use hubbub_domain::conversation::RemovalReason;
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{Epoch, Offset, PartitionId, Seq};
use hubbub_wire::bus::PartitionHead;
use hubbub_wire::client::outbound::Removed;
use hubbub_wire::client::{ServerFrame, close};

use self::verdict::{Verdict, verdict};
use crate::fanout::CatchUp;
use crate::fanout::hub::Hub;
use crate::feed::PartitionFeed;
use crate::objects;
use crate::session::outbox::Outbox;

/// The last event of a conversation that was given out here.
pub(crate) type Given = (ConversationId, Epoch, Seq);

/// Members of rooms, read while their partition was being mended: one answer for each room that waits for one.
pub(crate) type LateMembers = HashMap<PartitionId, Vec<(ConversationId, Option<MembersAt>)>>;

/// Members, and after which event they are it.
pub(crate) type MembersAt = (Vec<UserId>, Seq);

/// A conversation whose last given-out event the log does not hold, or of which nobody can tell.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) given: Given,
    /// Members after the last event that is left, ascending; `None` when they cannot be told.
    pub(crate) members: Option<Vec<UserId>>,
}

/// What is left of what was given out of a partition.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) head: PartitionHead,
    pub(crate) lost: Vec<Lost>,
    /// Behind this offset everything is new.
    pub(crate) below: Offset,
}

/// A person's sockets and what each has to be told about.
type Behind = HashMap<UserId, Vec<(Arc<Outbox>, Vec<CatchUp>)>>;

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

    /// What the log holds is known; `None` when it cannot be told.
    pub(super) fn mended(&mut self, partition: PartitionId, left: Option<Left>) {
        let late = self.late_members.remove(&partition).unwrap_or_default();
        let began = self.booted_at.get(&partition).copied().unwrap_or_default();
        let crowded = self.rooms.was_crowded();
        let Some(mut left) = left else {
            return self.jobs.read_head(partition);
        };
        if left.below < began || crowded {
            return self.begin_again(left.head);
        }
        self.cut(partition, &mut left);
        self.tell(left.lost);
        self.jobs.mend_ended(partition);
        for (conversation, members) in late {
            self.on_members(conversation, members);
        }
        self.go_on(left.below, left.head);
    }

    /// Nothing that was given out of a partition counts any more: it is delivered from here on, and whoever sits here has to resume. Both at
    /// once: what commits behind this head comes live, what came before it is found by the cursors.
    pub(super) fn begin_again(&mut self, head: PartitionHead) {
        self.late_members.remove(&head.partition);
        self.rooms.forget_all();
        self.close_all(close::DEGRADED, "lineage lost");
        self.jobs.mend_ended(head.partition);
        self.boot(&[head]);
    }

    /// Keeps members that were read while their partition is being mended: what they would set free may be lost.
    pub(super) fn keep_late(
        &mut self,
        partition: PartitionId,
        conversation: ConversationId,
        members: Option<MembersAt>,
    ) {
        let late = self.late_members.entry(partition).or_default();
        late.push((conversation, members));
    }

    /// Drops what rooms hold of the lost events. Where some had been dropped before, its members have to look at everything again.
    fn cut(&mut self, partition: PartitionId, left: &mut Left) {
        let partitions = self.deps.partitions;
        let here = |conversation| partitions.partition_of(conversation) == partition;
        for conversation in self.rooms.cut(here, left.below) {
            if left.lost.iter().all(|lost| lost.given.0 != conversation) {
                let start = (Epoch::ZERO, Seq::new(1));
                let (epoch, seq) = self.rooms.head(conversation).unwrap_or(start);
                left.lost.push(Lost {
                    given: (conversation, epoch, seq),
                    members: None,
                });
            }
        }
    }

    fn tell(&mut self, lost: Vec<Lost>) {
        let mut behind = Behind::new();
        for lost in lost {
            self.beat();
            self.tell_of(&lost, &mut behind);
        }
        for (user, sockets) in behind {
            for (outbox, catch_ups) in sockets {
                self.jobs.catch_up_again(user, outbox, catch_ups);
            }
        }
    }

    fn tell_of(&mut self, lost: &Lost, behind: &mut Behind) {
        let (conversation, epoch, seq) = lost.given;
        let before = self
            .rooms
            .known_members(conversation)
            .map(<[UserId]>::to_vec);
        // The members are read anew with the next event.
        self.rooms.forget(conversation);
        let removed = objects::frame(&ServerFrame::Removed(Removed {
            conversation_id: conversation.uuid(),
            reason: RemovalReason::Removed.into(),
        }));
        let mut back = Vec::new();
        for (user, seats) in self.sessions.by_user() {
            let among = |members: &Vec<UserId>| members.binary_search(user).is_ok();
            // Where the fold is not at hand, whoever was caught up there had a part in it.
            let had = before.as_ref().map(among).or_else(|| {
                let caught_up =
                    |seat: &crate::sessions::Seat| seat.outbox.was_caught_up(conversation);
                seats.iter().any(caught_up).then_some(true)
            });
            let verdict = verdict(had, lost.members.as_ref().map(among));
            if verdict == Verdict::Untouched {
                continue;
            }
            for seat in seats {
                seat.outbox.begin_anew(conversation);
            }
            match verdict {
                Verdict::Untouched => {}
                Verdict::Reset => {
                    let sockets = behind.entry(*user).or_insert_with(|| {
                        let outboxes = seats.iter().map(|seat| Arc::clone(&seat.outbox));
                        outboxes.map(|outbox| (outbox, Vec::new())).collect()
                    });
                    for (outbox, catch_ups) in sockets {
                        catch_ups.push(CatchUp {
                            conversation,
                            epoch,
                            seq,
                            ticket: outbox.hold(conversation),
                        });
                    }
                }
                Verdict::TakenOut => {
                    for seat in seats {
                        seat.outbox.control(conversation, seq, removed.clone());
                    }
                }
                Verdict::ComesBack => {
                    let hold = |seat: &crate::sessions::Seat| {
                        (Arc::clone(&seat.outbox), seat.outbox.hold(conversation))
                    };
                    back.push((*user, seats.iter().map(hold).collect()));
                }
            }
        }
        for (user, sockets) in back {
            self.jobs.announce(conversation, user, seq, sockets);
        }
    }
}

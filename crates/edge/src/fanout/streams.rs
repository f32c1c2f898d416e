//! From the bus to arrivals: batches and heads go through the feeds, what a feed asks for is fetched.
//!
//! Fault points: `edge.batch.received`, `edge.event.arrived`.

use hubbub_bus::Delivery;
use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::{Offset, PartitionId, Seq};
use hubbub_telemetry::{TraceContext, fault, spans};
use hubbub_wire::bus::{EvBatch, EvEntry, HeadBroadcast, PartitionHead};
use tokio::time::Instant;

use crate::fanout::hub::Hub;
use crate::fanout::rooms::{Admission, Arrival, Loaded};
use crate::feed::{Effect, Fetched, Loss};

impl Hub {
    pub(super) fn on_batch(&mut self, delivery: &Delivery) {
        fault::point("edge.batch.received");
        let batch = match EvBatch::decode_shared(&delivery.payload) {
            Ok(batch) => batch,
            Err(error) => {
                tracing::warn!(%error, "an event batch could not be read; the log will be");
                return;
            }
        };
        let partition = batch.partition;
        let now = self.now_ms();
        let Some(feed) = self.feeds.get_mut(usize::from(partition.get())) else {
            return;
        };
        let effects = feed.on_batch(batch, now);
        self.deps
            .metrics
            .feed
            .duplicates
            .inc_by(feed.take_duplicates());
        self.run_effects(partition, effects, delivery.trace.as_ref());
    }

    pub(super) fn on_heads(&mut self, delivery: &Delivery) {
        match HeadBroadcast::decode(&delivery.payload) {
            Ok(broadcast) => {
                let (now, now_ms) = (Instant::now(), self.now_ms());
                self.sight.on_heard(now_ms);
                for head in broadcast.heads {
                    if let Some(heard) = self.heard.get_mut(usize::from(head.partition.get())) {
                        *heard = now;
                    }
                    if let Some(feed) = self.feeds.get_mut(usize::from(head.partition.get())) {
                        let effects = feed.on_head(head, Some(broadcast.incarnation), now_ms);
                        self.run_effects(head.partition, effects, None);
                    }
                }
                self.on_highest_rev(broadcast.user_rev);
            }
            Err(error) => tracing::warn!(%error, "a head broadcast could not be read"),
        }
    }

    /// Heads as the log has them.
    pub(super) fn advance_to_heads(&mut self, heads: &[PartitionHead]) {
        let now = self.now_ms();
        for head in heads {
            if let Some(feed) = self.feeds.get_mut(usize::from(head.partition.get())) {
                let effects = feed.on_head(*head, None, now);
                self.run_effects(head.partition, effects, None);
            }
        }
    }

    /// Begins to deliver the partitions that do not yet, but for those whose lineage is being mended.
    pub(super) fn boot(&mut self, heads: &[PartitionHead]) {
        let now = self.now_ms();
        for head in heads {
            let Some(feed) = self.feeds.get_mut(usize::from(head.partition.get())) else {
                continue;
            };
            if !feed.is_booted() && !self.jobs.is_mending(head.partition) {
                self.booted_at.insert(head.partition, head.head);
                let effects = feed.boot(*head, now);
                self.run_effects(head.partition, effects, None);
            }
        }
    }

    /// Delivers again behind `below`, up to where nothing was lost.
    pub(super) fn go_on(&mut self, below: Offset, head: PartitionHead) {
        let now = self.now_ms();
        if let Some(feed) = self.feeds.get_mut(usize::from(head.partition.get())) {
            let effects = feed.go_on(below, head, now);
            self.run_effects(head.partition, effects, None);
        }
    }

    pub(super) fn on_time(&mut self) {
        let now = self.now_ms();
        let due: Vec<PartitionId> = self.waiting.iter().copied().collect();
        for partition in due {
            let Some(feed) = self.feeds.get_mut(usize::from(partition.get())) else {
                continue;
            };
            if feed.deadline_ms().is_some_and(|due| due <= now) {
                let effects = feed.on_time(now);
                self.run_effects(partition, effects, None);
            }
        }
        self.flush_crowds(Some(now));
    }

    pub(super) fn on_range(&mut self, partition: PartitionId, after: Offset, fetched: Fetched) {
        let now = self.now_ms();
        let Some(feed) = self.feeds.get_mut(usize::from(partition.get())) else {
            return;
        };
        let effects = feed.on_range(after, fetched, now);
        if let Some(healed) = feed.take_healed() {
            let metrics = &self.deps.metrics.feed;
            match healed.loss {
                Loss::Gap => metrics.healed_gaps.inc(),
                Loss::Last => metrics.healed_last.inc(),
            }
            if healed.by_ring {
                metrics.healed_by_ring.inc();
            } else {
                metrics.healed_by_log.inc();
            }
        }
        self.run_effects(partition, effects, None);
    }

    pub(super) fn run_effects(
        &mut self,
        partition: PartitionId,
        effects: Vec<Effect>,
        trace: Option<&TraceContext>,
    ) {
        for effect in effects {
            match effect {
                Effect::Deliver(entries) => {
                    for entry in entries {
                        self.arrive(entry, trace);
                    }
                }
                Effect::Fetch { after, to, from } => {
                    self.jobs.read_range(partition, after, to, from);
                }
                Effect::LineageLost => self.lose_lineage(partition),
            }
        }
        let wants_time = self
            .feeds
            .get(usize::from(partition.get()))
            .is_some_and(|feed| feed.deadline_ms().is_some());
        if wants_time {
            self.waiting.insert(partition);
        } else {
            self.waiting.remove(&partition);
        }
    }

    fn arrive(&mut self, entry: EvEntry, trace: Option<&TraceContext>) {
        fault::point("edge.event.arrived");
        self.deps.metrics.feed.events.inc();
        let recorded = match entry.row.decode() {
            Ok(recorded) => recorded,
            Err(error) => {
                // The conversation becomes unreadable from here on (F14); everything else goes on.
                tracing::error!(%error, conversation.id = %entry.row.conversation, seq = entry.row.seq.get(), "an event cannot be read");
                return self.pass_over(entry.row.conversation);
            }
        };
        let conversation = recorded.conversation;
        match self.rooms.admit(Arrival {
            offset: entry.row.offset,
            epoch: entry.row.epoch,
            recorded,
            recipients: entry.recipients,
        }) {
            Admission::Ready(arrival) => {
                let span = tracing::debug_span!(spans::EDGE_EVENT_FANOUT, conversation.id = %conversation, seq = arrival.recorded.seq.get());
                if let Some(trace) = trace {
                    trace.link_to(&span);
                }
                let _entered = span.enter();
                self.give(arrival);
            }
            Admission::Waits => {}
            Admission::Load(before) => self.jobs.read_members(conversation, Some(before)),
        }
    }

    /// Nobody here gets events of this conversation that the log holds: the hole is known, and nobody is sent away for it.
    pub(super) fn pass_over(&mut self, conversation: ConversationId) {
        self.rooms.pass_over(conversation);
        for seat in self.sessions.all() {
            seat.outbox.expect_hole(conversation);
        }
    }

    pub(super) fn members_loaded(
        &mut self,
        conversation: ConversationId,
        members: Vec<UserId>,
        as_of: Seq,
    ) {
        let (arrivals, whispers) = match self.rooms.loaded(conversation, members, as_of) {
            Loaded::Nothing => return,
            Loaded::Again(before) => return self.jobs.read_members(conversation, Some(before)),
            Loaded::Released(arrivals, whispers) => (arrivals, whispers),
            Loaded::Skipped(mut skipped) => {
                let (arrivals, whispers) = (
                    std::mem::take(&mut skipped.arrivals),
                    std::mem::take(&mut skipped.whispers),
                );
                self.skip(conversation, &skipped);
                (arrivals, whispers)
            }
        };
        for arrival in arrivals {
            self.give(arrival);
        }
        for whisper in whispers {
            self.whisper(conversation, whisper);
        }
    }
}

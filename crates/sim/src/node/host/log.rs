//! What the lanes report, what is published, markers, and the ways out of Serving.

#![cfg_attr(
    not(test),
    expect(
        clippy::wildcard_imports,
        reason = "the second half of one room, split for reading"
    )
)]

use super::*;

impl Host {
    // === the log ===

    pub(super) fn append(&mut self, partition: PartitionId, round: Round, decided: Decided) {
        let Some(served) = self.served.get_mut(&partition) else {
            return;
        };
        let conversation = decided.recorded.conversation;
        match served.core.place(round, decided, None) {
            Ok(row) => {
                let mail = LaneMail::Row(partition, served.epoch, round, Box::new(row));
                self.post(lane_of(partition), Mail::Lane(mail));
            }
            Err(NoPlace::Void) => {}
            Err(NoPlace::Unstorable(_)) => self.post(
                Key::Partition(partition),
                Mail::Partition(PartitionMail::Failed(conversation, false)),
            ),
        }
    }

    pub(super) fn deliver(&mut self, told: Vec<Told>) {
        for Told {
            partition,
            epoch,
            report,
        } in told
        {
            let mail = PartitionMail::Lane(epoch, report);
            if self.served.contains_key(&partition) {
                self.post(Key::Partition(partition), Mail::Partition(mail));
            }
        }
    }

    pub(super) fn reported(&mut self, partition: PartitionId, report: Report, wires: &mut Wires) {
        match report {
            Report::Committed { through, .. } => self.committed(partition, through, wires),
            Report::TakenBack { round, how } => {
                wires.counters.one("take-backs");
                self.taken_back(partition, round, &how);
            }
            Report::Fenced => self.leave(partition, Phase::Fenced),
            Report::InDoubt => self.leave(partition, Phase::InDoubt),
            Report::Broken => self.leave(partition, Phase::Broken),
            Report::MarkersStored => {
                let callers = self
                    .served
                    .get_mut(&partition)
                    .map(|served| served.marks.stored().1);
                for caller in callers.into_iter().flatten() {
                    self.reply(partition, caller, OwnerReply::Marked);
                }
                let again = self
                    .served
                    .get(&partition)
                    .is_some_and(|served| served.marks.has_callers() || served.finishing);
                if again {
                    self.write_markers(partition);
                }
            }
            Report::MarkersRefused { refusal } => {
                let reply = match refusal {
                    Refusal::StorageFull => OwnerReply::StorageFull,
                    Refusal::Unfit | Refusal::Unavailable => unavailable(),
                };
                self.markers_failed(partition, &reply);
            }
            Report::MarkersUnknown => self.markers_failed(partition, &OwnerReply::Unknown),
        }
    }

    pub(super) fn markers_failed(&mut self, partition: PartitionId, reply: &OwnerReply) {
        let callers = self
            .served
            .get_mut(&partition)
            .map(|served| served.marks.failed());
        for caller in callers.into_iter().flatten() {
            self.reply(partition, caller, reply.clone());
        }
    }

    pub(super) fn committed(&mut self, partition: PartitionId, through: Offset, wires: &mut Wires) {
        let Some(served) = self.served.get_mut(&partition) else {
            return;
        };
        if !served.core.phase().answers() {
            return;
        }
        let committed = served.core.committed(through);
        wires.trace.mix(through.get());
        let mut told = Vec::new();
        for (conversation, seq) in committed.conversations {
            served.residents.succeeded(conversation);
            if let Some(actor) = served.residents.handle(conversation) {
                told.push((*actor, seq));
            }
        }
        for (actor, seq) in told {
            self.tell(partition, actor, ActorMail::Committed(seq));
        }
        if let Some((batch, _)) = committed.publication {
            self.post(Key::Publisher(partition), Mail::Publish(batch));
        }
        self.restart_settled(partition);
    }

    pub(super) fn taken_back(&mut self, partition: PartitionId, round: Round, how: &TakeBack) {
        let Some(served) = self.served.get_mut(&partition) else {
            return;
        };
        if !served.core.phase().answers() {
            return;
        }
        served.core.take_back(round);
        let mut actors: Vec<Handle> = served.residents.handles().copied().collect();
        actors.sort_unstable();
        for actor in actors {
            self.tell(partition, actor, ActorMail::TakenBack(round, how.clone()));
        }
        self.restart_settled(partition);
    }

    pub(super) fn restart_settled(&mut self, partition: PartitionId) {
        let Some(served) = self.served.get_mut(&partition) else {
            return;
        };
        let core = &served.core;
        let mut settled = served
            .residents
            .settled(|conversation| core.is_in_flight(conversation));
        settled.sort_by_key(|(conversation, _)| *conversation);
        for (conversation, parked) in settled {
            self.restart(partition, conversation, parked);
        }
    }

    pub(super) fn publish(&mut self, partition: PartitionId, batch: EvBatch, wires: &mut Wires) {
        let Some(served) = self.served.get_mut(&partition) else {
            return;
        };
        for piece in batch.split(EV_BATCH_BYTES_MAX) {
            let count = u64::try_from(piece.events.len()).unwrap_or(0);
            let end = piece.base_offset.plus(count).prev();
            wires.publish(self.me, &BusMessage::Events(piece.encode()));
            served.published = served.published.max(end);
        }
    }

    // === markers ===

    pub(super) fn mark(
        &mut self,
        partition: PartitionId,
        moved: MarkerMove,
        caller: Option<ReplyTo>,
    ) {
        let Some(served) = self.served.get_mut(&partition) else {
            if let Some(caller) = caller {
                self.drop_caller(caller);
            }
            return;
        };
        let at_once = caller.is_some();
        if let Err(caller) = served.marks.add(moved, caller) {
            if let Some(caller) = caller {
                let busy = OwnerReply::Busy {
                    retry_after_ms: 100,
                };
                self.reply(partition, caller, busy);
            }
            return;
        }
        if at_once {
            self.write_markers(partition);
        }
    }

    pub(super) fn write_markers(&mut self, partition: PartitionId) {
        let Some(served) = self.served.get_mut(&partition) else {
            return;
        };
        let markers = served.marks.next_write();
        if markers.is_empty() || !served.core.phase().answers() {
            return;
        }
        let mail = LaneMail::Markers(partition, served.epoch, markers);
        self.post(lane_of(partition), Mail::Lane(mail));
    }

    // === leaving ===

    pub(super) fn finish_when_idle(&mut self, partition: PartitionId) {
        let is_idle = self
            .served
            .get(&partition)
            .is_some_and(|served| served.draining && !served.finishing && served.under_way == 0);
        if is_idle {
            self.post(
                Key::Partition(partition),
                Mail::Partition(PartitionMail::Finish),
            );
        }
    }

    pub(super) fn finish_if_done(&mut self, partition: PartitionId) {
        let is_done = self.served.get(&partition).is_some_and(|served| {
            served.finishing
                && served.residents.is_settled()
                && served.marks.is_empty()
                && !self.mail.contains_key(&Key::Publisher(partition))
        });
        if is_done {
            if let Some(served) = self.served.get_mut(&partition) {
                served.draining = false;
            }
            self.stop(partition);
            self.drained.push((partition, true));
        }
    }

    pub(super) fn leave(&mut self, partition: PartitionId, to: Phase) {
        let Some(served) = self.served.get_mut(&partition) else {
            return;
        };
        if !served.core.leave(to) {
            return;
        }
        served.answers = false;
        served.accepting = false;
        let epoch = served.epoch;
        served.residents.clear();
        let marks = std::mem::replace(&mut served.marks, Marks::new(partition));
        let mut dropped: Vec<ReplyTo> = Vec::new();
        for actor in std::mem::take(&mut served.actors).into_values() {
            dropped.extend(actor.callers());
        }
        dropped.extend(waiting(marks));
        for caller in dropped {
            self.drop_caller(caller);
        }
        self.post(
            lane_of(partition),
            Mail::Lane(LaneMail::Close(partition, epoch)),
        );
        let signal = match to {
            Phase::Fenced => PartitionSignal::Fenced,
            Phase::InDoubt => PartitionSignal::InDoubt,
            Phase::Broken => PartitionSignal::Broken,
            Phase::Recovering | Phase::Serving | Phase::HandingOff | Phase::Stopped => return,
        };
        self.signals.push(HostEvent {
            partition,
            epoch,
            signal,
        });
    }
}

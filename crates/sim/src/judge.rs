//! The end of a run: the log, the lineage and the read models as they are, and the checker's word.

use std::sync::Arc;

use hubbub_checker::history::Digest;
use hubbub_checker::{
    Event as Seen, Fact, Fold, FoldKind, Frame, Happened, Healing, Heals, Limits, LineageRow,
    Reading, Report, Time, check,
};
use hubbub_domain::conversation::{Event, Recorded};
use hubbub_event_log::LogReader;
use hubbub_projections::{Projection, Projector};
use hubbub_wire::stored::EventRow;

use crate::database::now;
use crate::recorder::time;
use crate::tables::Tables;
use crate::wires::Wires;

/// An age: in a run with pauses nothing is held to a second.
const AGES: u64 = 3_600 * hubbub_checker::history::SECOND;

/// How the world became whole again.
#[expect(
    clippy::struct_field_names,
    reason = "three moments, all in milliseconds"
)]
pub(crate) struct Healed {
    /// When it was healed.
    pub(crate) healed_ms: u64,
    /// When everything had an owner.
    pub(crate) owned_ms: Option<u64>,
    /// When every client was at the head.
    pub(crate) heads_ms: Option<u64>,
}

/// Looks at everything and says what is wrong.
pub(crate) fn judge(wires: &mut Wires, seed: u64, healed: &Healed) -> Report {
    "simulation".clone_into(&mut wires.recorder.history.meta.run);
    wires.recorder.history.meta.seed = seed;
    look_at_the_log(wires);
    look_at_the_read_models(wires);
    leave_out_the_unreadable(wires);
    for (heals, reached) in [
        (Heals::Owned, healed.owned_ms),
        (Heals::Heads, healed.heads_ms),
    ] {
        wires.recorder.history.healings.push(Healing {
            fault: "everything".to_owned(),
            healed_at: time(healed.healed_ms),
            heals,
            reached_at: reached.map(time),
        });
    }
    let end = time(wires.now_ms);
    for operation in &mut wires.recorder.history.operations {
        operation.ended_at = operation.ended_at.min(end);
    }
    let of = |what| wires.counters.of(what);
    let happened = [
        Happened::TakeoverInFlight(of("takeovers with an append in flight")),
        Happened::FencedAppend(of("appends fenced off")),
        Happened::UnknownOutcome(of("appends with unknown outcome")),
        Happened::HealedGap(of("gaps healed")),
        Happened::HealedLastMessage(of("last messages healed")),
    ];
    wires.recorder.history.happened.extend(happened);
    let limits = Limits {
        after_removal: AGES,
        unheard: AGES,
        // Backoff of a client that has failed often waits half a minute before it tries again.
        heads: 35 * hubbub_checker::history::SECOND,
        ..Limits::default()
    };
    check(&wires.recorder.history, &limits)
}

/// What is said of a conversation whose row has rotted is not held against anyone: it is read-only, and reported (F14). When a failover loses
/// the row, so it is until everyone has heard of that.
fn leave_out_the_unreadable(wires: &mut Wires) {
    let unreadable = wires.database.unreadable();
    let recorder = &mut wires.recorder;
    let mut history = std::mem::take(&mut recorder.history);
    let is_readable = |id: &uuid::Uuid, at: Time| {
        let id = hubbub_domain::ids::ConversationId::from_uuid(*id);
        !unreadable.contains(&id) && !recorder.was_unreadable(id, at)
    };
    for read in &mut history.reads {
        read.is_quiet &= unreadable.is_empty();
        let ended_at = read.ended_at;
        if let Reading::Inbox { entries, complete } = &mut read.reading {
            let all = entries.len();
            entries.retain(|entry| is_readable(&entry.conversation, ended_at));
            *complete &= unreadable.is_empty() && entries.len() == all;
        }
    }
    for socket in &mut history.sockets {
        let hello_at = socket.hello_at;
        socket.cursors.retain(|(id, ..)| is_readable(id, hello_at));
    }
    history.frames.retain(|seen| match &seen.frame {
        Frame::Event(event) => is_readable(&event.conversation, seen.at),
        _ => true,
    });
    history.reads.retain(|read| match &read.reading {
        Reading::Page { conversation, .. } | Reading::Search { conversation, .. } => {
            is_readable(conversation, read.ended_at)
        }
        Reading::Inbox { .. } => true,
    });
    wires.recorder.history = history;
}

fn look_at_the_log(wires: &mut Wires) {
    for partition in wires.partitions.all() {
        let rows = wires.database.rows(partition);
        // As stored: what rotted on purpose is only read wrongly.
        for row in &rows {
            let recorded = row.decode();
            wires.recorder.row(row, recorded.is_ok());
            if let Ok(recorded) = recorded {
                wires.recorder.history.events.push(seen(row, &recorded));
            }
        }
        for entry in now(wires.database.lineage(partition)).unwrap_or_default() {
            wires.recorder.history.lineage.push(LineageRow {
                partition: u32::from(partition.get()),
                epoch: entry.epoch.get(),
                start_after: entry.start.get(),
                owner: entry.owner.map(hubbub_domain::ids::Incarnation::uuid),
                at: None,
            });
        }
    }
}

/// An event of the log in the judge's words.
fn seen(row: &EventRow, recorded: &Recorded) -> Seen {
    let fact = match &recorded.event {
        Event::ConversationCreated { members, .. } => Fact::Created {
            members: members.iter().map(|(user, _)| user.uuid()).collect(),
        },
        Event::MemberAdded { user, .. } => Fact::Added { user: user.uuid() },
        Event::MemberRemoved { user, .. } => Fact::Removed { user: user.uuid() },
        Event::MessageSent {
            message_no, body, ..
        } => Fact::Sent {
            no: message_no.get(),
            body: body.as_deref().map(Digest::of),
            mentions: Vec::new(),
        },
        event @ Event::RoleChanged { .. } => Fact::Other(Digest::of(&format!("{event:?}"))),
    };
    Seen {
        conversation: row.conversation.uuid(),
        epoch: row.epoch.get(),
        seq: row.seq.get(),
        command: Some(row.command_id.uuid()),
        by: recorded.by.uuid(),
        fact,
    }
}

/// Every read model beside one that is built anew from the log (I14).
fn look_at_the_read_models(wires: &mut Wires) {
    let rebuilt = Arc::new(Tables::new(wires.database.log.clone()));
    let all: Vec<_> = wires.partitions.all().collect();
    for projection in [Projection::Inbox, Projection::History] {
        let all = all.clone();
        let log = Arc::new(wires.database.clone());
        let mut projector = Projector::new(
            projection,
            log,
            rebuilt.clone(),
            Arc::new(move || all.clone()),
        );
        if now(projector.catch_up()).is_err() {
            wires.counters.one("rebuilds that failed");
        }
    }
    let live = Arc::clone(&wires.database.tables);
    for conversation in wires.recorder.conversations.clone() {
        if live.is_parked(conversation) || rebuilt.is_parked(conversation) {
            continue;
        }
        wires.recorder.history.folds.push(Fold {
            kind: FoldKind::Rebuild,
            what: conversation.to_string(),
            through: 0,
            expected: Digest::of(&rebuilt.describe(conversation)),
            found: Digest::of(&live.describe(conversation)),
        });
    }
}

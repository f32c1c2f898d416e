//! The door of the database: what each question does there, and what its sender hears when the question or the answer is lost.

use hubbub_actors::sim::{Fold, LoadError, Loaded, Unread};
use hubbub_domain::ids::ConversationId;
use hubbub_domain::position::Seq;
use hubbub_event_log::{
    AppendOutcome, EventLog, LogReader, Ownership, ReadError, Refusal, SnapshotRow, Snapshots,
};
use hubbub_wire::snapshot::SNAPSHOT_VERSION;

use crate::database::now;
use crate::node::edge::EdgeAnswer;
use crate::recorder;
use crate::wires::{Answer, Ask, NodeInput, To, Wires};

/// Rows read at a time when a state is loaded, as the shell of the actors does.
const PAGE_ROWS: usize = 512;

/// A question arrives: it is answered at this instant, and the answer sent on its way.
#[expect(
    clippy::single_match_else,
    reason = "an answer that comes and one that does not stand beside each other"
)]
pub fn arrive(wires: &mut Wires, from: To, ask: Ask) {
    let Some(answer) = answer(wires, from, ask) else {
        return;
    };
    match wires.weather.from_store(from.node, &mut wires.random) {
        Some(delay) => wires.wake(from, delay, NodeInput::Answer(Box::new(answer))),
        None => {
            wires.counters.one("answers of the database lost");
            // A connection that breaks is noticed at once, one that falls silent only in time.
            let is_noticed = wires.random.chance(400);
            if let Some(instead) = unheard(answer, is_noticed) {
                let patience = if is_noticed {
                    wires.random.between(1, 20)
                } else {
                    wires.random.between(500, 3_000)
                };
                wires.wake(from, patience, NodeInput::Answer(Box::new(instead)));
            }
        }
    }
}

#[expect(clippy::too_many_lines, reason = "one arm for each question")]
fn answer(wires: &mut Wires, from: To, ask: Ask) -> Option<Answer> {
    let database = wires.database.clone();
    let me = from.incarnation();
    Some(match ask {
        Ask::OpenLane { lane, connection } => {
            let is_open = now(database.log.open_lane(me, lane)).is_ok();
            if is_open {
                let server = wires.server;
                wires.connections.insert((from, lane, connection), server);
            }
            Answer::LaneOpen {
                lane,
                connection,
                is_open,
            }
        }
        Ask::Append {
            lane,
            connection,
            batch,
        } => {
            let outcome = if leads_to_the_past(wires, from, lane, connection) {
                AppendOutcome::Unknown
            } else {
                append(wires, from, lane, batch)
            };
            Answer::Appended {
                lane,
                connection,
                outcome,
            }
        }
        Ask::WriteMarkers {
            lane,
            connection,
            fence,
            markers,
        } => {
            let outcome = if leads_to_the_past(wires, from, lane, connection) {
                AppendOutcome::Unknown
            } else if wires.weather.full {
                AppendOutcome::Refused(Refusal::StorageFull)
            } else {
                match now(database.log.open_lane(me, lane)) {
                    Ok(mut lane) => now(lane.write_markers(fence, markers)),
                    Err(_) => AppendOutcome::Refused(Refusal::Unavailable),
                }
            };
            Answer::MarkersWritten {
                lane,
                connection,
                outcome,
            }
        }
        Ask::LookUp { lane, drawn } => {
            let mut found = Ok(Vec::new());
            for row in drawn.parts.values().flat_map(|part| &part.rows) {
                let probe = now(database.find_command(row.row.conversation, row.row.command_id));
                match (&mut found, probe) {
                    (Ok(rows), Ok(row)) => rows.extend(row),
                    (found, Err(_)) => *found = Err(Unread),
                    (Err(Unread), Ok(_)) => {}
                }
            }
            Answer::LookedUp { lane, drawn, found }
        }
        Ask::Beat { state, nats_ok } => {
            Answer::Beat(now(database.log.heartbeat(me, state, nats_ok)).ok())
        }
        Ask::BeatOutOfTurn { state, nats_ok } => {
            let _heard_at_the_next_one = now(database.log.heartbeat(me, state, nats_ok)).is_ok();
            return None;
        }
        Ask::Look { seen_at_ms } => {
            let nodes = now(database.log.nodes()).ok();
            let rows = now(database.log.partitions()).ok();
            Answer::Looked {
                seen_at_ms,
                seen: nodes.zip(rows),
            }
        }
        Ask::Acquire { claims, reason } => {
            let taken = now(database.log.acquire(me, &claims, reason)).ok();
            recorder::acquired(wires, from, reason, taken.as_deref().unwrap_or_default());
            Answer::Acquired {
                claims,
                reason,
                taken,
            }
        }
        Ask::Release { moves } => {
            let rows: Vec<_> = moves
                .iter()
                .map(|moved| (moved.partition, moved.epoch))
                .collect();
            let is_sure = now(database.log.release(me, &rows)).is_ok();
            Answer::Released { moves, is_sure }
        }
        Ask::Retire => {
            let _gone_either_way = now(database.log.retire(me)).is_ok();
            Answer::Retired
        }
        Ask::Load(actor) => {
            let loaded = load(wires, actor.conversation);
            if let Ok(loaded) = &loaded
                && wires.random.chance(100)
            {
                recorder::owner_state(wires, actor.conversation, &loaded.state);
            }
            Answer::Loaded(actor, loaded.map(Box::new))
        }
        Ask::Probe {
            actor,
            ticket,
            command,
        } => Answer::Probed {
            actor,
            ticket,
            found: now(database.find_command(actor.conversation, command))
                .map_err(|_unread| Unread),
        },
        Ask::Markers(actor) => Answer::Markers(
            actor,
            now(database.markers(actor.conversation)).map_err(|_unread| Unread),
        ),
        Ask::Save(row) => {
            if !wires.weather.full && now(database.log.save_snapshot(row)).is_ok() {
                wires.counters.one("snapshots stored");
            }
            return None;
        }
        Ask::Edge(ask) => Answer::Edge(ask.answer(wires)),
    })
}

/// A connection ends with its server: what is sent over it after a failover reaches nobody.
fn leads_to_the_past(wires: &mut Wires, from: To, lane: u16, connection: u64) -> bool {
    let server = wires.connections.get(&(from, lane, connection));
    let ended = server != Some(&wires.server);
    if ended {
        wires
            .counters
            .one("statements to a server that was failed over from");
    }
    ended
}

fn append(
    wires: &mut Wires,
    from: To,
    lane: u16,
    batch: hubbub_event_log::AppendBatch,
) -> AppendOutcome {
    if wires.weather.full {
        wires.counters.one("appends refused: disk full");
        return AppendOutcome::Refused(Refusal::StorageFull);
    }
    let Ok(mut connection) = now(wires.database.log.open_lane(from.incarnation(), lane)) else {
        return AppendOutcome::Refused(Refusal::Unavailable);
    };
    let rows = batch.rows.clone();
    let outcome = now(connection.append(batch));
    match &outcome {
        AppendOutcome::Done { committed, fenced } => {
            if wires.lives.get(from.node) != Some(&Some(from.life)) {
                wires
                    .counters
                    .one("appends that arrived after their node had died");
            }
            wires.counters.add(
                "appends fenced off",
                u64::try_from(fenced.len()).unwrap_or(0),
            );
            let stored = rows.iter().filter(|row| committed.contains(&row.partition));
            for row in stored {
                wires.recorder.committed(wires.now_ms, row);
            }
        }
        AppendOutcome::Conflict(_) => wires.counters.one("appends refused: id in the log already"),
        AppendOutcome::Refused(_) | AppendOutcome::Unknown | AppendOutcome::Broken => {}
    }
    outcome
}

/// As the shell of the actors loads.
pub fn load(wires: &Wires, conversation: ConversationId) -> Result<Loaded, LoadError> {
    let database = &wires.database;
    let mut fold = Fold::from_start(conversation);
    let snapshot = database
        .snapshot(conversation, SNAPSHOT_VERSION)
        .map_err(read_error)?;
    if let Some(row) = snapshot {
        let page = read(wires, conversation, row.seq)?;
        if let Some(resumed) = Fold::from_snapshot(&row, &page) {
            fold = resumed;
            fold.rows(page.get(1..).unwrap_or_default())?;
            if page.len() < PAGE_ROWS {
                return Ok(fold.finish());
            }
        }
    }
    loop {
        let page = read(wires, conversation, fold.next())?;
        fold.rows(&page)?;
        if page.len() < PAGE_ROWS {
            return Ok(fold.finish());
        }
    }
}

/// From the first event, whatever snapshots say.
pub fn load_from_start(wires: &Wires, conversation: ConversationId) -> Result<Loaded, LoadError> {
    let mut fold = Fold::from_start(conversation);
    loop {
        let page = read(wires, conversation, fold.next())?;
        fold.rows(&page)?;
        if page.len() < PAGE_ROWS {
            return Ok(fold.finish());
        }
    }
}

fn read(
    wires: &Wires,
    conversation: ConversationId,
    from: Seq,
) -> Result<Vec<hubbub_wire::stored::EventRow>, LoadError> {
    now(wires
        .database
        .read_conversation(conversation, from, PAGE_ROWS))
    .map_err(read_error)
}

fn read_error(error: ReadError) -> LoadError {
    match error {
        ReadError::Inconsistent(what) => LoadError::Inconsistent(what),
        ReadError::Unavailable(_) => LoadError::Unavailable(error),
    }
}

/// Nobody answers: what the sender makes of it in the end. `None` = it has a deadline of its own.
pub fn lost(ask: Ask) -> Option<Answer> {
    Some(match ask {
        Ask::OpenLane { lane, connection } => Answer::LaneOpen {
            lane,
            connection,
            is_open: false,
        },
        Ask::Append { .. }
        | Ask::WriteMarkers { .. }
        | Ask::BeatOutOfTurn { .. }
        | Ask::Save(SnapshotRow { .. }) => return None,
        Ask::LookUp { lane, drawn } => Answer::LookedUp {
            lane,
            drawn,
            found: Err(Unread),
        },
        Ask::Beat { .. } => Answer::Beat(None),
        Ask::Look { seen_at_ms } => Answer::Looked {
            seen_at_ms,
            seen: None,
        },
        Ask::Acquire { claims, reason } => Answer::Acquired {
            claims,
            reason,
            taken: None,
        },
        Ask::Release { moves } => Answer::Released {
            moves,
            is_sure: false,
        },
        Ask::Retire => Answer::Retired,
        Ask::Load(actor) => Answer::Loaded(actor, Err(LoadError::Unavailable(nobody()))),
        Ask::Probe { actor, ticket, .. } => Answer::Probed {
            actor,
            ticket,
            found: Err(Unread),
        },
        Ask::Markers(actor) => Answer::Markers(actor, Err(Unread)),
        Ask::Edge(ask) => Answer::Edge(ask.lost()),
    })
}

fn unheard(answer: Answer, is_noticed: bool) -> Option<Answer> {
    Some(match answer {
        Answer::LaneOpen {
            lane, connection, ..
        } => Answer::LaneOpen {
            lane,
            connection,
            is_open: false,
        },
        Answer::Appended {
            lane, connection, ..
        } if is_noticed => Answer::Appended {
            lane,
            connection,
            outcome: AppendOutcome::Unknown,
        },
        Answer::MarkersWritten {
            lane, connection, ..
        } if is_noticed => Answer::MarkersWritten {
            lane,
            connection,
            outcome: AppendOutcome::Unknown,
        },
        Answer::Appended { .. } | Answer::MarkersWritten { .. } => return None,
        Answer::LookedUp { lane, drawn, .. } => Answer::LookedUp {
            lane,
            drawn,
            found: Err(Unread),
        },
        Answer::Beat(_) => Answer::Beat(None),
        Answer::Looked { seen_at_ms, .. } => Answer::Looked {
            seen_at_ms,
            seen: None,
        },
        Answer::Acquired { claims, reason, .. } => Answer::Acquired {
            claims,
            reason,
            taken: None,
        },
        Answer::Released { moves, .. } => Answer::Released {
            moves,
            is_sure: false,
        },
        Answer::Retired => Answer::Retired,
        Answer::Loaded(actor, _) => Answer::Loaded(actor, Err(LoadError::Unavailable(nobody()))),
        Answer::Probed { actor, ticket, .. } => Answer::Probed {
            actor,
            ticket,
            found: Err(Unread),
        },
        Answer::Markers(actor, _) => Answer::Markers(actor, Err(Unread)),
        Answer::Edge(answer) => Answer::Edge(EdgeAnswer::unheard(answer)),
    })
}

/// A read that nobody answered.
pub fn nobody() -> ReadError {
    ReadError::Unavailable("nobody answered".into())
}

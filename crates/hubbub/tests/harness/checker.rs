//! The invariants of RELIABILITY.md that can be judged from outside, as functions over what a run has recorded.
//!
//! A run records what it asked for ([`Command`]), what it was answered ([`Acked`]), what each application was told
//! ([`Subscription`]), what came over each socket ([`SocketLog`]), and reads the log in the end, over the interface
//! ([`RawEvent`]) and behind its back ([`Row`]). Each function returns what is broken, in words; none means the invariant
//! held.
//!
//! Never: I/O, a clock, a panic on a broken run (the point is to tell what broke).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hubbub_wire::client::{EventData, RawEvent};
use uuid::Uuid;

/// What is broken; empty when the invariant held.
pub(crate) type Broken = Vec<String>;
/// The log of every conversation, as `GET …/events` gives it.
pub(crate) type Logs = BTreeMap<Uuid, Vec<RawEvent>>;

/// A message that somebody asked to be stored, and every definite yes to it.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) id: Uuid,
    pub(crate) conversation: Uuid,
    pub(crate) by: Uuid,
    pub(crate) body: String,
    /// When it was first asked for, on any clock of the harness that does not go back.
    pub(crate) asked_at: u64,
    /// Every ack: the first one and those of deliberate repetitions.
    pub(crate) acks: Vec<Acked>,
}

/// A definite yes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Acked {
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    pub(crate) message_no: Option<u64>,
    /// On the clock of [`Command::asked_at`].
    pub(crate) at: u64,
}

/// What one application was told of one conversation, in order: (seq, command).
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscription {
    pub(crate) who: String,
    pub(crate) conversation: Uuid,
    pub(crate) delivered: Vec<(u64, Uuid)>,
}

/// What came over one socket, before the library put anything in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct SocketLog {
    pub(crate) who: String,
    pub(crate) frames: Vec<SocketFrame>,
}

/// A frame that says something about the order of events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SocketFrame {
    /// An event.
    Event { conversation: Uuid, seq: u64 },
    /// `resync` or `reset` or `removed`: the next event may be any.
    Break { conversation: Uuid },
    /// `resync` of everything.
    BreakAll,
}

/// A row of the log, read behind the back of the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Row {
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) epoch: u64,
    pub(crate) conversation: Uuid,
    pub(crate) seq: u64,
    pub(crate) command: Uuid,
}

/// An unread count as somebody was told it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct UnreadCount {
    pub(crate) user: Uuid,
    pub(crate) conversation: Uuid,
    pub(crate) read_no: u64,
    pub(crate) joined_no: u64,
    pub(crate) head_no: u64,
    pub(crate) unread: u64,
}

/// I1: what was acked is in the log exactly once, at the place that the ack named, with the text that was sent.
pub(crate) fn acked_is_in_the_log_exactly_once(commands: &[Command], logs: &Logs) -> Broken {
    let mut places: HashMap<Uuid, Vec<&RawEvent>> = HashMap::new();
    for event in logs.values().flatten() {
        places.entry(event.command_id).or_default().push(event);
    }
    let mut broken = Broken::new();
    for command in commands {
        let Some(ack) = command.acks.first() else {
            continue;
        };
        match places.get(&command.id).map(Vec::as_slice) {
            None | Some([]) => broken.push(format!(
                "I1: {} was acked and is not in the log",
                command.id
            )),
            Some([event]) => {
                let is_same = event.conversation_id == command.conversation
                    && (event.seq, event.epoch) == (ack.seq, ack.epoch)
                    && event.message_no == ack.message_no
                    && event.by == command.by
                    && text_of(event) == Some(command.body.as_str());
                if !is_same {
                    broken.push(format!(
                        "I1: {} was acked as {ack:?} and stands in the log as {event:?}",
                        command.id
                    ));
                }
            }
            Some(events) => broken.push(format!(
                "I1: {} is in the log {} times",
                command.id,
                events.len()
            )),
        }
    }
    broken
}

/// I2: every message in the log was asked for.
pub(crate) fn the_log_holds_only_what_was_sent(commands: &[Command], logs: &Logs) -> Broken {
    let asked: BTreeSet<Uuid> = commands.iter().map(|command| command.id).collect();
    let messages = logs
        .values()
        .flatten()
        .filter(|event| text_of(event).is_some());
    messages
        .filter(|event| !asked.contains(&event.command_id))
        .map(|event| format!("I2: nobody sent {event:?}"))
        .collect()
}

/// I3: a command id stands for at most one event, and all its acks name the same place.
pub(crate) fn one_command_one_event(commands: &[Command], rows: &[Row]) -> Broken {
    let mut broken = Broken::new();
    for command in commands {
        let places: BTreeSet<_> = command
            .acks
            .iter()
            .map(|ack| (ack.epoch, ack.seq, ack.message_no))
            .collect();
        if places.len() > 1 {
            broken.push(format!("I3: the acks of {} name {places:?}", command.id));
        }
    }
    let mut seen = BTreeSet::new();
    for row in rows {
        if !seen.insert((row.conversation, row.command)) {
            broken.push(format!(
                "I3: {} is stored twice in {}",
                row.command, row.conversation
            ));
        }
    }
    broken
}

/// I4: the offsets of a partition and the seqs of a conversation are 1..n without a hole, and rise together. I12 in
/// part: epochs never fall along offsets.
pub(crate) fn the_log_is_dense(rows: &[Row]) -> Broken {
    let mut broken = Broken::new();
    let mut sorted: Vec<&Row> = rows.iter().collect();
    sorted.sort_by_key(|row| (row.partition, row.offset));
    let mut heads: HashMap<u32, (u64, u64)> = HashMap::new();
    let mut seqs: HashMap<Uuid, u64> = HashMap::new();
    for row in sorted {
        let (offset, epoch) = heads.entry(row.partition).or_insert((0, 0));
        if row.offset != *offset + 1 {
            broken.push(format!(
                "I4: partition {} goes from offset {offset} to {}",
                row.partition, row.offset
            ));
        }
        if row.epoch < *epoch {
            broken.push(format!(
                "I12: partition {} falls to epoch {} at {}",
                row.partition, row.epoch, row.offset
            ));
        }
        (*offset, *epoch) = (row.offset, row.epoch);
        let seq = seqs.entry(row.conversation).or_insert(0);
        if row.seq != *seq + 1 {
            broken.push(format!(
                "I4: conversation {} goes from seq {seq} to {}",
                row.conversation, row.seq
            ));
        }
        *seq = row.seq;
    }
    broken
}

/// The log over the interface is the log behind its back.
pub(crate) fn the_interface_shows_the_log(rows: &[Row], logs: &Logs) -> Broken {
    let stored: BTreeSet<_> = rows
        .iter()
        .map(|row| (row.conversation, row.seq, row.epoch, row.command))
        .collect();
    let shown: BTreeSet<_> = logs
        .values()
        .flatten()
        .map(|event| {
            (
                event.conversation_id,
                event.seq,
                event.epoch,
                event.command_id,
            )
        })
        .collect();
    stored
        .symmetric_difference(&shown)
        .map(|place| {
            format!(
                "log: {place:?} is stored: {}, shown: {}",
                stored.contains(place),
                shown.contains(place)
            )
        })
        .collect()
}

/// I5 and I6 for the application: each one was told every event of its conversation, in seq order, exactly once, and it
/// is the event that the log holds.
pub(crate) fn everything_is_delivered_once_in_order(
    subscriptions: &[Subscription],
    logs: &Logs,
) -> Broken {
    let mut broken = Broken::new();
    for subscription in subscriptions {
        let log = logs
            .get(&subscription.conversation)
            .map_or(&[][..], Vec::as_slice);
        let expected: Vec<_> = log
            .iter()
            .map(|event| (event.seq, event.command_id))
            .collect();
        if subscription.delivered == expected {
            continue;
        }
        let first_difference = subscription
            .delivered
            .iter()
            .zip(&expected)
            .position(|(told, stored)| told != stored)
            .unwrap_or_else(|| subscription.delivered.len().min(expected.len()));
        broken.push(format!(
            "I6: {} was told {} of {} events of {}; the first difference is at {first_difference}: {:?} for {:?}",
            subscription.who,
            subscription.delivered.len(),
            expected.len(),
            subscription.conversation,
            subscription.delivered.get(first_difference),
            expected.get(first_difference),
        ));
    }
    broken
}

/// I6 for the socket: on each one the seqs of a conversation rise by exactly one, until the server says that they do not.
pub(crate) fn every_socket_rises_by_one(sockets: &[SocketLog]) -> Broken {
    let mut broken = Broken::new();
    for socket in sockets {
        let mut last: HashMap<Uuid, u64> = HashMap::new();
        for frame in &socket.frames {
            match *frame {
                SocketFrame::Event { conversation, seq } => {
                    if let Some(before) = last.insert(conversation, seq)
                        && seq != before + 1
                    {
                        broken.push(format!(
                            "I6: {} got {seq} after {before} of {conversation}",
                            socket.who
                        ));
                    }
                }
                SocketFrame::Break { conversation } => {
                    last.remove(&conversation);
                }
                SocketFrame::BreakAll => last.clear(),
            }
        }
    }
    broken
}

/// I7: what was acked before something else was asked for stands before it in the conversation.
pub(crate) fn acks_order_what_comes_later(commands: &[Command]) -> Broken {
    /// Something that happened at a time: an ack, or a question and where its message stands.
    enum Step {
        Acked(u64),
        Asked { id: Uuid, seq: u64 },
    }
    let mut by_conversation: BTreeMap<Uuid, Vec<(u64, Step)>> = BTreeMap::new();
    for command in commands {
        let Some(first) = command.acks.iter().min_by_key(|ack| ack.at) else {
            continue;
        };
        let steps = by_conversation.entry(command.conversation).or_default();
        steps.push((
            command.asked_at,
            Step::Asked {
                id: command.id,
                seq: first.seq,
            },
        ));
        steps.push((first.at, Step::Acked(first.seq)));
    }
    let mut broken = Broken::new();
    for (conversation, mut steps) in by_conversation {
        // At the same instant the question counts as earlier: only what is certain is held against the server.
        steps.sort_by_key(|(at, step)| (*at, matches!(step, Step::Acked(_))));
        let mut highest_acked = 0;
        for (_at, step) in steps {
            match step {
                Step::Acked(seq) => highest_acked = highest_acked.max(seq),
                Step::Asked { id, seq } if seq <= highest_acked => broken.push(format!(
                    "I7: {id} stands at {seq} of {conversation}, though {highest_acked} was acked before it was sent"
                )),
                Step::Asked { .. } => {}
            }
        }
    }
    broken
}

/// I10: an unread count is what a recount of the log gives, and the marker is never behind one's own last message.
pub(crate) fn unread_equals_a_recount(counts: &[UnreadCount], logs: &Logs) -> Broken {
    let mut broken = Broken::new();
    for count in counts {
        let log = logs.get(&count.conversation).map_or(&[][..], Vec::as_slice);
        let messages = || {
            log.iter()
                .filter_map(|event| event.message_no.map(|no| (no, event.by)))
        };
        let deleted: BTreeSet<u64> = log.iter().filter_map(deleted_no).collect();
        let head = messages().map(|(no, _by)| no).max().unwrap_or(0);
        let own = messages()
            .filter(|(_no, by)| *by == count.user)
            .map(|(no, _by)| no)
            .max()
            .unwrap_or(0);
        let start = count.read_no.max(count.joined_no);
        let recount = messages()
            .filter(|(no, by)| *no > start && *by != count.user && !deleted.contains(no))
            .count();
        let is_exact = u64::try_from(recount).is_ok_and(|recount| recount == count.unread);
        if !is_exact || count.head_no != head || count.read_no < own || count.read_no > head {
            broken.push(format!(
                "I10: {count:?}, but the log says: head {head}, own last {own}, unread {recount}"
            ));
        }
    }
    broken
}

/// The text of an event that sends a message.
fn text_of(event: &RawEvent) -> Option<&str> {
    match &event.event {
        EventData::MessageSent(message) => Some(message.body.as_deref().unwrap_or("")),
        _no_message => None,
    }
}

fn deleted_no(event: &RawEvent) -> Option<u64> {
    match &event.event {
        EventData::MessageDeleted(message) => Some(message.message_no),
        _not_deleted => None,
    }
}

#[cfg(test)]
mod tests {
    use hubbub_wire::client::event::MessageSent;
    use hubbub_wire::time::Rfc3339;

    use super::*;

    const CHAT: Uuid = Uuid::from_u128(0xc1);
    const ADA: Uuid = Uuid::from_u128(0xa1);
    const BEN: Uuid = Uuid::from_u128(0xb1);

    fn event(seq: u64, by: Uuid, command: u128) -> RawEvent {
        RawEvent {
            conversation_id: CHAT,
            epoch: 1,
            seq,
            at: Rfc3339::from_millis(0),
            by,
            event: EventData::MessageSent(MessageSent {
                body: Some(format!("text {command}")),
                content: None,
                reply_to_no: None,
                thread_root_no: None,
                attachments: None,
                mentions: None,
            }),
            command_id: Uuid::from_u128(command),
            message_no: Some(seq),
        }
    }

    fn command(n: u128, seq: u64, asked_at: u64, acked_at: u64) -> Command {
        Command {
            id: Uuid::from_u128(n),
            conversation: CHAT,
            by: ADA,
            body: format!("text {n}"),
            asked_at,
            acks: vec![Acked {
                epoch: 1,
                seq,
                message_no: Some(seq),
                at: acked_at,
            }],
        }
    }

    fn row(offset: u64, seq: u64, command: u128) -> Row {
        Row {
            partition: 3,
            offset,
            epoch: 1,
            conversation: CHAT,
            seq,
            command: Uuid::from_u128(command),
        }
    }

    fn logs(events: Vec<RawEvent>) -> Logs {
        Logs::from([(CHAT, events)])
    }

    #[test]
    fn a_sound_run_breaks_nothing() {
        let commands = [command(1, 1, 10, 20), command(2, 2, 30, 40)];
        let logs = logs(vec![event(1, ADA, 1), event(2, ADA, 2)]);
        let rows = [row(1, 1, 1), row(2, 2, 2)];
        let told = Subscription {
            who: "ben".to_owned(),
            conversation: CHAT,
            delivered: vec![(1, Uuid::from_u128(1)), (2, Uuid::from_u128(2))],
        };
        let none = Broken::new();
        assert_eq!(acked_is_in_the_log_exactly_once(&commands, &logs), none);
        assert_eq!(the_log_holds_only_what_was_sent(&commands, &logs), none);
        assert_eq!(one_command_one_event(&commands, &rows), none);
        assert_eq!(the_log_is_dense(&rows), none);
        assert_eq!(the_interface_shows_the_log(&rows, &logs), none);
        assert_eq!(everything_is_delivered_once_in_order(&[told], &logs), none);
        assert_eq!(acks_order_what_comes_later(&commands), none);
    }

    #[test]
    fn a_lost_a_doubled_and_a_moved_message_are_found() {
        let acked = [command(1, 1, 10, 20)];
        for events in [
            vec![],
            vec![event(1, ADA, 1), event(2, ADA, 1)],
            vec![event(2, ADA, 1)],
            vec![event(1, BEN, 1)],
        ] {
            assert_eq!(
                acked_is_in_the_log_exactly_once(&acked, &logs(events)).len(),
                1
            );
        }
        assert_eq!(
            the_log_holds_only_what_was_sent(&acked, &logs(vec![event(1, ADA, 9)])).len(),
            1
        );
        assert_eq!(
            one_command_one_event(&acked, &[row(1, 1, 1), row(2, 2, 1)]).len(),
            1
        );
        let mut twice = command(1, 1, 10, 20);
        twice.acks.push(Acked {
            seq: 2,
            ..twice.acks[0]
        });
        assert_eq!(one_command_one_event(&[twice], &[]).len(), 1);
    }

    #[test]
    fn holes_and_falling_epochs_are_found() {
        assert_eq!(the_log_is_dense(&[row(2, 1, 1)]).len(), 1);
        assert_eq!(the_log_is_dense(&[row(1, 1, 1), row(3, 2, 2)]).len(), 1);
        assert_eq!(the_log_is_dense(&[row(1, 1, 1), row(2, 3, 2)]).len(), 1);
        assert_eq!(the_log_is_dense(&[row(1, 2, 2), row(2, 1, 1)]).len(), 2);
        let fallen = Row {
            epoch: 0,
            ..row(2, 2, 2)
        };
        assert_eq!(the_log_is_dense(&[row(1, 1, 1), fallen]).len(), 1);
        assert_eq!(
            the_interface_shows_the_log(&[row(1, 1, 1)], &logs(vec![])).len(),
            1
        );
    }

    #[test]
    fn what_was_skipped_doubled_or_turned_round_on_the_way_is_found() {
        let log = logs(vec![event(1, ADA, 1), event(2, ADA, 2)]);
        let (one, two) = ((1, Uuid::from_u128(1)), (2, Uuid::from_u128(2)));
        for delivered in [
            vec![one],
            vec![two],
            vec![two, one],
            vec![one, one, two],
            vec![one, two, two],
        ] {
            let told = Subscription {
                who: "ben".to_owned(),
                conversation: CHAT,
                delivered,
            };
            assert_eq!(
                everything_is_delivered_once_in_order(&[told], &log).len(),
                1
            );
        }
        let at = |seq| SocketFrame::Event {
            conversation: CHAT,
            seq,
        };
        let of = |frames: &[SocketFrame]| {
            let socket = SocketLog {
                who: "ben".to_owned(),
                frames: frames.to_vec(),
            };
            every_socket_rises_by_one(&[socket]).len()
        };
        assert_eq!(of(&[at(5), at(6), at(7)]), 0);
        assert_eq!(
            of(&[
                at(5),
                SocketFrame::Break { conversation: CHAT },
                at(9),
                at(10)
            ]),
            0
        );
        assert_eq!(of(&[at(5), SocketFrame::BreakAll, at(9)]), 0);
        for broken in [[at(5), at(7)], [at(5), at(5)], [at(5), at(4)]] {
            assert_eq!(of(&broken), 1);
        }
    }

    #[test]
    fn an_order_that_contradicts_the_acks_is_found() {
        assert_eq!(
            acks_order_what_comes_later(&[command(1, 2, 10, 20), command(2, 1, 30, 40)]).len(),
            1
        );
        // On their way at the same time: either order is right.
        assert_eq!(
            acks_order_what_comes_later(&[command(1, 2, 10, 35), command(2, 1, 30, 40)]).len(),
            0
        );
    }

    #[test]
    fn a_wrong_unread_count_is_found() {
        let log = logs(vec![
            event(1, ADA, 1),
            event(2, BEN, 2),
            event(3, ADA, 3),
            event(4, ADA, 4),
        ]);
        let count = UnreadCount {
            user: BEN,
            conversation: CHAT,
            read_no: 2,
            joined_no: 0,
            head_no: 4,
            unread: 2,
        };
        assert_eq!(unread_equals_a_recount(&[count], &log).len(), 0);
        for wrong in [
            UnreadCount { unread: 1, ..count },
            UnreadCount { unread: 3, ..count },
            UnreadCount {
                head_no: 3,
                ..count
            },
            UnreadCount {
                read_no: 1,
                ..count
            },
            UnreadCount {
                read_no: 1,
                unread: 3,
                ..count
            },
            UnreadCount {
                read_no: 9,
                unread: 0,
                ..count
            },
        ] {
            assert_eq!(
                unread_equals_a_recount(&[wrong], &log).len(),
                1,
                "{wrong:?}"
            );
        }
    }
}

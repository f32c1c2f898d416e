//! What is on its way, in words: for the trace of a violation, and to tell one state from another.
//!
//! Never: a word that depends on when something was planned.

use hubbub_domain::position::Epoch;

use crate::wires::{Answer, Ask, Event, NodeInput};

/// The patience of a hand-over of this node.
pub(super) fn is_deadline(event: &Event, node: usize) -> bool {
    matches!(event, Event::Node(to, NodeInput::DrainDeadline { .. }) if to.node == node)
}

/// An append under this epoch on its way to the log.
pub(super) fn is_append(event: &Event, epoch: Epoch) -> bool {
    matches!(event, Event::Store(_, Ask::Append { batch, .. }) if batch.rows.iter().any(|row| row.epoch == epoch))
}

/// What has to arrive, in words.
pub(super) fn describe(event: &Event) -> String {
    match event {
        Event::Store(from, Ask::Release { .. }) => {
            format!("the release of node {} reaches the log", from.node)
        }
        Event::Node(to, NodeInput::DrainDeadline { .. }) => {
            format!("node {} waits no longer for what is in flight", to.node)
        }
        Event::Store(from, Ask::Append { batch, .. }) => {
            let rows: Vec<_> = batch
                .rows
                .iter()
                .map(|row| (row.epoch, row.offset, row.command_id.uuid().as_u64_pair().1))
                .collect();
            format!("append of node {} reaches the log: {rows:?}", from.node)
        }
        Event::Store(from, Ask::Load(actor)) => {
            format!("node {} loads under {}", from.node, actor.epoch)
        }
        Event::Store(from, Ask::Probe { command, .. }) => {
            format!("node {} looks {command} up", from.node)
        }
        Event::Store(from, _) => format!("node {} asks the log", from.node),
        Event::Node(to, NodeInput::Command { from, .. }) => format!(
            "command {} reaches node {}, {} time",
            from.route,
            to.node,
            if from.attempt == 0 { "first" } else { "second" }
        ),
        Event::Node(to, NodeInput::Answer(answer)) => {
            format!("node {} hears {}", to.node, describe_answer(answer))
        }
        _ => String::new(),
    }
}

/// An answer, in words: equal for equal answers.
pub(super) fn describe_answer(answer: &Answer) -> String {
    match answer {
        Answer::Appended { outcome, .. } => format!("{outcome:?}"),
        Answer::Loaded(actor, loaded) => format!(
            "a state at {:?} for {}",
            loaded.as_ref().ok().map(|loaded| loaded.state.last_seq()),
            actor.epoch
        ),
        Answer::Probed { found, .. } => format!(
            "found {:?}",
            found
                .as_ref()
                .ok()
                .map(|row| row.as_ref().map(|row| row.seq))
        ),
        Answer::LookedUp { found, .. } => {
            format!("looked up {:?}", found.as_ref().ok().map(Vec::len))
        }
        _ => String::new(),
    }
}

//! Node rows in memory, for stores that one process owns: memory itself, and SQLite behind its lock file, where a second process cannot
//! be and a heartbeat need not touch the disk.
//!
//! Never: a clock of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use hubbub_domain::ids::Incarnation;
use hubbub_domain::time::Timestamp;

use crate::clock::since;
use crate::port::{NodeRegistration, NodeRow, NodeState, StoreError};

/// Rows silent for longer are forgotten, dead ones and abandoned ones alike.
pub(crate) const FORGET_AFTER: Duration = Duration::from_hours(1);

#[derive(Clone, Debug, Default)]
pub(crate) struct NodeTable {
    rows: BTreeMap<Incarnation, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    node_id: String,
    addr: String,
    state: NodeState,
    nats_ok: bool,
    last_seen: Timestamp,
}

impl NodeTable {
    pub(crate) fn register(
        &mut self,
        node: &NodeRegistration,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if self
            .rows
            .get(&node.incarnation)
            .is_some_and(|row| row.state == NodeState::Stopped)
        {
            return Err(StoreError::Refused(declared_dead(node.incarnation)));
        }
        self.rows
            .retain(|_, row| since(row.last_seen, now) < FORGET_AFTER);
        for (incarnation, row) in &mut self.rows {
            if row.node_id == node.node_id && *incarnation != node.incarnation {
                row.state = NodeState::Stopped;
            }
        }
        self.rows.insert(
            node.incarnation,
            Entry {
                node_id: node.node_id.clone(),
                addr: node.addr.clone(),
                state: NodeState::Joining,
                nats_ok: true,
                last_seen: now,
            },
        );
        Ok(())
    }

    pub(crate) fn heartbeat(
        &mut self,
        me: Incarnation,
        state: NodeState,
        nats_ok: bool,
        now: Timestamp,
    ) -> bool {
        match self.rows.get_mut(&me) {
            Some(row) if row.state != NodeState::Stopped => {
                row.state = state;
                row.nats_ok = nats_ok;
                row.last_seen = now;
                true
            }
            _ => false,
        }
    }

    pub(crate) fn retire(&mut self, me: Incarnation) {
        if let Some(row) = self.rows.get_mut(&me) {
            row.state = NodeState::Stopped;
        }
    }

    pub(crate) fn rows(&self, now: Timestamp) -> Vec<NodeRow> {
        self.rows
            .iter()
            .map(|(&incarnation, row)| NodeRow {
                incarnation,
                node_id: row.node_id.clone(),
                addr: row.addr.clone(),
                state: row.state,
                nats_ok: row.nats_ok,
                silent_for: since(row.last_seen, now),
                last_seen: row.last_seen,
            })
            .filter(|row| row.silent_for < FORGET_AFTER)
            .collect()
    }
}

/// The sentence for an incarnation that registers after it was declared dead.
pub(crate) fn declared_dead(incarnation: Incarnation) -> String {
    format!(
        "incarnation {incarnation} has been declared dead; a node that comes back is a new incarnation"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::contract::{incarnation, registration};
    use crate::port::LEASE;

    #[test]
    fn a_silent_node_is_not_alive_after_the_lease_and_forgotten_after_an_hour() {
        let clock = ManualClock::default();
        let mut nodes = NodeTable::default();
        nodes
            .register(&registration(1, "n1"), clock.now())
            .expect("registers");
        assert!(nodes.rows(clock.now())[0].is_alive());

        clock.advance(LEASE);
        assert!(!nodes.rows(clock.now())[0].is_alive());
        assert!(nodes.heartbeat(incarnation(1), NodeState::Active, true, clock.now()));
        assert!(nodes.rows(clock.now())[0].is_alive());

        clock.advance(FORGET_AFTER);
        assert_eq!(nodes.rows(clock.now()), []);
    }

    #[test]
    fn a_clock_that_goes_back_silences_nobody() {
        let mut nodes = NodeTable::default();
        nodes
            .register(&registration(1, "n1"), Timestamp::from_millis(90_000))
            .expect("registers");
        assert_eq!(
            nodes.rows(Timestamp::from_millis(1_000))[0].silent_for,
            Duration::ZERO
        );
    }
}

//! Whether another node could serve the people of this one while it is blind: asked of the database, which both still have.

use std::sync::Arc;

use async_trait::async_trait;
use hubbub_domain::ids::Incarnation;
use hubbub_edge::Neighbours;
use hubbub_event_log::EventLog;
use hubbub_event_log::port::{NodeRow, NodeState};

/// The other nodes of the cluster, as the database knows them.
pub(super) struct Others {
    me: Incarnation,
    log: Arc<dyn EventLog>,
}

impl Others {
    pub(super) fn new(me: Incarnation, log: Arc<dyn EventLog>) -> Self {
        Self { me, log }
    }
}

#[async_trait]
impl Neighbours for Others {
    async fn anyone_hears(&self) -> Option<bool> {
        match self.log.nodes().await {
            Ok(nodes) => Some(nodes.iter().any(|node| hears(self.me, node))),
            Err(error) => {
                tracing::debug!(%error, "ask who else has the bus");
                None
            }
        }
    }
}

/// Somebody else, alive, with the bus, and not about to go.
fn hears(me: Incarnation, node: &NodeRow) -> bool {
    let stays = match node.state {
        NodeState::Joining | NodeState::Active => true,
        NodeState::Blind | NodeState::Draining | NodeState::Stopped => false,
    };
    node.incarnation != me && node.is_alive() && node.nats_ok && stays
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hubbub_domain::ids::Incarnation;
    use hubbub_event_log::port::{LEASE, NodeRow, NodeState};

    use super::hears;

    #[test]
    fn only_another_living_node_with_the_bus_counts() {
        let me = Incarnation::from_uuid(uuid::Uuid::from_u128(1));
        let other = NodeRow {
            incarnation: Incarnation::from_uuid(uuid::Uuid::from_u128(2)),
            node_id: "two".to_owned(),
            addr: String::new(),
            state: NodeState::Active,
            nats_ok: true,
            silent_for: Duration::ZERO,
            last_seen: hubbub_domain::time::Timestamp::default(),
        };
        assert!(hears(me, &other));
        assert!(!hears(other.incarnation, &other), "itself");
        for not in [
            NodeRow {
                nats_ok: false,
                ..other.clone()
            },
            NodeRow {
                silent_for: LEASE,
                ..other.clone()
            },
            NodeRow {
                state: NodeState::Draining,
                ..other
            },
        ] {
            assert!(!hears(me, &not), "{not:?}");
        }
    }
}

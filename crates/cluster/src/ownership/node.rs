//! The states of this node, pure: Starting → Joining → Active ↔ Blind → Draining → Stopped, and Wedged while there is no database.
//!
//! The bus is judged by the age of its last proof, the database by the lease. All times are this process's monotonic milliseconds.

use std::time::Duration;

use hubbub_event_log::NodeState;

/// Age of the bus's last proof up to which this node says `nats_ok`: two probes and a pause. Others see the word change at least a second before
/// anybody calls itself blind, so that nodes which lost the bus together know it of each other and nothing moves (F6).
pub const BUS_OK_WITHIN: Duration = Duration::from_millis(1_500);
/// Age at which a node is blind. With the hand-over it keeps writes below six seconds (P7); a server that restarts is back sooner.
pub const BLIND_AFTER: Duration = Duration::from_secs(3);
/// How long the bus must be back before a blind node that kept its partitions is active again.
pub const SIGHT_STEADY_MS: u64 = 1_000;

/// What this node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Has not yet seen the rows.
    Starting,
    /// Waits until its heartbeat is steady beside active nodes.
    Joining,
    /// Owns and claims.
    Active,
    /// Has no bus: keeps or hands over what it serves, claims nothing while anybody sees.
    Blind,
    /// Has no database: serves nothing, keeps its sockets, answers `unavailable`.
    Wedged,
    /// Hands over everything.
    Draining,
    /// Gone in order.
    Stopped,
}

/// What a node without the bus has done about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sight {
    Sees,
    Blind,
    /// Blind, and its partitions went elsewhere.
    GaveAway,
}

/// The machine behind [`Phase`].
#[derive(Debug)]
pub struct NodeMachine {
    join_delay_ms: u64,
    return_delay_ms: u64,
    phase: Phase,
    /// It has been active before: a wedged node does not join anew.
    joined: bool,
    sight: Sight,
    bus_ok: bool,
    bus_ok_since_ms: Option<u64>,
}

impl NodeMachine {
    /// A node that has just registered. One that moved its partitions elsewhere when it was blind stays blind until the bus has been back for
    /// `return_delay_ms`: a flapping line must not make partitions come and go.
    pub fn new(join_delay_ms: u64, return_delay_ms: u64) -> Self {
        Self {
            join_delay_ms,
            return_delay_ms,
            phase: Phase::Starting,
            joined: false,
            sight: Sight::Sees,
            bus_ok: true,
            bus_ok_since_ms: None,
        }
    }

    /// What this node is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What the next heartbeat says. A wedged node cannot say so; its silence does.
    pub fn state(&self) -> NodeState {
        match self.phase {
            Phase::Starting | Phase::Joining => NodeState::Joining,
            Phase::Blind => NodeState::Blind,
            Phase::Wedged if !self.joined => NodeState::Joining,
            Phase::Wedged if self.sight != Sight::Sees => NodeState::Blind,
            Phase::Active | Phase::Wedged => NodeState::Active,
            Phase::Draining => NodeState::Draining,
            Phase::Stopped => NodeState::Stopped,
        }
    }

    /// What the next heartbeat says about the bus.
    pub fn bus_ok(&self) -> bool {
        self.bus_ok
    }

    /// The bus's last proof is `silent` old.
    pub fn bus_silent_for(&mut self, now_ms: u64, silent: Duration) {
        self.bus_ok = silent < BUS_OK_WITHIN;
        if self.bus_ok {
            self.bus_ok_since_ms.get_or_insert(now_ms);
        } else {
            self.bus_ok_since_ms = None;
        }
        let back_ms = self
            .bus_ok_since_ms
            .map_or(0, |since| now_ms.saturating_sub(since));
        let needed_ms = match self.sight {
            Sight::Sees | Sight::Blind => SIGHT_STEADY_MS,
            Sight::GaveAway => self.return_delay_ms.max(SIGHT_STEADY_MS),
        };
        if silent >= BLIND_AFTER && self.sight == Sight::Sees {
            self.sight = Sight::Blind;
        } else if self.bus_ok && back_ms >= needed_ms {
            self.sight = Sight::Sees;
        }
        self.settle();
    }

    /// The rows were seen; this node's own heartbeat has been steady for `steady_ms`.
    pub fn looked(&mut self, steady_ms: u64, others_active: bool) {
        if matches!(self.phase, Phase::Starting | Phase::Wedged) {
            self.phase = Phase::Joining;
        }
        if self.phase == Phase::Joining && (!others_active || steady_ms >= self.join_delay_ms) {
            self.joined = true;
        }
        self.settle();
    }

    /// Partitions go elsewhere because this node is blind.
    pub fn gives_away(&mut self) {
        self.sight = Sight::GaveAway;
    }

    /// The rows were not seen for a lease.
    pub fn lease_lost(&mut self) {
        match self.phase {
            Phase::Joining | Phase::Active | Phase::Blind => self.phase = Phase::Wedged,
            Phase::Starting | Phase::Wedged | Phase::Draining | Phase::Stopped => {}
        }
    }

    /// Asked to end.
    pub fn drain(&mut self) {
        if self.phase != Phase::Stopped {
            self.phase = Phase::Draining;
        }
    }

    /// Everything is handed over or left.
    pub fn stop(&mut self) {
        self.phase = Phase::Stopped;
    }

    fn settle(&mut self) {
        if matches!(self.phase, Phase::Joining | Phase::Active | Phase::Blind) && self.joined {
            self.phase = match self.sight {
                Sight::Sees => Phase::Active,
                Sight::Blind | Sight::GaveAway => Phase::Blind,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Duration = Duration::ZERO;

    fn active() -> NodeMachine {
        let mut node = NodeMachine::new(15_000, 10_000);
        node.looked(0, false);
        assert_eq!(node.phase(), Phase::Active);
        node
    }

    #[test]
    fn a_node_joins_after_its_delay_or_at_once_where_nobody_is_active() {
        let mut node = NodeMachine::new(15_000, 10_000);
        assert_eq!(
            (node.phase(), node.state()),
            (Phase::Starting, NodeState::Joining)
        );
        node.looked(0, true);
        assert_eq!(node.phase(), Phase::Joining);
        node.looked(14_999, true);
        assert_eq!(node.phase(), Phase::Joining);
        node.looked(15_000, true);
        assert_eq!(node.phase(), Phase::Active);
    }

    #[test]
    fn a_bus_that_blinks_makes_nobody_blind_and_a_lost_one_does() {
        let mut node = active();
        node.bus_silent_for(0, FINE);
        node.bus_silent_for(2_999, Duration::from_millis(2_999));
        assert_eq!((node.phase(), node.bus_ok()), (Phase::Active, false));
        node.bus_silent_for(3_000, BLIND_AFTER);
        assert_eq!(
            (node.phase(), node.state()),
            (Phase::Blind, NodeState::Blind)
        );
    }

    #[test]
    fn a_blind_node_that_kept_its_partitions_is_back_soon_and_one_that_gave_them_away_later() {
        let mut kept = active();
        kept.bus_silent_for(0, BLIND_AFTER);
        kept.bus_silent_for(100, FINE);
        assert_eq!(kept.phase(), Phase::Blind);
        kept.bus_silent_for(1_100, FINE);
        assert_eq!(kept.phase(), Phase::Active);

        let mut gave = active();
        gave.bus_silent_for(0, BLIND_AFTER);
        gave.gives_away();
        gave.bus_silent_for(100, FINE);
        gave.bus_silent_for(5_000, FINE);
        assert_eq!(gave.phase(), Phase::Blind);
        // It flaps: the time begins anew.
        gave.bus_silent_for(6_000, BUS_OK_WITHIN);
        gave.bus_silent_for(8_000, FINE);
        gave.bus_silent_for(17_999, FINE);
        assert_eq!(gave.phase(), Phase::Blind);
        gave.bus_silent_for(18_000, FINE);
        assert_eq!(gave.phase(), Phase::Active);
    }

    #[test]
    fn a_wedged_node_is_what_it_was_when_it_sees_the_rows_again() {
        let mut node = active();
        node.lease_lost();
        assert_eq!(node.phase(), Phase::Wedged);
        // The bus alone does not help.
        node.bus_silent_for(1, FINE);
        assert_eq!(node.phase(), Phase::Wedged);
        node.looked(0, true);
        assert_eq!(node.phase(), Phase::Active, "without a second join delay");

        let mut joining = NodeMachine::new(15_000, 10_000);
        joining.looked(0, true);
        joining.lease_lost();
        assert_eq!(joining.state(), NodeState::Joining);
        joining.looked(0, true);
        assert_eq!(joining.phase(), Phase::Joining);
    }

    #[test]
    fn a_draining_node_stays_so_until_it_stops() {
        let mut node = active();
        node.drain();
        node.looked(60_000, true);
        node.bus_silent_for(0, BLIND_AFTER);
        node.lease_lost();
        assert_eq!(
            (node.phase(), node.state()),
            (Phase::Draining, NodeState::Draining)
        );
        node.stop();
        node.drain();
        assert_eq!(
            (node.phase(), node.state()),
            (Phase::Stopped, NodeState::Stopped)
        );
    }
}

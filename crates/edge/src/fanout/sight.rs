//! Whether this node still hears the others, and what follows when it does not (RELIABILITY F6, F7). Pure.
//!
//! ```text
//! hears ──no broadcast for 3 s, or the bus is down──▶ blind: heads from the log twice a second, deliveries by range reads
//!   ▲                                                   │ 3 s later, when other nodes hear, or the log does not answer either
//!   └────────────── a broadcast is heard ◀──────────────┴──▶ turned away: sockets closed with 4503, new ones refused
//! ```
//!
//! So a socket is never silently stale: it is served late from the log, or it is told to go.

/// Without a broadcast from anyone for this long a node is blind: three of them are missing.
pub const BLIND_AFTER_MS: u64 = 3_000;
/// A node that has been blind for this long sends its sockets to nodes that are not. A server of the bus that is replaced by its
/// neighbour takes less; together with [`BLIND_AFTER_MS`] it is well within the 10 s of F7.
pub const TURN_AWAY_AFTER_MS: u64 = 3_000;

/// What a node sees of its cluster.
#[derive(Debug)]
pub struct Sight {
    heard_ms: u64,
    blind_since_ms: Option<u64>,
    /// When the log last answered, while blind.
    log_ms: u64,
    others_hear: bool,
    turned_away: bool,
}

/// What to do now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Go on.
    Hears,
    /// Read heads from the log and deliver by it.
    Blind,
    /// Blind, and from now on no place for sockets: close them all. Said once; [`Sight::is_turned_away`] stays true.
    TurnAway,
}

impl Sight {
    /// As if a broadcast had just been heard.
    pub fn new(now_ms: u64) -> Self {
        Self {
            heard_ms: now_ms,
            blind_since_ms: None,
            log_ms: now_ms,
            others_hear: false,
            turned_away: false,
        }
    }

    /// A broadcast of anyone, this node included, came in over the bus.
    pub fn on_heard(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
    }

    /// The log answered a question about heads.
    pub fn on_log(&mut self, now_ms: u64) {
        self.log_ms = now_ms;
    }

    /// Whether another node is alive and has the bus; `None` when nobody could say.
    pub fn on_others(&mut self, hear: Option<bool>) {
        self.others_hear = hear.unwrap_or(self.others_hear);
    }

    /// Asked a few times a second. `bus_up`: as the connection itself believes.
    pub fn check(&mut self, bus_up: bool, now_ms: u64) -> Verdict {
        let silent = now_ms.saturating_sub(self.heard_ms) > BLIND_AFTER_MS;
        if bus_up && !silent {
            self.blind_since_ms = None;
            self.others_hear = false;
            self.turned_away = false;
            return Verdict::Hears;
        }
        let since = *self.blind_since_ms.get_or_insert(now_ms);
        if since == now_ms {
            self.log_ms = now_ms;
        }
        let long = now_ms.saturating_sub(since) >= TURN_AWAY_AFTER_MS;
        let log_silent = now_ms.saturating_sub(self.log_ms) >= TURN_AWAY_AFTER_MS;
        let away = long && (self.others_hear || log_silent);
        let news = away && !self.turned_away;
        self.turned_away = away;
        if news {
            Verdict::TurnAway
        } else {
            Verdict::Blind
        }
    }

    /// Whether it hears nothing.
    pub fn is_blind(&self) -> bool {
        self.blind_since_ms.is_some()
    }

    /// Whether sockets are refused for it.
    pub fn is_turned_away(&self) -> bool {
        self.turned_away
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks every half second of a span; while blind the log answers, if it does, and so does whoever knows the others.
    fn verdicts(
        sight: &mut Sight,
        up: bool,
        span_ms: std::ops::RangeInclusive<u64>,
        (log, others): (bool, bool),
    ) -> Vec<Verdict> {
        let mut said = Vec::new();
        for now in span_ms.step_by(500) {
            said.push(sight.check(up, now));
            if sight.is_blind() {
                sight.on_others(Some(others));
                if log {
                    sight.on_log(now);
                }
            }
        }
        said
    }

    #[test]
    fn a_node_that_hears_broadcasts_goes_on() {
        let mut sight = Sight::new(0);
        for now in (0..60_000).step_by(1_000) {
            sight.on_heard(now);
            assert_eq!(sight.check(true, now + 500), Verdict::Hears);
        }
    }

    #[test]
    fn a_connection_that_brings_nothing_is_noticed_and_left_within_ten_seconds() {
        let mut sight = Sight::new(0);
        let said = verdicts(&mut sight, true, 0..=10_000, (true, true));
        assert_eq!(
            said.iter().filter(|one| **one == Verdict::TurnAway).count(),
            1
        );
        assert!(sight.is_turned_away());
    }

    #[test]
    fn when_nobody_hears_sockets_stay_and_are_served_from_the_log() {
        let mut sight = Sight::new(0);
        let said = verdicts(&mut sight, false, 0..=60_000, (true, false));
        assert!(said.iter().all(|one| *one == Verdict::Blind));
        assert!(sight.is_blind() && !sight.is_turned_away());
    }

    #[test]
    fn a_node_without_bus_and_log_keeps_nobody() {
        let mut sight = Sight::new(0);
        let said = verdicts(&mut sight, false, 0..=10_000, (false, false));
        assert!(said.contains(&Verdict::TurnAway));
    }

    #[test]
    fn a_bus_that_comes_back_soon_costs_no_socket_and_one_that_comes_back_late_lets_them_in_again()
    {
        let mut sight = Sight::new(0);
        sight.on_others(Some(true));
        assert_eq!(sight.check(false, 0), Verdict::Blind);
        assert_eq!(sight.check(false, 2_500), Verdict::Blind);
        assert_eq!(sight.check(true, 2_900), Verdict::Hears);
        assert_eq!(sight.check(false, 3_000), Verdict::Blind);
        sight.on_others(Some(true));
        assert_eq!(sight.check(false, 6_000), Verdict::TurnAway);
        sight.on_heard(7_000);
        assert_eq!(sight.check(true, 7_100), Verdict::Hears);
        assert!(!sight.is_turned_away());
    }

    #[test]
    fn other_nodes_that_go_blind_too_open_the_door_again() {
        let mut sight = Sight::new(0);
        let said = verdicts(&mut sight, false, 0..=4_000, (true, true));
        assert!(said.contains(&Verdict::TurnAway));
        sight.on_others(Some(false));
        assert_eq!(sight.check(false, 4_500), Verdict::Blind);
        assert!(!sight.is_turned_away());
    }
}

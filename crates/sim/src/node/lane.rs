//! A write lane around its core: one connection, at most one statement in flight, as `actors/src/lane/task.rs` runs it.

use std::collections::BTreeMap;

use hubbub_actors::sim::{Drawn, LaneCore, LaneRow, Round, Settled, Told, Unread};
use hubbub_domain::position::{Epoch, PartitionId};
use hubbub_event_log::port::APPEND_REPLY_DEADLINE;
use hubbub_event_log::{AppendOutcome, MarkerUpdate};
use hubbub_wire::stored::EventRow;

use crate::wires::{Ask, NodeInput, To, Wires};

/// Pause before a lost lane is opened again, in milliseconds.
const REOPEN_MS: u64 = 50;

/// What a partition sends to its lane.
pub enum LaneMail {
    /// Begin to take its rows.
    Open(PartitionId, Epoch),
    /// Append this.
    Row(PartitionId, Epoch, Round, Box<LaneRow>),
    /// Write these markers.
    Markers(PartitionId, Epoch, Vec<MarkerUpdate>),
    /// Forget it.
    Close(PartitionId, Epoch),
}

/// One lane of one process.
pub struct Lane {
    me: To,
    number: u16,
    core: LaneCore,
    open: BTreeMap<PartitionId, Epoch>,
    connection: u64,
    statement: u64,
    state: State,
}

enum State {
    /// No connection; one is being opened, or will be.
    Closed,
    Idle,
    Appending(Drawn),
    LookingUp,
    Marking(Vec<(PartitionId, Epoch)>),
}

impl Lane {
    /// Opens its first connection.
    pub fn new(me: To, number: u16, wires: &mut Wires) -> Self {
        let lane = Self {
            me,
            number,
            core: LaneCore::default(),
            open: BTreeMap::new(),
            connection: 1,
            statement: 0,
            state: State::Closed,
        };
        lane.reopen(wires);
        lane
    }

    /// Takes a mail, and sends what can be sent.
    pub fn take(&mut self, mail: LaneMail, wires: &mut Wires) -> Vec<Told> {
        match mail {
            LaneMail::Open(partition, epoch) => {
                self.core.open(partition, epoch);
                self.open.insert(partition, epoch);
            }
            LaneMail::Row(partition, epoch, round, row) => {
                self.core.push(partition, epoch, round, *row);
            }
            LaneMail::Markers(partition, epoch, markers) => {
                self.core.push_markers(partition, epoch, markers);
            }
            LaneMail::Close(partition, epoch) => {
                self.core.close(partition, epoch);
                if self.open.get(&partition) == Some(&epoch) {
                    self.open.remove(&partition);
                }
            }
        }
        self.go_on(wires)
    }

    /// A connection came, or not.
    pub fn opened(&mut self, connection: u64, is_open: bool, wires: &mut Wires) -> Vec<Told> {
        if connection != self.connection || !matches!(self.state, State::Closed) {
            return Vec::new();
        }
        if is_open {
            self.state = State::Idle;
        } else {
            let reopen = NodeInput::LaneReopen { lane: self.number };
            wires.wake(self.me, REOPEN_MS, reopen);
        }
        self.go_on(wires)
    }

    /// Time to try again.
    pub fn reopen(&self, wires: &mut Wires) {
        if matches!(self.state, State::Closed) {
            let ask = Ask::OpenLane {
                lane: self.number,
                connection: self.connection,
            };
            wires.ask(self.me, ask);
        }
    }

    /// An append ended.
    pub fn appended(
        &mut self,
        connection: u64,
        outcome: &AppendOutcome,
        wires: &mut Wires,
    ) -> Vec<Told> {
        if connection != self.connection {
            return Vec::new();
        }
        let State::Appending(drawn) = std::mem::replace(&mut self.state, State::Idle) else {
            return Vec::new();
        };
        if *outcome == AppendOutcome::Unknown {
            wires.counters.one("appends with unknown outcome");
            self.give_up(wires);
        }
        let told = match self.core.settle(drawn, outcome) {
            Settled::Told(told) => told,
            Settled::LookUp(drawn) => {
                self.state = State::LookingUp;
                let ask = Ask::LookUp {
                    lane: self.number,
                    drawn,
                };
                wires.ask(self.me, ask);
                return Vec::new();
            }
        };
        self.then_markers(told, wires)
    }

    /// The ids of a refused batch were looked up.
    pub fn looked_up(
        &mut self,
        drawn: Drawn,
        found: Result<Vec<EventRow>, Unread>,
        wires: &mut Wires,
    ) -> Vec<Told> {
        if !matches!(self.state, State::LookingUp) {
            return Vec::new();
        }
        self.state = State::Idle;
        let told = self.core.explained(drawn, found);
        self.then_markers(told, wires)
    }

    /// A marker write ended.
    pub fn markers_written(
        &mut self,
        connection: u64,
        outcome: &AppendOutcome,
        wires: &mut Wires,
    ) -> Vec<Told> {
        if connection != self.connection {
            return Vec::new();
        }
        let State::Marking(fence) = std::mem::replace(&mut self.state, State::Idle) else {
            return Vec::new();
        };
        if *outcome == AppendOutcome::Unknown {
            self.give_up(wires);
        }
        let mut told = self.core.settle_markers(&fence, outcome);
        told.extend(self.go_on(wires));
        told
    }

    /// A statement has had its time.
    pub fn deadline(&mut self, connection: u64, statement: u64, wires: &mut Wires) -> Vec<Told> {
        if (connection, statement) != (self.connection, self.statement) {
            return Vec::new();
        }
        match self.state {
            State::Appending(_) => self.appended(connection, &AppendOutcome::Unknown, wires),
            State::Marking(_) => self.markers_written(connection, &AppendOutcome::Unknown, wires),
            State::Closed | State::Idle | State::LookingUp => Vec::new(),
        }
    }

    /// Whether an append is on its way.
    pub fn is_appending(&self) -> bool {
        matches!(self.state, State::Appending(_))
    }

    /// Under which epoch a partition is open here.
    pub fn epoch(&self, partition: PartitionId) -> Option<Epoch> {
        self.open.get(&partition).copied()
    }

    fn give_up(&mut self, wires: &mut Wires) {
        self.connection = self.connection.saturating_add(1);
        self.state = State::Closed;
        self.reopen(wires);
    }

    fn then_markers(&mut self, mut told: Vec<Told>, wires: &mut Wires) -> Vec<Told> {
        if matches!(self.state, State::Idle) && !self.send_markers(wires) {
            told.extend(self.go_on(wires));
        }
        told
    }

    fn go_on(&mut self, wires: &mut Wires) -> Vec<Told> {
        let now = wires.instant(wires.now_ms);
        if !matches!(self.state, State::Idle) {
            return if matches!(self.state, State::Closed) {
                self.core.expire(now)
            } else {
                Vec::new()
            };
        }
        let told = self.core.expire(now);
        let drawn = self.core.draw();
        if drawn.is_empty() {
            self.send_markers(wires);
            return told;
        }
        let ask = Ask::Append {
            lane: self.number,
            connection: self.connection,
            batch: drawn.batch(),
        };
        wires.counters.one("appends");
        self.state = State::Appending(drawn);
        self.send(ask, wires);
        told
    }

    fn send_markers(&mut self, wires: &mut Wires) -> bool {
        let (fence, markers) = self.core.draw_markers();
        if markers.is_empty() {
            return false;
        }
        let ask = Ask::WriteMarkers {
            lane: self.number,
            connection: self.connection,
            fence: fence.clone(),
            markers,
        };
        self.state = State::Marking(fence);
        self.send(ask, wires);
        true
    }

    fn send(&mut self, ask: Ask, wires: &mut Wires) {
        self.statement = self.statement.saturating_add(1);
        let deadline = NodeInput::LaneDeadline {
            lane: self.number,
            connection: self.connection,
            statement: self.statement,
        };
        let patience = u64::try_from(APPEND_REPLY_DEADLINE.as_millis()).unwrap_or(u64::MAX);
        wires.wake(self.me, patience, deadline);
        wires.ask(self.me, ask);
    }
}

//! How bad it is: rates of loss and delay, cut lines, and the plan of what goes wrong when. All drawn from the seed.

use crate::random::Random;

/// Something that goes wrong at a moment, or is made good.
#[derive(Clone, Debug)]
pub enum Act {
    /// A process dies.
    Kill(usize),
    /// It dies after so many more internal steps.
    KillSoon(usize, u32),
    /// It starts again.
    Start(usize),
    /// It ends in order.
    Drain(usize),
    /// It stands still, with everything that is in it.
    Pause(usize, u64),
    /// It goes on.
    Resume(usize),
    /// A node no longer reaches the bus.
    CutBus(usize, bool),
    /// A node no longer reaches the database.
    CutStore(usize, bool),
    /// The database is away.
    Away(bool),
    /// The disk is full.
    Full(bool),
    /// An image of the database is taken …
    Snapshot,
    /// … and a failover goes back to it.
    FailOver,
    /// A row rots.
    Corrupt,
    /// A projector's answer is lost.
    LoseProjection(bool),
    /// A client's connection breaks.
    Break(usize),
    /// From here on nothing goes wrong any more.
    Heal,
    /// The workload has ended and the world is quiet: the last looks.
    Judge,
}

/// Rates, in thousandths, and what is cut.
#[derive(Clone, Debug, Default)]
pub struct Weather {
    /// Bus messages lost.
    pub bus_lost: u64,
    /// Bus messages doubled.
    pub bus_doubled: u64,
    /// Bus messages that take long.
    pub bus_late: u64,
    /// Database requests lost on the way there.
    pub asks_lost: u64,
    /// Answers lost on the way back.
    pub answers_lost: u64,
    /// Either takes long.
    pub store_late: u64,
    /// Projectors rest that long between looks, in milliseconds.
    pub project_every_ms: u64,
    /// Clients that read slowly.
    pub slow_readers: u64,
    /// Commands whose actor panics before it looks at them.
    pub panics: u64,
    /// Bodies of messages are large.
    pub large_bodies: bool,
    /// Nodes without a bus.
    pub bus_cut: Vec<bool>,
    /// Nodes without a database.
    pub store_cut: Vec<bool>,
    /// The disk is full.
    pub full: bool,
    /// The database is away.
    pub away: bool,
}

impl Weather {
    /// A seed's weather.
    pub fn draw(random: &mut Random, nodes: usize) -> Self {
        let project_every_ms = random.between(100, 2_500);
        let large_bodies = random.chance(30);
        let mut rate = |often: u64, most: u64| {
            if random.chance(often) {
                random.between(1, most)
            } else {
                0
            }
        };
        Self {
            bus_lost: rate(600, 200),
            bus_doubled: rate(500, 200),
            bus_late: rate(500, 300),
            asks_lost: rate(400, 20),
            answers_lost: rate(600, 30),
            store_late: rate(500, 60),
            slow_readers: rate(100, 500),
            panics: rate(200, 10),
            project_every_ms,
            large_bodies,
            bus_cut: vec![false; nodes],
            store_cut: vec![false; nodes],
            full: false,
            away: false,
        }
    }

    /// Nothing goes wrong any more.
    pub fn clear_up(&mut self) {
        *self = Self {
            project_every_ms: 200,
            bus_cut: vec![false; self.bus_cut.len()],
            store_cut: vec![false; self.store_cut.len()],
            ..Self::default()
        };
    }

    fn is_store_cut(&self, node: usize) -> bool {
        self.store_cut.get(node).copied().unwrap_or(false)
    }

    /// Whether a node has no bus.
    pub fn is_bus_cut(&self, node: usize) -> bool {
        self.bus_cut.get(node).copied().unwrap_or(false)
    }

    fn store_delay(&self, random: &mut Random) -> u64 {
        if random.chance(self.store_late) {
            random.between(50, 4_500)
        } else {
            random.between(1, 6)
        }
    }

    /// How long a request takes to the database; `None` = for ever.
    pub fn to_store(&self, node: usize, random: &mut Random) -> Option<u64> {
        if self.is_store_cut(node) || random.chance(self.asks_lost) {
            return None;
        }
        Some(self.store_delay(random))
    }

    /// How long an answer takes back; `None` = for ever.
    pub fn from_store(&self, node: usize, random: &mut Random) -> Option<u64> {
        if self.is_store_cut(node) || random.chance(self.answers_lost) {
            return None;
        }
        Some(self.store_delay(random))
    }

    /// When a bus message comes, each time that it does.
    pub fn on_the_bus(&self, from: usize, to: usize, random: &mut Random) -> Vec<u64> {
        if self.is_bus_cut(from) || self.is_bus_cut(to) {
            return Vec::new();
        }
        let delay = |random: &mut Random| {
            if random.chance(self.bus_late) {
                random.between(20, 600)
            } else {
                random.between(0, 4)
            }
        };
        if random.chance(self.bus_lost) {
            Vec::new()
        } else if random.chance(self.bus_doubled) {
            vec![delay(random), delay(random)]
        } else {
            vec![delay(random)]
        }
    }
}

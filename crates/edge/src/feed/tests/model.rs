//! The feed against a model: a log with owners that fail, one of which may take commits with it, and a bus that may do anything.

use super::*;

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The owner stores and publishes that many events in one batch; the bus has them from now on.
    Append(u64),
    /// A new owner. So many of the newest events are gone with the old store.
    Takeover(u64),
    /// The bus delivers one of the batches that it ever had.
    Batch(usize),
    /// The owner, or the log, says where the partition stands.
    Head(bool),
    /// What was broadcast at some time before comes late.
    LateHead(usize),
    Time(u64),
    /// The read in flight comes back: well, or not at all.
    Read(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_u64..5).prop_map(Step::Append),
        1 => prop_oneof![3 => Just(0), 1 => 1_u64..6].prop_map(Step::Takeover),
        6 => any::<prop::sample::Index>().prop_map(|at| Step::Batch(at.index(1_000))),
        2 => any::<bool>().prop_map(Step::Head),
        1 => any::<prop::sample::Index>().prop_map(|at| Step::LateHead(at.index(1_000))),
        2 => (1_u64..400).prop_map(Step::Time),
        3 => prop_oneof![4 => Just(true), 1 => Just(false)].prop_map(Step::Read),
    ];
    proptest::collection::vec(step, 0..120)
}

/// The newest batches are the likeliest to come next: `back` counts from the newest, half of the time zero.
fn pick<T: Clone>(from: &[T], back: usize) -> Option<T> {
    let back = if back.is_multiple_of(2) { 0 } else { back / 2 };
    let at = from.len().checked_sub(1 + back % from.len().max(1))?;
    from.get(at).cloned()
}

struct World {
    log: Vec<(u64, u64)>,
    epoch: u64,
    /// Since which offset the owner has its ring.
    ring_from: u64,
    batches: Vec<EvBatch>,
    heads: Vec<(PartitionHead, Option<Incarnation>)>,
    feed: PartitionFeed,
    now: u64,
    flight: Option<(Offset, Source)>,
    seen: Vec<(u64, u64)>,
}

impl World {
    fn new() -> Self {
        let mut feed = PartitionFeed::new(P);
        assert_eq!(feed.boot(head(1, 0), 0), vec![]);
        Self {
            log: Vec::new(),
            epoch: 1,
            ring_from: 0,
            batches: Vec::new(),
            heads: Vec::new(),
            feed,
            now: 0,
            flight: None,
            seen: Vec::new(),
        }
    }

    fn top(&self) -> u64 {
        self.log.last().map_or(0, |(offset, _)| *offset)
    }

    fn head(&self) -> PartitionHead {
        head(self.epoch, self.top())
    }

    fn step(&mut self, step: Step) {
        let now = self.now;
        let effects = match step {
            Step::Append(count) => {
                let first = self.top() + 1;
                let last = first + count - 1;
                self.log
                    .extend((first..=last).map(|offset| (offset, self.epoch)));
                self.batches.push(batch(self.epoch, first..=last));
                Vec::new()
            }
            Step::Takeover(lost) => {
                let left = self
                    .log
                    .len()
                    .saturating_sub(usize::try_from(lost).unwrap());
                self.log.truncate(left);
                self.epoch += 1;
                self.ring_from = self.top();
                Vec::new()
            }
            Step::Batch(back) => match pick(&self.batches, back) {
                Some(batch) => self.feed.on_batch(batch, now),
                None => Vec::new(),
            },
            Step::Head(by_owner) => {
                let owner = Incarnation::from_uuid(Uuid::from_u128(u128::from(self.epoch)));
                let said = (self.head(), by_owner.then_some(owner));
                self.heads.push(said);
                self.feed.on_head(said.0, said.1, now)
            }
            Step::LateHead(back) => match pick(&self.heads, back) {
                Some((head, owner)) => self.feed.on_head(head, owner, now),
                None => Vec::new(),
            },
            Step::Time(pause) => {
                self.now += pause;
                self.feed.on_time(self.now)
            }
            Step::Read(well) => match self.flight.take() {
                Some((after, from)) => {
                    let fetched = self.read(after, from, well);
                    self.feed.on_range(after, fetched, now)
                }
                None => Vec::new(),
            },
        };
        self.run(effects);
    }

    fn read(&self, after: Offset, from: Source, well: bool) -> Fetched {
        let rows = self
            .log
            .iter()
            .filter(|(offset, _)| *offset > after.get())
            .take(5)
            .map(|(offset, epoch)| row(*offset, *epoch));
        match from {
            Source::Log if well => Fetched::Log(Ok(rows.collect())),
            Source::Log => failed(),
            Source::Ring(_) if well && after.get() >= self.ring_from => {
                let events: Vec<EvEntry> = rows
                    .map(|row| EvEntry {
                        row,
                        recipients: None,
                    })
                    .collect();
                Fetched::Ring((!events.is_empty()).then_some(EvBatch {
                    partition: P,
                    epoch: Epoch::new(self.epoch),
                    base_offset: after.next(),
                    events,
                }))
            }
            Source::Ring(_) => Fetched::Ring(None),
        }
    }

    fn run(&mut self, effects: Vec<Effect>) {
        for (offset, epoch) in delivered_rows(&effects) {
            assert_eq!(offset, self.seen.last().map_or(0, |(last, _)| *last) + 1);
            self.seen.push((offset, epoch));
        }
        for effect in effects {
            match effect {
                Effect::Deliver(_) => {}
                Effect::Fetch { after, from, .. } => {
                    assert!(self.flight.is_none(), "one read at a time");
                    self.flight = Some((after, from));
                }
                Effect::LineageLost => {
                    let kept = self
                        .seen
                        .iter()
                        .zip(&self.log)
                        .take_while(|(seen, held)| seen == held)
                        .count();
                    assert!(kept < self.seen.len(), "nothing was lost");
                    // Clients are told, and have what the log has; then it goes on.
                    self.flight = None;
                    self.seen.clone_from(&self.log);
                    let effects = self.feed.boot(self.head(), self.now);
                    self.run(effects);
                }
            }
        }
    }
}

proptest! {
    /// I6, P9: whatever is lost, doubled, late or reordered, events come out each once and in order, and what has come out in the end is
    /// the log; what a failover took with it is noticed, and nothing else is taken for it.
    #[test]
    fn whatever_bus_and_failovers_do_in_the_end_the_log_was_delivered(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            prop_assert!(world.feed.held() <= HELD_EVENTS_MAX);
        }
        world.step(Step::Head(false));
        for _ in 0..400 {
            world.step(Step::Time(RETRY_WAIT_MS));
            world.step(Step::Read(true));
        }
        prop_assert_eq!(&world.seen, &world.log);
        prop_assert!(world.feed.is_at_head());
    }

    /// Without failovers nothing is ever taken for lost.
    #[test]
    fn a_bus_alone_never_looks_like_a_failover(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            if !matches!(step, Step::Takeover(lost) if lost > 0) {
                world.step(step);
            }
        }
        prop_assert!(world.seen.iter().zip(&world.log).all(|(seen, held)| seen == held));
    }
}

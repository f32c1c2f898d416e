//! What happens when: a queue of things to come, by simulated time, then in the order in which they were planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Things to come.
#[derive(Debug)]
pub struct Schedule<E> {
    heap: BinaryHeap<Reverse<Planned<E>>>,
    planned: u64,
}

#[derive(Debug)]
struct Planned<E> {
    at_ms: u64,
    number: u64,
    event: E,
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at_ms, self.number) == (other.at_ms, other.number)
    }
}

impl<E> Eq for Planned<E> {}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ms, self.number).cmp(&(other.at_ms, other.number))
    }
}

impl<E> Default for Schedule<E> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            planned: 0,
        }
    }
}

impl<E> Schedule<E> {
    /// Plans an event.
    pub fn at(&mut self, at_ms: u64, event: E) {
        self.planned = self.planned.saturating_add(1);
        self.heap.push(Reverse(Planned {
            at_ms,
            number: self.planned,
            event,
        }));
    }

    /// The next event and its time.
    pub fn pop(&mut self) -> Option<(u64, E)> {
        self.heap
            .pop()
            .map(|Reverse(planned)| (planned.at_ms, planned.event))
    }

    /// When the next event is due.
    pub fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(planned)| planned.at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    #[test]
    fn events_come_by_time_and_those_of_one_time_in_the_order_of_planning() {
        let mut schedule = Schedule::default();
        for (at, name) in [(5, "c"), (1, "a"), (5, "d"), (3, "b")] {
            schedule.at(at, name);
        }
        let order: Vec<_> = std::iter::from_fn(|| schedule.pop()).collect();
        assert_eq!(order, [(1, "a"), (3, "b"), (5, "c"), (5, "d")]);
    }
}

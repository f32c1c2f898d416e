//! The promise that every run checks: on one socket the events of a conversation rise by exactly one.

use anyhow::bail;

/// What one socket has seen of one conversation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Order {
    last: Option<u64>,
    events: u64,
}

impl Order {
    /// The next event has this seq.
    ///
    /// # Errors
    /// When one before it is missing, or it was there already.
    pub(crate) fn next(&mut self, seq: u64) -> anyhow::Result<()> {
        if let Some(last) = self.last
            && seq != last + 1
        {
            let what = if seq > last {
                "lost"
            } else {
                "doubled or out of order"
            };
            bail!("an event is {what}: seq {seq} after {last}");
        }
        self.last = Some(seq);
        self.events += 1;
        Ok(())
    }

    /// Seq of the last event.
    pub(crate) const fn last(self) -> Option<u64> {
        self.last
    }

    /// How many there were.
    pub(crate) const fn events(self) -> u64 {
        self.events
    }
}

#[cfg(test)]
mod tests {
    use super::Order;

    #[test]
    fn a_hole_and_a_repetition_are_seen_and_any_first_event_is_good() {
        let mut order = Order::default();
        order.next(41).unwrap();
        order.next(42).unwrap();
        assert_eq!((order.last(), order.events()), (Some(42), 2));
        assert!(order.next(44).unwrap_err().to_string().contains("lost"));
        assert!(order.next(42).unwrap_err().to_string().contains("doubled"));
    }
}

//! Command ids: time-ordered as the protocol wants them, otherwise from the seed of the run.

use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

/// A source of ids. Each task has its own.
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    state: u64,
}

impl Ids {
    /// The source number `number` of a run.
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        let mut ids = Self { state: seed };
        ids.state = ids.random() ^ number.wrapping_mul(0xD134_2543_DE82_EF95);
        ids
    }

    /// A `UUIDv7` of this moment: any other id, or one of the past, would make the server look it up.
    #[expect(
        clippy::disallowed_methods,
        reason = "command ids carry the wall clock, and here is where commands are made"
    )]
    pub(crate) fn next(&mut self) -> Uuid {
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let milliseconds = u64::try_from(since_1970.as_millis()).unwrap_or_default();
        let mut random = [0; 10];
        let (head, tail) = random.split_at_mut(8);
        head.copy_from_slice(&self.random().to_be_bytes());
        tail.copy_from_slice(&self.random().to_be_bytes()[..2]);
        uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid()
    }

    /// `SplitMix64` (Steele, Lea, Flood 2014): equidistributed, and two tasks with neighbouring numbers share nothing.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Ids;

    #[test]
    fn ids_differ_within_and_between_sources_and_are_of_version_seven() {
        let mut seen = HashSet::new();
        for number in 0..20 {
            let mut ids = Ids::new(7, number);
            for _ in 0..500 {
                let id = ids.next();
                assert_eq!(id.get_version_num(), 7);
                assert!(seen.insert(id), "{id} twice");
            }
        }
    }
}

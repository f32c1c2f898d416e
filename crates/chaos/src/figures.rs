//! What a row measured, as numbers: how long writes waited, how late deliveries came, what really happened.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hubbub_checker::history::Time;
use hubbub_checker::{History, Outcome, Told as Said};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::load::stage::Wait;

/// Largest, 99th percentile and number of some spans, in milliseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Spread {
    /// How many.
    pub count: usize,
    /// Half are shorter.
    pub median_ms: f64,
    /// Of a hundred, 99 are shorter.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Spread {
    /// Of these spans, in microseconds.
    pub fn of(mut spans: Vec<Time>) -> Self {
        spans.sort_unstable();
        let at = |percent: usize| {
            let place = (spans.len() * percent / 100).min(spans.len().saturating_sub(1));
            spans.get(place).copied().map_or(0.0, millis)
        };
        Self {
            count: spans.len(),
            median_ms: at(50),
            p99_ms: at(99),
            max_ms: spans.last().copied().map_or(0.0, millis),
        }
    }
}

/// Microseconds as milliseconds.
pub fn millis(span: Time) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a run is far shorter than 2^53 µs"
    )]
    let micros = span as f64;
    (micros / 100.0).round() / 10.0
}

/// A count as a figure.
pub fn number(count: u64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of a run are far below 2^53"
    )]
    let number = count as f64;
    number
}

/// When things happened in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Moments {
    /// The load began.
    pub began: Time,
    /// The fault was injected.
    pub injected: Time,
    /// The healing began.
    pub healing: Time,
    /// The fault was over.
    pub healed: Time,
    /// Nothing new was asked for any more.
    pub stopped: Time,
}

/// How long writes waited: in the conversations that the fault concerned, in the others, and before the fault.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WriteGaps {
    /// Before the fault, anywhere.
    pub before: Spread,
    /// From the fault on, in the conversations concerned.
    pub concerned: Spread,
    /// From the fault to its healing, elsewhere.
    pub others: Spread,
    /// Elsewhere from the healing on, while who came back gets its share again.
    pub others_after: Spread,
    /// From the fault on, of senders whose own connection broke meanwhile or whose node was hit: the way back is part of it.
    pub own_line_broke: Spread,
    /// Writes that were never acked.
    pub never_acked: usize,
}

impl WriteGaps {
    /// Of these waits.
    pub fn of(
        waits: &[Wait],
        concerned: &BTreeSet<Uuid>,
        nodes_hit: &BTreeSet<u32>,
        moments: Moments,
    ) -> Self {
        let (mut before, mut inside, mut others, mut others_after, mut broke) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut never_acked = 0;
        for wait in waits {
            let Some(acked_at) = wait.acked_at else {
                never_acked += 1;
                continue;
            };
            let span = acked_at.saturating_sub(wait.asked_at);
            let list = if acked_at < moments.injected {
                &mut before
            } else if wait.own_line_broke || nodes_hit.contains(&wait.node) {
                &mut broke
            } else if concerned.contains(&wait.conversation) {
                &mut inside
            } else if moments.healing > 0 && acked_at >= moments.healing {
                &mut others_after
            } else {
                &mut others
            };
            list.push(span);
        }
        Self {
            before: Spread::of(before),
            concerned: Spread::of(inside),
            others: Spread::of(others),
            others_after: Spread::of(others_after),
            own_line_broke: Spread::of(broke),
            never_acked,
        }
    }
}

/// How late events came: from the ack of whoever sent it to the telling of each application whose connection stood all the
/// time. Before the fault, and from the fault on.
pub fn lateness(
    history: &History,
    breaks: &BTreeMap<usize, Vec<(Time, Time)>>,
    moments: Moments,
    person_of: impl Fn(u64) -> usize,
) -> (Spread, Spread) {
    let mut acked: HashMap<Uuid, Time> = HashMap::new();
    for operation in &history.operations {
        if matches!(operation.outcome, Outcome::Acked(_)) {
            let at = acked.entry(operation.command).or_insert(operation.ended_at);
            *at = (*at).min(operation.ended_at);
        }
    }
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for delivery in &history.deliveries {
        let Said::Event(event) = &delivery.told else {
            continue;
        };
        let Some(acked_at) = event.command.and_then(|command| acked.get(&command)) else {
            continue;
        };
        let broke = breaks
            .get(&person_of(delivery.subscription))
            .is_some_and(|breaks| {
                breaks
                    .iter()
                    .any(|(from, to)| *from <= delivery.at && *acked_at <= *to)
            });
        if broke {
            continue;
        }
        let late = delivery.at.saturating_sub(*acked_at);
        if delivery.at < moments.injected {
            before.push(late);
        } else {
            after.push(late);
        }
    }
    (Spread::of(before), Spread::of(after))
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "whole milliseconds are exact")]
mod tests {
    use super::*;

    fn wait(conversation: u128, asked_at: Time, acked_at: Option<Time>, broke: bool) -> Wait {
        Wait {
            conversation: Uuid::from_u128(conversation),
            command: Uuid::from_u128(u128::from(asked_at)),
            asked_at,
            acked_at,
            node: 0,
            own_line_broke: broke,
        }
    }

    #[test]
    fn a_wait_counts_where_the_fault_found_it() {
        let moments = Moments {
            injected: 1_000_000,
            ..Moments::default()
        };
        let concerned = BTreeSet::from([Uuid::from_u128(1)]);
        let waits = [
            wait(1, 0, Some(5_000), false),
            wait(1, 900_000, Some(4_900_000), false),
            wait(2, 1_100_000, Some(1_130_000), false),
            wait(1, 1_100_000, Some(9_000_000), true),
            wait(2, 1_200_000, None, false),
        ];
        let gaps = WriteGaps::of(&waits, &concerned, &BTreeSet::new(), moments);
        assert_eq!(gaps.before.count, 1);
        assert_eq!(gaps.concerned.max_ms, 4_000.0);
        assert_eq!(gaps.others.max_ms, 30.0);
        assert_eq!(gaps.own_line_broke.count, 1);
        assert_eq!(gaps.never_acked, 1);
    }

    #[test]
    fn the_99th_percentile_is_not_the_largest_of_many() {
        let spread = Spread::of((1..=1_000).map(|n| n * 1_000).collect());
        assert_eq!(spread.max_ms, 1_000.0);
        assert_eq!(spread.p99_ms, 991.0);
        assert_eq!(Spread::of(Vec::new()).max_ms, 0.0);
    }
}

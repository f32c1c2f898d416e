//! Markers: max-registers within a generation, under the same fence as rows.

use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::{Epoch, PartitionId};

use super::{claim_every, conversation, incarnation, marker, marker_at, must, user};
use crate::port::{AppendOutcome, Claim, EventLog, Lane, Marker, MarkerUpdate};

const P: PartitionId = PartitionId::new(6);

async fn owned(log: &dyn EventLog, me: Incarnation) -> (Epoch, Box<dyn Lane>) {
    let epoch = claim_every(log, me).await[&P];
    (epoch, must(log.open_lane(me, 0).await))
}

fn of(n: u64, generation: u32, read: u64, delivered: u64) -> Marker {
    marker(conversation(P, 1), user(n), generation, read, delivered)
}

async fn write(lane: &mut Box<dyn Lane>, epoch: Epoch, markers: &[Marker]) -> AppendOutcome {
    let updates = markers
        .iter()
        .map(|&marker| MarkerUpdate {
            partition: P,
            marker,
        })
        .collect();
    lane.write_markers(vec![(P, epoch)], updates).await
}

fn committed() -> AppendOutcome {
    AppendOutcome::Done {
        committed: vec![P],
        fenced: vec![],
    }
}

/// Late and repeated writes change nothing.
pub async fn markers_only_rise_within_a_generation(log: &dyn EventLog) {
    let (epoch, mut lane) = owned(log, incarnation(1)).await;
    assert_eq!(
        write(&mut lane, epoch, &[of(2, 0, 5, 7), of(1, 0, 1, 1)]).await,
        committed()
    );
    assert_eq!(
        must(log.markers(conversation(P, 1)).await),
        [of(1, 0, 1, 1), of(2, 0, 5, 7)],
        "ascending by user"
    );

    let late = marker_at(conversation(P, 1), user(2), 0, 4, 7, 900_000);
    assert_eq!(write(&mut lane, epoch, &[late]).await, committed());
    assert_eq!(
        must(log.markers(conversation(P, 1)).await),
        [of(1, 0, 1, 1), of(2, 0, 5, 7)],
        "its time did not move either"
    );

    let delivered = marker_at(conversation(P, 1), user(2), 0, 4, 9, 900_000);
    assert_eq!(write(&mut lane, epoch, &[delivered]).await, committed());
    let both = marker_at(conversation(P, 1), user(2), 0, 5, 9, 900_000);
    assert_eq!(
        must(log.markers(conversation(P, 1)).await),
        [of(1, 0, 1, 1), both],
        "each value keeps its own maximum"
    );
}

/// Mark-unread: values go down with the new generation, and the old one is late from then on.
pub async fn a_higher_generation_replaces_a_marker(log: &dyn EventLog) {
    let (epoch, mut lane) = owned(log, incarnation(1)).await;
    assert_eq!(
        write(&mut lane, epoch, &[of(1, 0, 50, 60)]).await,
        committed()
    );
    let unread = Marker {
        own_after: 3,
        ..of(1, 1, 10, 60)
    };
    assert_eq!(write(&mut lane, epoch, &[unread]).await, committed());
    assert_eq!(must(log.markers(conversation(P, 1)).await), [unread]);
    assert_eq!(
        write(&mut lane, epoch, &[of(1, 0, 55, 60)]).await,
        committed()
    );
    assert_eq!(
        must(log.markers(conversation(P, 1)).await),
        [unread],
        "the old generation is over"
    );

    let delivered = Marker {
        own_after: 0,
        ..of(1, 1, 10, 61)
    };
    assert_eq!(write(&mut lane, epoch, &[delivered]).await, committed());
    let kept = must(log.markers(conversation(P, 1)).await);
    assert_eq!(
        kept,
        [Marker {
            own_after: 3,
            ..delivered
        }],
        "own messages belong to the read number that stays"
    );
}

/// A stale owner moves nothing.
pub async fn markers_of_a_stale_partition_are_not_written(log: &dyn EventLog) {
    let (epoch, mut lane) = owned(log, incarnation(1)).await;
    let claim = Claim {
        partition: P,
        expected_owner: Some(incarnation(1)),
        expected_epoch: epoch,
    };
    must(log.acquire(incarnation(2), &[claim], "takeover").await);
    let outcome = write(&mut lane, epoch, &[of(1, 0, 5, 5)]).await;
    assert_eq!(
        outcome,
        AppendOutcome::Done {
            committed: vec![],
            fenced: vec![P]
        }
    );
    assert_eq!(must(log.markers(conversation(P, 1)).await), []);
}

/// A member may move twice before the second is over.
pub async fn markers_of_one_member_in_one_batch_are_merged(log: &dyn EventLog) {
    let (epoch, mut lane) = owned(log, incarnation(1)).await;
    assert_eq!(
        write(&mut lane, epoch, &[of(1, 0, 5, 5), of(1, 0, 4, 8)]).await,
        committed()
    );
    assert_eq!(
        must(log.markers(conversation(P, 1)).await),
        [of(1, 0, 5, 8)]
    );
}

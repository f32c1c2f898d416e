use super::*;
use crate::contract::{batch, conversation, marker, row, user};

fn done(committed: &[u16], fenced: &[u16]) -> AppendOutcome {
    let ids = |list: &[u16]| list.iter().copied().map(PartitionId::new).collect();
    AppendOutcome::Done {
        committed: ids(committed),
        fenced: ids(fenced),
    }
}

const P3: PartitionId = PartitionId::new(3);
const P4: PartitionId = PartitionId::new(4);
const E7: Epoch = Epoch::new(7);

#[test]
fn a_reply_names_each_partition_as_committed_or_fenced() {
    let batch = batch(vec![
        row(P3, 1, E7, 1),
        row(P3, 2, E7, 2),
        row(P4, 9, E7, 1),
    ]);
    let expected = Expected::of_batch(&batch).expect("sound");
    assert_eq!(expected.outcome([(P4, 1), (P3, 2)]), done(&[3, 4], &[]));
    assert_eq!(expected.outcome([(P3, 2)]), done(&[3], &[4]));
    assert_eq!(expected.outcome([]), done(&[], &[3, 4]));
}

#[test]
fn a_reply_that_cannot_be_is_broken() {
    let batch = batch(vec![row(P3, 1, E7, 1), row(P3, 2, E7, 2)]);
    let expected = Expected::of_batch(&batch).expect("sound");
    assert_eq!(
        expected.outcome([(P3, 1)]),
        AppendOutcome::Broken,
        "half stored"
    );
    assert_eq!(
        expected.outcome([(P3, 3)]),
        AppendOutcome::Broken,
        "more stored"
    );
    assert_eq!(
        expected.outcome([(P4, 1)]),
        AppendOutcome::Broken,
        "not asked for"
    );
    assert_eq!(
        expected.outcome([(P3, 2), (P3, 2)]),
        AppendOutcome::Broken,
        "named twice"
    );
}

#[test]
fn a_batch_that_breaks_its_promise_is_not_sent() {
    let holes = batch(vec![row(P3, 1, E7, 1), row(P3, 3, E7, 2)]);
    assert_eq!(
        Expected::of_batch(&holes),
        Err(Misuse::NotDense(P3, Offset::new(3)))
    );

    let mut stray = batch(vec![row(P3, 1, E7, 1)]);
    stray.fence = vec![(P4, E7)];
    assert_eq!(Expected::of_batch(&stray), Err(Misuse::NotInFence(P3)));

    let mut other_epoch = batch(vec![row(P3, 1, E7, 1)]);
    other_epoch.fence = vec![(P3, Epoch::new(8))];
    assert_eq!(
        Expected::of_batch(&other_epoch),
        Err(Misuse::NotInFence(P3))
    );

    let mut unsorted = batch(vec![row(P3, 1, E7, 1)]);
    unsorted.fence = vec![(P4, E7), (P3, E7)];
    assert_eq!(
        Expected::of_batch(&unsorted),
        Err(Misuse::FenceNotAscending)
    );

    let crowd = batch((1..=513).map(|n| row(P3, n, E7, n)).collect());
    assert_eq!(Expected::of_batch(&crowd), Err(Misuse::TooManyRows(513)));

    let mut heavy = batch(vec![row(P3, 1, E7, 1)]);
    heavy.rows[0].body = Some(vec![0; APPEND_BYTES_MAX].into());
    assert!(matches!(
        Expected::of_batch(&heavy),
        Err(Misuse::TooManyBytes(_))
    ));
}

#[test]
fn a_marker_only_rises_within_a_generation_and_a_new_generation_replaces_it() {
    let stored = marker(conversation(P3, 1), user(1), 2, 10, 12);
    assert_eq!(
        advance(&stored, &marker(stored.conversation, stored.user, 2, 9, 12)),
        None,
        "behind"
    );
    assert_eq!(
        advance(
            &stored,
            &marker(stored.conversation, stored.user, 1, 90, 90)
        ),
        None,
        "an older generation is late"
    );
    let read_on =
        advance(&stored, &marker(stored.conversation, stored.user, 2, 11, 5)).expect("moves");
    assert_eq!(
        (read_on.read_no.get(), read_on.delivered_no.get()),
        (11, 12)
    );
    let unread_again = marker(stored.conversation, stored.user, 3, 4, 12);
    assert_eq!(advance(&stored, &unread_again), Some(unread_again));
}

#[test]
fn markers_of_one_member_become_one_update() {
    let one = |read, delivered| MarkerUpdate {
        partition: P3,
        marker: marker(conversation(P3, 1), user(1), 0, read, delivered),
    };
    let other = MarkerUpdate {
        partition: P3,
        marker: marker(conversation(P3, 1), user(2), 0, 1, 1),
    };
    let merged = coalesce(vec![one(5, 6), other, one(3, 9)]);
    assert_eq!(merged, vec![one(5, 9), other]);
}

#[test]
fn a_hole_in_a_read_is_an_alarm() {
    let rows = vec![row(P3, 5, E7, 1), row(P3, 6, E7, 2)];
    assert!(dense_tail(P3, Offset::new(4), rows.clone()).is_ok());
    assert!(matches!(
        dense_tail(P3, Offset::new(3), rows.clone()),
        Err(ReadError::Inconsistent(_))
    ));
    assert!(dense_conversation(rows[0].conversation, Seq::ZERO, rows.clone()).is_ok());
    assert!(matches!(
        dense_conversation(rows[0].conversation, Seq::new(2), rows),
        Err(ReadError::Inconsistent(_))
    ));
}

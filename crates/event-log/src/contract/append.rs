//! Appends: atomic, fenced, unique.

use std::collections::BTreeMap;

use hubbub_domain::conversation::{Event, Recorded};
use hubbub_domain::position::{Epoch, MessageNo, Offset, PartitionId, Seq};
use hubbub_domain::time::Timestamp;
use hubbub_wire::stored::EventRow;

use super::{
    batch, body_row, claim_every, command, conversation, incarnation, must, row, row_of, user,
};
use crate::port::{
    APPEND_ROWS_MAX, AppendBatch, AppendOutcome, Claim, Conflict, EventLog, Lane, Refusal,
};

const P1: PartitionId = PartitionId::new(1);
const P2: PartitionId = PartitionId::new(2);
const P3: PartitionId = PartitionId::new(3);

/// A store whose partitions incarnation 1 owns, and its lane 0.
async fn owned(log: &dyn EventLog) -> (BTreeMap<PartitionId, Epoch>, Box<dyn Lane>) {
    let epochs = claim_every(log, incarnation(1)).await;
    let lane = must(log.open_lane(incarnation(1), 0).await);
    (epochs, lane)
}

fn done(committed: &[PartitionId], fenced: &[PartitionId]) -> AppendOutcome {
    AppendOutcome::Done {
        committed: committed.to_vec(),
        fenced: fenced.to_vec(),
    }
}

async fn stored(log: &dyn EventLog, partition: PartitionId) -> Vec<EventRow> {
    must(log.tail(partition, Offset::ZERO, APPEND_ROWS_MAX).await)
}

/// Another node takes the partition over.
async fn take_over(log: &dyn EventLog, partition: PartitionId, epoch: Epoch) -> Epoch {
    let claim = Claim {
        partition,
        expected_owner: Some(incarnation(1)),
        expected_epoch: epoch,
    };
    let taken = must(log.acquire(incarnation(2), &[claim], "takeover").await);
    assert_eq!(taken.len(), 1, "taken over");
    taken.first().map_or(Epoch::ZERO, |taken| taken.epoch)
}

/// Columns, empty and absent bodies, checksums with the high bit, by every way to read them.
pub async fn appended_rows_come_back_as_they_were(log: &dyn EventLog) {
    let (epochs, mut lane) = owned(log).await;
    let rows = vec![
        row(P1, 1, epochs[&P1], 1),
        body_row(row(P1, 2, epochs[&P1], 2), b"\x00\xffhello"),
        body_row(row(P1, 3, epochs[&P1], 3), b""),
    ];
    assert_eq!(lane.append(batch(rows.clone())).await, done(&[P1], &[]));

    assert_eq!(stored(log, P1).await, rows);
    let chat = conversation(P1, 1);
    assert_eq!(must(log.read_conversation(chat, Seq::ZERO, 10).await), rows);
    for row in &rows {
        assert_eq!(
            must(log.find_command(chat, row.command_id).await).as_ref(),
            Some(row)
        );
    }
}

/// Checksums included: what comes back decodes to the event that was encoded.
pub async fn an_encoded_event_decodes_after_the_store(log: &dyn EventLog) {
    let (epochs, mut lane) = owned(log).await;
    let recorded = Recorded {
        conversation: conversation(P1, 1),
        seq: Seq::new(1),
        at: Timestamp::from_millis(1_780_000_000_001),
        by: user(1),
        command_id: command(1),
        request_mac: None,
        event: Event::MessageSent {
            message_no: MessageNo::new(1),
            body: Some("Grüße 👋\0 and all".to_owned()),
            reply_to_no: None,
            thread_root_no: None,
        },
    };
    let row = must(EventRow::encode(P1, Offset::new(1), epochs[&P1], &recorded));
    assert_eq!(lane.append(batch(vec![row])).await, done(&[P1], &[]));
    let stored = stored(log, P1).await;
    let decoded: Vec<Recorded> = stored.iter().map(|row| must(row.decode())).collect();
    assert_eq!(decoded, [recorded]);
}

/// One statement, three partitions, two of them with several conversations.
pub async fn a_batch_of_many_partitions_commits_together(log: &dyn EventLog) {
    let (epochs, mut lane) = owned(log).await;
    let other = conversation(P3, 2);
    let rows = vec![
        row(P1, 1, epochs[&P1], 1),
        row(P1, 2, epochs[&P1], 2),
        row(P2, 1, epochs[&P2], 1),
        row(P3, 1, epochs[&P3], 1),
        row_of(other, P3, 2, epochs[&P3], 1),
        row(P3, 3, epochs[&P3], 2),
    ];
    assert_eq!(lane.append(batch(rows)).await, done(&[P1, P2, P3], &[]));
    assert_eq!(
        (
            stored(log, P1).await.len(),
            stored(log, P2).await.len(),
            stored(log, P3).await.len()
        ),
        (2, 1, 3)
    );
    assert_eq!(
        must(log.conversation_head(other).await).map(|head| (head.seq.get(), head.offset.get())),
        Some((1, 2))
    );
}

/// The neighbours in the same batch are not disturbed.
pub async fn a_stale_partition_is_skipped_while_its_neighbours_commit(log: &dyn EventLog) {
    let (epochs, mut lane) = owned(log).await;
    let new_epoch = take_over(log, P2, epochs[&P2]).await;
    let rows = vec![
        row(P1, 1, epochs[&P1], 1),
        row(P2, 1, epochs[&P2], 1),
        row(P3, 1, epochs[&P3], 1),
    ];
    assert_eq!(lane.append(batch(rows)).await, done(&[P1, P3], &[P2]));
    assert_eq!(stored(log, P1).await.len(), 1);
    assert_eq!(stored(log, P2).await, []);
    assert_eq!(stored(log, P3).await.len(), 1);

    let mut theirs = must(log.open_lane(incarnation(2), 0).await);
    assert_eq!(
        theirs.append(batch(vec![row(P2, 1, new_epoch, 1)])).await,
        done(&[P2], &[])
    );
}

/// Also when nothing was written in between, and also with an epoch that never was.
pub async fn an_append_under_an_old_epoch_stores_nothing(log: &dyn EventLog) {
    let (epochs, mut lane) = owned(log).await;
    let new_epoch = take_over(log, P1, epochs[&P1]).await;
    assert_eq!(
        lane.append(batch(vec![row(P1, 1, epochs[&P1], 1)])).await,
        done(&[], &[P1])
    );
    assert_eq!(
        lane.append(batch(vec![row(P1, 1, new_epoch.next(), 1)]))
            .await,
        done(&[], &[P1])
    );
    assert_eq!(stored(log, P1).await, []);
}

/// The rows of other partitions in the batch are not stored either.
pub async fn a_taken_command_id_is_a_conflict_and_nothing_of_the_batch_is_stored(
    log: &dyn EventLog,
) {
    let (epochs, mut lane) = owned(log).await;
    let first = row(P1, 1, epochs[&P1], 1);
    assert_eq!(
        lane.append(batch(vec![first.clone()])).await,
        done(&[P1], &[])
    );
    let mut again = row(P1, 2, epochs[&P1], 2);
    again.command_id = first.command_id;
    let outcome = lane
        .append(batch(vec![again, row(P2, 1, epochs[&P2], 1)]))
        .await;
    assert_eq!(outcome, AppendOutcome::Conflict(Conflict::Command));
    assert_eq!(
        (stored(log, P1).await.len(), stored(log, P2).await.len()),
        (1, 0)
    );

    let rest = lane
        .append(batch(vec![
            row(P1, 2, epochs[&P1], 2),
            row(P2, 1, epochs[&P2], 1),
        ]))
        .await;
    assert_eq!(
        rest,
        done(&[P1, P2], &[]),
        "the lane goes on after a conflict"
    );
}

/// Uniqueness holds within the batch too.
pub async fn a_command_id_twice_in_one_batch_is_a_conflict(log: &dyn EventLog) {
    let (epochs, mut lane) = owned(log).await;
    let mut twin = row(P1, 2, epochs[&P1], 2);
    twin.command_id = row(P1, 1, epochs[&P1], 1).command_id;
    let outcome = lane
        .append(batch(vec![row(P1, 1, epochs[&P1], 1), twin]))
        .await;
    assert_eq!(outcome, AppendOutcome::Conflict(Conflict::Command));
    assert_eq!(stored(log, P1).await, []);
}

/// Each of the two alone.
pub async fn a_taken_offset_or_seq_is_a_conflict_of_position(log: &dyn EventLog) {
    let (epochs, mut lane) = owned(log).await;
    assert_eq!(
        lane.append(batch(vec![row(P1, 1, epochs[&P1], 1)])).await,
        done(&[P1], &[])
    );

    let mut offset_taken = row_of(conversation(P1, 2), P1, 1, epochs[&P1], 1);
    offset_taken.command_id = command(900);
    assert_eq!(
        lane.append(batch(vec![offset_taken])).await,
        AppendOutcome::Conflict(Conflict::Position)
    );

    let seq_taken = row(P1, 2, epochs[&P1], 1);
    assert_eq!(
        lane.append(batch(vec![seq_taken])).await,
        AppendOutcome::Conflict(Conflict::Position)
    );
    assert_eq!(stored(log, P1).await.len(), 1);
}

/// Everything is taken at once: the graver news wins, because the writer's state is wrong.
pub async fn a_row_sent_again_under_the_same_epoch_is_a_conflict_of_position(log: &dyn EventLog) {
    let (epochs, mut lane) = owned(log).await;
    let rows = batch(vec![row(P1, 1, epochs[&P1], 1), row(P1, 2, epochs[&P1], 2)]);
    assert_eq!(lane.append(rows.clone()).await, done(&[P1], &[]));
    assert_eq!(
        lane.append(rows).await,
        AppendOutcome::Conflict(Conflict::Position)
    );
    assert_eq!(stored(log, P1).await.len(), 2);
}

/// On a lane that has stored the row before, and on one that has not.
pub async fn rows_that_leave_a_hole_in_their_partition_are_refused_with_the_whole_batch(
    log: &dyn EventLog,
) {
    let (epochs, mut lane) = owned(log).await;
    let hole = AppendOutcome::Conflict(Conflict::Hole);
    let first = batch(vec![row(P2, 2, epochs[&P2], 1)]);
    assert_eq!(lane.append(first).await, hole, "nothing is stored yet");
    assert_eq!(
        lane.append(batch(vec![row(P1, 1, epochs[&P1], 1)])).await,
        done(&[P1], &[])
    );
    let mut fresh = must(log.open_lane(incarnation(1), 1).await);
    for lane in [&mut lane, &mut fresh] {
        let other = row_of(conversation(P1, 2), P1, 3, epochs[&P1], 1);
        let behind = batch(vec![other, row(P2, 1, epochs[&P2], 1)]);
        assert_eq!(lane.append(behind).await, hole);
        assert_eq!(
            (stored(log, P1).await.len(), stored(log, P2).await.len()),
            (1, 0)
        );
    }
    let goes_on = batch(vec![row(P1, 2, epochs[&P1], 2), row(P2, 1, epochs[&P2], 1)]);
    assert_eq!(fresh.append(goes_on).await, done(&[P1, P2], &[]));
}

/// Of a conversation that is there, of one that is not, and between two rows of the batch itself.
pub async fn rows_that_leave_a_hole_in_their_conversation_are_refused_with_the_whole_batch(
    log: &dyn EventLog,
) {
    let (epochs, mut lane) = owned(log).await;
    assert_eq!(
        lane.append(batch(vec![row(P1, 1, epochs[&P1], 1)])).await,
        done(&[P1], &[])
    );
    let mut fresh = must(log.open_lane(incarnation(1), 1).await);
    for lane in [&mut lane, &mut fresh] {
        for rows in [
            vec![row(P1, 2, epochs[&P1], 3)],
            vec![row_of(conversation(P1, 2), P1, 2, epochs[&P1], 2)],
            vec![row(P1, 2, epochs[&P1], 2), row(P1, 3, epochs[&P1], 4)],
        ] {
            let rows = [rows, vec![row(P2, 1, epochs[&P2], 1)]].concat();
            assert_eq!(
                lane.append(batch(rows)).await,
                AppendOutcome::Conflict(Conflict::Hole)
            );
        }
        assert_eq!(
            (stored(log, P1).await.len(), stored(log, P2).await.len()),
            (1, 0)
        );
    }
    assert_eq!(
        fresh.append(batch(vec![row(P1, 2, epochs[&P1], 2)])).await,
        done(&[P1], &[])
    );
}

/// Who has lost a partition is told so, whatever it would have written there; its neighbours are not disturbed.
pub async fn a_hole_behind_a_fence_is_only_fenced(log: &dyn EventLog) {
    let (epochs, mut lane) = owned(log).await;
    take_over(log, P2, epochs[&P2]).await;
    let rows = batch(vec![row(P1, 1, epochs[&P1], 1), row(P2, 9, epochs[&P2], 9)]);
    assert_eq!(lane.append(rows).await, done(&[P1], &[P2]));
    assert_eq!(stored(log, P2).await, []);
}

/// 512 rows fit; 513, or more than 1 MiB, are a mistake of the caller and are not sent.
pub async fn the_largest_batch_commits_and_a_larger_one_is_refused(log: &dyn EventLog) {
    let (epochs, mut lane) = owned(log).await;
    let max = u64::try_from(APPEND_ROWS_MAX).unwrap_or(u64::MAX);
    let rows: Vec<EventRow> = (1..=max.saturating_add(1))
        .map(|n| row(P1, n, epochs[&P1], n))
        .collect();
    let refused = AppendOutcome::Refused(Refusal::Unavailable);
    assert_eq!(lane.append(batch(rows.clone())).await, refused);

    let heavy = body_row(
        row(P1, 1, epochs[&P1], 1),
        &vec![7; crate::port::APPEND_BYTES_MAX],
    );
    assert_eq!(lane.append(batch(vec![heavy])).await, refused);
    assert_eq!(stored(log, P1).await, []);

    let full: Vec<EventRow> = rows.into_iter().take(APPEND_ROWS_MAX).collect();
    assert_eq!(lane.append(batch(full.clone())).await, done(&[P1], &[]));
    assert_eq!(stored(log, P1).await, full);

    // Sizes that are no round number go the same way.
    for (offset, rows) in [
        (max.saturating_add(1), 1_u64),
        (max.saturating_add(2), 7),
        (max.saturating_add(9), 100),
    ] {
        let rows = (0..rows)
            .map(|n| {
                row(
                    P1,
                    offset.saturating_add(n),
                    epochs[&P1],
                    offset.saturating_add(n),
                )
            })
            .collect();
        assert_eq!(lane.append(batch(rows)).await, done(&[P1], &[]));
    }
    assert_eq!(
        must(log.tail(P1, Offset::new(max), APPEND_ROWS_MAX).await).len(),
        108
    );
}

/// The fence alone answers, partition by partition.
pub async fn a_batch_without_rows_tells_who_still_owns(log: &dyn EventLog) {
    let (epochs, mut lane) = owned(log).await;
    take_over(log, P2, epochs[&P2]).await;
    let asked = AppendBatch {
        fence: vec![(P1, epochs[&P1]), (P2, epochs[&P2])],
        rows: Vec::new(),
    };
    assert_eq!(lane.append(asked).await, done(&[P1], &[P2]));
}

/// Command ids are unique within a conversation only.
pub async fn one_command_id_may_be_used_in_two_conversations(log: &dyn EventLog) {
    let (epochs, mut lane) = owned(log).await;
    let one = row(P1, 1, epochs[&P1], 1);
    let mut other = row_of(conversation(P1, 2), P1, 2, epochs[&P1], 1);
    other.command_id = one.command_id;
    assert_eq!(
        lane.append(batch(vec![one.clone(), other.clone()])).await,
        done(&[P1], &[])
    );
    assert_eq!(
        must(log.find_command(one.conversation, one.command_id).await),
        Some(one)
    );
    assert_eq!(
        must(log.find_command(other.conversation, other.command_id).await),
        Some(other)
    );
}

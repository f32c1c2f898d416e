//! Reads: dense, ascending, bounded.

use hubbub_domain::position::{Epoch, Offset, PartitionId, Seq};

use super::{batch, claim_every, command, conversation, incarnation, must, row, row_of};
use crate::port::{AppendOutcome, ConversationHead, EventLog};

const P0: PartitionId = PartitionId::new(0);
const P5: PartitionId = PartitionId::new(5);

/// Ten rows of partition 5, odd offsets in conversation 1 and even ones in conversation 2.
async fn ten_rows(log: &dyn EventLog) -> Epoch {
    let epoch = claim_every(log, incarnation(1)).await[&P5];
    let mut lane = must(log.open_lane(incarnation(1), 0).await);
    let rows = (1..=10_u64)
        .map(|offset| {
            row_of(
                conversation(P5, 2 - offset % 2),
                P5,
                offset,
                epoch,
                offset.div_ceil(2),
            )
        })
        .collect();
    let outcome = lane.append(batch(rows)).await;
    assert_eq!(
        outcome,
        AppendOutcome::Done {
            committed: vec![P5],
            fenced: vec![]
        }
    );
    epoch
}

/// From anywhere, including the head and beyond it.
pub async fn a_tail_is_dense_and_ascending_and_cut_at_its_limit(log: &dyn EventLog) {
    ten_rows(log).await;
    for (after, limit, expected) in [
        (0, 100, 1..=10),
        (0, 3, 1..=3),
        (4, 3, 5..=7),
        (8, 3, 9..=10),
        (0, 0, 1..=1),
    ] {
        let rows = must(log.tail(P5, Offset::new(after), limit).await);
        let offsets: Vec<u64> = rows.iter().map(|row| row.offset.get()).collect();
        assert_eq!(
            offsets,
            expected.collect::<Vec<u64>>(),
            "after {after}, at most {limit}"
        );
    }
    assert_eq!(must(log.tail(P5, Offset::new(10), 100).await), []);
    assert_eq!(must(log.tail(P5, Offset::new(99), 100).await), []);
    assert_eq!(must(log.tail(P0, Offset::ZERO, 100).await), []);
}

/// Only its own rows, by seq.
pub async fn a_conversation_is_read_in_pieces_across_its_partition_neighbours(log: &dyn EventLog) {
    let epoch = ten_rows(log).await;
    let chat = conversation(P5, 1);
    let offsets = async |from, limit| -> Vec<u64> {
        must(log.read_conversation(chat, Seq::new(from), limit).await)
            .iter()
            .map(|row| row.offset.get())
            .collect()
    };
    assert_eq!(offsets(0, 2).await, [1, 3]);
    assert_eq!(offsets(1, 2).await, [1, 3]);
    assert_eq!(offsets(3, 100).await, [5, 7, 9]);
    assert_eq!(offsets(6, 100).await, [0_u64; 0]);
    let head = ConversationHead {
        epoch,
        seq: Seq::new(5),
        offset: Offset::new(9),
    };
    assert_eq!(must(log.conversation_head(chat).await), Some(head));
}

/// No error for what nobody wrote.
pub async fn what_is_not_there_is_empty(log: &dyn EventLog) {
    ten_rows(log).await;
    let unknown = conversation(P0, 77);
    assert_eq!(
        must(log.read_conversation(unknown, Seq::ZERO, 10).await),
        []
    );
    assert_eq!(must(log.conversation_head(unknown).await), None);
    assert_eq!(must(log.find_command(unknown, command(1)).await), None);
    assert_eq!(
        must(log.find_command(conversation(P5, 1), command(1)).await),
        None
    );
    assert_eq!(must(log.markers(unknown).await), []);
    assert_eq!(must(log.load_snapshot(unknown, 1).await), None);
}

/// All partitions, or those asked for, ascending.
pub async fn heads_follow_the_appends(log: &dyn EventLog) {
    let epoch = ten_rows(log).await;
    let all = must(log.heads(&[]).await);
    assert_eq!(all.len(), 16);
    assert!(all.is_sorted_by_key(|head| head.partition));
    assert_eq!(all.iter().map(|head| head.head.get()).sum::<u64>(), 10);

    let some = must(log.heads(&[P5, P0]).await);
    let seen: Vec<_> = some
        .iter()
        .map(|head| (head.partition, head.head.get()))
        .collect();
    assert_eq!(seen, [(P0, 0), (P5, 10)]);
    assert_eq!(some.last().map(|head| head.epoch), Some(epoch));

    let mut lane = must(log.open_lane(incarnation(1), 0).await);
    lane.append(batch(vec![row(P5, 11, epoch, 6)])).await;
    assert_eq!(
        must(log.heads(&[P5]).await)
            .first()
            .map(|head| head.head.get()),
        Some(11)
    );
}

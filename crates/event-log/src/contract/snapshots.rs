//! Snapshots: disposable, versioned, two kept.

use bytes::Bytes;
use hubbub_domain::position::{Epoch, PartitionId, Seq};
use hubbub_domain::time::Timestamp;

use super::{conversation, must};
use crate::port::{EventLog, SnapshotRow};

fn snapshot(epoch: u64, seq: u64, ver: i16) -> SnapshotRow {
    SnapshotRow {
        conversation: conversation(PartitionId::new(0), 1),
        seq: Seq::new(seq),
        epoch: Epoch::new(epoch),
        ver,
        at: Timestamp::from_millis(1_780_000_000_123),
        data: Bytes::from(vec![0, 255, u8::try_from(seq).unwrap_or(0)]),
    }
}

async fn load(log: &dyn EventLog, ver: i16) -> Option<SnapshotRow> {
    must(
        log.load_snapshot(conversation(PartitionId::new(0), 1), ver)
            .await,
    )
}

/// Newest = the highest epoch, then the highest seq: what a lost lineage left behind does not hide what came after.
pub async fn the_newest_snapshot_of_a_version_is_loaded(log: &dyn EventLog) {
    must(log.save_snapshot(snapshot(7, 64, 1)).await);
    must(log.save_snapshot(snapshot(7, 128, 1)).await);
    assert_eq!(load(log, 1).await, Some(snapshot(7, 128, 1)));
    assert_eq!(load(log, 2).await, None);
    must(log.save_snapshot(snapshot(9, 100, 1)).await);
    assert_eq!(load(log, 1).await, Some(snapshot(9, 100, 1)));
}

/// Of all versions together.
pub async fn two_snapshots_are_kept(log: &dyn EventLog) {
    for (seq, ver) in [(64, 1), (128, 1), (192, 2)] {
        must(log.save_snapshot(snapshot(7, seq, ver)).await);
    }
    assert_eq!(load(log, 2).await, Some(snapshot(7, 192, 2)));
    assert_eq!(load(log, 1).await, Some(snapshot(7, 128, 1)));
    must(log.save_snapshot(snapshot(7, 256, 2)).await);
    assert_eq!(load(log, 1).await, None);
}

/// The later data win.
pub async fn a_snapshot_saved_twice_is_one(log: &dyn EventLog) {
    must(log.save_snapshot(snapshot(7, 64, 1)).await);
    must(log.save_snapshot(snapshot(7, 128, 1)).await);
    let other = SnapshotRow {
        data: Bytes::from_static(b"other"),
        ..snapshot(7, 128, 1)
    };
    must(log.save_snapshot(other.clone()).await);
    assert_eq!(load(log, 1).await, Some(other));
}

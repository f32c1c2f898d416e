//! The publish watermark: lazily written, only by the owner.

use hubbub_domain::position::{Offset, PartitionId};

use super::{claim_every, incarnation, must};
use crate::port::{Claim, EventLog, Published};

async fn save(log: &dyn EventLog, partition: PartitionId, epoch: u64, published: u64) {
    let mark = Published {
        partition,
        epoch: hubbub_domain::position::Epoch::new(epoch),
        published: Offset::new(published),
    };
    must(log.save_published(&[mark]).await);
}

/// A partition that nobody has written is left out; the owner under its epoch is believed, also downwards (after lost lineage).
pub async fn a_watermark_is_what_the_owner_wrote_last(log: &dyn EventLog) {
    let epochs = claim_every(log, incarnation(1)).await;
    let (one, other) = (PartitionId::new(1), PartitionId::new(2));
    let asked = [one, other];
    assert_eq!(must(log.published(&asked).await), []);
    let marks = [(one, 7), (other, 9)].map(|(partition, published)| Published {
        partition,
        epoch: epochs[&partition],
        published: Offset::new(published),
    });
    must(log.save_published(&marks).await);
    assert_eq!(
        must(log.published(&asked).await),
        [(one, Offset::new(7)), (other, Offset::new(9))]
    );
    save(log, one, epochs[&one].get(), 5).await;
    assert_eq!(
        must(log.published(&[one]).await),
        [(one, Offset::new(5))],
        "and only what was asked for"
    );
}

/// Whoever has lost the partition moves nothing.
pub async fn a_former_owner_moves_no_watermark(log: &dyn EventLog) {
    let epochs = claim_every(log, incarnation(1)).await;
    let partition = PartitionId::new(3);
    let old = epochs[&partition];
    save(log, partition, old.get(), 4).await;
    let claim = Claim {
        partition,
        expected_owner: Some(incarnation(1)),
        expected_epoch: old,
    };
    let taken = must(log.acquire(incarnation(2), &[claim], "takeover").await);
    save(log, partition, old.get(), 100).await;
    assert_eq!(
        must(log.published(&[partition]).await),
        [(partition, Offset::new(4))]
    );
    save(log, partition, taken[0].epoch.get(), 6).await;
    assert_eq!(
        must(log.published(&[partition]).await),
        [(partition, Offset::new(6))]
    );
}

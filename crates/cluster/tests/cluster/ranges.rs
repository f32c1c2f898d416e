//! Healing from the owner's ring.

use hubbub_cluster::ranges::{read_answer, serve_ranges};
use hubbub_wire::bus::{EvBatch, RangeRequest};

use super::*;

/// Keeps the events of partition 3 from offset 6 on.
struct Ring;

#[async_trait]
impl LocalConversations for Ring {
    async fn handle(&self, _request: CommandRequest, _trace: Option<TraceContext>) -> OwnerReply {
        OwnerReply::Unknown
    }
    async fn serve(&self, _partition: PartitionId, _epoch: Epoch, _head: Offset) {}
    async fn stop(&self, _partition: PartitionId) {}
    async fn drain(&self, _partition: PartitionId, _patience: Duration) -> bool {
        true
    }
    fn range(&self, request: RangeRequest) -> Option<EvBatch> {
        let held = request.partition == PartitionId::new(3) && request.after >= Offset::new(5);
        held.then(|| EvBatch {
            partition: request.partition,
            epoch: Epoch::new(9),
            base_offset: request.after.next(),
            events: Vec::new(),
        })
    }
}

#[tokio::test]
async fn an_edge_is_answered_from_the_ring_or_told_to_read_the_log() {
    let bus: Arc<dyn Bus> = Arc::new(MemoryBus::new());
    let tasks = TaskTracker::new();
    let cancel = CancellationToken::new();
    serve_ranges(
        incarnation(1),
        Arc::clone(&bus),
        Arc::new(Ring),
        &tasks,
        cancel.clone(),
    )
    .await
    .unwrap();
    let ask = async |after: u64| {
        let request = RangeRequest {
            partition: PartitionId::new(3),
            after: Offset::new(after),
            to: Offset::new(20),
        };
        let subject = Subject::Range(incarnation(1));
        bus.request(subject, request.encode(), DEADLINE, None)
            .await
            .unwrap()
    };
    let piece = read_answer(&ask(7).await).unwrap();
    assert_eq!(piece.base_offset, Offset::new(8));
    assert!(ask(4).await.is_empty(), "no longer in the ring");
    cancel.cancel();
    tasks.close();
    tasks.wait().await;
}

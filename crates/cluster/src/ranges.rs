//! The owner's side of healing: an edge that missed events asks the owner's ring before it reads the log.
//!
//! Never: a read of the log, a wait. What the ring does not hold is answered with an empty payload at once.

use std::sync::Arc;

use bytes::Bytes;
use hubbub_bus::{Bus, Delivery, Subject, SubjectPattern, SubscribeError};
use hubbub_domain::ids::Incarnation;
use hubbub_wire::bus::{BUS_MESSAGE_BYTES_MAX, EvBatch, RangeRequest};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::port::LocalConversations;

/// Questions that may wait to be looked at; beyond it the bus drops them and the edge reads the log. Each edge asks once per partition at
/// a time, so this is a hundred edges with forty gaps each.
const RANGE_QUEUE: usize = 4_096;

/// Serves `hub.range.<me>` until cancelled: one [`EvBatch`], or an empty payload when the ring does not hold the beginning.
///
/// # Errors
/// When the bus does not take the subscription.
pub async fn serve_ranges(
    me: Incarnation,
    bus: Arc<dyn Bus>,
    local: Arc<dyn LocalConversations>,
    tasks: &TaskTracker,
    cancel: CancellationToken,
) -> Result<(), SubscribeError> {
    let mut questions = bus
        .subscribe(SubjectPattern::One(Subject::Range(me)), RANGE_QUEUE)
        .await?;
    tasks.spawn(async move {
        loop {
            let question = tokio::select! {
                () = cancel.cancelled() => break,
                question = questions.next() => question,
            };
            let Some(question) = question else { break };
            answer(&*bus, &*local, question).await;
        }
    });
    Ok(())
}

async fn answer(bus: &dyn Bus, local: &dyn LocalConversations, question: Delivery) {
    let Some(to) = question.reply else { return };
    let piece = match RangeRequest::decode(&question.payload) {
        Ok(request) => local.range(request),
        Err(error) => {
            tracing::debug!(%error, "decode range request");
            None
        }
    };
    let payload = piece
        .as_ref()
        .map(EvBatch::encode)
        .filter(|payload| payload.len() <= BUS_MESSAGE_BYTES_MAX)
        .unwrap_or_default();
    if let Err(error) = bus.reply(to, payload).await {
        // The edge times out and reads the log.
        tracing::debug!(%error, "answer range request");
    }
}

/// Reads an answer of [`serve_ranges`]; `None` when the ring did not hold it, or the answer cannot be read.
pub fn read_answer(payload: &Bytes) -> Option<EvBatch> {
    if payload.is_empty() {
        return None;
    }
    EvBatch::decode_shared(payload)
        .inspect_err(|error| tracing::debug!(%error, "decode range answer"))
        .ok()
}

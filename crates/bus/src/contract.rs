//! What every bus does, as one suite: each case takes two connections to one bus, and runs on every implementation.
//!
//! The tests at the end run it in process and on a real `nats-server`; what only NATS can do (losing its server) is beside them.

#![expect(
    clippy::missing_panics_doc,
    reason = "a case panics when the bus breaks the contract; that is what it is for"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::PartitionId;
use hubbub_telemetry::TraceContext;
use tokio::time::timeout;
use uuid::Uuid;

use crate::port::{
    Bus, BusStatus, Delivery, PAYLOAD_BYTES_MAX, PublishError, RequestError, Subscription,
};
use crate::subject::{Subject, SubjectPattern};

/// Bounds a failing case; a passing one never waits for it.
const DEADLINE: Duration = Duration::from_secs(30);
/// Deadline of a request that is meant to stay unanswered.
const SHORT: Duration = Duration::from_millis(50);
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Two connections to one bus, as two nodes have them.
pub struct Pair {
    /// Sends.
    pub here: Arc<dyn Bus>,
    /// Listens.
    pub there: Arc<dyn Bus>,
}

const fn events(partition: u16) -> Subject {
    Subject::Events(PartitionId::new(partition))
}

fn commands() -> Subject {
    Subject::Command(Incarnation::from_uuid(Uuid::from_u128(7)))
}

fn number(payload: &[u8]) -> u32 {
    payload.try_into().map_or(u32::MAX, u32::from_be_bytes)
}

async fn publish(bus: &Arc<dyn Bus>, subject: Subject, value: u32) {
    let payload = Bytes::copy_from_slice(&value.to_be_bytes());
    let published = bus.publish(subject, payload, None).await;
    assert!(published.is_ok(), "{published:?}");
}

async fn listen(bus: &Arc<dyn Bus>, pattern: SubjectPattern, capacity: usize) -> Subscription {
    let subscription = bus.subscribe(pattern, capacity).await;
    assert!(subscription.is_ok(), "{subscription:?}");
    subscription.unwrap_or_else(|_| unreachable!("asserted"))
}

async fn next(subscription: &mut Subscription) -> Delivery {
    let delivery = timeout(DEADLINE, subscription.next()).await;
    assert!(
        matches!(delivery, Ok(Some(_))),
        "waited in vain: {delivery:?}"
    );
    delivery
        .ok()
        .flatten()
        .unwrap_or_else(|| unreachable!("asserted"))
}

/// Messages of one publisher on one subject arrive in the order sent, from the moment `subscribe` returned.
pub async fn messages_of_one_publisher_on_one_subject_arrive_in_order(pair: Pair) {
    let mut heard = listen(&pair.there, SubjectPattern::One(events(5)), 1_024).await;
    for value in 0..500 {
        publish(&pair.here, events(5), value).await;
    }
    for value in 0..500 {
        let delivery = next(&mut heard).await;
        assert_eq!(number(&delivery.payload), value);
        assert_eq!(delivery.subject, events(5));
        assert!(delivery.reply.is_none(), "a message is not a request");
    }
    assert_eq!(heard.dropped(), 0);
}

/// A wildcard hears its whole kind, and only that; a single subject hears itself.
pub async fn a_pattern_hears_its_kind_on_every_partition_and_nothing_else(pair: Pair) {
    let mut all_events = listen(&pair.there, SubjectPattern::AllEvents, 64).await;
    let mut all_ephemeral = listen(&pair.there, SubjectPattern::AllEphemeral, 64).await;
    let mut heads = listen(&pair.there, SubjectPattern::One(Subject::Heads), 64).await;
    let sent = [
        events(0),
        Subject::Ephemeral(PartitionId::new(9)),
        Subject::Heads,
        Subject::User,
        events(1023),
    ];
    for (subject, value) in sent.into_iter().zip(0..) {
        publish(&pair.here, subject, value).await;
    }
    assert_eq!(next(&mut all_events).await.subject, events(0));
    assert_eq!(next(&mut all_events).await.subject, events(1023));
    assert_eq!(
        next(&mut all_ephemeral).await.subject,
        Subject::Ephemeral(PartitionId::new(9))
    );
    assert_eq!(next(&mut heads).await.subject, Subject::Heads);
    // The last message of all shows that nothing else is on its way.
    publish(&pair.here, Subject::Heads, 99).await;
    assert_eq!(number(&next(&mut heads).await.payload), 99);
}

/// Every subscriber gets every message, the publisher's own connection included.
pub async fn every_listener_hears_a_message_its_sender_included(pair: Pair) {
    let mut there = listen(&pair.there, SubjectPattern::AllEvents, 64).await;
    let mut here = listen(&pair.here, SubjectPattern::AllEvents, 64).await;
    publish(&pair.here, events(1), 1).await;
    assert_eq!(number(&next(&mut there).await.payload), 1);
    assert_eq!(number(&next(&mut here).await.payload), 1);
}

/// A request is answered by who listens; payloads and the trace arrive as sent.
pub async fn a_request_is_answered_and_carries_its_trace(pair: Pair) {
    let mut questions = listen(&pair.there, SubjectPattern::One(commands()), 16).await;
    let answering = async {
        let question = next(&mut questions).await;
        assert_eq!(question.payload, "how many?");
        assert_eq!(
            question.trace.as_ref().map(TraceContext::as_str),
            Some(TRACEPARENT)
        );
        let Some(reply) = question.reply else {
            unreachable!("a request can be answered");
        };
        pair.there.reply(reply, Bytes::from_static(b"three")).await
    };
    let asking = pair.here.request(
        commands(),
        Bytes::from_static(b"how many?"),
        DEADLINE,
        TraceContext::parse(TRACEPARENT),
    );
    let (answer, replied) = tokio::join!(asking, answering);
    assert!(replied.is_ok(), "{replied:?}");
    assert_eq!(answer.ok(), Some(Bytes::from_static(b"three")));
}

/// A trace travels with a message; without one there is none.
pub async fn a_message_carries_its_trace_or_none(pair: Pair) {
    let mut heard = listen(&pair.there, SubjectPattern::AllEvents, 16).await;
    let trace = TraceContext::parse(TRACEPARENT);
    let traced = pair
        .here
        .publish(events(1), Bytes::from_static(b"traced"), trace.clone())
        .await;
    assert!(traced.is_ok(), "{traced:?}");
    publish(&pair.here, events(1), 2).await;
    assert_eq!(next(&mut heard).await.trace, trace);
    assert_eq!(next(&mut heard).await.trace, None);
}

/// A request that nobody listens for was not handled, and its sender learns so at once.
pub async fn a_request_without_listener_says_so_before_its_deadline(pair: Pair) {
    let listening_elsewhere = listen(&pair.there, SubjectPattern::AllEvents, 16).await;
    let asked = pair.here.request(
        commands(),
        Bytes::from_static(b"?"),
        DEADLINE.saturating_mul(2),
        None,
    );
    let answer = timeout(DEADLINE, asked).await;
    assert!(
        matches!(answer, Ok(Err(RequestError::NoResponder))),
        "{answer:?}"
    );
    drop(listening_elsewhere);
}

/// A request that is heard and not answered is open, not refused; a late answer disturbs nobody.
pub async fn an_unanswered_request_times_out_and_its_late_answer_is_lost(pair: Pair) {
    let mut questions = listen(&pair.there, SubjectPattern::One(commands()), 16).await;
    let asked = pair
        .here
        .request(commands(), Bytes::from_static(b"1"), SHORT, None)
        .await;
    assert!(matches!(asked, Err(RequestError::TimedOut)), "{asked:?}");
    let late = next(&mut questions).await;
    let answering = async {
        let second = next(&mut questions).await;
        for (question, answer) in [(late, "late"), (second, "right")] {
            let Some(reply) = question.reply else {
                unreachable!("a request can be answered");
            };
            let replied = pair
                .there
                .reply(reply, Bytes::from_static(answer.as_bytes()))
                .await;
            assert!(replied.is_ok(), "{replied:?}");
        }
    };
    let asking = pair
        .here
        .request(commands(), Bytes::from_static(b"2"), DEADLINE, None);
    let (answer, ()) = tokio::join!(asking, answering);
    assert_eq!(answer.ok(), Some(Bytes::from_static(b"right")));
}

/// A full queue drops what comes and counts it, and keeps what it holds in order.
pub async fn a_full_queue_drops_and_counts(pair: Pair) {
    let mut small = listen(&pair.there, SubjectPattern::AllEvents, 4).await;
    let mut large = listen(&pair.there, SubjectPattern::AllEvents, 64).await;
    for value in 0..10 {
        publish(&pair.here, events(1), value).await;
    }
    for value in 0..10 {
        assert_eq!(number(&next(&mut large).await.payload), value);
    }
    let counting = async {
        while small.dropped() < 6 {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(DEADLINE, counting).await.is_ok(), "{small:?}");
    for value in 0..4 {
        assert_eq!(number(&next(&mut small).await.payload), value);
    }
    publish(&pair.here, events(1), 10).await;
    assert_eq!(
        number(&next(&mut small).await.payload),
        10,
        "it hears again when there is room"
    );
    assert_eq!((small.dropped(), large.dropped()), (6, 0));
    let usage = pair.there.usage();
    assert_eq!((usage.dropped, usage.requests_waiting), (6, 0));
}

/// Dropping a subscription ends it: a request then finds nobody.
pub async fn a_dropped_subscription_listens_no_more(pair: Pair) {
    let questions = listen(&pair.there, SubjectPattern::One(commands()), 16).await;
    drop(questions);
    // Over a network the server learns of it in its own time.
    let refused = async {
        loop {
            let asked = pair
                .here
                .request(commands(), Bytes::from_static(b"?"), SHORT, None)
                .await;
            match asked {
                Err(RequestError::NoResponder) => return,
                Err(RequestError::TimedOut) => {}
                other => unreachable!("nobody answers: {other:?}"),
            }
        }
    };
    assert!(timeout(DEADLINE, refused).await.is_ok());
}

/// What is too large is refused by its size; the largest allowed arrives whole, with a trace beside it.
pub async fn the_largest_payload_arrives_and_a_larger_one_is_refused(pair: Pair) {
    let mut heard = listen(&pair.there, SubjectPattern::AllEvents, 4).await;
    let too_large = Bytes::from(vec![1; PAYLOAD_BYTES_MAX.saturating_add(1)]);
    let refused = pair.here.publish(events(1), too_large.clone(), None).await;
    assert!(
        matches!(refused, Err(PublishError::TooLarge { bytes }) if bytes == too_large.len()),
        "{refused:?}"
    );
    let asked = pair
        .here
        .request(commands(), too_large, DEADLINE, None)
        .await;
    assert!(matches!(asked, Err(RequestError::NotSent(_))), "{asked:?}");
    let largest = Bytes::from(vec![2; PAYLOAD_BYTES_MAX]);
    let sent = pair
        .here
        .publish(events(1), largest.clone(), TraceContext::parse(TRACEPARENT))
        .await;
    assert!(sent.is_ok(), "{sent:?}");
    assert!(next(&mut heard).await.payload == largest, "arrives whole");
}

/// After `flush` everything published before it has left; the bus is up.
pub async fn a_flush_returns_when_everything_has_left(pair: Pair) {
    let mut heard = listen(&pair.there, SubjectPattern::AllEvents, 256).await;
    for value in 0..200 {
        publish(&pair.here, events(2), value).await;
    }
    let flushed = pair.here.flush().await;
    assert!(flushed.is_ok(), "{flushed:?}");
    assert_eq!(*pair.here.status().borrow(), BusStatus::Up);
    for value in 0..200 {
        assert_eq!(number(&next(&mut heard).await.payload), value);
    }
}

#[cfg(test)]
mod tests;

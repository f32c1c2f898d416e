//! The contract, and the faults that only memory has.

use std::time::Duration;

use hubbub_domain::position::{Epoch, Offset, PartitionId};

use super::*;
use crate::contract::{batch, claim_all, incarnation, registration, row};
use crate::port::LEASE;

crate::event_log_contract!(std::future::ready(Some((
    MemoryLog::with_clock(&ManualClock::default()),
    ()
))));

const P: PartitionId = PartitionId::new(0);

async fn owned() -> (MemoryLog, Epoch, Box<dyn Lane>) {
    let log = MemoryLog::with_clock(&ManualClock::default());
    let epoch = claim_all(&log, incarnation(1)).await;
    let lane = log.open_lane(incarnation(1), 0).await.expect("opens");
    (log, epoch, lane)
}

async fn head(log: &MemoryLog) -> u64 {
    log.heads(&[P]).await.expect("reads")[0].head.get()
}

async fn take_over(log: &MemoryLog, epoch: Epoch) -> Epoch {
    let claim = Claim {
        partition: P,
        expected_owner: Some(incarnation(1)),
        expected_epoch: epoch,
    };
    log.acquire(incarnation(2), &[claim], "takeover")
        .await
        .expect("acquires")[0]
        .epoch
}

#[tokio::test]
async fn an_unknown_outcome_was_applied_or_not_as_ordered_and_the_lane_is_dead() {
    for (fault, stored) in [(Fault::UnknownApplied, 1), (Fault::UnknownNotApplied, 0)] {
        let (log, epoch, mut lane) = owned().await;
        log.fail_next_append(fault);
        assert_eq!(
            lane.append(batch(vec![row(P, 1, epoch, 1)])).await,
            AppendOutcome::Unknown
        );
        assert_eq!(head(&log).await, stored);
        assert_eq!(
            lane.append(batch(vec![row(P, stored + 1, epoch, stored + 1)]))
                .await,
            AppendOutcome::Unknown,
            "dead"
        );
        assert_eq!(head(&log).await, stored, "a dead lane sends nothing");
    }
}

#[tokio::test]
async fn a_late_statement_of_an_old_epoch_stores_nothing_after_an_acquire() {
    let (log, epoch, mut lane) = owned().await;
    log.fail_next_append(Fault::UnknownLate);
    assert_eq!(
        lane.append(batch(vec![row(P, 1, epoch, 1)])).await,
        AppendOutcome::Unknown
    );
    take_over(&log, epoch).await;
    assert_eq!(
        log.release_late(),
        [AppendOutcome::Done {
            committed: vec![],
            fenced: vec![P]
        }]
    );
    assert_eq!(head(&log).await, 0);
}

#[tokio::test]
async fn a_late_statement_stores_its_rows_while_the_epoch_stands() {
    let (log, epoch, mut lane) = owned().await;
    log.fail_next_append(Fault::UnknownLate);
    assert_eq!(
        lane.append(batch(vec![row(P, 1, epoch, 1)])).await,
        AppendOutcome::Unknown
    );
    assert_eq!(head(&log).await, 0);
    assert_eq!(
        log.release_late(),
        [AppendOutcome::Done {
            committed: vec![P],
            fenced: vec![]
        }]
    );
    assert_eq!(head(&log).await, 1);
}

#[tokio::test]
async fn a_refusal_stores_nothing_and_leaves_the_lane_alive() {
    let (log, epoch, mut lane) = owned().await;
    log.fail_next_append(Fault::Refused(Refusal::StorageFull));
    let rows = batch(vec![row(P, 1, epoch, 1)]);
    assert_eq!(
        lane.append(rows.clone()).await,
        AppendOutcome::Refused(Refusal::StorageFull)
    );
    assert_eq!(head(&log).await, 0);
    assert_eq!(
        lane.append(rows).await,
        AppendOutcome::Done {
            committed: vec![P],
            fenced: vec![]
        }
    );
}

#[tokio::test]
async fn a_caller_that_gives_up_on_a_held_append_cancels_nothing() {
    let (log, epoch, mut lane) = owned().await;
    let held = log.hold_appends();
    let appending = tokio::time::timeout(
        Duration::from_millis(20),
        lane.append(batch(vec![row(P, 1, epoch, 1)])),
    );
    assert!(appending.await.is_err(), "it is held");
    assert_eq!(head(&log).await, 0);
    hubbub_testkit::wait::eventually(
        hubbub_testkit::wait::DEADLINE,
        "the append to arrive",
        async || log.held_appends() == 1,
    )
    .await;
    drop(held);
    hubbub_testkit::wait::eventually(
        hubbub_testkit::wait::DEADLINE,
        "the held append",
        async || head(&log).await == 1,
    )
    .await;
}

#[tokio::test]
async fn a_store_that_is_away_says_so_everywhere() {
    let (log, epoch, mut lane) = owned().await;
    log.set_unavailable(true);
    assert_eq!(
        lane.append(batch(vec![row(P, 1, epoch, 1)])).await,
        AppendOutcome::Refused(Refusal::Unavailable)
    );
    assert!(matches!(
        log.tail(P, Offset::ZERO, 1).await,
        Err(ReadError::Unavailable(_))
    ));
    assert!(matches!(log.nodes().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(
        log.acquire(incarnation(1), &[], "claim").await,
        Err(AcquireError::Unavailable(_))
    ));
    log.set_unavailable(false);
    assert_eq!(head(&log).await, 0);
}

#[tokio::test]
async fn liveness_is_judged_by_the_clock_that_was_given() {
    let clock = ManualClock::default();
    let log = MemoryLog::with_clock(&clock);
    log.register(&registration(1, "n1"))
        .await
        .expect("registers");
    assert!(log.nodes().await.expect("reads")[0].is_alive());
    clock.advance(LEASE);
    assert_eq!(log.nodes().await.expect("reads")[0].silent_for, LEASE);
    assert!(!log.nodes().await.expect("reads")[0].is_alive());
}

#[tokio::test]
async fn a_failover_that_forgets_goes_back_to_the_image_and_its_epochs_are_not_given_out_again() {
    let clock = ManualClock::default();
    let log = MemoryLog::with_clock(&clock);
    let epoch = claim_all(&log, incarnation(1)).await;
    let image = log.image();
    let mut lane = log.open_lane(incarnation(1), 0).await.expect("opens");
    lane.append(batch(vec![row(P, 1, epoch, 1)])).await;
    let lost = take_over(&log, epoch).await;
    log.fail_over_to(image);
    assert_eq!(head(&log).await, 0);
    clock.advance(Duration::from_hours(24 * 365 * 60));
    assert!(take_over(&log, epoch).await > lost);
}

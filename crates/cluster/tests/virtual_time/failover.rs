//! A database that comes back with another line of history.

use super::*;

#[tokio::test(start_paused = true)]
async fn after_a_failover_all_is_owned_by_the_same_nodes_under_new_epochs() {
    let world = World::new().await;
    let (one, two) = world.pair().await;
    let before = world.epochs().await;
    // Given a failover that nobody notices otherwise: no statement fails, and the rows name the same owners under the same epochs.
    world.timeline.store(1, Ordering::SeqCst);
    let failed_over = Instant::now();
    // Then every partition is acquired anew by its owner before long.
    let is_new = async || {
        let rows = world.epochs().await;
        rows.iter()
            .zip(&before)
            .all(|(row, old)| row.owner == old.owner && row.epoch > old.epoch)
    };
    until(async || is_new().await && one.count() == 8 && two.count() == 8).await;
    let took = failed_over.elapsed();
    assert!(took <= Duration::from_millis(1_500), "{took:?}");
    // Once.
    let after = world.epochs().await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(world.epochs().await, after);
}

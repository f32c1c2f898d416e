//! Nodes whose heartbeats keep from everybody what they cannot serve.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_node_that_is_heard_but_cannot_see_what_it_owns_is_taken_over_and_comes_back() {
    let world = World::new().await;
    let (one, two) = world.pair().await;
    // Given a node whose heartbeats get through while its looks do not.
    two.line.looks_fail.store(true, Ordering::SeqCst);
    let blind = Instant::now();
    // Then it says nothing any more when its lease has been over for two more, and what it owned is served by the other one.
    one.serves(16).await;
    let took = blind.elapsed();
    assert!(took <= Duration::from_secs(18), "{took:?}");
    // And when it sees again, it gets its share back.
    two.line.looks_fail.store(false, Ordering::SeqCst);
    two.serves(8).await;
    assert!(!two.task.is_finished());
}

#[tokio::test(start_paused = true)]
async fn where_nobody_can_see_what_is_owned_nobody_ends_and_nothing_moves() {
    for hang in [false, true] {
        let world = World::new().await;
        let (one, two) = world.pair().await;
        let owners = async || -> Vec<_> {
            let rows = world.epochs().await;
            rows.into_iter().map(|row| row.owner).collect()
        };
        let before = owners().await;
        // Given a database that takes everybody's heartbeats and shows nobody its rows.
        let blind = |is_blind: bool| {
            for node in [&one, &two] {
                let looks = if hang {
                    &node.line.looks_hang
                } else {
                    &node.line.looks_fail
                };
                looks.store(is_blind, Ordering::SeqCst);
            }
        };
        blind(true);
        sleep(Duration::from_mins(2)).await;
        assert_eq!((one.phase(), two.phase()), (Phase::Wedged, Phase::Wedged));
        assert!(!one.task.is_finished() && !two.task.is_finished());
        // Then all serve again what they served, soon after they see it.
        blind(false);
        let back = Instant::now();
        until(async || one.count() == 8 && two.count() == 8).await;
        let took = back.elapsed();
        assert!(took <= Duration::from_secs(5), "{took:?}");
        sleep(Duration::from_mins(1)).await;
        assert_eq!(owners().await, before);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_host_does_not_let_go_ends() {
    let world = World::new().await;
    let (one, two) = world.pair().await;
    // Given a host that drops nothing, and rows that another has taken.
    two.line.holds_on.store(true, Ordering::SeqCst);
    let rows = world.epochs().await;
    let row = rows.iter().find(|row| row.owner == Some(two.me)).unwrap();
    let claim = Claim {
        partition: row.partition,
        expected_owner: row.owner,
        expected_epoch: row.epoch,
    };
    let taken = world.log.acquire(one.me, &[claim], "takeover").await;
    assert_eq!(taken.unwrap().len(), 1);
    assert_eq!(two.task.await.unwrap(), Fate::Stuck);
    one.serves(16).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_host_does_not_let_go_of_what_it_hands_over_ends() {
    let world = World::new().await;
    let (one, two) = world.pair().await;
    // Given a host that drops nothing, and a bus whose loss makes its node hand everything over.
    two.line.holds_on.store(true, Ordering::SeqCst);
    two.cut_bus(true);
    assert_eq!(fate(two).await, Fate::Stuck);
    one.serves(16).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_host_does_not_take_up_what_is_new_ends() {
    let world = World::new().await;
    let (one, two) = world.pair().await;
    // Given a host that hangs when it takes something up, and partitions that come to it.
    two.line.holds_on.store(true, Ordering::SeqCst);
    one.kill();
    assert_eq!(fate(two).await, Fate::Stuck);
}

/// How a node ends, in virtual minutes.
async fn fate(node: Node) -> Fate {
    let ending = tokio::time::timeout(Duration::from_mins(10), node.task);
    ending.await.unwrap().unwrap()
}
